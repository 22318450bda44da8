//! What a group of entries changes for whoever keeps the events: in the order in which it happened,
//! to be carried out once the group is durable.

use bytes::Bytes;

use super::published::published;
use super::{StreamSettings, StreamView};
use crate::ids::{PartitionId, StreamId, TimeMs};
use crate::message::EventHeaders;
use crate::record::{Entry, Record, Upkeep};
use crate::wire::{Malformed, Wire};

/// An event that tells of a job.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ToldEvent {
    /// Its key.
    pub key: Bytes,
    /// What it says.
    pub value: Bytes,
    /// Headers beside those that all of them have.
    pub headers: EventHeaders,
}

/// Something that happened to a stream.
#[derive(Clone, Debug)]
pub enum StreamChange {
    /// It was created, or has more partitions.
    Created(Box<StreamView>),
    /// Its settings changed.
    Changed {
        /// Which.
        stream: StreamId,
        /// What holds from now on.
        settings: StreamSettings,
    },
    /// It was removed with its events.
    Deleted {
        /// Which.
        stream: StreamId,
    },
    /// A batch was appended.
    Appended {
        /// To which partition.
        partition: PartitionId,
        /// The offset of its first event.
        base_offset: u64,
        /// How many events it has.
        events: u32,
        /// The producer in whose transaction it is, where it is in one.
        transaction: Option<u64>,
        /// The batch as it came.
        batch: Bytes,
    },
    /// A transaction has ended in a partition, with a marker behind its events.
    Marked {
        /// Which partition.
        partition: PartitionId,
        /// The offset of the marker.
        base_offset: u64,
        /// The producer.
        producer: u64,
        /// Its epoch.
        epoch: u32,
        /// Whether it was committed, or aborted.
        committed: bool,
        /// When.
        at: TimeMs,
    },
    /// A message is an event as well.
    Published {
        /// In which partition.
        partition: PartitionId,
        /// Its offset.
        base_offset: u64,
        /// When it was published.
        at: TimeMs,
        /// Its headers.
        headers: EventHeaders,
        /// Its key; empty where it has none.
        key: Bytes,
        /// Its body.
        value: Bytes,
    },
    /// What happened to jobs is told, in events one after the other.
    Told {
        /// In which partition.
        partition: PartitionId,
        /// The offset of the first.
        base_offset: u64,
        /// When it happened.
        at: TimeMs,
        /// The events.
        events: Vec<ToldEvent>,
    },
    /// Aborted transactions of which nothing is left need not be told of any more.
    Forgotten {
        /// Of which partition.
        partition: PartitionId,
        /// The offsets of their markers.
        markers: Vec<u64>,
    },
    /// Events before an offset are kept no longer.
    Trimmed {
        /// Of which partition.
        partition: PartitionId,
        /// The first offset that is kept.
        start: u64,
    },
}

impl StreamChange {
    /// Bytes that it takes in memory, about; 0 where it has no events.
    pub fn event_bytes(&self) -> usize {
        /// Beside its texts, what an event or a header takes, about.
        const EVENT_BYTES: usize = 128;
        const HEADER_BYTES: usize = 64;
        let of_headers = |headers: &EventHeaders| -> usize {
            let of = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
            headers.iter().map(|(name, value)| HEADER_BYTES + name.len() + of(value)).sum()
        };
        match self {
            Self::Created(_)
            | Self::Changed { .. }
            | Self::Deleted { .. }
            | Self::Forgotten { .. }
            | Self::Trimmed { .. } => 0,
            Self::Marked { .. } => EVENT_BYTES,
            Self::Appended { batch, .. } => EVENT_BYTES + batch.len(),
            Self::Published { headers, key, value, .. } => {
                EVENT_BYTES + key.len() + value.len() + of_headers(headers)
            }
            Self::Told { events, .. } => {
                let of = |event: &ToldEvent| {
                    let text = event.key.len() + event.value.len();
                    EVENT_BYTES + text + of_headers(&event.headers)
                };
                events.iter().map(of).sum()
            }
        }
    }
}

/// The batches in an entry of the journal, where the state has its effect already and only the
/// events are wanted.
pub fn appends_of(entry: &Bytes) -> Result<Vec<StreamChange>, Malformed> {
    let entry = Entry::from_bytes(entry)?;
    let (at, mut changes) = (entry.at, Vec::new());
    for record in entry.records {
        match record {
            Record::StreamAppended {
                partition,
                base_offset,
                events,
                producer_id,
                transactional,
                batch,
                ..
            } => {
                let transaction = producer_id.filter(|_| transactional);
                changes.push(StreamChange::Appended {
                    partition,
                    base_offset,
                    events,
                    transaction,
                    batch,
                });
            }
            Record::MessagePublished { message, events, .. } => {
                changes.extend(events.iter().map(|place| published(place, &message)));
            }
            Record::Upkeep { fact } => {
                if let Upkeep::LivesTold { namespace, lots } = *fact {
                    changes.extend(lots.into_iter().map(|lot| lot.change(&namespace, at)));
                }
            }
            Record::TransactionEnded { producer, epoch, committed, markers } => {
                let marked = |(partition, base_offset)| StreamChange::Marked {
                    partition,
                    base_offset,
                    producer,
                    epoch,
                    committed,
                    at,
                };
                changes.extend(markers.into_iter().map(marked));
            }
            _ => {}
        }
    }
    Ok(changes)
}
