//! `ApiVersions`, Metadata, `DescribeCluster`.

use crate::api::APIS;
use crate::codes;
use crate::input::{Input, Malformed};
use crate::output::Reply;

/// Bits of the operations that are told as allowed to everybody: all that Kafka knows.
const TOPIC_OPERATIONS: i32 = 0x0df8;
const CLUSTER_OPERATIONS: i32 = 0x1f80;
const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// The one broker that there is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broker {
    pub id: i32,
    pub host: String,
    pub port: i32,
}

/// Which versions are spoken. A version of this very request that is not known is answered so that
/// whoever asked can ask again: as version 0, which every client reads.
pub fn put_versions(reply: &mut Reply, version: i16, known: bool) {
    reply.i16(if known { codes::NONE } else { codes::UNSUPPORTED_VERSION });
    reply.array(APIS, |reply, api| {
        reply.i16(api.key);
        reply.i16(api.min);
        reply.i16(api.max);
        reply.tags();
    });
    if known && version >= 1 {
        reply.i32(0);
    }
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct Request {
    /// `None` for all.
    pub topics: Option<Vec<TopicAsked>>,
    pub may_create: bool,
    pub cluster_operations: bool,
    pub topic_operations: bool,
}

#[derive(Clone, Debug)]
pub struct TopicAsked {
    pub id: [u8; 16],
    pub name: Option<String>,
}

impl Request {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let topics = input.nullable_array(|input| {
            let id = if version >= 10 { input.uuid()? } else { [0; 16] };
            let name = if version >= 10 { input.nullable_string()? } else { Some(input.string()?) };
            input.tags().map(|()| TopicAsked { id, name })
        })?;
        let topics = topics.filter(|topics| version > 0 || !topics.is_empty());
        let may_create = version < 4 || input.bool()?;
        let cluster_operations = (8..=10).contains(&version) && input.bool()?;
        let topic_operations = version >= 8 && input.bool()?;
        input.tags()?;
        Ok(Self { topics, may_create, cluster_operations, topic_operations })
    }
}

#[derive(Clone, Debug)]
pub struct TopicResult {
    pub error: i16,
    pub id: [u8; 16],
    pub name: Option<String>,
    pub partitions: u32,
}

pub fn put(
    reply: &mut Reply,
    version: i16,
    (cluster_id, broker): (&str, &Broker),
    asked: &Request,
    topics: &[TopicResult],
) {
    if version >= 3 {
        reply.i32(0);
    }
    reply.array([broker], |reply, broker| {
        put_broker(reply, broker, version >= 1);
    });
    if version >= 2 {
        reply.nullable_string(Some(cluster_id));
    }
    if version >= 1 {
        reply.i32(broker.id);
    }
    reply.array(topics, |reply, topic| {
        reply.i16(topic.error);
        if version >= 12 {
            reply.nullable_string(topic.name.as_deref());
        } else {
            reply.string(topic.name.as_deref().unwrap_or_default());
        }
        if version >= 10 {
            reply.uuid(topic.id);
        }
        if version >= 1 {
            reply.bool(false);
        }
        put_partitions(reply, version, broker.id, topic.partitions);
        if version >= 8 {
            reply.i32(if asked.topic_operations { TOPIC_OPERATIONS } else { OPERATIONS_NOT_ASKED });
        }
        reply.tags();
    });
    if (8..=10).contains(&version) {
        let operations = asked.cluster_operations;
        reply.i32(if operations { CLUSTER_OPERATIONS } else { OPERATIONS_NOT_ASKED });
    }
    reply.tags();
}

fn put_broker(reply: &mut Reply, broker: &Broker, rack: bool) {
    reply.i32(broker.id);
    reply.string(&broker.host);
    reply.i32(broker.port);
    if rack {
        reply.nullable_string(None);
    }
    reply.tags();
}

fn put_partitions(reply: &mut Reply, version: i16, broker: i32, partitions: u32) {
    reply.array(0..partitions.min(i32::MAX as u32), |reply, index| {
        reply.i16(codes::NONE);
        reply.i32(index.cast_signed());
        reply.i32(broker);
        if version >= 7 {
            reply.i32(0);
        }
        reply.array([broker], Reply::i32);
        reply.array([broker], Reply::i32);
        if version >= 5 {
            reply.array([], Reply::i32);
        }
        reply.tags();
    });
}

#[derive(Clone, Debug)]
pub struct ClusterRequest {
    pub operations: bool,
}

impl ClusterRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let operations = input.bool()?;
        if version >= 1 {
            input.i8()?;
        }
        input.tags()?;
        Ok(Self { operations })
    }
}

pub fn put_cluster(
    reply: &mut Reply,
    version: i16,
    (cluster_id, broker): (&str, &Broker),
    asked: &ClusterRequest,
) {
    reply.i32(0);
    reply.i16(codes::NONE);
    reply.nullable_string(None);
    if version >= 1 {
        reply.i8(1);
    }
    reply.string(cluster_id);
    reply.i32(broker.id);
    reply.array([broker], |reply, broker| put_broker(reply, broker, true));
    reply.i32(if asked.operations { CLUSTER_OPERATIONS } else { OPERATIONS_NOT_ASKED });
    reply.tags();
}
