//! `ConsumerGroupHeartbeat`, `ConsumerGroupDescribe` (KIP-848).

use crate::codes;
use crate::input::{Input, Malformed};
use crate::output::Reply;

/// A topic by its id, with the indexes of partitions.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TopicPartitions {
    pub id: [u8; 16],
    pub partitions: Vec<i32>,
}

#[derive(Clone, Debug, Default)]
pub struct HeartbeatRequest {
    pub group: String,
    pub member: String,
    /// 0 joins, -1 leaves, -2 leaves to come back as the same instance.
    pub epoch: i32,
    pub instance: Option<String>,
    pub rack: Option<String>,
    /// -1 where it did not change.
    pub rebalance_timeout_ms: i32,
    /// `None` where they did not change.
    pub topics: Option<Vec<String>>,
    pub regex: Option<String>,
    pub assignor: Option<String>,
    /// What the member has; `None` where that did not change.
    pub owned: Option<Vec<TopicPartitions>>,
}

impl HeartbeatRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let (group, member, epoch) = (input.string()?, input.string()?, input.i32()?);
        let (instance, rack) = (input.nullable_string()?, input.nullable_string()?);
        let rebalance_timeout_ms = input.i32()?;
        let topics = input.nullable_array(Input::string)?;
        let regex = if version >= 1 { input.nullable_string()? } else { None };
        let assignor = input.nullable_string()?;
        let owned = input.nullable_array(|input| {
            let (id, partitions) = (input.uuid()?, input.array(Input::i32)?);
            input.tags().map(|()| TopicPartitions { id, partitions })
        })?;
        input.tags()?;
        Ok(Self {
            group,
            member,
            epoch,
            instance,
            rack,
            rebalance_timeout_ms,
            topics,
            regex,
            assignor,
            owned,
        })
    }
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Heartbeat {
    pub error: i16,
    pub message: Option<String>,
    pub member: Option<String>,
    pub epoch: i32,
    pub interval_ms: i32,
    /// What the member is to have; `None` where that did not change.
    pub assignment: Option<Vec<TopicPartitions>>,
}

pub fn put_heartbeat(reply: &mut Reply, told: &Heartbeat) {
    reply.i32(0);
    reply.i16(told.error);
    reply.nullable_string(told.message.as_deref());
    reply.nullable_string(told.member.as_deref());
    reply.i32(told.epoch);
    reply.i32(told.interval_ms);
    match &told.assignment {
        None => reply.i8(-1),
        Some(topics) => {
            reply.i8(1);
            reply.array(topics, |reply, topic| {
                reply.uuid(topic.id);
                reply.array(&topic.partitions, |reply, index| reply.i32(*index));
                reply.tags();
            });
            reply.tags();
        }
    }
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct DescribeRequest {
    pub groups: Vec<String>,
}

impl DescribeRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let groups = input.array(Input::string)?;
        input.bool()?;
        input.tags()?;
        Ok(Self { groups })
    }
}

/// Id, name and indexes of each topic.
pub type NamedPartitions = Vec<([u8; 16], String, Vec<i32>)>;

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MemberView {
    pub member: String,
    pub instance: Option<String>,
    pub rack: Option<String>,
    pub epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub topics: Vec<String>,
    pub assignment: NamedPartitions,
    pub target: NamedPartitions,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GroupView {
    pub error: i16,
    pub message: Option<String>,
    pub group: String,
    pub state: &'static str,
    pub epoch: i32,
    pub assignor: &'static str,
    pub members: Vec<MemberView>,
}

pub fn put_describe(reply: &mut Reply, version: i16, groups: &[GroupView]) {
    let partitions = |reply: &mut Reply, topics: &NamedPartitions| {
        reply.array(topics, |reply, (id, name, partitions)| {
            reply.uuid(*id);
            reply.string(name);
            reply.array(partitions, |reply, index| reply.i32(*index));
            reply.tags();
        });
        reply.tags();
    };
    reply.i32(0);
    reply.array(groups, |reply, group| {
        reply.i16(group.error);
        reply.nullable_string(group.message.as_deref());
        reply.string(&group.group);
        reply.string(group.state);
        reply.i32(group.epoch);
        // Who gets what is decided with each change of the group.
        reply.i32(if group.error == codes::NONE { group.epoch } else { 0 });
        reply.string(group.assignor);
        reply.array(&group.members, |reply, member| {
            reply.string(&member.member);
            reply.nullable_string(member.instance.as_deref());
            reply.nullable_string(member.rack.as_deref());
            reply.i32(member.epoch);
            reply.string(&member.client_id);
            reply.string(&member.client_host);
            reply.array(&member.topics, |reply, name| reply.string(name));
            reply.nullable_string(None);
            partitions(reply, &member.assignment);
            partitions(reply, &member.target);
            if version >= 1 {
                reply.i8(1);
            }
            reply.tags();
        });
        reply.i32(i32::MIN);
        reply.tags();
    });
    reply.tags();
}
