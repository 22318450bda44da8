//! `longshore gates`: switches behind which nothing starts while they are closed.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::{
    CloseGateRequest, DurationText, GateBody, GateList, GateRecord, InstantText,
};

use crate::cli::Context;
use crate::client::{read, segment};
use crate::jobs::moment;
use crate::output::{self, Format, Table, grouped, note};

#[derive(Debug, Subcommand)]
pub(crate) enum GatesCommand {
    /// List gates
    List,
    /// Show one gate
    Show(GateArgs),
    /// Create a gate, or say anew what depends on it
    Put(PutArgs),
    /// Close a gate: nothing starts behind it, and what runs is interrupted where it can go on
    Close(CloseArgs),
    /// Open a gate
    Open(GateArgs),
    /// Delete a gate: it holds nothing back any more
    Delete(GateArgs),
}

#[derive(Args, Debug)]
pub(crate) struct GateArgs {
    /// The gate
    name: String,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  longshore gates put billing --kind Charge --kind Refund\n  \
    longshore gates put shard-3 --queue import --closed --reason \"moves to db7\"")]
pub(crate) struct PutArgs {
    /// The gate
    name: String,
    /// A queue whose jobs depend on it; may be repeated
    #[arg(long = "queue", value_name = "QUEUE")]
    queues: Vec<String>,
    /// A kind whose jobs depend on it; may be repeated
    #[arg(long = "kind", value_name = "KIND")]
    kinds: Vec<String>,
    /// Close it
    #[arg(long)]
    closed: bool,
    #[command(flatten)]
    until: Until,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    longshore gates close billing --reason \"the bank is down\" --for 30m")]
pub(crate) struct CloseArgs {
    /// The gate; it is created where it is not there
    name: String,
    #[command(flatten)]
    until: Until,
}

/// Why and for how long it is closed.
#[derive(Args, Debug)]
struct Until {
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// It opens by itself after this
    #[arg(long = "for", value_name = "DURATION")]
    expires_in: Option<DurationText>,
    /// It opens by itself then
    #[arg(long = "until", value_name = "TIME", conflicts_with = "expires_in")]
    expires_at: Option<InstantText>,
}

fn print(gates: &[GateRecord]) -> anyhow::Result<()> {
    if gates.is_empty() {
        note("no gates: `longshore gates put` creates one");
        return Ok(());
    }
    let columns = ["gate", "state", "since", "until", "reason", "queues", "kinds", ">running"];
    let mut table = Table::new(&columns);
    for gate in gates {
        table.row(&[
            gate.name.clone(),
            if gate.closed { "closed" } else { "open" }.to_owned(),
            moment(gate.since),
            gate.expires_at.map(moment).unwrap_or_default(),
            gate.reason.clone().unwrap_or_default(),
            gate.queues.join(", "),
            gate.kinds.join(", "),
            grouped(gate.running),
        ]);
    }
    Ok(table.print()?)
}

pub(crate) async fn execute(command: GatesCommand, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let path = |name: &str| client.path(&format!("/gates/{}", segment(name)));
    let one = match command {
        GatesCommand::List => {
            let body = client.get(&client.path("/gates")).await?;
            match context.format {
                Format::Json => output::json_text(&body)?,
                Format::Table => print(&read::<GateList>(&body)?.gates)?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        GatesCommand::Delete(args) => {
            client.delete(&path(&args.name)).await?;
            if context.format == Format::Table {
                output::line(&format!("{} is deleted", args.name))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        GatesCommand::Show(args) => client.get(&path(&args.name)).await?,
        GatesCommand::Put(args) => {
            let PutArgs { name, queues, kinds, closed, until } = args;
            let Until { reason, expires_in, expires_at } = until;
            let said = reason.is_some() || expires_in.is_some() || expires_at.is_some();
            let closed = (closed || said).then_some(true);
            let body = GateBody { closed, reason, expires_in, expires_at, queues, kinds };
            client.put(&path(&name), &body).await?
        }
        GatesCommand::Close(CloseArgs { name, until }) => {
            let Until { reason, expires_in, expires_at } = until;
            let body = CloseGateRequest { reason, expires_in, expires_at };
            client.post(&format!("{}/close", path(&name)), &body).await?
        }
        GatesCommand::Open(args) => {
            client.post_nothing(&format!("{}/open", path(&args.name))).await?
        }
    };
    match context.format {
        Format::Json => output::json_text(&one)?,
        Format::Table => print(&[read(&one)?])?,
    }
    Ok(ExitCode::SUCCESS)
}
