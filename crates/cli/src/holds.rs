//! `longshore holds`: tags with which no job starts, and waiting until none runs.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::{HoldList, HoldRecord, HoldRequest};

use crate::cli::Context;
use crate::client::{Client, read, segment, told};
use crate::jobs::moment;
use crate::output::{self, Format, Table, count, facts, grouped, note};

#[derive(Debug, Subcommand)]
pub(crate) enum HoldsCommand {
    /// List the tags that are held
    List,
    /// Show a hold, what still runs, and what is unaccounted
    Show(HoldArgs),
    /// Hold a tag: no job with it starts, and those that run are told to stop
    Put(PutArgs),
    /// Let a tag go
    Delete(HoldArgs),
}

#[derive(Args, Debug)]
pub(crate) struct HoldArgs {
    /// The tag, as in shard=42
    tag: String,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    longshore holds put shard=42 --reason \"moves to db7\" --wait && ./move-shard 42")]
pub(crate) struct PutArgs {
    /// The tag, as in shard=42
    tag: String,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Wait until every lease with the tag was given back; ends with 1 where runs are unaccounted
    #[arg(long)]
    wait: bool,
}

fn table(holds: &[HoldRecord]) -> anyhow::Result<()> {
    if holds.is_empty() {
        note("no tag is held: `longshore holds put` holds one");
        return Ok(());
    }
    let columns = ["tag", ">epoch", "since", ">running", ">unaccounted", "reason"];
    let mut table = Table::new(&columns);
    for hold in holds {
        table.row(&[
            hold.tag.clone(),
            hold.epoch.to_string(),
            moment(hold.since),
            grouped(hold.running),
            grouped(hold.unaccounted_total),
            hold.reason.clone().unwrap_or_default(),
        ]);
    }
    Ok(table.print()?)
}

fn show(body: &[u8], format: Format) -> anyhow::Result<()> {
    let Some(hold) = told::<HoldRecord>(body, format)? else { return Ok(()) };
    output::line(&facts(&[
        ("tag", Some(hold.tag.clone())),
        ("epoch", Some(hold.epoch.to_string())),
        ("since", Some(moment(hold.since))),
        ("reason", hold.reason.clone()),
        ("quiet", Some(if hold.quiet { "yes" } else { "no" }.to_owned())),
        ("running", Some(grouped(hold.running))),
        ("unaccounted", Some(grouped(hold.unaccounted_total))),
    ]))?;
    let mut table = Table::new(&["job", "worker", "state", "since"]);
    for run in &hold.runs {
        let (job, worker) = (run.job.to_string(), run.worker.clone());
        table.row(&[job, worker, "running".to_owned(), String::new()]);
    }
    for run in &hold.unaccounted {
        let (job, worker) = (run.job.to_string(), run.worker.clone());
        table.row(&[job, worker, "unaccounted".to_owned(), moment(run.ended_at)]);
    }
    if !hold.runs.is_empty() || !hold.unaccounted.is_empty() {
        output::line("")?;
        table.print()?;
    }
    Ok(())
}

/// Asks again and again until nothing runs with the tag.
async fn until_quiet(client: &Client, path: &str, mut body: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    while !read::<HoldRecord>(&body)?.quiet {
        body = client.get(&format!("{path}?wait=30s")).await?;
    }
    Ok(body)
}

pub(crate) async fn execute(command: HoldsCommand, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let path = |tag: &str| client.path(&format!("/holds/{}", segment(tag)));
    match command {
        HoldsCommand::List => {
            let body = client.get(&client.path("/holds")).await?;
            match context.format {
                Format::Json => output::json_text(&body)?,
                Format::Table => table(&read::<HoldList>(&body)?.holds)?,
            }
        }
        HoldsCommand::Delete(args) => {
            client.delete(&path(&args.tag)).await?;
            if context.format == Format::Table {
                output::line(&format!("{} is let go", args.tag))?;
            }
        }
        HoldsCommand::Show(args) => show(&client.get(&path(&args.tag)).await?, context.format)?,
        HoldsCommand::Put(PutArgs { tag, reason, wait }) => {
            let path = path(&tag);
            let mut body = client.put(&path, &HoldRequest { reason }).await?;
            if wait {
                body = until_quiet(&client, &path, body).await?;
            }
            show(&body, context.format)?;
            let unaccounted = read::<HoldRecord>(&body)?.unaccounted_total;
            if wait && unaccounted > 0 {
                let runs = count(unaccounted, "run");
                note(&format!("{runs} unaccounted: their workers may go on"));
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
