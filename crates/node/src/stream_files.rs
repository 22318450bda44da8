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
        log.has_room().map_err(|error| error.to_string())
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
                if self.waits.swap(false, Ordering::Relaxed) {
                    tracing::info!("events that waited for space on the disk are written");
                }
                Ok(())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Makes the files durable, and answers up to where they hold what the journal has; `None`
    /// where there are no streams.
    pub(crate) fn sync(&self) -> Result<Option<Position>, String> {
        let synced = self.log.get().map(|log| log.sync());
        synced.transpose().map(Option::flatten).map_err(|error| error.to_string())
    }
}
