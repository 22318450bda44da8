//! Which leases the session of a streaming worker has, and how far it is with each. Only this life
//! of the shard knows: nothing of it is journaled.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use super::{Leases, LiveLease};
use crate::answer::Instruction;
use crate::command::Holder;
use crate::ids::{JobId, MonoMs, NamespaceId, QueueId, Token};
use crate::state::{State, count};

/// How far the stream of a worker's session is with a lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum AtWorker {
    /// No stream has it: it was leased over HTTP, or its worker did not name it when it came back.
    Apart,
    /// Its job was sent to the worker and may not have arrived.
    Delivered,
    /// Its worker said that the job runs, or it is to run at most once. What is said later does
    /// not take that back.
    Started,
    /// It stood when the shard started: it counts as started until its worker says.
    Unknown,
}

/// A session: its namespace, worker and name.
pub(crate) type HolderKey = (NamespaceId, Arc<str>, Arc<str>);

/// The key of a session.
pub(crate) fn holder_key(ns: NamespaceId, holder: &Holder) -> HolderKey {
    (ns, Arc::from(holder.worker.as_str()), Arc::from(holder.session.as_str()))
}

fn key_of(ns: NamespaceId, live: &LiveLease) -> HolderKey {
    (ns, Arc::clone(&live.lease.worker), Arc::clone(&live.lease.session))
}

impl LiveLease {
    /// Whether its worker has the job at hand and does not run it, as far as is known.
    fn waits(&self) -> bool {
        matches!(self.at_worker, AtWorker::Delivered | AtWorker::Started) && !self.begun
    }
}

/// What a session of a streaming worker has.
#[derive(Debug, Default)]
struct SessionLeases {
    /// Its leases, in the order in which they were granted.
    leases: BTreeMap<Token, JobId>,
    /// What its runs shall do other than go on.
    told: BTreeMap<Token, (JobId, Instruction)>,
    /// Its last heartbeat: from then on each of its leases holds for its length, and no one of
    /// them had to be touched for that.
    heard: Option<MonoMs>,
}

/// The leases of all sessions of streaming workers, and how many of each queue have not started.
#[derive(Debug, Default)]
pub(super) struct LeasesBySession {
    /// The leases of each session: all that are not [`AtWorker::Apart`].
    sessions: BTreeMap<HolderKey, SessionLeases>,
    /// How many leases of each queue wait at their workers. Those that have none are not here.
    waiting: BTreeMap<QueueId, u64>,
}

impl Leases {
    /// The first leases of a session that were granted after `after` and up to `last`, at most
    /// `most` of them.
    pub(crate) fn of_session(
        &self,
        key: &HolderKey,
        (after, last): (Option<Token>, Token),
        most: usize,
    ) -> Vec<(Token, JobId)> {
        if after >= Some(last) {
            return Vec::new();
        }
        let range = (after.map_or(Unbounded, Excluded), Included(last));
        let leases =
            self.by_session.sessions.get(key).into_iter().flat_map(|it| it.leases.range(range));
        leases.take(most).map(|(token, id)| (*token, *id)).collect()
    }

    /// The lease that a session was granted last.
    pub(crate) fn last_of_session(&self, key: &HolderKey) -> Option<Token> {
        self.by_session.sessions.get(key)?.leases.keys().next_back().copied()
    }

    /// How many leases a session has.
    pub(crate) fn count_of_session(&self, key: &HolderKey) -> usize {
        self.by_session.sessions.get(key).map_or(0, |session| session.leases.len())
    }

    /// What the runs of a session shall do other than go on.
    pub(crate) fn told_of_session(&self, key: &HolderKey) -> Vec<(JobId, Token, Instruction)> {
        let told = self.by_session.sessions.get(key).into_iter().flat_map(|session| &session.told);
        told.map(|(token, (id, instruction))| (*id, *token, *instruction)).collect()
    }

    /// The session says that it is there: all of its leases hold for one more of their lengths.
    /// Answers when it was heard before.
    pub(crate) fn hear_session(&mut self, key: &HolderKey, now: MonoMs) -> Option<MonoMs> {
        self.by_session.sessions.get_mut(key)?.heard.replace(now)
    }

    /// How many jobs of the queue wait at their workers.
    pub(crate) fn waiting(&self, queue: QueueId) -> u64 {
        self.by_session.waiting.get(&queue).copied().unwrap_or(0)
    }
}

impl LeasesBySession {
    /// The lease, which is of that queue, has ended or is its session's no longer.
    pub(super) fn forget(&mut self, ns: NamespaceId, queue: QueueId, live: &LiveLease) {
        if live.at_worker == AtWorker::Apart {
            return;
        }
        let key = key_of(ns, live);
        if let Some(session) = self.sessions.get_mut(&key) {
            session.leases.remove(&live.lease.token);
            session.told.remove(&live.lease.token);
            if session.leases.is_empty() {
                self.sessions.remove(&key);
            }
        }
        self.recount(queue, live.waits(), false);
    }

    /// Asserts that this agrees with the leases.
    #[cfg(test)]
    pub(super) fn check<'l>(&self, all: impl Iterator<Item = (NamespaceId, &'l LiveLease)>) {
        let mut sessions: BTreeMap<HolderKey, Vec<Token>> = BTreeMap::new();
        let mut waiting = 0;
        for (ns, live) in all.filter(|(_, live)| live.at_worker != AtWorker::Apart) {
            sessions.entry(key_of(ns, live)).or_default().push(live.lease.token);
            waiting += u64::from(live.waits());
        }
        for tokens in sessions.values_mut() {
            tokens.sort_unstable();
        }
        let known = self.sessions.iter();
        let known = known.map(|(key, it)| (key.clone(), it.leases.keys().copied().collect()));
        assert_eq!(sessions, known.collect(), "the leases of sessions");
        assert_eq!(
            waiting,
            self.waiting.values().sum::<u64>(),
            "leases that wait at their workers"
        );
    }

    /// A lease of the queue waits now and did not before, or the other way round.
    fn recount(&mut self, queue: QueueId, waited: bool, waits: bool) {
        let count = self.waiting.entry(queue).or_default();
        count::shift(count, i64::from(waits) - i64::from(waited), "jobs that workers hold");
        if *count == 0 {
            self.waiting.remove(&queue);
        }
    }
}

impl State {
    /// Changes how far its worker is with a lease, and counts it anew.
    fn change_at_worker(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        change: impl FnOnce(&mut LiveLease),
    ) {
        let Some(live) = self.leases.get(ns, id) else { return };
        let queue = self.queue_of(ns, &live.job);
        let Some(live) = self.leases.live.get_mut(&(ns, id)) else { return };
        let waited = live.waits();
        change(live);
        self.leases.by_session.recount(queue, waited, live.waits());
    }

    fn set_at_worker(&mut self, ns: NamespaceId, id: JobId, at_worker: AtWorker) {
        let Some(live) = self.leases.live.get(&(ns, id)) else { return };
        if live.at_worker == AtWorker::Apart {
            let session = self.leases.by_session.sessions.entry(key_of(ns, live)).or_default();
            session.leases.insert(live.lease.token, id);
        }
        self.change_at_worker(ns, id, |live| live.at_worker = at_worker);
        self.note_told(ns, id);
    }

    /// What the run shall do may have changed: its session is told with the next heartbeat.
    pub(crate) fn note_told(&mut self, ns: NamespaceId, id: JobId) {
        let Some(live) = self.leases.get(ns, id) else { return };
        let (key, token, instruction) =
            (key_of(ns, live), live.lease.token, self.instruct(ns, live));
        let Some(session) = self.leases.by_session.sessions.get_mut(&key) else { return };
        match instruction {
            _ if !session.leases.contains_key(&token) => {}
            Instruction::Continue => {
                session.told.remove(&token);
            }
            instruction => {
                session.told.insert(token, (id, instruction));
            }
        }
    }

    /// Files the lease by the end that follows from the last heartbeat of its session, never later
    /// than its timeout. Whether that is later than before.
    pub(crate) fn file_end_as_heard(&mut self, ns: NamespaceId, id: JobId) -> bool {
        let Some(live) = self.leases.get(ns, id) else { return false };
        if live.at_worker == AtWorker::Apart {
            return false;
        }
        let session = self.leases.by_session.sessions.get(&key_of(ns, live));
        let heard = session.and_then(|session| session.heard);
        heard.is_some_and(|heard| self.file_end_since(ns, id, heard))
    }

    fn file_end_since(&mut self, ns: NamespaceId, id: JobId, heard: MonoMs) -> bool {
        let Some(live) = self.leases.get(ns, id) else { return false };
        let at = heard.plus(live.lease.lease_ms);
        let later = live.end(at) > live.expires;
        if later {
            self.leases.file_end(ns, id, at);
        }
        later
    }

    /// The job is on its way to the worker's stream. One that runs at most once counts as started:
    /// nobody can tell later that it was not. Its timeout begins when its worker says that it runs.
    pub(crate) fn note_delivered(&mut self, ns: NamespaceId, id: JobId) {
        let live = self.leases.get(ns, id);
        let once = live.is_some_and(|live| live.job.options.at_most_once);
        let at_worker = if once { AtWorker::Started } else { AtWorker::Delivered };
        self.set_at_worker(ns, id, at_worker);
        self.set_timeout(ns, id, None);
    }

    /// Its worker runs the job.
    pub(crate) fn note_started(&mut self, ns: NamespaceId, id: JobId) {
        self.change_at_worker(ns, id, |live| {
            live.begun = true;
            if live.at_worker != AtWorker::Apart {
                live.at_worker = AtWorker::Started;
            }
        });
        let Some(live) = self.leases.get(ns, id) else { return };
        if live.at_worker == AtWorker::Apart {
            return;
        }
        let timeout_ms = live.job.options.timeout_ms.filter(|_| live.timeout.is_none());
        self.leases.forget_vanished(ns, id);
        if timeout_ms.is_some() {
            self.set_timeout(ns, id, timeout_ms);
        }
    }

    /// The run's timeout begins now, or is yet to begin. Its lease holds anew where that changes.
    fn set_timeout(&mut self, ns: NamespaceId, id: JobId, timeout_ms: Option<u64>) {
        let timeout = timeout_ms.map(|timeout_ms| self.mono().plus(timeout_ms));
        let Some(live) = self.leases.get_mut(ns, id) else { return };
        if std::mem::replace(&mut live.timeout, timeout) != timeout {
            self.extend_lease(ns, id, None);
        }
    }

    /// Its worker extends this very lease. A worker with a stream does so only for what it runs;
    /// one over HTTP also for jobs that it has not begun.
    pub(crate) fn note_extended(&mut self, ns: NamespaceId, id: JobId) {
        if self.leases.get(ns, id).is_some_and(|live| live.at_worker != AtWorker::Apart) {
            self.note_started(ns, id);
        }
    }

    /// The worker names the lease as its own, and says whether the job runs. Of leases that stood
    /// when the shard started, nobody else knows that.
    pub(crate) fn note_named(&mut self, ns: NamespaceId, id: JobId, started: bool) {
        match self.leases.get(ns, id).map(|live| live.at_worker) {
            Some(AtWorker::Delivered) if !started => self.note_delivered(ns, id),
            Some(AtWorker::Unknown) if !started => {
                self.change_at_worker(ns, id, |live| live.begun = false);
                self.note_delivered(ns, id);
            }
            _ => {
                self.set_at_worker(ns, id, AtWorker::Started);
                if started {
                    self.note_started(ns, id);
                }
            }
        }
    }

    /// Heartbeats of the session extend this lease no longer. Those up to `heard` have done so.
    pub(crate) fn set_apart(&mut self, ns: NamespaceId, id: JobId, heard: Option<MonoMs>) {
        if let Some(heard) = heard {
            self.file_end_since(ns, id, heard);
        }
        let Some(live) = self.leases.get(ns, id) else { return };
        let queue = self.queue_of(ns, &live.job);
        if let Some(live) = self.leases.live.get_mut(&(ns, id)) {
            self.leases.by_session.forget(ns, queue, live);
            live.at_worker = AtWorker::Apart;
        }
    }

    /// After a start, everything with a session may belong to a worker that comes back, and counts
    /// as started until it says what is not. What was granted to a worker that numbers its asks
    /// has no stream: only that worker itself ever knows whether it runs.
    pub(super) fn index_sessions(&mut self) {
        let streams = self.leases.live.iter().filter(|((ns, _), live)| {
            let (worker, session) = (&live.lease.worker, &live.lease.session);
            let key = || (*ns, worker.to_string(), session.to_string());
            !session.is_empty() && self.sessions.get(&key()).is_none()
        });
        let ids: Vec<_> = streams.map(|(key, _)| *key).collect();
        for (ns, id) in ids {
            self.set_at_worker(ns, id, AtWorker::Unknown);
            let Some(live) = self.leases.get_mut(ns, id) else { continue };
            live.begun = true;
            // Nobody knows when it began: it may have waited at its worker for most of the time.
            if let Some(timeout_ms) = live.job.options.timeout_ms {
                self.set_timeout(ns, id, Some(timeout_ms));
            }
        }
    }
}
