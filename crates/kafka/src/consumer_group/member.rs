//! A member of a group: what it wants, has, is to have, and is giving back.

use std::collections::{BTreeMap, BTreeSet};

use super::assign::{Assignor, Part};
use super::{Client, SESSION_MS, Topic};
use crate::message::consumer_groups::{
    HeartbeatRequest, MemberView, NamedPartitions, TopicPartitions,
};

/// What a member takes beside its texts and partitions, about; and what one of these takes in all
/// the sets in which it may be.
const ENTRY_BYTES: usize = 512;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance: Option<String>,
    rack: Option<String>,
    client: Client,
    pub(super) topics: BTreeSet<String>,
    pub(super) assignor: Option<Assignor>,
    /// The epoch of the group for which it has given back what it has to, and the one before.
    pub(super) epoch: i32,
    previous: i32,
    rebalance_ms: u64,
    expires_ms: u64,
    /// Its instance has left, and may come back within its session.
    pub(super) away: bool,
    /// What it is to have once others have given it back.
    pub(super) target: BTreeSet<Part>,
    /// What it is told to have.
    pub(super) assigned: BTreeSet<Part>,
    /// What it is told to have no more and has not said so, and until when it may take.
    pub(super) revoking: BTreeSet<Part>,
    revokes_until_ms: u64,
    /// As many bytes of it as are in the sum of all groups.
    pub(super) counted: usize,
}

impl Member {
    pub(super) fn new(now_ms: u64, instance: Option<String>, client: Client) -> Self {
        Self {
            instance,
            rack: None,
            client,
            topics: BTreeSet::new(),
            assignor: None,
            epoch: 0,
            previous: 0,
            rebalance_ms: 0,
            expires_ms: now_ms + SESSION_MS,
            away: false,
            target: BTreeSet::new(),
            assigned: BTreeSet::new(),
            revoking: BTreeSet::new(),
            revokes_until_ms: 0,
            counted: 0,
        }
    }

    /// What it takes in memory, in bytes; partitions are counted with the group.
    pub(super) fn bytes(&self, id: &str) -> usize {
        let topics: usize = self.topics.iter().map(|name| name.len() + 64).sum();
        let texts = [&self.instance, &self.rack].into_iter().flatten().map(String::len);
        let client = self.client.id.len() + self.client.host.len();
        ENTRY_BYTES + id.len() + topics + 2 * texts.sum::<usize>() + client
    }

    /// Whether a heartbeat is of its epoch, or of the one before whose answer it did not get.
    pub(super) fn is_at(&self, request: &HeartbeatRequest) -> bool {
        if request.epoch == self.epoch {
            return true;
        }
        // Only who says what it has is told anew what it is to have.
        let Some(owned) = &request.owned else { return false };
        let mut parts =
            owned.iter().flat_map(|it| it.partitions.iter().map(|index| (it.id, *index)));
        request.epoch == self.previous && parts.all(|part| self.assigned.contains(&part))
    }

    /// Takes over what a heartbeat says; whether what it wants has changed.
    pub(super) fn told_by(&mut self, now_ms: u64, request: &HeartbeatRequest) -> bool {
        (self.expires_ms, self.away) = (now_ms + SESSION_MS, false);
        if let Ok(ms) = u64::try_from(request.rebalance_timeout_ms) {
            self.rebalance_ms = ms;
        }
        if request.rack.is_some() {
            self.rack.clone_from(&request.rack);
        }
        let mut changed = false;
        if let Some(topics) = &request.topics {
            let topics: BTreeSet<String> = topics.iter().cloned().collect();
            changed = topics != self.topics;
            self.topics = topics;
        }
        if let Some(assignor) = request.assignor.as_deref().and_then(Assignor::named) {
            changed |= self.assignor.replace(assignor) != Some(assignor);
        }
        changed
    }

    /// It joins again and has nothing.
    pub(super) fn forget_all(&mut self) {
        (self.epoch, self.previous) = (0, 0);
        self.assigned.clear();
        self.revoking.clear();
    }

    /// What it says that it has: what it was to give back and does not have is given back.
    pub(super) fn given_back(&mut self, owned: &[TopicPartitions]) -> Vec<Part> {
        let has: BTreeSet<Part> = owned
            .iter()
            .flat_map(|it| it.partitions.iter().map(|index| (it.id, *index)))
            .filter(|part| self.revoking.contains(part))
            .collect();
        let back: Vec<Part> = self.revoking.difference(&has).copied().collect();
        self.revoking = has;
        back
    }

    /// Has it give back what it is to have no more.
    pub(super) fn give_back(&mut self, now_ms: u64) {
        let gone: Vec<Part> = self.assigned.difference(&self.target).copied().collect();
        if gone.is_empty() {
            return;
        }
        if self.revoking.is_empty() {
            self.revokes_until_ms = now_ms + self.rebalance_ms;
        }
        for part in gone {
            self.assigned.remove(&part);
            self.revoking.insert(part);
        }
    }

    /// Comes to an epoch of the group.
    pub(super) fn advance(&mut self, epoch: i32) {
        if self.epoch != epoch {
            (self.previous, self.epoch) = (self.epoch, epoch);
        }
    }

    /// When it counts as gone.
    pub(super) fn due_ms(&self) -> u64 {
        if self.revoking.is_empty() {
            self.expires_ms
        } else {
            self.expires_ms.min(self.revokes_until_ms)
        }
    }

    pub(super) fn view(&self, id: &str, topics: &BTreeMap<String, Topic>) -> MemberView {
        MemberView {
            member: id.to_owned(),
            instance: self.instance.clone(),
            rack: self.rack.clone(),
            epoch: self.epoch,
            client_id: self.client.id.clone(),
            client_host: self.client.host.clone(),
            topics: self.topics.iter().cloned().collect(),
            assignment: named(&self.assigned, topics),
            target: named(&self.target, topics),
        }
    }
}

fn named(parts: &BTreeSet<Part>, topics: &BTreeMap<String, Topic>) -> NamedPartitions {
    let of = |(name, topic): (&String, &Topic)| {
        let range = (topic.id, i32::MIN)..=(topic.id, i32::MAX);
        let indexes: Vec<i32> = parts.range(range).map(|(_, index)| *index).collect();
        (!indexes.is_empty()).then(|| (topic.id, name.clone(), indexes))
    };
    topics.iter().filter_map(of).collect()
}

impl HeartbeatRequest {
    /// What it asks to be kept, in bytes, about.
    pub(super) fn asked_bytes(&self) -> usize {
        let topics = self.topics.iter().flatten().map(|name| name.len() + 64).sum::<usize>();
        let texts = [&self.instance, &self.rack].into_iter().flatten().map(String::len);
        ENTRY_BYTES + topics + self.member.len() + 2 * texts.sum::<usize>()
    }
}
