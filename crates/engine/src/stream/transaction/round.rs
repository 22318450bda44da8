//! Forgetting transactional ids that nobody uses, and aborted transactions whose events are kept no
//! longer: a round through all of them now and then, in slices.

use std::ops::ControlFlow;

use crate::ids::{MonoMs, PartitionId, TimeMs};
use crate::record::Record;
use crate::state::{State, keys};

/// How often all are looked through.
const ROUND_MS: u64 = 3_600_000;

/// Where a round is. Volatile: the next life begins one.
#[derive(Debug, Default)]
pub(super) struct TransactionRound {
    /// When the next look is due.
    at: MonoMs,
    /// The last producer that was looked at; all of them where it is the last number.
    producer: Option<u64>,
    /// The last key of an aborted transaction that was looked at.
    after: Option<Vec<u8>>,
}

impl State {
    /// When the next look at transactions is due, if there are some.
    pub(crate) fn next_look_at_transactions(&self) -> Option<MonoMs> {
        let transactions = &self.streams.transactions;
        let any = !transactions.all.is_empty() || transactions.has_aborted;
        any.then_some(transactions.round.at)
    }

    /// Looks at some, if that is due. The records that forget those of them that are of no use.
    pub(crate) fn look_at_transactions(&mut self, now: TimeMs) -> Vec<Record> {
        if self.next_look_at_transactions().is_none_or(|at| at > self.mono()) {
            return Vec::new();
        }
        let most = 4 * self.limits.slice_items_max;
        let from = self.streams.transactions.round.producer.map_or(0, |it| it.saturating_add(1));
        let looked: Vec<u64> =
            self.streams.transactions.all.range(from..).take(most).map(|(id, _)| *id).collect();
        let idle = |producer: &&u64| {
            let known = self.streams.transactions.get(**producer);
            known.is_some_and(|known| self.is_idle(known, now))
        };
        let producers: Vec<u64> = looked.iter().filter(idle).copied().collect();
        let mut records = Vec::new();
        if !producers.is_empty() {
            records.push(Record::TransactionalIdsForgotten { producers });
        }
        if looked.len() == most {
            self.streams.transactions.round.producer = looked.last().copied();
            return records;
        }
        self.streams.transactions.round.producer = Some(u64::MAX);
        records.extend(self.look_at_aborted(most));
        records
    }

    fn look_at_aborted(&mut self, most: usize) -> Option<Record> {
        let from = self.streams.transactions.round.after.take();
        let from = from.map_or_else(|| vec![keys::ABORTED], |key| keys::after(&key));
        let (mut looked, mut last, mut aborted) = (0, None, Vec::new());
        self.scan(&from, &[keys::ABORTED + 1], &mut |key, _| {
            looked += 1;
            last = Some(key.to_vec());
            if let (Some(id), Some(marker)) = (keys::u64_at(key, 1), keys::u64_at(key, 9)) {
                let partition = self.streams.partition(PartitionId(id));
                if partition.is_none_or(|partition| marker < partition.ends.start) {
                    aborted.push((PartitionId(id), marker));
                }
            }
            if looked < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let mono = self.mono();
        let transactions = &mut self.streams.transactions;
        if looked < most {
            transactions.has_aborted = from.len() > 1 || looked > aborted.len();
            transactions.round =
                TransactionRound { at: mono.plus(ROUND_MS), ..TransactionRound::default() };
        } else {
            transactions.round.after = last;
        }
        (!aborted.is_empty()).then_some(Record::AbortedForgotten { aborted })
    }
}
