//! Streams: events in the order in which they happened. A [`Producer`] appends them, each once; a
//! [`Consumer`] is a member of a group and hands its events to a handler.

mod consumer;
mod event;
mod membership;
mod of_key;
mod partition;
mod producer;

use std::time::Duration;

use longshore_proto::v1;
use longshore_proto::v1::streams_client::StreamsClient;

pub use consumer::{Begin, Consumer, ConsumerError};
pub use event::{Event, NewEvent};
pub use producer::{Place, Producer};

use super::{Client, ClientError, Way};
use crate::options::span_ms;

/// One unary call with the retries of the client.
macro_rules! ask {
    ($client:expr, $method:ident, $message:expr) => {{
        let streams = $client.streams()?;
        let call = |request| {
            let mut streams = streams.clone();
            async move { streams.$method(request).await }
        };
        $client.inner.bounds.call($message, call).await
    }};
}
pub(crate) use ask;

/// How a stream is to be: see [`Client::create_stream`].
#[derive(Clone, Debug, Default)]
#[must_use = "it is nothing before it is created"]
pub struct StreamSettings {
    partitions: u32,
    retention: Option<Duration>,
    compact: bool,
    count_keys: bool,
}

impl StreamSettings {
    /// One partition, of which events are kept for 7 days.
    pub fn new() -> Self {
        Self::default()
    }

    /// So many partitions. Events with the same key are in one, and in order there.
    pub fn partitions(self, partitions: u32) -> Self {
        Self { partitions, ..self }
    }

    /// Events are kept so long; for ever where it is zero.
    pub fn retention(self, retention: Duration) -> Self {
        Self { retention: Some(retention), ..self }
    }

    /// Only the newest event of each key is kept, in time.
    pub fn compacted(self) -> Self {
        Self { compact: true, ..self }
    }

    /// The events of each key are counted, so that [`NewEvent::expecting`] may say how many there
    /// are to be. It is said when the stream is created, and stays.
    pub fn count_keys(self) -> Self {
        Self { count_keys: true, ..self }
    }
}

impl Client {
    /// Creates a stream; one that is there stays as it is.
    pub async fn create_stream(
        &self,
        stream: &str,
        settings: StreamSettings,
    ) -> Result<(), ClientError> {
        let message = v1::CreateStreamRequest {
            namespace: self.namespace().into(),
            stream: stream.into(),
            partitions: settings.partitions,
            retention_ms: settings.retention.map(span_ms),
            compact: settings.compact,
            count_keys: settings.count_keys,
        };
        ask!(self, create_stream, message).map(drop)
    }

    /// One who appends events to a stream.
    pub async fn producer(&self, stream: &str) -> Result<Producer, ClientError> {
        Producer::of(self, stream).await
    }

    /// A member of a group that reads a stream. Groups are those that Kafka clients join.
    pub fn consumer(&self, group: &str, stream: &str) -> Consumer {
        Consumer::of(self, group, stream)
    }

    pub(crate) fn streams(&self) -> Result<StreamsClient<Way>, ClientError> {
        let client = StreamsClient::new(self.connected()?);
        Ok(client.max_decoding_message_size(usize::MAX))
    }

    /// Where each partition of a stream begins and ends.
    async fn ends(&self, stream: &str) -> Result<Vec<v1::StreamPartition>, ClientError> {
        let message =
            v1::StreamRequest { namespace: self.namespace().into(), stream: stream.into() };
        Ok(ask!(self, get_stream, message)?.partitions)
    }
}
