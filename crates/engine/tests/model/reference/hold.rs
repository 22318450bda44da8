//! Holds: who has a held tag is found by looking at all jobs.

use std::collections::BTreeSet;

use longshore_engine::{
    Answer, BlockedBy, Hold, HoldAnswer, HoldCommand, HoldView, JobId, LostRun, NamespaceId,
    Rejection, ReplyTo,
};

use super::{RefJob, Reference, Refusable, Target, Waiter};

#[derive(Clone, Debug)]
pub(crate) struct RefHold {
    pub(crate) ns: NamespaceId,
    pub(crate) tag: String,
    pub(crate) hold: Hold,
    pub(crate) lost: Vec<(JobId, LostRun)>,
}

impl Reference {
    fn hold_at(&self, ns: NamespaceId, tag: &str) -> Refusable<usize> {
        let at = self.holds.iter().position(|it| it.ns == ns && it.tag == tag);
        at.ok_or_else(|| Rejection::HoldUnknown { tag: tag.to_owned() })
    }

    /// The first tag of a job that is held.
    pub(super) fn held_tag(&self, of: &RefJob) -> Option<String> {
        let mut tags = of.job.options.tags.iter();
        tags.find(|tag| self.hold_at(of.ns, tag).is_ok()).cloned()
    }

    /// The holds that keep a job that waits from starting.
    pub(super) fn held_by_holds(&self, of: &RefJob) -> Vec<BlockedBy> {
        let tags: BTreeSet<_> = of.job.options.tags.iter().collect();
        let held = tags.into_iter().filter_map(|tag| self.hold_at(of.ns, tag).ok());
        let told = held.map(|at| BlockedBy::Hold {
            tag: self.holds[at].tag.clone(),
            reason: self.holds[at].hold.reason.clone(),
            epoch: self.holds[at].hold.epoch,
        });
        told.collect()
    }

    /// Jobs that came to wait in this step stand aside where a tag of theirs is held.
    pub(super) fn hold_back(&mut self) {
        for at in 0..self.jobs.len() {
            let job = &self.jobs[at];
            let waits = job.run.is_none() && job.job.phase.is_unfinished();
            let tag = if waits && !job.waited { self.held_tag(job) } else { None };
            let job = &mut self.jobs[at];
            job.waited = waits;
            if !waits {
                job.held_back = None;
            }
            if tag.is_some() && job.held_back.is_none() {
                job.held_back = tag;
            }
        }
    }

    /// Who stands aside for what is held no longer may start, unless another tag is held.
    pub(super) fn let_go(&mut self) {
        for at in 0..self.jobs.len() {
            let job = &self.jobs[at];
            let Some(tag) = &job.held_back else { continue };
            if self.hold_at(job.ns, tag).is_err() {
                self.jobs[at].held_back = self.held_tag(job);
            }
        }
    }

    pub(super) fn lose_track(&mut self, ns: NamespaceId, id: JobId) {
        let job = self.job(ns, id).expect("it ran").clone();
        let lease = &job.run.as_ref().expect("it ran").lease;
        let lost = LostRun {
            token: lease.token,
            worker: lease.worker.to_string(),
            started_at: lease.started_at,
            ended_at: self.now,
        };
        for hold in self.holds.iter_mut().filter(|it| it.ns == ns) {
            if job.job.options.tags.contains(&hold.tag) {
                hold.lost.retain(|(of, _)| *of != id);
                hold.lost.push((id, lost.clone()));
            }
        }
    }

    pub(super) fn of_holds(
        &mut self,
        ns: NamespaceId,
        reply_to: ReplyTo,
        command: HoldCommand,
    ) -> Option<Refusable<Answer>> {
        let (tag, wait_ms) = match command {
            HoldCommand::Put { tag, reason, wait_ms } => {
                if let Err(refused) = self.check_name("tag", &tag) {
                    return Some(Err(refused));
                }
                if self.hold_at(ns, &tag).is_err() {
                    self.last_hold += 1;
                    let hold = Hold { epoch: self.last_hold, since: self.now, reason };
                    self.holds.push(RefHold { ns, tag: tag.clone(), hold, lost: Vec::new() });
                }
                (tag, wait_ms)
            }
            HoldCommand::Delete { tag } => {
                if let Err(unknown) = self.hold_at(ns, &tag) {
                    return Some(Err(unknown));
                }
                self.holds.retain(|it| it.ns != ns || it.tag != tag);
                return Some(Ok(Answer::Holds(HoldAnswer::Deleted)));
            }
            HoldCommand::Get { tag, wait_ms } => (tag, wait_ms),
            HoldCommand::List => {
                let mut all: Vec<_> = self.holds.iter().filter(|it| it.ns == ns).collect();
                all.sort_by(|a, b| a.tag.cmp(&b.tag));
                let views = all.into_iter().map(|it| {
                    let view = self.hold_view(it);
                    HoldView { runs: Vec::new(), lost: Vec::new(), ..view }
                });
                return Some(Ok(Answer::Holds(HoldAnswer::Holds(views.collect()))));
            }
        };
        let quiet = self.hold_at(ns, &tag).is_ok_and(|at| self.running_with(&self.holds[at]) == 0);
        let unknown = self.hold_at(ns, &tag).is_err();
        if quiet || unknown || wait_ms == 0 || self.stopping || self.check_waiting(ns).is_err() {
            return Some(self.hold_answer(ns, &tag));
        }
        let deadline = self.mono + wait_ms.min(self.limits.wait_ms_max);
        self.waiters.push(Waiter { reply_to, ns, deadline, target: Target::Quiet(tag) });
        None
    }

    fn runs_with<'a>(&'a self, of: &'a RefHold) -> impl Iterator<Item = &'a RefJob> {
        let has = |it: &&RefJob| it.job.options.tags.contains(&of.tag);
        self.jobs.iter().filter(|it| it.ns == of.ns && it.run.is_some()).filter(has)
    }

    fn running_with(&self, of: &RefHold) -> u64 {
        self.runs_with(of).count() as u64
    }

    fn hold_view(&self, of: &RefHold) -> HoldView {
        let mut runs: Vec<_> = self
            .runs_with(of)
            .map(|it| (it.job.id, &it.run.as_ref().expect("it runs").lease))
            .map(|(id, lease)| (id, lease.token, lease.worker.to_string()))
            .collect();
        runs.sort_by_key(|(id, ..)| *id);
        let mut lost = of.lost.clone();
        lost.sort_by_key(|(id, _)| *id);
        HoldView {
            tag: of.tag.clone(),
            hold: of.hold.clone(),
            running: runs.len() as u64,
            unaccounted: lost.len() as u64,
            runs,
            lost,
        }
    }

    pub(super) fn hold_answer(&self, ns: NamespaceId, tag: &str) -> Refusable<Answer> {
        let at = self.hold_at(ns, tag)?;
        Ok(Answer::Holds(HoldAnswer::Hold(Box::new(self.hold_view(&self.holds[at])))))
    }

    /// Tells those who wait for what is quiet, or held no longer.
    pub(super) fn tell_quiet(&mut self) {
        let (told, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiters).into_iter().partition(|waiter| {
                let Target::Quiet(tag) = &waiter.target else { return false };
                let at = self.hold_at(waiter.ns, tag);
                at.is_err() || at.is_ok_and(|at| self.running_with(&self.holds[at]) == 0)
            });
        self.waiters = rest;
        for waiter in told {
            let Target::Quiet(tag) = &waiter.target else { continue };
            let answer = self.hold_answer(waiter.ns, tag).unwrap_or_else(Answer::Rejected);
            self.answers.push((waiter.reply_to, answer));
        }
    }

    pub(super) fn drop_holds(&mut self, ns: NamespaceId) {
        self.holds.retain(|it| it.ns != ns);
    }
}
