//! Sessions of streaming workers: what one holds when it comes, and what it starts.

use super::Turn;
use crate::answer::{Answer, HeldJob, SessionView};
use crate::bounds::check_name;
use crate::command::{HeldLease, Holder, Settlement, Verdict};
use crate::ids::{JobId, NamespaceId, Token};
use crate::job::EndKind;
use crate::map::OrderedMap;
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{Held, HeldIndex, LiveLease};

impl<M: OrderedMap> Turn<M> {
    pub(super) fn handle_resume(
        &mut self,
        ns: NamespaceId,
        created: Option<Record>,
        (holder, named): (&Holder, &[HeldLease]),
        moment: Moment,
    ) -> Result<Answer, Rejection> {
        check_name(&self.state.limits, "worker", &holder.worker)?;
        check_name(&self.state.limits, "session", &holder.session)?;
        self.record_all(Vec::from_iter(created));
        let key = HeldIndex::key(ns, holder);
        self.stop_ending(&key);
        let mut view = SessionView::default();
        let mut kept = std::collections::BTreeSet::new();
        for lease in named {
            if !self.is_of(ns, holder, lease) {
                view.lost.push((lease.id, lease.token));
                continue;
            }
            self.state.note_held(ns, lease.id, lease.started);
            kept.insert(lease.id);
            // As it is after what was said: a run that is heard of only now has its timeout since.
            view.held.extend(self.held_job(ns, lease.id));
        }
        for id in self.state.held.of(&key) {
            if kept.contains(&id) {
                continue;
            }
            match self.lease_of(ns, id) {
                // It did not arrive, or went with the stream before. A worker names what it has
                // settled and heard no answer to as well: what stood when the shard started and
                // is not named was on its way then.
                Some((token, Held::Delivered | Held::Unknown)) if !self.is_at_most_once(ns, id) => {
                    self.give_back(ns, (id, token), moment);
                    view.given_back.push((id, token));
                }
                // It may have been settled, and its settlement is to come again.
                _ => self.state.set_apart(ns, id),
            }
        }
        self.state.held.hear(&key, self.state.mono);
        view.told = self.state.held.told(&key);
        view.leases = self.state.held.count(&key);
        Ok(Answer::Session(Box::new(view)))
    }

    fn is_at_most_once(&self, ns: NamespaceId, id: JobId) -> bool {
        let live = self.state.leases.get(&(ns, id));
        live.is_some_and(|live| live.job.options.at_most_once)
    }

    /// As if the worker had released it: a job that was to be cancelled is.
    pub(super) fn give_back(
        &mut self,
        ns: NamespaceId,
        (id, token): (JobId, Token),
        moment: Moment,
    ) -> bool {
        let release = Settlement { id, token, verdict: Verdict::Release };
        let settled = self.settle_all(ns, &[release], moment);
        matches!(settled.first(), Some(Ok(EndKind::Released)))
    }

    /// Whether the lease is the worker's.
    fn is_of(&self, ns: NamespaceId, holder: &Holder, named: &HeldLease) -> bool {
        self.state.leases.get(&(ns, named.id)).is_some_and(|live| {
            let lease = &live.lease;
            lease.token == named.token
                && *lease.worker == *holder.worker
                && *lease.session == *holder.session
        })
    }

    /// What there is to tell of a lease.
    fn held_job(&self, ns: NamespaceId, id: JobId) -> Option<HeldJob> {
        let live = self.state.leases.get(&(ns, id))?;
        let LiveLease { lease, job, .. } = &**live;
        Some(HeldJob {
            id,
            token: lease.token,
            queue: job.queue.clone(),
            kind: job.kind.clone(),
            attempt: lease.attempt,
            started: live.begun,
            granted_at: lease.started_at,
            timeout_ms: job.options.timeout_ms,
            timeout_left_ms: live.timeout.map(|at| at.0.saturating_sub(self.state.mono.0)),
        })
    }

    fn lease_of(&self, ns: NamespaceId, id: JobId) -> Option<(Token, Held)> {
        let live = self.state.leases.get(&(ns, id))?;
        Some((live.lease.token, live.held))
    }

    pub(super) fn start_jobs(&mut self, ns: NamespaceId, jobs: &[(JobId, Token)]) -> Answer {
        let mut answers = Vec::with_capacity(jobs.len());
        for (id, token) in jobs {
            let live = self.state.live_lease(ns, *id, *token).map(LiveLease::instruction);
            if live.is_ok() {
                self.state.note_started(ns, *id);
            }
            answers.push(live);
        }
        Answer::Extended(answers)
    }
}
