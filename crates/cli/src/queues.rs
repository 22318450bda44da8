//! `longshore queues`: what waits where, and what touches all of it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::{
    DurationText, MessageQueueRecord, OperationRecord, PurgeRequest, QueueList, QueueRecord,
    QueueSettingsBody, RetryDeadRequest,
};
use serde::Serialize;

use crate::cli::Context;
use crate::client::{Client, read, segment};
use crate::failure::Failure;
use crate::moving::{self, RedriveArgs};
use crate::name;
use crate::operations;
use crate::output::{self, Format, Table, count, facts, grouped};

#[derive(Debug, Subcommand)]
pub(crate) enum QueuesCommand {
    /// List queues with what waits in them
    List(ListArgs),
    /// Show everything about a queue
    Show(QueueArgs),
    /// Create a queue, or change its settings; what is not named is reset
    Set(SetArgs),
    /// Hand out nothing until resumed
    Pause(QueueArgs),
    /// Hand out jobs again
    Resume(QueueArgs),
    /// Remove the jobs that wait, or the dead ones
    Purge(PurgeArgs),
    /// Try dead jobs again
    RetryDead(RetryDeadArgs),
    /// Move messages back to the queues where they ended, or elsewhere
    Redrive(RedriveArgs),
    /// Remove an empty queue
    Delete(DeleteArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only queues with jobs that nobody asks for
    #[arg(long)]
    unconsumed: bool,
}

#[derive(Args, Debug)]
pub(crate) struct QueueArgs {
    /// The queue
    #[arg(value_parser = name::queue)]
    queue: String,
}

#[derive(Args, Debug)]
pub(crate) struct SetArgs {
    /// The queue
    #[arg(value_parser = name::queue)]
    queue: String,
    #[arg(help = r#"As JSON, such as '{"max_length":1000,"defaults":{"timeout":"5m"}}'"#)]
    settings: String,
}

/// Which jobs of a queue.
#[derive(Args, Debug)]
pub(crate) struct Filter {
    /// Only of this kind
    #[arg(long, short)]
    kind: Option<String>,
    /// Only those enqueued (dead ones: died) longer ago
    #[arg(long, value_name = "DURATION")]
    older_than: Option<DurationText>,
    /// Only so many dead ones, those that died first
    #[arg(
        long,
        alias = "first",
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    limit: Option<u64>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    /// Only count
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

#[derive(Args, Debug)]
pub(crate) struct PurgeArgs {
    /// The queue
    #[arg(value_parser = name::queue_or_all)]
    queue: String,
    /// The dead jobs instead of those that wait
    #[arg(long)]
    dead: bool,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Args, Debug)]
pub(crate) struct RetryDeadArgs {
    /// The queue
    #[arg(value_parser = name::queue_or_all)]
    queue: String,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Args, Debug)]
pub(crate) struct DeleteArgs {
    /// The queue
    #[arg(value_parser = name::queue)]
    queue: String,
    /// With all its jobs
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

pub(crate) async fn execute(command: QueuesCommand, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let format = context.format;
    match command {
        QueuesCommand::List(args) => list(&client, &args, format).await,
        QueuesCommand::Show(args) => {
            show(&client.get(&path(&client, &args.queue, "")).await?, format)
        }
        QueuesCommand::Set(args) => {
            let settings: QueueSettingsBody = serde_json::from_str(&args.settings)
                .map_err(|error| Failure::usage(format!("settings: {error}")))?;
            show(&client.put(&path(&client, &args.queue, ""), &settings).await?, format)
        }
        QueuesCommand::Pause(args) => pause(&client, &args.queue, true, format).await,
        QueuesCommand::Resume(args) => pause(&client, &args.queue, false, format).await,
        QueuesCommand::Purge(args) => {
            let Filter { kind, older_than, limit, .. } = &args.filter;
            let (dead, kind) = (args.dead, kind.clone());
            let (older_than, limit) = (*older_than, *limit);
            let request = PurgeRequest { dead, kind, older_than, before: None, limit };
            let path = path(&client, &args.queue, "/purge");
            touch_many(&client, &path, &request, "remove", &args.filter, format).await
        }
        QueuesCommand::RetryDead(args) => {
            let Filter { kind, older_than, limit, .. } = &args.filter;
            let (kind, older_than, limit) = (kind.clone(), *older_than, *limit);
            let request = RetryDeadRequest { kind, older_than, before: None, limit };
            let path = path(&client, &args.queue, "/retry-dead");
            touch_many(&client, &path, &request, "try again", &args.filter, format).await
        }
        QueuesCommand::Redrive(args) => moving::redrive(&client, args, format).await,
        QueuesCommand::Delete(args) => delete(&client, &args, format).await,
    }
}

pub(crate) fn path(client: &Client, queue: &str, rest: &str) -> String {
    client.path(&format!("/queues/{}{rest}", segment(queue)))
}

async fn list(client: &Client, args: &ListArgs, format: Format) -> anyhow::Result<ExitCode> {
    let table = Table::new(&[
        "queue",
        "type",
        ">ready",
        ">scheduled",
        ">retrying",
        ">blocked",
        ">held",
        ">running",
        ">dead",
        ">oldest",
        ">in/s",
        ">out/s",
        ">workers",
        "",
    ]);
    let rows = |body: &[u8], table: &mut Table| {
        let page: QueueList = read(body)?;
        page.queues.iter().for_each(|queue| table.row(&row(queue)));
        Ok(page.next)
    };
    let none = if args.unconsumed {
        "every queue with jobs is consumed"
    } else {
        "no queues: a queue comes into being with its first job"
    };
    let of = ("/queues", &[("unconsumed", args.unconsumed.then_some("true"))][..]);
    client.print_list(format, of, (table, none), rows).await?;
    Ok(ExitCode::SUCCESS)
}

fn row(queue: &QueueRecord) -> Vec<String> {
    if let Some(messages) = &queue.messages {
        return message_row(&queue.name, messages);
    }
    let backlog = queue.ready + queue.scheduled + queue.retrying + queue.blocked;
    let state = match (queue.settings.paused, queue.consumers, backlog) {
        (true, ..) => "paused",
        (false, 0, 1..) => "nobody works on it",
        _ => "",
    };
    vec![
        queue.name.clone(),
        "jobs".to_owned(),
        grouped(queue.ready),
        grouped(queue.scheduled),
        grouped(queue.retrying),
        grouped(queue.blocked),
        grouped(queue.held),
        grouped(queue.running),
        grouped(queue.dead),
        queue.oldest_age.map(short).unwrap_or_default(),
        per_second(queue.enqueued_per_second),
        per_second(queue.succeeded_per_second),
        grouped(queue.consumers),
        state.to_owned(),
    ]
}

/// A queue of messages: what its consumers have stands where jobs that run do.
fn message_row(name: &str, messages: &MessageQueueRecord) -> Vec<String> {
    let nothing = String::new;
    let state =
        if messages.ready > 0 && messages.consumers == 0 { "nobody consumes it" } else { "" };
    vec![
        name.to_owned(),
        "messages".to_owned(),
        grouped(messages.ready),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        grouped(messages.unsettled),
        nothing(),
        nothing(),
        nothing(),
        nothing(),
        grouped(messages.consumers),
        state.to_owned(),
    ]
}

/// A queue of messages, in facts.
fn show_messages(queue: &QueueRecord, messages: &MessageQueueRecord) -> anyhow::Result<()> {
    let settings = serde_json::to_string(&queue.settings.messages)?;
    output::line(&facts(&[
        ("queue", Some(queue.name.clone())),
        ("type", Some("messages".to_owned())),
        ("exclusive", messages.exclusive.then(|| "yes, to one connection".to_owned())),
        ("ready", Some(grouped(messages.ready))),
        ("unsettled", Some(format!("{} (consumers have them)", grouped(messages.unsettled)))),
        ("bytes", Some(output::bytes(messages.bytes))),
        ("consumers", Some(grouped(messages.consumers))),
        ("published", Some(grouped(messages.published_total))),
        ("acked", Some(grouped(messages.acked_total))),
        ("dropped", Some(grouped(messages.dropped_total))),
        ("settings", Some(settings)),
    ]))?;
    Ok(())
}

/// A rate; nothing where the server does not know one yet.
fn per_second(rate: Option<f64>) -> String {
    rate.map_or_else(String::new, |rate| format!("{rate:.1}"))
}

/// A duration to about two digits.
fn short(duration: DurationText) -> String {
    match duration.0 / 1000 {
        0 => duration.to_string(),
        seconds @ 1..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

fn show(body: &[u8], format: Format) -> anyhow::Result<ExitCode> {
    if format == Format::Json {
        output::json_text(body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let queue: QueueRecord = read(body)?;
    if let Some(messages) = &queue.messages {
        show_messages(&queue, messages)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rate =
        |rate: Option<f64>| rate.map_or(String::new(), |rate| format!(", {rate:.1}/s lately"));
    let settings = serde_json::to_string(&queue.settings)?;
    output::line(&facts(&[
        ("queue", Some(queue.name)),
        ("paused", queue.settings.paused.then(|| "yes".to_owned())),
        ("ready", Some(grouped(queue.ready))),
        ("scheduled", Some(grouped(queue.scheduled))),
        ("retrying", Some(grouped(queue.retrying))),
        (
            "blocked",
            Some(format!(
                "{} (behind one of their key, paused, or with a held tag)",
                grouped(queue.blocked)
            )),
        ),
        ("held", Some(format!("{} (a worker has not started them)", grouped(queue.held)))),
        ("running", Some(grouped(queue.running))),
        ("dead", Some(grouped(queue.dead))),
        ("oldest", queue.oldest_age.map(|age| format!("ready for {}", short(age)))),
        ("workers", Some(grouped(queue.consumers))),
        (
            "enqueued",
            Some(format!("{}{}", grouped(queue.enqueued_total), rate(queue.enqueued_per_second))),
        ),
        (
            "succeeded",
            Some(format!("{}{}", grouped(queue.succeeded_total), rate(queue.succeeded_per_second))),
        ),
        ("failed", Some(count(queue.failed_total, "attempt"))),
        ("died", Some(grouped(queue.dead_total))),
        ("cancelled", Some(grouped(queue.cancelled_total))),
        ("settings", Some(settings)),
    ]))?;
    Ok(ExitCode::SUCCESS)
}

async fn pause(
    client: &Client,
    queue: &str,
    paused: bool,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let verb = if paused { "/pause" } else { "/resume" };
    let body = client.post_nothing(&path(client, queue, verb)).await?;
    let record: QueueRecord = read(&body)?;
    if format == Format::Json {
        output::json_text(&body)?;
    } else if paused {
        let running = count(record.held + record.running, "job");
        output::line(&format!("{queue} is paused; {running} running may end"))?;
    } else {
        output::line(&format!("{queue} hands out jobs again"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts an operation after showing how many jobs it touches, and follows it to its end.
async fn touch_many<B: Serialize>(
    client: &Client,
    path: &str,
    request: &B,
    verb: &str,
    filter: &Filter,
    format: Format,
) -> anyhow::Result<ExitCode> {
    if filter.dry_run || !filter.yes {
        let body = client.post(&format!("{path}?dry_run=true"), request).await?;
        let would: OperationRecord = read(&body)?;
        let question = format!("{verb} {}?", count(would.changed, "job"));
        match (filter.dry_run, format) {
            (true, Format::Json) => output::json_text(&body)?,
            (true, Format::Table) => output::line(&count(would.changed, "job"))?,
            (false, _) => confirm(&question)?,
        }
        if filter.dry_run {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let body = client.post(path, request).await?;
    operations::follow(client, &body, format).await
}

async fn delete(client: &Client, args: &DeleteArgs, format: Format) -> anyhow::Result<ExitCode> {
    let path = path(client, &args.queue, "");
    if !args.force {
        client.delete(&path).await.map_err(|failure| {
            if failure.message.contains("queue_not_empty") {
                failure.hint("--force removes it with all its jobs")
            } else {
                failure
            }
        })?;
        if format == Format::Table {
            output::line(&format!("{} is deleted", args.queue))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !args.yes {
        let queue: QueueRecord = read(&client.get(&path).await?)?;
        let waiting = queue.ready + queue.scheduled + queue.retrying + queue.blocked;
        confirm(&format!(
            "delete {} with {} waiting, {} running and {} dead jobs?",
            queue.name,
            waiting,
            queue.held + queue.running,
            queue.dead
        ))?;
    }
    let body = client.delete(&format!("{path}?force=true")).await?;
    if body.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    operations::follow(client, &body, format).await
}

/// Asks on the terminal; elsewhere nobody can answer.
pub(crate) fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage(format!("{question} nobody is here to answer"))
            .hint("--yes says so beforehand; --dry-run only counts"));
    }
    let mut stderr = io::stderr().lock();
    let _ = write!(stderr, "{question} [y/N] ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure::new(crate::failure::Kind::Other, "not done"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (ms, text) in [
            (250, "250ms"),
            (1500, "1s"),
            (119_000, "119s"),
            (3_600_000, "60m"),
            (86_400_000, "24h"),
            (864_000_000, "10d"),
        ] {
            assert_eq!(short(DurationText(ms)), text);
        }
    }
}
