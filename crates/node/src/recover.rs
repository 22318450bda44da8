//! From the files of a shard to one that can serve: check, open, replay, first group. Whatever is
//! wrong is named; nothing is repaired here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use longshore_engine::driver::{Driver, Input, NoFaults, Policy, Start, StartFault};
use longshore_engine::{Limits, Position};
use longshore_journal::disk::Folder;
use longshore_journal::{AppendError, Journal, ReadError, Room};
use longshore_store::{Flusher, Identity, Lsm, LsmConfig};
use longshore_streams::StreamLog;
use thiserror::Error;
use uuid::Uuid;

use crate::clock::Clocks;
use crate::commit::group_of;
use crate::courier::Place;
use crate::shared::{ShardShared, ShardState};
use crate::store_dir::{ShardDir, StoreDirError};

/// Opens the journal in a shard's folder. Tests put faulty ones in its place.
pub(crate) type OpenJournal =
    dyn Fn(&ShardDir, Uuid, u32) -> Result<OpenedJournal, RecoverError> + Send + Sync;

/// A journal, and its room where it has one of its own.
pub(crate) struct OpenedJournal {
    pub(crate) journal: Box<dyn Journal>,
    pub(crate) room: Option<Room>,
}

/// How often the progress of a replay is told, in entries.
const PROGRESS_ENTRIES: u64 = 256;

/// Why a shard does not serve.
#[derive(Debug, Error)]
pub(crate) enum RecoverError {
    #[error(transparent)]
    Journal(#[from] longshore_journal::OpenError),
    #[error("the folder {} is gone", folder.display())]
    FolderLost { folder: PathBuf },
    #[error(transparent)]
    State(#[from] longshore_store::OpenError),
    #[error(transparent)]
    Flush(#[from] longshore_store::FlushError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(
        "state and events are at position {kept}, but the journal begins at {first}: entries are lost"
    )]
    HeadLost { kept: Position, first: Position },
    #[error(transparent)]
    Start(#[from] StartFault),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Folder(#[from] StoreDirError),
    #[error(transparent)]
    Streams(#[from] longshore_streams::OpenError),
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
    #[error("the server ends")]
    Ended,
}

impl RecoverError {
    /// Whether nothing is wrong but that the disk is full: then a later try may succeed.
    pub(crate) fn is_no_space(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        let full = |source: &std::io::Error| matches!(source.kind(), StorageFull | QuotaExceeded);
        match self {
            Self::Journal(longshore_journal::OpenError::NoSpace { .. })
            | Self::Flush(longshore_store::FlushError::NoSpace { .. })
            | Self::Append(AppendError::NoSpace { .. }) => true,
            Self::Journal(longshore_journal::OpenError::Io { source, .. })
            | Self::State(longshore_store::OpenError::Io { source, .. })
            | Self::Folder(StoreDirError::Io { source, .. }) => full(source),
            Self::Streams(error) => error.is_no_space(),
            _ => false,
        }
    }
}

/// A shard that can serve.
pub(crate) struct Recovered {
    pub(crate) driver: Driver<Lsm, Place>,
    pub(crate) journal: Box<dyn Journal>,
    /// The journal's own room, where it has one.
    pub(crate) room: Option<Room>,
    /// The files of its streams.
    pub(crate) streams: Arc<StreamLog>,
}

/// Where a shard comes from.
#[derive(Clone)]
pub(crate) struct Origin {
    pub(crate) dir: ShardDir,
    pub(crate) store_id: Uuid,
    pub(crate) open_journal: Arc<OpenJournal>,
    pub(crate) lsm: LsmConfig,
    pub(crate) limits: Limits,
    pub(crate) policy: Policy,
    /// Created where they do not exist.
    pub(crate) namespaces: Vec<String>,
}

/// Checks and opens what is on disk of a shard, and replays its journal: the shard that comes of it
/// has begun a new life and can serve.
pub(crate) fn recover(
    shard: &ShardShared,
    origin: Origin,
    clocks: &mut Clocks,
) -> Result<Recovered, RecoverError> {
    let Origin { dir, store_id, open_journal, lsm, limits, policy, namespaces } = origin;
    let OpenedJournal { mut journal, room } = open_journal(&dir, store_id, shard.index)?;
    if !dir.state().is_dir() {
        return Err(RecoverError::FolderLost { folder: dir.state() });
    }
    let identity = Identity { store: store_id.into_bytes(), shard: shard.index };
    let map = Lsm::open(&dir.state(), LsmConfig { identity, ..lsm })?;
    let (persisted, tail) = (map.position(), journal.tail());
    let flusher = map.flusher();
    let start = Start::begin(map, (persisted, tail), dir.is_used(), limits, NoFaults)?;
    let folder = Arc::new(Folder::new(dir.streams()));
    let streams = StreamLog::open(folder, (persisted, start.has_streams()))?;
    let kept = start.kept(streams.synced());
    let begun = Instant::now();
    let total = tail.0.saturating_sub(kept.0);
    shard.set_state(ShardState::Replaying { done: 0, total });
    let start = replay(shard, &*journal, start, (kept, &streams), &flusher)?;
    shard.metrics.replayed_entries.set(total);
    shard.metrics.replay_ms.set(begun.elapsed().as_millis() as u64);
    let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let (mut driver, first) = start.serve(clocks.now().1, &namespaces, policy);
    streams.settle(&driver.turn().streams())?;
    let durable = journal.append(&group_of(first))?;
    // It changes no stream; so the files are as far as the state.
    streams.write(durable, Vec::new()).map_err(longshore_streams::OpenError::from)?;
    // Nobody waits for anything yet, so nothing is to be done.
    driver.step(Input::Committed(durable), clocks.now().1, &mut Vec::new());
    shard.set_durable(durable);
    shard.set_engine_time(driver.turn().engine_time());
    dir.set_used()?;
    Ok(Recovered { driver, journal, room, streams: Arc::new(streams) })
}

fn replay(
    shard: &ShardShared,
    journal: &dyn Journal,
    mut start: Start<Lsm, NoFaults>,
    (kept, streams): (Position, &StreamLog),
    flusher: &Flusher,
) -> Result<Start<Lsm, NoFaults>, RecoverError> {
    let entries = journal.read_from(kept.next()).map_err(|error| match error {
        ReadError::Truncated { first, .. } => RecoverError::HeadLost { kept, first },
        error => error.into(),
    })?;
    streams.cut(journal.tail())?;
    for (done, entry) in (1..).zip(entries) {
        let (position, entry) = entry?;
        if start.replay(position, &entry)? {
            flusher.flush_sealed(journal.tail())?;
        }
        streams.replay(position, start.take_stream_changes())?;
        if done % PROGRESS_ENTRIES == 0 {
            shard.set_replayed(done);
            if shard.inbox.is_ending() {
                return Err(RecoverError::Ended);
            }
        }
    }
    Ok(start)
}
