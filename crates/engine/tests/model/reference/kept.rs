//! What is kept of jobs that have ended.

use std::collections::BTreeMap;

use longshore_engine::wire::Wire;
use longshore_engine::{Body, CancelReason, DeadReason, JobId, NamespaceId, Phase, TimeMs};

use super::{RefJob, RefTombstone, Reference};

/// Outcomes that are forgotten together, and their sizes.
type Lot = Vec<(JobId, u64)>;

const DAY_MS: u64 = 24 * 3600 * 1000;

impl Reference {
    pub(super) fn call_off(&mut self, mut job: RefJob, reason: CancelReason) {
        self.queue_mut(job.ns, &job.job.queue).cancelled += 1;
        job.job.phase = Phase::Cancelled { ended_at: self.now, reason };
        self.keep_outcome(job);
    }

    pub(super) fn keep_outcome(&mut self, mut job: RefJob) {
        if let Some(args) = job.job.args.take() {
            self.drop_body(&args);
        }
        let result_bytes = match &job.job.phase {
            Phase::Succeeded { result: Some(Body::Stored { length, .. }), .. } => *length,
            _ => 0,
        };
        if let Some(checkpoint) = &mut job.checkpoint {
            checkpoint.cursor = None;
        }
        job.size = job.job.to_bytes().len() as u64 + result_bytes + headway_bytes(&job);
        job.lot = self.steps;
        job.paused = false;
        self.ended.push((job.ns, job.job.id));
        self.jobs.push(job);
    }

    pub(super) fn bury(&mut self, mut job: RefJob, reason: DeadReason) {
        let forget_at = self.now.plus(self.limits.dead_retain_ms);
        job.job.phase = Phase::Dead { ended_at: self.now, reason, forget_at };
        let args_bytes = match &job.job.args {
            Some(Body::Stored { length, .. }) => *length,
            _ => 0,
        };
        job.size = job.job.to_bytes().len() as u64 + args_bytes + headway_bytes(&job);
        job.paused = false;
        self.queue_mut(job.ns, &job.job.queue).died += 1;
        self.ended.push((job.ns, job.job.id));
        self.jobs.push(job);
    }

    /// Removes a waiting or dead job without an outcome.
    pub(super) fn remove_job(&mut self, ns: NamespaceId, id: JobId) {
        let job = self.job(ns, id).expect("the job exists").clone();
        if job.job.phase.is_unfinished() {
            self.queue_mut(ns, &job.job.queue).cancelled += 1;
        }
        self.ended.push((ns, id));
        self.forget(ns, id, self.now.plus(DAY_MS));
    }

    /// Nothing at all stays of a job that no worker ever had.
    pub(super) fn withdraw_job(&mut self, ns: NamespaceId, id: JobId) {
        let queue = self.job(ns, id).expect("the job exists").job.queue.clone();
        self.queue_mut(ns, &queue).cancelled += 1;
        self.ended.push((ns, id));
        self.job_mut(ns, id).job.fingerprint = None;
        self.forget(ns, id, self.now);
    }

    /// Nothing but a tombstone stays of a job, where its client chose the id.
    fn forget(&mut self, ns: NamespaceId, id: JobId, until: TimeMs) {
        let index = self.jobs.iter().position(|job| job.ns == ns && job.job.id == id);
        let job = self.jobs.remove(index.expect("the job exists")).job;
        if let Some(args) = &job.args {
            self.drop_body(args);
        }
        if let Phase::Succeeded { result: Some(result), .. } = &job.phase {
            self.drop_body(result);
        }
        if let Some(fingerprint) = job.fingerprint {
            self.tombstones.push(RefTombstone { ns, id, fingerprint, forget_at: until });
        }
    }

    pub(super) fn forget_at(job: &RefJob) -> Option<TimeMs> {
        match &job.job.phase {
            Phase::Dead { .. } => None,
            phase => Some(phase.ended_at()?.plus(job.job.options.retain_ms.unwrap_or(0))),
        }
    }

    /// Outcomes of a namespace in lots that are forgotten together, the first one first.
    fn outcomes(&self, ns: NamespaceId) -> Vec<(TimeMs, Lot)> {
        let mut lots: BTreeMap<(TimeMs, u64), Lot> = BTreeMap::new();
        for job in self.jobs.iter().filter(|job| job.ns == ns) {
            if let Some(forget_at) = Self::forget_at(job) {
                lots.entry((forget_at, job.lot)).or_default().push((job.job.id, job.size));
            }
        }
        let mut lots: Vec<_> = lots.into_iter().map(|((at, _), lot)| (at, lot)).collect();
        lots.sort_by_key(|(forget_at, lot)| (*forget_at, lot[0].0));
        lots
    }

    pub(crate) fn outcome_bytes(&self, ns: NamespaceId) -> u64 {
        self.outcomes(ns).iter().flat_map(|(_, lot)| lot).map(|(_, size)| size).sum()
    }

    fn tombstones_of(&self, ns: NamespaceId) -> Vec<(TimeMs, JobId)> {
        let of = self.tombstones.iter().filter(|t| t.ns == ns);
        let mut tombstones: Vec<_> = of.map(|t| (t.forget_at, t.id)).collect();
        tombstones.sort_unstable();
        tombstones
    }

    /// Forgets outcomes and tombstones past their time or beyond their cap.
    pub(super) fn housekeep(&mut self) {
        let slice = self.limits.slice_items_max;
        for index in 0..self.namespaces.len() {
            let ns = self.namespaces[index].id;
            let mut excess = self.outcome_bytes(ns).saturating_sub(self.limits.outcome_bytes_max);
            let until = self.now.plus(self.limits.tombstone_ms);
            let count = self.tombstones_of(ns).len() as u64;
            let mut too_many = count.saturating_sub(self.limits.tombstones_max);
            let (outcomes, tombstones) = (self.outcomes(ns), self.tombstones_of(ns));
            let mut left = slice;
            for (forget_at, lot) in outcomes {
                if left == 0 || forget_at > self.now && excess == 0 {
                    break;
                }
                left = left.saturating_sub(lot.len());
                for (id, size) in lot {
                    excess = excess.saturating_sub(size);
                    self.forget(ns, id, until);
                }
            }
            for (forget_at, id) in tombstones.into_iter().take(slice) {
                if forget_at > self.now && too_many == 0 {
                    break;
                }
                too_many = too_many.saturating_sub(1);
                self.namespaces[index].dropped += u64::from(forget_at > self.now);
                self.tombstones.retain(|t| (t.ns, t.id, t.forget_at) != (ns, id, forget_at));
            }
        }
    }
}

/// Bytes that are kept of how far a job came, and of its attempts that did not succeed.
fn headway_bytes(job: &RefJob) -> u64 {
    let skipped = job.skipped.iter().map(|item| item.to_bytes().len());
    let checkpoint = job.checkpoint.iter().map(|checkpoint| checkpoint.to_bytes().len());
    let notes = job.notes.iter().map(|note| note.to_bytes().len());
    checkpoint.chain(skipped).chain(notes).sum::<usize>() as u64
}
