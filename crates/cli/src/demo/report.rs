//! What the demo says at its end.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::output::{self, bytes, count, facts, grouped};

/// The whole demo, as JSON has it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    /// Whether everything is as promised.
    pub(super) sound: bool,
    pub(super) files: u64,
    pub(super) archived: u64,
    pub(super) archive_bytes: u64,
    /// Files that are missing or wrong.
    pub(super) missing: Vec<String>,
    /// Jobs that the server had not known.
    pub(super) new_jobs: u64,
    pub(super) jobs_done: u64,
    /// Jobs that were handed over more than once.
    pub(super) delivered_again: u64,
    pub(super) dead_jobs: u64,
    pub(super) seconds: f64,
    /// Files took longer than they had to.
    pub(super) paced: bool,
    /// After how many jobs; left out where nothing was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) worker_killed_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_killed_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server_away_ms: Option<u64>,
    #[serde(serialize_with = "output::shown")]
    archive: PathBuf,
    #[serde(serialize_with = "output::shown")]
    store: PathBuf,
    #[serde(serialize_with = "output::shown")]
    logs: PathBuf,
}

impl Report {
    pub(super) fn new(files: u64, out: &Path) -> Self {
        let (archive, store, logs) = (out.join("archive"), out.join("store"), out.join("logs"));
        Self { files, archive, store, logs, ..Self::default() }
    }

    pub(super) fn print(&self) -> io::Result<()> {
        let verdict = match (self.sound, self.jobs_done) {
            (false, _) => "NOT every file is in the archive.",
            (true, 0) => "Nothing new: every job was done before. All files are sound.",
            (true, _) => "Every file is in the archive exactly once.",
        };
        output::line(&format!("\n{verdict}"))?;
        for line in facts(&self.facts()).lines() {
            output::line(&format!("  {line}"))?;
        }
        for path in self.missing.iter().take(10) {
            output::line(&format!("  missing or wrong: {}", output::printable(path)))?;
        }
        let (program, store) = (program(), self.store.display());
        output::line(&format!(
            "\nWhat to try next\n  {program} serve --data {store}    the demo's store; then, elsewhere:\n  \
             {program} jobs list --queue demo    what became of each job"
        ))
    }

    fn facts(&self) -> Vec<(&'static str, Option<String>)> {
        let ran = |text: String| (self.jobs_done > 0).then_some(text);
        let (archived, files) = (grouped(self.archived), grouped(self.files));
        let (size, archive) = (bytes(self.archive_bytes), self.archive.display());
        let (again, done) = (count(self.delivered_again, "job"), count(self.jobs_done, "job"));
        let rate = self.jobs_done as f64 / self.seconds.max(0.001);
        let (seconds, pace) =
            (self.seconds, if self.paced { ", paced to be watchable" } else { "" });
        let compared = format!(
            "{archived} of {files}, decompressed and compared by SHA-256; {size} in {archive}"
        );
        let rate = format!("{rate:.0} jobs/s ({done} in {seconds:.1} s, outages included{pace})");
        vec![
            ("archive", Some(compared)),
            ("new jobs", Some(grouped(self.new_jobs))),
            (
                "delivered again",
                ran(format!("{again} (handed over more than once, archived once)")),
            ),
            ("rate", ran(rate)),
            ("killed", ran(self.killed())),
            ("dead jobs", (self.dead_jobs > 0).then(|| grouped(self.dead_jobs))),
            ("store", Some(self.store.display().to_string())),
            ("logs", Some(self.logs.display().to_string())),
        ]
    }

    fn killed(&self) -> String {
        let worker =
            self.worker_killed_after.map(|at| format!("a worker after {}", count(at, "job")));
        let server = self.server_killed_after.zip(self.server_away_ms).map(|(at, ms)| {
            format!("the server after {}, ready again in {ms} ms", count(at, "job"))
        });
        let killed = worker.into_iter().chain(server).collect::<Vec<_>>().join("; ");
        let none = "nothing: all was done before it came to that";
        if killed.is_empty() { none.to_owned() } else { killed }
    }
}

/// How this program was called, so that its commands can be copied.
pub(crate) fn program() -> String {
    let name = std::env::args_os().next().unwrap_or_default().to_string_lossy().into_owned();
    if name.is_empty() || name.contains(char::is_whitespace) {
        "longshore".to_owned()
    } else {
        name
    }
}
