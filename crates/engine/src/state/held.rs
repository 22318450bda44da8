//! Which leases the session of a streaming worker has, and whether their jobs have started. Only
//! this life of the shard knows: nothing of it is journaled.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::sync::Arc;

use super::{LiveLease, State};
use crate::answer::Instruction;
use crate::command::Holder;
use crate::ids::{JobId, MonoMs, NamespaceId, QueueId, Token};

/// Where a lease stands in its worker's session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Held {
    /// In none: it was leased over HTTP, or its worker did not name it when it came back.
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

/// How often in a row a job is given back free although its worker vanished.
const VANISHED_FREE_MAX: u8 = 3;
/// Jobs that are remembered so; beyond that all of the namespace with the most are forgotten.
const VANISHED_MAX: usize = 10_000;

/// How often in a row each job came back free from a worker that vanished: a job that ends the
/// process at once is never heard to start. Only what is decided depends on it.
#[derive(Debug, Default)]
pub(crate) struct Vanished(BTreeMap<(NamespaceId, JobId), u8>);

impl Vanished {
    /// It comes back free once more.
    pub(crate) fn note(&mut self, ns: NamespaceId, id: JobId) {
        if self.0.len() >= VANISHED_MAX && !self.0.contains_key(&(ns, id)) {
            self.forget_most();
        }
        let times = self.0.entry((ns, id)).or_default();
        *times = times.saturating_add(1);
    }

    fn forget_most(&mut self) {
        let (mut most, mut of) = (0, None);
        for of_one in self.0.keys().map(|(ns, _)| *ns).collect::<Vec<_>>().chunk_by(|a, b| a == b) {
            if of_one.len() > most {
                (most, of) = (of_one.len(), of_one.first().copied());
            }
        }
        self.0.retain(|(ns, _), _| Some(*ns) != of);
    }

    /// The job has started, or has ended.
    pub(crate) fn forget(&mut self, ns: NamespaceId, id: JobId) {
        self.0.remove(&(ns, id));
    }

    /// The job may be what ends its workers.
    pub(crate) fn is_suspect(&self, ns: NamespaceId, id: JobId) -> bool {
        self.0.get(&(ns, id)).is_some_and(|times| *times >= VANISHED_FREE_MAX)
    }
}

impl LiveLease {
    /// Whether its worker has the job at hand and does not run it, as far as is known.
    fn waits(&self) -> bool {
        matches!(self.held, Held::Delivered | Held::Started) && !self.begun
    }
}

/// What a session of a streaming worker has.
#[derive(Debug, Default)]
struct HeldSession {
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
pub(crate) struct HeldIndex {
    /// The leases of each session. What is here is not [`Held::Apart`], and the other way round.
    sessions: BTreeMap<HolderKey, HeldSession>,
    /// How many leases of each queue wait at their workers. Those that have none are not here.
    waiting: BTreeMap<QueueId, u64>,
}

impl HeldIndex {
    /// A key as the index has it.
    pub(crate) fn key(ns: NamespaceId, holder: &Holder) -> HolderKey {
        (ns, Arc::from(holder.worker.as_str()), Arc::from(holder.session.as_str()))
    }

    fn key_of(ns: NamespaceId, live: &LiveLease) -> HolderKey {
        (ns, Arc::clone(&live.lease.worker), Arc::clone(&live.lease.session))
    }

    /// The first leases of a session that were granted after `after` and up to `last`, at most
    /// `most` of them.
    pub(crate) fn between(
        &self,
        key: &HolderKey,
        (after, last): (Option<Token>, Token),
        most: usize,
    ) -> Vec<(Token, JobId)> {
        if after >= Some(last) {
            return Vec::new();
        }
        let range = (after.map_or(Unbounded, Excluded), Included(last));
        let leases = self.sessions.get(key).into_iter().flat_map(|it| it.leases.range(range));
        leases.take(most).map(|(token, id)| (*token, *id)).collect()
    }

    /// The lease that a session was granted last.
    pub(crate) fn last(&self, key: &HolderKey) -> Option<Token> {
        self.sessions.get(key)?.leases.keys().next_back().copied()
    }

    /// How many leases a session has.
    pub(crate) fn count(&self, key: &HolderKey) -> usize {
        self.sessions.get(key).map_or(0, |session| session.leases.len())
    }

    /// What the runs of a session shall do other than go on.
    pub(crate) fn told(&self, key: &HolderKey) -> Vec<(JobId, Token, Instruction)> {
        let told = self.sessions.get(key).into_iter().flat_map(|session| &session.told);
        told.map(|(token, (id, instruction))| (*id, *token, *instruction)).collect()
    }

    /// The session says that it is there: all of its leases hold for one more of their lengths.
    /// Answers when it was heard before.
    pub(crate) fn hear(&mut self, key: &HolderKey, now: MonoMs) -> Option<MonoMs> {
        self.sessions.get_mut(key)?.heard.replace(now)
    }

    /// How many jobs of the queue wait at their workers.
    pub(crate) fn waiting(&self, queue: QueueId) -> u64 {
        self.waiting.get(&queue).copied().unwrap_or(0)
    }

    /// The lease, which is of that queue, has ended or is its session's no longer.
    pub(crate) fn forget(&mut self, ns: NamespaceId, queue: QueueId, live: &LiveLease) {
        if live.held == Held::Apart {
            return;
        }
        let key = Self::key_of(ns, live);
        if let Some(session) = self.sessions.get_mut(&key) {
            session.leases.remove(&live.lease.token);
            session.told.remove(&live.lease.token);
            if session.leases.is_empty() {
                self.sessions.remove(&key);
            }
        }
        self.recount(queue, live.waits(), false);
    }

    /// One lease of the queue waited and does not any more, or the other way round.
    fn recount(&mut self, queue: QueueId, waited: bool, waits: bool) {
        let count = self.waiting.entry(queue).or_default();
        super::count::shift(count, i64::from(waits) - i64::from(waited), "jobs that workers hold");
        if *count == 0 {
            self.waiting.remove(&queue);
        }
    }
}

impl State {
    /// Changes how a lease is held, and counts it anew.
    fn change_held(&mut self, ns: NamespaceId, id: JobId, change: impl FnOnce(&mut LiveLease)) {
        let Some(live) = self.leases.get(&(ns, id)) else { return };
        let queue = self.queue_of(ns, &live.job);
        let Some(live) = self.leases.get_mut(&(ns, id)) else { return };
        let waited = live.waits();
        change(live);
        self.held.recount(queue, waited, live.waits());
    }

    fn hold(&mut self, ns: NamespaceId, id: JobId, held: Held) {
        let Some(live) = self.leases.get(&(ns, id)) else { return };
        if live.held == Held::Apart {
            let key = HeldIndex::key_of(ns, live);
            self.held.sessions.entry(key).or_default().leases.insert(live.lease.token, id);
        }
        self.change_held(ns, id, |live| live.held = held);
        self.note_told(ns, id);
    }

    /// What the run shall do may have changed: its session is told with the next heartbeat.
    pub(crate) fn note_told(&mut self, ns: NamespaceId, id: JobId) {
        let Some(live) = self.leases.get(&(ns, id)) else { return };
        let (token, instruction) = (live.lease.token, self.instruct(ns, live));
        let Some(session) = self.held.sessions.get_mut(&HeldIndex::key_of(ns, live)) else {
            return;
        };
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

    /// Where the lease's session was heard since the lease was filed by its end: files it by the
    /// end that follows from that, never later than its timeout. Whether it did.
    pub(crate) fn file_end_as_heard(&mut self, ns: NamespaceId, id: JobId) -> bool {
        let Some(live) = self.leases.get(&(ns, id)) else { return false };
        if live.held == Held::Apart {
            return false;
        }
        let session = self.held.sessions.get(&HeldIndex::key_of(ns, live));
        let heard = session.and_then(|session| session.heard);
        heard.is_some_and(|heard| self.file_end_since(ns, id, heard))
    }

    fn file_end_since(&mut self, ns: NamespaceId, id: JobId, heard: MonoMs) -> bool {
        let Some(live) = self.leases.get_mut(&(ns, id)) else { return false };
        let expires = heard.plus(live.lease.lease_ms);
        let expires = live.timeout.map_or(expires, |timeout| expires.min(timeout));
        if expires <= live.expires {
            return false;
        }
        self.lease_ends.remove(&(live.expires, ns, id));
        (live.expires, live.spared) = (expires, false);
        self.lease_ends.insert((expires, ns, id));
        true
    }

    /// The job is on its way to the worker's stream. One that runs at most once counts as started:
    /// nobody can tell later that it was not. Its timeout begins when its worker says that it runs.
    pub(crate) fn note_delivered(&mut self, ns: NamespaceId, id: JobId) {
        let live = self.leases.get(&(ns, id));
        let once = live.is_some_and(|live| live.job.options.at_most_once);
        self.hold(ns, id, if once { Held::Started } else { Held::Delivered });
        if let Some(live) = self.leases.get_mut(&(ns, id))
            && live.timeout.take().is_some()
        {
            self.extend_lease(ns, id, None);
        }
    }

    /// Its worker runs the job.
    pub(crate) fn note_started(&mut self, ns: NamespaceId, id: JobId) {
        let mono = self.mono;
        self.change_held(ns, id, |live| {
            live.begun = true;
            if live.held != Held::Apart {
                live.held = Held::Started;
            }
        });
        let Some(live) = self.leases.get_mut(&(ns, id)) else { return };
        if live.held == Held::Apart {
            return;
        }
        self.vanished.forget(ns, id);
        if let Some(timeout_ms) = live.job.options.timeout_ms
            && live.timeout.is_none()
        {
            live.timeout = Some(mono.plus(timeout_ms));
            self.extend_lease(ns, id, None);
        }
    }

    /// Its worker extends this very lease. One with a stream does so only for what it runs; one
    /// over HTTP also for what it has not come to.
    pub(crate) fn note_extended(&mut self, ns: NamespaceId, id: JobId) {
        if self.leases.get(&(ns, id)).is_some_and(|live| live.held != Held::Apart) {
            self.note_started(ns, id);
        }
    }

    /// The worker names the lease as its own, and says whether the job runs. Nobody else knows that
    /// of what stood when the shard started.
    pub(crate) fn note_held(&mut self, ns: NamespaceId, id: JobId, started: bool) {
        match self.leases.get(&(ns, id)).map(|live| live.held) {
            Some(Held::Delivered) if !started => self.note_delivered(ns, id),
            Some(Held::Unknown) if !started => {
                self.change_held(ns, id, |live| live.begun = false);
                self.note_delivered(ns, id);
            }
            _ => {
                self.hold(ns, id, Held::Started);
                if started {
                    self.note_started(ns, id);
                }
            }
        }
    }

    /// The session's heartbeats are for this lease no longer: it stands for what those up to
    /// `heard` were good for.
    pub(crate) fn set_apart(&mut self, ns: NamespaceId, id: JobId, heard: Option<MonoMs>) {
        if let Some(heard) = heard {
            self.file_end_since(ns, id, heard);
        }
        let Some(live) = self.leases.get(&(ns, id)) else { return };
        let queue = self.queue_of(ns, &live.job);
        if let Some(live) = self.leases.get_mut(&(ns, id)) {
            self.held.forget(ns, queue, live);
            live.held = Held::Apart;
        }
    }

    /// After a start, everything with a session may belong to a worker that comes back, and counts
    /// as started until it says what is not. What was granted to a worker that counts its turns
    /// has no stream: only that worker itself ever knows whether it runs.
    pub(crate) fn index_sessions(&mut self) {
        let with_session = self.leases.iter().filter(|(_, live)| !live.lease.session.is_empty());
        let ids: Vec<_> = with_session.map(|(key, _)| *key).collect();
        for (ns, id) in ids {
            let Some(live) = self.leases.get(&(ns, id)) else { continue };
            let (worker, session) = (&live.lease.worker, &live.lease.session);
            if self.sessions.contains_key(&(ns, worker.to_string(), session.to_string())) {
                continue;
            }
            self.hold(ns, id, Held::Unknown);
            let mono = self.mono;
            let Some(live) = self.leases.get_mut(&(ns, id)) else { continue };
            live.begun = true;
            // When it began nobody knows: it may have waited at its worker for most of the time.
            let Some(timeout_ms) = live.job.options.timeout_ms else { continue };
            live.timeout = Some(mono.plus(timeout_ms));
            self.extend_lease(ns, id, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All were forgotten when one namespace had many.
    #[test]
    fn a_namespace_with_many_vanished_jobs_costs_no_other_its_suspects() {
        let id = |n: usize| JobId((n as u128).to_be_bytes());
        let [victim, crowd] = [NamespaceId(1), NamespaceId(2)];
        let mut vanished = Vanished::default();
        for _ in 0..VANISHED_FREE_MAX {
            vanished.note(victim, id(0));
        }
        (0..2 * VANISHED_MAX).for_each(|n| vanished.note(crowd, id(n)));
        assert!(vanished.is_suspect(victim, id(0)));
        assert!(vanished.0.len() <= VANISHED_MAX);
    }
}
