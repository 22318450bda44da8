//! What a shard's threads and its callers share: how the shard is, what waits for it, what it
//! counts. The shard's state itself belongs to its thread alone.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use longshore_engine::driver::InboxLimits;
use longshore_engine::{Position, ReplyTo, TimeMs};
use longshore_journal::Room;
use longshore_store::Snapshots;

use crate::admission::Admission;
use crate::backup::JournalPins;
use crate::clock::wall_now;
use crate::inbox::Inbox;
use crate::metrics::ShardMetrics;
use crate::shard::Shard;
use crate::stream_files::StreamFiles;
use crate::unavailable::{Cause, Unavailable};

/// How a shard is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ShardState {
    /// Its files are being checked.
    Opening,
    /// Its journal is being replayed.
    Replaying {
        /// Entries replayed.
        done: u64,
        /// Entries to replay.
        total: u64,
    },
    /// The disk has no space for what a start or a change writes, the reserve included. It tries
    /// again until there is some; a shard that has served before can be read meanwhile.
    WaitingForSpace {
        /// What the space is for.
        why: String,
    },
    /// It serves.
    Serving,
    /// It has met a fault and serves no more.
    Stopped {
        /// The fault.
        why: String,
    },
    /// It was closed with the server.
    Closed,
}

/// What every thread may know of a shard, and where it leaves what it wants of it.
#[derive(Debug)]
pub(crate) struct ShardShared {
    pub(crate) index: u32,
    pub(crate) inbox: Inbox<Box<Shard>>,
    pub(crate) metrics: ShardMetrics,
    pub(crate) admission: Arc<Admission>,
    pub(crate) snapshots: OnceLock<Snapshots>,
    /// The files of its streams.
    pub(crate) streams: StreamFiles,
    /// The journal's own room, where it has one.
    pub(crate) room: OnceLock<Room>,
    /// From where on second copies need the journal.
    pub(crate) pins: JournalPins,
    state: Mutex<ShardState>,
    /// Told whenever `state` changes its kind.
    changed: tokio::sync::watch::Sender<()>,
    durable: AtomicU64,
    engine_time: AtomicU64,
    next_reply: AtomicU64,
    replayed: AtomicU64,
}

impl ShardShared {
    pub(crate) fn new(index: u32, limits: InboxLimits, admission: Arc<Admission>) -> Self {
        Self {
            index,
            inbox: Inbox::new(limits),
            metrics: ShardMetrics::new(),
            admission,
            snapshots: OnceLock::new(),
            streams: StreamFiles::default(),
            room: OnceLock::new(),
            pins: JournalPins::default(),
            state: Mutex::new(ShardState::Opening),
            changed: tokio::sync::watch::Sender::new(()),
            durable: AtomicU64::new(0),
            engine_time: AtomicU64::new(0),
            next_reply: AtomicU64::new(1),
            replayed: AtomicU64::new(0),
        }
    }

    /// A number for a new call.
    pub(crate) fn next_reply(&self) -> ReplyTo {
        ReplyTo(self.next_reply.fetch_add(1, Ordering::Relaxed))
    }

    /// The highest position known to be durable.
    pub(crate) fn durable(&self) -> Position {
        Position(self.durable.load(Ordering::Acquire))
    }

    pub(crate) fn set_durable(&self, position: Position) {
        self.durable.store(position.0, Ordering::Release);
    }

    /// Time as the shard has it: wall time, unless that has stepped back behind what was recorded.
    pub(crate) fn now(&self) -> TimeMs {
        wall_now().max(TimeMs(self.engine_time.load(Ordering::Relaxed)))
    }

    pub(crate) fn set_engine_time(&self, time: TimeMs) {
        self.engine_time.store(time.0, Ordering::Relaxed);
    }

    pub(crate) fn state(&self) -> ShardState {
        let mut state = self.lock().clone();
        if let ShardState::Replaying { done, .. } = &mut state {
            *done = self.replayed.load(Ordering::Relaxed);
        }
        state
    }

    pub(crate) fn set_replayed(&self, entries: u64) {
        self.replayed.store(entries, Ordering::Relaxed);
    }

    /// Moves on, unless the shard has met a fault before.
    pub(crate) fn set_state(&self, new: ShardState) {
        let mut state = self.lock();
        if !matches!(*state, ShardState::Stopped { .. }) {
            *state = new;
        }
        drop(state);
        self.changed.send_replace(());
    }

    /// Notes a fault that another thread than the shard's has met, and ends the shard.
    pub(crate) fn fail(&self, why: &str) {
        self.inbox.signal(|signals| signals.fault = Some(why.to_owned()));
    }

    /// Whether the disk had no space for the journal's next segment.
    pub(crate) fn is_short(&self) -> bool {
        self.room.get().is_some_and(Room::is_short)
    }

    /// Whether the shard's thread serves, though perhaps reads alone.
    pub(crate) fn is_running(&self) -> bool {
        match self.state() {
            ShardState::Serving => true,
            ShardState::WaitingForSpace { .. } => self.snapshots.get().is_some(),
            _ => false,
        }
    }

    /// Learns of changes of the state.
    pub(crate) fn subscribe(&self) -> tokio::sync::watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Why the shard does not answer.
    pub(crate) fn unavailable(&self) -> Unavailable {
        let (cause, reason) = match self.state() {
            ShardState::Opening => (Cause::Starting, "its files are being checked".into()),
            ShardState::Replaying { done, total } => {
                (Cause::Starting, format!("it replays its journal, {done} of {total} entries"))
            }
            ShardState::WaitingForSpace { why } => (Cause::DiskLow, why),
            ShardState::Stopped { why } => (Cause::Stopped, why),
            // The disk was full when the call was let go, and has space again.
            ShardState::Serving if !self.admission.is_stopping() => {
                (Cause::DiskLow, "the disk was full".into())
            }
            ShardState::Serving | ShardState::Closed => {
                (Cause::Stopping, "the server is stopping".into())
            }
        };
        Unavailable::new(self.index, cause, reason)
    }

    fn lock(&self) -> MutexGuard<'_, ShardState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
