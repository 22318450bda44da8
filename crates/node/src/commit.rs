//! Makes groups durable. A shard's journal lies behind one lock: the commit thread takes it for
//! what was handed over, the shard's own thread where it has nothing else to do meanwhile.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use longshore_engine::SealedGroup;
use longshore_engine::driver::{Action, Ending};
use longshore_journal::{AppendError, Group, Journal, Position};

use crate::shared::ShardShared;

/// The status with which the process ends after a failed write or sync of a journal.
pub const EXIT_JOURNAL_FAILED: i32 = 74;

/// How long to wait before a group that met a full disk is tried again: at first, then twice as
/// long each time, and at most.
const NO_SPACE_RETRY: Duration = Duration::from_millis(100);
const NO_SPACE_RETRY_MAX: Duration = Duration::from_millis(1600);
/// After so long without space the callers are told: until then the reserve is given back.
const NO_SPACE_PATIENCE: Duration = Duration::from_secs(2);

/// How long to wait after an attempt that was made after `last`.
fn longer(last: Duration) -> Duration {
    NO_SPACE_RETRY_MAX.min(2 * last)
}

/// Hands groups to the commit thread. Dropping it ends the thread after what it has in hand.
#[derive(Debug)]
pub(crate) struct Committer {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
}

struct Core {
    shard: Arc<ShardShared>,
    journal: Mutex<Box<dyn Journal>>,
    queue: Mutex<Queue>,
    wake: Condvar,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("shard", &self.shard.index).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Queue {
    /// At most one group is in flight.
    group: Option<(Group, Instant)>,
    mark: bool,
    truncate_before: Option<Position>,
    end: bool,
}

/// What ended a commit without a position.
enum Broken {
    /// No space, and the server ends.
    Ended,
    /// The journal has gone on without this owner.
    Fault(String),
}

impl Committer {
    /// Starts the commit thread of a shard.
    pub(crate) fn start(
        shard: Arc<ShardShared>,
        journal: Box<dyn Journal>,
    ) -> std::io::Result<Self> {
        let name = format!("commit-{}", shard.index);
        let core = Arc::new(Core {
            shard,
            journal: Mutex::new(journal),
            queue: Mutex::default(),
            wake: Condvar::new(),
        });
        let runner = Arc::clone(&core);
        let run = move || {
            if catch_unwind(AssertUnwindSafe(|| runner.run())).is_err() {
                runner.shard.fail("the commit thread panicked");
            }
        };
        let thread = std::thread::Builder::new().name(name).spawn(run)?;
        Ok(Self { core, thread: Some(thread) })
    }

    /// Commits a group on the calling thread if the journal is free, else hands it over; the
    /// position, where it is durable. It saves two wake-ups, which is most of what a lone writer
    /// waits for beside the disk.
    pub(crate) fn commit_here(&self, group: Group) -> Option<Position> {
        let begun = Instant::now();
        let journal = match self.core.journal.try_lock() {
            Ok(journal) => Some(journal),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(mut journal) = journal {
            match self.core.append_once(&mut **journal, &group, begun) {
                Ok(position) => {
                    self.core.shard.metrics.groups_inline.add(1);
                    return Some(position);
                }
                Err(Attempt::NoSpace) => {}
                Err(Attempt::Fault(why)) => {
                    self.core.shard.fail(&why);
                    return None;
                }
            }
        }
        self.hand_over(group);
        None
    }

    /// Has the commit thread commit a group; it signals the shard when it is durable.
    pub(crate) fn hand_over(&self, group: Group) {
        let mut queue = self.core.queue();
        assert!(queue.group.is_none(), "two groups of one shard in flight");
        queue.group = Some((group, Instant::now()));
        drop(queue);
        self.core.wake.notify_one();
    }

    /// Has the commit thread write a mark, unless a group comes first.
    pub(crate) fn mark(&self) {
        self.core.queue().mark = true;
        self.core.wake.notify_one();
    }

    /// Has the commit thread give back the entries before `position`.
    pub(crate) fn truncate_before(&self, position: Position) {
        self.core.queue().truncate_before = Some(position);
        self.core.wake.notify_one();
    }

    /// Ends the thread and does the last that is to be done for the journal.
    pub(crate) fn end<C>(mut self, last: &[Action<C>]) {
        self.join();
        let mut journal = self.core.journal();
        for action in last {
            match action {
                Action::Truncate { before } => self.core.truncate(&mut **journal, *before),
                Action::Mark => self.core.write_mark(&mut **journal),
                _ => {}
            }
        }
    }

    fn join(&mut self) {
        self.core.queue().end = true;
        self.core.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(shard = self.core.shard.index, "the commit thread panicked");
        }
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.join();
    }
}

/// Why one attempt did not make the group durable.
enum Attempt {
    NoSpace,
    Fault(String),
}

impl Core {
    fn run(&self) {
        let mut queue = self.queue();
        loop {
            if let Some((group, begun)) = queue.group.take() {
                drop(queue);
                match self.append(&group, begun) {
                    Ok(durable) => {
                        self.shard.inbox.signal(|signals| signals.committed = Some(durable));
                    }
                    Err(Broken::Fault(why)) => return self.shard.fail(&why),
                    // The group was never answered for: the server ends without it.
                    Err(Broken::Ended) => {
                        return self.shard.inbox.signal(|signals| signals.end(Ending::Abandon));
                    }
                }
            } else if queue.end {
                return;
            } else if let Some(position) = queue.truncate_before.take() {
                drop(queue);
                self.truncate(&mut **self.journal(), position);
            } else if std::mem::take(&mut queue.mark) {
                drop(queue);
                self.write_mark(&mut **self.journal());
            } else {
                drop(self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner));
            }
            queue = self.queue();
        }
    }

    /// Appends the group, for as long as it takes where the disk is full.
    fn append(&self, group: &Group, begun: Instant) -> Result<Position, Broken> {
        let mut starved: Option<Instant> = None;
        let (mut told, mut retry) = (false, NO_SPACE_RETRY);
        let result = loop {
            match self.append_once(&mut **self.journal(), group, begun) {
                Ok(position) => break Ok(position),
                Err(Attempt::Fault(why)) => break Err(Broken::Fault(why)),
                Err(Attempt::NoSpace) => {}
            }
            let since = *starved.get_or_insert_with(|| {
                self.shard.admission.set_starved();
                tracing::error!(
                    shard = self.shard.index,
                    "no space for the journal, or for events"
                );
                Instant::now()
            });
            if !told && since.elapsed() >= NO_SPACE_PATIENCE {
                told = true;
                self.shard.inbox.signal(|signals| signals.starved = true);
            }
            let mut queue = self.queue();
            if queue.end || self.shard.inbox.refuses_more() {
                break Err(Broken::Ended);
            }
            if let Some(position) = queue.truncate_before.take() {
                // A flush that went through meanwhile gives the space that is waited for.
                drop(queue);
                self.truncate(&mut **self.journal(), position);
                continue;
            }
            drop(self.wake.wait_timeout(queue, retry));
            retry = longer(retry);
        };
        if starved.is_some() {
            self.shard.admission.clear_starved();
        }
        result
    }

    fn append_once(
        &self,
        journal: &mut dyn Journal,
        group: &Group,
        begun: Instant,
    ) -> Result<Position, Attempt> {
        if !self.shard.streams.has_room().map_err(Attempt::Fault)? {
            self.shard.metrics.no_space.add(1);
            return Err(Attempt::NoSpace);
        }
        match journal.append(group) {
            Ok(position) => {
                let metrics = &self.shard.metrics;
                metrics.group_committed(group.count(), group.len_bytes() as u64, begun.elapsed());
                // Durable it is: what cannot be written now is by the next start.
                self.shard.streams.committed(position).map_err(Attempt::Fault)?;
                Ok(position)
            }
            Err(AppendError::NoSpace { .. }) => {
                self.shard.metrics.no_space.add(1);
                Err(Attempt::NoSpace)
            }
            Err(error @ AppendError::Unexpected { .. }) => Err(Attempt::Fault(error.to_string())),
            Err(error @ AppendError::Failed { .. }) => end_process(self.shard.index, &error),
        }
    }

    fn write_mark(&self, journal: &mut dyn Journal) {
        match journal.mark() {
            Ok(()) => {
                self.shard.metrics.fsyncs.add(1);
                self.shard.metrics.marks.add(1);
            }
            // A mark only tells damage from a torn write; the next one will do.
            Err(AppendError::NoSpace { .. }) => {}
            Err(error @ AppendError::Unexpected { .. }) => self.shard.fail(&error.to_string()),
            Err(error @ AppendError::Failed { .. }) => end_process(self.shard.index, &error),
        }
    }

    fn truncate(&self, journal: &mut dyn Journal, position: Position) {
        let position = self.shard.pins.floor().map_or(position, |pinned| pinned.min(position));
        if let Err(error) = journal.truncate_before(position) {
            tracing::warn!(shard = self.shard.index, %error, "journal space was not given back");
        }
    }

    fn journal(&self) -> MutexGuard<'_, Box<dyn Journal>> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No code between lock and unlock panics half-way through a change.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// After a failed write or sync nobody knows what is on the disk, and a second attempt may succeed
/// without the data: only a fresh start from the disk tells.
pub(crate) fn end_process(shard: u32, error: &AppendError) -> ! {
    tracing::error!(shard, %error, "the journal failed, the process ends");
    std::process::exit(EXIT_JOURNAL_FAILED)
}

/// The engine's group as the journal takes it.
pub(crate) fn group_of(sealed: SealedGroup) -> Group {
    Group::from_encoded(sealed.first, sealed.count, sealed.bytes)
        .expect("the engine writes whole entries with their lengths")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was tried ten times a second for as long as the disk was full.
    #[test]
    fn a_full_disk_is_tried_ever_more_rarely() {
        let waits = std::iter::successors(Some(NO_SPACE_RETRY), |last| Some(longer(*last)));
        let waits: Vec<_> = waits.take(7).map(|wait| wait.as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 1600, 1600]);
    }
}
