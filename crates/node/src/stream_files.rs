//! Where a shard meets the files of its streams: what a group changed waits here until the group is
//! durable, and is written then by whoever committed it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use longshore_engine::{Position, StreamChange};
use longshore_streams::StreamLog;

/// The files of a shard's streams, once it serves.
#[derive(Debug, Default)]
pub(crate) struct StreamFiles {
    log: OnceLock<Arc<StreamLog>>,
    /// What the group in flight changed. There is one at most.
    in_flight: Mutex<Vec<StreamChange>>,
    /// It was told that events wait for space.
    waits: AtomicBool,
}

impl StreamFiles {
    /// To be called once, before the shard serves.
    pub(crate) fn set(&self, log: Arc<StreamLog>) {
        drop(self.log.set(log));
    }

    /// The log, where the shard has served.
    pub(crate) fn log(&self) -> Option<&Arc<StreamLog>> {
        self.log.get()
    }

    /// A group with these changes is about to be committed.
    pub(crate) fn begin(&self, changes: Vec<StreamChange>) {
        *self.in_flight.lock().unwrap_or_else(PoisonError::into_inner) = changes;
    }

    /// Whether that group may be committed, as far as events go that wait for space on the disk:
    /// beyond so much memory for them it waits, too.
    pub(crate) fn has_room(&self) -> Result<bool, String> {
        let in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = self.log.get() else { return Ok(true) };
        if in_flight.iter().all(|change| change.event_bytes() == 0) {
            return Ok(true);
        }
        let has_room = log.has_room().map_err(|error| error.to_string());
        self.note(log);
        has_room
    }

    /// Tells once that no events wait for space any more, whoever has written them.
    fn note(&self, log: &StreamLog) {
        let waits = log.waits_for_space();
        if !waits && self.waits.swap(false, Ordering::Relaxed) {
            tracing::info!("events that waited for space on the disk are written");
        }
    }

    /// That group is durable up to `position`, and not answered yet.
    pub(crate) fn committed(&self, position: Position) -> Result<(), String> {
        let changes =
            std::mem::take(&mut *self.in_flight.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(log) = self.log.get() else { return Ok(()) };
        match log.write(position, changes) {
            // The journal has it, publishing closes with the disk, and the next group tries again.
            Err(error) if error.is_no_space() => {
                if !self.waits.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "events wait for space on the disk");
                }
                Ok(())
            }
            Ok(()) => {
                self.note(log);
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Makes the files durable, and answers up to where they hold what the journal has; `None`
    /// where there are no streams.
    pub(crate) fn sync(&self) -> Result<Option<Position>, String> {
        let synced = self.log.get().map(|log| {
            let synced = log.sync();
            self.note(log);
            synced
        });
        synced.transpose().map(Option::flatten).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use longshore_engine::{
        PartitionEnds, PartitionId, StreamId, StreamSettings, StreamView, TimeMs,
    };
    use longshore_journal::SimDisk;

    use super::*;

    #[test]
    fn it_is_told_that_events_are_written_by_a_sync() {
        let disk = SimDisk::new(5);
        let log = StreamLog::open(Arc::new(disk.clone()), (Position::START, false)).unwrap();
        log.settle(&[]).unwrap();
        let files = StreamFiles::default();
        files.set(Arc::new(log));
        let ends = PartitionEnds { start: 0, next: 0 };
        let partitions = vec![(PartitionId(1), ends)];
        let created = StreamView {
            id: StreamId(1),
            namespace: "default".into(),
            name: "s".into(),
            partitions,
            settings: StreamSettings::default(),
            transactions: Vec::new(),
        };
        files.begin(vec![StreamChange::Created(Box::new(created))]);
        files.committed(Position(1)).unwrap();
        files.sync().unwrap();
        disk.set_capacity_bytes(Some(disk.used_bytes()));
        files.begin(vec![StreamChange::Published {
            partition: PartitionId(1),
            base_offset: 0,
            at: TimeMs(1),
            headers: Vec::new(),
            key: "k".into(),
            value: vec![b'x'; 10_000].into(),
        }]);
        files.committed(Position(2)).unwrap();
        files.sync().unwrap();
        assert!(files.waits.load(Ordering::Relaxed));
        disk.set_capacity_bytes(None);
        files.sync().unwrap();
        assert!(!files.waits.load(Ordering::Relaxed), "nothing else may be written for long");
    }
}
