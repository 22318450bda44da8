//! Threads that write the state to disk: one per shard that flushes, and one for all that
//! compacts. They know nothing of what is in the state.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use longshore_engine::Position;
use longshore_engine::driver::DiskLevel;
use longshore_store::{FlushError, Flusher};

use crate::inbox::Flushed;
use crate::shared::ShardShared;

/// How long to wait before a flush that met a full disk is tried again: at first, then twice as
/// long each time, and at most.
const NO_SPACE_RETRY: Duration = Duration::from_millis(500);
const NO_SPACE_RETRY_MAX: Duration = Duration::from_secs(4);

/// Asks the flush thread of a shard. Dropping it ends the thread after the flush in hand.
#[derive(Debug)]
pub(crate) struct FlushThread {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Core {
    shard: Arc<ShardShared>,
    flusher: Flusher,
    compactor: CompactorHandle,
    queue: Mutex<Queue>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    /// What is sealed up to here may be flushed.
    durable: Option<Position>,
    end: bool,
}

impl FlushThread {
    pub(crate) fn start(
        shard: Arc<ShardShared>,
        flusher: Flusher,
        compactor: CompactorHandle,
    ) -> std::io::Result<Self> {
        let name = format!("flush-{}", shard.index);
        let (queue, wake) = (Mutex::default(), Condvar::new());
        let core = Arc::new(Core { shard, flusher, compactor, queue, wake });
        let runner = Arc::clone(&core);
        let thread = std::thread::Builder::new().name(name).spawn(move || runner.run())?;
        Ok(Self { core, thread: Some(thread) })
    }

    /// Has everything flushed that is sealed at or below `durable`, which the journal has.
    pub(crate) fn flush(&self, durable: Position) {
        self.core.queue().durable = Some(durable);
        self.core.wake.notify_one();
    }

    fn join(&mut self) {
        self.core.queue().end = true;
        self.core.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(shard = self.core.shard.index, "the flush thread panicked");
        }
    }
}

impl Drop for FlushThread {
    fn drop(&mut self) {
        self.join();
    }
}

impl Core {
    fn run(&self) {
        let mut queue = self.queue();
        loop {
            if queue.end {
                return;
            }
            if let Some(durable) = queue.durable.take() {
                drop(queue);
                if let Err(error) = self.flush(durable) {
                    return self.shard.fail(&error.to_string());
                }
            } else {
                drop(self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner));
            }
            queue = self.queue();
        }
    }

    /// Flushes, for as long as it takes where the disk is full.
    fn flush(&self, durable: Position) -> Result<(), FlushError> {
        let begun = Instant::now();
        let mut starved = false;
        let mut retry = NO_SPACE_RETRY;
        let result = loop {
            match self.flusher.flush_sealed(durable) {
                Ok(persisted) => break Ok(persisted),
                Err(error @ FlushError::Fault(_)) => break Err(error),
                Err(error @ FlushError::NoSpace { .. }) => {
                    self.shard.metrics.no_space.add(1);
                    if !starved {
                        starved = true;
                        self.shard.admission.set_starved();
                        self.tell_waits(true);
                        tracing::error!(shard = self.shard.index, %error, "the flush waits");
                    }
                }
            }
            let queue = self.queue();
            if queue.end {
                break Ok(Position::START);
            }
            drop(self.wake.wait_timeout(queue, retry));
            retry = NO_SPACE_RETRY_MAX.min(2 * retry);
        };
        if starved {
            self.tell_waits(false);
            self.shard.admission.clear_starved();
        }
        let persisted = result?;
        if persisted > Position::START {
            self.shard.metrics.flushes.add(1);
            self.shard.metrics.flush_ms.add(begun.elapsed().as_millis() as u64);
            // What is not durable there keeps its entries in the journal.
            match self.shard.streams.sync() {
                Ok(events) => {
                    let flushed = Flushed { persisted, events };
                    self.shard.inbox.signal(|signals| signals.flushed = Some(flushed));
                }
                Err(why) => self.shard.fail(&why),
            }
            self.compactor.nudge(&self.shard, &self.flusher);
        }
        Ok(())
    }

    fn tell_waits(&self, waits: bool) {
        self.shard.inbox.signal(|signals| signals.flush_waits = Some(waits));
    }

    /// No code between lock and unlock panics half-way through a change.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that compacts the states of all shards, one after the other.
#[derive(Debug)]
pub(crate) struct Compactor {
    handle: Option<CompactorHandle>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Tells the compactor that a state has new tables.
#[derive(Clone, Debug)]
pub(crate) struct CompactorHandle {
    sender: Sender<(Arc<ShardShared>, Flusher)>,
}

impl CompactorHandle {
    fn nudge(&self, shard: &Arc<ShardShared>, flusher: &Flusher) {
        // Nobody listens once the server ends, and then nothing needs compaction.
        drop(self.sender.send((Arc::clone(shard), flusher.clone())));
    }
}

impl Compactor {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (sender, receiver) = channel();
        let end = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&end);
        let run = move || compact_all(&receiver, &seen);
        let thread = std::thread::Builder::new().name("compact".into()).spawn(run)?;
        Ok(Self { handle: Some(CompactorHandle { sender }), end, thread: Some(thread) })
    }

    pub(crate) fn handle(&self) -> CompactorHandle {
        self.handle.clone().expect("it is taken when the compactor is dropped")
    }

    /// Ends the thread after the step in hand. Every other handle must be gone.
    pub(crate) fn end(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        self.handle = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the compaction thread panicked");
        }
    }
}

fn compact_all(receiver: &Receiver<(Arc<ShardShared>, Flusher)>, end: &AtomicBool) {
    while let Ok((shard, flusher)) = receiver.recv() {
        let compacted = sweep(&flusher, end).and_then(|()| compact(&shard, &flusher, end));
        match compacted {
            Ok(()) => {}
            Err(error @ FlushError::NoSpace { .. }) => {
                shard.metrics.no_space.add(1);
                tracing::warn!(shard = shard.index, %error, "compaction waits");
            }
            Err(error @ FlushError::Fault(_)) => shard.fail(&error.to_string()),
        }
    }
}

/// Gives space back, for which none is needed.
fn sweep(flusher: &Flusher, end: &AtomicBool) -> Result<(), FlushError> {
    while !end.load(Ordering::Relaxed) && flusher.sweep()? {}
    Ok(())
}

fn compact(shard: &ShardShared, flusher: &Flusher, end: &AtomicBool) -> Result<(), FlushError> {
    // A compaction needs room for its result first.
    while !end.load(Ordering::Relaxed) && shard.admission.disk() < DiskLevel::SettleOnly {
        if !flusher.compact()? {
            break;
        }
        shard.metrics.compactions.add(1);
    }
    Ok(())
}
