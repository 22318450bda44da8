//! `longshore enqueue`: one job from the command line, or one per line of a file.

mod file;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use longshore_server::api::{
    DurationText, EnqueueAnswer, InstantText, JobIdText, JobLimitText, NewJob, OnConflictText,
    RawJson, RetryText, UniqueText, UniqueUntilText,
};

use crate::cli::Context;
use crate::client::{read, segment};
use crate::failure::Failure;
use crate::jobs;
use crate::name;
use crate::output::{self, Format};

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  longshore enqueue greet '{\"name\":\"Ada\"}'\n  \
    longshore enqueue invoice '{\"order\":7}' --queue billing --delay 10m --wait 1m\n  \
    longshore enqueue --file jobs.jsonl --queue bulk")]
pub(crate) struct EnqueueArgs {
    #[arg(required_unless_present = "file", help = "The kind of job, such as welcome_email")]
    kind: Option<String>,
    /// Its arguments: JSON [default: {}]
    #[arg(conflicts_with = "file")]
    args: Option<String>,
    /// The queue
    #[arg(long, short, default_value = "default", value_parser = name::queue)]
    queue: String,
    /// Instead of one job: a file with one job object per line, - for standard input. Lines of a
    /// file that were enqueued before, on another day too, make no new jobs: see --anew
    #[arg(long, short, value_name = "FILE", conflicts_with = "kind")]
    file: Option<PathBuf>,
    /// Make new jobs of all lines of the file: for one that is enqueued every day, say
    #[arg(long, requires = "file")]
    anew: bool,
    #[command(flatten)]
    options: Options,
    /// Wait for the outcome, at most so long, and print it
    #[arg(long, value_name = "DURATION", conflicts_with = "file")]
    wait: Option<DurationText>,
}

/// What a job may be given besides kind and args.
#[derive(Args, Debug)]
#[command(next_help_heading = "The job")]
struct Options {
    /// Its identity, a UUID: repeating the command then has no second effect
    #[arg(long, value_name = "UUID", conflicts_with = "file")]
    id: Option<JobIdText>,
    /// 0 to 9, 9 first
    #[arg(long)]
    priority: Option<u8>,
    /// How long from now it may start
    #[arg(long, value_name = "DURATION")]
    delay: Option<DurationText>,
    /// When it may start
    #[arg(long, value_name = "INSTANT", conflicts_with = "delay")]
    run_at: Option<InstantText>,
    /// Jobs with the same key run one at a time, in order
    #[arg(long, value_name = "KEY")]
    ordering_key: Option<String>,
    /// The first run is the last, whatever becomes of it
    #[arg(long)]
    at_most_once: bool,
    /// Not started so long after it may first start (at once, or after --delay), it expires
    #[arg(long, value_name = "DURATION")]
    ttl: Option<DurationText>,
    /// The longest that one run may take
    #[arg(long, value_name = "DURATION")]
    timeout: Option<DurationText>,
    /// Attempts in all, the first included
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// No attempt starts later than this after it may first start
    #[arg(long, value_name = "DURATION")]
    max_age: Option<DurationText>,
    /// The same delay before every further attempt, instead of a growing one
    #[arg(long, value_name = "DURATION")]
    retry_in: Option<DurationText>,
    /// How long the outcome is kept
    #[arg(long, value_name = "DURATION")]
    retain: Option<DurationText>,
    /// At most one such job at a time: in what they agree, by commas: kind, queue, args, JSON
    /// pointers into the args [default with --on-conflict, --unique-period: kind,queue,args]
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    unique: Vec<String>,
    /// What happens where such a job is there: reject, existing, replace, debounce, throttle
    #[arg(long, value_name = "WAY", value_parser = on_conflict)]
    on_conflict: Option<OnConflictText>,
    /// Only jobs of one period of this length are alike
    #[arg(long, value_name = "DURATION")]
    unique_period: Option<DurationText>,
    /// How long such a job counts: started, ended, forgotten
    #[arg(long, value_name = "STATE", value_parser = unique_until)]
    unique_until: Option<UniqueUntilText>,
    /// A limit that counts it, and its key there; may be repeated
    #[arg(long = "limit", value_name = "NAME=KEY", value_parser = job_limit)]
    limits: Vec<JobLimitText>,
    /// A gate behind which it waits while that is closed; may be repeated
    #[arg(long = "gate", value_name = "GATE")]
    gates: Vec<String>,
    /// Whose it is: inside a queue and priority, tenants take turns
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// The version of its kind: only workers that run it get it
    #[arg(long, value_name = "N")]
    kind_version: Option<u32>,
    /// A name to find it by; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

fn word<T: serde::de::DeserializeOwned>(text: &str, known: &str) -> Result<T, String> {
    let read = serde_json::from_value(serde_json::Value::String(text.to_owned()));
    read.map_err(|_| format!("it has to be one of {known}"))
}

fn job_limit(text: &str) -> Result<JobLimitText, String> {
    let (name, key) = text.split_once('=').ok_or("it has to be the limit and its key: api=acme")?;
    let (name, key) = (name.to_owned(), Some(key.to_owned()));
    Ok(JobLimitText { name, key, by: None, tag: None })
}

fn on_conflict(text: &str) -> Result<OnConflictText, String> {
    word(text, "reject, existing, replace, debounce, throttle")
}

fn unique_until(text: &str) -> Result<UniqueUntilText, String> {
    word(text, "started, ended, forgotten")
}

impl Options {
    fn apply(&self, job: &mut NewJob<'_>) {
        job.id = self.id.or(job.id);
        job.priority = self.priority.or(job.priority);
        job.delay = self.delay.or(job.delay);
        job.run_at = self.run_at.or(job.run_at);
        job.ordering_key = self.ordering_key.clone().or_else(|| job.ordering_key.take());
        job.at_most_once = self.at_most_once.then_some(true).or(job.at_most_once);
        job.ttl = self.ttl.or(job.ttl);
        job.timeout = self.timeout.or(job.timeout);
        job.max_attempts = self.max_attempts.or(job.max_attempts);
        job.max_age = self.max_age.or(job.max_age);
        if let Some(delay) = self.retry_in {
            job.retry = Some(RetryText::Constant { delay });
        }
        job.retain = self.retain.or(job.retain);
        let period = self.unique_period;
        let asked = self.on_conflict.is_some() || period.is_some() || self.unique_until.is_some();
        if asked || !self.unique.is_empty() {
            job.unique = Some(UniqueText {
                by: (!self.unique.is_empty()).then(|| self.unique.clone()),
                period,
                until: self.unique_until,
                on_conflict: self.on_conflict,
                ..UniqueText::default()
            });
        }
        if let [limit, further @ ..] = &self.limits[..] {
            job.limit = Some(limit.clone());
            job.limits = (!further.is_empty()).then(|| further.to_vec());
        }
        job.tenant = self.tenant.clone().or_else(|| job.tenant.take());
        job.version = self.kind_version.or(job.version);
        if !self.gates.is_empty() {
            job.gates = Some(self.gates.clone());
        }
        if !self.tags.is_empty() {
            job.tags = Some(self.tags.clone());
        }
    }
}

pub(crate) async fn execute(args: EnqueueArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    if let Some(file) = &args.file {
        return file::enqueue(&client, file, &args, context.format).await;
    }
    let mut job = NewJob::of(args.kind.clone().unwrap_or_default());
    if let Some(text) = &args.args {
        job.args = Some(RawJson::from_text(text.clone()).map_err(|error| {
            Failure::usage(format!("args are not JSON: {error}"))
                .hint(format!("a text has to stand in quotes of its own: '\"{text}\"'"))
        })?);
    }
    args.options.apply(&mut job);
    let path = client.path(&format!("/queues/{}/jobs", segment(&args.queue)));
    let body = client.post(&path, &job).await?;
    let answer: EnqueueAnswer = read(&body)?;
    if let Some(wait) = args.wait {
        return jobs::wait_and_show(&client, answer.id, Some(wait), context.format).await;
    }
    match context.format {
        Format::Json => output::json_text(&body)?,
        Format::Table => match answer.unique {
            Some(outcome) => output::line(&format!("{} ({})", answer.id, outcome.as_str()))?,
            None => output::line(&answer.id.to_string())?,
        },
    }
    Ok(ExitCode::SUCCESS)
}
