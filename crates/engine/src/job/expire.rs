//! Waiting jobs whose time runs out: expired, or dead for want of another attempt.

use crate::ids::{JobId, NamespaceId, TimeMs};
use crate::job::{DeadReason, Job, Phase};
use crate::moment::Moment;
use crate::record::Record;
use crate::sla::SlaEvent;
use crate::state::{State, keys};
use crate::timer::Subject;

impl State {
    /// The timers that are due, at most a slice of them, in their order.
    pub(crate) fn timers_due(&self, moment: Moment) -> Vec<(TimeMs, Subject)> {
        let mut due = Vec::new();
        let (from, to) = self.timers.range();
        self.scan(&from, &to, &mut |key, _| {
            let Some((at, subject)) = keys::timer_of(key) else {
                panic!("key {key:02x?} in the state is no timer of this engine")
            };
            if at <= moment.at && due.len() < self.limits.slice_items_max {
                due.push((at, subject));
                return std::ops::ControlFlow::Continue(());
            }
            std::ops::ControlFlow::Break(())
        });
        due
    }

    /// Records for timers of jobs that are due.
    pub(crate) fn decide_timers(&self, due: &[(TimeMs, Subject)], moment: Moment) -> Vec<Record> {
        let mut records: Vec<Record> = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for (_, subject) in due {
            if let Subject::Job { namespace, id } = subject
                && seen.insert(*subject)
            {
                records.extend(self.decide_timer(*namespace, *id, moment));
            }
        }
        records.push(Record::TimersPassed { timers: due.to_vec() });
        records
    }

    fn decide_timer(&self, namespace: NamespaceId, id: JobId, moment: Moment) -> Option<Record> {
        let job = self.job(namespace, id)?;
        if self.leases.contains(namespace, id) {
            return None;
        }
        match job.phase {
            Phase::Waiting | Phase::Retrying => {
                super::lease::out_of_time(namespace, &job, &self.limits, moment)
            }
            Phase::Dead { forget_at, .. } if forget_at <= moment.at => {
                Some(Record::JobRemoved { namespace, id })
            }
            _ => None,
        }
    }

    pub(crate) fn apply_timers_passed(&mut self, timers: &[(TimeMs, Subject)]) {
        for (at, subject) in timers {
            let key = keys::timer(*at, *subject);
            self.timers.eaten(&key);
            self.remove(&key);
        }
    }

    pub(crate) fn apply_job_expired(&mut self, ns: NamespaceId, id: JobId) {
        let job = self.job(ns, id).expect("the record names a waiting job");
        let queue = self.queue_of(ns, &job);
        self.unfile(ns, queue, &job);
        self.queues.change(queue).counts.cancelled_total += 1;
        self.leave_keys(ns, &job);
        self.note_sla(ns, &job, SlaEvent::Failed);
        let mut job = (*job).clone();
        job.phase = Phase::Expired { ended_at: self.now() };
        self.keep_outcome(ns, job);
    }

    pub(crate) fn apply_job_died(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        reason: DeadReason,
        forget_at: TimeMs,
    ) {
        let job = self.job(ns, id).expect("the record names a waiting job");
        let queue = self.queue_of(ns, &job);
        self.unfile(ns, queue, &job);
        self.bury(ns, (*job).clone(), reason, forget_at);
    }

    /// Puts a job that is neither filed nor leased any more into the dead set.
    pub(crate) fn bury(
        &mut self,
        ns: NamespaceId,
        mut job: Job,
        reason: DeadReason,
        forget_at: TimeMs,
    ) {
        self.leave_keys(ns, &job);
        self.note_sla(ns, &job, SlaEvent::Failed);
        job.phase = Phase::Dead { ended_at: self.now(), reason, forget_at };
        self.keep_dead(ns, job);
    }
}
