//! From the files of a shard to one that can serve: check, open, replay, first group. Whatever is
//! wrong is named; nothing is repaired here.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use longshore_engine::{Limits, Position, Recovery, ReplayFault, SealedGroup, Turn, appends_of};
use longshore_journal::disk::Folder;
use longshore_journal::{AppendError, Group, Journal, ReadError, Room};
use longshore_store::{Identity, Lsm, LsmConfig};
use longshore_streams::StreamLog;
use thiserror::Error;
use uuid::Uuid;

use crate::clock::Clocks;
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
        "the state is at position {persisted}, but the journal ends at {tail}: entries are lost"
    )]
    TailLost { persisted: Position, tail: Position },
    #[error(
        "the state is at position {persisted}, but the journal begins at {first}: entries are lost"
    )]
    HeadLost { persisted: Position, first: Position },
    #[error("the journal and the state of a shard that was used are empty")]
    Emptied,
    #[error(transparent)]
    Replay(#[from] ReplayFault),
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
            | Self::Folder(StoreDirError::Io { source, .. })
            | Self::Streams(
                longshore_streams::OpenError::Io { source, .. }
                | longshore_streams::OpenError::Write(longshore_streams::WriteError::Io {
                    source,
                    ..
                }),
            ) => full(source),
            _ => false,
        }
    }
}

/// A shard that can serve.
pub(crate) struct Recovered {
    pub(crate) turn: Turn<Lsm>,
    pub(crate) journal: Box<dyn Journal>,
    /// Bytes of journal that are not in the state on disk.
    pub(crate) journal_bytes: u64,
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
    let Origin { dir, store_id, open_journal, lsm, limits, namespaces } = origin;
    let OpenedJournal { journal, room } = open_journal(&dir, store_id, shard.index)?;
    if !dir.state().is_dir() {
        return Err(RecoverError::FolderLost { folder: dir.state() });
    }
    let identity = Identity { store: store_id.into_bytes(), shard: shard.index };
    let map = Lsm::open(&dir.state(), LsmConfig { identity, ..lsm })?;
    let (persisted, tail) = (map.position(), journal.tail());
    if tail < persisted {
        return Err(RecoverError::TailLost { persisted, tail });
    }
    if tail == Position::START && dir.is_used() {
        return Err(RecoverError::Emptied);
    }
    let begun = Instant::now();
    let total = tail.0 - persisted.0;
    shard.set_state(ShardState::Replaying { done: 0, total });
    let streams = Arc::new(Folder::new(dir.streams()));
    let (recovery, streams, journal_bytes) =
        replay(shard, &*journal, (map, persisted), streams, limits)?;
    shard.metrics.replayed_entries.set(total);
    shard.metrics.replay_ms.set(begun.elapsed().as_millis() as u64);
    let namespaces: Vec<&str> = namespaces.iter().map(String::as_str).collect();
    let turn = recovery.start(clocks.now().1, &namespaces);
    streams.settle(&turn.streams())?;
    let streams = Arc::new(streams);
    let mut recovered = Recovered { turn, journal, journal_bytes, room, streams };
    recovered.commit_first_group(shard)?;
    dir.set_used()?;
    Ok(recovered)
}

fn replay(
    shard: &ShardShared,
    journal: &dyn Journal,
    (map, persisted): (Lsm, Position),
    streams: Arc<Folder>,
    limits: Limits,
) -> Result<(Recovery<Lsm>, StreamLog, u64), RecoverError> {
    let mut recovery = Recovery::begin(map, persisted, limits)?;
    let streams = StreamLog::open(streams, (persisted, recovery.has_streams()))?;
    let from = streams.synced().map_or(persisted, |synced| synced.min(persisted));
    let entries = journal.read_from(from.next()).map_err(|error| match error {
        ReadError::Truncated { first, .. } => RecoverError::HeadLost { persisted: from, first },
        error => error.into(),
    })?;
    streams.cut(journal.tail())?;
    let flusher = recovery.map().flusher();
    let mut bytes = 0;
    for (done, entry) in (1..).zip(entries) {
        let (position, entry) = entry?;
        if position <= persisted {
            let appends = appends_of(&entry);
            let appends = appends.map_err(|error| ReplayFault::Malformed { position, error })?;
            streams.replay(position, appends)?;
            continue;
        }
        recovery.replay(position, &entry)?;
        streams.replay(position, recovery.take_stream_changes())?;
        bytes += entry.len() as u64;
        if done % PROGRESS_ENTRIES == 0 {
            shard.set_replayed(done);
            if shard.inbox.is_ending() {
                return Err(RecoverError::Ended);
            }
            // What the journal holds is durable, so memory need not hold all of a long one.
            if recovery.map().should_rotate() && recovery.complete_map().rotate().is_some() {
                flusher.flush_sealed(journal.tail())?;
                bytes = 0;
            }
        }
    }
    Ok((recovery, streams, bytes))
}

impl Recovered {
    /// Makes the beginning of this life of the shard durable before anybody is served.
    fn commit_first_group(&mut self, shard: &ShardShared) -> Result<(), RecoverError> {
        if let Some(sealed) = self.turn.seal() {
            let group = group_of(sealed);
            self.journal_bytes += group.len_bytes() as u64;
            self.journal.append(&group)?;
        }
        let durable = self.journal.tail();
        self.turn.committed(durable);
        shard.set_durable(durable);
        shard.set_engine_time(self.turn.engine_time());
        Ok(())
    }
}

/// The engine's group as the journal takes it.
pub(crate) fn group_of(sealed: SealedGroup) -> Group {
    Group::from_encoded(sealed.first, sealed.count, sealed.bytes)
        .expect("the engine writes whole entries with their lengths")
}
