//! What time brings about.

use std::collections::BTreeSet;

use longshore_engine::{
    Answer, Cause, Clock, JobId, NamespaceId, OperationState, Phase, QueueId, QueueSettings,
    Settlement, TimeMs, Verdict,
};

use super::{Held, Reference, Target, Waiter};

const SWEEP_MS: u64 = 10_000;

impl Reference {
    /// Does everything that is due.
    pub(crate) fn tick(&mut self, clock: Clock) {
        self.begin(clock);
        self.housekeep();
        self.end_leases();
        self.pass_timers();
        self.open_gates();
        self.refill();
        self.hold_back();
        self.let_go();
        self.advance_operation();
        self.dispatch();
        self.answer_overdue(self.mono);
        if self.mono >= self.next_sweep {
            self.sweep();
        }
        self.forget_idle_queues();
        self.finish();
    }

    fn end_leases(&mut self) {
        let due = |job: &super::RefJob| {
            let run = job.run.as_ref()?;
            let timed_out = run.timeout.is_some_and(|timeout| timeout < self.mono);
            let free = (run.held == Held::Delivered).then_some(run.lease.token);
            let id = job.job.id;
            (run.expires < self.mono).then_some((run.expires, job.ns, id, timed_out, free))
        };
        let mut ends: Vec<_> = self.jobs.iter().filter_map(due).collect();
        ends.sort_unstable();
        for (index, (_, ns, id, timed_out, free)) in (0..).zip(ends) {
            if let Some(token) = free {
                let release = Settlement { id, token, verdict: Verdict::Release };
                self.settle_all(ns, &[release]).remove(0).expect("its lease is live");
                continue;
            }
            let cause = if timed_out { Cause::Timeout } else { Cause::Lost };
            self.fail(ns, id, &cause, None, (None, index));
        }
    }

    /// Does what timers ask for, in their order: jobs before schedules of the same instant.
    fn pass_timers(&mut self) {
        loop {
            let job = self.jobs.iter().filter_map(|job| Some((self.late_since(job)?, job)));
            let job = job.map(|(at, job)| (at, job.ns, job.job.id)).min();
            let schedule = self.next_due().filter(|(due, ..)| *due <= self.now);
            match (job, schedule) {
                (Some((at, ns, id)), due) if due.is_none_or(|(due, ..)| at <= due) => {
                    self.end_late_job(ns, id);
                }
                (_, Some((.., index))) => self.fire(index),
                (_, None) => return,
            }
        }
    }

    /// Since when its time is over.
    fn late_since(&self, job: &super::RefJob) -> Option<TimeMs> {
        let of = &job.job;
        if let Phase::Dead { forget_at, .. } = of.phase {
            return Some(forget_at).filter(|at| *at <= self.now);
        }
        if job.run.is_some() || !of.phase.is_unfinished() || self.out_of_time(of).is_none() {
            return None;
        }
        let expires_at = of.options.expires_at.filter(|_| of.attempt == 0);
        expires_at.into_iter().chain(of.deadline).filter(|at| *at <= self.now).min()
    }

    fn end_late_job(&mut self, ns: NamespaceId, id: JobId) {
        let job = self.job(ns, id).expect("it is late").job.clone();
        match self.out_of_time(&job).filter(|_| job.phase.is_unfinished()) {
            Some(late) => self.end_late(ns, id, late),
            None => self.remove_job(ns, id),
        }
    }

    /// Answers requests that have waited until then with what there is.
    pub(super) fn answer_overdue(&mut self, until: u64) {
        self.answer_those(|waiter| waiter.deadline <= until);
    }

    /// Nobody waits in a namespace that is removed.
    pub(super) fn answer_those_in(&mut self, ns: NamespaceId) {
        self.answer_those(|waiter| waiter.ns == ns);
    }

    fn answer_those(&mut self, are_meant: impl Fn(&Waiter) -> bool) {
        let (over, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiters).into_iter().partition(are_meant);
        self.waiters = rest;
        for waiter in over {
            let answer = match waiter.target {
                Target::Work { settled, .. } => Answer::Leased { jobs: Vec::new(), settled },
                Target::End(id) => self.job_answer(waiter.ns, id),
                Target::Quiet(tag) => {
                    self.hold_answer(waiter.ns, &tag).unwrap_or_else(Answer::Rejected)
                }
                Target::Stream { request, .. } => {
                    self.left(&request, waiter.ns);
                    continue;
                }
            };
            self.answers.push((waiter.reply_to, answer));
        }
    }

    fn sweep(&mut self) {
        self.next_sweep = self.mono + SWEEP_MS;
        let (mono, idle_ms) = (self.mono, self.limits.session_ms);
        self.sessions.sort_by(|a, b| a.key.cmp(&b.key));
        self.asked.retain(|(.., at)| at.saturating_add(idle_ms) > mono);
        let mut left = 16 * self.limits.slice_items_max;
        let live: BTreeSet<_> =
            self.jobs.iter().filter_map(|job| Some(job.run.as_ref()?.lease.token)).collect();
        self.sessions.retain(|session| {
            let mut grants = session.unseen.iter().flat_map(|(_, grants)| grants);
            let holds = grants.any(|(_, token)| live.contains(token));
            let idle = session.touched.saturating_add(idle_ms) <= mono && !holds && left > 0;
            left -= usize::from(idle);
            !idle
        });
        self.consumers.retain(|consumer| consumer.until >= mono);
    }

    /// When queues are looked at next, where idle ones are to go.
    fn next_look(&self) -> Option<(u64, u64)> {
        let idle_ms = self.limits.queue_idle_ms.filter(|_| !self.stopping)?;
        (!self.queues.is_empty()).then_some((self.next_look, idle_ms))
    }

    /// Removes a slice of the queues that were empty, without settings, and unused for long.
    fn forget_idle_queues(&mut self) {
        let Some((at, idle_ms)) = self.next_look() else { return };
        if at > self.mono {
            return;
        }
        let (mono, most) = (self.mono, self.limits.slice_items_max);
        let after = |id: QueueId| self.last_look.is_none_or(|last| id > last);
        let mut ids: Vec<_> = self.queues.iter().map(|q| q.id).filter(|id| after(*id)).collect();
        ids.sort_unstable();
        ids.truncate(most);
        let whole = ids.len() < most;
        self.last_look = ids.last().copied().filter(|_| !whole);
        if whole {
            self.next_look = mono + (idle_ms / 8).clamp(1_000, 60_000);
        }
        for id in ids {
            let index = self.queues.iter().position(|queue| queue.id == id);
            let index = index.expect("it was there just now");
            let (ns, name) = (self.queues[index].ns, self.queues[index].name.clone());
            let unused = self.is_empty(ns, &name);
            let queue = &mut self.queues[index];
            let known = queue.empty.filter(|(_, enqueued)| *enqueued == queue.enqueued);
            let since = known.map_or(mono, |(since, _)| since);
            queue.empty = (unused && queue.settings == QueueSettings::DEFAULT)
                .then_some((since, queue.enqueued));
            if queue.empty.is_some_and(|(since, _)| since + idle_ms <= mono) {
                self.queues.remove(index);
            }
        }
    }

    /// Milliseconds until there is something to do, as far as the lists show it.
    pub(crate) fn next_event_ms(&self) -> Option<u64> {
        if self.operations.iter().any(|o| o.operation.state == OperationState::Running) {
            return Some(0);
        }
        let held = |job: &super::RefJob, tag: &String| {
            self.holds.iter().any(|it| it.ns == job.ns && it.tag == *tag)
        };
        let goes = |job: &&super::RefJob| job.held_back.as_ref().is_some_and(|it| !held(job, it));
        if self.jobs.iter().any(|job| goes(&job)) {
            return Some(0);
        }
        let by_mono = |at: u64| at.saturating_sub(self.mono);
        let by_wall = |at: TimeMs| at.since(self.now);
        let ends = self.waiters.iter().filter(|it| it.deadline < u64::MAX);
        let mut next: Vec<u64> = ends.map(|w| by_mono(w.deadline)).collect();
        for job in &self.jobs {
            next.extend(job.run.as_ref().map(|run| by_mono(run.expires + 1)));
            next.extend(Self::forget_at(job).map(by_wall));
            if let Phase::Dead { forget_at, .. } = job.job.phase {
                next.push(by_wall(forget_at));
            }
            if job.run.is_none() && job.job.phase.is_unfinished() {
                let expires_at = job.job.options.expires_at.filter(|_| job.job.attempt == 0);
                next.extend(expires_at.into_iter().chain(job.job.deadline).map(by_wall));
                let ahead = job.job.available_at > self.now;
                if ahead && self.is_filed(job) && self.is_awaited(job) {
                    next.push(by_wall(job.job.available_at));
                }
            }
        }
        next.extend(self.next_due().map(|(due, ..)| by_wall(due)));
        next.extend(self.next_opening().map(by_wall));
        next.extend(self.budgets.iter().map(|budget| by_wall(budget.refill_at)));
        next.extend(self.next_look().map(|(at, _)| by_mono(at)));
        next.extend(self.tombstones.iter().map(|t| by_wall(t.forget_at)));
        next.into_iter().min()
    }

    /// Every job, named by its namespace and id.
    pub(crate) fn ids(&self) -> Vec<(NamespaceId, JobId)> {
        self.jobs.iter().map(|job| (job.ns, job.job.id)).collect()
    }
}
