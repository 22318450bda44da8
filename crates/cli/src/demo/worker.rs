//! `longshore demo-worker`: one of the demo's worker processes. It archives one file per job.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use longshore_server::api::DurationText;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{CONCURRENCY, KIND, LEASE, QUEUE, archive};
use crate::client::Client;
use crate::launch;
use crate::signals::stop_on_signal;
use crate::work::{Assignment, News, Runner, Settings, Stop, Verdict, run};

/// The server, the worker's name, the folder, its archive, and the least time for each file.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoWorkerArgs {
    at: String,
    name: String,
    folder: PathBuf,
    archive: PathBuf,
    pace: DurationText,
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
    let settings = Settings::of(&args.name, QUEUE, KIND, CONCURRENCY);
    let settings = Settings { lease: Some(LEASE), ..settings };
    run(&client, settings, Arc::new(args), stop_on_signal()?).await?;
    Ok(ExitCode::SUCCESS)
}

impl Runner for DemoWorkerArgs {
    async fn run(&self, job: Assignment, _stop: watch::Receiver<Stop>) -> Verdict {
        let until = Instant::now() + Duration::from_millis(self.pace.0);
        let args = serde_json::from_str(&job.args).ok();
        let Some(ArchiveArgs { path }) = args.filter(|args: &ArchiveArgs| is_below(&args.path))
        else {
            return Verdict::Discard(None);
        };
        let (archive, source) = (self.archive.clone(), self.folder.join(&path));
        let stored = tokio::task::spawn_blocking(move || archive::store(&archive, &path, &source));
        let verdict = match stored.await.map_err(std::io::Error::other).flatten() {
            Ok(()) => Verdict::Ack(None, None),
            // There is nothing to archive any more.
            Err(error) if error.kind() == ErrorKind::NotFound => Verdict::Discard(None),
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
    let mut parts = Path::new(path).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
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
