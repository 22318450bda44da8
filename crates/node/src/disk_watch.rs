//! Looks at the disk now and then, closes and opens publishing, gives the reserve back where
//! somebody is starved for space, and notices when the store's folders or files are gone.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_engine::driver::{DiskLevel, DiskMarks, ReserveMove, Space};

use crate::admission::Admission;
use crate::disk::{DiskProbe, Reserve};
use crate::store_watch::{Lost, STATE_PARTS, StoreWatch};

/// How often it looks at the disk's room, in looks at the store's files.
const SPACE_EVERY: u32 = 5;
/// How often it looks whether the store's files are there, and whether the reserve is needed.
const INTERVAL: Duration = Duration::from_millis(100);

/// The store's folders and files, and what is done when one of them is lost.
pub(crate) struct StoreGuard {
    pub(crate) watch: StoreWatch,
    /// Answers whether something was done: then nobody looks any more.
    pub(crate) lost: Box<dyn Fn(&Lost) -> bool + Send + Sync>,
}

/// The thread that watches the disk. Dropping it ends the thread.
pub(crate) struct DiskWatch {
    core: Arc<Core>,
    thread: Option<JoinHandle<()>>,
}

struct Core {
    admission: Arc<Admission>,
    probe: Box<dyn DiskProbe>,
    marks: DiskMarks,
    reserve: Mutex<Reserve>,
    guard: StoreGuard,
    end: Mutex<bool>,
    wake: Condvar,
}

impl std::fmt::Debug for DiskWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DiskWatch").field("marks", &self.core.marks).finish_non_exhaustive()
    }
}

impl DiskWatch {
    /// Looks once and then again and again on a thread of its own.
    pub(crate) fn start(
        admission: Arc<Admission>,
        probe: Box<dyn DiskProbe>,
        marks: DiskMarks,
        reserve: Reserve,
        guard: StoreGuard,
    ) -> std::io::Result<Self> {
        let core = Arc::new(Core {
            admission,
            probe,
            marks,
            reserve: Mutex::new(reserve),
            guard,
            end: Mutex::new(false),
            wake: Condvar::new(),
        });
        core.look();
        let runner = Arc::clone(&core);
        let thread = std::thread::Builder::new().name("disk".into()).spawn(move || runner.run())?;
        Ok(Self { core, thread: Some(thread) })
    }

    /// Looks now.
    #[cfg(test)]
    pub(crate) fn look(&self) {
        self.core.look();
    }

    /// Whether a part of the store is lost; then what is to be done for that was done.
    pub(crate) fn finds_loss(&self) -> bool {
        (0..STATE_PARTS).any(|_| self.core.guard.is_lost())
    }

    /// Ends the thread.
    pub(crate) fn end(&mut self) {
        *lock(&self.core.end) = true;
        self.core.wake.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that watches the disk panicked");
        }
    }
}

impl Core {
    fn run(&self) {
        let mut store_is_there = true;
        let mut looks = 0;
        let mut end = lock(&self.end);
        while !*end {
            let waited = self.wake.wait_timeout(end, INTERVAL);
            end = waited.unwrap_or_else(PoisonError::into_inner).0;
            if *end {
                return;
            }
            store_is_there = store_is_there && !self.guard.is_lost();
            looks += 1;
            if looks % SPACE_EVERY == 0 || self.needs_reserve() {
                self.look();
            }
        }
    }

    fn needs_reserve(&self) -> bool {
        self.admission.is_starved() && lock(&self.reserve).is_held()
    }

    fn look(&self) {
        let space = match self.probe.space() {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(%error, "the room on the disk is not known");
                return;
            }
        };
        let level = self.marks.level(space);
        let before = self.admission.set_disk(level, space.free_bytes);
        if level != before {
            report(level, before, space);
        }
        self.mind_the_reserve(space);
    }

    fn mind_the_reserve(&self, space: Space) {
        let mut reserve = lock(&self.reserve);
        let (bytes, is_starved) = (reserve.bytes(), self.admission.is_starved());
        match self.marks.reserve(space, bytes, reserve.is_held(), is_starved) {
            Some(ReserveMove::GiveUp) => {
                tracing::warn!(bytes, "the disk is full, the reserve is used");
                if let Err(error) = reserve.release() {
                    tracing::warn!(%error, "the reserve was not given back");
                }
            }
            Some(ReserveMove::Take) => {
                if let Err(error) = reserve.take() {
                    tracing::warn!(%error, "no space could be reserved");
                }
            }
            None => {}
        }
    }
}

impl StoreGuard {
    fn is_lost(&self) -> bool {
        self.watch.lost().any(|lost| (self.lost)(&lost))
    }
}

fn report(level: DiskLevel, before: DiskLevel, space: Space) {
    let (free_bytes, before) = (space.free_bytes, before.name());
    match level {
        DiskLevel::Ample => tracing::info!(free_bytes, before, "the disk has room again"),
        DiskLevel::Warn => tracing::warn!(free_bytes, before, "the disk is filling up"),
        DiskLevel::Refuse => {
            tracing::error!(free_bytes, before, "the disk is low: publishing is refused");
        }
        DiskLevel::SettleOnly => {
            tracing::error!(free_bytes, before, "the disk is low: only settlements go on");
        }
    }
}

/// No code between lock and unlock panics half-way through a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::admission::Publishing;
    use crate::store_dir::StoreDir;

    struct Given(Arc<AtomicU64>);

    impl DiskProbe for Given {
        fn space(&self) -> io::Result<Space> {
            let free_bytes = self.0.load(Ordering::Relaxed);
            Ok(Space { free_bytes, total_bytes: 1 << 40 })
        }
    }

    #[test]
    fn the_reserve_is_given_back_where_space_is_needed_and_taken_again() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("reserve");
        let store = StoreDir::open_or_create(&root.path().join("store"), 1).unwrap();
        let free = Arc::new(AtomicU64::new(1 << 39));
        let admission = Arc::new(Admission::new(1));
        let mut watch = DiskWatch::start(
            Arc::clone(&admission),
            Box::new(Given(Arc::clone(&free))),
            DiskMarks::DEFAULT,
            Reserve::new(path.clone(), 8192),
            StoreGuard {
                watch: StoreWatch::of(&store, Vec::new()).unwrap(),
                lost: Box::new(|_| false),
            },
        )
        .unwrap();
        assert!(path.exists());
        free.store(0, Ordering::Relaxed);
        watch.look();
        assert!(path.exists());
        assert!(matches!(admission.publishing(), Publishing::Refused { .. }));
        admission.set_starved();
        watch.look();
        assert!(!path.exists());
        admission.clear_starved();
        watch.look();
        assert!(!path.exists(), "there is no room for it");
        free.store(1 << 39, Ordering::Relaxed);
        watch.look();
        assert!(path.exists());
        assert_eq!(admission.publishing(), Publishing::Open);
        watch.end();
    }
}
