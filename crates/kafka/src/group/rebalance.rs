//! A rebalance: all members join again, the coordinator counts a generation, and one member says
//! who gets what.

use super::{Answer, Group, State, Ticket};
use crate::codes;
use crate::message::groups::{Joined, JoinedMember, Synced};

impl Group {
    /// Begins a rebalance, or ends one for which nobody is waited any more.
    pub(super) fn rebalance(&mut self, now_ms: u64, answers: &mut Vec<(Ticket, Answer)>) {
        if !matches!(self.state, State::Preparing { .. }) {
            let error = codes::REBALANCE_IN_PROGRESS;
            for member in self.members.values_mut() {
                if let Some(ticket) = member.syncing.take() {
                    member.heard(now_ms);
                    answers.push((ticket, Answer::Synced(Synced { error, ..Synced::default() })));
                }
            }
            let longest = self.members.values().map(|member| member.rebalance_ms).max();
            let until_ms = now_ms + longest.unwrap_or_default();
            self.state = State::Preparing { until_ms };
        }
        if self.named.is_empty() && self.members.values().all(|it| it.joining.is_some()) {
            self.complete(now_ms, answers);
        }
    }

    /// Counts a generation of those who have joined.
    fn complete(&mut self, now_ms: u64, answers: &mut Vec<(Ticket, Answer)>) {
        if self.members.is_empty() {
            self.state = State::Stable;
            return;
        }
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        self.protocol = self.vote();
        self.state = State::Completing;
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let joined = self.joined(&id);
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.heard(now_ms);
            if let Some(ticket) = member.joining.take() {
                answers.push((ticket, Answer::Joined(joined)));
            }
        }
    }

    /// What a member is told of the present generation.
    pub(super) fn joined(&self, id: &str) -> Joined {
        let told = |(id, member): (&String, &super::Member)| JoinedMember {
            member: id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(&self.protocol),
        };
        let leads = self.leader == id;
        Joined {
            error: codes::NONE,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member: id.to_owned(),
            members: if leads { self.members.iter().map(told).collect() } else { Vec::new() },
        }
    }

    pub(super) fn tick(&mut self, now_ms: u64, answers: &mut Vec<(Ticket, Answer)>) {
        self.forget_names(|until_ms| until_ms <= now_ms);
        let silent = |(id, member): (&String, &super::Member)| {
            (!member.waits() && member.expires_ms <= now_ms).then(|| id.clone())
        };
        let mut gone: Vec<String> = self.members.iter().filter_map(silent).collect();
        let overdue = matches!(self.state, State::Preparing { until_ms } if until_ms <= now_ms);
        if overdue {
            self.forget_names(|_| true);
            let late = |(id, member): (&String, &super::Member)| {
                member.joining.is_none().then(|| id.clone())
            };
            gone.extend(self.members.iter().filter_map(late));
        }
        let changes = !gone.is_empty();
        for id in gone {
            self.remove(&id, answers);
        }
        if changes || matches!(self.state, State::Preparing { .. }) {
            self.rebalance(now_ms, answers);
        }
    }
}
