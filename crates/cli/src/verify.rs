//! `longshore verify`: whether a stopped store is whole. It reads all of it and changes nothing.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use longshore_journal::disk::Folder;
use longshore_journal::{Identity, InspectError, inspect};
use longshore_server::{ShardDir, StoreDir, StoreDirError};
use longshore_store::{Depth, check};
use serde::Serialize;

use crate::cli::Context;
use crate::failure::{Failure, Kind};
use crate::output::{self, Format, bytes, count};

#[derive(Args, Debug)]
#[command(
    after_help = "Exit code 0: sound, perhaps with a torn tail, which the next start cuts and \
    which was never acknowledged. 1: corrupt, and where."
)]
pub(crate) struct VerifyArgs {
    /// The folder of the store
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Findings {
    #[serde(serialize_with = "output::shown")]
    store: PathBuf,
    sound: bool,
    shards: Vec<ShardFindings>,
}

/// What was found in one shard.
#[derive(Debug, Default, Serialize)]
struct ShardFindings {
    shard: u32,
    sound: bool,
    /// Positions of the journal.
    first: u64,
    tail: u64,
    durable: u64,
    segments: usize,
    journal_bytes: u64,
    /// The position of the state, up to which the journal is not needed.
    state: u64,
    state_tables: usize,
    state_body_files: usize,
    state_entries: u64,
    state_bytes: u64,
    /// Partitions of streams that have or had events, and the bytes of their files.
    stream_partitions: usize,
    stream_bytes: u64,
    /// The end that a crash left half-written.
    #[serde(skip_serializing_if = "Option::is_none")]
    torn_tail: Option<String>,
    /// Files that a crash left, which the next start removes.
    #[serde(serialize_with = "output::all_shown")]
    leftovers: Vec<PathBuf>,
    corrupt: Vec<String>,
}

pub(crate) fn execute(args: &VerifyArgs, context: &Context) -> Result<ExitCode> {
    let store = StoreDir::open_existing(&args.dir).map_err(|error| {
        let kind = match error {
            StoreDirError::Missing { .. } => Kind::NotFound,
            StoreDirError::InUse { .. } => Kind::Refused,
            StoreDirError::OtherLevel { .. } => Kind::OtherLevel,
            _ => Kind::Other,
        };
        let failure = Failure::new(kind, error.to_string());
        match error {
            StoreDirError::InUse { .. } => failure.hint("stop its server first"),
            StoreDirError::OtherLevel { other, .. } => failure.hint(other.way_out()),
            _ => failure,
        }
    })?;
    let manifest = *store.manifest();
    let shards = (0..manifest.shards).map(|index| {
        let identity = Identity { store: manifest.store_id.into_bytes(), shard: index };
        verify_shard(index, &store.shard(index), identity)
    });
    let shards = shards.collect::<Result<Vec<_>, Failure>>()?;
    let sound = shards.iter().all(|shard| shard.sound);
    let findings = Findings { store: args.dir.clone(), sound, shards };
    match context.format {
        Format::Json => output::json(&findings)?,
        Format::Table => print(&findings)?,
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn verify_shard(index: u32, dir: &ShardDir, identity: Identity) -> Result<ShardFindings, Failure> {
    let mut found = ShardFindings { shard: index, ..ShardFindings::default() };
    match inspect(dir.journal(), Some(identity)) {
        Ok(journal) => {
            found.first = journal.first.0;
            found.tail = journal.tail.0;
            found.durable = journal.durable.0;
            found.segments = journal.segments.len();
            found.journal_bytes = journal.segments.iter().map(|segment| segment.len_bytes).sum();
            found.torn_tail = journal.torn.map(|torn| {
                let (path, offset) = (torn.path.display(), torn.offset);
                format!("{path} from offset {offset} on: {}", torn.fault)
            });
            found.leftovers = journal.unfinished;
            found.corrupt = journal.corrupt.iter().map(ToString::to_string).collect();
        }
        Err(InspectError::Locked { path }) => {
            let message = format!("{} is locked by a running server", path.display());
            return Err(Failure::new(Kind::Refused, message).hint("stop it first"));
        }
        Err(error) => found.corrupt.push(error.to_string()),
    }
    let journal_is_readable = found.corrupt.is_empty();
    let of_state = longshore_store::Identity { store: identity.store, shard: identity.shard };
    match quietly(|| check(&dir.state(), Depth::Everything, Some(of_state))) {
        Ok(state) => {
            found.state = state.position.0;
            found.state_tables = state.tables;
            found.state_body_files = state.body_files;
            found.state_entries = state.entries;
            found.state_bytes = state.bytes;
            found.leftovers.extend(state.leftovers);
            if journal_is_readable {
                found.corrupt.extend(gap_of(&found, dir));
            }
        }
        Err(faults) => found.corrupt.extend(faults.iter().map(ToString::to_string)),
    }
    let events = longshore_streams::check(Arc::new(Folder::new(dir.streams())));
    found.stream_partitions = events.partitions;
    found.stream_bytes = events.bytes;
    found.corrupt.extend(events.faults);
    if let Some(synced) = events.synced.filter(|_| journal_is_readable) {
        found.corrupt.extend(gap_of_events(synced.0, &found));
    }
    found.sound = found.corrupt.is_empty();
    Ok(found)
}

/// Without what panics say of themselves: where damage makes the tree panic, that is caught and
/// told as what it is.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = work();
    std::panic::set_hook(hook);
    result
}

/// State and journal have to fit together: what is above the state has to be in the journal.
fn gap_of(found: &ShardFindings, dir: &ShardDir) -> Option<String> {
    let ShardFindings { state, first, tail, .. } = *found;
    if state > tail {
        Some(format!("the state is at position {state}, but the journal ends at {tail}"))
    } else if first > state + 1 {
        Some(format!("the state is at position {state}, but the journal begins at {first}"))
    } else if dir.is_used() && tail == 0 && state == 0 {
        Some("journal and state are empty, but the shard was used".to_owned())
    } else {
        None
    }
}

/// What the files of streams lack has to be in the journal.
fn gap_of_events(synced: u64, found: &ShardFindings) -> Option<String> {
    let ShardFindings { first, tail, .. } = *found;
    if synced > tail {
        Some(format!("events are complete up to position {synced}, but the journal ends at {tail}"))
    } else if first > synced + 1 {
        let begins = format!("but the journal begins at {first}");
        Some(format!("events are complete up to position {synced}, {begins}"))
    } else {
        None
    }
}

fn print(findings: &Findings) -> std::io::Result<()> {
    for shard in &findings.shards {
        let verdict = if shard.sound { "sound" } else { "CORRUPT" };
        output::line(&format!("shard {}: {verdict}", shard.shard))?;
        output::line(&format!(
            "  journal  positions {} to {}, proved durable up to {}; {}, {}",
            shard.first,
            shard.tail,
            shard.durable,
            count(shard.segments as u64, "segment"),
            bytes(shard.journal_bytes)
        ))?;
        output::line(&format!(
            "  state    at position {}; {}, {}, {}, {}",
            shard.state,
            count(shard.state_tables as u64, "table"),
            count(shard.state_body_files as u64, "body file"),
            count(shard.state_entries, "entry"),
            bytes(shard.state_bytes)
        ))?;
        if shard.stream_partitions > 0 {
            output::line(&format!(
                "  streams  {}, {}",
                count(shard.stream_partitions as u64, "partition"),
                bytes(shard.stream_bytes)
            ))?;
        }
        if let Some(torn) = &shard.torn_tail {
            output::line(&format!(
                "  torn     {torn} (never acknowledged; the next start cuts it)"
            ))?;
        }
        for path in &shard.leftovers {
            output::line(&format!("  left     {} (the next start removes it)", path.display()))?;
        }
        for corruption in &shard.corrupt {
            output::line(&format!("  corrupt  {corruption}"))?;
        }
    }
    let verdict = if findings.sound { "sound" } else { "CORRUPT: see docs/operations.md" };
    output::line(&format!("{}: {verdict}", findings.store.display()))
}
