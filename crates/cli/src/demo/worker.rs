//! `longshore demo-worker`: one of the demo's worker processes. It archives one file per job.

use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use longshore_server::api::{DurationText, JobIdText, RawJson};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::archive::{self, Stored};
use super::line::Line;
use super::{KIND, LEASE, QUEUE};
use crate::client::Client;
use crate::launch;
use crate::output;
use crate::signals::stop_on_signal;
use crate::work::{Assignment, News, Runner, Settings, Stop, Verdict, run};

#[derive(Args, Debug)]
pub(crate) struct DemoWorkerArgs {
    /// The demo's server
    #[arg(long)]
    at: String,
    /// Where the files are
    #[arg(long)]
    folder: PathBuf,
    /// Where they go
    #[arg(long)]
    archive: PathBuf,
    /// How many at a time
    #[arg(long)]
    concurrency: usize,
    /// The least time for each
    #[arg(long)]
    pace: DurationText,
    /// The worker's name
    #[arg(long)]
    name: String,
}

/// The args of a job.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct ArchiveArgs {
    /// Relative to the folder.
    pub(super) path: String,
}

/// The result of a job.
#[derive(Debug, Serialize)]
struct ArchiveResult {
    sha256: String,
    bytes: u64,
    compressed: u64,
    unchanged: bool,
}

pub(crate) async fn execute_worker(args: DemoWorkerArgs) -> anyhow::Result<ExitCode> {
    launch::end_with_parent();
    let client = Client::new(&args.at, None)?;
    let settings = Settings {
        queues: vec![QUEUE.to_owned()],
        kinds: Some(vec![KIND.to_owned()]),
        concurrency: args.concurrency,
        lease: Some(LEASE),
        grace: Duration::from_secs(5),
        name: args.name,
    };
    let pace = Duration::from_millis(args.pace.0);
    let archiver = Archiver { folder: args.folder, archive: args.archive, pace };
    run(&client, settings, Arc::new(archiver), stop_on_signal()?).await?;
    Ok(ExitCode::SUCCESS)
}

/// Archives files of one folder.
struct Archiver {
    folder: PathBuf,
    archive: PathBuf,
    /// The least time for each file.
    pace: Duration,
}

impl Runner for Archiver {
    async fn run(&self, job: Assignment, _stop: watch::Receiver<Stop>) -> Verdict {
        let until = Instant::now() + self.pace;
        let Ok(ArchiveArgs { path }) = serde_json::from_str(&job.args) else {
            return Verdict::Discard(None);
        };
        if !is_below(&path) {
            return Verdict::Discard(None);
        }
        tell(&Line::Archiving { id: job.id, path: path.clone() });
        let (archive, source) = (self.archive.clone(), self.folder.join(&path));
        let stored = tokio::task::spawn_blocking(move || archive::store(&archive, &path, &source));
        let verdict = match stored.await {
            Ok(Ok(stored)) => acked(job.id, stored),
            // There is nothing to archive any more.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                Verdict::Discard(None)
            }
            Ok(Err(error)) => failed(job.id, &error.to_string()),
            Err(error) => failed(job.id, &error.to_string()),
        };
        tokio::time::sleep_until(until).await;
        verdict
    }

    fn hear(&self, news: &News<'_>) {
        match news {
            News::Leased(job) => tell(&Line::Leased { id: job.id, attempt: job.attempt }),
            News::Settled(id) => tell(&Line::Settled { id: *id }),
            News::Lost(id, why) => {
                tell(&Line::Failed { id: *id, message: (*why).to_owned() });
            }
            News::Cancelled(id) => {
                tell(&Line::Failed { id: *id, message: "it was cancelled".to_owned() });
            }
            News::Ended(..) | News::Short(..) | News::Away(_) | News::Back | News::Stopping(_) => {}
        }
    }
}

fn acked(id: JobIdText, stored: Stored) -> Verdict {
    let Stored { sha256, bytes, compressed, unchanged } = stored;
    tell(&Line::Stored { id, bytes, unchanged });
    Verdict::Ack(RawJson::of(&ArchiveResult { sha256, bytes, compressed, unchanged }).ok())
}

fn failed(id: JobIdText, message: &str) -> Verdict {
    tell(&Line::Failed { id, message: message.to_owned() });
    Verdict::failed("archive", message)
}

/// Whether a path stays below the folder that it is relative to.
fn is_below(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

fn tell(line: &Line) {
    // Without a demo that listens there is nobody to tell.
    let _ = output::line(&String::from_utf8_lossy(&crate::client::to_json(line)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_cannot_leave_the_folder() {
        for path in ["", "/etc/passwd", "../x", "a/../../x", "."] {
            assert!(!is_below(path), "{path}");
        }
        assert!(is_below("a/b.txt") && is_below(".hidden"));
    }
}
