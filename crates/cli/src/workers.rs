//! `longshore workers`: who works, what runs where, and asking workers to stop.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::{WorkerList, WorkerQueue, WorkerRecord};

use crate::cli::Context;
use crate::client::{Client, segment, told};
use crate::jobs::moment;
use crate::output::{self, Format, Table, bytes, facts, grouped, note};

#[derive(Debug, Subcommand)]
pub(crate) enum WorkersCommand {
    /// List the workers that are connected over gRPC
    List,
    /// Show a worker and what it runs
    Show(WorkerArgs),
    /// Ask a worker to take nothing more; what runs goes on to its end
    Quiet(WorkerArgs),
    /// Ask a worker to interrupt what it runs, and to leave
    Terminate(WorkerArgs),
}

#[derive(Args, Debug)]
pub(crate) struct WorkerArgs {
    /// The worker's name, or its session where several share the name
    worker: String,
}

pub(crate) async fn execute(
    command: WorkersCommand,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let path = |args: &WorkerArgs| client.path(&format!("/workers/{}", segment(&args.worker)));
    match command {
        WorkersCommand::List => list(&client, context.format).await?,
        WorkersCommand::Show(args) => show(&client.get(&path(&args)).await?, context.format)?,
        WorkersCommand::Quiet(args) => ask(&client, &(path(&args) + "/quiet"), context).await?,
        WorkersCommand::Terminate(args) => {
            ask(&client, &(path(&args) + "/terminate"), context).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(client: &Client, path: &str, context: &Context) -> anyhow::Result<()> {
    let body = client.post_nothing(path).await?;
    let Some(worker) = told::<WorkerRecord>(&body, context.format)? else { return Ok(()) };
    Ok(output::line(&format!("{} is {}", worker.name, worker.state.as_str()))?)
}

async fn list(client: &Client, format: Format) -> anyhow::Result<()> {
    let body = client.get(&client.path("/workers")).await?;
    let Some(list) = told::<WorkerList>(&body, format)? else { return Ok(()) };
    let mut table = Table::new(&[
        "worker", "state", "host", ">pid", "queues", ">running", ">waiting", ">slots", ">memory",
        "since",
    ]);
    for it in list.workers {
        table.row(&[
            it.name.clone(),
            state(&it).to_owned(),
            it.host,
            it.pid.to_string(),
            queues(&it.queues),
            grouped(it.running.len() as u64),
            grouped(it.waiting),
            grouped(u64::from(it.concurrency)),
            it.memory_bytes.map(bytes).unwrap_or_default(),
            moment(it.connected_at),
        ]);
    }
    if table.is_empty() {
        note("no workers; those that lease over HTTP are not listed");
        return Ok(());
    }
    Ok(table.print()?)
}

fn state(worker: &WorkerRecord) -> &'static str {
    if worker.connected { worker.state.as_str() } else { "away" }
}

fn queues(queues: &[WorkerQueue]) -> String {
    let one = |it: &WorkerQueue| match it.weight {
        0 => it.queue.clone(),
        weight => format!("{}={weight}", it.queue),
    };
    queues.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn show(body: &[u8], format: Format) -> anyhow::Result<()> {
    let Some(it) = told::<WorkerRecord>(body, format)? else { return Ok(()) };
    let labels = it.labels.iter().map(|(name, value)| format!("{name}={value}"));
    let labels = labels.collect::<Vec<_>>().join(", ");
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    output::line(
        facts(&[
            ("worker", Some(it.name.clone())),
            ("session", Some(it.session.clone())),
            ("state", Some(state(&it).to_owned())),
            ("host", some(&it.host)),
            ("pid", Some(it.pid.to_string())),
            ("software", some(&it.software)),
            ("labels", some(&labels)),
            ("queues", Some(queues(&it.queues))),
            ("kinds", some(&it.kinds.join(", "))),
            ("slots", Some(grouped(u64::from(it.concurrency)))),
            ("waiting", Some(grouped(it.waiting))),
            ("memory", it.memory_bytes.map(bytes)),
            ("connected", Some(moment(it.connected_at))),
            ("last heard of", Some(moment(it.seen_at))),
        ])
        .trim_end(),
    )?;
    if it.running.is_empty() {
        return Ok(());
    }
    output::line("")?;
    let mut table = Table::new(&["job", "queue", "kind", ">attempt", "since", ">progress", ""]);
    for run in it.running {
        table.row(&[
            run.id.to_string(),
            run.queue,
            run.kind,
            run.attempt.to_string(),
            moment(run.started_at),
            run.progress.map(|share| format!("{:.0} %", share * 100.0)).unwrap_or_default(),
            run.progress_text,
        ]);
    }
    Ok(table.print()?)
}
