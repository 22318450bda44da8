//! `longshore enqueue`: one job from the command line, or one per line of a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use longshore_server::api::{
    DurationText, EnqueueAnswer, EnqueueBulk, EnqueueBulkAnswer, InstantText, JobIdText, NewJob,
    RawJson, RetryText,
};

use crate::cli::Context;
use crate::client::{Client, Fault, Refusal, read, segment, to_json};
use crate::failure::{Failure, Kind};
use crate::jobs;
use crate::name;
use crate::output::{self, Format, count};

/// Jobs per request: what a server takes in one atomic call.
const BULK_JOBS_MAX: usize = 10_000;
/// Bytes per request, below what a server takes at once.
const BULK_BYTES_MAX: usize = 8 << 20;

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
    /// Instead of one job: a file with one job object per line, - for standard input
    #[arg(long, short, value_name = "FILE", conflicts_with = "kind")]
    file: Option<PathBuf>,
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
    /// Not started so long from now, it expires
    #[arg(long, value_name = "DURATION")]
    ttl: Option<DurationText>,
    /// The longest that one run may take
    #[arg(long, value_name = "DURATION")]
    timeout: Option<DurationText>,
    /// Attempts in all, the first included
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// No attempt starts later than this from now
    #[arg(long, value_name = "DURATION")]
    max_age: Option<DurationText>,
    /// The same delay before every further attempt, instead of a growing one
    #[arg(long, value_name = "DURATION")]
    retry_in: Option<DurationText>,
    /// How long the outcome is kept
    #[arg(long, value_name = "DURATION")]
    retain: Option<DurationText>,
    /// A name to find it by; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
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
        if !self.tags.is_empty() {
            job.tags = Some(self.tags.clone());
        }
    }
}

pub(crate) async fn execute(args: EnqueueArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    if let Some(file) = &args.file {
        return enqueue_file(&client, file, &args, context.format).await;
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
        Format::Table => output::line(&answer.id.to_string())?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Enqueues the lines of a file in as few requests as bounds allow, each of them atomic.
async fn enqueue_file(
    client: &Client,
    file: &Path,
    args: &EnqueueArgs,
    format: Format,
) -> anyhow::Result<ExitCode> {
    let path = client.path(&format!("/queues/{}/jobs", segment(&args.queue)));
    let shown = if file == Path::new("-") {
        "standard input".to_owned()
    } else {
        file.display().to_string()
    };
    let named = || format!("cannot read {shown}");
    let mut input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(file).with_context(named)?))
    };
    let (mut total, mut replayed, mut lines) = (0_u64, 0, 0);
    loop {
        let texts = next_lines(&mut *input, &mut lines).with_context(named)?;
        if texts.is_empty() {
            break;
        }
        let mut jobs = Vec::with_capacity(texts.len());
        for (number, text) in &texts {
            let mut job: NewJob<'_> = serde_json::from_str(text).map_err(|error| {
                Failure::usage(format!("{shown}: line {number}: {}", within_line(&error)))
            })?;
            args.options.apply(&mut job);
            jobs.push(job);
        }
        let body = to_json(&EnqueueBulk { jobs });
        let reply = client.ask("POST", &path, Some(&body)).await;
        let body = reply.map(|reply| reply.body).map_err(|fault| {
            let mut failure = match &fault {
                Fault::Refused(refusal) if !refusal.faults.is_empty() => {
                    Failure::new(Kind::Refused, lines_at_fault(refusal, &shown, &texts))
                }
                _ => client.failure(fault),
            };
            if total > 0 {
                failure.message = format!(
                    "{}; the {} before line {} are enqueued",
                    failure.message,
                    count(total, "job"),
                    texts.first().map_or(0, |(number, _)| *number)
                );
            }
            failure
        })?;
        let answer: EnqueueBulkAnswer = read(&body)?;
        total += answer.ids.len() as u64;
        replayed += answer.replayed;
        if format == Format::Json {
            output::json_text(&body)?;
        }
    }
    if format == Format::Table {
        let again =
            if replayed > 0 { format!(", {replayed} of them before") } else { String::new() };
        output::line(&format!("{} enqueued{again}", count(total, "job")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is wrong with a line, without the line that the parser counts: it saw only this one.
fn within_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(text) if error.column() > 0 => format!("{text} (column {})", error.column()),
        _ => text,
    }
}

/// The lines of the file that a server refuses, and why.
fn lines_at_fault(refusal: &Refusal, file: &str, texts: &[(u64, String)]) -> String {
    const TOLD_MAX: usize = 5;
    let line = |index: usize| texts.get(index).map_or(0, |(number, _)| *number);
    let faults = refusal.faults.iter().take(TOLD_MAX);
    let mut told: Vec<_> = faults
        .map(|it| format!("{file}: line {}: {} ({})", line(it.index), it.detail, it.code))
        .collect();
    if refusal.faults.len() > TOLD_MAX {
        told.push(format!("... and {} more", refusal.faults.len() - TOLD_MAX));
    }
    told.join("\n  ")
}

/// The next lines that are not empty, with their numbers, as many as one request takes.
fn next_lines(input: &mut dyn BufRead, lines: &mut u64) -> io::Result<Vec<(u64, String)>> {
    let (mut texts, mut bytes) = (Vec::new(), 0);
    while texts.len() < BULK_JOBS_MAX && bytes < BULK_BYTES_MAX {
        let mut text = String::new();
        if input.read_line(&mut text)? == 0 {
            break;
        }
        *lines += 1;
        bytes += text.len();
        if !text.trim().is_empty() {
            texts.push((*lines, text));
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_portions() {
        let text = "a\n\n  \nb\n".repeat(BULK_JOBS_MAX);
        let (mut input, mut lines) = (text.as_bytes(), 0);
        assert_eq!(next_lines(&mut input, &mut lines).unwrap().len(), BULK_JOBS_MAX);
        let second = next_lines(&mut input, &mut lines).unwrap();
        assert_eq!(second.len(), BULK_JOBS_MAX);
        assert_eq!(second.last().map(|(number, _)| *number), Some(4 * BULK_JOBS_MAX as u64));
        assert!(next_lines(&mut input, &mut lines).unwrap().is_empty());
    }
}
