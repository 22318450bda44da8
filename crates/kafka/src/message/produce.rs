//! Produce and `InitProducerId`.

use bytes::Bytes;

use super::Topic;
use crate::input::{Input, Malformed};
use crate::output::Reply;

/// The lowest version that is taken: the first with batches of version 2.
pub const VERSION_MIN: i16 = 3;

#[derive(Clone, Debug)]
pub struct Request {
    pub transactional_id: Option<String>,
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Vec<Topic<PartitionData>>,
}

#[derive(Clone, Debug)]
pub struct PartitionData {
    pub index: i32,
    pub records: Option<Bytes>,
}

impl Request {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let transactional_id = input.nullable_string()?;
        let (acks, timeout_ms) = (input.i16()?, input.i32()?);
        let topics = input.array(|input| {
            let name = input.string()?;
            let partitions = input.array(|input| {
                let data = PartitionData { index: input.i32()?, records: input.nullable_bytes()? };
                input.tags().map(|()| data)
            })?;
            input.tags().map(|()| Topic { name, partitions })
        })?;
        input.tags()?;
        Ok(Self { transactional_id, acks, timeout_ms, topics })
    }
}

#[derive(Clone, Debug)]
pub struct PartitionResult {
    pub index: i32,
    pub error: i16,
    pub message: Option<String>,
    pub base_offset: i64,
    pub log_start: i64,
}

/// `throttle_ms`: how long the connection is not read for, since its account publishes too much.
pub fn put(reply: &mut Reply, version: i16, topics: &[Topic<PartitionResult>], throttle_ms: i32) {
    reply.array(topics, |reply, topic| {
        reply.string(&topic.name);
        reply.array(&topic.partitions, |reply, result| {
            reply.i32(result.index);
            reply.i16(result.error);
            reply.i64(result.base_offset);
            // The time of append, which is the producer's here.
            reply.i64(-1);
            if version >= 5 {
                reply.i64(result.log_start);
            }
            if version >= 8 {
                reply.array::<()>([], |_, ()| {});
                reply.nullable_string(result.message.as_deref());
            }
            reply.tags();
        });
        reply.tags();
    });
    reply.i32(throttle_ms);
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct InitRequest {
    pub transactional_id: Option<String>,
    pub timeout_ms: i32,
    pub producer_id: i64,
    pub producer_epoch: i16,
}

impl InitRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let transactional_id = input.nullable_string()?;
        let timeout_ms = input.i32()?;
        let (mut producer_id, mut producer_epoch) = (-1, -1);
        if version >= 3 {
            (producer_id, producer_epoch) = (input.i64()?, input.i16()?);
        }
        input.tags()?;
        Ok(Self { transactional_id, timeout_ms, producer_id, producer_epoch })
    }
}

pub fn put_init(reply: &mut Reply, result: Result<(i64, i16), i16>) {
    reply.i32(0);
    let (producer_id, epoch) = result.unwrap_or((-1, -1));
    reply.i16(result.err().unwrap_or_default());
    reply.i64(producer_id);
    reply.i16(epoch);
    reply.tags();
}
