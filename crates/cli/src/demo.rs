//! `longshore demo`: real files, real processes, and SIGKILL for a worker and for the server in
//! the middle. It ends with a report of what was checked, not of what was hoped.

mod archive;
mod report;
mod worker;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use longshore_server::api::{
    DurationText, EnqueueBulk, EnqueueBulkAnswer, JobList, JobRecord, NewJob, QueueRecord, RawJson,
    RetryText,
};
use tokio::time::{Instant, interval};

use self::archive::SourceFile;
use self::report::Report;
pub(crate) use self::report::program;
pub(crate) use self::worker::{DemoWorkerArgs, execute_worker};
use crate::cli::Context;
use crate::client::{Client, read};
use crate::failure::Failure;
use crate::launch::{Process, ServerProcess};
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
}

/// A demo under way.
struct Demo {
    args: DemoArgs,
    /// Standard output is for the report alone.
    is_quiet: bool,
    folder: PathBuf,
    files: Vec<SourceFile>,
    server: ServerProcess,
    client: Client,
    workers: Vec<Process>,
    /// The least time for each file.
    pace: DurationText,
    report: Report,
}

pub(crate) async fn execute(args: DemoArgs, context: &Context) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let mut demo = Demo::prepare(args, context.format == Format::Json).await?;
    let outcome = tokio::select! {
        outcome = demo.play() => Some(outcome),
        () = signals.next() => None,
    };
    let Some(outcome) = outcome else {
        note("interrupted: stopping workers and server");
        tokio::select! {
            () = demo.stop(Duration::from_secs(3)) => {}
            // Whoever insists is heard: dropping the processes kills them.
            () = signals.next() => {}
        }
        note("nothing is left running; run it again and it goes on where it was");
        return Ok(ExitCode::from(130));
    };
    demo.stop(Duration::from_secs(10)).await;
    outcome?;
    if demo.is_quiet { output::json(&demo.report) } else { demo.report.print() }?;
    Ok(if demo.report.sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Demo {
    /// Finds the files, makes the folders, and starts the server.
    async fn prepare(args: DemoArgs, is_quiet: bool) -> Result<Self> {
        if args.workers == 0 || args.workers > 64 {
            let why = format!("{} workers: 1 to 64 can be had", args.workers);
            return Err(Failure::usage(why).into());
        }
        let (shown, out) = (args.folder.display(), &args.out);
        let folder = args.folder.canonicalize();
        let folder = folder.map_err(|error| Failure::usage(format!("folder {shown}: {error}")))?;
        for path in [out.join("archive"), out.join("logs")] {
            fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        }
        let found = archive::walk(&folder, out);
        let (files, skipped) = found.with_context(|| format!("cannot read {shown}"))?;
        if let Some(path) = skipped.first() {
            let (path, number) = (path.display(), count(skipped.len() as u64, "file"));
            note(&format!(
                "not archived, since it cannot be read or named: {number}, such as {path}"
            ));
        }
        if files.is_empty() {
            return Err(Failure::usage(format!("folder {shown} has no files to archive")).into());
        }
        let server = serve(out, "127.0.0.1:0").await?;
        let client = Client::new(&server.address, None)?;
        let report = Report::new(files.len() as u64, out);
        let (workers, pace) = (Vec::new(), DurationText(0));
        Ok(Self { args, is_quiet, folder, files, server, client, workers, pace, report })
    }

    /// Tells the person who watches.
    fn say(&self, text: &str) -> std::io::Result<()> {
        if self.is_quiet {
            note(text);
            return Ok(());
        }
        output::line(text)
    }

    /// Everything from the first job to the last check.
    async fn play(&mut self) -> Result<()> {
        let (total, out) = (self.files.len() as u64, &self.args.out);
        let (size, from) = (self.files.iter().map(|file| file.bytes).sum(), self.folder.display());
        let (files, size, to) = (count(total, "file"), bytes(size), out.join("archive"));
        self.say(&format!("Longshore demo: {files} ({size}) of {from} into {}", to.display()))?;
        let (pid, at, store) = (self.server.process.pid, &self.server.address, out.join("store"));
        let store = store.display();
        self.say(&format!(
            "  server   process {pid}, http://{at}, everything it knows is in {store}"
        ))?;
        let new = self.enqueue(&self.files, "").await?;
        self.report.new_jobs = new;
        let (jobs, known) = (count(total, "job"), grouped(total - new));
        self.say(&format!("  enqueued {jobs} ({} new, {known} known from before)", grouped(new)))?;
        let pending = backlog(&self.queue().await?);
        if pending > 0 {
            self.ride(pending).await?;
        }
        let mut missing = self.check().await?;
        if !missing.is_empty() {
            // The jobs are done, but somebody took files out of the archive since.
            let lost = count(missing.len() as u64, "file");
            self.say(&format!("  {lost} not in the archive: enqueued once more"))?;
            let again = self.enqueue(&missing, &uuid::Uuid::now_v7().to_string()).await?;
            self.ride(again).await?;
            missing = self.check().await?;
        }
        self.report.sound = missing.is_empty();
        self.report.missing = missing.into_iter().map(|file| file.path).collect();
        self.report.dead_jobs = self.queue().await?.dead;
        Ok(())
    }

    /// Enqueues one job per file. Answers how many of them the server had not known.
    async fn enqueue(&self, files: &[SourceFile], round: &str) -> Result<u64> {
        let path = self.client.path(&format!("/queues/{QUEUE}/jobs"));
        let mut new = 0;
        for bulk in files.chunks(BULK) {
            let jobs = bulk.iter().map(|file| {
                let mut job = NewJob::of(KIND);
                job.id = Some(file.job_id(round).to_string().parse()?);
                job.args = Some(RawJson::of(&worker::ArchiveArgs { path: file.path.clone() })?);
                job.max_attempts = Some(10);
                job.retry = Some(RetryText::Constant { delay: DurationText::seconds(1) });
                Ok(job)
            });
            let jobs = jobs.collect::<Result<Vec<_>>>()?;
            let body = self.client.post(&path, &EnqueueBulk { jobs }).await?;
            new += (bulk.len() as u64).saturating_sub(read::<EnqueueBulkAnswer>(&body)?.replayed);
        }
        Ok(new)
    }

    async fn queue(&self) -> Result<QueueRecord> {
        Ok(read(&self.client.get(&self.client.path(&format!("/queues/{QUEUE}"))).await?)?)
    }

    /// Reads the whole archive. Answers the files that are missing or wrong in it.
    async fn check(&mut self) -> Result<Vec<SourceFile>> {
        let (archive, folder) = (self.args.out.join("archive"), self.folder.clone());
        let files = self.files.clone();
        let check = move || archive::check(&archive, &folder, &files);
        let (bytes, missing) = tokio::task::spawn_blocking(check).await?;
        self.report.archived = (self.files.len() - missing.len()) as u64;
        self.report.archive_bytes = bytes;
        Ok(missing)
    }

    /// Works off `pending` jobs, killing and restarting on the way, the first time.
    async fn ride(&mut self, pending: u64) -> Result<()> {
        let hands = (self.args.workers * CONCURRENCY) as u64;
        let pace_ms = (WATCHABLE_MS * hands / pending.max(1)).min(1000);
        self.pace = DurationText(if self.args.full_speed || pace_ms < 3 { 0 } else { pace_ms });
        if self.pace.0 > 0 {
            let why = "so that there is something to watch; --full-speed takes none";
            self.say(&format!("  pace     each file takes {} at least, {why}", self.pace))?;
        }
        for number in self.workers.len() + 1..=self.args.workers {
            let worker = self.start_worker(number)?;
            self.workers.push(worker);
        }
        let kills = self.report.jobs_done == 0;
        let (start, mut told) = (Instant::now(), Instant::now());
        let mut tick = interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            let left = backlog(&self.queue().await?);
            let done = pending - left.min(pending);
            if kills {
                self.disturb(done, pending).await?;
            }
            if left == 0 {
                break;
            }
            if told.elapsed() >= Duration::from_secs(1) {
                told = Instant::now();
                let rate = done as f64 / start.elapsed().as_secs_f64();
                let (done, all) = (grouped(done), grouped(pending));
                self.say(&format!("  {done} of {all} files, {rate:.0} files/s"))?;
            }
            if self.server.process.has_ended() {
                let log = self.args.out.join("logs/server.log");
                anyhow::bail!("the server ended by itself; see {}", log.display());
            }
        }
        self.report.jobs_done += pending;
        self.report.seconds += start.elapsed().as_secs_f64();
        self.report.paced |= self.pace.0 > 0;
        self.report.delivered_again = self.jobs(None, |job| job.attempt > 1).await?.len() as u64;
        Ok(())
    }

    /// Kills what is due to be killed, while it is at work, and starts it again.
    async fn disturb(&mut self, done: u64, pending: u64) -> Result<()> {
        let progress = format!("after {} of {}", grouped(done), grouped(pending));
        let killed = (self.report.worker_killed_after, self.report.server_killed_after);
        if killed.0.is_none() && done >= pending * 3 / 10 {
            // Whoever has a job loses it.
            let busy = self.jobs(Some("running"), |_| true).await?;
            let numbers = busy.iter().filter_map(|name| name.strip_prefix("demo-")?.parse().ok());
            let known = |number: &usize| (1..=self.workers.len()).contains(number);
            let Some(number) = numbers.into_iter().find(known) else { return Ok(()) };
            let worker = &mut self.workers[number - 1];
            let pid = worker.pid;
            worker.kill().await?;
            self.report.worker_killed_after = Some(done);
            self.say(&format!("  SIGKILL  worker {number} (process {pid}), {progress}"))?;
            self.workers[number - 1] = self.start_worker(number)?;
        } else if let (Some(_), None) = killed
            && (pending * 6 / 10..pending).contains(&done)
        {
            let pid = self.server.process.pid;
            self.server.process.kill().await?;
            self.report.server_killed_after = Some(done);
            self.say(&format!("  SIGKILL  the server (process {pid}), {progress}"))?;
            let start = Instant::now();
            self.server = serve(&self.args.out, &self.server.address).await?;
            let (pid, ms) = (self.server.process.pid, start.elapsed().as_millis() as u64);
            self.report.server_away_ms = Some(ms);
            let what = format!("is ready after {ms} ms, and the workers go on");
            self.say(&format!("  restart  the server (process {pid}) {what}"))?;
        }
        Ok(())
    }

    /// The workers, if any, of all jobs of the queue that `state` and `filter` pick.
    async fn jobs(
        &self,
        state: Option<&str>,
        filter: impl Fn(&JobRecord<'_>) -> bool,
    ) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let add = |body: &[u8]| {
            let page: JobList<'_> = read(body)?;
            let worker = |job: JobRecord<'_>| job.running.map(|run| run.worker).unwrap_or_default();
            found.extend(page.jobs.into_iter().filter(&filter).map(worker));
            Ok(page.next)
        };
        let parameters = [("queue", Some(QUEUE)), ("limit", Some("100")), ("state", state)];
        self.client.pages(&self.client.path("/jobs"), &parameters, add).await?;
        Ok(found)
    }

    fn start_worker(&self, number: usize) -> Result<Process> {
        let out = &self.args.out;
        let log = out.join(format!("logs/worker-{number}.log"));
        let log = File::options().create(true).append(true).open(log)?;
        let (name, pace) = (format!("demo-{number}"), self.pace.to_string());
        let at = ["demo-worker", &self.server.address, &name].map(OsStr::new);
        let archive = out.join("archive");
        let rest = [self.folder.as_os_str(), archive.as_os_str(), OsStr::new(&pace)];
        Ok(Process::start(&[at, rest].concat(), log)?.0)
    }

    /// Stops the workers, then the server, all of them gracefully where they can.
    async fn stop(&mut self, patience: Duration) {
        self.workers.iter().for_each(Process::terminate);
        for process in self.workers.iter_mut().chain([&mut self.server.process]) {
            process.terminate();
            let _ = process.wait(patience).await;
        }
    }
}

/// The server on the store of the demo.
async fn serve(out: &Path, listen: &str) -> Result<ServerProcess> {
    ServerProcess::start(&out.join("store"), listen, &out.join("logs/server.log")).await
}

fn backlog(queue: &QueueRecord) -> u64 {
    let waiting = queue.ready + queue.scheduled + queue.retrying + queue.blocked;
    waiting + queue.held + queue.running
}
