//! `longshore backup`, `backups` and `restore`: second copies of a store.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use longshore_backup::{Place, Plan, RestoreError, Restored, TimeMs, find, restore};
use longshore_server::api::{BackupList, BackupRecord, BackupRequest, BackupState, InstantText};
use serde::Serialize;
use tokio::time::sleep;
use uuid::Uuid;

use crate::cli::Context;
use crate::client::{Client, read, told};
use crate::failure::{Failure, Kind};
use crate::jobs::moment;
use crate::output::{self, Format, Table, bytes, count, facts, grouped, note};
use crate::serve::runtime;

/// How often is asked whether a copy is made, at first and at most.
const LOOK: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(2);

#[derive(Args, Debug)]
#[command(after_help = "The server writes it, to a place that its setting ship.to or ship.allow \
    names. Only files that are not there are sent. See docs/backup.md.")]
pub(crate) struct BackupArgs {
    /// Where to: a path, file://, s3://, gs:// or az:// [default: the server's ship.to]
    #[arg(long, value_name = "URL")]
    to: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupsCommand {
    /// Show how far copies are that are sent all the time, and those that were asked for
    List,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Nothing is left in the folder where it fails. The store that comes of it is \
    the same one in a line of its own: start a server on it as after a crash. Credentials come \
    from the environment, as for the server."
)]
pub(crate) struct RestoreArgs {
    /// Where copies lie: a path, file://, s3://, gs:// or az://
    #[arg(long, value_name = "URL")]
    from: String,
    /// The folder to make the store in; empty or not there
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Nothing after this time, such as 2026-05-04T12:00:00Z [default: everything]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Which store, where there are copies of several
    #[arg(long, value_name = "ID")]
    store: Option<Uuid>,
    /// Which line of the store [default: the one that was begun last]
    #[arg(long, value_name = "ID")]
    line: Option<Uuid>,
    /// Where a piece of the journal is missing or damaged, take what is before it
    #[arg(long)]
    up_to_the_gap: bool,
}

pub(crate) async fn backup(args: BackupArgs, context: &Context) -> Result<ExitCode> {
    let client = context.client()?;
    let answer = client.post("/v1/backups", &BackupRequest { to: args.to }).await?;
    let begun: BackupRecord = read(&answer)?;
    let mut wait = LOOK;
    loop {
        sleep(wait).await;
        wait = LOOK_MAX.min(2 * wait);
        let answer = client.get(&format!("/v1/backups/{}", begun.id)).await?;
        let now: BackupRecord = read(&answer)?;
        match now.state {
            BackupState::Running => {}
            BackupState::Failed => {
                let why = now.reason.unwrap_or_default();
                return Err(Failure::new(Kind::Other, format!("no copy was made: {why}")).into());
            }
            BackupState::Finished => {
                match context.format {
                    Format::Json => output::json_text(&answer)?,
                    Format::Table => show(&now)?,
                }
                return Ok(ExitCode::SUCCESS);
            }
        }
    }
}

fn show(made: &BackupRecord) -> Result<()> {
    let positions: Vec<String> = made.positions.iter().copied().map(grouped).collect();
    Ok(output::line(&facts(&[
        ("copied to", Some(made.to.clone())),
        ("holds all up to", made.taken_at.map(moment)),
        ("positions", Some(positions.join(", "))),
        ("files", made.bytes.map(bytes)),
        ("of them sent", made.sent_bytes.map(bytes)),
    ]))?)
}

pub(crate) async fn backups(command: BackupsCommand, context: &Context) -> Result<ExitCode> {
    let BackupsCommand::List = command;
    list(&context.client()?, context.format).await?;
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, format: Format) -> Result<()> {
    let body = client.get("/v1/backups").await?;
    let Some(list) = told::<BackupList>(&body, format)? else { return Ok(()) };
    match &list.shipping {
        None => note("no copies are sent by themselves: the setting ship.to names no place"),
        Some(shipping) => {
            let base = shipping.bases.last().map_or_else(
                || "none yet".to_owned(),
                |last| format!("{}, the last of {}", shipping.bases.len(), moment(last.taken_at)),
            );
            output::line(&format!("sent to {}; bases: {base}", shipping.to))?;
            for shard in &shipping.shards {
                let (number, behind) = (shard.shard, bytes(shard.lag_bytes));
                output::line(&format!(
                    "  shard {number}: up to {}, behind by {:.1} s and {behind}",
                    shard.position.map_or_else(|| "nothing".to_owned(), grouped),
                    shard.lag_seconds
                ))?;
            }
            for error in shipping.error.iter().chain(&shipping.base_error) {
                output::line(&format!("  failing: {error}"))?;
            }
        }
    }
    let mut table = Table::new(&["asked", "to", "by", "state", ">files", ">sent", "reason"]);
    for it in list.backups {
        let state = match it.state {
            BackupState::Running => "running",
            BackupState::Finished => "finished",
            BackupState::Failed => "failed",
        };
        table.row(&[
            moment(it.asked_at),
            it.to,
            it.by,
            state.to_owned(),
            it.bytes.map(bytes).unwrap_or_default(),
            it.sent_bytes.map(bytes).unwrap_or_default(),
            it.reason.unwrap_or_default(),
        ]);
    }
    if !table.is_empty() {
        table.print()?;
    }
    Ok(())
}

/// What is told of a restore.
#[derive(Debug, Serialize)]
struct RestoredRecord {
    #[serde(serialize_with = "output::shown")]
    data: PathBuf,
    store: String,
    from_line: String,
    line: String,
    base_taken_at: InstantText,
    shards: Vec<RestoredShardRecord>,
}

#[derive(Debug, Serialize)]
struct RestoredShardRecord {
    shard: usize,
    /// The position of the state in the base.
    state: u64,
    /// The last position.
    position: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_at: Option<InstantText>,
    /// Entries of the journal that the next start applies.
    entries: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gap: Option<String>,
}

pub(crate) fn restore_into(args: &RestoreArgs, context: &Context) -> Result<ExitCode> {
    let at = args.at.as_deref().map(|text| {
        text.parse::<InstantText>().map_err(|_| {
            Failure::usage(format!("--at {text}: a time such as 2026-05-04T12:00:00Z"))
        })
    });
    let at = at.transpose()?.map(|at| TimeMs(at.0));
    let plan = Plan { store: args.store, line: args.line, at, up_to_the_gap: args.up_to_the_gap };
    let restored = runtime()?.block_on(async {
        let place = Place::open(&args.from, false)?;
        let found = find(&place, &plan).await?;
        for line in &found.other_lines {
            note(&format!("there is another line, {line}: --line takes it"));
        }
        restore(&place, &found, &plan, &args.data, &mut |text| note(text)).await
    });
    let restored = restored.map_err(|error| failure(&error))?;
    match context.format {
        Format::Json => output::json(&record(args, &restored))?,
        Format::Table => print(args, &restored)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn failure(error: &RestoreError) -> Failure {
    let text = error.to_string();
    match error {
        RestoreError::Nothing { .. } => Failure::new(Kind::NotFound, text),
        RestoreError::Several { .. } => Failure::usage(text).hint("name it with --store"),
        RestoreError::TooOld { oldest_ms } => {
            let oldest = moment(InstantText(*oldest_ms));
            Failure::new(Kind::NotFound, format!("the oldest copy is of {oldest}"))
        }
        RestoreError::Gap { have, .. } => Failure::new(Kind::Other, text).hint(format!(
            "--up-to-the-gap takes what is there up to {have}, where that is enough for the files"
        )),
        RestoreError::Folder(_) => Failure::new(Kind::Refused, text),
        RestoreError::Damaged { .. } => {
            Failure::new(Kind::Other, text).hint("an earlier copy may be whole: see --at")
        }
        _ => Failure::new(Kind::Other, text),
    }
}

fn record(args: &RestoreArgs, restored: &Restored) -> RestoredRecord {
    let shards = restored.shards.iter().enumerate().map(|(index, shard)| RestoredShardRecord {
        shard: index,
        state: shard.state.0,
        position: shard.last.0,
        last_at: shard.last_at.map(|at| InstantText(at.0)),
        entries: shard.entries,
        bytes: shard.bytes,
        gap: shard.gap.clone(),
    });
    RestoredRecord {
        data: args.data.clone(),
        store: restored.store.to_string(),
        from_line: restored.from_line.to_string(),
        line: restored.line.to_string(),
        base_taken_at: InstantText(restored.base_ms),
        shards: shards.collect(),
    }
}

fn print(args: &RestoreArgs, restored: &Restored) -> std::io::Result<()> {
    let base = moment(InstantText(restored.base_ms));
    output::line(&format!("store {} from a base of {base}", restored.store))?;
    for (index, shard) in restored.shards.iter().enumerate() {
        let last = shard.last_at.map_or_else(
            || "at the base".to_owned(),
            |at| format!("of {}", moment(InstantText(at.0))),
        );
        output::line(&format!(
            "  shard {index}: up to position {}, {last}; {} to apply, {}",
            grouped(shard.last.0),
            count(shard.entries, "entry"),
            bytes(shard.bytes)
        ))?;
        if let Some(gap) = &shard.gap {
            output::line(&format!("    up to a gap: {gap}"))?;
        }
    }
    let data = args.data.display();
    output::line(&format!("{data} is ready: longshore serve --data {data}"))
}
