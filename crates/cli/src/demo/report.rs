//! What the demo says at its end.

use std::io;
use std::path::Path;

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
    archive: String,
    store: String,
    logs: String,
}

impl Report {
    pub(super) fn new(files: u64, out: &Path) -> Self {
        let [archive, store, logs] =
            ["archive", "store", "logs"].map(|it| out.join(it).display().to_string());
        Self { files, archive, store, logs, ..Self::default() }
    }

    pub(super) fn print(&self) -> io::Result<()> {
        let verdict = match (self.sound, self.jobs_done) {
            (false, _) => "NOT every file is in the archive.",
            (true, 0) => "Nothing new: every job was done before. All files are sound.",
            (true, _) => "Every file is in the archive exactly once.",
        };
        let facts = facts(&self.facts()).replace('\n', "\n  ");
        output::line(&format!("\n{verdict}\n  {facts}"))?;
        for path in self.missing.iter().take(10) {
            output::line(&format!("  missing or wrong: {}", output::printable(path)))?;
        }
        let (program, store) = (program(), &self.store);
        output::line(&format!(
            "\nWhat to try next\n  {program} serve --data {store}    the demo's store; then, elsewhere:\n  \
             {program} jobs list --queue demo    what became of each job"
        ))
    }

    fn facts(&self) -> Vec<(&'static str, Option<String>)> {
        let ran = |text: String| (self.jobs_done > 0).then_some(text);
        let jobs = |number| count(number, "job");
        let (archived, files) = (grouped(self.archived), grouped(self.files));
        let (size, archive) = (bytes(self.archive_bytes), &self.archive);
        let (again, done, seconds) =
            (jobs(self.delivered_again), jobs(self.jobs_done), self.seconds);
        let rate = self.jobs_done as f64 / seconds.max(0.001);
        let pace = if self.paced { ", paced to be watchable" } else { "" };
        let checked = "decompressed and compared by SHA-256";
        let worker = self.worker_killed_after.map(|at| format!("a worker after {}", jobs(at)));
        let server = self.server_killed_after.zip(self.server_away_ms);
        let server =
            server.map(|(at, ms)| format!("the server after {}, ready again in {ms} ms", jobs(at)));
        let killed = match worker.into_iter().chain(server).collect::<Vec<_>>().join("; ") {
            none if none.is_empty() => "nothing: all was done before it came to that".to_owned(),
            killed => killed,
        };
        let again = format!("{again} (handed over more than once, archived once)");
        let rate = format!("{rate:.0} jobs/s ({done} in {seconds:.1} s, outages included{pace})");
        vec![
            ("archive", Some(format!("{archived} of {files}, {checked}; {size} in {archive}"))),
            ("new jobs", Some(grouped(self.new_jobs))),
            ("delivered again", ran(again)),
            ("rate", ran(rate)),
            ("killed", ran(killed)),
            ("dead jobs", (self.dead_jobs > 0).then(|| grouped(self.dead_jobs))),
            ("store", Some(self.store.clone())),
            ("logs", Some(self.logs.clone())),
        ]
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
