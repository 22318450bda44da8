//! `CreateTopics`, `DeleteTopics`, `DeleteRecords`, `CreatePartitions`, `DescribeConfigs`,
//! `IncrementalAlterConfigs`.

use super::Topic;
use crate::input::{Input, Malformed};
use crate::output::Reply;

/// What a config is of.
pub const RESOURCE_TOPIC: i8 = 2;
pub const RESOURCE_BROKER: i8 = 4;

#[derive(Clone, Debug)]
pub struct CreateRequest {
    pub topics: Vec<NewTopic>,
    pub validate_only: bool,
}

#[derive(Clone, Debug)]
pub struct NewTopic {
    pub name: String,
    /// -1 for as many as the server likes.
    pub partitions: i32,
    pub replicas: i16,
    /// How many partitions are assigned to brokers by hand.
    pub assigned: usize,
    pub configs: Vec<(String, Option<String>)>,
}

impl CreateRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let topics = input.array(|input| {
            let name = input.string()?;
            let (partitions, replicas) = (input.i32()?, input.i16()?);
            let assigned = input.array(|input| {
                input.i32()?;
                input.array(Input::i32)?;
                input.tags()
            })?;
            let configs = input.array(|input| {
                let config = (input.string()?, input.nullable_string()?);
                input.tags().map(|()| config)
            })?;
            let assigned = assigned.len();
            input.tags().map(|()| NewTopic { name, partitions, replicas, assigned, configs })
        })?;
        input.i32()?;
        let validate_only = input.bool()?;
        input.tags()?;
        Ok(Self { topics, validate_only })
    }
}

#[derive(Clone, Debug)]
pub struct CreatedTopic {
    pub name: String,
    pub id: [u8; 16],
    pub error: i16,
    pub message: Option<String>,
    pub partitions: i32,
    pub configs: Vec<Config>,
}

pub fn put_create(reply: &mut Reply, version: i16, topics: &[CreatedTopic]) {
    reply.i32(0);
    reply.array(topics, |reply, topic| {
        reply.string(&topic.name);
        if version >= 7 {
            reply.uuid(topic.id);
        }
        reply.i16(topic.error);
        reply.nullable_string(topic.message.as_deref());
        if version >= 5 {
            let made = topic.error == 0;
            reply.i32(if made { topic.partitions } else { -1 });
            reply.i16(if made { 1 } else { -1 });
            reply.array(&topic.configs, |reply, config| {
                reply.string(config.name);
                reply.nullable_string(Some(&config.value));
                reply.bool(config.read_only);
                reply.i8(config.source());
                reply.bool(false);
                reply.tags();
            });
        }
        reply.tags();
    });
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct DeleteRequest {
    /// Each by its name or by its id.
    pub topics: Vec<(Option<String>, [u8; 16])>,
}

impl DeleteRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let topics = input.array(|input| {
            if version < 6 {
                return Ok((Some(input.string()?), [0; 16]));
            }
            let topic = (input.nullable_string()?, input.uuid()?);
            input.tags().map(|()| topic)
        })?;
        input.i32()?;
        input.tags()?;
        Ok(Self { topics })
    }
}

#[derive(Clone, Debug)]
pub struct DeletedTopic {
    pub name: Option<String>,
    pub id: [u8; 16],
    pub error: i16,
}

pub fn put_deleted(reply: &mut Reply, version: i16, topics: &[DeletedTopic]) {
    reply.i32(0);
    reply.array(topics, |reply, topic| {
        if version >= 6 {
            reply.nullable_string(topic.name.as_deref());
            reply.uuid(topic.id);
        } else {
            reply.string(topic.name.as_deref().unwrap_or_default());
        }
        reply.i16(topic.error);
        if version >= 5 {
            reply.nullable_string(None);
        }
        reply.tags();
    });
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct TrimRequest {
    /// Index and first offset to be kept of each partition; -1 for the end.
    pub topics: Vec<Topic<(i32, i64)>>,
}

impl TrimRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let topics = input.array(|input| {
            let name = input.string()?;
            let partitions = input.array(|input| {
                let partition = (input.i32()?, input.i64()?);
                input.tags().map(|()| partition)
            })?;
            input.tags().map(|()| Topic { name, partitions })
        })?;
        input.i32()?;
        input.tags()?;
        Ok(Self { topics })
    }
}

/// Index, first offset kept, and error of each partition.
pub fn put_trimmed(reply: &mut Reply, topics: &[Topic<(i32, i64, i16)>]) {
    reply.i32(0);
    reply.array(topics, |reply, topic| {
        reply.string(&topic.name);
        reply.array(&topic.partitions, |reply, (index, start, error)| {
            reply.i32(*index);
            reply.i64(*start);
            reply.i16(*error);
            reply.tags();
        });
        reply.tags();
    });
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct PartitionsRequest {
    /// Name and number of partitions to have.
    pub topics: Vec<(String, i32)>,
    pub validate_only: bool,
}

impl PartitionsRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let topics = input.array(|input| {
            let topic = (input.string()?, input.i32()?);
            input.nullable_array(|input| {
                input.array(Input::i32)?;
                input.tags()
            })?;
            input.tags().map(|()| topic)
        })?;
        input.i32()?;
        let validate_only = input.bool()?;
        input.tags()?;
        Ok(Self { topics, validate_only })
    }
}

/// Name, error and its text.
pub fn put_partitions(reply: &mut Reply, results: &[(String, i16, Option<String>)]) {
    reply.i32(0);
    reply.array(results, |reply, (name, error, message)| {
        reply.string(name);
        reply.i16(*error);
        reply.nullable_string(message.as_deref());
        reply.tags();
    });
    reply.tags();
}

/// A config as it is told.
#[derive(Clone, Debug)]
pub struct Config {
    pub name: &'static str,
    pub value: String,
    pub is_default: bool,
    pub read_only: bool,
    /// Kafka's number of the type: 1 truth value, 2 text, 3 32 bits, 5 64 bits, 7 list.
    pub kind: i8,
}

impl Config {
    /// 1 where it was set for the topic, 4 as the broker was started, 5 by default.
    fn source(&self) -> i8 {
        match (self.is_default, self.read_only) {
            (true, _) => 5,
            (false, true) => 4,
            (false, false) => 1,
        }
    }
}

#[derive(Clone, Debug)]
pub struct DescribeRequest {
    /// Type, name, and which configs; `None` for all.
    pub resources: Vec<(i8, String, Option<Vec<String>>)>,
    pub synonyms: bool,
}

impl DescribeRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let resources = input.array(|input| {
            let (kind, name) = (input.i8()?, input.string()?);
            let resource = (kind, name, input.nullable_array(Input::string)?);
            input.tags().map(|()| resource)
        })?;
        let synonyms = input.bool()?;
        if version >= 3 {
            input.bool()?;
        }
        input.tags()?;
        Ok(Self { resources, synonyms })
    }
}

#[derive(Clone, Debug)]
pub struct ConfigResult {
    pub error: i16,
    pub message: Option<String>,
    pub kind: i8,
    pub name: String,
    pub configs: Vec<Config>,
}

pub fn put_configs(reply: &mut Reply, version: i16, synonyms: bool, results: &[ConfigResult]) {
    reply.i32(0);
    reply.array(results, |reply, result| {
        reply.i16(result.error);
        reply.nullable_string(result.message.as_deref());
        reply.i8(result.kind);
        reply.string(&result.name);
        reply.array(&result.configs, |reply, config| {
            reply.string(config.name);
            reply.nullable_string(Some(&config.value));
            reply.bool(config.read_only);
            reply.i8(config.source());
            reply.bool(false);
            let own: &[&Config] = if synonyms { &[config] } else { &[] };
            reply.array(own, |reply, config| {
                reply.string(config.name);
                reply.nullable_string(Some(&config.value));
                reply.i8(config.source());
                reply.tags();
            });
            if version >= 3 {
                reply.i8(config.kind);
                reply.nullable_string(None);
            }
            reply.tags();
        });
        reply.tags();
    });
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct AlterRequest {
    pub resources: Vec<AlterResource>,
    pub validate_only: bool,
}

#[derive(Clone, Debug)]
pub struct AlterResource {
    pub kind: i8,
    pub name: String,
    pub configs: Vec<AlterConfig>,
}

#[derive(Clone, Debug)]
pub struct AlterConfig {
    pub name: String,
    /// 0 set, 1 delete, 2 append, 3 subtract.
    pub operation: i8,
    pub value: Option<String>,
}

impl AlterRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let resources = input.array(|input| {
            let (kind, name) = (input.i8()?, input.string()?);
            let configs = input.array(|input| {
                let (name, operation) = (input.string()?, input.i8()?);
                let config = AlterConfig { name, operation, value: input.nullable_string()? };
                input.tags().map(|()| config)
            })?;
            input.tags().map(|()| AlterResource { kind, name, configs })
        })?;
        let validate_only = input.bool()?;
        input.tags()?;
        Ok(Self { resources, validate_only })
    }
}

/// Error, its text, type and name.
pub fn put_altered(reply: &mut Reply, results: &[(i16, Option<String>, i8, String)]) {
    reply.i32(0);
    reply.array(results, |reply, (error, message, kind, name)| {
        reply.i16(*error);
        reply.nullable_string(message.as_deref());
        reply.i8(*kind);
        reply.string(name);
        reply.tags();
    });
    reply.tags();
}
