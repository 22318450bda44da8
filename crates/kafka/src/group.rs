//! Groups of consumers that share partitions: the classic protocol, in which one member assigns and
//! the coordinator only counts. Time and chance come in as arguments; who waits has a ticket, and
//! answers come out with theirs. What a group has read is not kept here: a group itself ends with
//! the process, and its members join again.

mod members;
mod protocols;
mod rebalance;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::codes;
use crate::dues::Dues;
use crate::message::groups::{GroupView, JoinRequest, Joined, Synced};

/// How long a member may be silent: bounds of what it may ask for, in milliseconds.
const SESSION_MS_MIN: i32 = 1;
const SESSION_MS_MAX: i32 = 1_800_000;
/// Members of a group.
const MEMBERS_MAX: usize = 1000;
/// Groups with members.
const GROUPS_MAX: usize = 10_000;
/// Bytes that all groups keep of their members.
const BYTES_MAX: usize = 64 << 20;
/// Protocols of a member, or ways to assign.
const PROTOCOLS_MAX: usize = 64;
/// What a group, a member or a name that was given out takes beside its texts, about.
const ENTRY_BYTES: usize = 256;

/// Who waits for an answer: a number that the caller chose.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

/// An answer to somebody who waits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answer {
    /// To a join.
    Joined(Joined),
    /// To a sync.
    Synced(Synced),
}

/// Who joins, beside what the request says.
#[derive(Clone, Debug)]
pub struct Client {
    /// How it calls itself.
    pub id: String,
    /// Where it is.
    pub host: String,
    /// Whether it understands that it gets its name first and joins with that.
    pub takes_name_first: bool,
}

/// All groups.
#[derive(Debug, Default)]
pub struct Coordinator {
    groups: BTreeMap<String, Group>,
    dues: Dues,
    answers: Vec<(Ticket, Answer)>,
    /// What all groups keep, as of the last change of each.
    bytes: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Members join again, until this instant at most.
    Preparing {
        until_ms: u64,
    },
    /// The leader is to say who gets what.
    Completing,
    Stable,
}

#[derive(Debug)]
struct Group {
    state: State,
    generation: i32,
    protocol_type: String,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    /// Protocols, each with how many members speak it.
    spoken: BTreeMap<String, usize>,
    /// Instances that outlive their connections, with the member that each is.
    instances: BTreeMap<String, String>,
    /// Names that were given out, until they join or this instant.
    named: BTreeMap<String, u64>,
    /// What its members and names take.
    bytes: usize,
    /// As much of that as is in the sum of all groups.
    counted: usize,
}

#[derive(Debug)]
struct Member {
    instance: Option<String>,
    client: Client,
    session_ms: u64,
    rebalance_ms: u64,
    /// Each named once; in memory of its own.
    protocols: Vec<(String, Bytes)>,
    assignment: Bytes,
    /// When it counts as gone unless it is heard.
    expires_ms: u64,
    joining: Option<Ticket>,
    syncing: Option<Ticket>,
}

impl Member {
    /// Whether it waits for an answer, so that it cannot be heard.
    fn waits(&self) -> bool {
        self.joining.is_some() || self.syncing.is_some()
    }

    fn heard(&mut self, now_ms: u64) {
        self.expires_ms = now_ms + self.session_ms;
    }
}

impl Coordinator {
    /// The answers that are due, with the tickets of those who wait for them.
    pub fn take_answers(&mut self) -> Vec<(Ticket, Answer)> {
        std::mem::take(&mut self.answers)
    }

    /// A member joins, for the first time or again. The answer comes with the ticket.
    pub fn join(
        &mut self,
        now_ms: u64,
        random: u128,
        ticket: Ticket,
        request: JoinRequest,
        client: Client,
    ) {
        let group = request.group.clone();
        if let Err((error, member)) = self.try_join(now_ms, random, ticket, request, client) {
            let joined = Joined { error, member, generation: -1, ..Joined::default() };
            self.answers.push((ticket, Answer::Joined(joined)));
        }
        self.settle(&group);
    }

    /// Ends a change of a group: what it takes is counted, when it has something to do is filed,
    /// and one without members goes.
    fn settle(&mut self, name: &str) {
        let Some(group) = self.groups.get_mut(name) else { return };
        self.bytes = self.bytes.saturating_sub(group.counted) + group.bytes;
        group.counted = group.bytes;
        if group.members.is_empty() && group.named.is_empty() {
            self.bytes = self.bytes.saturating_sub(group.counted);
            self.groups.remove(name);
            return self.dues.set(name, None);
        }
        self.dues.set(name, group.next_due_ms());
    }

    /// A member is there. Answers an error code.
    pub fn heartbeat(
        &mut self,
        now_ms: u64,
        (group, generation): (&str, i32),
        member: &str,
        instance: Option<&str>,
    ) -> i16 {
        let group = match self.known(group, member, instance) {
            Ok(group) => group,
            Err(error) => return error,
        };
        if group.generation != generation {
            return codes::ILLEGAL_GENERATION;
        }
        let preparing = matches!(group.state, State::Preparing { .. });
        if let Some(member) = group.members.get_mut(member) {
            member.heard(now_ms);
        }
        if preparing { codes::REBALANCE_IN_PROGRESS } else { codes::NONE }
    }

    /// Whether a member may commit offsets. Answers an error code.
    pub fn may_commit(
        &mut self,
        now_ms: u64,
        (group, generation): (&str, i32),
        member: &str,
        instance: Option<&str>,
    ) -> i16 {
        if generation < 0 && member.is_empty() {
            // Whoever assigns partitions to itself is in no group; beside one it would be lost.
            return if self.groups.get(group).is_some_and(|group| !group.members.is_empty()) {
                codes::UNKNOWN_MEMBER_ID
            } else {
                codes::NONE
            };
        }
        let group = match self.known(group, member, instance) {
            Ok(group) => group,
            Err(error) => return error,
        };
        if group.generation != generation {
            return codes::ILLEGAL_GENERATION;
        }
        if let Some(member) = group.members.get_mut(member) {
            member.heard(now_ms);
        }
        if group.state == State::Completing { codes::REBALANCE_IN_PROGRESS } else { codes::NONE }
    }

    /// The group of a member that is in it.
    fn known(
        &mut self,
        group: &str,
        member: &str,
        instance: Option<&str>,
    ) -> Result<&mut Group, i16> {
        if group.is_empty() {
            return Err(codes::INVALID_GROUP_ID);
        }
        let group = self.groups.get_mut(group).ok_or(codes::UNKNOWN_MEMBER_ID)?;
        if let Some(current) = instance.and_then(|instance| group.instances.get(instance))
            && current != member
        {
            return Err(codes::FENCED_INSTANCE_ID);
        }
        if !group.members.contains_key(member) {
            return Err(codes::UNKNOWN_MEMBER_ID);
        }
        Ok(group)
    }

    /// The groups that have members, or of those names.
    pub fn views(&self, names: Option<&[String]>) -> Vec<GroupView> {
        let named = |name: &String| match self.groups.get(name) {
            Some(group) => group.view(name),
            None => GroupView { group: name.clone(), state: "Dead", ..GroupView::default() },
        };
        match names {
            Some(names) => names.iter().map(named).collect(),
            None => self.groups.keys().map(named).collect(),
        }
    }

    /// The names of all groups.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }

    /// Whether the group has members.
    pub fn has_members(&self, group: &str) -> bool {
        self.groups.get(group).is_some_and(|group| !group.members.is_empty())
    }

    /// When [`Coordinator::tick`] may have something to do.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.dues.first_ms()
    }

    /// Does what is due: members that were not heard go, rebalances end.
    pub fn tick(&mut self, now_ms: u64) {
        for name in self.dues.take(now_ms) {
            if let Some(group) = self.groups.get_mut(&name)
                && group.next_due_ms().is_some_and(|due| due <= now_ms)
            {
                group.tick(now_ms, &mut self.answers);
            }
            self.settle(&name);
        }
    }
}

impl Group {
    fn new(name: &str, protocol_type: String) -> Self {
        let bytes = ENTRY_BYTES + name.len() + protocol_type.len();
        Self {
            state: State::Stable,
            generation: 0,
            protocol_type,
            protocol: String::new(),
            leader: String::new(),
            members: BTreeMap::new(),
            spoken: BTreeMap::new(),
            instances: BTreeMap::new(),
            named: BTreeMap::new(),
            bytes,
            counted: 0,
        }
    }

    fn next_due_ms(&self) -> Option<u64> {
        let silent = self.members.values().filter(|it| !it.waits()).map(|it| it.expires_ms);
        let named = self.named.values().copied();
        let until = match self.state {
            State::Preparing { until_ms } => Some(until_ms),
            State::Completing | State::Stable => None,
        };
        silent.chain(named).chain(until).min()
    }

    fn view(&self, name: &str) -> GroupView {
        let state = match self.state {
            State::Preparing { .. } => "PreparingRebalance",
            State::Completing => "CompletingRebalance",
            State::Stable => "Stable",
        };
        let members = self.members.iter().map(|(id, member)| member.view(id, &self.protocol));
        GroupView {
            group: name.to_owned(),
            is_consumer: false,
            state,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            members: members.collect(),
        }
    }
}
