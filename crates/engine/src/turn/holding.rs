//! Sessions of streaming workers: a session begins or is taken up again and its leases are
//! compared, heartbeats extend them all, and at its end they are given back or lost.

use super::Turn;
use crate::answer::{Answer, HeldJob, Instruction, SessionView};
use crate::bounds::check_name;
use crate::command::{HeldLease, Holder, Settlement, Verdict};
use crate::effect::CloseReason;
use crate::ids::{JobId, NamespaceId, Token};
use crate::job::EndKind;
use crate::map::OrderedMap;
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{Held, HeldIndex, HolderKey, LiveLease};

impl<M: OrderedMap> Turn<M> {
    /// A stream of a session begins, with the leases that its worker says it has.
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
        // What the stream before has not got by now is compared below.
        self.end_stream(ns, holder, CloseReason::Superseded);
        let mut view = SessionView::default();
        let mut kept = std::collections::BTreeSet::new();
        for lease in named {
            if !self.is_of(ns, holder, lease) {
                view.lost.push((lease.id, lease.token));
                continue;
            }
            self.state.note_held(ns, lease.id, lease.started);
            kept.insert(lease.id);
            // After `note_held`: the timeout of a run that is first heard of here begins here.
            view.held.extend(self.held_job(ns, lease.id));
        }
        let key = HeldIndex::key(ns, holder);
        for id in self.state.held.of(&key) {
            if kept.contains(&id) {
                continue;
            }
            match self.lease_of(ns, id) {
                // It did not arrive. A worker also names what it has settled and heard no answer
                // to, so this holds for what stood when the shard started as well.
                Some((token, Held::Delivered | Held::Unknown)) if !self.is_at_most_once(ns, id) => {
                    self.give_back(ns, (id, token), moment);
                    view.given_back.push((id, token));
                }
                // It had started: its settlement may come again, until its time is over.
                _ => self.state.set_apart(ns, id),
            }
        }
        self.extend_held(ns, &key, &mut view);
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

    /// Extends the leases of a session, and notes what their runs shall do other than go on.
    fn extend_held(&mut self, ns: NamespaceId, key: &HolderKey, view: &mut SessionView) {
        for id in self.state.held.of(key) {
            self.state.extend_lease(ns, id, None);
            if let Some(live) = self.state.leases.get(&(ns, id)) {
                let instruction = live.instruction();
                if instruction != Instruction::Continue {
                    view.told.push((id, live.lease.token, instruction));
                }
            }
        }
        view.leases = self.state.held.count(key);
    }

    /// A heartbeat: every lease of the session holds for one more of its lengths.
    pub(super) fn extend_session(
        &mut self,
        ns: NamespaceId,
        holder: &Holder,
        known: &[(JobId, Token)],
    ) -> Answer {
        let mut view = SessionView::default();
        let gone = |(id, token): &&(JobId, Token)| self.state.live_lease(ns, *id, *token).is_err();
        view.lost = known.iter().filter(gone).copied().collect();
        self.extend_held(ns, &HeldIndex::key(ns, holder), &mut view);
        Answer::Session(Box::new(view))
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

    /// The worker has gone: what had not started is free, what had is lost.
    pub(super) fn end_session(
        &mut self,
        ns: NamespaceId,
        (holder, why, goodbye): (&Holder, &str, bool),
        moment: Moment,
    ) -> Answer {
        self.end_stream(ns, holder, CloseReason::SessionEnded);
        let mut view = SessionView::default();
        let held = self.state.held.of(&HeldIndex::key(ns, holder)).into_iter();
        let mut runs: Vec<_> = held
            .filter_map(|id| self.lease_of(ns, id).map(|(token, it)| (token, id, it)))
            .collect();
        // Workers start jobs in the order in which they get them. If a job that is not known to run
        // has ended the worker, it is the first of those.
        runs.sort_unstable_by_key(|(token, ..)| *token);
        let mut may_have = !goodbye;
        for (token, id, held) in runs {
            let free = held == Held::Delivered
                && !(std::mem::take(&mut may_have) && self.state.vanished.is_suspect(ns, id));
            if free {
                if self.give_back(ns, (id, token), moment) {
                    view.given_back.push((id, token));
                } else {
                    view.lost.push((id, token));
                }
                if !goodbye {
                    self.state.vanished.note(ns, id);
                }
            } else if let Some(record) = self.state.decide_loss(ns, id, why, moment) {
                self.record(record);
                view.lost.push((id, token));
            }
        }
        Answer::Session(Box::new(view))
    }
}
