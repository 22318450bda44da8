//! The life of a shard's thread: recover, serve, end. Whatever goes wrong in it, a panic included,
//! stops this shard and no other.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use longshore_engine::query::BodyMissing;
use longshore_journal::AppendError;
use longshore_store::StoreFault;

use crate::clock::Clocks;
use crate::commit::{self, Committer};
use crate::flush::{CompactorHandle, FlushThread};
use crate::recover::{Origin, RecoverError, Recovered, recover};
use crate::shard::{End, Shard};
use crate::shared::{ShardShared, ShardState};

/// What a shard's thread needs to begin.
pub(crate) struct ShardSetup {
    pub(crate) shared: Arc<ShardShared>,
    pub(crate) origin: Origin,
    pub(crate) compactor: CompactorHandle,
    /// Where monotonic time begins.
    pub(crate) start: Instant,
}

impl ShardSetup {
    /// Starts the thread.
    pub(crate) fn spawn(self) -> io::Result<JoinHandle<()>> {
        let name = format!("shard-{}", self.shared.index);
        std::thread::Builder::new().name(name).spawn(move || self.run())
    }

    fn run(self) {
        let shared = Arc::clone(&self.shared);
        let result = catch_unwind(AssertUnwindSafe(|| self.serve()));
        match result {
            Ok(Ok(())) => {}
            Ok(Err(RecoverError::Ended)) => close(&shared, ShardState::Closed),
            Ok(Err(RecoverError::Append(error @ AppendError::Failed { .. }))) => {
                commit::end_process(shared.index, &error)
            }
            Ok(Err(error)) => stop(&shared, error.to_string()),
            Err(panic) => stop(&shared, panic_reason(&*panic)),
        }
    }

    fn serve(self) -> Result<(), RecoverError> {
        let mut clocks = Clocks::new(self.start);
        let recovered = recover_when_there_is_space(&self.shared, &self.origin, &mut clocks)?;
        let Recovered { driver, journal, room, streams } = recovered;
        let shared = &self.shared;
        // Each is set once: this is the only place.
        if let Some(room) = room {
            drop(shared.room.set(room));
        }
        let map = driver.tree();
        drop(shared.snapshots.set(map.snapshots()));
        shared.streams.set(streams);
        let committer = Committer::start(Arc::clone(shared), journal)?;
        let flush = FlushThread::start(Arc::clone(shared), map.flusher(), self.compactor)?;
        let serving = Shard::new(Arc::clone(shared), driver, committer, flush, clocks);
        shared.inbox.open();
        shared.set_state(ShardState::Serving);
        tracing::info!(shard = shared.index, position = %shared.durable(), "shard serves");
        let (end, served) = Box::new(serving).run();
        match end {
            End::Stopped => {
                served.finish();
                close(shared, ShardState::Closed);
            }
            End::Abandoned => close(shared, ShardState::Closed),
            // Before the callers that wait are dropped, so that they can be told why.
            End::Fault(why) => stop(shared, why),
        }
        Ok(())
    }
}

/// How long a start waits before it looks again whether the disk has space.
const SPACE_RETRY: Duration = Duration::from_secs(1);

/// A start on a full disk waits: whoever frees space need not know that a shard had given up.
fn recover_when_there_is_space(
    shared: &ShardShared,
    origin: &Origin,
    clocks: &mut Clocks,
) -> Result<Recovered, RecoverError> {
    let mut starved = false;
    loop {
        match recover(shared, origin.clone(), clocks) {
            Err(error) if error.is_no_space() => {
                let why = error.to_string();
                if !starved {
                    tracing::error!(shard = shared.index, why, "the start waits for disk space");
                    // The reserve is there for this: settlements wait behind the start.
                    shared.admission.set_starved();
                    starved = true;
                }
                shared.set_state(ShardState::WaitingForSpace { why });
            }
            other => {
                if starved {
                    shared.admission.clear_starved();
                }
                return other;
            }
        }
        let retry_at = Instant::now() + SPACE_RETRY;
        while Instant::now() < retry_at {
            if shared.inbox.is_ending() {
                shared.admission.clear_starved();
                return Err(RecoverError::Ended);
            }
            std::thread::sleep(SPACE_RETRY / 20);
        }
    }
}

fn stop(shared: &ShardShared, why: String) {
    tracing::error!(shard = shared.index, why, "shard stopped");
    close(shared, ShardState::Stopped { why });
}

fn close(shared: &ShardShared, state: ShardState) {
    shared.set_state(state);
    drop(shared.inbox.close());
    // Who asked for figures hears that nobody answers.
    drop(shared.inbox.take_signals());
}

/// What a panic says: the text of a storage fault or of an assertion.
pub(crate) fn panic_reason(payload: &(dyn Any + Send)) -> String {
    if let Some(fault) = payload.downcast_ref::<StoreFault>() {
        return fault.to_string();
    }
    if let Some(missing) = payload.downcast_ref::<BodyMissing>() {
        return missing.to_string();
    }
    let text = payload
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no reason given".into());
    format!("a bug was met: {text}")
}
