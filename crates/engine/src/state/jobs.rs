//! Jobs as they are kept, and what memory knows of them beside the leases of those that run.

mod settled;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

pub(crate) use settled::Tombstone;

use super::{State, Tally, keys};
use crate::ids::{JobId, NamespaceId, TimeMs};
use crate::job::Job;
use crate::queue::Queue;
use crate::wire::Wire;

/// How many decoded jobs are kept at hand beside those that run.
const JOBS_AT_HAND: usize = 2048;

/// Jobs that were read or written last, decoded: what is decided about is applied next.
#[derive(Debug, Default)]
struct AtHand {
    jobs: BTreeMap<(NamespaceId, JobId), Arc<Job>>,
    order: VecDeque<(NamespaceId, JobId)>,
}

impl AtHand {
    fn keep(&mut self, ns: NamespaceId, job: &Arc<Job>) {
        if self.jobs.insert((ns, job.id), Arc::clone(job)).is_none() {
            self.order.push_back((ns, job.id));
        }
        if self.order.len() > JOBS_AT_HAND
            && let Some(oldest) = self.order.pop_front()
        {
            self.jobs.remove(&oldest);
        }
    }
}

/// What memory knows of jobs.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    at_hand: RefCell<AtHand>,
    /// How many dead ones each namespace has.
    dead: Tally,
    /// Outcomes of the entry that is being applied, which are filed together, by when they are
    /// forgotten: the job and its size.
    new_outcomes: BTreeMap<(NamespaceId, TimeMs), Vec<(JobId, u64)>>,
    /// Volatile: those that ended since their waiters were last told.
    ended: Vec<(NamespaceId, JobId)>,
}

impl Jobs {
    /// How many dead ones a namespace has.
    pub(crate) fn dead_of(&self, ns: NamespaceId) -> usize {
        self.dead.of(ns)
    }

    /// So many more of a namespace are dead.
    pub(super) fn add_dead(&mut self, ns: NamespaceId, more: usize) {
        self.dead.add_many(ns, more);
    }

    /// Whoever waits for its end is to be told.
    pub(crate) fn note_ended(&mut self, ns: NamespaceId, id: JobId) {
        self.ended.push((ns, id));
    }

    /// Those whose waiters are to be told.
    pub(crate) fn take_ended(&mut self) -> Vec<(NamespaceId, JobId)> {
        std::mem::take(&mut self.ended)
    }
}

impl State {
    pub(crate) fn job(&self, ns: NamespaceId, id: JobId) -> Option<Arc<Job>> {
        if let Some(live) = self.leases.get(ns, id) {
            return Some(Arc::clone(live.job()));
        }
        if let Some(job) = self.jobs.at_hand.borrow().jobs.get(&(ns, id)) {
            return Some(Arc::clone(job));
        }
        let job: Arc<Job> = Arc::new(self.value(&keys::job(ns, id))?);
        self.jobs.at_hand.borrow_mut().keep(ns, &job);
        Some(job)
    }

    /// Reads jobs that will be asked for soon. Where their ids lie close together, as those of
    /// one producer do, one scan costs a tenth of as many lookups.
    pub(crate) fn read_ahead(&self, ns: NamespaceId, mut ids: Vec<JobId>) {
        ids.sort_unstable();
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return };
        let (from, to) = (keys::job(ns, *first), keys::after(&keys::job(ns, *last)));
        let mut passed = 0;
        let mut wanted = ids.iter().peekable();
        self.scan(&from, &to, &mut |key, value| {
            let Some(id) = keys::id_at(key, 5) else { return ControlFlow::Break(()) };
            while wanted.next_if(|wanted| **wanted < id).is_some() {}
            if wanted.next_if(|wanted| **wanted == id).is_some() {
                if let Ok(job) = Job::from_bytes(value) {
                    self.jobs.at_hand.borrow_mut().keep(ns, &Arc::new(job));
                }
            } else {
                passed += 1;
            }
            if passed <= ids.len() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
    }

    pub(crate) fn put_job(&mut self, ns: NamespaceId, job: Job) -> u64 {
        let size = self.put(&keys::job(ns, job.id), &job);
        // What has ended is hardly asked for again, what waits in a long queue not soon.
        let short = |queue: &Queue| queue.counts.waiting < JOBS_AT_HAND as u64;
        let soon = || self.queues.named(ns, &job.queue).is_some_and(short);
        if job.phase.is_unfinished() && soon() {
            self.jobs.at_hand.get_mut().keep(ns, &Arc::new(job));
        } else {
            self.jobs.at_hand.get_mut().jobs.remove(&(ns, job.id));
        }
        size
    }

    /// The job is kept at hand elsewhere from now on: it runs.
    pub(crate) fn let_job_go(&mut self, ns: NamespaceId, id: JobId) {
        self.jobs.at_hand.get_mut().jobs.remove(&(ns, id));
    }

    pub(crate) fn drop_job(&mut self, ns: NamespaceId, id: JobId) {
        self.jobs.at_hand.get_mut().jobs.remove(&(ns, id));
        self.remove(&keys::job(ns, id));
    }
}
