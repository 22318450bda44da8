//! `longshore jobs ... --all-matching`: what is done with all jobs that are as the options say, as
//! an operation on the server.

use std::process::ExitCode;

use clap::Args;
use longshore_server::api::{
    DurationText, JobActionText, JobFilterBody, JobIdText, OperationRecord, OperationRequest,
};

use crate::client::{Client, read};
use crate::jobs::State;
use crate::name;
use crate::operations;
use crate::output::{self, Format, count};
use crate::queues::confirm;

/// Jobs by their ids, or all that match.
#[derive(Args, Debug)]
pub(crate) struct Chosen {
    /// The jobs
    #[arg(
        required_unless_present = "all_matching",
        conflicts_with = "all_matching",
        value_name = "ID"
    )]
    pub(crate) ids: Vec<JobIdText>,
    #[command(flatten)]
    pub(crate) matching: Meant,
}

/// Which jobs: those that are as each option says.
#[derive(Args, Debug)]
pub(crate) struct Meant {
    /// All jobs that are as the options below say, instead of those named by their ids
    #[arg(long)]
    pub(crate) all_matching: bool,
    #[command(flatten)]
    filter: Filter,
    /// Only so many of them
    #[arg(
        long,
        requires = "all_matching",
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    limit: Option<u64>,
    /// Do not ask
    #[arg(long, short, requires = "all_matching")]
    yes: bool,
    /// Only count
    #[arg(long, requires = "all_matching", conflicts_with = "yes")]
    dry_run: bool,
}

#[derive(Args, Debug)]
struct Filter {
    /// Only of this queue
    #[arg(long, short, requires = "all_matching", value_parser = name::queue)]
    queue: Option<String>,
    /// Only in this state
    #[arg(long, short, requires = "all_matching")]
    state: Option<State>,
    /// Only of this kind
    #[arg(long, short, requires = "all_matching")]
    kind: Option<String>,
    /// Only with this tag
    #[arg(long, short, requires = "all_matching")]
    tag: Option<String>,
    /// Only of this ordering key
    #[arg(long, requires = "all_matching")]
    ordering_key: Option<String>,
    /// Only of this tenant
    #[arg(long, requires = "all_matching")]
    tenant: Option<String>,
    /// Only those whose last error is of this type
    #[arg(long, requires = "all_matching", value_name = "TYPE")]
    error: Option<String>,
    /// Only those whose args contain this text
    #[arg(long, requires = "all_matching")]
    text: Option<String>,
    /// Only those enqueued (dead ones: died) longer ago
    #[arg(long, requires = "all_matching", value_name = "DURATION")]
    older_than: Option<DurationText>,
    /// Only those enqueued (dead ones: died) no longer ago
    #[arg(long, requires = "all_matching", value_name = "DURATION")]
    newer_than: Option<DurationText>,
}

#[derive(Args, Debug)]
pub(crate) struct MoveArgs {
    /// The queue that they go to
    #[arg(long = "to", value_name = "QUEUE", requires = "all_matching", value_parser = name::queue)]
    to_queue: String,
    #[command(flatten)]
    matching: Meant,
}

#[derive(Args, Debug)]
pub(crate) struct PriorityArgs {
    /// 0 to 9, 9 first
    #[arg(requires = "all_matching", value_parser = clap::value_parser!(u8).range(0..=9))]
    priority: u8,
    #[command(flatten)]
    matching: Meant,
}

/// What is done, with what it needs.
pub(crate) struct Change {
    pub(crate) action: JobActionText,
    pub(crate) to_queue: Option<String>,
    pub(crate) priority: Option<u8>,
    pub(crate) force: bool,
}

impl Change {
    pub(crate) fn of(action: JobActionText) -> Self {
        Self { action, to_queue: None, priority: None, force: false }
    }

    fn verb(&self) -> &'static str {
        match self.action {
            JobActionText::Retry => "retry",
            JobActionText::Cancel => "cancel",
            JobActionText::Move => "move",
            JobActionText::Remove => "remove",
            JobActionText::SetPriority => "prioritize",
        }
    }
}

pub(crate) async fn move_jobs(
    client: &Client,
    args: MoveArgs,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let change = Change { to_queue: Some(args.to_queue), ..Change::of(JobActionText::Move) };
    change_matching(client, change, args.matching, format).await
}

pub(crate) async fn set_priority(
    client: &Client,
    args: PriorityArgs,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let priority = Some(args.priority);
    let change = Change { priority, ..Change::of(JobActionText::SetPriority) };
    change_matching(client, change, args.matching, format).await
}

/// Changes all jobs that match, after showing how many they are, and follows that to its end.
pub(crate) async fn change_matching(
    client: &Client,
    change: Change,
    matching: Meant,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let verb = change.verb();
    let Meant { filter, limit, yes, dry_run, .. } = matching;
    let Change { action, to_queue, priority, force } = change;
    let mut request =
        OperationRequest { action, filter: filter.body(), limit, to_queue, priority, force };
    let path = client.path("/operations");
    if dry_run || !yes {
        let body = client.post(&format!("{path}?dry_run=true"), &request).await?;
        let would: OperationRecord = read(&body)?;
        if dry_run {
            match format {
                Format::Json => output::json_text(&body)?,
                Format::Table => output::line(&count(would.changed, "job"))?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        confirm(&format!("{verb} {}?", count(would.changed, "job")))?;
        // Its ages are instants: what became as old since is not what was counted.
        request.filter = would.filter.unwrap_or(request.filter);
    }
    let body = client.post(&path, &request).await?;
    operations::follow(client, &body, format).await
}

impl Filter {
    fn body(self) -> JobFilterBody {
        JobFilterBody {
            queue: self.queue,
            state: self.state.map(State::text),
            kind: self.kind,
            tag: self.tag,
            ordering_key: self.ordering_key,
            tenant: self.tenant,
            error: self.error,
            text: self.text,
            older_than: self.older_than,
            newer_than: self.newer_than,
            before: None,
            since: None,
        }
    }
}
