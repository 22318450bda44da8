//! Metadata: which streams there are, and creating those that somebody asks for.

use std::collections::BTreeSet;

use longshore_engine::ask::CreateStream;
use longshore_engine::{LIVES_STREAM, StreamId, StreamSettings};
use longshore_kafka::message::metadata::{Request, TopicAsked, TopicResult, put};
use longshore_kafka::{Reply, codes};
use longshore_streams::{StreamEntry, StreamLog};

use super::face::Face;
use crate::access::LOOK;

/// Bytes of a topic's name.
const NAME_BYTES_MAX: usize = 249;

impl Face {
    pub(super) async fn metadata(&self, reply: &mut Reply, version: i16, request: &Request) {
        let topics = match (self.log(), &request.topics) {
            (Err(_), None) => Vec::new(),
            (Err((code, _)), Some(asked)) => {
                let refused = |asked: &TopicAsked| TopicResult {
                    error: code,
                    id: asked.id,
                    name: asked.name.clone(),
                    partitions: 0,
                };
                asked.iter().map(refused).collect()
            }
            (Ok(log), None) => {
                let streams = log.streams(&self.config.namespace);
                let shown = streams.iter().filter(|stream| self.has(LOOK, &stream.name));
                shown.map(|stream| self.told(stream)).collect()
            }
            (Ok(log), Some(asked)) => {
                let (mut topics, mut told) = (Vec::new(), BTreeSet::new());
                // Each once: a topic is told with all of its partitions.
                for asked in asked.iter().filter(|it| told.insert((&it.name, it.id))) {
                    topics.push(self.find(&log, asked, request.may_create).await);
                }
                topics
            }
        };
        put(reply, version, (&self.cluster_id, &self.broker), request, &topics);
    }

    fn told(&self, stream: &StreamEntry) -> TopicResult {
        TopicResult {
            error: codes::NONE,
            id: topic_id(&self.cluster_id, stream.id),
            name: Some(stream.name.clone()),
            partitions: stream.partitions.len() as u32,
        }
    }

    async fn find(&self, log: &StreamLog, asked: &TopicAsked, may_create: bool) -> TopicResult {
        let refused =
            |error| TopicResult { error, id: asked.id, name: asked.name.clone(), partitions: 0 };
        let Some(name) = asked.name.as_deref() else {
            let number = stream_id(&self.cluster_id, asked.id);
            let stream = number.and_then(|number| log.stream_by_id(number));
            let own = stream.filter(|stream| stream.namespace == self.config.namespace);
            let own = own.filter(|stream| self.has(LOOK, &stream.name));
            return own.map_or_else(|| refused(codes::UNKNOWN_TOPIC_ID), |it| self.told(&it));
        };
        if !self.has(LOOK, name) {
            return refused(codes::TOPIC_AUTHORIZATION_FAILED);
        }
        if let Some(stream) = log.stream(&self.config.namespace, name) {
            return self.told(&stream);
        }
        if !is_topic_name(name) {
            return refused(codes::INVALID_TOPIC_EXCEPTION);
        }
        // Whoever reads that one does not begin to have it written.
        if !(may_create && self.config.auto_create && name != LIVES_STREAM) {
            return refused(codes::UNKNOWN_TOPIC_OR_PARTITION);
        }
        let partitions = self.config.partitions_default;
        let (stream, settings) = (name.to_owned(), StreamSettings::default());
        let created = self.ask(CreateStream { stream, partitions, settings }).await;
        match (created, log.stream(&self.config.namespace, name)) {
            // Whoever else asked for it may have been first.
            (_, Some(stream)) => self.told(&stream),
            (Err((code, _)), None) => refused(code),
            (Ok(_), None) => refused(codes::UNKNOWN_TOPIC_OR_PARTITION),
        }
    }
}

/// Whether Kafka takes it as the name of a topic.
pub(super) fn is_topic_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(allowed)
}

/// The id of a stream: the beginning of that of the store, and its number, which is never used
/// again.
pub(crate) fn topic_id(cluster_id: &str, stream: StreamId) -> [u8; 16] {
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(cluster_id.bytes().take(12)) {
        *to = from;
    }
    if let Some(number) = id.last_chunk_mut::<4>() {
        *number = stream.0.to_be_bytes();
    }
    id
}

/// The number of the stream with that id; `None` where it is of another store.
pub(super) fn stream_id(cluster_id: &str, id: [u8; 16]) -> Option<StreamId> {
    let number = StreamId(u32::from_be_bytes(*id.last_chunk()?));
    (topic_id(cluster_id, number) == id).then_some(number)
}
