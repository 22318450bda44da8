//! Forgetting producers. One that appended nothing for long counts as unknown already; a round
//! through all of them now and then removes what is kept of those.

use std::ops::ControlFlow;

use super::ProducerMark;
use crate::ids::{MonoMs, PartitionId, TimeMs};
use crate::record::Record;
use crate::state::{State, keys};
use crate::wire::Wire;

/// How often all producers are looked through.
const ROUND_MS: u64 = 3_600_000;

/// Where a round is. Volatile: the next life begins one.
#[derive(Debug, Default)]
pub(crate) struct ProducerRound {
    /// When the next look is due.
    at: MonoMs,
    /// The last key that was looked at.
    after: Option<Vec<u8>>,
}

impl State {
    /// When the next look at producers is due, if there are some.
    pub(crate) fn next_look_at_producers(&self) -> Option<MonoMs> {
        self.streams.has_producers.then_some(self.streams.round.at)
    }

    /// Looks at some producers, if that is due. The record that forgets those of them that appended
    /// nothing for long.
    pub(crate) fn look_at_producers(&mut self, now: TimeMs) -> Option<Record> {
        if self.next_look_at_producers().is_none_or(|at| at > self.mono()) {
            return None;
        }
        let from = self.streams.round.after.take();
        let from = from.map_or_else(|| vec![keys::PRODUCER], |key| keys::after(&key));
        let (most, mut looked) = (4 * self.limits.slice_items_max, 0);
        let (mut producers, mut last) = (Vec::new(), None);
        self.scan(&from, &[keys::PRODUCER + 1], &mut |key, value| {
            looked += 1;
            last = Some(key.to_vec());
            let (partition, id) = (keys::u64_at(key, 1), keys::u64_at(key, 9));
            if let (Some(partition), Some(id)) = (partition.map(PartitionId), id) {
                let gone = self.streams.partition(partition).is_none();
                let mark = ProducerMark::from_bytes(value);
                let old = |mark: ProducerMark| now.since(mark.at) >= self.limits.producer_ms;
                if gone || mark.is_ok_and(old) {
                    producers.push((partition, id));
                }
            }
            if looked < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if looked < most {
            self.streams.round.at = self.mono().plus(ROUND_MS);
            let all = from.len() == 1;
            // None is left where one look saw all and forgets all.
            self.streams.has_producers = !all || looked > producers.len();
        } else {
            self.streams.round.after = last;
        }
        (!producers.is_empty()).then_some(Record::ProducersForgotten { producers })
    }

    pub(crate) fn apply_producers_forgotten(&mut self, producers: &[(PartitionId, u64)]) {
        for (partition, id) in producers {
            self.remove(&keys::producer(*partition, *id));
        }
    }
}
