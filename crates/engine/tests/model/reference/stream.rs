//! Streams that take jobs for their credit.

use longshore_engine::{Answer, ConsumerId, Credit, LeaseJobs, NamespaceId, ReplyTo, Subscribe};

use super::{Reference, Refusable, SessionKey, Target, Waiter};

impl Reference {
    pub(super) fn subscribe(&mut self, ns: NamespaceId, command: Subscribe) -> Refusable<Answer> {
        let Subscribe { consumer: id, holder, queues, kinds, lease_ms, credit } = command;
        let request = LeaseJobs {
            queues: queues.into_iter().map(|(queue, _)| queue).collect(),
            kinds,
            max: self.limits.lease_jobs_max.min(1000),
            wait_ms: 0,
            lease_ms,
            worker: holder.worker,
            session: holder.session,
            ask: None,
            seen: None,
            settle: Vec::new(),
            prefetch: true,
        };
        let key: SessionKey = (ns, request.worker.clone(), request.session.clone());
        self.check_lease(&key, &request)?;
        let same = |waiter: &Waiter| match &waiter.target {
            Target::Stream { id, request, .. } => {
                let of = (waiter.ns, &request.worker, &request.session);
                (of == (key.0, &key.1, &key.2)).then_some(*id)
            }
            _ => None,
        };
        if let Some(earlier) = self.waiters.iter().find_map(same) {
            self.unsubscribe(earlier);
        }
        let stands = !self.stopping && self.check_waiting(ns).is_ok();
        let until = if stands { u64::MAX } else { self.mono + self.limits.consumer_ms };
        self.saw_until(&key, &request, until);
        let target = Target::Stream { id, request: Box::new(request), jobs: 0, bytes: 0 };
        // Nobody is answered here.
        let reply_to = ReplyTo(u64::MAX - id.0);
        self.waiters.push(Waiter { reply_to, ns, deadline: u64::MAX, target });
        self.add_credit(id, credit);
        if !stands {
            self.unsubscribe(id);
        }
        Ok(Answer::Subscribed { stands })
    }

    pub(super) fn add_credit(&mut self, of: ConsumerId, credit: Credit) {
        let Some(index) = self.stream_at(of) else { return };
        let Target::Stream { jobs, bytes, .. } = &mut self.waiters[index].target else { return };
        let before = *jobs > 0 && *bytes > 0;
        *jobs += credit.jobs;
        *bytes += i64::try_from(credit.bytes).expect("a model gives little");
        if !before && *jobs > 0 && *bytes > 0 {
            let waiter = self.waiters.remove(index);
            self.waiters.push(waiter);
            self.serve_stream(of);
        }
    }

    /// Whether it was handed anything, and stands at the end of the list by that.
    pub(super) fn serve_stream(&mut self, of: ConsumerId) -> bool {
        let Some(index) = self.stream_at(of) else { return false };
        let waiter = self.waiters[index].clone();
        let Target::Stream { request, jobs, bytes, .. } = waiter.target else { return false };
        if jobs == 0 || bytes <= 0 {
            return false;
        }
        let room = (jobs.min(request.max), bytes.unsigned_abs());
        let (granted, used) = self.grant(waiter.ns, &request, room);
        if granted.is_empty() {
            return false;
        }
        let (jobs, bytes) = (jobs - granted.len(), bytes.saturating_sub_unsigned(used));
        let index = self.stream_at(of).expect("it was there before");
        let mut waiter = self.waiters.remove(index);
        waiter.target = Target::Stream { id: of, request, jobs, bytes };
        self.waiters.push(waiter);
        self.deliveries.push((of, granted));
        true
    }

    pub(crate) fn unsubscribe(&mut self, of: ConsumerId) {
        let Some(index) = self.stream_at(of) else { return };
        let waiter = self.waiters.remove(index);
        let Target::Stream { request, .. } = waiter.target else { return };
        self.left(&request, waiter.ns);
    }

    /// Whoever took jobs as a stream counts like one that asked just now.
    pub(super) fn left(&mut self, request: &LeaseJobs, ns: NamespaceId) {
        let until = self.mono + self.limits.consumer_ms;
        let is_it =
            |key: &SessionKey| (key.0, &key.1, &key.2) == (ns, &request.worker, &request.session);
        if let Some(known) = self.consumers.iter_mut().find(|it| is_it(&it.key)) {
            known.until = until;
        }
    }

    fn stream_at(&self, of: ConsumerId) -> Option<usize> {
        let is_it = |it: &Target| matches!(it, Target::Stream { id, .. } if *id == of);
        self.waiters.iter().position(|waiter| is_it(&waiter.target))
    }
}
