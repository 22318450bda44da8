//! `ListOffsets` and `OffsetForLeaderEpoch`.

use super::Topic;
use crate::input::{Input, Malformed};
use crate::output::Reply;

#[derive(Clone, Debug)]
pub struct ListRequest {
    /// Whether the end is that of committed events.
    pub committed: bool,
    pub topics: Vec<Topic<ListPartition>>,
}

#[derive(Clone, Debug)]
pub struct ListPartition {
    pub index: i32,
    pub leader_epoch: i32,
    /// -1 for the end, -2 for the beginning, -3 for the newest event.
    pub timestamp: i64,
}

impl ListRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        input.i32()?;
        let committed = version >= 2 && input.bool()?;
        let topics = input.array(|input| {
            let name = input.string()?;
            let partitions = input.array(|input| {
                let index = input.i32()?;
                let leader_epoch = if version >= 4 { input.i32()? } else { -1 };
                let timestamp = input.i64()?;
                input.tags().map(|()| ListPartition { index, leader_epoch, timestamp })
            })?;
            input.tags().map(|()| Topic { name, partitions })
        })?;
        input.tags()?;
        Ok(Self { committed, topics })
    }
}

#[derive(Clone, Debug)]
pub struct ListResult {
    pub index: i32,
    pub error: i16,
    pub timestamp: i64,
    pub offset: i64,
}

pub fn put_list(reply: &mut Reply, version: i16, topics: &[Topic<ListResult>]) {
    if version >= 2 {
        reply.i32(0);
    }
    reply.array(topics, |reply, topic| {
        reply.string(&topic.name);
        reply.array(&topic.partitions, |reply, result| {
            reply.i32(result.index);
            reply.i16(result.error);
            reply.i64(result.timestamp);
            reply.i64(result.offset);
            if version >= 4 {
                reply.i32(if result.error == 0 { 0 } else { -1 });
            }
            reply.tags();
        });
        reply.tags();
    });
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct EpochRequest {
    pub topics: Vec<Topic<EpochPartition>>,
}

#[derive(Clone, Debug)]
pub struct EpochPartition {
    pub index: i32,
    pub current_epoch: i32,
    pub epoch: i32,
}

impl EpochRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        if version >= 3 {
            input.i32()?;
        }
        let topics = input.array(|input| {
            let name = input.string()?;
            let partitions = input.array(|input| {
                let index = input.i32()?;
                let (current_epoch, epoch) = (input.i32()?, input.i32()?);
                input.tags().map(|()| EpochPartition { index, current_epoch, epoch })
            })?;
            input.tags().map(|()| Topic { name, partitions })
        })?;
        input.tags()?;
        Ok(Self { topics })
    }
}

#[derive(Clone, Debug)]
pub struct EpochResult {
    pub index: i32,
    pub error: i16,
    pub epoch: i32,
    pub end_offset: i64,
}

pub fn put_epochs(reply: &mut Reply, topics: &[Topic<EpochResult>]) {
    reply.i32(0);
    reply.array(topics, |reply, topic| {
        reply.string(&topic.name);
        reply.array(&topic.partitions, |reply, result| {
            reply.i16(result.error);
            reply.i32(result.index);
            reply.i32(result.epoch);
            reply.i64(result.end_offset);
            reply.tags();
        });
        reply.tags();
    });
    reply.tags();
}
