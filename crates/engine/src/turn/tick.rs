//! What time brings about: leases that run out, timers, outcomes to forget, slices of operations,
//! jobs that become due, requests that have waited long enough. Each tick does a bounded part.

use super::Turn;
use super::consumers::Taker;
use super::waiters::Target;
use crate::answer::Answer;
use crate::ids::{MonoMs, TimeMs};
use crate::map::OrderedMap;
use crate::moment::{Clock, Moment};
use crate::operation::OperationState;
use crate::record::Record;

/// How often consumers and sessions are looked through, in milliseconds.
const SWEEP_MS: u64 = 10_000;

impl<M: OrderedMap> Turn<M> {
    /// Does a bounded part of what is due; true where more is due now.
    pub fn tick(&mut self, clock: Clock) -> bool {
        let moment = self.begin(clock);
        // First, so that what ends now is forgotten at the next tick at the earliest: outcomes of
        // one entry are filed at its end.
        let forgets = |turn: &Self| turn.state.next_forgetting().is_some_and(|at| at <= moment.at);
        if !self.stopping && forgets(self) {
            self.record_all(self.state.decide_forgetting(moment));
        }
        self.end_leases(moment);
        let timers = self.state.timers.first(&self.state);
        if timers.is_some_and(|at| at <= moment.at.0) {
            self.record_all(self.state.decide_timers(moment));
        }
        // The next life goes on with it: a stop does not wait for millions of jobs.
        if !self.stopping {
            self.record_all(self.state.decide_slice(moment));
        }
        for queue in self.state.lanes.due_between(self.swept, moment.at) {
            self.state.fresh_queues.insert(queue);
        }
        self.swept = moment.at;
        self.state.fresh_queues.append(&mut self.deferred);
        self.dispatch(moment);
        self.answer_overdue(moment);
        self.forget_sessions(moment);
        self.forget_idle_queues(moment);
        self.demand.sweep(moment.mono, SWEEP_MS);
        self.finish();
        self.next_wake_ms(clock) == Some(0)
    }

    fn end_leases(&mut self, moment: Moment) {
        for index in 0..self.state.limits.slice_items_max {
            let Some((expires, ns, id)) = self.state.lease_ends.first().copied() else { break };
            if expires >= moment.mono {
                break;
            }
            if let Some(token) = self.state.never_started(ns, id) {
                self.give_back(ns, (id, token), moment);
                continue;
            }
            let Some(record) = self.state.decide_lease_end(ns, id, moment, index as u64) else {
                self.state.lease_ends.pop_first();
                continue;
            };
            self.record(record);
        }
    }

    fn answer_overdue(&mut self, moment: Moment) {
        for _ in 0..self.state.limits.slice_items_max {
            let Some((reply_to, target)) = self.waiters.overdue(moment.mono) else { break };
            self.answer_present(reply_to, target, moment);
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
        };
        self.reply(reply_to, answer);
    }

    /// Answers everybody who waits.
    pub(super) fn answer_waiting(&mut self, moment: Moment) {
        while let Some((reply_to, target)) = self.waiters.overdue(MonoMs(u64::MAX)) {
            self.answer_present(reply_to, target, moment);
        }
    }

    /// Forgets sessions that have not asked for long and hold nothing.
    fn forget_sessions(&mut self, moment: Moment) {
        let idle_ms = self.state.limits.session_ms;
        if !self.demand.sweep_due(moment.mono) {
            return;
        }
        self.asked.sweep(moment.mono, idle_ms);
        let idle = |touched: MonoMs| touched.plus(idle_ms) <= moment.mono;
        let sessions = self.state.sessions.iter();
        let gone: Vec<_> = sessions
            .filter(|(_, session)| idle(session.touched))
            .take(16 * self.state.limits.slice_items_max)
            .map(|(key, _)| key.clone())
            .collect();
        for (namespace, worker, session) in gone {
            self.record(Record::SessionForgotten { namespace, worker, session });
        }
    }

    /// Milliseconds until a tick has something to do; `None` where only a request can bring that
    /// about.
    pub fn next_wake_ms(&self, clock: Clock) -> Option<u64> {
        let now = self.time.now(clock);
        let running = |state: &OperationState| *state == OperationState::Running;
        let operating = || self.state.operations.values().any(|it| running(&it.state));
        if !self.deferred.is_empty() || (!self.stopping && operating()) {
            return Some(0);
        }
        let mono = clock.mono.max(self.state.mono);
        let lease = self.state.lease_ends.first().map(|(expires, _, _)| expires.plus(1).0);
        let waiter = self.waiters.next_deadline().map(|deadline| deadline.0);
        let look = self.next_look_at_queues().map(|at| at.0);
        let by_mono =
            lease.into_iter().chain(waiter).chain(look).map(|at| at.saturating_sub(mono.0));
        let timer = self.state.timers.first(&self.state).map(TimeMs);
        let due = self
            .consumers
            .any_in_line()
            .then(|| self.state.lanes.next_due_after(self.swept.min(now)));
        let forget = if self.stopping { None } else { self.state.next_forgetting() };
        let by_wall = [timer, due.flatten(), forget].into_iter().flatten();
        by_mono.chain(by_wall.map(|at| at.since(now))).min()
    }
}
