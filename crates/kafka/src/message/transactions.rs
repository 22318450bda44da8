//! `AddPartitionsToTxn`, `AddOffsetsToTxn`, `EndTxn`, `TxnOffsetCommit`.

use super::Topic;
use super::commit::CommitPartition;
use crate::input::{Input, Malformed};
use crate::output::Reply;

/// Who asks: transactional id, number and epoch of its producer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asker {
    pub transactional_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
}

impl Asker {
    fn parse(input: &mut Input) -> Result<Self, Malformed> {
        Ok(Self {
            transactional_id: input.string()?,
            producer_id: input.i64()?,
            producer_epoch: input.i16()?,
        })
    }
}

#[derive(Clone, Debug)]
pub struct AddPartitionsRequest {
    pub asker: Asker,
    pub topics: Vec<Topic<i32>>,
}

impl AddPartitionsRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let asker = Asker::parse(input)?;
        let topics = input.array(|input| {
            let (name, partitions) = (input.string()?, input.array(Input::i32)?);
            input.tags().map(|()| Topic { name, partitions })
        })?;
        input.tags()?;
        Ok(Self { asker, topics })
    }
}

/// Index and error of each partition.
pub fn put_results(reply: &mut Reply, topics: &[Topic<(i32, i16)>]) {
    reply.i32(0);
    reply.array(topics, |reply, topic| {
        reply.string(&topic.name);
        reply.array(&topic.partitions, |reply, (index, error)| {
            reply.i32(*index);
            reply.i16(*error);
            reply.tags();
        });
        reply.tags();
    });
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct AddOffsetsRequest {
    pub asker: Asker,
    pub group: String,
}

impl AddOffsetsRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let (asker, group) = (Asker::parse(input)?, input.string()?);
        input.tags()?;
        Ok(Self { asker, group })
    }
}

#[derive(Clone, Debug)]
pub struct EndRequest {
    pub asker: Asker,
    pub committed: bool,
}

impl EndRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let (asker, committed) = (Asker::parse(input)?, input.bool()?);
        input.tags()?;
        Ok(Self { asker, committed })
    }
}

pub fn put_error(reply: &mut Reply, error: i16) {
    reply.i32(0);
    reply.i16(error);
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct OffsetsRequest {
    pub asker: Asker,
    pub group: String,
    /// -1 where the request does not say in which generation it is.
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
    pub topics: Vec<Topic<CommitPartition>>,
}

impl OffsetsRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let (transactional_id, group) = (input.string()?, input.string()?);
        let (producer_id, producer_epoch) = (input.i64()?, input.i16()?);
        let asker = Asker { transactional_id, producer_id, producer_epoch };
        let (mut generation, mut member, mut instance) = (-1, String::new(), None);
        if version >= 3 {
            (generation, member) = (input.i32()?, input.string()?);
            instance = input.nullable_string()?;
        }
        let topics = input.array(|input| {
            let name = input.string()?;
            let partitions = input.array(|input| {
                let (index, offset) = (input.i32()?, input.i64()?);
                let leader_epoch = if version >= 2 { input.i32()? } else { -1 };
                let metadata = input.nullable_string()?;
                let partition = CommitPartition { index, offset, leader_epoch, metadata };
                input.tags().map(|()| partition)
            })?;
            input.tags().map(|()| Topic { name, partitions })
        })?;
        input.tags()?;
        Ok(Self { asker, group, generation, member, instance, topics })
    }
}
