//! Groups of consumers by KIP-848: the coordinator says who gets what, and members hear of it with
//! their heartbeats, one after the other. Time and what topics there are come in as arguments. A
//! group ends with the process; its members join again.

mod assign;
mod member;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use assign::{Assignor, Part, Wish};
use member::Member;

use crate::codes;
use crate::dues::Dues;
use crate::message::consumer_groups::{GroupView, Heartbeat, HeartbeatRequest, TopicPartitions};

/// How often a member is to be heard, and after how long of silence it is gone, in milliseconds;
/// what Kafka has where nothing is set.
const INTERVAL_MS: i32 = 5000;
const SESSION_MS: u64 = 45_000;
/// How often it is looked which partitions there are, while nobody's wishes change.
const LOOK_MS: u64 = 1000;
/// Members of a group, groups, and bytes of what members say.
const MEMBERS_MAX: usize = 1000;
const GROUPS_MAX: usize = 10_000;
const BYTES_MAX: usize = 64 << 20;
/// Partitions of the topics of one group, and what one takes in memory, in bytes, about: it is in
/// some sets, of which one names the member that has it.
const PARTITIONS_MAX: usize = 100_000;
const PARTITION_BYTES: usize = 512;
/// Bytes of the name of a group, a member, an instance or a rack. Kafka's clients send some 40.
const NAME_BYTES_MAX: usize = 255;
/// Bytes of the name of a topic, as Kafka has it.
const TOPIC_BYTES_MAX: usize = 249;

/// The epoch of whoever joins, leaves, or leaves to come back.
const JOINS: i32 = 0;
const LEAVES: i32 = -1;
const LEAVES_FOR_NOW: i32 = -2;

/// A topic that is there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Topic {
    /// Its id.
    pub id: [u8; 16],
    /// How many partitions it has.
    pub partitions: i32,
}

/// Finds a topic by its name.
pub type FindTopic<'a> = &'a dyn Fn(&str) -> Option<Topic>;

/// Who is heard, beside what the request says.
#[derive(Clone, Debug, Default)]
pub struct Client {
    /// How it calls itself.
    pub id: String,
    /// Where it is.
    pub host: String,
}

/// All groups.
#[derive(Debug, Default)]
pub struct Coordinator {
    groups: BTreeMap<String, Group>,
    dues: Dues,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Group {
    /// Counts changes of members, of what they want and of what there is.
    epoch: i32,
    members: BTreeMap<String, Member>,
    /// Instances that outlive their connections, with the member that each is.
    instances: BTreeMap<String, String>,
    assignor: Assignor,
    /// The topics that members want and that are there.
    topics: BTreeMap<String, Topic>,
    looked_ms: u64,
    /// Who has each partition or is giving it back.
    owners: BTreeMap<Part, String>,
    /// As many bytes of its partitions as are in the sum of all groups.
    counted: usize,
}

/// A code, and why in words.
type Refused = (i16, &'static str);

impl Coordinator {
    /// A member is there, comes or goes.
    pub fn heartbeat(
        &mut self,
        now_ms: u64,
        random: u128,
        request: HeartbeatRequest,
        client: Client,
        find: FindTopic<'_>,
    ) -> Heartbeat {
        let (name, interval_ms) = (request.group.clone(), INTERVAL_MS);
        let id = Some(request.member.clone()).filter(|id| !id.is_empty());
        let told = self.try_heartbeat(now_ms, random, request, client, find);
        let id = told.as_ref().ok().and_then(|told| told.member.clone()).or(id);
        if let Some(group) = self.groups.get(&name) {
            // What the others have to do comes no earlier by it.
            if let Some(member) = id.and_then(|id| group.members.get(&id)) {
                self.dues.hasten(&name, member.due_ms());
            }
            self.forget_empty(&name);
        }
        told.unwrap_or_else(|(error, why)| {
            let message = Some(why.to_owned());
            Heartbeat { error, message, interval_ms, ..Heartbeat::default() }
        })
    }

    /// A group without members goes.
    fn forget_empty(&mut self, name: &str) {
        if self.groups.get(name).is_some_and(|group| group.members.is_empty()) {
            let gone = self.groups.remove(name);
            self.bytes = self.bytes.saturating_sub(gone.map_or(0, |group| group.counted));
            self.dues.set(name, None);
        }
    }

    fn try_heartbeat(
        &mut self,
        now_ms: u64,
        random: u128,
        mut request: HeartbeatRequest,
        client: Client,
        find: FindTopic<'_>,
    ) -> Result<Heartbeat, Refused> {
        check(&request)?;
        if matches!(request.epoch, LEAVES | LEAVES_FOR_NOW) {
            return self.leave(&request);
        }
        if request.member.is_empty() {
            request.member = format!("{random:032x}");
        }
        let known = self.groups.get(&request.group);
        if request.epoch == JOINS {
            if known.is_none() && self.groups.len() >= GROUPS_MAX {
                return Err((codes::GROUP_MAX_SIZE_REACHED, "there are too many groups"));
            }
            let group = self.groups.entry(request.group.clone()).or_default();
            let before = group.come(now_ms, &request, client)?;
            self.bytes = self.bytes.saturating_sub(before);
        } else {
            let unknown = (codes::UNKNOWN_MEMBER_ID, "the group does not know this member");
            let group = known.ok_or(unknown)?;
            group.check_instance(&request)?;
            if !group.members.contains_key(&request.member) {
                return Err(unknown);
            }
        }
        let all_bytes = self.bytes;
        let group = self.groups.entry(request.group.clone()).or_default();
        let (grown, told) =
            group.hear(now_ms, &request, (find, BYTES_MAX - all_bytes.min(BYTES_MAX)))?;
        self.bytes = (self.bytes + grown.1).saturating_sub(grown.0);
        Ok(told)
    }

    fn leave(&mut self, request: &HeartbeatRequest) -> Result<Heartbeat, Refused> {
        let unknown = (codes::UNKNOWN_MEMBER_ID, "the group does not know this member");
        let group = self.groups.get_mut(&request.group).ok_or(unknown)?;
        group.check_instance(request)?;
        let member = group.members.get_mut(&request.member).ok_or(unknown)?;
        if request.epoch == LEAVES_FOR_NOW && member.instance.is_some() {
            member.away = true;
        } else {
            let gone = group.remove(&request.member);
            self.bytes = self.bytes.saturating_sub(gone);
            group.rebalance();
        }
        Ok(Heartbeat {
            member: Some(request.member.clone()),
            epoch: request.epoch,
            ..Heartbeat::default()
        })
    }

    /// Whether the group is one of these, with members.
    pub fn has_members(&self, group: &str) -> bool {
        self.groups.contains_key(group)
    }

    /// The names of all groups.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }

    /// Whether a member of that epoch may commit offsets; `None` where the group is none of these.
    pub fn may_commit(&self, group: &str, epoch: i32, member: &str) -> Option<i16> {
        let group = self.groups.get(group)?;
        Some(match group.members.get(member) {
            None => codes::UNKNOWN_MEMBER_ID,
            Some(member) if member.epoch != epoch => codes::STALE_MEMBER_EPOCH,
            Some(_) => codes::NONE,
        })
    }

    /// What is told of a group.
    pub fn view(&self, name: &str) -> Option<GroupView> {
        let group = self.groups.get(name)?;
        Some(group.view(name))
    }

    /// The state of a group, in Kafka's words.
    pub fn state(&self, name: &str) -> Option<&'static str> {
        self.groups.get(name).map(Group::state)
    }

    /// When [`Self::tick`] may have something to do.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.dues.first_ms()
    }

    /// Does what is due: members that were not heard, or that give nothing back, go.
    pub fn tick(&mut self, now_ms: u64) {
        for name in self.dues.take(now_ms) {
            let Some(group) = self.groups.get_mut(&name) else { continue };
            let due =
                |(id, member): (&String, &Member)| (member.due_ms() <= now_ms).then(|| id.clone());
            let gone: Vec<String> = group.members.iter().filter_map(due).collect();
            for id in &gone {
                self.bytes = self.bytes.saturating_sub(group.remove(id));
            }
            if !gone.is_empty() {
                group.rebalance();
            }
            self.dues.set(&name, group.next_due_ms());
            self.forget_empty(&name);
        }
    }
}

fn check(request: &HeartbeatRequest) -> Result<(), Refused> {
    let invalid = |why| Err((codes::INVALID_REQUEST, why));
    if request.group.is_empty() {
        return invalid("the group has no name");
    }
    if request.instance.as_ref().is_some_and(String::is_empty) {
        return invalid("the instance has no name");
    }
    let names = [Some(&request.group), Some(&request.member), request.instance.as_ref()];
    let names = names.into_iter().chain([request.rack.as_ref()]).flatten();
    if names.map(String::len).any(|bytes| bytes > NAME_BYTES_MAX) {
        return invalid("the name of a group, member, instance or rack has over 255 bytes");
    }
    if request.topics.iter().flatten().any(|name| name.len() > TOPIC_BYTES_MAX) {
        return Err((codes::INVALID_TOPIC_EXCEPTION, "the name of a topic has over 249 bytes"));
    }
    if request.epoch < LEAVES_FOR_NOW || (request.epoch != JOINS && request.member.is_empty()) {
        return invalid("the epoch is below -2, or a member that has joined has no name");
    }
    if request.epoch == JOINS && (request.topics.is_none() || request.rebalance_timeout_ms < 0) {
        return invalid("whoever joins says which topics it wants, and its rebalance timeout");
    }
    if request.epoch == JOINS && request.owned.as_ref().is_some_and(|owned| !owned.is_empty()) {
        return invalid("whoever joins has no partitions");
    }
    if request.regex.as_ref().is_some_and(|regex| !regex.is_empty()) {
        return Err((
            codes::INVALID_REGULAR_EXPRESSION,
            "topics are named here: the server takes no regular expressions",
        ));
    }
    if request.assignor.as_deref().is_some_and(|name| Assignor::named(name).is_none()) {
        return Err((codes::UNSUPPORTED_ASSIGNOR, "there are the assignors uniform and range"));
    }
    Ok(())
}

impl Group {
    /// Somebody joins, for the first time or again. Bytes of whom it takes the place.
    fn come(
        &mut self,
        now_ms: u64,
        request: &HeartbeatRequest,
        client: Client,
    ) -> Result<usize, Refused> {
        if self.members.contains_key(&request.member) {
            return Ok(0);
        }
        let former = request.instance.as_ref().and_then(|it| self.instances.get(it)).cloned();
        let mut freed = 0;
        let mut before = BTreeSet::new();
        if let Some(former) = former {
            if !self.members.get(&former).is_some_and(|member| member.away) {
                let why = "another member is this instance, and has not left";
                return Err((codes::UNRELEASED_INSTANCE_ID, why));
            }
            before = self.members.get(&former).map(|it| it.target.clone()).unwrap_or_default();
            freed = self.remove(&former);
        } else if self.members.len() >= MEMBERS_MAX {
            return Err((codes::GROUP_MAX_SIZE_REACHED, "the group has too many members"));
        }
        if let Some(instance) = &request.instance {
            self.instances.insert(instance.clone(), request.member.clone());
        }
        let mut member = Member::new(now_ms, request.instance.clone(), client);
        // What its instance was to have it gets again, unless somebody else wants more.
        member.target = before;
        self.members.insert(request.member.clone(), member);
        Ok(freed)
    }

    fn check_instance(&self, request: &HeartbeatRequest) -> Result<(), Refused> {
        let Some(instance) = &request.instance else { return Ok(()) };
        match self.instances.get(instance) {
            Some(id) if *id != request.member => {
                Err((codes::FENCED_INSTANCE_ID, "another member is this instance by now"))
            }
            _ => Ok(()),
        }
    }

    /// A member of the group is heard. What it took before and takes now, and what it is told.
    fn hear(
        &mut self,
        now_ms: u64,
        request: &HeartbeatRequest,
        (find, bytes_left): (FindTopic<'_>, usize),
    ) -> Result<((usize, usize), Heartbeat), Refused> {
        let unknown = (codes::UNKNOWN_MEMBER_ID, "the group does not know this member");
        let member = self.members.get_mut(&request.member).ok_or(unknown)?;
        let joins = request.epoch == JOINS;
        if !joins && !member.is_at(request) {
            let why = "the member is at another epoch, and joins again";
            return Err((codes::FENCED_MEMBER_EPOCH, why));
        }
        let before = member.counted;
        // Who only says that it is there is heard however much others take.
        if request.asked_bytes() > bytes_left + before && (joins || request.topics.is_some()) {
            if joins && member.epoch == 0 {
                self.remove(&request.member);
                // Its instance may have had partitions before.
                self.rebalance();
            }
            return Err((codes::GROUP_MAX_SIZE_REACHED, "groups say more than there is room for"));
        }
        let changed = member.told_by(now_ms, request);
        let after = member.bytes(&request.member);
        member.counted = after;
        if joins {
            // It has lost what it had.
            member.forget_all();
            self.owners.retain(|_, owner| *owner != request.member);
        }
        let bytes_left = (bytes_left + before).saturating_sub(after);
        let (of_parts, moved) =
            (self.counted, self.look(now_ms, changed || joins, find, bytes_left));
        let (before, after) = (before + of_parts, after + self.counted);
        if changed || joins || moved {
            self.rebalance();
        }
        let changed = self.reconcile(now_ms, &request.member, request.owned.as_deref());
        let is_full = joins || (request.topics.is_some() && request.owned.is_some());
        let member = self.members.get(&request.member).ok_or(unknown)?;
        let told = Heartbeat {
            error: codes::NONE,
            message: None,
            member: Some(request.member.clone()),
            epoch: member.epoch,
            interval_ms: INTERVAL_MS,
            assignment: (changed || is_full).then(|| by_topic(&member.assigned)),
        };
        Ok(((before, after), told))
    }

    /// Looks which of the wanted topics are there, now and then; whether that changed.
    fn look(&mut self, now_ms: u64, at_once: bool, find: FindTopic<'_>, bytes_left: usize) -> bool {
        if !at_once && now_ms < self.looked_ms + LOOK_MS {
            return false;
        }
        self.looked_ms = now_ms;
        let wanted: BTreeSet<&String> = self.members.values().flat_map(|it| &it.topics).collect();
        let room = (bytes_left + self.counted) / PARTITION_BYTES;
        let most = PARTITIONS_MAX.min(room);
        let (mut topics, mut left) = (BTreeMap::new(), most);
        for name in wanted {
            let Some(topic) = find(name) else { continue };
            let Some(less) = left.checked_sub(usize::try_from(topic.partitions).unwrap_or(0))
            else {
                continue;
            };
            left = less;
            topics.insert(name.clone(), topic);
        }
        let changed = topics != self.topics;
        (self.topics, self.counted) = (topics, (most - left) * PARTITION_BYTES);
        changed
    }

    /// Begins an epoch: says anew what each member is to have.
    fn rebalance(&mut self) {
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for assignor in self.members.values().filter_map(|member| member.assignor) {
            *votes.entry(assignor.name()).or_default() += 1;
        }
        // Of as many votes for each the default is the last.
        let best = votes.into_iter().max_by_key(|(_, votes)| *votes);
        self.assignor = best.and_then(|(name, _)| Assignor::named(name)).unwrap_or_default();
        let there: BTreeMap<_, _> =
            self.topics.values().map(|topic| (topic.id, topic.partitions)).collect();
        let mut wishes = Vec::with_capacity(self.members.len());
        for (id, member) in &self.members {
            wishes.push(Self::wish(&self.topics, id, member));
        }
        let targets = self.assignor.assign(&there, &wishes);
        for (member, target) in self.members.values_mut().zip(targets) {
            member.target = target;
        }
    }

    fn wish<'a>(topics: &BTreeMap<String, Topic>, id: &'a str, member: &'a Member) -> Wish<'a> {
        let ids = member.topics.iter().filter_map(|name| topics.get(name)).map(|it| it.id);
        let name = member.instance.as_deref().unwrap_or(id);
        Wish { name, topics: ids.collect(), before: &member.target }
    }

    /// Brings a member nearer to what it is to have: first it gives back, then it gets what nobody
    /// else has any more. Whether what it is told to have changed.
    fn reconcile(&mut self, now_ms: u64, id: &str, owned: Option<&[TopicPartitions]>) -> bool {
        let epoch = self.epoch;
        let Some(member) = self.members.get_mut(id) else { return false };
        let before = member.assigned.clone();
        if let Some(owned) = owned {
            for part in member.given_back(owned) {
                self.owners.remove(&part);
            }
        }
        member.give_back(now_ms);
        if member.revoking.is_empty() {
            member.advance(epoch);
            for part in &member.target {
                let owner = self.owners.entry(*part).or_insert_with(|| id.to_owned());
                if owner == id {
                    member.assigned.insert(*part);
                }
            }
        }
        member.assigned != before
    }

    /// A member is no more. What it took, in bytes.
    fn remove(&mut self, id: &str) -> usize {
        let Some(member) = self.members.remove(id) else { return 0 };
        if let Some(instance) = &member.instance
            && self.instances.get(instance).is_some_and(|of| of == id)
        {
            self.instances.remove(instance);
        }
        self.owners.retain(|_, owner| owner != id);
        member.counted
    }

    fn next_due_ms(&self) -> Option<u64> {
        self.members.values().map(Member::due_ms).min()
    }

    fn state(&self) -> &'static str {
        let settled = |it: &Member| it.epoch == self.epoch && it.assigned == it.target;
        if self.members.values().all(settled) { "Stable" } else { "Reconciling" }
    }

    fn view(&self, name: &str) -> GroupView {
        let member = |(id, member): (&String, &Member)| member.view(id, &self.topics);
        GroupView {
            error: codes::NONE,
            message: None,
            group: name.to_owned(),
            state: self.state(),
            epoch: self.epoch,
            assignor: self.assignor.name(),
            members: self.members.iter().map(member).collect(),
        }
    }
}

/// Partitions by their topics.
fn by_topic(parts: &BTreeSet<Part>) -> Vec<TopicPartitions> {
    let mut topics: Vec<TopicPartitions> = Vec::new();
    for (id, index) in parts {
        match topics.last_mut() {
            Some(topic) if topic.id == *id => topic.partitions.push(*index),
            _ => topics.push(TopicPartitions { id: *id, partitions: vec![*index] }),
        }
    }
    topics
}
