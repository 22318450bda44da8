//! What a group counts as members come and go: how many speak each protocol, and how many bytes all
//! of it takes. So neither a join nor a rebalance looks at every member for each protocol.

use std::collections::BTreeMap;

use super::{ENTRY_BYTES, Group, Member};
use crate::message::groups::JoinRequest;

impl Member {
    /// What it takes, with its name and what points to it.
    fn bytes(&self, id: &str) -> usize {
        let protocols = self.protocols.iter().map(|(name, it)| 2 * name.len() + it.len());
        let client = self.client.id.len() + self.client.host.len();
        let instance = self.instance.as_ref().map_or(0, |it| 2 * it.len() + id.len());
        let texts = id.len() + client + instance + self.assignment.len();
        protocols.sum::<usize>() + texts + ENTRY_BYTES
    }
}

impl Group {
    pub(super) fn put_member(&mut self, id: &str, member: Member) {
        // There is none of that name, or its counts would be lost.
        drop(self.take_member(id));
        self.bytes += member.bytes(id);
        for (name, _) in &member.protocols {
            *self.spoken.entry(name.clone()).or_default() += 1;
        }
        self.members.insert(id.to_owned(), member);
    }

    pub(super) fn take_member(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.bytes = self.bytes.saturating_sub(member.bytes(id));
        for (name, _) in &member.protocols {
            if let Some(count) = self.spoken.get_mut(name) {
                *count -= 1;
                if *count == 0 {
                    self.spoken.remove(name);
                }
            }
        }
        Some(member)
    }

    /// Gives out a name that holds until then.
    pub(super) fn give_name(&mut self, id: &str, until_ms: u64) {
        if self.named.insert(id.to_owned(), until_ms).is_none() {
            self.bytes += id.len() + ENTRY_BYTES;
        }
    }

    /// Whether the name had been given out.
    pub(super) fn forget_name(&mut self, id: &str) -> bool {
        let given = self.named.remove(id).is_some();
        if given {
            self.bytes = self.bytes.saturating_sub(id.len() + ENTRY_BYTES);
        }
        given
    }

    /// Forgets names by the instants up to which they hold.
    pub(super) fn forget_names(&mut self, gone: impl Fn(u64) -> bool) {
        let bytes = &mut self.bytes;
        self.named.retain(|id, until_ms| {
            let stays = !gone(*until_ms);
            if !stays {
                *bytes = bytes.saturating_sub(id.len() + ENTRY_BYTES);
            }
            stays
        });
    }

    /// Whether a protocol is spoken by all members and by whoever joins.
    pub(super) fn is_shared(&self, request: &JoinRequest) -> bool {
        let own = self.members.get(&request.member);
        let others = self.members.len() - usize::from(own.is_some());
        let spoken = |name: &str| {
            let own = own.is_some_and(|it| it.protocols.iter().any(|(own, _)| own == name));
            self.spoken.get(name).copied().unwrap_or_default() - usize::from(own)
        };
        request.protocols.iter().any(|(name, _)| spoken(name) == others)
    }

    /// The protocol that most members like best, of those that all of them speak; of several the
    /// one that the first member likes best.
    pub(super) fn vote(&self) -> String {
        let all = self.members.len();
        let shared = |name: &str| self.spoken.get(name).is_some_and(|count| *count == all);
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| shared(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let first = self.members.values().next();
        let names = first.into_iter().flat_map(|it| &it.protocols).map(|(name, _)| name.as_str());
        let liked = |name: &&str| votes.get(name).copied().unwrap_or_default();
        let best = names.filter(|name| shared(name)).rev().max_by_key(liked);
        best.unwrap_or_default().to_owned()
    }
}
