//! `OffsetCommit` and `OffsetFetch`.

use super::Topic;
use crate::input::{Input, Malformed};
use crate::output::Reply;

#[derive(Clone, Debug)]
pub struct CommitRequest {
    pub group: String,
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
    pub topics: Vec<Topic<CommitPartition>>,
}

#[derive(Clone, Debug)]
pub struct CommitPartition {
    pub index: i32,
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: Option<String>,
}

impl CommitRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let group = input.string()?;
        let (generation, member) = (input.i32()?, input.string()?);
        let instance = if version >= 7 { input.nullable_string()? } else { None };
        if version <= 4 {
            input.i64()?;
        }
        let topics = input.array(|input| {
            let name = input.string()?;
            let partitions = input.array(|input| {
                let (index, offset) = (input.i32()?, input.i64()?);
                let leader_epoch = if version >= 6 { input.i32()? } else { -1 };
                let metadata = input.nullable_string()?;
                let partition = CommitPartition { index, offset, leader_epoch, metadata };
                input.tags().map(|()| partition)
            })?;
            input.tags().map(|()| Topic { name, partitions })
        })?;
        input.tags()?;
        Ok(Self { group, generation, member, instance, topics })
    }
}

/// Index and error of each partition.
pub fn put_commit(reply: &mut Reply, version: i16, topics: &[Topic<(i32, i16)>]) {
    if version >= 3 {
        reply.i32(0);
    }
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
pub struct FetchRequest {
    /// Whether an offset is to be told only once no transaction has another one.
    pub stable: bool,
    /// One before version 8.
    pub groups: Vec<FetchGroup>,
}

#[derive(Clone, Debug)]
pub struct FetchGroup {
    pub group: String,
    /// `None` for all.
    pub topics: Option<Vec<Topic<i32>>>,
}

impl FetchRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let topics = |input: &mut Input| {
            input.nullable_array(|input| {
                let name = input.string()?;
                let partitions = input.array(Input::i32)?;
                input.tags().map(|()| Topic { name, partitions })
            })
        };
        let groups = if version < 8 {
            vec![FetchGroup { group: input.string()?, topics: topics(input)? }]
        } else {
            input.array(|input| {
                let group = input.string()?;
                if version >= 9 {
                    input.nullable_string()?;
                    input.i32()?;
                }
                let topics = topics(input)?;
                input.tags().map(|()| FetchGroup { group, topics })
            })?
        };
        let stable = version >= 7 && input.bool()?;
        input.tags()?;
        Ok(Self { stable, groups })
    }
}

#[derive(Clone, Debug)]
pub struct GroupResult {
    pub group: String,
    pub error: i16,
    pub topics: Vec<Topic<OffsetResult>>,
}

#[derive(Clone, Debug)]
pub struct OffsetResult {
    pub index: i32,
    pub error: i16,
    /// -1 where nothing was committed.
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

pub fn put_fetch(reply: &mut Reply, version: i16, groups: &[GroupResult]) {
    if version >= 3 {
        reply.i32(0);
    }
    if version >= 8 {
        reply.array(groups, |reply, group| {
            reply.string(&group.group);
            put_topics(reply, version, group);
            reply.i16(group.error);
            reply.tags();
        });
    } else if let Some(group) = groups.first() {
        put_topics(reply, version, group);
        if version >= 2 {
            reply.i16(group.error);
        }
    }
    reply.tags();
}

fn put_topics(reply: &mut Reply, version: i16, group: &GroupResult) {
    reply.array(&group.topics, |reply, topic| {
        reply.string(&topic.name);
        reply.array(&topic.partitions, |reply, result| {
            reply.i32(result.index);
            reply.i64(result.offset);
            if version >= 5 {
                reply.i32(result.leader_epoch);
            }
            reply.nullable_string(Some(&result.metadata));
            // Before version 2 there is no other place for what is wrong with the group.
            reply.i16(if version < 2 { group.error } else { result.error });
            reply.tags();
        });
        reply.tags();
    });
}
