//! The worker's loop from the shard's side: settle, lease, wait; and handing what becomes
//! available to those who wait.

use std::collections::BTreeSet;

use super::Turn;
use super::waiters::Ticket;
use crate::answer::{Answer, Delivery};
use crate::bounds::check_name;
use crate::command::{LeaseJobs, ReplyTo, Settlement};
use crate::ids::{NamespaceId, QueueId};
use crate::job::EndKind;
use crate::map::OrderedMap;
use crate::moment::Moment;
use crate::rejection::Rejection;
use crate::state::SessionKey;

/// Jobs that one command or one round of dispatch looks at, and the bytes of args that it hands
/// out, before the turn ends; the rest follows with the next tick.
const TURN_JOBS_MAX: usize = 2000;
const TURN_BYTES_MAX: usize = 16 << 20;

/// What is left of a turn.
#[derive(Debug)]
pub(super) struct Budget {
    jobs: usize,
    bytes: usize,
}

impl Budget {
    const FULL: Self = Self { jobs: TURN_JOBS_MAX, bytes: TURN_BYTES_MAX };

    fn is_used_up(&self) -> bool {
        self.jobs == 0 || self.bytes == 0
    }
}

/// Queues that one request may name.
const PATTERNS_MAX: usize = 256;

/// Queues of a request that the next tick looks at where a turn did not come to its end.
const DEFERRED_MAX: usize = 256;

/// Kinds that one request may name.
const KINDS_MAX: usize = 1024;

impl<M: OrderedMap> Turn<M> {
    /// Carries out a request that [`Turn::check_lease_request`] let pass.
    pub(super) fn handle_lease(
        &mut self,
        ns: NamespaceId,
        reply_to: ReplyTo,
        request: Box<LeaseJobs>,
        moment: Moment,
    ) {
        let key = (ns, request.worker.clone(), request.session.clone());
        if let Some(turn) = request.turn {
            self.asked.note(&key, turn, moment.mono, self.state.limits.sessions_max);
        }
        if !request.session.is_empty()
            && let Some(earlier) = self.waiters.of_session(&key)
        {
            let worker = request.worker.clone();
            let rejection = Rejection::RequestSuperseded { worker };
            self.reply(earlier.reply_to, Answer::Rejected(rejection));
        }
        let settled = self.settle_all(ns, &request.settle, moment);
        if request.max > 0 {
            let until = moment.mono.plus(request.wait_ms + self.state.limits.consumer_ms);
            self.consumers.saw(ns, &request, until);
        }
        let mut jobs = self.granted_before(&key, &request);
        if jobs.is_empty() {
            self.take_back_unseen(&key, &request, moment);
            let mut budget = Budget::FULL;
            jobs = self.grant(ns, &request, &mut budget, moment);
        }
        // Where too many wait, its settlements stand: it is answered rather than refused.
        let may_wait = !self.stopping && self.check_waiting(ns).is_ok();
        if jobs.is_empty() && request.wait_ms > 0 && request.max > 0 && may_wait {
            let deadline = moment.mono.plus(request.wait_ms);
            return self.waiters.add_worker(reply_to, ns, request, settled, deadline);
        }
        self.reply(reply_to, Answer::Leased { jobs, settled });
    }

    pub(super) fn check_lease_request(
        &self,
        ns: NamespaceId,
        request: &LeaseJobs,
    ) -> Result<(), Rejection> {
        let limits = &self.state.limits;
        let refused = |field, value: String, allowed: String| {
            Err(Rejection::ValueRefused { field, value, allowed })
        };
        if request.max > limits.lease_jobs_max {
            let max = limits.lease_jobs_max;
            return refused("max", request.max.to_string(), format!("0 to {max}"));
        }
        if request.settle.len() > limits.bulk_jobs_max {
            let max = limits.bulk_jobs_max;
            return refused(
                "settle",
                format!("{} runs", request.settle.len()),
                format!("at most {max}"),
            );
        }
        if request.max > 0 && request.queues.is_empty() || request.queues.len() > PATTERNS_MAX {
            let value = format!("{} queues", request.queues.len());
            return refused("queues", value, format!("1 to {PATTERNS_MAX} queues"));
        }
        if request.kinds.as_ref().is_some_and(|kinds| kinds.len() > KINDS_MAX) {
            return refused("kinds", "more".to_owned(), format!("at most {KINDS_MAX} kinds"));
        }
        if request.wait_ms > limits.wait_ms_max {
            let max = limits.wait_ms_max;
            return refused("wait", format!("{}ms", request.wait_ms), format!("0ms to {max}ms"));
        }
        crate::job::check_lease(&self.state, request.lease_ms)?;
        for (field, name) in [("worker", &request.worker), ("session", &request.session)] {
            if !name.is_empty() {
                check_name(limits, field, name)?;
            }
        }
        self.check_turn(ns, request)
    }

    fn check_turn(&self, ns: NamespaceId, request: &LeaseJobs) -> Result<(), Rejection> {
        let Some(turn) = request.turn else { return Ok(()) };
        if request.worker.is_empty() || request.session.is_empty() {
            let allowed = "a turn of a worker and a session that the request names";
            let (value, allowed) = (turn.to_string(), allowed.to_owned());
            return Err(Rejection::ValueRefused { field: "turn", value, allowed });
        }
        let key = (ns, request.worker.clone(), request.session.clone());
        let granted = self.state.sessions.get(&key).map(|session| session.last_turn);
        match granted.max(self.asked.last(&key)) {
            Some(last_turn) if turn < last_turn => {
                Err(Rejection::TurnPassed { worker: request.worker.clone(), turn, last_turn })
            }
            _ if granted.is_none() => {
                let (of_namespace, of_shard) =
                    (self.state.sessions_of.of(ns), self.state.sessions.len());
                let room = self.state.limits.sessions_max.check(of_namespace, of_shard);
                room.map_err(|(scope, limit)| Rejection::TooManySessions { scope, limit })
            }
            _ => Ok(()),
        }
    }

    /// Whether one more request may wait.
    pub(super) fn check_waiting(&self, ns: NamespaceId) -> Result<(), Rejection> {
        let (of_namespace, of_shard) = (self.waiters.len_of(ns), self.waiters.len());
        let room = self.state.limits.waiters_max.check(of_namespace, of_shard);
        room.map_err(|(scope, limit)| Rejection::TooManyWaiting { scope, limit })
    }

    pub(super) fn settle_all(
        &mut self,
        ns: NamespaceId,
        settlements: &[Settlement],
        moment: Moment,
    ) -> Vec<Result<EndKind, Rejection>> {
        let mut settled = Vec::with_capacity(settlements.len());
        for (index, settlement) in settlements.iter().enumerate() {
            let decided = self.state.decide_settlement(ns, settlement, moment, index as u64);
            settled.push(decided.and_then(|decided| {
                match decided.end {
                    Some(end) => self.try_record([end])?,
                    None => self.try_record(decided.together)?,
                }
                Ok(decided.kind)
            }));
        }
        settled
    }

    /// What the same turn was granted before, as far as it still holds.
    fn granted_before(&self, key: &SessionKey, request: &LeaseJobs) -> Vec<Delivery> {
        let Some(session) = self.state.sessions.get(key) else { return Vec::new() };
        let turns = session.unseen.iter().filter(|grants| Some(grants.turn) == request.turn);
        let mut jobs = Vec::new();
        for (id, token) in turns.flat_map(|grants| &grants.grants) {
            let live = self.state.leases.get(&(key.0, *id));
            if let Some(live) = live.filter(|live| live.lease.token == *token)
                && let Some(job) = self.state.job(key.0, *id)
            {
                let (attempt, lease_ms) = (live.lease.attempt, live.lease.lease_ms);
                let checkpoint = self.state.checkpoint(key.0, *id);
                jobs.push(self.state.delivery(&job, checkpoint, *token, attempt, lease_ms));
            }
        }
        jobs
    }

    /// Gives back what turns after `seen` were granted: their answers did not arrive.
    fn take_back_unseen(&mut self, key: &SessionKey, request: &LeaseJobs, moment: Moment) {
        let (Some(turn), Some(seen)) = (request.turn, request.seen) else { return };
        let Some(session) = self.state.sessions.get(key) else { return };
        let unseen = session.unseen.iter().filter(|g| g.turn > seen && g.turn < turn);
        let grants: Vec<_> = unseen.flat_map(|g| g.grants.iter().copied()).collect();
        for (id, token) in grants {
            let live = self.state.leases.get(&(key.0, id));
            if live.is_some_and(|live| live.lease.token == token) {
                self.give_back(key.0, (id, token), moment);
            }
        }
    }

    /// Grants up to `max` jobs that are ready now, within what is left of the turn.
    fn grant(
        &mut self,
        ns: NamespaceId,
        request: &LeaseJobs,
        budget: &mut Budget,
        moment: Moment,
    ) -> Vec<Delivery> {
        let mut jobs = Vec::new();
        while !self.stopping && jobs.len() < request.max {
            if budget.is_used_up() {
                self.defer(ns, request);
                break;
            }
            let want = (request.max - jobs.len()).min(budget.jobs);
            let step = self.state.decide_lease_step(ns, request, want, budget.bytes, moment);
            budget.jobs = budget.jobs.saturating_sub(step.examined);
            budget.bytes = budget.bytes.saturating_sub(step.bytes);
            self.record_all(step.records);
            if request.prefetch {
                for job in &step.deliveries {
                    self.state.note_delivered(ns, job.id);
                }
            }
            jobs.extend(step.deliveries);
            if step.exhausted {
                break;
            }
        }
        jobs
    }

    /// Has the queues of a request looked at again with the next tick.
    fn defer(&mut self, ns: NamespaceId, request: &LeaseJobs) {
        let kinds = request.kinds.as_ref().map(|names| self.state.kinds_named(ns, names));
        for pattern in &request.queues {
            let due = self.state.due_queues(ns, pattern, kinds.as_deref(), DEFERRED_MAX);
            self.deferred.extend(due);
        }
    }

    /// Hands what became available to workers that wait, the first one first.
    pub(super) fn dispatch(&mut self, moment: Moment) {
        let mut budget = Budget::FULL;
        while !self.state.fresh_queues.is_empty() {
            let fresh = std::mem::take(&mut self.state.fresh_queues);
            if !self.waiters.has_workers() {
                return;
            }
            // Who is next at each queue: thousands may wait, and a few of them get something.
            let mut next = BTreeSet::new();
            for id in fresh {
                next.extend(self.next_waiter(id, None).map(|ticket| (ticket, id)));
            }
            let mut offered = None;
            while let Some((ticket, id)) = next.pop_first() {
                if !self.state.lanes.any_due(id) {
                    continue;
                }
                if offered != Some(ticket) {
                    if budget.is_used_up() {
                        self.deferred.extend(next.iter().map(|(_, id)| *id).chain([id]));
                        return;
                    }
                    self.offer(ticket, &mut budget, moment);
                    offered = Some(ticket);
                }
                next.extend(self.next_waiter(id, offered).map(|ticket| (ticket, id)));
                if !self.state.fresh_queues.is_empty() {
                    // What came forward may be for somebody who waits longer.
                    self.state.fresh_queues.extend(next.iter().map(|(_, id)| *id));
                    break;
                }
            }
        }
    }

    /// Who waits longest for a queue that hands out, of those who came after `after`.
    fn next_waiter(&self, id: QueueId, after: Option<Ticket>) -> Option<Ticket> {
        let queue = self.state.queues.get(id).filter(|queue| !queue.settings.paused)?;
        self.waiters.next_for(queue.namespace, &queue.name, after)
    }

    fn offer(&mut self, ticket: Ticket, budget: &mut Budget, moment: Moment) {
        let Some(waiter) = self.waiters.worker(ticket) else { return };
        let (ns, request) = (waiter.ns, waiter.request.clone());
        let jobs = self.grant(ns, &request, budget, moment);
        if !jobs.is_empty()
            && let Some(waiter) = self.waiters.remove_worker(ticket)
        {
            self.reply(waiter.reply_to, Answer::Leased { jobs, settled: waiter.settled });
        }
    }
}
