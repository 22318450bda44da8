//! `longshore operations`: what touches many jobs, in slices, on the server.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use longshore_server::api::{JobFilterBody, OperationList, OperationRecord, OperationStateText};
use tokio::time::sleep;

use crate::cli::Context;
use crate::client::{Client, read, segment, told};
use crate::failure::Failure;
use crate::jobs::moment;
use crate::output::{self, Format, Table, count, facts, grouped, note};

#[derive(Debug, Subcommand)]
pub(crate) enum OperationsCommand {
    /// List operations, the newest first
    List,
    /// Show how far an operation is
    Show(OperationArgs),
    /// Stop an operation; what it did stays done
    Cancel(OperationArgs),
}

#[derive(Args, Debug)]
pub(crate) struct OperationArgs {
    /// The operation
    id: String,
}

pub(crate) async fn execute(
    command: OperationsCommand,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    match command {
        OperationsCommand::List => list(&client, context.format).await?,
        OperationsCommand::Show(args) => {
            let body = client.get(&path(&client, &args.id)).await?;
            show(&body, context.format)?;
        }
        OperationsCommand::Cancel(args) => {
            let body = client.delete(&path(&client, &args.id)).await?;
            show(&body, context.format)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn path(client: &Client, id: &str) -> String {
    client.path(&format!("/operations/{}", segment(id)))
}

async fn list(client: &Client, format: Format) -> anyhow::Result<()> {
    let body = client.get(&client.path("/operations")).await?;
    let Some(list) = told::<OperationList>(&body, format)? else { return Ok(()) };
    let mut table =
        Table::new(&["id", "operation", "queue", "kind", "state", ">changed", "started"]);
    for it in list.operations {
        table.row(&[
            it.id.unwrap_or_default(),
            it.operation,
            it.queue.unwrap_or_default(),
            it.kind.unwrap_or_default(),
            state(it.state).to_owned(),
            grouped(it.changed),
            it.started_at.map(moment).unwrap_or_default(),
        ]);
    }
    if table.is_empty() {
        note("no operations");
        return Ok(());
    }
    Ok(table.print()?)
}

fn state(state: OperationStateText) -> &'static str {
    match state {
        OperationStateText::DryRun => "only counted",
        OperationStateText::Running => "running",
        OperationStateText::Finished => "finished",
        OperationStateText::Cancelled => "cancelled",
    }
}

/// Which jobs a filter means, in words.
fn meant(filter: &JobFilterBody) -> String {
    let words = [
        ("state", filter.state.map(|state| state.as_str().to_owned())),
        ("tag", filter.tag.clone()),
        ("ordering key", filter.ordering_key.clone()),
        ("tenant", filter.tenant.clone()),
        ("error", filter.error.clone()),
        ("text", filter.text.clone()),
        ("since", filter.since.map(moment)),
    ];
    let said = words.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    let said: Vec<_> = said.collect();
    if said.is_empty() { "all".to_owned() } else { said.join(", ") }
}

/// What it changes.
fn what(operation: &OperationRecord) -> &'static str {
    if operation.operation == "move_messages" { "message" } else { "job" }
}

fn show(body: &[u8], format: Format) -> anyhow::Result<()> {
    let Some(it) = told::<OperationRecord>(body, format)? else { return Ok(()) };
    Ok(output::line(&facts(&[
        ("id", it.id),
        ("operation", Some(it.operation)),
        ("queue", it.queue),
        ("kind", it.kind),
        ("before", it.before.map(moment)),
        ("state", Some(format!("{}, {:.0} %", state(it.state), it.progress * 100.0))),
        (
            "examined",
            Some(format!("{} of at most {}", grouped(it.examined), grouped(it.candidates))),
        ),
        ("changed", Some(grouped(it.changed))),
        ("which", it.filter.as_ref().map(meant)),
        ("to queue", it.to_queue),
        ("to exchange", it.to_exchange),
        ("priority", it.priority.map(|priority| priority.to_string())),
        ("stayed", it.kept.map(grouped)),
        ("because", it.kept_why),
        ("started", it.started_at.map(moment)),
        ("ended", it.ended_at.map(moment)),
    ]))?)
}

/// Follows the operation that `body` describes to its end, and tells what it did.
pub(crate) async fn follow(
    client: &Client,
    body: &[u8],
    format: Format,
) -> anyhow::Result<ExitCode> {
    let body = finish(client, body, format == Format::Table).await?;
    match format {
        Format::Json => output::json_text(&body)?,
        Format::Table => {
            let it: OperationRecord = read(&body)?;
            output::line(&format!("{}: {}", state(it.state), count(it.changed, what(&it))))?;
            if let (Some(kept), Some(why)) = (it.kept, &it.kept_why) {
                note(&format!("{} stayed: {why}", count(kept, what(&it))));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until an operation has ended. Whoever stops watching stops nothing.
pub(crate) async fn finish(client: &Client, body: &[u8], tell: bool) -> Result<Vec<u8>, Failure> {
    let mut body = body.to_vec();
    let mut pause = Duration::from_millis(10);
    loop {
        let it: OperationRecord = read(&body)?;
        let Some(id) = it.id.clone().filter(|_| it.state == OperationStateText::Running) else {
            return Ok(body);
        };
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
        if tell && pause >= Duration::from_secs(1) {
            let done = it.progress * 100.0;
            let changed = count(it.changed, what(&it));
            note(&format!("operation {id}: {done:.0} %, {changed}"));
        }
        body = client.get(&path(client, &id)).await?;
    }
}
