//! Appending events, each once: the server knows how many of a producer's events a partition has,
//! so a request whose answer was lost is repeated without a second effect.

use std::collections::BTreeMap;

use longshore_proto::v1;
use tokio::sync::Mutex;

use super::super::error::EVENTS_UNEXPECTED;
use super::super::{Client, ClientError};
use super::ask;
use super::event::NewEvent;
use super::partition::partition_of;

/// The last number of an event of a producer in a partition; 0 follows it.
const SEQUENCE_LAST: u64 = i32::MAX as u64;

/// Where an event stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Place {
    /// The partition.
    pub partition: u32,
    /// Its offset there.
    pub offset: u64,
}

/// One who appends events to a stream: see [`Client::producer`]. Requests of one producer go one
/// after the other; events that are appended together go in one.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    stream: String,
    partitions: u32,
    state: Mutex<Numbers>,
}

/// What the server tells one producer's events apart by.
#[derive(Debug, Default)]
struct Numbers {
    /// The number of the producer; `None` where it is to have another one, since nobody knows what
    /// became of its last request.
    producer: Option<u64>,
    /// By partition, how many it has appended.
    appended: BTreeMap<u32, u64>,
    /// Where the next events without a key go.
    turn: u32,
}

impl Producer {
    pub(super) async fn of(client: &Client, stream: &str) -> Result<Self, ClientError> {
        let partitions = client.ends(stream).await?.len() as u32;
        let (client, stream) = (client.clone(), stream.to_owned());
        Ok(Self { client, stream, partitions, state: Mutex::default() })
    }

    /// Appends an event, and answers where it stands once it is on disk.
    pub async fn append(&self, event: NewEvent) -> Result<Place, ClientError> {
        let places = self.append_all([event]).await?;
        Ok(places.first().copied().unwrap_or(Place { partition: 0, offset: 0 }))
    }

    /// Appends events in one request, at most 10,000. Those of one partition stand in it in this
    /// order, all of them or none.
    ///
    /// # Errors
    ///
    /// Where [`ClientError::may_take_effect`] says so, some of them may stand there all the same.
    pub async fn append_all(
        &self,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Result<Vec<Place>, ClientError> {
        let mut numbers = self.state.lock().await;
        numbers.turn = numbers.turn.wrapping_add(1);
        let any = numbers.turn % self.partitions.max(1);
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        let place = |event: NewEvent| {
            let by_key = |key: &bytes::Bytes| partition_of(key, self.partitions);
            let by_key = event.key.as_ref().map_or(any, by_key);
            let partition = event.partition.unwrap_or(by_key);
            *counts.entry(partition).or_default() += 1;
            event.into_wire(partition)
        };
        let events: Vec<_> = events.into_iter().map(place).collect();
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let producer = match numbers.producer {
            Some(producer) => producer,
            None => self.take_number().await?,
        };
        // Until the answer is there nobody knows how many it has, whoever drops this meanwhile.
        numbers.producer = None;
        let appended = std::mem::take(&mut numbers.appended);
        let sequence = |(partition, _): (&u32, &u64)| {
            let before = appended.get(partition).copied().unwrap_or(0) % (SEQUENCE_LAST + 1);
            (*partition, before as u32)
        };
        let message = v1::AppendEventsRequest {
            namespace: self.client.namespace().into(),
            stream: self.stream.clone(),
            producer: Some(producer),
            sequences: counts.iter().map(sequence).collect(),
            events,
        };
        let answer = match ask!(self.client, append_events, message) {
            // What was appended before is looked for first: nothing of this is there.
            Err(error) if error.code() == Some(EVENTS_UNEXPECTED) => {
                (numbers.producer, numbers.appended) = (Some(producer), appended);
                return Err(error);
            }
            answer => answer?,
        };
        numbers.producer = Some(producer);
        numbers.appended = appended;
        for (partition, count) in counts {
            *numbers.appended.entry(partition).or_default() += count;
        }
        let place = |it: v1::EventPlace| Place { partition: it.partition, offset: it.offset };
        Ok(answer.places.into_iter().map(place).collect())
    }

    async fn take_number(&self) -> Result<u64, ClientError> {
        let message = v1::TakeProducerRequest { namespace: self.client.namespace().into() };
        Ok(ask!(self.client, take_producer, message)?.producer)
    }
}
