//! Events by their time. Times need not ascend; what is found is the first event in the order of
//! offsets that is not older.

use crate::batch::{self, BatchHeader};
use crate::error::ReadError;
use crate::file_id::FileId;
use crate::partition::{EventFile, Partition};

/// An event: its offset and its time in milliseconds since 1970.
pub type OffsetAndTime = (u64, i64);

impl Partition {
    /// The first event whose time is not before `time`. In a compressed batch, into which nobody
    /// looks, it is the batch's first event. May wait for the disk.
    pub fn find_time(&self, time: i64) -> Result<Option<OffsetAndTime>, ReadError> {
        self.first_batch(|newest| newest >= time, |(_, event)| *event >= time)
    }

    /// The first of the newest events. May wait for the disk.
    pub fn newest(&self) -> Result<Option<OffsetAndTime>, ReadError> {
        let mut newest = None;
        for file in self.walked()? {
            newest = newest.max(file.walk.newest_time());
        }
        let Some(newest) = newest else { return Ok(None) };
        self.first_batch(|time| time >= newest, |(_, event)| *event >= newest)
    }

    fn first_batch(
        &self,
        holds: impl Fn(i64) -> bool,
        wanted: impl Fn(&(i64, i64)) -> bool,
    ) -> Result<Option<OffsetAndTime>, ReadError> {
        for file in self.walked()? {
            let mark = file.walk.marks().iter().find(|mark| holds(mark.newest_time));
            let Some(mark) = mark else { continue };
            let mut offset = mark.offset;
            loop {
                let chunk = match self.read(offset.max(self.ends().0), 0) {
                    Err(ReadError::OutOfRange { .. }) => break,
                    chunk => chunk?,
                };
                let Ok(header) = BatchHeader::parse(&chunk.batches) else { break };
                if header.events > 0 && holds(header.newest_time) {
                    return Ok(Some(event_in(&header, &chunk.batches, &wanted)));
                }
                offset = header.end_offset();
            }
        }
        Ok(None)
    }

    /// Its files, each looked at as far as it goes.
    fn walked(&self) -> Result<Vec<EventFile>, ReadError> {
        let mut walked = Vec::new();
        let ids: Vec<FileId> = self.files().files.iter().map(|file| file.id).collect();
        for id in ids {
            loop {
                let file = self.files().files.iter().find(|file| file.id == id).cloned();
                let Some(file) = file else { break };
                if file.walk.at() >= file.len_bytes {
                    walked.push(file);
                    break;
                }
                self.walk_on(id, file.walk, file.len_bytes)?;
            }
        }
        Ok(walked)
    }
}

fn event_in(
    header: &BatchHeader,
    bytes: &[u8],
    wanted: impl Fn(&(i64, i64)) -> bool,
) -> OffsetAndTime {
    let first = header.first_offset();
    if header.is_compressed() {
        let began = header.delete_horizon().is_none();
        return (first, if began { header.base_time } else { header.newest_time });
    }
    let events = batch::times(header, bytes.get(..header.len_bytes).unwrap_or(bytes));
    let found = events.into_iter().find(wanted);
    found.map_or((first, header.base_time), |(delta, time)| {
        (first + u64::try_from(delta).unwrap_or_default(), time)
    })
}
