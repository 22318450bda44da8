//! What time brings about: leases that run out, timers, outcomes to forget, slices of operations,
//! jobs that become due, requests that have waited long enough. Each tick does a bounded part.

use std::ops::Bound::{Included, Unbounded};

use super::Turn;
use super::consumers::Taker;
use super::waiters::Target;
use crate::answer::Answer;
use crate::effect::CloseReason;
use crate::ids::{MonoMs, TimeMs};
use crate::moment::{Clock, Moment};
use crate::record::Record;

/// How often consumers and sessions are looked through, in milliseconds.
const SWEEP_MS: u64 = 10_000;

/// Transactions that are aborted in one tick because they took too long.
const TRANSACTION_ENDS_MAX: usize = 4;

impl Turn {
    /// Does a bounded part of what is due; true where more is due now.
    pub fn tick(&mut self, clock: Clock) -> bool {
        let moment = self.begin(clock);
        // First, so that what ends now is forgotten at the next tick at the earliest: outcomes of
        // one entry are filed at its end.
        let forgets = |turn: &Self| turn.state.next_forgetting().is_some_and(|at| at <= moment.at);
        if !self.stopping && forgets(self) {
            self.record_all(self.state.decide_forgetting(moment));
        }
        self.tell_some();
        self.advance_slices(moment);
        self.state.advance_gates();
        self.state.advance_deadlines();
        self.end_leases(moment);
        let timers = self.state.timers.first(&self.state);
        if timers.is_some_and(|at| at <= moment.at.0) {
            self.pass_timers(moment);
        }
        if self.state.next_refill().is_some_and(|at| at <= moment.at) {
            self.record_all(Vec::from_iter(self.state.decide_refills(moment)));
        }
        // What is left goes on in the next life: a stop does not wait for millions of jobs or
        // keys.
        if !self.stopping {
            self.record_all(Vec::from_iter(self.state.decide_let_go()));
            self.record_all(Vec::from_iter(self.state.decide_limit_round()));
            self.record_all(Vec::from_iter(self.state.decide_minutes_removed()));
            // One at a time: each forgets an offset of each partition of its stream.
            self.record_all(self.state.decide_replay_over());
            self.go_on_with_operation(moment);
        }
        if self.state.next_audit_to_forget().is_some_and(|at| at <= moment.at) {
            self.record_all(Vec::from_iter(self.state.decide_audit_forgotten(moment.at)));
        }
        if self.state.next_answer_to_forget().is_some_and(|at| at <= moment.at) {
            self.record_all(Vec::from_iter(self.state.decide_answers_forgotten(moment.at)));
        }
        self.look_at_slas(moment);
        self.state.note_fresh(std::mem::take(&mut self.deferred));
        self.tick_messages(moment);
        self.go_on_with_walks(moment);
        self.dispatch(moment);
        self.dispatch_messages(moment);
        self.answer_overdue(moment);
        self.send_some_away(moment);
        self.state.limiting.drop_some();
        self.forget_sessions(moment);
        self.forget_idle_queues(moment);
        let forgotten = self.state.look_at_producers(moment.at);
        self.record_all(Vec::from_iter(forgotten));
        let forgotten = self.state.look_at_counts();
        self.record_all(Vec::from_iter(forgotten));
        let forgotten = self.state.look_at_offsets(moment.at);
        self.record_all(forgotten);
        self.end_transactions(moment);
        self.demand.sweep(moment.mono, SWEEP_MS);
        self.finish();
        self.next_wake_ms(clock) == Some(0)
    }

    fn end_leases(&mut self, moment: Moment) {
        for index in 0..self.state.limits.slice_items_max {
            let Some((expires, ns, id)) = self.state.leases.first_end() else { break };
            if expires >= moment.mono {
                break;
            }
            if self.state.file_end_as_heard(ns, id) {
                continue;
            }
            if let Some(token) = self.state.never_started(ns, id) {
                self.give_back(ns, (id, token), moment);
                continue;
            }
            let record = self.state.decide_lease_end(ns, id, moment, index as u64);
            self.record(record.expect("what runs out is a lease"));
        }
    }

    /// Aborts some of the transactions that have been open for too long, and forgets what nobody
    /// needs of others.
    fn end_transactions(&mut self, moment: Moment) {
        // Each may have thousands of partitions and offsets.
        let mut items = 0;
        for index in 0..TRANSACTION_ENDS_MAX {
            let Some((record, more)) = self.state.decide_transaction_overdue() else { break };
            items += more;
            if index > 0 && items > self.state.limits.slice_items_max {
                break;
            }
            self.record(record);
        }
        let forgotten = self.state.look_at_transactions(moment.at);
        self.record_all(forgotten);
    }

    /// Answers some of those who have waited long enough, which are all where the shard stops.
    pub(super) fn answer_overdue(&mut self, moment: Moment) {
        let until = if self.stopping { MonoMs(u64::MAX) } else { moment.mono };
        for _ in 0..self.state.limits.slice_items_max {
            let Some((reply_to, target)) = self.waiters.overdue(until) else { break };
            self.answer_present(reply_to, target, moment);
        }
    }

    /// Whether somebody waits or has a stream.
    fn anybody_is_there(&self) -> bool {
        self.waiters.len() > 0 || self.consumers.stream_count() > 0 || self.takers.first().is_some()
    }

    /// Answers and closes some of those who wait or have streams where a namespace was deleted, or
    /// the shard stops.
    pub(super) fn send_some_away(&mut self, moment: Moment) {
        for _ in 0..self.state.limits.slice_items_max {
            if let Some(ns) = self.leaving.first().copied() {
                if let Some((reply_to, target)) = self.waiters.first_in(ns) {
                    self.answer_present(reply_to, target, moment);
                } else if let Some(consumer) = self.consumers.first_stream(Some(ns)) {
                    self.close(consumer, CloseReason::NamespaceDeleted);
                } else {
                    self.leaving.remove(&ns);
                }
            } else if !self.stopping {
                return;
            } else if let Some(consumer) = self.consumers.first_stream(None) {
                self.close(consumer, CloseReason::Stopping);
            } else if let Some(consumer) = self.takers.first() {
                self.takers.remove(consumer);
                self.close(consumer, CloseReason::Stopping);
            } else {
                return;
            }
        }
    }

    /// Answers a request that has waited with what there is.
    pub(super) fn answer_present(
        &mut self,
        reply_to: crate::command::ReplyTo,
        target: Target,
        moment: Moment,
    ) {
        self.waiters.remove(reply_to);
        let answer = match target {
            Target::Work => {
                let Some(consumer) = self.consumers.remove(Taker::Once(reply_to)) else { return };
                Answer::Leased { jobs: Vec::new(), settled: consumer.settled }
            }
            Target::End(ns, id) => self.job_answer(ns, id, moment.at),
            Target::Quiet(ns, epoch) => self.awaited_hold(ns, epoch),
            Target::Messages => return self.answer_waiting_for_messages(reply_to),
        };
        self.reply(reply_to, answer);
    }

    /// Forgets sessions that have been granted nothing for long and hold nothing. All are looked
    /// through now and then, a bounded number in one turn.
    fn forget_sessions(&mut self, moment: Moment) {
        let idle_ms = self.state.limits.session_ms;
        if self.demand.sweep_due(moment.mono) {
            self.asks.sweep(moment.mono, idle_ms);
            self.session_round.get_or_insert(Unbounded);
        }
        let Some(from) = self.session_round.take() else { return };
        let most = 16 * self.state.limits.slice_items_max;
        let (mut looked, mut gone) = (0, Vec::new());
        for (key, session) in self.state.sessions.from(from) {
            if looked >= most {
                self.session_round = Some(Included(key.clone()));
                break;
            }
            looked += 1;
            if session.touched.plus(idle_ms) > moment.mono {
                continue;
            }
            let mut grants = session.unseen.iter().flat_map(|asked| &asked.grants);
            looked += session.unseen.iter().map(|asked| asked.grants.len()).sum::<usize>() / 64;
            // While it is at one of its jobs, its answers may be asked for again.
            if !grants.any(|(id, token)| self.state.has_lease(key.0, *id, *token)) {
                gone.push(key.clone());
            }
        }
        for (namespace, worker, session) in gone {
            self.record(Record::SessionForgotten { namespace, worker, session });
        }
    }

    /// Milliseconds until a tick has something to do; `None` where only a request can bring that
    /// about.
    pub fn next_wake_ms(&self, clock: Clock) -> Option<u64> {
        let now = self.time.now(clock);
        let operating = || self.state.operations.running().next().is_some();
        let offered = !self.state.has_fresh() || !self.may_grant() || !self.consumers.any_in_line();
        let goes_on = !offered
            || !self.deferred.is_empty()
            || !self.walks.is_empty()
            || !self.slices.is_empty()
            || !self.untold.is_empty()
            || self.messages_go_on()
            || self.state.gating.goes_on()
            || !self.leaving.is_empty()
            || self.state.limiting.has_gone()
            || self.state.limiting.is_offering()
            || (self.stopping && self.anybody_is_there());
        let next_life = || {
            self.state.limits_go_on()
                || self.state.slas_go_on()
                || self.state.holds.goes_on()
                || self.state.has_replay_over()
                || self.state.lanes.go_on()
                || operating()
        };
        if goes_on || (!self.stopping && next_life()) {
            return Some(0);
        }
        let mono = clock.mono.max(self.state.mono());
        let lease = self.state.leases.first_end().map(|(expires, _, _)| expires.plus(1).0);
        let waiter = self.waiters.next_deadline().map(|deadline| deadline.0);
        let look = self.next_look_at_queues().map(|at| at.0);
        let message = self.state.messages.first_lease_end().map(|(end, _)| end.plus(1).0);
        let slas = self.next_look_at_slas().map(|at| at.0);
        let producers = self.state.next_look_at_producers().map(|at| at.0);
        let counts = self.state.next_look_at_counts().map(|at| at.0);
        let offsets = self.state.next_look_at_offsets().map(|at| at.0);
        let transactions = self.state.next_look_at_transactions();
        let transactions = transactions.into_iter().chain(self.state.next_transaction_end());
        let transactions = transactions.map(|at| at.0);
        let unused = self.takers.queue_ends_in_order.first().map(|(at, _)| at.0);
        let unused = unused.filter(|_| !self.stopping);
        let by_mono = lease
            .into_iter()
            .chain(unused)
            .chain(waiter)
            .chain(look)
            .chain(message)
            .chain(producers)
            .chain(counts)
            .chain(offsets)
            .chain(transactions)
            .chain(slas)
            .map(|at| at.saturating_sub(mono.0));
        let timer = self.state.timers.first(&self.state).map(TimeMs);
        let expiry = self.state.messages.next_expiry(&self.state);
        // What is yet to be put forward is so whether anybody waits or not.
        let takes = self.may_grant() && self.consumers.any_in_line();
        let due = self.state.lanes.next_due().filter(|at| *at <= now || takes);
        let forget = if self.stopping { None } else { self.state.next_forgetting() };
        let refill = self.state.next_refill();
        let delay = self.state.messages.next_delayed(&self.state);
        let delay = delay.filter(|_| self.may_grant());
        let audit = self.state.next_audit_to_forget();
        let answer = self.state.next_answer_to_forget();
        let by_wall = [timer, expiry, delay, due, forget, refill, audit, answer];
        let by_wall = by_wall.into_iter().flatten();
        by_mono.chain(by_wall.map(|at| at.since(now))).min()
    }
}
