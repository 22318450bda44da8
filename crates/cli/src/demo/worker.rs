//! `longshore demo-worker`: one of the demo's worker processes. It archives one file per job.

use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use longshore_server::api::{DurationText, RawJson};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{CONCURRENCY, KIND, LEASE, QUEUE, archive};
use crate::client::Client;
use crate::launch;
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

pub(crate) async fn execute_worker(args: DemoWorkerArgs) -> anyhow::Result<ExitCode> {
    launch::end_with_parent();
    let client = Client::new(&args.at, None)?;
    let settings = Settings {
        queues: vec![QUEUE.to_owned()],
        kinds: Some(vec![KIND.to_owned()]),
        versions: Vec::new(),
        concurrency: CONCURRENCY,
        scale: None,
        weights: std::collections::BTreeMap::new(),
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
        let (archive, source) = (self.archive.clone(), self.folder.join(&path));
        let stored = tokio::task::spawn_blocking(move || archive::store(&archive, &path, &source));
        let verdict = match stored.await {
            Ok(Ok(stored)) => Verdict::Ack(RawJson::of(&stored).ok()),
            // There is nothing to archive any more.
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                Verdict::Discard(None)
            }
            Ok(Err(error)) => Verdict::failed("archive", error.to_string()),
            Err(error) => Verdict::failed("archive", error.to_string()),
        };
        tokio::time::sleep_until(until).await;
        verdict
    }

    /// Everything that is told stands at the server.
    fn hear(&self, _news: &News<'_>) {}
}

/// Whether a path stays below the folder that it is relative to.
fn is_below(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
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
