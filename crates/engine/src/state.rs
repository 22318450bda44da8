//! The state of a shard at one position: the durable part in an ordered map, and in memory what
//! can be derived from it. Only `apply` changes it.

mod bodies;
pub(crate) mod count;
mod forgetting;
mod frontier;
mod held;
pub(crate) mod keys;
mod kinds;
mod load;
mod names;
mod sessions;
mod settled;
mod tally;
mod unwritten;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;

pub(crate) use forgetting::Forgetting;
pub(crate) use frontier::Frontier;
pub(crate) use held::{Held, HeldIndex, HolderKey, Vanished};
pub(crate) use kinds::{Kind, Kinds};
pub(crate) use names::{Empty, Queues};
pub(crate) use sessions::{Session, SessionKey};
pub(crate) use settled::Tombstone;
pub(crate) use tally::Tally;
pub(crate) use unwritten::Unwritten;

use crate::Position;
use crate::gate::Gating;
use crate::hold::Holding;
use crate::ids::{
    BodyId, Epoch, ExchangeId, GateId, JobId, KindId, MonoMs, NamespaceId, OperationId,
    PartitionId, Place, QueueId, ScheduleId, StreamId, TimeMs,
};
use crate::job::{Job, Lease};
use crate::level::LEVEL;
use crate::limit::Limiting;
use crate::limits::Limits;
use crate::map::{OrderedMap, Reader};
use crate::message::{FIRST_EXCHANGE, Messages};
use crate::operation::Operation;
use crate::queue::{GoneTotals, Queue};
use crate::queueing::Lanes;
use crate::schedule::ScheduleTotals;
use crate::stream::Streams;
use crate::wire::{Wire, wire_struct};

const FIRST_STREAM: StreamId = StreamId(1);
const FIRST_PARTITION: PartitionId = PartitionId(1);

wire_struct! {
    /// Numbers that the shard counts on.
    pub(crate) struct Meta {
        /// The level of all that it holds. It stands first at every level.
        pub(crate) level: u32,
        /// Its present life.
        pub(crate) epoch: Epoch,
        /// Engine time.
        pub(crate) at: TimeMs,
        /// The next namespace's number.
        pub(crate) next_namespace: NamespaceId,
        /// The next queue's number.
        pub(crate) next_queue: QueueId,
        /// The next kind's number.
        pub(crate) next_kind: KindId,
        /// The next order of entry.
        pub(crate) next_place: Place,
        /// The counter of the next token.
        pub(crate) next_token: u64,
        /// The next body's number.
        pub(crate) next_body: BodyId,
        /// The next operation's number.
        pub(crate) next_operation: OperationId,
        /// What is gone had counted.
        pub(crate) gone: GoneTotals = 1,
        /// What schedules did.
        pub(crate) schedules: ScheduleTotals = 40,
        /// The last schedule's number.
        pub(crate) last_schedule: ScheduleId = 41,
        /// The last gate's number.
        pub(crate) last_gate: GateId = 50,
        /// The last hold's epoch.
        pub(crate) last_hold: u64 = 51,
        /// The next exchange's number.
        pub(crate) next_exchange: ExchangeId = 60 default FIRST_EXCHANGE,
        /// The number of the last entry of the trail of changes.
        pub(crate) last_audit: u64 = 90,
        /// Its entries up to this one are kept no longer.
        pub(crate) audit_forgotten: u64 = 91,
        /// The number of the last answer that was kept for a key.
        pub(crate) last_answer: u64 = 92,
        /// Answers up to this one are kept no longer.
        pub(crate) answers_forgotten: u64 = 93,
        /// The next stream's number.
        pub(crate) next_stream: StreamId = 200 default FIRST_STREAM,
        /// The next partition's number.
        pub(crate) next_partition: PartitionId = 201 default FIRST_PARTITION,
        /// The next producer's number.
        pub(crate) next_producer: u64 = 202 default 1,
    }
}

impl Meta {
    const NEW: Self = Self {
        level: LEVEL as u32,
        epoch: Epoch(0),
        at: TimeMs(0),
        next_namespace: NamespaceId(1),
        next_queue: QueueId(1),
        next_kind: KindId(1),
        next_place: Place(1),
        next_token: 1,
        next_body: BodyId(1),
        next_operation: OperationId(1),
        gone: GoneTotals::NONE,
        schedules: ScheduleTotals::NONE,
        last_schedule: ScheduleId(0),
        last_gate: GateId(0),
        last_hold: 0,
        next_exchange: FIRST_EXCHANGE,
        last_audit: 0,
        audit_forgotten: 0,
        last_answer: 0,
        answers_forgotten: 0,
        next_stream: FIRST_STREAM,
        next_partition: FIRST_PARTITION,
        next_producer: 1,
    };
}

wire_struct! {
    /// A namespace as it is kept.
    pub(crate) struct Namespace {
        /// Its number.
        pub(crate) id: NamespaceId,
        /// Its name.
        pub(crate) name: String,
        /// When it was created.
        pub(crate) created_at: TimeMs,
        /// It was removed; what is left of it goes bit by bit.
        pub(crate) deleted: bool = 1,
    }
}

wire_struct! {
    /// What a namespace keeps of jobs that have ended.
    #[derive(Default)]
    pub(crate) struct Kept {
        /// Bytes of outcomes kept.
        pub(crate) outcome_bytes: u64,
        /// Bytes of dead jobs kept.
        pub(crate) dead_bytes: u64,
        /// Tombstones kept.
        pub(crate) tombstones: u64,
        /// Tombstones dropped before their time.
        pub(crate) tombstones_dropped_total: u64,
        /// Schedules.
        pub(crate) schedules: u64 = 40,
    }
}

impl Kept {
    const NONE: Self = Self {
        outcome_bytes: 0,
        dead_bytes: 0,
        tombstones: 0,
        tombstones_dropped_total: 0,
        schedules: 0,
    };
}

/// A namespace and where its housekeeping stands.
#[derive(Debug)]
pub(crate) struct NamespaceSlot {
    pub(crate) namespace: Namespace,
    pub(crate) kept: Kept,
    pub(crate) outcomes: Frontier,
    pub(crate) tombstones: Frontier,
}

/// A lease with what only this life of the shard knows.
#[derive(Debug)]
pub(crate) struct LiveLease {
    pub(crate) lease: Lease,
    /// The job as it was granted: nothing rewrites a job while it runs.
    pub(crate) job: Arc<Job>,
    /// After which instant it runs out unless extended, but for what its session's heartbeats
    /// have added since: see [`State::file_end_as_heard`]. In that very millisecond it stands: its
    /// beginning was cut to a whole one, too.
    pub(crate) expires: MonoMs,
    /// After which instant no heartbeat extends it any more. None where the job has no timeout, or
    /// was sent to a worker's stream and has not started.
    pub(crate) timeout: Option<MonoMs>,
    /// It was renewed after a shortage, and its worker was not heard since.
    pub(crate) spared: bool,
    /// The job is to stay held back once this run has ended.
    pub(crate) paused: bool,
    /// Where it stands in its worker's session.
    pub(crate) held: Held,
    /// Its worker said that the job runs, whatever became of their session since. Of what had a
    /// stream when the shard started: it may have said so.
    pub(crate) begun: bool,
}

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

/// The state of a shard.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says that one sort of key was never used")]
pub(crate) struct State {
    map: Box<dyn OrderedMap>,
    /// The entry that is being applied.
    pub(crate) position: Position,
    /// Outcomes of that entry that are to be filed together, by when they are forgotten.
    pub(crate) new_outcomes: BTreeMap<(NamespaceId, TimeMs), Vec<(JobId, u64)>>,
    /// Where values are encoded.
    scratch: Vec<u8>,
    pub(crate) limits: Limits,
    pub(crate) meta: Meta,
    meta_changed: bool,
    pub(crate) namespaces: BTreeMap<NamespaceId, NamespaceSlot>,
    pub(crate) namespace_names: BTreeMap<String, NamespaceId>,
    namespaces_changed: Unwritten<NamespaceId>,
    /// Volatile: which of them have something to forget.
    pub(crate) forgetting: RefCell<Forgetting>,
    pub(crate) queues: Queues,
    pub(crate) kinds: Kinds,
    pub(crate) lanes: Lanes,
    /// Boxed: a tree of large values moves many bytes with every change.
    pub(crate) leases: BTreeMap<(NamespaceId, JobId), Box<LiveLease>>,
    pub(crate) lease_ends: BTreeSet<(MonoMs, NamespaceId, JobId)>,
    pub(crate) sessions: BTreeMap<SessionKey, Session>,
    sessions_changed: Unwritten<SessionKey>,
    /// How many of them each namespace has.
    pub(crate) sessions_of: Tally,
    /// Volatile: the leases of each session.
    pub(crate) held: HeldIndex,
    /// Volatile: jobs whose workers vanished before they started.
    pub(crate) vanished: Vanished,
    /// How many dead jobs each namespace has.
    pub(crate) dead_of: Tally,
    pub(crate) operations: BTreeMap<OperationId, Operation>,
    pub(crate) timers: Frontier,
    /// Exchanges, bindings and messages.
    pub(crate) messages: Messages,
    pub(crate) streams: Streams,
    at_hand: RefCell<AtHand>,
    /// Whether a checkpoint was ever kept here: where not, nobody looks for one.
    pub(crate) has_checkpoints: bool,
    /// Whether a job was ever paused here: where not, nobody looks for one.
    pub(crate) has_paused: bool,
    /// Whether a body ever had more than one holder here: where not, nobody looks for its count.
    has_shared_bodies: bool,
    /// What limits have counted.
    pub(crate) limiting: Limiting,
    /// Gates.
    pub(crate) gating: Gating,
    pub(crate) slas: crate::sla::Slas,
    /// Holds.
    pub(crate) holding: Holding,
    /// Accounts and the trail of changes.
    pub(crate) accounts: crate::account::Accounts,
    /// Answers that are kept for their keys.
    pub(crate) answers: crate::keyed::KeptAnswers,
    /// Volatile: queues in which something became available since the last dispatch.
    pub(crate) fresh_queues: BTreeSet<QueueId>,
    /// Volatile: jobs that ended since their waiters were last told.
    pub(crate) ended_jobs: Vec<(NamespaceId, JobId)>,
    /// Volatile: this instant on the clock that never steps.
    pub(crate) mono: MonoMs,
}

impl State {
    pub(crate) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.map.get(key)
    }

    /// Decodes what stands under `key`. The map verified it, so a value that does not decode was
    /// written by other code than this: nothing good can follow.
    pub(crate) fn value<T: Wire>(&self, key: &[u8]) -> Option<T> {
        let bytes = self.get(key)?;
        match T::from_bytes(&bytes) {
            Ok(value) => Some(value),
            Err(error) => panic!("key {key:02x?} in the state: {error}"),
        }
    }

    /// Puts the encoding of a value under `key`. Answers its length.
    pub(crate) fn put<T: Wire>(&mut self, key: &[u8], value: &T) -> u64 {
        self.scratch.clear();
        value.put(&mut self.scratch);
        self.map.put(self.position, key, Some(&self.scratch));
        self.scratch.len() as u64
    }

    /// As [`State::put`], for a key that holds nothing and that is not expected to hold this for
    /// long: what is removed before the map is next kept as it is costs hardly anything.
    pub(crate) fn put_brief<T: Wire>(&mut self, key: &[u8], value: &T) {
        self.scratch.clear();
        value.put(&mut self.scratch);
        self.map.put_brief(self.position, key, &self.scratch);
    }

    /// Everything up to here is durable.
    pub(crate) fn note_durable(&mut self, position: Position) {
        self.map.note_durable(position);
    }

    pub(crate) fn put_bytes(&mut self, key: &[u8], value: &[u8]) {
        self.map.put(self.position, key, Some(value));
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.map.put(self.position, key, None);
    }

    /// Visits the entries from `from` to `to` (exclusive) as of now.
    pub(crate) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        self.map.scan(from, to, visit);
    }

    /// The first entry from `from` to `to` (exclusive).
    pub(crate) fn first(&self, from: &[u8], to: &[u8]) -> Option<(Vec<u8>, Bytes)> {
        let mut found = None;
        self.scan(from, to, &mut |key, value| {
            found = Some((key.to_vec(), value.clone()));
            ControlFlow::Break(())
        });
        found
    }

    pub(crate) fn job(&self, ns: NamespaceId, id: JobId) -> Option<Arc<Job>> {
        if let Some(live) = self.leases.get(&(ns, id)) {
            return Some(Arc::clone(&live.job));
        }
        if let Some(job) = self.at_hand.borrow().jobs.get(&(ns, id)) {
            return Some(Arc::clone(job));
        }
        let job: Arc<Job> = Arc::new(self.value(&keys::job(ns, id))?);
        self.at_hand.borrow_mut().keep(ns, &job);
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
                    self.at_hand.borrow_mut().keep(ns, &Arc::new(job));
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
            self.at_hand.get_mut().keep(ns, &Arc::new(job));
        } else {
            self.at_hand.get_mut().jobs.remove(&(ns, job.id));
        }
        size
    }

    pub(crate) fn drop_job(&mut self, ns: NamespaceId, id: JobId) {
        self.at_hand.get_mut().jobs.remove(&(ns, id));
        self.remove(&keys::job(ns, id));
    }

    pub(crate) fn meta_mut(&mut self) -> &mut Meta {
        self.meta_changed = true;
        &mut self.meta
    }

    pub(crate) fn kept_mut(&mut self, id: NamespaceId) -> &mut Kept {
        self.namespaces_changed.add(id);
        self.forgetting.get_mut().note(id);
        let slot = self.namespaces.get_mut(&id);
        &mut slot.expect("records name namespaces that exist").kept
    }

    pub(crate) fn kept(&self, id: NamespaceId) -> &Kept {
        let slot = self.namespaces.get(&id);
        // A namespace that its first use creates is not there yet.
        slot.map_or(&Kept::NONE, |slot| &slot.kept)
    }

    /// Engine time: it never goes back.
    pub(crate) fn now(&self) -> TimeMs {
        self.meta.at
    }

    /// Ends the group whose last entry was applied last.
    pub(crate) fn seal_group(&mut self) {
        self.map.seal(self.position);
    }

    /// The map, to be kept as the state at the last group's end: what memory holds because nearly
    /// every entry changes it (counters, sessions) is written to it only here.
    pub(crate) fn complete_map(&mut self) -> &mut dyn OrderedMap {
        self.put_counters();
        self.put_sessions();
        self.map.seal(self.position);
        &mut *self.map
    }

    fn put_counters(&mut self) {
        if std::mem::take(&mut self.meta_changed) {
            let meta = self.meta.clone();
            self.put(&keys::meta(), &meta);
        }
        for id in self.namespaces_changed.take() {
            self.put_kept(id);
        }
        for id in self.queues.changed().take() {
            self.put_counts(id);
        }
        for id in self.kinds.changed().take() {
            self.put_kind(id);
        }
        self.put_partitions();
    }

    /// Writes some of what memory holds so, where it is more than may be left to be written when
    /// the map is kept: with tens of thousands of busy queues that would take a tenth of a second.
    pub(crate) fn put_excess(&mut self) {
        while let Some(id) = self.namespaces_changed.take_excess() {
            self.put_kept(id);
        }
        while let Some(id) = self.queues.changed().take_excess() {
            self.put_counts(id);
        }
        while let Some(id) = self.kinds.changed().take_excess() {
            self.put_kind(id);
        }
        while let Some(key) = self.sessions_changed.take_excess() {
            self.put_session(&key);
        }
        self.put_excess_partition();
    }

    fn put_kept(&mut self, id: NamespaceId) {
        if let Some(kept) = self.namespaces.get(&id).map(|slot| slot.kept.clone()) {
            self.put(&keys::namespace_kept(id), &kept);
        }
    }

    fn put_counts(&mut self, id: QueueId) {
        if let Some(counts) = self.queues.get(id).map(|queue| queue.counts.clone()) {
            self.put(&keys::queue_counts(id), &counts);
        }
    }

    fn put_kind(&mut self, id: KindId) {
        if let Some(value) = self.kinds.get(id).map(Wire::to_bytes) {
            self.put_bytes(&keys::kind(id), &value);
        }
    }

    pub(crate) fn put_queue(&mut self, id: QueueId) {
        if let Some(value) = self.queues.get(id).map(Wire::to_bytes) {
            self.put_bytes(&keys::queue(id), &value);
        }
    }

    pub(crate) fn map(&self) -> &dyn OrderedMap {
        &*self.map
    }
}

/// The state as of now, for queries inside a turn.
impl Reader for State {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        Self::get(self, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        Self::scan(self, from, to, visit);
    }
}
