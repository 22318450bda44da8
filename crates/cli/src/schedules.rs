//! `longshore schedules`: what enqueues jobs at times.

mod crontab;
mod entries;
mod import;
#[cfg(test)]
mod published;
mod yaml;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use longshore_server::api::{
    DurationText, InstantText, MissedText, NewJob, NextRequest, RawJson, ScheduleBody,
    ScheduleList, ScheduleRecord, SlotList,
};
use serde::Deserialize;

use crate::cli::Context;
use crate::client::{Client, read, segment};
use crate::failure::Failure;
use crate::name;
use crate::output::{self, Format, Table, facts, grouped};

#[derive(Debug, Subcommand)]
pub(crate) enum SchedulesCommand {
    /// List schedules with when each comes next
    List,
    /// Show everything about a schedule
    Show(ScheduleArgs),
    /// Create a schedule, or replace its settings; what is not named is reset
    Put(Box<PutArgs>),
    /// Remove a schedule; its jobs stay
    Delete(ScheduleArgs),
    /// Let no slot come until it is resumed
    Pause(ScheduleArgs),
    /// Let slots come again, from now on
    Resume(ScheduleArgs),
    /// Enqueue its job now
    Run(ScheduleArgs),
    /// List the slots that come, or say when the next one is to
    Next(NextArgs),
    /// Create the schedules of a file: of resque-scheduler, of sidekiq-cron, or a crontab
    Import(import::ImportArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ScheduleArgs {
    /// The schedule
    #[arg(value_parser = name::schedule)]
    schedule: String,
}

#[derive(Args, Debug)]
#[command(after_help = "For example:\n  longshore schedules put nightly --cron '30 2 * * *' \
    --time-zone Europe/Berlin \\\n    --queue reports --kind nightly_report --overlap skip")]
pub(crate) struct PutArgs {
    /// The schedule
    #[arg(value_parser = name::schedule)]
    schedule: String,
    /// At these wall times: five fields, six with seconds first, or @daily and the like
    #[arg(long, conflicts_with = "every")]
    cron: Option<String>,
    /// Again and again, so long after the slot before
    #[arg(long, value_name = "DURATION")]
    every: Option<DurationText>,
    /// Of --cron, by its IANA name [default: UTC]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// The queue of its jobs
    #[arg(long, short, default_value = "default", value_parser = name::queue)]
    queue: String,
    /// The kind of its jobs
    #[arg(long, short, required_unless_present = "settings")]
    kind: Option<String>,
    /// Their arguments: JSON
    #[arg(long, short)]
    args: Option<String>,
    /// Put each slot off by up to so much
    #[arg(long, value_name = "DURATION")]
    jitter: Option<DurationText>,
    /// No slot before this instant
    #[arg(long, value_name = "INSTANT")]
    starts_at: Option<InstantText>,
    /// No slot after this instant
    #[arg(long, value_name = "INSTANT")]
    ends_at: Option<InstantText>,
    /// What becomes of slots that passed: skip, one, all, or 'within 1h' [default: one]
    #[arg(long, value_name = "POLICY")]
    missed: Option<MissedText>,
    /// What a slot does while earlier jobs go on: allow, skip, `queue_one`, `cancel_previous`
    /// [default: allow]
    #[arg(long, value_name = "POLICY")]
    overlap: Option<String>,
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// Paused from the beginning
    #[arg(long)]
    paused: bool,
    /// All of it as JSON, as the HTTP API takes it
    #[arg(long, value_name = "JSON", conflicts_with_all = ["cron", "every", "kind", "args"])]
    settings: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct NextArgs {
    /// The schedule
    #[arg(value_parser = name::schedule)]
    schedule: String,
    /// How many to list
    #[arg(long, short, default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Let the next slot come so long after now
    #[arg(long = "in", value_name = "DURATION", conflicts_with = "at")]
    after: Option<DurationText>,
    /// Let the next slot come at this instant
    #[arg(long, value_name = "INSTANT")]
    at: Option<InstantText>,
}

pub(crate) async fn execute(
    command: SchedulesCommand,
    context: &Context,
) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let format = context.format;
    match command {
        SchedulesCommand::List => list(&client, format).await,
        SchedulesCommand::Show(args) => {
            show(&client.get(&path(&client, &args.schedule, "")).await?, format)
        }
        SchedulesCommand::Put(args) => put(&client, *args, format).await,
        SchedulesCommand::Delete(args) => {
            client.delete(&path(&client, &args.schedule, "")).await?;
            if format == Format::Table {
                output::line(&format!("{} is deleted", args.schedule))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        SchedulesCommand::Pause(args) => {
            let body = client.post_nothing(&path(&client, &args.schedule, "/pause")).await?;
            told(&body, format, |of| format!("{} is paused", of.name))
        }
        SchedulesCommand::Resume(args) => {
            let body = client.post_nothing(&path(&client, &args.schedule, "/resume")).await?;
            told(&body, format, |of| format!("{} goes on; next {}", of.name, next_of(of)))
        }
        SchedulesCommand::Run(args) => {
            let body = client.post_nothing(&path(&client, &args.schedule, "/run")).await?;
            told(&body, format, |of| of.job.map(|id| id.to_string()).unwrap_or_default())
        }
        SchedulesCommand::Next(args) => next(&client, &args, format).await,
        SchedulesCommand::Import(args) => import::execute(&client, &args, format).await,
    }
}

fn path(client: &Client, schedule: &str, rest: &str) -> String {
    client.path(&format!("/schedules/{}{rest}", segment(schedule)))
}

fn told(
    body: &[u8],
    format: Format,
    text: impl Fn(&ScheduleRecord<'_>) -> String,
) -> anyhow::Result<ExitCode> {
    match format {
        Format::Json => output::json_text(body)?,
        Format::Table => output::line(&text(&read(body)?))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// When it comes.
fn when(of: &ScheduleBody<'_>) -> String {
    match (&of.cron, of.every) {
        (Some(cron), _) => cron.clone(),
        (None, Some(every)) => format!("every {every}"),
        (None, None) => String::new(),
    }
}

fn next_of(of: &ScheduleRecord<'_>) -> String {
    match &of.next {
        Some(next) => next.local.clone().unwrap_or_else(|| next.at.to_string()),
        None if of.paused => "paused".to_owned(),
        None => "no more".to_owned(),
    }
}

async fn list(client: &Client, format: Format) -> anyhow::Result<ExitCode> {
    let headings =
        &["schedule", "when", "time zone", "kind", "queue", "next", "last", ">jobs", ">missed"];
    let rows = |body: &[u8], table: &mut Table| {
        let page: ScheduleList<'_> = read(body)?;
        page.schedules.iter().for_each(|of| table.row(&row(of)));
        Ok(page.next)
    };
    let none = "no schedules: `longshore schedules put` creates one";
    client.print_list(format, ("/schedules", &[]), (Table::new(headings), none), rows).await?;
    Ok(ExitCode::SUCCESS)
}

fn row(of: &ScheduleRecord<'_>) -> Vec<String> {
    let last = of.last.as_ref().map(|last| last.outcome.clone());
    vec![
        of.name.clone(),
        when(&of.settings),
        of.settings.time_zone.clone().unwrap_or_default(),
        of.settings.job.kind.clone(),
        of.settings.job.queue.clone().unwrap_or_default(),
        next_of(of),
        last.unwrap_or_default(),
        grouped(of.enqueued_total),
        grouped(of.missed_total),
    ]
}

fn show(body: &[u8], format: Format) -> anyhow::Result<ExitCode> {
    if format == Format::Json {
        output::json_text(body)?;
        return Ok(ExitCode::SUCCESS);
    }
    let of: ScheduleRecord<'_> = read(body)?;
    let last = of.last.as_ref().map(|last| {
        let job = last.job.map(|id| format!(", job {id}")).unwrap_or_default();
        let why = last.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
        let hand = if last.by_hand { ", by hand" } else { "" };
        format!("{} {}{why}{job}{hand}", last.slot, last.outcome)
    });
    let settings = serde_json::to_string(&of.settings)?;
    output::line(&facts(&[
        ("schedule", Some(of.name.clone())),
        ("description", of.settings.description.clone()),
        ("when", Some(when(&of.settings))),
        ("time zone", of.settings.time_zone.clone()),
        ("next", Some(next_of(&of))),
        ("last", last),
        ("enqueued", Some(grouped(of.enqueued_total))),
        ("missed", Some(grouped(of.missed_total))),
        ("skipped", Some(format!("{} (earlier jobs went on)", grouped(of.skipped_total)))),
        ("refused", Some(grouped(of.refused_total))),
        ("created", Some(of.created_at.to_string())),
        ("changed", Some(of.changed_at.to_string())),
        ("settings", Some(settings)),
    ]))?;
    Ok(ExitCode::SUCCESS)
}

async fn put(client: &Client, args: PutArgs, format: Format) -> anyhow::Result<ExitCode> {
    let schedule = args.schedule.clone();
    let text = args.settings.clone().unwrap_or_default();
    let body: ScheduleBody<'_> = match &args.settings {
        Some(_) => serde_json::from_str(&text)
            .map_err(|error| Failure::usage(format!("settings: {error}")))?,
        None => body_of(args)?,
    };
    let answer = client.put(&path(client, &schedule, ""), &body).await?;
    told(&answer, format, |of| format!("{}: next {}", of.name, next_of(of)))
}

fn body_of(args: PutArgs) -> Result<ScheduleBody<'static>, Failure> {
    let mut job = NewJob::of(args.kind.unwrap_or_default());
    job.queue = Some(args.queue);
    if let Some(text) = args.args {
        let json = RawJson::from_text(text);
        job.args = Some(json.map_err(|error| Failure::usage(format!("args: {error}")))?);
    }
    let overlap = |word: String| {
        Deserialize::deserialize(serde_json::Value::String(word))
            .map_err(|error| Failure::usage(format!("overlap: {error}")))
    };
    Ok(ScheduleBody {
        cron: args.cron,
        every: args.every,
        time_zone: args.time_zone,
        job,
        jitter: args.jitter,
        starts_at: args.starts_at,
        ends_at: args.ends_at,
        missed: args.missed,
        overlap: args.overlap.map(overlap).transpose()?,
        description: args.description,
        source: None,
        paused: args.paused.then_some(true),
    })
}

async fn next(client: &Client, args: &NextArgs, format: Format) -> anyhow::Result<ExitCode> {
    let path = path(client, &args.schedule, "/next");
    if args.after.is_some() || args.at.is_some() {
        let request = NextRequest { after: args.after, at: args.at };
        let body = client.post(&path, &request).await?;
        return told(&body, format, |of| format!("{}: next {}", of.name, next_of(of)));
    }
    let body = client.get(&format!("{path}?limit={}", args.limit)).await?;
    match format {
        Format::Json => output::json_text(&body)?,
        Format::Table => {
            let list: SlotList = read(&body)?;
            let mut table = Table::new(&["slot", "due"]);
            for slot in &list.slots {
                let local = slot.local.clone().unwrap_or_default();
                table.row(&[local, slot.due.to_string()]);
            }
            table.print()?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
