//! `longshore run`: a shell command as a job, from here to its output and exit code.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use longshore_server::api::{
    DurationText, EnqueueAnswer, JobIdText, JobRecord, NewJob, QueueRecord, RawJson, StateText,
};
use tokio::time::Instant;

use crate::cli::Context;
use crate::client::{Client, read, segment};
use crate::failure::{Failure, Kind};
use crate::jobs::{Waited, wait};
use crate::name;
use crate::output::{self, Format, note};
use crate::signals::Signals;
use crate::work::{SHELL_KIND, ShellArgs, ShellResult, exit_code_of, outputs_of};

/// How long a job may wait before somebody is told why it might.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Args, Debug)]
#[command(after_help = "The exit code is that of the command; 128 + N where signal N ended it. \
    Ctrl-C cancels the job.\nIt runs on a worker that was started with --allow-shell, as the one \
    in `longshore dev` is.")]
pub(crate) struct RunArgs {
    /// The command, for sh
    command: String,
    /// The queue
    #[arg(long, short, default_value = "default", value_parser = name::queue)]
    queue: String,
    /// Do not wait: print the job's id
    #[arg(long, short)]
    detach: bool,
    /// Attempts in all
    #[arg(long, value_name = "N", default_value_t = 1)]
    max_attempts: u32,
    /// The longest that one run may take
    #[arg(long, value_name = "DURATION")]
    timeout: Option<DurationText>,
}

pub(crate) async fn execute(args: RunArgs, context: &Context) -> anyhow::Result<ExitCode> {
    let client = context.client()?;
    let mut job = NewJob::of(SHELL_KIND);
    let folder = Some(current_folder()?);
    job.args = Some(RawJson::of(&ShellArgs { command: args.command, folder })?);
    job.max_attempts = Some(args.max_attempts);
    job.timeout = args.timeout;
    let path = client.path(&format!("/queues/{}/jobs", segment(&args.queue)));
    let body = client.post(&path, &job).await.map_err(|failure| match failure.kind {
        Kind::Unavailable if failure.message.starts_with("no answer") => {
            failure.hint("start one with `longshore dev` in another terminal, then try again")
        }
        _ => failure,
    })?;
    let answer: EnqueueAnswer = read(&body)?;
    if args.detach {
        match context.format {
            Format::Json => output::json_text(&body)?,
            Format::Table => output::line(&answer.id.to_string())?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut signals = Signals::listen()?;
    let state = tokio::select! {
        state = follow(&client, answer.id, &args.queue) => state?,
        () = signals.next() => {
            client.delete(&client.path(&format!("/jobs/{}", answer.id))).await?;
            note(&format!("job {} is cancelled", answer.id));
            return Ok(ExitCode::from(130));
        }
    };
    let body = client.get(&client.path(&format!("/jobs/{}", answer.id))).await?;
    if context.format == Format::Json {
        output::json_text(&body)?;
    }
    finish(&read(&body)?, state, context.format)
}

/// Where the command is to run: in the worker's folder instead it might do anything.
fn current_folder() -> Result<String, Failure> {
    let folder = std::env::current_dir()
        .map_err(|error| Failure::usage(format!("cannot tell the current folder: {error}")))?;
    folder.into_os_string().into_string().map_err(|folder| {
        let shown = folder.display();
        let message =
            format!("the current folder, {shown}, is not UTF-8, so that no job can name it");
        Failure::usage(message).hint("run it from another folder, with `cd` in the command")
    })
}

/// Waits for the end, and says why nothing happens where nothing does.
async fn follow(client: &Client, id: JobIdText, queue: &str) -> Result<StateText, Failure> {
    match wait(client, id, Some(Instant::now() + PATIENCE)).await? {
        Waited::Ended(state) => return Ok(state),
        Waited::StillIn(StateText::Ready) => {
            let path = client.path(&format!("/queues/{}", segment(queue)));
            let record = client.get(&path).await.ok();
            let record = record.as_deref().and_then(|body| read::<QueueRecord>(body).ok());
            note(&format!("job {id} waits: {}", why_it_waits(record.as_ref())));
        }
        Waited::StillIn(_) => {}
    }
    match wait(client, id, None).await? {
        Waited::Ended(state) | Waited::StillIn(state) => Ok(state),
    }
}

fn why_it_waits(queue: Option<&QueueRecord>) -> String {
    match queue {
        Some(queue) if queue.settings.paused => format!("queue {} is paused", queue.name),
        Some(queue) if queue.consumers > 0 && queue.held + queue.running > 0 => {
            "the workers are busy, or none of them takes shell commands (work --allow-shell)"
                .to_owned()
        }
        _ => "no worker takes shell commands; start one with `longshore dev` or \
            `longshore work --allow-shell`"
            .to_owned(),
    }
}

/// Shows what the command said, and passes on how it ended.
fn finish(job: &JobRecord<'_>, state: StateText, format: Format) -> anyhow::Result<ExitCode> {
    if let Some(result) = job.result.as_ref().filter(|_| state == StateText::Succeeded) {
        if format == Format::Table {
            match serde_json::from_str::<ShellResult>(result.get()) {
                Ok(result) => {
                    output::raw(result.stdout.as_bytes())?;
                    output::raw_note(result.stderr.as_bytes());
                    if result.stdout_bytes_lost > 0 {
                        note(&format!("{} more bytes were not kept", result.stdout_bytes_lost));
                    }
                }
                Err(_) => output::line(result.get())?,
            }
        }
        return Ok(ExitCode::SUCCESS);
    }
    if state == StateText::Succeeded {
        return Ok(ExitCode::SUCCESS);
    }
    let last = job.attempts.as_deref().unwrap_or_default().last();
    let error = last.and_then(|attempt| attempt.error.as_ref()).or(job.error.as_ref());
    let Some(error) = error else {
        let reason = job.reason.as_ref().map_or(String::new(), |reason| format!(" ({reason})"));
        let message = format!("job {} is {state}{reason}", job.id);
        return Err(Failure::new(Kind::Other, message).into());
    };
    if format == Format::Table {
        let (stdout, stderr) = outputs_of(error);
        if !stdout.is_empty() {
            output::line(stdout)?;
        }
        note(stderr.trim_end());
    }
    match exit_code_of(error) {
        Some(code) => Ok(ExitCode::from(code)),
        None => Err(Failure::new(Kind::Other, format!("job {} is {state}", job.id)).into()),
    }
}
