//! What the demo says at its end.

use std::io;
use std::path::Path;
use std::time::Duration;

use longshore_server::api::DurationText;
use serde::Serialize;

use super::check::Checked;
use super::crew::Places;
use crate::output::{self, bytes, count, facts, grouped};

/// One working off of jobs.
#[derive(Debug, Default)]
pub(super) struct Ride {
    pub(super) jobs: u64,
    pub(super) took: Duration,
    /// The least time for each file.
    pub(super) pace: DurationText,
    /// Files that the archive held already.
    pub(super) unchanged: u64,
    /// Jobs that were handed over more than once.
    pub(super) delivered_again: u64,
    /// How much was done when it happened.
    pub(super) worker_killed_at: Option<u64>,
    pub(super) server_killed_at: Option<u64>,
    /// From the start of the new server until it was ready.
    pub(super) server_away: Duration,
    pub(super) failures: Vec<String>,
}

/// The whole demo.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) files: u64,
    /// Jobs that the server had not known.
    pub(super) new: u64,
    pub(super) rides: Vec<Ride>,
    pub(super) checked: Checked,
    /// Jobs in the dead set.
    pub(super) dead: u64,
}

/// The report as JSON has it.
#[derive(Debug, Serialize)]
pub(super) struct Summary<'r> {
    sound: bool,
    files: u64,
    archived: u64,
    archive_bytes: u64,
    missing: &'r [String],
    changed: u64,
    left_over: u64,
    new_jobs: u64,
    jobs_done: u64,
    unchanged: u64,
    delivered_again: u64,
    dead_jobs: u64,
    seconds: f64,
    jobs_per_second: f64,
    /// After how many jobs; left out where nothing was killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_killed_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_killed_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_away_ms: Option<u64>,
    failures: Vec<&'r String>,
    #[serde(serialize_with = "output::shown")]
    archive: &'r Path,
    #[serde(serialize_with = "output::shown")]
    store: &'r Path,
    #[serde(serialize_with = "output::shown")]
    logs: &'r Path,
}

impl Report {
    /// Whether everything is as promised.
    pub(super) fn is_sound(&self) -> bool {
        self.checked.missing.is_empty()
    }

    /// The report for programs.
    pub(super) fn summary<'r>(&'r self, places: &'r Places) -> Summary<'r> {
        let sum = |of: fn(&Ride) -> u64| self.rides.iter().map(of).sum::<u64>();
        let seconds: f64 = self.rides.iter().map(|ride| ride.took.as_secs_f64()).sum();
        let jobs = sum(|ride| ride.jobs);
        let first = self.rides.first();
        Summary {
            sound: self.is_sound(),
            files: self.files,
            archived: self.checked.sound + self.checked.changed,
            archive_bytes: self.checked.compressed,
            missing: &self.checked.missing,
            changed: self.checked.changed,
            left_over: self.checked.others,
            new_jobs: self.new,
            jobs_done: jobs,
            unchanged: sum(|ride| ride.unchanged),
            delivered_again: sum(|ride| ride.delivered_again),
            dead_jobs: self.dead,
            seconds,
            jobs_per_second: if jobs > 0 { jobs as f64 / seconds.max(0.001) } else { 0.0 },
            worker_killed_after: first.and_then(|ride| ride.worker_killed_at),
            server_killed_after: first.and_then(|ride| ride.server_killed_at),
            server_away_ms: first
                .filter(|ride| ride.server_killed_at.is_some())
                .map(|ride| ride.server_away.as_millis() as u64),
            failures: self.rides.iter().flat_map(|ride| ride.failures.iter()).collect(),
            archive: &places.archive,
            store: &places.store,
            logs: &places.logs,
        }
    }

    pub(super) fn print(&self, places: &Places) -> io::Result<()> {
        output::line("")?;
        if self.rides.is_empty() && self.is_sound() {
            output::line(&format!(
                "Nothing new: every job was done before, so nothing was enqueued, run or written. \
                 All {} were read again and are sound.",
                count(self.files, "file")
            ))?;
        } else if self.is_sound() {
            output::line("Every file is in the archive exactly once.")?;
        } else {
            output::line("NOT every file is in the archive.")?;
        }
        output::line(&indent(&facts(&self.facts(places))))?;
        for path in self.checked.missing.iter().take(10) {
            output::line(&format!("  missing or wrong: {}", output::printable(path)))?;
        }
        output::line("\nWhat to try next")?;
        let program = program();
        let store = places.store.display();
        for (command, what) in [
            (again(), "the same again: it does nothing new and says so"),
            (format!("{program} serve --data {store}"), "the demo's store; then, elsewhere:"),
            (format!("{program} queues show demo"), "... what passed through its queue"),
            (format!("{program} jobs list --queue demo"), "... and what became of each job"),
            (format!("{program} dev"), "your own jobs: it prints lines to copy"),
        ] {
            output::line(&format!("  {command:<48}  {what}"))?;
        }
        Ok(())
    }

    fn facts(&self, places: &Places) -> Vec<(&'static str, Option<String>)> {
        let checked = &self.checked;
        let some =
            |number: u64, what: &str| (number > 0).then(|| format!("{} {what}", grouped(number)));
        let archived = format!(
            "{} of {}, decompressed and compared by SHA-256; {} in {}",
            grouped(checked.sound + checked.changed),
            grouped(self.files),
            bytes(checked.compressed),
            places.archive.display()
        );
        let sum = |of: fn(&Ride) -> u64| self.rides.iter().map(of).sum::<u64>();
        let again = format!(
            "{} (handed over more than once, archived once)",
            count(sum(|ride| ride.delivered_again), "job")
        );
        let failures: Vec<_> =
            self.rides.iter().flat_map(|ride| ride.failures.iter().cloned()).collect();
        vec![
            ("archive", Some(archived)),
            ("changed", some(checked.changed, "changed or went while the demo ran")),
            ("left over", some(checked.others, "in the archive without a file, from earlier runs")),
            ("new jobs", Some(grouped(self.new))),
            ("unchanged", some(sum(|ride| ride.unchanged), "were in the archive already")),
            ("delivered again", (!self.rides.is_empty()).then_some(again)),
            ("rate", self.rate()),
            ("killed", self.killed()),
            ("dead jobs", some(self.dead, "(longshore jobs list --state dead)")),
            ("went wrong", (!failures.is_empty()).then(|| failures.join("; "))),
            ("store", Some(places.store.display().to_string())),
            ("logs", Some(places.logs.display().to_string())),
        ]
    }

    fn rate(&self) -> Option<String> {
        let jobs: u64 = self.rides.iter().map(|ride| ride.jobs).sum();
        let took: f64 = self.rides.iter().map(|ride| ride.took.as_secs_f64()).sum();
        let paced = self.rides.iter().any(|ride| ride.pace.0 > 0);
        let pace = if paced { ", paced to be watchable" } else { "" };
        let lasted = format!("{} in {took:.1} s, outages included{pace}", count(jobs, "job"));
        (jobs > 0).then(|| format!("{:.0} jobs/s ({lasted})", jobs as f64 / took.max(0.001)))
    }

    fn killed(&self) -> Option<String> {
        let ride = self.rides.first()?;
        let worker = ride.worker_killed_at.map(|at| format!("a worker after {}", count(at, "job")));
        let server = ride.server_killed_at.map(|at| {
            let ms = ride.server_away.as_millis();
            format!("the server after {}, ready again in {ms} ms", count(at, "job"))
        });
        let killed: Vec<_> = worker.into_iter().chain(server).collect();
        let none = "nothing: all was done before it came to that".to_owned();
        Some(if killed.is_empty() { none } else { killed.join("; ") })
    }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// This very command, so that it can be copied.
fn again() -> String {
    let arguments = std::env::args_os().skip(1);
    let arguments: Vec<_> = arguments.map(|it| it.to_string_lossy().into_owned()).collect();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=".contains(c);
    if arguments.iter().all(|argument| argument.chars().all(is_plain)) {
        format!("{} {}", program(), arguments.join(" "))
    } else {
        format!("{} demo ...", program())
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
