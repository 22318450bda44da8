//! `FindCoordinator`, `JoinGroup`, `SyncGroup`, Heartbeat, `LeaveGroup`, `DescribeGroups`,
//! `ListGroups`, `DeleteGroups`.

use bytes::Bytes;

use super::metadata::Broker;
use crate::codes;
use crate::input::{Input, Malformed};
use crate::output::Reply;

#[derive(Clone, Debug)]
pub struct FindRequest {
    /// 0 for a group, 1 for a transaction.
    pub key_type: i8,
    pub keys: Vec<String>,
}

impl FindRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let mut keys = if version < 4 { vec![input.string()?] } else { Vec::new() };
        let key_type = if version >= 1 { input.i8()? } else { 0 };
        if version >= 4 {
            keys = input.array(Input::string)?;
        }
        input.tags()?;
        Ok(Self { key_type, keys })
    }
}

pub fn put_find(reply: &mut Reply, version: i16, asked: &FindRequest, broker: &Broker) {
    let known = (0..=1).contains(&asked.key_type);
    let error = if known { codes::NONE } else { codes::INVALID_REQUEST };
    let refused = "coordinators are those of groups and of transactions";
    let message = (error != codes::NONE).then_some(refused);
    if version >= 1 {
        reply.i32(0);
    }
    if version < 4 {
        reply.i16(error);
        if version >= 1 {
            reply.nullable_string(message);
        }
        reply.i32(broker.id);
        reply.string(&broker.host);
        reply.i32(broker.port);
    } else {
        reply.array(&asked.keys, |reply, key| {
            reply.string(key);
            reply.i32(broker.id);
            reply.string(&broker.host);
            reply.i32(broker.port);
            reply.i16(error);
            reply.nullable_string(message);
            reply.tags();
        });
    }
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct JoinRequest {
    pub group: String,
    pub session_timeout_ms: i32,
    pub rebalance_timeout_ms: i32,
    pub member: String,
    pub instance: Option<String>,
    pub protocol_type: String,
    pub protocols: Vec<(String, Bytes)>,
}

impl JoinRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let (group, session_timeout_ms) = (input.string()?, input.i32()?);
        let rebalance_timeout_ms = if version >= 1 { input.i32()? } else { session_timeout_ms };
        let member = input.string()?;
        let instance = if version >= 5 { input.nullable_string()? } else { None };
        let protocol_type = input.string()?;
        let protocols = input.array(|input| {
            let protocol = (input.string()?, input.bytes()?);
            input.tags().map(|()| protocol)
        })?;
        if version >= 8 {
            input.nullable_string()?;
        }
        input.tags()?;
        Ok(Self {
            group,
            session_timeout_ms,
            rebalance_timeout_ms,
            member,
            instance,
            protocol_type,
            protocols,
        })
    }
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Joined {
    pub error: i16,
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub leader: String,
    pub member: String,
    /// For the leader.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub struct JoinedMember {
    pub member: String,
    pub instance: Option<String>,
    pub metadata: Bytes,
}

pub fn put_join(reply: &mut Reply, version: i16, joined: &Joined) {
    let joins = joined.error == codes::NONE;
    if version >= 2 {
        reply.i32(0);
    }
    reply.i16(joined.error);
    reply.i32(if joins { joined.generation } else { -1 });
    if version >= 7 {
        reply.nullable_string(joins.then_some(&joined.protocol_type));
        reply.nullable_string(joins.then_some(&joined.protocol));
    } else {
        reply.string(&joined.protocol);
    }
    reply.string(&joined.leader);
    if version >= 9 {
        reply.bool(false);
    }
    reply.string(&joined.member);
    reply.array(&joined.members, |reply, member| {
        reply.string(&member.member);
        if version >= 5 {
            reply.nullable_string(member.instance.as_deref());
        }
        reply.bytes(&member.metadata);
        reply.tags();
    });
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct SyncRequest {
    pub group: String,
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
    pub assignments: Vec<(String, Bytes)>,
}

impl SyncRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let (group, generation, member) = (input.string()?, input.i32()?, input.string()?);
        let instance = if version >= 3 { input.nullable_string()? } else { None };
        if version >= 5 {
            input.nullable_string()?;
            input.nullable_string()?;
        }
        let assignments = input.array(|input| {
            let assignment = (input.string()?, input.bytes()?);
            input.tags().map(|()| assignment)
        })?;
        input.tags()?;
        Ok(Self { group, generation, member, instance, assignments })
    }
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Synced {
    pub error: i16,
    pub protocol_type: String,
    pub protocol: String,
    pub assignment: Bytes,
}

pub fn put_sync(reply: &mut Reply, version: i16, synced: &Synced) {
    let done = synced.error == codes::NONE;
    if version >= 1 {
        reply.i32(0);
    }
    reply.i16(synced.error);
    if version >= 5 {
        reply.nullable_string(done.then_some(&synced.protocol_type));
        reply.nullable_string(done.then_some(&synced.protocol));
    }
    reply.bytes(&synced.assignment);
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct HeartbeatRequest {
    pub group: String,
    pub generation: i32,
    pub member: String,
    pub instance: Option<String>,
}

impl HeartbeatRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let (group, generation, member) = (input.string()?, input.i32()?, input.string()?);
        let instance = if version >= 3 { input.nullable_string()? } else { None };
        input.tags()?;
        Ok(Self { group, generation, member, instance })
    }
}

pub fn put_heartbeat(reply: &mut Reply, version: i16, error: i16) {
    if version >= 1 {
        reply.i32(0);
    }
    reply.i16(error);
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct LeaveRequest {
    pub group: String,
    /// Member and instance of each.
    pub members: Vec<(String, Option<String>)>,
}

impl LeaveRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let group = input.string()?;
        let members = if version < 3 {
            vec![(input.string()?, None)]
        } else {
            input.array(|input| {
                let member = (input.string()?, input.nullable_string()?);
                if version >= 5 {
                    input.nullable_string()?;
                }
                input.tags().map(|()| member)
            })?
        };
        input.tags()?;
        Ok(Self { group, members })
    }
}

/// What became of each, in order.
pub fn put_leave(reply: &mut Reply, version: i16, asked: &LeaveRequest, results: &[i16]) {
    if version >= 1 {
        reply.i32(0);
    }
    let first = results.first().copied().unwrap_or_default();
    reply.i16(if version < 3 { first } else { codes::NONE });
    if version >= 3 {
        let members: Vec<_> = asked.members.iter().zip(results).collect();
        reply.array(members, |reply, ((member, instance), error)| {
            reply.string(member);
            reply.nullable_string(instance.as_deref());
            reply.i16(*error);
            reply.tags();
        });
    }
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct DescribeRequest {
    pub groups: Vec<String>,
}

impl DescribeRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let groups = input.array(Input::string)?;
        if version >= 3 {
            input.bool()?;
        }
        input.tags()?;
        Ok(Self { groups })
    }
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GroupView {
    pub group: String,
    /// Whether the coordinator assigns, and not a member.
    pub is_consumer: bool,
    pub state: &'static str,
    pub protocol_type: String,
    pub protocol: String,
    pub members: Vec<MemberView>,
}

#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MemberView {
    pub member: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

pub fn put_describe(reply: &mut Reply, version: i16, groups: &[GroupView]) {
    if version >= 1 {
        reply.i32(0);
    }
    reply.array(groups, |reply, group| {
        reply.i16(codes::NONE);
        reply.string(&group.group);
        reply.string(group.state);
        reply.string(&group.protocol_type);
        reply.string(&group.protocol);
        reply.array(&group.members, |reply, member| {
            reply.string(&member.member);
            if version >= 4 {
                reply.nullable_string(member.instance.as_deref());
            }
            reply.string(&member.client_id);
            reply.string(&member.client_host);
            reply.bytes(&member.metadata);
            reply.bytes(&member.assignment);
            reply.tags();
        });
        if version >= 3 {
            reply.i32(i32::MIN);
        }
        reply.tags();
    });
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct ListRequest {
    pub states: Vec<String>,
    pub types: Vec<String>,
}

impl ListRequest {
    pub(crate) fn parse(input: &mut Input, version: i16) -> Result<Self, Malformed> {
        let mut list = |from: i16| {
            if version >= from { input.array(Input::string) } else { Ok(Vec::new()) }
        };
        let request = Self { states: list(4)?, types: list(5)? };
        input.tags()?;
        Ok(request)
    }
}

pub fn put_list(reply: &mut Reply, version: i16, groups: &[GroupView]) {
    if version >= 1 {
        reply.i32(0);
    }
    reply.i16(codes::NONE);
    reply.array(groups, |reply, group| {
        reply.string(&group.group);
        reply.string(&group.protocol_type);
        if version >= 4 {
            reply.string(group.state);
        }
        if version >= 5 {
            reply.string(if group.is_consumer { "consumer" } else { "classic" });
        }
        reply.tags();
    });
    reply.tags();
}

#[derive(Clone, Debug)]
pub struct DeleteRequest {
    pub groups: Vec<String>,
}

impl DeleteRequest {
    pub(crate) fn parse(input: &mut Input, _version: i16) -> Result<Self, Malformed> {
        let groups = input.array(Input::string)?;
        input.tags()?;
        Ok(Self { groups })
    }
}

pub fn put_delete(reply: &mut Reply, results: &[(String, i16)]) {
    reply.i32(0);
    reply.array(results, |reply, (group, error)| {
        reply.string(group);
        reply.i16(*error);
        reply.tags();
    });
    reply.tags();
}
