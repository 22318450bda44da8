//! What is kept of jobs that have ended, and for how long.

use std::ops::ControlFlow;

use crate::ids::{JobId, NamespaceId, TimeMs};
use crate::job::Phase;
use crate::moment::Moment;
use crate::record::Record;
use crate::state::{Frontier, State, count, keys};
use crate::wire::Wire;

impl Phase {
    /// Its name, as people see it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Retrying => "retrying",
            Self::Succeeded { .. } => "succeeded",
            Self::Dead { .. } => "dead",
            Self::Cancelled { .. } => "cancelled",
            Self::Expired { .. } => "expired",
        }
    }
}

impl State {
    /// Records that forget outcomes and tombstones past their time or beyond their cap, at most a
    /// slice of each.
    pub(crate) fn decide_forgetting(&self, moment: Moment) -> Vec<Record> {
        let mut records = Vec::new();
        // One slice for all of them: each forgets one thing of either at least.
        let slice = self.limits.slice_items_max;
        let mut left = (slice, slice);
        for namespace in self.to_forget(moment.at, 2 * slice) {
            let Some(slot) = self.namespaces.get(namespace) else { continue };
            if left.0 == 0 && left.1 == 0 {
                break;
            }
            // Nobody can ask any more for what a namespace kept that was removed.
            let all = slot.namespace().deleted;
            let mut excess =
                slot.kept().outcome_bytes.saturating_sub(self.limits.outcome_bytes_max);
            let mut lots = Vec::new();
            self.eat(slot.outcomes(), &mut left.0, |forget_at, first, value| {
                let due = all || forget_at <= moment.at || excess > 0;
                let lot = lot_of(value);
                excess = excess.saturating_sub(lot.iter().map(|(_, size)| size).sum());
                due.then(|| lots.push((forget_at, first))).map(|()| lot.len())
            });
            let cap = self.limits.tombstones_max;
            let mut excess = slot.kept().tombstones.saturating_sub(cap);
            let mut early = 0;
            let mut tombstones = Vec::new();
            self.eat(slot.tombstones(), &mut left.1, |forget_at, id, _| {
                let due = all || forget_at <= moment.at;
                if !due && excess == 0 {
                    return None;
                }
                early += u64::from(!due);
                excess = excess.saturating_sub(1);
                tombstones.push((forget_at, id));
                Some(1)
            });
            let nothing =
                slot.outcomes().first(self).is_none() && slot.tombstones().first(self).is_none();
            if all && nothing && left.0 > 0 {
                left.0 -= 1;
                records.push(Record::NamespaceEmptied { id: namespace });
                continue;
            }
            // In this order: tombstones that the outcomes leave may come before those that go.
            if !tombstones.is_empty() {
                records.push(Record::TombstonesForgotten { namespace, tombstones, early });
            }
            if !lots.is_empty() {
                let keep_ms = if all { 0 } else { self.limits.tombstone_ms };
                let tombstones_until = moment.at.plus(keep_ms);
                records.push(Record::OutcomesForgotten { namespace, lots, tombstones_until });
            }
        }
        records
    }

    /// Offers the first entries of an index, a slice of them, until one is not taken. Who takes
    /// one says how many jobs it is about.
    fn eat(
        &self,
        index: &Frontier,
        left: &mut usize,
        mut take: impl FnMut(TimeMs, JobId, &bytes::Bytes) -> Option<usize>,
    ) {
        let (from, to) = index.range();
        self.scan(&from, &to, &mut |key, value| {
            if let (Some(at), Some(id)) = (keys::u64_at(key, 5), keys::id_at(key, 13))
                && *left > 0
                && let Some(taken) = take(TimeMs(at), id, value)
            {
                *left = left.saturating_sub(taken);
                return ControlFlow::Continue(());
            }
            ControlFlow::Break(())
        });
    }

    pub(crate) fn apply_outcomes_forgotten(
        &mut self,
        ns: NamespaceId,
        lots: &[(TimeMs, JobId)],
        tombstones_until: TimeMs,
    ) {
        for (forget_at, first) in lots {
            let key = keys::ended(ns, *forget_at, *first);
            let lot = self.get(&key).expect("the record names a lot of outcomes");
            if let Some(outcomes) = self.namespaces.outcomes(ns) {
                outcomes.eaten(&key);
            }
            self.remove(&key);
            for (id, size) in lot_of(&lot) {
                let job = self.job(ns, id).expect("a lot names jobs with outcomes");
                let kept = self.namespaces.change_kept(ns);
                count::take(&mut kept.outcome_bytes, size, "bytes of outcomes");
                self.forget_job(ns, &job, tombstones_until);
            }
        }
    }

    pub(crate) fn apply_tombstones_forgotten(
        &mut self,
        ns: NamespaceId,
        tombstones: &[(TimeMs, JobId)],
        early: u64,
    ) {
        for (forget_at, id) in tombstones {
            let key = keys::tombstone_order(ns, *forget_at, *id);
            if let Some(tombstones) = self.namespaces.tombstones(ns) {
                tombstones.eaten(&key);
            }
            self.remove(&key);
            self.remove(&keys::tombstone(ns, *id));
        }
        let kept = self.namespaces.change_kept(ns);
        count::take(&mut kept.tombstones, tombstones.len() as u64, "tombstones");
        kept.tombstones_dropped_total += early;
    }

    /// Removes a waiting or dead job without an outcome.
    pub(crate) fn apply_job_removed(&mut self, ns: NamespaceId, id: JobId) {
        let job = self.job(ns, id).expect("the record names a waiting or dead job");
        if let Phase::Dead { .. } = job.phase {
            self.leave_dead(ns, &job);
        } else {
            let queue = self.queue_of(ns, &job);
            self.unfile(ns, queue, &job);
            self.queues.change(queue).counts.cancelled_total += 1;
            self.leave_keys(ns, &job);
        }
        let tombstone_until = self.now().plus(crate::job::TOMBSTONE_MS_OF_REMOVED);
        self.forget_job(ns, &job, tombstone_until);
        self.jobs.note_ended(ns, id);
    }
}

/// The jobs of a lot of outcomes and their sizes.
fn lot_of(value: &bytes::Bytes) -> Vec<(JobId, u64)> {
    Wire::from_bytes(value).expect("a lot was encoded by this engine")
}
