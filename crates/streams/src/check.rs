//! Whether the files of streams are whole, every batch of them. It changes nothing, and needs no
//! journal: what that has beyond the last sync is not looked at.

use std::sync::Arc;

use longshore_engine::Position;
use longshore_journal::disk::Disk;

use crate::error::{OpenError, ReadError};
use crate::file_id::FileId;
use crate::log::{Catalogue, StreamLog, Writer};
use crate::partition::Partition;
use crate::synced::Synced;

/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;

/// What was found in the files of a shard's streams.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Up to which position of the journal they are complete; `None` where there never were
    /// streams.
    pub synced: Option<Position>,
    /// Partitions that have or had events.
    pub partitions: usize,
    /// Bytes of their files, as far as they are complete.
    pub bytes: u64,
    /// What is damaged or missing, in words.
    pub faults: Vec<String>,
}

/// Reads every batch that the last sync speaks of, in a folder that need not exist.
pub fn check(disk: Arc<dyn Disk>) -> Report {
    let mut report = Report::default();
    let synced = match Synced::read(&*disk) {
        Ok(Some(synced)) => synced,
        Ok(None) => return report,
        Err(error) => {
            report.faults.push(error.to_string());
            return report;
        }
    };
    report.synced = Some(synced.position);
    let log = StreamLog::new(disk, Catalogue::default(), Writer::default());
    let found = match log.found() {
        Ok(found) => found,
        Err(error) => {
            report.faults.push(error.to_string());
            return report;
        }
    };
    for (id, end) in &synced.ends {
        report.partitions += 1;
        let files = found.get(id).cloned().unwrap_or_default();
        let partition = log.partition_of(*id, files, *end, false);
        let checked = partition.map_err(Fault::Open).and_then(|partition| {
            report.bytes += partition.len_bytes();
            read_all(&partition).map_err(Fault::Read)
        });
        if let Err(fault) = checked {
            report.faults.push(match fault {
                Fault::Open(error) => error.to_string(),
                Fault::Read(error) => error.to_string(),
            });
        }
    }
    report
}

enum Fault {
    Open(OpenError),
    Read(ReadError),
}

fn read_all(partition: &Partition) -> Result<(), ReadError> {
    let (first, end) = {
        let files = partition.files();
        (files.files.front().map_or(files.end, |file| file.id.base), files.end)
    };
    if let Some(hole) = partition.hole() {
        let path = partition.open.path(&FileId::raw(hole).name(partition.id));
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(ReadError::Io { path, source });
    }
    let mut offset = first;
    while offset < end {
        let chunk = partition.read(offset, READ_BYTES)?;
        offset = crate::batch::end_of(&chunk.batches).unwrap_or(end);
    }
    Ok(())
}
