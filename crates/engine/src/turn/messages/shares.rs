//! Credit that several consumers of a connection share: none of them takes more once it is spent,
//! whatever credit of its own it has. Volatile, as consumers are.

use std::collections::{BTreeMap, BTreeSet};

use crate::command::ConsumerId;
use crate::ids::ConnectionId;

/// Credit of several consumers. It has a number as a consumer has.
#[derive(Debug)]
struct Share {
    connection: ConnectionId,
    credit: u64,
    members: BTreeSet<ConsumerId>,
}

/// The shares of a shard.
#[derive(Debug, Default)]
pub(super) struct Shares {
    shares: BTreeMap<ConsumerId, Share>,
    /// Which share each consumer takes from.
    of: BTreeMap<ConsumerId, ConsumerId>,
}

impl Shares {
    /// Consumers take from a share from now on, which is made where it is not there.
    pub(super) fn join(
        &mut self,
        share: ConsumerId,
        connection: ConnectionId,
        consumers: &[ConsumerId],
    ) {
        let credit = 0;
        let known = self.shares.entry(share);
        let known = known.or_insert_with(|| Share { connection, credit, members: BTreeSet::new() });
        known.members.extend(consumers);
        self.of.extend(consumers.iter().map(|consumer| (*consumer, share)));
    }

    /// Gives a share more. Answers who takes from it; `None` where there is no such share.
    pub(super) fn add(&mut self, share: ConsumerId, more: u64) -> Option<Vec<ConsumerId>> {
        let known = self.shares.get_mut(&share)?;
        known.credit = known.credit.saturating_add(more);
        Some(known.members.iter().copied().collect())
    }

    /// Gives a share less. Answers who can take nothing more.
    pub(super) fn take(&mut self, share: ConsumerId, less: u64) -> Vec<ConsumerId> {
        let Some(known) = self.shares.get_mut(&share) else { return Vec::new() };
        known.credit = known.credit.saturating_sub(less);
        if known.credit > 0 {
            return Vec::new();
        }
        known.members.iter().copied().collect()
    }

    /// A consumer was handed a message. Answers who can take nothing more by that.
    pub(super) fn pay(&mut self, consumer: ConsumerId) -> Vec<ConsumerId> {
        match self.of.get(&consumer).copied() {
            Some(share) => self.take(share, 1),
            None => Vec::new(),
        }
    }

    /// Whether a consumer has to wait for others.
    pub(super) fn is_spent(&self, consumer: ConsumerId) -> bool {
        let share = self.of.get(&consumer).and_then(|share| self.shares.get(share));
        share.is_some_and(|share| share.credit == 0)
    }

    /// A consumer has gone.
    pub(super) fn leave(&mut self, consumer: ConsumerId) {
        if let Some(share) = self.of.remove(&consumer)
            && let Some(share) = self.shares.get_mut(&share)
        {
            share.members.remove(&consumer);
        }
    }

    /// A share ends; nobody takes from it any more.
    pub(super) fn end(&mut self, share: ConsumerId) {
        for member in self.shares.remove(&share).into_iter().flat_map(|share| share.members) {
            self.of.remove(&member);
        }
    }

    /// A connection has ended.
    pub(super) fn forget(&mut self, connection: ConnectionId) {
        if self.shares.is_empty() {
            return;
        }
        let of = self.shares.iter().filter(|(_, share)| share.connection == connection);
        let ended: Vec<_> = of.map(|(share, _)| *share).collect();
        for share in ended {
            self.end(share);
        }
    }
}
