//! Leases: what was handed out, to whom, and until when. The journal has that a lease was granted,
//! what is kept of it, and that it ended. When it runs out is known only to this life of the shard.
//! What the end of a lease means for a job is not decided here.

mod by_session;
mod vanished;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use by_session::LeasesBySession;
pub(crate) use by_session::{AtWorker, HolderKey, holder_key};
use vanished::Vanished;

use crate::ids::{JobId, MonoMs, NamespaceId, Token};
use crate::job::{Job, Lease};
use crate::state::{State, count, keys};
use crate::wire::Wire;

/// A lease with what only this life of the shard knows. Others only ever see one; this module and
/// those below it change it.
#[derive(Debug)]
pub(crate) struct LiveLease {
    lease: Lease,
    /// The job as it was granted: nothing rewrites a job while it runs.
    job: Arc<Job>,
    /// After which instant it runs out unless extended. Heartbeats of its session may have
    /// extended it since: see [`State::file_end_as_heard`]. In that very millisecond it still
    /// stands, since its beginning was cut to a whole millisecond, too.
    expires: MonoMs,
    /// After which instant no heartbeat extends it any more. None where the job has no timeout, or
    /// was sent to a worker's stream and has not started.
    timeout: Option<MonoMs>,
    /// It was renewed after a shortage, and its worker was not heard since.
    spared: bool,
    /// The job is to be paused once this run has ended.
    paused: bool,
    /// How far its worker's stream is with it.
    at_worker: AtWorker,
    /// Its worker said that the job runs, whatever became of their session since. A lease that had
    /// a stream when the shard started counts as one of which it was said.
    begun: bool,
}

impl LiveLease {
    /// What is kept of it.
    pub(crate) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The job as it was granted.
    pub(crate) fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// After which instant no heartbeat extends it any more.
    pub(crate) fn timeout(&self) -> Option<MonoMs> {
        self.timeout
    }

    /// Whether the job is to be paused once this run has ended.
    pub(crate) fn is_to_pause(&self) -> bool {
        self.paused
    }

    /// How far its worker's stream is with it.
    pub(crate) fn at_worker(&self) -> AtWorker {
        self.at_worker
    }

    /// Whether its worker said that the job runs, or may have said so before the shard started.
    pub(crate) fn begun(&self) -> bool {
        self.begun
    }

    /// The instant, or the timeout of the run where that comes first.
    fn end(&self, at: MonoMs) -> MonoMs {
        self.timeout.map_or(at, |timeout| at.min(timeout))
    }
}

/// The leases of a shard.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    /// Boxed: a tree of large values moves many bytes with every change.
    live: BTreeMap<(NamespaceId, JobId), Box<LiveLease>>,
    /// The same ones by the instants after which they run out.
    ends: BTreeSet<(MonoMs, NamespaceId, JobId)>,
    by_session: LeasesBySession,
    vanished: Vanished,
}

impl Leases {
    pub(crate) fn get(&self, ns: NamespaceId, id: JobId) -> Option<&LiveLease> {
        self.live.get(&(ns, id)).map(|live| &**live)
    }

    fn get_mut(&mut self, ns: NamespaceId, id: JobId) -> Option<&mut LiveLease> {
        self.live.get_mut(&(ns, id)).map(|live| &mut **live)
    }

    /// Whether the job runs.
    pub(crate) fn contains(&self, ns: NamespaceId, id: JobId) -> bool {
        self.live.contains_key(&(ns, id))
    }

    pub(crate) fn len(&self) -> usize {
        self.live.len()
    }

    /// Those of a namespace, by their jobs.
    pub(crate) fn of(&self, ns: NamespaceId) -> impl Iterator<Item = (JobId, &LiveLease)> {
        self.after(ns, None)
    }

    /// Those of a namespace whose jobs come after `after`.
    pub(crate) fn after(
        &self,
        ns: NamespaceId,
        after: Option<JobId>,
    ) -> impl Iterator<Item = (JobId, &LiveLease)> {
        let from = after.map_or(Included((ns, JobId([0; 16]))), |after| Excluded((ns, after)));
        let live = self.live.range((from, Unbounded)).take_while(move |((of, _), _)| *of == ns);
        live.map(|((_, id), live)| (*id, &**live))
    }

    /// The lease that runs out first.
    pub(crate) fn first_end(&self) -> Option<(MonoMs, NamespaceId, JobId)> {
        self.ends.first().copied()
    }

    /// All leases by the instants after which they run out. Asserts that the places that know of a
    /// lease agree.
    #[cfg(test)]
    pub(crate) fn ends(&self) -> BTreeSet<(MonoMs, NamespaceId, JobId)> {
        let ends = self.live.iter().map(|((ns, id), live)| (live.expires, *ns, *id));
        assert_eq!(self.ends, ends.collect(), "where ends are filed");
        self.by_session.check(self.live.iter().map(|((ns, _), live)| (*ns, &**live)));
        self.ends.clone()
    }

    fn insert(&mut self, ns: NamespaceId, id: JobId, live: LiveLease) {
        self.ends.insert((live.expires, ns, id));
        self.live.insert((ns, id), Box::new(live));
    }

    fn remove(&mut self, ns: NamespaceId, id: JobId) -> Option<LiveLease> {
        let live = self.live.remove(&(ns, id))?;
        self.ends.remove(&(live.expires, ns, id));
        Some(*live)
    }

    /// Files a lease by another end.
    fn file_end(&mut self, ns: NamespaceId, id: JobId, at: MonoMs) {
        let Some(live) = self.live.get_mut(&(ns, id)) else { return };
        self.ends.remove(&(live.expires, ns, id));
        (live.expires, live.spared) = (live.end(at), false);
        self.ends.insert((live.expires, ns, id));
    }

    /// Files all leases by other ends.
    fn file_all_ends(&mut self, at: impl Fn(&mut LiveLease) -> MonoMs) {
        self.ends.clear();
        for ((ns, id), live) in &mut self.live {
            let at = at(live);
            live.expires = live.end(at);
            self.ends.insert((live.expires, *ns, *id));
        }
    }
}

impl State {
    /// The job is handed out under a lease that nobody had before.
    pub(crate) fn grant_lease(&mut self, ns: NamespaceId, id: JobId, lease: Lease, job: Arc<Job>) {
        self.put_brief(&keys::lease(ns, id), &lease);
        self.add_lease(ns, id, lease, job);
    }

    /// Holds a lease from this instant of the clock that never steps.
    pub(crate) fn add_lease(&mut self, ns: NamespaceId, id: JobId, lease: Lease, job: Arc<Job>) {
        self.run_begins(ns, &job);
        let mut live = LiveLease {
            expires: self.mono().plus(lease.lease_ms),
            timeout: job.options.timeout_ms.map(|timeout_ms| self.mono().plus(timeout_ms)),
            lease,
            job,
            spared: false,
            paused: self.is_paused(ns, id),
            at_worker: AtWorker::Apart,
            begun: false,
        };
        live.expires = live.end(live.expires);
        self.leases.insert(ns, id, live);
    }

    /// Ends the lease: from here on its token is stale.
    pub(crate) fn end_lease(&mut self, ns: NamespaceId, id: JobId) -> Option<(Arc<Job>, Lease)> {
        let live = self.leases.remove(ns, id)?;
        self.remove(&keys::lease(ns, id));
        let queue = self.queue_of(ns, &live.job);
        self.leases.by_session.forget(ns, queue, &live);
        let counts = &mut self.queues.change(queue).counts;
        count::take(&mut counts.running, 1, "running jobs");
        let LiveLease { lease, job, .. } = live;
        self.run_ends(ns, &job, lease.started_at);
        Some((job, lease))
    }

    /// Changes what is kept of a lease.
    pub(crate) fn change_lease(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        change: impl FnOnce(&mut Lease),
    ) {
        let live = self.leases.get_mut(ns, id).expect("the record names a live lease");
        change(&mut live.lease);
        let value = live.lease.to_bytes();
        self.put_bytes(&keys::lease(ns, id), &value);
    }

    /// The job is to be paused once its run has ended, or is not any more.
    pub(super) fn pause_run(&mut self, ns: NamespaceId, id: JobId, paused: bool) {
        if let Some(live) = self.leases.get_mut(ns, id) {
            live.paused = paused;
            self.note_told(ns, id);
        }
    }

    /// Whether a grant is still the job's run, and not about to end.
    pub(crate) fn has_lease(&self, ns: NamespaceId, id: JobId, token: Token) -> bool {
        let live = self.leases.get(ns, id);
        live.is_some_and(|live| live.lease.token == token && live.expires >= self.mono())
    }

    /// A volatile fact: the lease holds from now on anew, but not past the run's timeout.
    pub(crate) fn extend_lease(&mut self, ns: NamespaceId, id: JobId, lease_ms: Option<u64>) {
        let Some(live) = self.leases.get(ns, id) else { return };
        let at = self.mono().plus(lease_ms.unwrap_or(live.lease.lease_ms));
        self.leases.file_end(ns, id, at);
    }

    /// For so long no worker could be heard: see `Turn::end_shortage`.
    pub(crate) fn spare_leases(&mut self, shortage_ms: u64) {
        let mono = self.mono();
        // Whose session was heard since the last shortage is not spared any more.
        let all: Vec<_> = self.leases.live.keys().copied().collect();
        for (ns, id) in all {
            self.file_end_as_heard(ns, id);
        }
        self.leases.file_all_ends(|live| {
            let without = live.expires.plus(shortage_ms);
            let spared = std::mem::replace(&mut live.spared, true);
            if spared { without } else { without.max(mono.plus(live.lease.lease_ms)) }
        });
    }

    /// Every lease stands for one more of its lengths: a restart does not run everything twice.
    pub(crate) fn renew_leases(&mut self) {
        let (mono, at) = (self.mono(), self.now());
        self.leases.file_all_ends(|live| {
            let ran_ms = at.since(live.lease.started_at);
            let left_ms = |timeout_ms: u64| mono.plus(timeout_ms.saturating_sub(ran_ms));
            live.timeout = live.job.options.timeout_ms.map(left_ms);
            mono.plus(live.lease.lease_ms)
        });
        self.index_sessions();
    }
}
