//! `longshore jobs`: what becomes of jobs, one by one.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use longshore_server::api::{
    AttemptRecord, BlockedByRecord, DurationText, InstantText, JobActionText, JobIdText, JobList,
    JobRecord, RescheduleRequest, StateText, StatusRecord,
};
use tokio::time::Instant;

use crate::cli::Context;
use crate::client::{Client, query, read, told};
use crate::failure::{Failure, Kind};
use crate::matching::{
    Change, Chosen, MoveArgs, PriorityArgs, change_matching, move_jobs, set_priority,
};
use crate::output::{self, Format, Table, count, facts, note, telling_line};
use crate::patient::Patient;
use crate::watch::watch;

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// List jobs, in the order in which they were enqueued
    List(ListArgs),
    /// Show everything about a job
    Show(ShowArgs),
    /// Wait until a job has ended, and show it: exit code 0 if it succeeded
    Wait(WaitArgs),
    /// Show how far a job is, live, until it has ended: exit code 0 if it succeeded
    Watch(ShowArgs),
    /// Hold jobs back; running ones are asked to interrupt themselves
    Pause(ManyArgs),
    /// Hold jobs back no longer
    Resume(ManyArgs),
    /// Call jobs off, waiting or running
    Cancel(CancelArgs),
    /// Remove dead jobs; of all that match also those that wait, where --state names them
    Remove(Chosen),
    /// Try dead or retrying jobs again now
    Retry(Chosen),
    /// Move all waiting jobs that match to another queue
    Move(MoveArgs),
    /// Give all waiting jobs that match another priority
    Priority(PriorityArgs),
    /// Let scheduled or retrying jobs start now
    RunNow(ManyArgs),
    /// Let a waiting job start at another time
    Reschedule(RescheduleArgs),
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only of this queue
    #[arg(long, short)]
    queue: Option<String>,
    /// Only in this state
    #[arg(long, short)]
    state: Option<State>,
    /// Only of this kind
    #[arg(long, short)]
    kind: Option<String>,
    /// Only with this tag
    #[arg(long, short)]
    tag: Option<String>,
    /// Only of this ordering key
    #[arg(long)]
    ordering_key: Option<String>,
    /// Only of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// Only those that a worker with a stream has and has not started; `false`: only others
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    held: Option<bool>,
    /// Only those whose last error is of this type
    #[arg(long, value_name = "TYPE")]
    error: Option<String>,
    /// Only those whose args contain this text
    #[arg(long)]
    text: Option<String>,
    /// Only those enqueued (what has ended: ended) longer ago
    #[arg(long, value_name = "DURATION")]
    older_than: Option<DurationText>,
    /// Only those enqueued (what has ended: ended) no longer ago
    #[arg(long, value_name = "DURATION")]
    newer_than: Option<DurationText>,
    /// How many at most
    #[arg(long, short, default_value_t = 50)]
    limit: usize,
    /// Go on where an earlier list stopped
    #[arg(long)]
    cursor: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ShowArgs {
    /// The job
    id: JobIdText,
}

#[derive(Args, Debug)]
pub(crate) struct WaitArgs {
    /// The job
    id: JobIdText,
    /// Wait at most so long, then exit with 5
    #[arg(long, value_name = "DURATION")]
    timeout: Option<DurationText>,
}

#[derive(Args, Debug)]
pub(crate) struct ManyArgs {
    /// The jobs
    #[arg(required = true, value_name = "ID")]
    ids: Vec<JobIdText>,
}

#[derive(Args, Debug)]
pub(crate) struct CancelArgs {
    #[command(flatten)]
    chosen: Chosen,
    /// End runs at once, where their worker is gone: what it settles afterwards is refused
    #[arg(long)]
    force: bool,
}

#[derive(Args, Debug)]
pub(crate) struct RescheduleArgs {
    /// The job
    id: JobIdText,
    /// At this instant
    #[arg(long, value_name = "INSTANT", required_unless_present = "after")]
    at: Option<InstantText>,
    /// After so long
    #[arg(long = "in", value_name = "DURATION", conflicts_with = "at")]
    after: Option<DurationText>,
}

/// The state of a job.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum State {
    Scheduled,
    Ready,
    Running,
    Retrying,
    Succeeded,
    Dead,
    Cancelled,
    Expired,
}

impl State {
    pub(crate) fn text(self) -> StateText {
        match self {
            Self::Scheduled => StateText::Scheduled,
            Self::Ready => StateText::Ready,
            Self::Running => StateText::Running,
            Self::Retrying => StateText::Retrying,
            Self::Succeeded => StateText::Succeeded,
            Self::Dead => StateText::Dead,
            Self::Cancelled => StateText::Cancelled,
            Self::Expired => StateText::Expired,
        }
    }
}

pub(crate) async fn execute(command: JobsCommand, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    match command {
        JobsCommand::List(args) => list(&client, args, context.format).await,
        JobsCommand::Show(args) => {
            let body = client.get(&client.path(&format!("/jobs/{}", args.id))).await?;
            show(&body, context.format)?;
            Ok(ExitCode::SUCCESS)
        }
        JobsCommand::Wait(args) => {
            wait_and_show(&client, args.id, args.timeout, context.format).await
        }
        JobsCommand::Watch(args) => watch(&client, args.id, context.format).await,
        JobsCommand::Pause(args) => pause(&client, &args.ids, true, context.format).await,
        JobsCommand::Resume(args) => pause(&client, &args.ids, false, context.format).await,
        JobsCommand::Cancel(CancelArgs { chosen, force }) => {
            if chosen.matching.all_matching {
                let change = Change { force, ..Change::of(JobActionText::Cancel) };
                return change_matching(&client, change, chosen.matching, context.format).await;
            }
            cancel(&client, &chosen.ids, force, context.format).await
        }
        JobsCommand::Remove(Chosen { matching, .. }) if matching.all_matching => {
            let change = Change::of(JobActionText::Remove);
            change_matching(&client, change, matching, context.format).await
        }
        JobsCommand::Remove(args) => remove(&client, &args.ids, context.format).await,
        JobsCommand::Move(args) => move_jobs(&client, args, context.format).await,
        JobsCommand::Priority(args) => set_priority(&client, args, context.format).await,
        JobsCommand::RunNow(args) => {
            let now = RescheduleRequest::default();
            reschedule(&client, &args.ids, &now, context.format).await
        }
        JobsCommand::Reschedule(args) => {
            let time = RescheduleRequest { run_at: args.at, delay: args.after };
            reschedule(&client, &[args.id], &time, context.format).await
        }
        JobsCommand::Retry(Chosen { matching, .. }) if matching.all_matching => {
            let change = Change::of(JobActionText::Retry);
            change_matching(&client, change, matching, context.format).await
        }
        JobsCommand::Retry(args) => retry(&client, &args.ids, context.format).await,
    }
}

async fn list(client: &Client, args: ListArgs, format: Format) -> anyhow::Result<ExitCode> {
    let mut table = Table::new(&["id", "queue", "kind", "state", ">attempt", "run at", "error"]);
    let mut cursor = args.cursor;
    let mut left = args.limit;
    let (older_than, newer_than) =
        (args.older_than.map(|age| age.to_string()), args.newer_than.map(|age| age.to_string()));
    while left > 0 {
        let limit = left.min(100).to_string();
        let parameters = [
            ("queue", args.queue.as_deref()),
            ("state", args.state.map(|state| state.text().as_str())),
            ("kind", args.kind.as_deref()),
            ("tag", args.tag.as_deref()),
            ("ordering_key", args.ordering_key.as_deref()),
            ("tenant", args.tenant.as_deref()),
            ("held", args.held.map(|held| if held { "true" } else { "false" })),
            ("error", args.error.as_deref()),
            ("text", args.text.as_deref()),
            ("older_than", older_than.as_deref()),
            ("newer_than", newer_than.as_deref()),
            ("limit", Some(limit.as_str())),
            ("cursor", cursor.as_deref()),
        ];
        let body = client.get(&client.path(&format!("/jobs{}", query(&parameters)))).await?;
        let page: JobList<'_> = read(&body)?;
        left -= page.jobs.len().min(left);
        cursor.clone_from(&page.next);
        match format {
            Format::Json => output::json_text(&body)?,
            Format::Table => page.jobs.iter().for_each(|job| table.row(&row(job))),
        }
        if cursor.is_none() {
            break;
        }
    }
    if format == Format::Table {
        if table.is_empty() {
            note("no jobs");
        } else {
            table.print()?;
        }
        if let Some(cursor) = cursor {
            note(&format!("there are more: --cursor {cursor}"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(job: &JobRecord<'_>) -> Vec<String> {
    let error = job.error.as_ref().map(|error| telling_line(&error.kind, &error.message));
    vec![
        job.id.to_string(),
        job.queue.clone(),
        job.kind.clone(),
        state(job),
        format!("{}/{}", job.attempt, job.max_attempts),
        moment(job.run_at),
        error.unwrap_or_default(),
    ]
}

/// The state, why a waiting job is in it, that its worker has not started it, and what keeps it
/// from being handed out.
pub(crate) fn state(job: &JobRecord<'_>) -> String {
    let put_off = job.reason.as_ref().filter(|_| !job.state.has_ended());
    let reason = put_off.map(|reason| format!(", {reason}")).unwrap_or_default();
    let held = if job.running.as_ref().is_some_and(|lease| lease.held) { ", held" } else { "" };
    let paused = if job.paused { ", paused" } else { "" };
    let by = |is: fn(&BlockedByRecord) -> bool| job.blocked_by.iter().any(is);
    let behind = if by(|by| by.ordering_key.is_some()) { ", behind its key" } else { "" };
    let queue = if by(|by| by.paused.as_deref() == Some("queue")) { ", queue paused" } else { "" };
    let limit = if by(|by| by.limit.is_some()) { ", limited" } else { "" };
    let gate = if by(|by| by.gate.is_some()) { ", gate closed" } else { "" };
    let hold = if by(|by| by.hold.is_some()) { ", tag held" } else { "" };
    let turn = if by(|by| by.tenant.is_some()) { ", after other tenants" } else { "" };
    let nobody = if by(|by| by.no_worker_for.is_some()) { ", no worker for it" } else { "" };
    format!("{}{reason}{held}{behind}{paused}{queue}{limit}{gate}{hold}{turn}{nobody}", job.state)
}

/// What keeps a job from being handed out, in words.
fn blocked_by(job: &JobRecord<'_>) -> Option<String> {
    let reasons: Vec<_> = job.blocked_by.iter().map(in_words).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn in_words(by: &BlockedByRecord) -> String {
    if let (Some(key), Some(first)) = (&by.ordering_key, by.job) {
        return format!("job {first}, which is first of ordering key {key}");
    }
    if let Some(limit) = &by.limit {
        let key = by.key.as_ref().map(|key| format!(" for {key}")).unwrap_or_default();
        return format!("limit {limit}, of which nothing is left{key}");
    }
    if let Some(gate) = &by.gate {
        let why = by.reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        let until = by.expires_at.map(|at| format!(", until {}", moment(at))).unwrap_or_default();
        return format!("gate {gate}, which is closed{why}{until}");
    }
    if let Some(tag) = &by.hold {
        let why = by.reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        return format!("the hold of tag {tag}{why}");
    }
    if let Some(tenant) = &by.tenant {
        return format!("other tenants, whose turn it is after {tenant}'s");
    }
    if let Some(kind) = &by.no_worker_for {
        return match by.version {
            Some(version) => format!("no worker runs version {version} of {kind}"),
            None => format!("no worker runs {kind} without a version"),
        };
    }
    match by.paused.as_deref() {
        Some("job") => "its own pause, until it is resumed".to_owned(),
        Some(what) => format!("the pause of its {what}"),
        None => "what this version of longshore does not know".to_owned(),
    }
}

/// An instant without its fraction.
pub(crate) fn moment(instant: InstantText) -> String {
    let text = instant.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// Prints the whole record of a job.
fn show(body: &[u8], format: Format) -> anyhow::Result<()> {
    let Some(job) = told::<JobRecord<'_>>(body, format)? else { return Ok(()) };
    output::line(&describe(&job))?;
    let attempts = job.attempts.as_deref().unwrap_or_default();
    if !attempts.is_empty() {
        output::line("")?;
        attempts_table(attempts).print()?;
    }
    let last = attempts.last().and_then(|attempt| attempt.error.as_ref());
    if let Some(backtrace) = last.map(|error| &error.backtrace).filter(|text| !text.is_empty()) {
        output::line("")?;
        let lines = backtrace.lines().map(output::printable);
        output::line(&lines.collect::<Vec<_>>().join("\n"))?;
    }
    Ok(())
}

fn describe(job: &JobRecord<'_>) -> String {
    let ended_for = job.reason.as_ref().filter(|_| job.state.has_ended());
    let reason = ended_for.map_or(String::new(), |reason| format!(" ({reason})"));
    let running = job.running.as_ref().map(|lease| {
        let cancel = if lease.cancel_requested { ", to be cancelled" } else { "" };
        format!("by {} since {}{cancel}", lease.worker, moment(lease.started_at))
    });
    let progress = job.progress.map(|progress| {
        format!("{:.0} % {}", progress * 100.0, job.progress_text.as_deref().unwrap_or_default())
    });
    let error = job.error.as_ref().map(|error| format!("{}: {}", error.kind, error.message));
    let come = job.checkpoint.as_ref();
    let cursor = come.and_then(|it| it.cursor.as_ref()).map(|cursor| cursor.get().to_owned());
    let counters = come.map(|it| {
        let counters = it.counters.0.iter().map(|(name, value)| format!("{name} {value}"));
        counters.collect::<Vec<_>>().join(", ")
    });
    let counters = counters.filter(|text| !text.is_empty());
    let interruptions = come.filter(|it| it.interruptions > 0).map(|it| {
        let last = it.interrupted_for.as_ref().map(|why| format!(", the last for {why}"));
        format!("{}{}", it.interruptions, last.unwrap_or_default())
    });
    let skipped = come.filter(|it| it.skipped_total > 0).map(|it| count(it.skipped_total, "item"));
    let tags = (!job.tags.is_empty()).then(|| job.tags.join(", "));
    facts(&[
        ("id", Some(job.id.to_string())),
        ("queue", Some(job.queue.clone())),
        ("kind", Some(job.kind.clone())),
        ("state", Some(format!("{}{reason}", state(job)))),
        ("blocked by", blocked_by(job)),
        ("running", running),
        ("progress", progress),
        ("cursor", cursor),
        ("counters", counters),
        ("interruptions", interruptions),
        ("skipped", skipped),
        ("args", job.args.as_ref().map(|args| args.get().to_owned())),
        ("result", job.result.as_ref().map(|result| result.get().to_owned())),
        ("location", job.location.clone()),
        ("error", error),
        ("attempt", Some(format!("{} of {}", job.attempt, job.max_attempts))),
        ("snoozes", (job.snoozes > 0).then(|| job.snoozes.to_string())),
        ("priority", Some(job.priority.to_string())),
        ("enqueued", Some(moment(job.enqueued_at))),
        ("run at", Some(moment(job.run_at))),
        ("ended", job.ended_at.map(moment)),
        ("expires", job.expires_at.map(moment)),
        ("deadline", job.deadline.map(moment)),
        ("ordering key", job.ordering_key.clone()),
        ("tenant", job.tenant.clone()),
        ("version", job.version.map(|version| version.to_string())),
        ("at most once", job.at_most_once.then(|| "yes".to_owned())),
        ("timeout", job.timeout.map(|timeout| timeout.to_string())),
        ("retry", Some(job.retry.to_string())),
        ("tags", tags),
        ("gates", (!job.gates.is_empty()).then(|| job.gates.join(", "))),
        ("metadata", job.metadata.as_ref().map(|metadata| metadata.get().to_owned())),
    ])
}

fn attempts_table(attempts: &[AttemptRecord]) -> Table {
    let mut table = Table::new(&[">attempt", "ended", "outcome", "worker", "error"]);
    for attempt in attempts {
        let error = attempt.error.as_ref();
        let error = error
            .map(|error| format!("{}: {}", error.kind, telling_line(&error.kind, &error.message)));
        table.row(&[
            attempt.attempt.to_string(),
            moment(attempt.ended_at),
            attempt.outcome.as_str().to_owned(),
            attempt.worker.clone(),
            error.unwrap_or_default(),
        ]);
    }
    table
}

/// How waiting for a job ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Waited {
    Ended(StateText),
    /// Not in time; the state it had last.
    StillIn(StateText),
}

/// Waits at most until `until` for a job to end.
pub(crate) async fn wait(
    client: &Client,
    id: JobIdText,
    until: Option<Instant>,
) -> Result<Waited, Failure> {
    let mut server = Patient::new(client);
    loop {
        let left = until.map_or(Duration::MAX, |until| until - Instant::now());
        let wait_ms = left.min(Duration::from_secs(20)).as_millis();
        let path = client.path(&format!("/status/{id}?wait={wait_ms}ms"));
        let reply = server.get(&path, until).await?;
        if reply.status == 303 {
            return Ok(Waited::Ended(StateText::Succeeded));
        }
        let status: StatusRecord<'_> = read(&reply.body)?;
        if status.state.has_ended() {
            return Ok(Waited::Ended(status.state));
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            return Ok(Waited::StillIn(status.state));
        }
    }
}

/// Waits for a job and prints it.
pub(crate) async fn wait_and_show(
    client: &Client,
    id: JobIdText,
    patience: Option<DurationText>,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let until = patience.map(|patience| Instant::now() + Duration::from_millis(patience.0));
    let waited = wait(client, id, until).await?;
    if let Waited::StillIn(state) = waited {
        let message = format!("job {id} is still {state}");
        return Err(Failure::new(Kind::Unavailable, message)
            .hint(format!("it goes on; `longshore jobs wait {id}` waits longer"))
            .into());
    }
    let body = client.get(&client.path(&format!("/jobs/{id}"))).await?;
    show(&body, format)?;
    let succeeded = waited == Waited::Ended(StateText::Succeeded);
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn reschedule(
    client: &Client,
    ids: &[JobIdText],
    time: &RescheduleRequest,
    format: Format,
) -> anyhow::Result<ExitCode> {
    for id in ids {
        let body = client.post(&client.path(&format!("/jobs/{id}/reschedule")), time).await?;
        if format == Format::Json {
            output::json_text(&body)?;
            continue;
        }
        let job: JobRecord<'_> = read(&body)?;
        output::line(&format!("{id} is {}, to run at {}", state(&job), moment(job.run_at)))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn cancel(
    client: &Client,
    ids: &[JobIdText],
    force: bool,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let query = if force { "?force=true" } else { "" };
    for id in ids {
        let body = client.delete(&client.path(&format!("/jobs/{id}{query}"))).await?;
        if format == Format::Json {
            output::json_text(&body)?;
            continue;
        }
        let job: JobRecord<'_> = read(&body)?;
        if job.running.is_some() {
            output::line(&format!("{id} is running: its worker will be told to stop"))?;
        } else {
            output::line(&format!("{id} is {}", job.state))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn remove(client: &Client, ids: &[JobIdText], format: Format) -> anyhow::Result<ExitCode> {
    for id in ids {
        client.delete(&client.path(&format!("/jobs/{id}?remove=true"))).await?;
        if format == Format::Table {
            output::line(&format!("{id} is removed"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn pause(
    client: &Client,
    ids: &[JobIdText],
    hold: bool,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let verb = if hold { "pause" } else { "resume" };
    for id in ids {
        let body = client.post_nothing(&client.path(&format!("/jobs/{id}/{verb}"))).await?;
        if format == Format::Json {
            output::json_text(&body)?;
            continue;
        }
        let job: JobRecord<'_> = read(&body)?;
        let is = match (hold, job.running.is_some()) {
            (true, true) => "runs: its worker is asked to interrupt it, then it is held back",
            (true, false) => "is held back until it is resumed",
            (false, _) => "is held back no longer",
        };
        output::line(&format!("{id} {is}"))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn retry(client: &Client, ids: &[JobIdText], format: Format) -> anyhow::Result<ExitCode> {
    for id in ids {
        let path = client.path(&format!("/jobs/{id}/retry"));
        let body = client.post_nothing(&path).await?;
        if format == Format::Json {
            output::json_text(&body)?;
        }
    }
    if format == Format::Table {
        output::line(&format!("{} to be tried again", count(ids.len() as u64, "job")))?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_waiting_job_is_shown_with_why_it_waits() {
        let shown = |fields: &str| {
            let at = "\"2026-05-04T03:02:01.250Z\"";
            let job = format!(
                "{{\"id\":\"018bcfe5-6800-7a00-8abc-def012345678\",\"queue\":\"q\",\"kind\":\"k\",\
                 \"priority\":4,\"attempt\":1,\"max_attempts\":2,\"losses\":0,\"snoozes\":0,\
                 \"enqueued_at\":{at},\
                 \"run_at\":{at},\"retry\":{{\"policy\":\"sidekiq\"}},\"at_most_once\":false,\
                 \"tags\":[],{fields}}}"
            );
            state(&read(job.as_bytes()).unwrap())
        };
        assert_eq!(shown("\"state\":\"scheduled\",\"reason\":\"snoozed\""), "scheduled, snoozed");
        let both = "\"state\":\"scheduled\",\"reason\":\"interrupted\",\"paused\":true";
        assert_eq!(shown(both), "scheduled, interrupted, paused");
        assert_eq!(shown("\"state\":\"dead\",\"reason\":\"lost\""), "dead");
    }

    #[test]
    fn instants_in_tables_have_no_fraction() {
        let instant: InstantText = "2026-05-04T03:02:01.250Z".parse().unwrap();
        assert_eq!(moment(instant), "2026-05-04T03:02:01Z");
    }
}
