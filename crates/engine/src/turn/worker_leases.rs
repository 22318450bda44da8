//! Leases of streaming workers: whose they are, what there is to tell of them, what is started and
//! what goes back.

use super::Turn;
use crate::answer::{Answer, HeldJob};
use crate::bounds::check_name;
use crate::command::{HeldLease, Holder, Settlement, Verdict};
use crate::ids::{JobId, NamespaceId, Token};
use crate::job::EndKind;
use crate::moment::Moment;
use crate::queueing::HolderKey;
use crate::rejection::Rejection;

impl Turn {
    pub(super) fn check_holder(&self, holder: &Holder) -> Result<(), Rejection> {
        check_name(&self.state.limits, "worker", &holder.worker)?;
        check_name(&self.state.limits, "session", &holder.session)
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

    /// Whether the lease is the session's.
    pub(super) fn is_of(&self, key: &HolderKey, named: &HeldLease) -> bool {
        let (ns, worker, session) = key;
        self.state.leases.get(*ns, named.id).is_some_and(|live| {
            let lease = live.lease();
            lease.token == named.token && lease.worker == *worker && lease.session == *session
        })
    }

    /// What there is to tell of a lease.
    pub(super) fn held_job(&self, ns: NamespaceId, id: JobId) -> Option<HeldJob> {
        let live = self.state.leases.get(ns, id)?;
        let (lease, job) = (live.lease(), live.job());
        Some(HeldJob {
            id,
            token: lease.token,
            queue: job.queue.clone(),
            kind: job.kind.clone(),
            attempt: lease.attempt,
            started: live.begun(),
            granted_at: lease.started_at,
            timeout_ms: job.options.timeout_ms,
            timeout_left_ms: live.timeout().map(|at| at.0.saturating_sub(self.state.mono().0)),
        })
    }

    pub(super) fn start_jobs(&mut self, ns: NamespaceId, jobs: &[(JobId, Token)]) -> Answer {
        let mut answers = Vec::with_capacity(jobs.len());
        for (id, token) in jobs {
            let live = self.state.live_lease(ns, *id, *token);
            let live = live.map(|live| self.state.instruct(ns, live));
            if live.is_ok() {
                self.state.note_started(ns, *id);
            }
            answers.push(live);
        }
        Answer::Extended(answers)
    }
}
