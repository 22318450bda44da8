//! The worker's loop from the shard's side: settle, lease, wait; streams that give credit instead;
//! and handing what becomes available to those who stand in line.

use std::collections::{BTreeMap, BTreeSet};

use super::Turn;
use super::consumers::{Consumer, Taker, Ticket};
use super::waiters::Target;
use crate::answer::{Answer, Delivery};
use crate::bounds::check_name;
use crate::command::{ConsumerId, Credit, Holder, LeaseJobs, ReplyTo, Settlement, Subscribe};
use crate::effect::{CloseReason, Effect};
use crate::ids::{NamespaceId, QueueId};
use crate::job::EndKind;
use crate::kind::KindRange;
use crate::moment::Moment;
use crate::queueing::Budget;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::SessionKey;

/// A walk over those who wait for a queue. Some of them were not asked yet whether they take what
/// it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// Those up to here were asked.
    after: Option<Ticket>,
    /// Something came meanwhile: all of them are to be asked again.
    again: bool,
}

/// Jobs that one delivery has at most.
const DELIVERY_JOBS_MAX: usize = 1000;

/// What was granted at a time.
struct Granted {
    jobs: Vec<Delivery>,
    /// Bytes of their args and cursors.
    bytes: usize,
}

/// Queues that one request may name.
const PATTERNS_MAX: usize = 256;

/// Queues of a request that the next tick looks at, where the budget of a turn did not last for
/// them.
const DEFERRED_MAX: usize = 256;

/// Kinds that one request may name.
const KINDS_MAX: usize = 1024;

/// Ranges of versions that one request may name of one kind.
const RANGES_PER_KIND_MAX: usize = 16;

fn check_ranges(ranges: &[KindRange]) -> Result<(), Rejection> {
    let field = "versions";
    let mut counts = BTreeMap::new();
    for range in ranges.iter().filter(|range| (range.from, range.to) != (0, 0)) {
        if range.from > range.to {
            let value = format!("{} to {} of {}", range.from, range.to, range.kind);
            let allowed = "the first version, then the last".to_owned();
            return Err(Rejection::ValueRefused { field, value, allowed });
        }
        let count: &mut usize = counts.entry(&range.kind).or_default();
        *count += 1;
        if *count > RANGES_PER_KIND_MAX {
            let value = format!("more of {}", range.kind);
            let allowed = format!("at most {RANGES_PER_KIND_MAX} ranges of a kind");
            return Err(Rejection::ValueRefused { field, value, allowed });
        }
    }
    Ok(())
}

impl Turn {
    /// Carries out a request that [`Turn::check_lease_request`] let pass.
    pub(super) fn handle_lease(
        &mut self,
        ns: NamespaceId,
        reply_to: ReplyTo,
        request: Box<LeaseJobs>,
        moment: Moment,
    ) {
        let key = (ns, request.worker.clone(), request.session.clone());
        if let Some(ask) = request.ask {
            self.asks.note(&key, ask, moment.mono, self.state.limits.sessions_max);
        }
        if !request.session.is_empty()
            && let Some(earlier) = self.consumers.request_of(&key)
        {
            self.disconnect(earlier);
            let worker = request.worker.clone();
            let rejection = Rejection::RequestSuperseded { worker };
            self.reply(earlier, Answer::Rejected(rejection));
        }
        let settled = self.settle_all(ns, &request.settle, moment);
        if request.max > 0 {
            let until = moment.mono.plus(request.wait_ms + self.state.limits.consumer_ms);
            self.demand.saw(ns, &request, until);
        }
        let mut jobs = self.granted_before(&key, &request);
        if jobs.is_empty() {
            self.take_back_unseen(&key, &request, moment);
            let mut budget = Budget::full();
            let room = (request.max, usize::MAX);
            jobs = self.grant(ns, &request, room, &mut budget, moment).jobs;
        }
        // Where too many wait, its settlements stand: it is answered rather than refused.
        let may_wait = !self.stopping && self.check_waiting(ns).is_ok();
        if jobs.is_empty() && request.wait_ms > 0 && request.max > 0 && may_wait {
            let deadline = moment.mono.plus(request.wait_ms);
            self.waiters.add(reply_to, ns, deadline, Target::Work);
            let consumer = Consumer::once(ns, request, settled);
            return self.consumers.add(Taker::Once(reply_to), consumer);
        }
        self.reply(reply_to, Answer::Leased { jobs, settled });
    }

    /// A stream of a worker takes jobs from now on.
    pub(super) fn handle_subscribe(
        &mut self,
        ns: NamespaceId,
        created: Option<Record>,
        command: Subscribe,
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        let Subscribe { consumer: id, holder, queues, kinds, lease_ms, credit } = command;
        let (queues, weights) = queues.into_iter().unzip();
        let request = LeaseJobs {
            queues,
            kinds,
            max: self.state.limits.lease_jobs_max.min(DELIVERY_JOBS_MAX),
            wait_ms: 0,
            lease_ms,
            worker: holder.worker,
            session: holder.session,
            ask: None,
            seen: None,
            settle: Vec::new(),
            prefetch: true,
        };
        self.check_lease_request(ns, &request)?;
        self.record_all(Vec::from_iter(created));
        self.supersede(ns, &request.worker, &request.session, CloseReason::Superseded);
        // Where too many wait, it is served once and is to come again. That is better than a
        // refusal.
        let stands = !self.stopping && self.check_waiting(ns).is_ok();
        let until = if stands { u64::MAX } else { self.state.limits.consumer_ms };
        self.demand.saw(ns, &request, moment.mono.plus(until));
        let taker = Taker::Stream(id);
        self.consumers.add(taker, Consumer::stream(ns, request, weights));
        if self.consumers.add_credit(id, credit) {
            self.serve(taker, &mut Budget::full(), moment);
        }
        if !stands {
            self.unsubscribe(id);
        }
        Ok(Answer::Subscribed { stands })
    }

    /// A stream settles, and takes so much more.
    pub(super) fn handle_add_credit(
        &mut self,
        ns: NamespaceId,
        (consumer, credit): (ConsumerId, Credit),
        settle: &[Settlement],
        moment: Moment,
    ) -> Answer {
        let settled = self.settle_all(ns, settle, moment);
        // One that stands in line already finds nothing now: what comes is offered to it.
        if self.consumers.add_credit(consumer, credit) {
            self.serve(Taker::Stream(consumer), &mut Budget::full(), moment);
        }
        Answer::Settled(settled)
    }

    /// Ends the stream of a session as one that takes jobs.
    pub(super) fn end_stream(&mut self, ns: NamespaceId, of: &Holder, why: CloseReason) {
        self.supersede(ns, &of.worker, &of.session, why);
    }

    fn supersede(&mut self, ns: NamespaceId, worker: &str, session: &str, why: CloseReason) {
        let key = (ns, worker.to_owned(), session.to_owned());
        if let Some(earlier) = self.consumers.stream_of(&key) {
            self.close(earlier, why);
        }
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
        check_ranges(request.kinds.as_deref().unwrap_or_default())?;
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
        self.check_ask(ns, request)
    }

    fn check_ask(&self, ns: NamespaceId, request: &LeaseJobs) -> Result<(), Rejection> {
        let Some(ask) = request.ask else { return Ok(()) };
        if request.worker.is_empty() || request.session.is_empty() {
            let allowed = "a turn of a worker and a session that the request names";
            let (value, allowed) = (ask.to_string(), allowed.to_owned());
            return Err(Rejection::ValueRefused { field: "turn", value, allowed });
        }
        let key = (ns, request.worker.clone(), request.session.clone());
        let granted = self.state.sessions.get(&key).map(|session| session.last_ask);
        match granted.max(self.asks.last(&key)) {
            Some(last_ask) if ask < last_ask => {
                Err(Rejection::AskPassed { worker: request.worker.clone(), ask, last_ask })
            }
            _ if granted.is_none() => {
                let (of_namespace, of_shard) =
                    (self.state.sessions.len_of(ns), self.state.sessions.len());
                let room = self.state.limits.sessions_max.check(of_namespace, of_shard);
                room.map_err(|(scope, limit)| Rejection::TooManySessions { scope, limit })
            }
            _ => Ok(()),
        }
    }

    /// Whether one more request may wait.
    pub(super) fn check_waiting(&self, ns: NamespaceId) -> Result<(), Rejection> {
        let (streams, streams_here) = self.consumers.streams(ns);
        let of_namespace = self.waiters.len_of(ns) + streams_here;
        let of_shard = self.waiters.len() + streams;
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

    /// What the same ask was granted before, as far as it still holds.
    fn granted_before(&self, key: &SessionKey, request: &LeaseJobs) -> Vec<Delivery> {
        let Some(session) = self.state.sessions.get(key) else { return Vec::new() };
        let asks = session.unseen.iter().filter(|grants| Some(grants.ask) == request.ask);
        let mut jobs = Vec::new();
        for (id, token) in asks.flat_map(|grants| &grants.grants) {
            let live = self.state.leases.get(key.0, *id);
            if let Some(live) = live.filter(|live| live.lease().token == *token)
                && let Some(job) = self.state.job(key.0, *id)
            {
                let (attempt, lease_ms) = (live.lease().attempt, live.lease().lease_ms);
                let checkpoint = self.state.checkpoint(key.0, *id);
                jobs.push(self.state.delivery(&job, checkpoint, *token, attempt, lease_ms));
            }
        }
        jobs
    }

    /// Gives back what asks after `seen` were granted: their answers did not arrive.
    fn take_back_unseen(&mut self, key: &SessionKey, request: &LeaseJobs, moment: Moment) {
        let (Some(ask), Some(seen)) = (request.ask, request.seen) else { return };
        let Some(session) = self.state.sessions.get(key) else { return };
        let unseen = session.unseen.iter().filter(|g| g.ask > seen && g.ask < ask);
        let grants: Vec<_> = unseen.flat_map(|g| g.grants.iter().copied()).collect();
        for (id, token) in grants {
            let live = self.state.leases.get(key.0, id);
            if live.is_some_and(|live| live.lease().token == token) {
                self.give_back(key.0, (id, token), moment);
            }
        }
    }

    /// Grants jobs that are ready now, up to so many and about so many bytes of them, within what
    /// is left of the turn.
    fn grant(
        &mut self,
        ns: NamespaceId,
        request: &LeaseJobs,
        (jobs_max, bytes_max): (usize, usize),
        budget: &mut Budget,
        moment: Moment,
    ) -> Granted {
        let (mut jobs, mut bytes) = (Vec::new(), 0);
        let mut asked = self.state.asked(ns, request);
        // What others moved is not for this one to pay.
        self.state.take_lines_moved();
        while self.may_grant() && jobs.len() < jobs_max && bytes < bytes_max {
            if budget.is_used_up() {
                self.defer(ns, request);
                break;
            }
            let want = (jobs_max - jobs.len()).min(budget.entries());
            let most = budget.bytes().min(bytes_max - bytes);
            let step = self.state.decide_lease_step(ns, &asked, want, most, moment);
            let goes_on = asked.goes_on(&self.state, ns, &step);
            budget.take(step.examined, step.bytes);
            self.look(budget, step.looked);
            self.state.lanes.put_met_apart();
            bytes = bytes.saturating_add(step.bytes);
            self.record_all(step.records);
            budget.take(self.state.take_lines_moved(), 0);
            self.tenanted_started += step.tenanted;
            if request.prefetch {
                for job in &step.deliveries {
                    self.state.note_delivered(ns, job.id);
                }
            }
            jobs.extend(step.deliveries);
            if !goes_on {
                break;
            }
        }
        Granted { jobs, bytes }
    }

    /// So much was looked at.
    #[cfg_attr(not(test), expect(clippy::unused_self, reason = "tests count what a turn costs"))]
    fn look(&mut self, budget: &mut Budget, looked: usize) {
        budget.look(looked);
        #[cfg(test)]
        {
            self.looked += looked;
        }
    }

    /// Has the queues of a request looked at again with the next tick.
    fn defer(&mut self, ns: NamespaceId, request: &LeaseJobs) {
        let due = self.due_queues(ns, request);
        self.deferred.extend(due);
    }

    /// Some queues of a request that have something due.
    pub(super) fn due_queues(&self, ns: NamespaceId, request: &LeaseJobs) -> BTreeSet<QueueId> {
        let kinds = request.kinds.as_ref().map(|names| self.state.kinds_due(ns, names));
        let mut all = BTreeSet::new();
        for pattern in &request.queues {
            all.extend(self.state.due_queues(ns, pattern, kinds.as_deref(), DEFERRED_MAX));
        }
        all
    }

    /// Hands what became available to those who stand in line, the first one first.
    pub(super) fn dispatch(&mut self, moment: Moment) {
        if self.may_grant() && self.consumers.any_in_line() {
            self.state.go_on_offering();
        } else {
            self.state.stop_offering();
        }
        let mut budget = Budget::full();
        while self.state.has_fresh() {
            let fresh = self.state.take_fresh();
            if !self.may_grant() || !self.consumers.any_in_line() {
                return self.walks.clear();
            }
            // Who is next at each queue: thousands may wait, and a few of them get something.
            let mut next = BTreeSet::new();
            for id in fresh {
                match self.walks.get_mut(&id) {
                    Some(walk) => walk.again = true,
                    None => next.extend(self.next_waiter(id, None).map(|ticket| (ticket, id))),
                }
            }
            self.offer_to(next, &mut budget, moment);
        }
    }

    /// Goes on with queues of which an earlier turn did not ask all who wait for them.
    pub(super) fn go_on_with_walks(&mut self, moment: Moment) {
        if !self.may_grant() || !self.consumers.any_in_line() {
            return self.walks.clear();
        }
        let mut next = BTreeSet::new();
        for (id, walk) in std::mem::take(&mut self.walks) {
            let ticket = self.next_waiter(id, walk.after);
            if let Some(ticket) = ticket {
                next.insert((ticket, id));
                self.walks.insert(id, walk);
            } else if walk.again {
                self.state.note_fresh([id]);
            }
        }
        self.offer_to(next, &mut Budget::full(), moment);
    }

    /// Offers queues to those who wait for them, in the order in which they stand in line.
    fn offer_to(
        &mut self,
        mut next: BTreeSet<(Ticket, QueueId)>,
        budget: &mut Budget,
        moment: Moment,
    ) {
        let mut offered = None;
        while let Some((ticket, id)) = next.pop_first() {
            if !self.state.lanes.any_due(id) {
                self.walks.remove(&id);
                continue;
            }
            if offered != Some(ticket) {
                if budget.is_used_up() {
                    next.insert((ticket, id));
                    break;
                }
                if let Some(taker) = self.consumers.taker_of(ticket) {
                    self.serve(taker, budget, moment);
                }
                offered = Some(ticket);
            }
            self.look(budget, 1);
            match self.next_waiter(id, offered) {
                Some(ticket) => {
                    next.insert((ticket, id));
                }
                None if self.walks.remove(&id).is_some_and(|walk| walk.again) => {
                    self.state.note_fresh([id]);
                }
                None => {}
            }
            if self.state.has_fresh() && !budget.is_used_up() {
                // What came forward may be for somebody who waits longer.
                let begun = next.iter().filter(|(_, id)| !self.walks.contains_key(id));
                self.state.note_fresh(begun.map(|(_, id)| *id));
                next.retain(|(_, id)| self.walks.contains_key(id));
                break;
            }
        }
        // What was not come to is for the next tick.
        for (ticket, id) in next {
            let walk = self.walks.entry(id).or_insert(Walk { after: None, again: false });
            walk.after = ticket.checked_sub(1);
        }
    }

    /// Who waits longest for a queue that hands out, of those who came after `after`.
    fn next_waiter(&self, id: QueueId, after: Option<Ticket>) -> Option<Ticket> {
        let queue = self.state.queues.get(id).filter(|queue| !queue.settings.paused)?;
        self.consumers.next_for(queue.namespace, &queue.name, after)
    }

    /// Hands a consumer what there is for it.
    fn serve(&mut self, taker: Taker, budget: &mut Budget, moment: Moment) {
        let Some(consumer) = self.consumers.get(taker) else { return };
        let (ns, request, room) = (consumer.ns, consumer.asks(moment), consumer.room());
        let room = (room.0.min(request.max), room.1);
        let Granted { jobs, bytes } = self.grant(ns, &request, room, budget, moment);
        if jobs.is_empty() {
            return;
        }
        match taker {
            Taker::Once(reply_to) => {
                self.waiters.remove(reply_to);
                let consumer = self.consumers.remove(taker);
                let settled = consumer.map(|it| it.settled).unwrap_or_default();
                self.reply(reply_to, Answer::Leased { jobs, settled });
            }
            Taker::Stream(consumer) => {
                self.consumers.pay(consumer, jobs.len(), bytes);
                self.new_effects.push(Effect::Deliver { consumer, jobs });
                if self.consumers.get(taker).is_some_and(Consumer::has_credit) {
                    // There may be more for it than one delivery has: it is offered that like
                    // anybody else.
                    let due = self.due_queues(ns, &request);
                    self.state.note_fresh(due);
                }
            }
        }
    }
}
