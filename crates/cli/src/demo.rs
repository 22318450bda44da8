//! `longshore demo`: real files, real processes, and SIGKILL for a worker and for the server in
//! the middle. It ends with a report of what was checked, not of what was hoped.

mod archive;
mod board;
mod check;
mod crew;
mod files;
mod ledger;
mod line;
mod report;
mod worker;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use longshore_server::api::{
    DurationText, EnqueueBulk, EnqueueBulkAnswer, NewJob, QueueRecord, RawJson, RetryText,
};
use tokio::time::{Instant, MissedTickBehavior, interval};

use self::board::Board;
use self::check::{Checked, check};
use self::crew::{Crew, Places, Work};
use self::files::SourceFile;
use self::ledger::{Ledger, Plan};
pub(crate) use self::report::program;
use self::report::{Report, Ride};
use self::worker::ArchiveArgs;
pub(crate) use self::worker::{DemoWorkerArgs, execute_worker};
use crate::cli::Context;
use crate::client::{Client, read};
use crate::failure::{Failure, Kind};
use crate::output::{self, Format, bytes, count, grouped, note};
use crate::signals::Signals;

const QUEUE: &str = "demo";
const KIND: &str = "demo.archive";
/// Short, so that the jobs of a killed worker are soon somebody else's.
const LEASE: DurationText = DurationText::seconds(2);
/// Jobs that a worker does at a time.
const CONCURRENCY: usize = 2;
/// What a demo should last at least, so that there is something to see.
const WATCHABLE_MS: u64 = 6000;
/// How many jobs are enqueued at once.
const BULK: usize = 1000;

#[derive(Args, Debug)]
pub(crate) struct DemoArgs {
    /// The folder to archive
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Where archive, store and logs go
    #[arg(long, value_name = "FOLDER", default_value = "longshore-demo")]
    out: PathBuf,
    /// How many worker processes
    #[arg(long, value_name = "N", default_value_t = 4)]
    workers: usize,
    /// Do not take the time that makes small folders watchable
    #[arg(long)]
    full_speed: bool,
    /// What standard output is for: in JSON only the report goes there.
    #[arg(skip)]
    format: Format,
}

impl DemoArgs {
    /// Tells the person who watches.
    fn say(&self, text: &str) -> std::io::Result<()> {
        match self.format {
            Format::Table => output::line(text),
            Format::Json => {
                note(text);
                Ok(())
            }
        }
    }
}

pub(crate) async fn execute(mut args: DemoArgs, context: &Context) -> Result<ExitCode> {
    args.format = context.format;
    let mut signals = Signals::listen()?;
    let (places, files) = prepare(&args)?;
    args.say(&format!(
        "Longshore demo: {} ({}) of {} into {}",
        count(files.len() as u64, "file"),
        bytes(files.iter().map(|file| file.bytes).sum()),
        places.folder.display(),
        places.archive.display()
    ))?;
    let work = Work { concurrency: CONCURRENCY, pace: DurationText(0) };
    let mut crew = Crew::start(places.clone(), work).await?;
    args.say(&format!(
        "  server   process {}, http://{}, everything it knows is in {}",
        crew.server.process.pid,
        crew.server.address,
        places.store.display()
    ))?;
    let outcome = tokio::select! {
        outcome = play(&mut crew, &args, &places, &files) => Some(outcome),
        () = signals.next() => None,
    };
    let Some(outcome) = outcome else {
        note("interrupted: stopping workers and server");
        tokio::select! {
            () = crew.stop(Duration::from_secs(3)) => {}
            // Whoever insists is heard: dropping the processes kills them.
            () = signals.next() => {}
        }
        note("nothing is left running; run it again and it goes on where it was");
        return Ok(ExitCode::from(130));
    };
    crew.stop(Duration::from_secs(10)).await;
    let report = outcome?;
    match args.format {
        Format::Table => report.print(&places)?,
        Format::Json => output::json(&report.summary(&places))?,
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Finds the files, and makes the folders.
fn prepare(args: &DemoArgs) -> Result<(Places, Vec<SourceFile>)> {
    if args.workers == 0 || args.workers > 64 {
        return Err(Failure::usage(format!("{} workers: 1 to 64 can be had", args.workers)).into());
    }
    let shown = args.folder.display();
    let folder = args.folder.canonicalize();
    let folder = folder.map_err(|error| Failure::usage(format!("folder {shown}: {error}")))?;
    let make = |path: &Path| {
        fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
    };
    make(&args.out)?;
    let (files, skipped) =
        files::walk(&folder, &args.out).with_context(|| format!("cannot read {shown}"))?;
    for path in skipped.iter().take(3) {
        note(&format!("not archived, since it cannot be read or named: {}", path.display()));
    }
    if skipped.len() > 3 {
        note(&format!("... and {} more", skipped.len() - 3));
    }
    if files.is_empty() {
        return Err(Failure::usage(format!("folder {shown} has no files to archive")).into());
    }
    let out = &args.out;
    let (archive, store, logs) = (out.join("archive"), out.join("store"), out.join("logs"));
    make(&archive)?;
    make(&logs)?;
    Ok((Places { folder, archive, store, logs }, files))
}

/// Everything from the first job to the last check.
async fn play(
    crew: &mut Crew,
    args: &DemoArgs,
    places: &Places,
    files: &[SourceFile],
) -> Result<Report> {
    let client = Client::new(&crew.server.address, None)?;
    let all: Vec<_> = files.iter().collect();
    let new = enqueue(&client, &all, "").await?;
    let again = files.len() as u64 - new;
    args.say(&format!(
        "  enqueued {} ({} new, {} known from before)",
        count(files.len() as u64, "job"),
        grouped(new),
        grouped(again)
    ))?;
    let mut rides = Vec::new();
    let pending = backlog(&queue(&client).await?);
    if pending > 0 {
        rides.push(ride(crew, args, &client, files, pending).await?);
    }
    let mut checked = verify(places, files).await?;
    if !checked.missing.is_empty() {
        // The jobs are done, but somebody took files out of the archive since.
        let lost: HashSetOf<'_> = checked.missing.iter().map(String::as_str).collect();
        let missing: Vec<_> =
            files.iter().filter(|file| lost.contains(file.path.as_str())).collect();
        args.say(&format!(
            "  {} not in the archive: enqueued once more",
            count(missing.len() as u64, "file")
        ))?;
        let round = uuid::Uuid::now_v7().to_string();
        let pending = enqueue(&client, &missing, &round).await?;
        rides.push(ride(crew, args, &client, files, pending).await?);
        checked = verify(places, files).await?;
    }
    let dead = queue(&client).await?.dead;
    Ok(Report { files: files.len() as u64, new, rides, checked, dead })
}

type HashSetOf<'a> = std::collections::HashSet<&'a str>;

async fn verify(places: &Places, files: &[SourceFile]) -> Result<Checked> {
    let (archive, folder) = (places.archive.clone(), places.folder.clone());
    let files = files.to_vec();
    Ok(tokio::task::spawn_blocking(move || check(&archive, &folder, &files)).await??)
}

/// Enqueues one job per file. Answers how many of them the server had not known.
async fn enqueue(client: &Client, files: &[&SourceFile], round: &str) -> Result<u64> {
    let path = client.path(&format!("/queues/{QUEUE}/jobs"));
    let mut new = 0;
    for bulk in files.chunks(BULK) {
        let jobs = bulk.iter().map(|file| {
            let mut job = NewJob::of(KIND);
            job.id = Some(file.job_id(round).to_string().parse()?);
            job.args = Some(RawJson::of(&ArchiveArgs { path: file.path.clone() })?);
            job.max_attempts = Some(10);
            job.retry = Some(RetryText::Constant { delay: DurationText::seconds(1) });
            Ok(job)
        });
        let jobs = jobs.collect::<Result<Vec<_>>>()?;
        let count = jobs.len() as u64;
        let body = client.post(&path, &EnqueueBulk { jobs }).await?;
        let answer: EnqueueBulkAnswer = read(&body)?;
        new += count - answer.replayed.min(count);
    }
    Ok(new)
}

async fn queue(client: &Client) -> Result<QueueRecord> {
    Ok(read(&client.get(&client.path(&format!("/queues/{QUEUE}"))).await?)?)
}

fn backlog(queue: &QueueRecord) -> u64 {
    let waiting = queue.ready + queue.scheduled + queue.retrying + queue.blocked;
    waiting + queue.held + queue.running
}

/// Works off `pending` jobs, killing and restarting on the way.
async fn ride(
    crew: &mut Crew,
    args: &DemoArgs,
    client: &Client,
    files: &[SourceFile],
    pending: u64,
) -> Result<Ride> {
    let hands = (args.workers * CONCURRENCY) as u64;
    let pace_ms = (WATCHABLE_MS * hands / pending.max(1)).min(1000);
    let pace = DurationText(if args.full_speed || pace_ms < 3 { 0 } else { pace_ms });
    crew.set_work(Work { concurrency: CONCURRENCY, pace });
    while crew.workers() < args.workers {
        crew.add_worker()?;
    }
    if pace.0 > 0 {
        let why = "so that there is something to watch; --full-speed takes none";
        args.say(&format!("  pace     each file takes {pace} at least, {why}"))?;
    }
    let all_pending = pending == files.len() as u64;
    let total_bytes = all_pending.then(|| files.iter().map(|file| file.bytes).sum());
    let mut board = Board::new(pending, total_bytes, args.workers, args.format);
    let mut course = Course {
        ledger: Ledger::new(args.workers),
        plan: Plan::for_jobs(pending),
        pending,
        left: pending,
        ride: Ride { pace, ..Ride::default() },
    };
    let start = Instant::now();
    let mut tick = interval(Duration::from_millis(100));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while course.left > 0 {
        tokio::select! {
            (worker, line) = crew.next_line() => {
                course.ledger.note(worker, &line);
                board.show_worker(worker, &line);
            }
            _ = tick.tick() => course.left = backlog(&queue(client).await?),
        }
        course.disturb(crew, &board).await?;
        board.advance(course.done(), course.ledger.bytes);
    }
    let mut ride = course.ride;
    ride.took = start.elapsed();
    while let Some((worker, line)) = crew.line_at_hand() {
        course.ledger.note(worker, &line);
    }
    board.close();
    ride.jobs = pending;
    ride.unchanged = course.ledger.unchanged;
    ride.delivered_again = course.ledger.delivered_again();
    ride.failures = course.ledger.failures;
    Ok(ride)
}

/// How far a ride is.
struct Course {
    ledger: Ledger,
    plan: Plan,
    pending: u64,
    /// Jobs that the queue still holds, as last asked.
    left: u64,
    ride: Ride,
}

impl Course {
    fn done(&self) -> u64 {
        (self.pending - self.left.min(self.pending)).max(self.ledger.stored().min(self.pending))
    }

    /// Kills what is due to be killed, while it is at work, and starts it again.
    async fn disturb(&mut self, crew: &mut Crew, board: &Board) -> Result<()> {
        let done = self.done();
        let Some(victim) = self.ledger.busiest() else { return Ok(()) };
        if self.ride.worker_killed_at.is_none() && done >= self.plan.kill_worker_at {
            let pid = crew.kill_worker(victim).await?;
            while let Some((worker, line)) = crew.line_at_hand() {
                self.ledger.note(worker, &line);
            }
            let held = self.ledger.forget(victim);
            self.ride.worker_killed_at = Some(done);
            board.mark_worker(victim, "killed with SIGKILL");
            board.say(&format!(
                "  SIGKILL  worker {} (process {pid}) with {} in hand, after {} of {}",
                victim + 1,
                count(held as u64, "job"),
                grouped(done),
                grouped(self.pending)
            ));
            crew.restart_worker(victim)?;
        } else if self.ride.worker_killed_at.is_some()
            && self.ride.server_killed_at.is_none()
            && done >= self.plan.kill_server_at
        {
            let pid = crew.kill_server().await?;
            self.ride.server_killed_at = Some(done);
            board.say(&format!(
                "  SIGKILL  the server (process {pid}), after {} of {}",
                grouped(done),
                grouped(self.pending)
            ));
            let start = Instant::now();
            crew.restart_server().await?;
            self.ride.server_away = start.elapsed();
            board.say(&format!(
                "  restart  the server (process {}) is ready after {} ms, and the workers go on",
                crew.server.process.pid,
                self.ride.server_away.as_millis()
            ));
        }
        if crew.server.process.has_ended() {
            bail!(
                Failure::new(Kind::Other, "the server ended by itself")
                    .hint(format!("see {}", crew.server_log().display()))
            );
        }
        Ok(())
    }
}
