//! Jobs that have ended: outcomes and the dead set, their sizes, and what is left of them when
//! they are forgotten.

use crate::ids::{JobId, NamespaceId, TimeMs};
use crate::job::{ATTEMPT_NOTES_MAX, Body, Job, Phase};
use crate::state::{State, count, keys};
use crate::timer::Subject;
use crate::wire::wire_struct;

wire_struct! {
    /// What is left of a job whose id its client chose.
    pub(crate) struct Tombstone {
        /// Fingerprint of the request.
        pub(crate) fingerprint: [u8; 16],
        /// Until when it is remembered.
        pub(crate) forget_at: TimeMs,
    }
}

/// Outcomes that are filed under one key; they are forgotten together.
const OUTCOMES_PER_KEY_MAX: usize = 100;

impl State {
    /// Keeps a job that ended other than dead, without its args.
    pub(crate) fn keep_outcome(&mut self, ns: NamespaceId, mut job: Job) {
        if let Some(args) = job.args.take() {
            self.release_body(&args);
        }
        let now = self.now();
        let forget_at = now.plus(job.options.retain_ms.unwrap_or(0));
        let id = job.id;
        let result_bytes = match &job.phase {
            Phase::Succeeded { result: Some(Body::Stored { length, .. }), .. } => *length,
            _ => 0,
        };
        let beside = result_bytes + job.notes_bytes;
        let size = self.put_job(ns, job) + beside + self.keep_checkpoint(ns, id);
        self.namespaces.change_kept(ns).outcome_bytes += size;
        self.jobs.new_outcomes.entry((ns, forget_at)).or_default().push((id, size));
        self.jobs.note_ended(ns, id);
    }

    /// Files the outcomes of the entry that ends: one key for many costs a drain half as much as
    /// one for each.
    pub(in crate::state) fn file_outcomes(&mut self) {
        for ((ns, forget_at), outcomes) in std::mem::take(&mut self.jobs.new_outcomes) {
            for outcomes in outcomes.chunks(OUTCOMES_PER_KEY_MAX) {
                let Some((first, _)) = outcomes.first() else { continue };
                let key = keys::ended(ns, forget_at, *first);
                if let Some(outcomes) = self.namespaces.outcomes(ns) {
                    outcomes.put(&key);
                }
                self.put(&key, &outcomes.to_vec());
            }
        }
    }

    /// Keeps a job in the dead set, with its args.
    pub(crate) fn keep_dead(&mut self, ns: NamespaceId, job: Job) {
        let Phase::Dead { ended_at, forget_at, .. } = job.phase else { return };
        let id = job.id;
        let queue = self.queue_of(ns, &job);
        let args_bytes = match &job.args {
            Some(Body::Stored { length, .. }) => *length,
            _ => 0,
        };
        let beside = args_bytes + job.notes_bytes;
        self.enter_gate_set(ns, &job);
        let size = self.put_job(ns, job) + beside + self.checkpoint_bytes(ns, id);
        self.put(&keys::dead(ns, queue, ended_at, id), &size);
        self.set_timer(forget_at, Subject::job(ns, id));
        self.jobs.dead.add(ns);
        self.namespaces.change_kept(ns).dead_bytes += size;
        let counts = &mut self.queues.change(queue).counts;
        counts.dead += 1;
        counts.dead_total += 1;
        self.jobs.note_ended(ns, id);
    }

    /// Takes a job out of the dead set; what becomes of it is the caller's.
    pub(crate) fn leave_dead(&mut self, ns: NamespaceId, job: &Job) {
        let Phase::Dead { ended_at, forget_at, .. } = job.phase else { return };
        let queue = self.queue_of(ns, job);
        let key = keys::dead(ns, queue, ended_at, job.id);
        let size: u64 = self.value(&key).unwrap_or(0);
        self.remove(&key);
        self.clear_timer(forget_at, Subject::job(ns, job.id));
        self.jobs.dead.take(ns);
        self.leave_gate_set(ns, job);
        let kept = self.namespaces.change_kept(ns);
        count::take(&mut kept.dead_bytes, size, "bytes of dead jobs");
        let counts = &mut self.queues.change(queue).counts;
        count::take(&mut counts.dead, 1, "dead jobs");
    }

    /// Removes all that is kept of a job but a tombstone, where its client chose the id.
    pub(crate) fn forget_job(&mut self, ns: NamespaceId, job: &Job, tombstone_until: TimeMs) {
        let oldest = job.attempt.saturating_sub(ATTEMPT_NOTES_MAX);
        if job.last_error.is_some() {
            // A run that was lost after it moved its cursor left the note of an attempt that did
            // not count.
            for attempt in oldest + 1..=job.attempt + 1 {
                self.remove(&keys::attempt(ns, job.id, attempt));
            }
        }
        if let Some(args) = &job.args {
            self.release_body(args);
        }
        if let Phase::Succeeded { result: Some(result), .. } = &job.phase {
            self.release_body(result);
        }
        for at in [job.options.expires_at, job.deadline].into_iter().flatten() {
            self.clear_timer(at, Subject::job(ns, job.id));
        }
        self.leave_unique_forgotten(ns, job);
        self.forget_checkpoint(ns, job.id);
        self.drop_job(ns, job.id);
        let Some(fingerprint) = job.fingerprint else { return };
        let tombstone = Tombstone { fingerprint, forget_at: tombstone_until };
        self.put(&keys::tombstone(ns, job.id), &tombstone);
        let key = keys::tombstone_order(ns, tombstone_until, job.id);
        self.namespaces.change_kept(ns).tombstones += 1;
        if let Some(tombstones) = self.namespaces.tombstones(ns) {
            tombstones.put(&key);
        }
        self.put_bytes(&key, &[]);
    }

    pub(crate) fn set_timer(&mut self, at: TimeMs, subject: Subject) {
        let key = keys::timer(at, subject);
        self.timers.put(&key);
        self.put_bytes(&key, &[]);
    }

    /// Sets the timers again that passed without effect, since the job did not wait then.
    pub(crate) fn set_passed_timers(&mut self, ns: NamespaceId, job: &Job) {
        let expires_at = job.options.expires_at.filter(|_| job.attempt == 0);
        for at in [expires_at, job.deadline].into_iter().flatten() {
            if at <= self.now() {
                self.set_timer(at, Subject::job(ns, job.id));
            }
        }
    }

    /// The id is used anew. What is left of its tombstone goes, or the tombstone of the new job
    /// would go too early.
    pub(crate) fn drop_tombstone(&mut self, ns: NamespaceId, id: JobId) {
        let key = keys::tombstone(ns, id);
        let Some(tombstone) = self.value::<Tombstone>(&key) else { return };
        self.remove(&key);
        self.remove(&keys::tombstone_order(ns, tombstone.forget_at, id));
        if let Some(tombstones) = self.namespaces.tombstones(ns) {
            tombstones.forget_first();
        }
        let kept = self.namespaces.change_kept(ns);
        count::take(&mut kept.tombstones, 1, "tombstones");
    }

    pub(crate) fn clear_timer(&mut self, at: TimeMs, subject: Subject) {
        let key = keys::timer(at, subject);
        if self.get(&key).is_some() {
            self.timers.forget_first();
            self.remove(&key);
        }
    }
}
