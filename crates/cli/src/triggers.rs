//! `longshore triggers`: events of streams that become jobs or messages by themselves.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::{TriggerBody, TriggerList, TriggerRecord};

use crate::cli::Context;
use crate::client::{read, segment};
use crate::name;
use crate::output::{self, Format, Table, note};

#[derive(Debug, Subcommand)]
pub(crate) enum TriggersCommand {
    /// List triggers; `longshore groups list` tells how far each has come
    List,
    /// Show one trigger
    Show(TriggerArgs),
    /// Have each event of a stream become a job or a message, once
    Put(PutArgs),
    /// Delete a trigger; what it made stays
    Delete(TriggerArgs),
}

#[derive(Args, Debug)]
pub(crate) struct TriggerArgs {
    /// The trigger
    name: String,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  \
    longshore triggers put receipts --stream orders --queue mail --kind SendReceipt\n  \
    longshore triggers put inbox --stream orders --queue orders.inbox")]
pub(crate) struct PutArgs {
    /// The trigger
    name: String,
    /// The stream
    #[arg(long, value_parser = name::stream)]
    stream: String,
    /// The queue of the jobs or messages
    #[arg(long)]
    queue: String,
    /// The kind of the jobs; without one the queue has messages
    #[arg(long)]
    kind: Option<String>,
    /// Let jobs of events with the same key run at the same time
    #[arg(long)]
    unordered: bool,
    /// Their priority, 0 to 9 [default: that of the queue]
    #[arg(long, value_name = "N")]
    priority: Option<u8>,
    /// Where a new trigger begins: latest, or earliest
    #[arg(long, default_value = "latest", value_name = "PLACE")]
    from: String,
}

pub(crate) async fn triggers(
    command: TriggersCommand,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let (client, format) = (context.client()?, context.format);
    let path = |name: &str| client.path(&format!("/triggers/{}", segment(name)));
    match command {
        TriggersCommand::List => {
            let body = client.get(&client.path("/triggers")).await?;
            if format == Format::Json {
                output::json_text(&body)?;
            } else {
                print(&read::<TriggerList>(&body)?.triggers)?;
            }
        }
        TriggersCommand::Show(args) => show(&client.get(&path(&args.name)).await?, format)?,
        TriggersCommand::Put(args) => {
            let body = TriggerBody {
                stream: args.stream,
                queue: args.queue,
                kind: args.kind,
                ordered: Some(!args.unordered),
                priority: args.priority,
                from: Some(args.from),
            };
            show(&client.put(&path(&args.name), &body).await?, format)?;
        }
        TriggersCommand::Delete(args) => {
            client.delete(&path(&args.name)).await?;
            note(&format!("{} is deleted", args.name));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(body: &[u8], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        return Ok(output::json_text(body)?);
    }
    print(&[read::<TriggerRecord>(body)?])
}

fn print(triggers: &[TriggerRecord]) -> anyhow::Result<()> {
    let mut table = Table::new(&["trigger", "stream", "queue", "kind", "ordered", "group"]);
    for trigger in triggers {
        table.row(&[
            trigger.name.clone(),
            trigger.stream.clone(),
            trigger.queue.clone(),
            trigger.kind.clone().unwrap_or_else(|| "(messages)".to_owned()),
            match (&trigger.kind, trigger.ordered) {
                (None, _) => "yes",
                (_, true) => "by key",
                (_, false) => "no",
            }
            .to_owned(),
            trigger.group.clone(),
        ]);
    }
    Ok(table.print()?)
}
