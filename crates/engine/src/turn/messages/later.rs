//! What comes later by itself: messages that were published with a delay, and the end of queues
//! that nobody uses.

use std::collections::BTreeSet;

use crate::ids::{NamespaceId, QueueId};
use crate::message::{Entering, MessageAnswer, PublishMessage};
use crate::moment::Moment;
use crate::record::Record;
use crate::turn::Turn;
use crate::turn::messages::takers::PolicyRound;

/// Policies that a queue's name is compared with at the cost of an item of a slice.
const POLICIES_PER_ITEM: usize = 2;

impl Turn {
    /// Routes some of the messages whose time has come.
    pub(super) fn publish_delayed(&mut self, moment: Moment) {
        for _ in 0..self.state.limits.slice_items_max {
            let Some((entering, is_outcome)) = self.state.decide_due_message(moment) else { break };
            let Entering { records, jobs_dropped, events_dropped } = entering;
            let passed = records.first().cloned();
            let mut entered = super::settle::entered(&records);
            let mut lost = records.len() == 1;
            // The message fitted when it was published; its queues may be more than an entry
            // takes.
            if self.try_record(records).is_err() {
                self.record_all(Vec::from_iter(passed));
                entered.clear();
                lost = true;
            } else {
                self.lost.jobs_dropped += jobs_dropped;
                self.lost.events_dropped += events_dropped;
            }
            if is_outcome {
                self.lost.outcomes_lost += u64::from(lost);
            } else {
                self.lost.delayed_lost += u64::from(lost);
            }
            self.note_lengths(&entered);
            if self.takers.is_used_up() {
                break;
            }
        }
        self.enforce_lengths(moment);
    }

    /// Does the next slice of an operation; what it moves may make queues too long.
    pub(in crate::turn) fn go_on_with_operation(&mut self, moment: Moment) {
        let records = self.state.decide_slice(moment);
        let entered = super::settle::entered(&records);
        self.record_all(records);
        if !entered.is_empty() {
            self.note_lengths(&entered);
            self.enforce_lengths(moment);
        }
    }

    /// A message was refused by queues that have it become a dead letter, `full` among them.
    pub(super) fn leave_refused_letters(
        &mut self,
        ns: NamespaceId,
        message: &PublishMessage,
        full: &str,
        moment: Moment,
    ) {
        for queue in self.state.refusing_with_letter(ns, message, full, moment) {
            let letter = self.state.decide_refused_letter(ns, queue, message, moment);
            let entered = super::settle::entered(&letter.records);
            // Its publisher knows that it was refused, letter or not.
            if self.try_record(letter.records).is_ok() {
                self.lost.jobs_dropped += letter.jobs_dropped;
                self.lost.events_dropped += letter.events_dropped;
                self.note_lengths(&entered);
            }
        }
    }

    /// Somebody uses a queue. If it is to end for want of use, that is put off.
    pub(in crate::turn) fn queue_used(&mut self, queue: QueueId) {
        let settings = self.state.message_settings(queue);
        if let Some(expires_ms) = settings.and_then(|settings| settings.expires_ms) {
            self.takers.stays_ms.insert(queue, expires_ms);
            self.takers.end_queue_at(queue, Some(self.state.mono().plus(expires_ms)));
        }
    }

    /// Changes a policy. What that means for queues that are there follows as the shard ticks.
    pub(super) fn change_policies(
        &mut self,
        ns: NamespaceId,
        record: Option<Record>,
    ) -> MessageAnswer {
        let changed = record.is_some();
        self.record_all(Vec::from_iter(record));
        if changed {
            if let Some(round) = &mut self.takers.policy_round {
                // Queues that were looked at already are looked at again, after the others.
                round.next.insert(ns);
            } else {
                let of = BTreeSet::from([ns]);
                let round = PolicyRound { of, ..PolicyRound::default() };
                self.takers.policy_round = Some(round);
            }
        }
        MessageAnswer::Changed(changed)
    }

    /// Looks at some queues after policies have changed: whether they are too long now, and
    /// whether they stay for another time without use.
    pub(super) fn go_on_with_policies(&mut self) {
        let Some(PolicyRound { after, of, next }) = self.takers.policy_round.take() else {
            return;
        };
        // Each name is compared with each pattern.
        let compared = 1 + self.state.messages.policies_most() / POLICIES_PER_ITEM;
        let most = self.state.limits.slice_items_max.div_ceil(compared);
        let queues = self.state.queues.all_after(after).take(most);
        let queues: Vec<_> = queues.map(|queue| (queue.namespace, queue.id)).collect();
        let last = queues.last().filter(|_| queues.len() == most).map(|(_, last)| *last);
        for (ns, queue) in queues.into_iter().filter(|(ns, _)| of.contains(ns)) {
            let expires_ms = self.state.message_settings(queue).and_then(|it| it.expires_ms);
            if expires_ms != self.takers.stays_ms.get(&queue).copied() {
                self.takers.end_queue_at(queue, None);
                self.takers.stays_ms.remove(&queue);
                self.queue_used(queue);
            }
            if self.state.is_too_long(queue) {
                self.takers.too_long.insert((ns, queue));
            }
        }
        self.takers.policy_round = match last {
            Some(last) => Some(PolicyRound { after: Some(last), of, next }),
            None if next.is_empty() => None,
            None => Some(PolicyRound { of: next, ..PolicyRound::default() }),
        };
    }

    /// A start counts as a use of every queue.
    pub(in crate::turn) fn begin_to_expire_queues(&mut self) {
        let all: Vec<_> = self.state.queues.all_after(None).map(|queue| queue.id).collect();
        for queue in all {
            self.queue_used(queue);
        }
    }

    /// Ends a bounded number of queues that nobody has used for long enough.
    pub(super) fn expire_queues(&mut self, moment: Moment) {
        for _ in 0..self.state.limits.slice_items_max.div_ceil(4) {
            let first = self.takers.queue_ends_in_order.first().copied();
            let Some((_, queue)) = first.filter(|(at, _)| *at <= moment.mono) else { return };
            self.takers.end_queue_at(queue, None);
            // Whoever consumes or waits uses it, and puts its end off when it leaves.
            if self.takers.any(queue) {
                continue;
            }
            if let Some(ns) = self.state.queues.get(queue).map(|queue| queue.namespace) {
                self.remove_message_queue(ns, queue);
            }
        }
    }
}
