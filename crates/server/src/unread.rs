//! Events that were read out of a partition, taken one by one: batches are opened, each once, and
//! what nobody is to see is passed over.

use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::TriggerEvent;
use longshore_streams::batch::BatchHeader;
use longshore_streams::event::{Event, Events, open_events};
use longshore_streams::{Chunk, Hidden, Partition, Read, ReadError};

/// Bytes of events that are read at a time; the first batch may be larger.
const READ_BYTES: usize = 256 << 10;
/// Events that are taken at a time.
pub(crate) const EVENTS_MAX: usize = 256;
/// Bytes of such events; the last one may reach beyond.
const BYTES_MAX: usize = 1 << 20;

/// Why events are not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stumble {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("it cannot be looked through: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Reads committed events from an offset on, as batches.
pub(crate) async fn read(partition: Arc<Partition>, offset: u64) -> Result<Chunk, Stumble> {
    let read = Read { offset, bytes_max: READ_BYTES, within: false, committed: true };
    let read = tokio::task::spawn_blocking(move || partition.read_as(read)).await;
    Ok(read??)
}

/// Events that were read and have not become anything yet. A batch is opened once, for all of its
/// events.
#[derive(Debug)]
pub(crate) struct Unread {
    batches: Bytes,
    hidden: Hidden,
    /// The batch that is under way, and where it ends.
    open: Option<(Events, u64)>,
    /// The offset behind those that were taken.
    next: u64,
}

impl Unread {
    pub(crate) fn new(chunk: &Chunk, next: u64) -> Self {
        let hidden = Hidden::new(chunk.aborted.clone());
        Self { batches: chunk.batches.clone(), hidden, open: None, next }
    }

    /// The offset behind those that were taken.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// The offset behind the batch that is open, of which not all events were taken.
    pub(crate) fn open_until(&self) -> Option<u64> {
        self.open.as_ref().map(|(_, end)| *end)
    }

    /// Takes some events, away from the thread that serves.
    pub(crate) async fn slice(mut self) -> Result<(Self, Vec<TriggerEvent>), Stumble> {
        let slice = tokio::task::spawn_blocking(move || {
            let events = self.take();
            (self, events)
        });
        Ok(slice.await?)
    }

    fn take(&mut self) -> Vec<TriggerEvent> {
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some((mut events, end)) = self.open.take().or_else(|| self.open_next()) {
            while let Some(event) = events.next() {
                let event = match event {
                    Ok(event) => event,
                    Err(error) => {
                        tracing::warn!(offset = self.next, %error, "events are passed over");
                        break;
                    }
                };
                if event.offset < self.next {
                    continue;
                }
                self.next = event.offset + 1;
                bytes += event.len_bytes();
                found.push(event_of(event));
                if found.len() >= EVENTS_MAX || bytes >= BYTES_MAX {
                    self.open = Some((events, end));
                    return found;
                }
            }
            self.next = self.next.max(end);
        }
        found
    }

    /// Opens the next batch that anybody is to see. What is before it is passed over.
    fn open_next(&mut self) -> Option<(Events, u64)> {
        while let Ok(header) = BatchHeader::parse(&self.batches)
            && self.batches.len() >= header.len_bytes
        {
            let batch = self.batches.split_to(header.len_bytes);
            let end = header.end_offset();
            if !self.hidden.hides(&header) && end > self.next {
                match open_events(&header, &batch) {
                    Ok(events) => return Some((events, end)),
                    Err(error) => {
                        let offset = header.first_offset();
                        tracing::warn!(offset, %error, "a batch is passed over");
                    }
                }
            }
            self.next = self.next.max(end);
        }
        None
    }
}

fn event_of(event: Event) -> TriggerEvent {
    TriggerEvent {
        offset: event.offset,
        key: event.key,
        value: event.value,
        headers: event.headers,
        time: event.time,
    }
}
