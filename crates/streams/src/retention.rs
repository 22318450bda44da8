//! Which files hold nothing but events that are kept no longer. Whoever asks has that recorded;
//! the files go when the record is durable.

use std::sync::Arc;

use longshore_engine::PartitionId;

use crate::batch::{BatchHeader, HEADER_BYTES};
use crate::error::ReadError;
use crate::log::{StreamEntry, StreamLog};
use crate::partition::Partition;

/// A partition that keeps more than it shall.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Overdue {
    /// The name of its namespace.
    pub namespace: String,
    /// Which.
    pub partition: PartitionId,
    /// The first offset to be kept.
    pub start: u64,
}

impl StreamLog {
    /// Partitions that keep more than their streams' settings say, as of `now_ms`. May read files.
    pub fn overdue(&self, now_ms: u64) -> Vec<Overdue> {
        let streams: Vec<Arc<StreamEntry>> = self.catalogue().streams.values().cloned().collect();
        let mut found = Vec::new();
        for stream in streams {
            for partition in &stream.partitions {
                let settings = &stream.settings;
                if !settings.delete {
                    continue;
                }
                let by_bytes = settings.retention_bytes.and_then(|it| partition.beyond(it));
                let oldest = settings.retention_ms.map(|kept_ms| now_ms.saturating_sub(kept_ms));
                // What cannot be read is kept: whoever reads it is told.
                let by_time = oldest.and_then(|oldest| partition.older_than(oldest).ok().flatten());
                if let Some(start) = by_bytes.max(by_time) {
                    let namespace = stream.namespace.clone();
                    found.push(Overdue { namespace, partition: partition.id, start });
                }
            }
        }
        found
    }
}

impl Partition {
    /// The offset before which files go, so that those after it have no less than `bytes`.
    fn beyond(&self, bytes: u64) -> Option<u64> {
        let files = self.files();
        let mut total: u64 = files.files.iter().map(|file| file.len_bytes).sum();
        let mut start = None;
        for (file, next) in files.files.iter().zip(files.files.iter().skip(1)) {
            if total - file.len_bytes < bytes {
                break;
            }
            total -= file.len_bytes;
            start = Some(next.id.base);
        }
        start
    }

    /// The offset before which files go whose newest event is older than `time_ms`. An event with a
    /// time before 1970 has none (-1 is how producers say that) and does not grow old: nobody knows
    /// when it came. A file of such events goes with the first old one behind it.
    fn older_than(&self, time_ms: u64) -> Result<Option<u64>, ReadError> {
        let old = |time: i64| (0..time_ms.cast_signed()).contains(&time);
        let young = |time: i64| time >= 0 && !old(time);
        let (mut start, mut from) = (None, None);
        loop {
            let (file, next, end) = {
                let files = self.files();
                let of = |from| files.files.iter().position(|file| file.id == from);
                let index = from.map_or(Some(0), of);
                let Some(file) = index.and_then(|index| files.files.get(index)).cloned() else {
                    return Ok(start);
                };
                let next = index.and_then(|index| files.files.get(index + 1));
                (file, next.map(|next| next.id), next.map_or(files.end, |next| next.id.base))
            };
            if file.walk.at() < file.len_bytes {
                // Mostly the first batch says that the file is young.
                let head = self.read_at(file.id, 0, HEADER_BYTES)?;
                let header = BatchHeader::parse(&head);
                if header.is_ok_and(|header| young(header.newest_time)) {
                    return Ok(start);
                }
                self.walk_on(file.id, file.walk, file.len_bytes)?;
                continue;
            }
            match file.walk.newest_time() {
                Some(time) if young(time) => return Ok(start),
                Some(time) if old(time) => start = Some(end),
                // Compaction may leave a file without a batch: what follows it decides.
                Some(_) | None => {}
            }
            let Some(next) = next else { return Ok(start) };
            from = Some(next);
        }
    }
}
