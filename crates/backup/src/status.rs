//! How sending goes, for whoever wants to know: metrics, lists, those who wait for a base.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use longshore_engine::Position;
use longshore_node::Source;
use tokio::sync::Notify;
use uuid::Uuid;

/// How far the journal of one shard was sent.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ShardLag {
    /// Number of the shard.
    pub shard: u32,
    /// Entries from the first of these positions up to before the second are at the place without a
    /// gap; `None` while that is not known.
    pub sent: Option<(Position, Position)>,
    /// Bytes of journal that are durable and were not sent, about.
    pub lag_bytes: u64,
    /// How old what was not sent may be; 0 where everything was.
    pub lag: Duration,
}

/// A base that is being made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BaseProgress {
    /// Bytes of its files that are at the place.
    pub done_bytes: u64,
    /// Bytes of its files, as far as they are known.
    pub total_bytes: u64,
    /// Bytes of those that had to be sent.
    pub sent_bytes: u64,
}

/// A base that is whole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BaseTold {
    /// Its number.
    pub id: Uuid,
    /// When it was made, milliseconds since 1970.
    pub taken_ms: u64,
}

/// What is told of sending.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Where to, if copies are sent all the time.
    pub to: Option<String>,
    /// Its shards.
    pub shards: Vec<ShardLag>,
    /// Bases of this line at that place, the newest last.
    pub bases: Vec<BaseTold>,
    /// The one that is being made.
    pub base: Option<BaseProgress>,
    /// Why the journal is not sent, until it is.
    pub error: Option<String>,
    /// Why the last base was not made, until one is.
    pub base_error: Option<String>,
    /// Nothing is sent any more: another server sends to the same place.
    pub refused: bool,
    /// Bytes that were sent for the last base, and that all of its files have.
    pub last_base_bytes: Option<(u64, u64)>,
    /// Pieces of the journal that were sent.
    pub pieces_total: u64,
    /// Bytes of them and of files.
    pub bytes_total: u64,
    /// Attempts that failed.
    pub failures_total: u64,
    /// How often the journal had grown too much to be kept for a place that did not take it.
    pub let_go_total: u64,
}

/// What the service tells and others read.
#[derive(Debug)]
pub struct Status {
    sources: Vec<Source>,
    told: Mutex<Inner>,
    pub(crate) changed: Notify,
}

#[derive(Debug)]
struct Inner {
    told: Told,
    /// When everything of a shard was last at the place.
    complete_at: Vec<Instant>,
}

impl Status {
    /// Of these shards, which are to be sent there all the time, if anywhere.
    pub fn new(sources: Vec<Source>, to: Option<String>) -> Self {
        let shards = sources.iter().map(Source::index);
        let shards = shards.map(|shard| ShardLag { shard, ..ShardLag::default() }).collect();
        let complete_at = vec![Instant::now(); sources.len()];
        let inner = Inner { told: Told { to, shards, ..Told::default() }, complete_at };
        Self { sources, told: Mutex::new(inner), changed: Notify::new() }
    }

    /// How it goes now.
    pub fn told(&self) -> Told {
        let inner = self.lock();
        let mut told = inner.told.clone();
        let row = told.shards.iter_mut().zip(&inner.complete_at).zip(&self.sources);
        for ((shard, complete_at), source) in row {
            let Some((_, next)) = shard.sent else {
                shard.lag = complete_at.elapsed();
                continue;
            };
            if next <= source.durable() {
                shard.lag = complete_at.elapsed();
                shard.lag_bytes = source.follow(next).map_or(0, |follow| follow.lag_bytes());
            }
        }
        told
    }

    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Told) -> T) -> T {
        let changed = change(&mut self.lock().told);
        self.changed.notify_waiters();
        changed
    }

    /// Entries of a shard from the first of these up to before the second are at the place.
    pub(crate) fn sent(&self, index: usize, sent: Option<(Position, Position)>, complete: bool) {
        let mut inner = self.lock();
        if let Some(shard) = inner.told.shards.get_mut(index) {
            shard.sent = sent;
        }
        if complete && let Some(at) = inner.complete_at.get_mut(index) {
            *at = Instant::now();
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// No code between lock and unlock panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
