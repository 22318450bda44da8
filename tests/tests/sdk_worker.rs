//! A worker of the Rust SDK as a real process, under a supervisor and an operator: SIGTERM, its
//! grace, recycling, `sd_notify`, `longshore workers quiet`.

use std::fs;
use std::io::Read;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use longshore::{Client, Job, JobHandle, JobRecord, JobState, Prefetch, Worker};
use longshore_tests::sdk::{Hoard, Items, Patient, Stubborn, Taken};
use longshore_tests::server::{Server, binary, describe, signal};
use longshore_tests::wait;
use rustix::process::Signal;
use tempfile::TempDir;

struct Setup {
    server: Server,
    client: Client,
    folder: TempDir,
}

/// A worker's process. Killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    fn signal(&self, which: Signal) -> Result<()> {
        signal(self.0.id(), which)
    }

    /// Its exit code, and what it printed.
    fn end(mut self) -> Result<(String, String)> {
        let status = wait::until("the worker ends", || Ok(self.0.try_wait()?))?;
        let mut text = String::new();
        self.0.stdout.take().context("no standard output")?.read_to_string(&mut text)?;
        Ok((describe(status), text.trim().to_owned()))
    }
}

fn words(code: &str, text: &str) -> (String, String) {
    (code.to_owned(), text.to_owned())
}

impl Setup {
    fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let server = Server::start_ready(&folder.path().join("data"))?;
        let client = Client::new(&server.address)?;
        Ok(Self { server, client, folder })
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn command(&self, settings: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sdk-worker"));
        command.args([&self.server.address, "first"]).args(settings);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    fn worker(&self, settings: &[&str]) -> Result<Process> {
        Ok(Process(self.command(settings).spawn()?))
    }

    /// Waits until a job has begun.
    fn began(&self, name: &str) -> Result<()> {
        let path = self.folder.path().join(format!("{name}.began"));
        wait::until(name, || Ok(path.exists().then_some(())))
    }

    fn open(&self, name: &str) -> Result<()> {
        Ok(fs::write(self.folder.path().join(format!("{name}.gate")), "")?)
    }
}

/// Waits until a job is as it has to become.
async fn until<J: Job>(
    job: &JobHandle<J>,
    is_it: impl Fn(&JobRecord) -> bool,
) -> Result<JobRecord> {
    let end = Instant::now() + wait::PATIENCE;
    loop {
        let record = job.record().await?;
        if is_it(&record) {
            return Ok(record);
        }
        ensure!(Instant::now() < end, "it stays {record:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Does in this process what is left.
async fn finish<J: Job<Output = ()>>(client: &Client, job: &JobHandle<J>) -> Result<()> {
    let worker = Worker::new(client, Taken::default())
        .register_iteration::<Items>()
        .register::<Patient>()
        .prefetch(Prefetch::Fixed(0))
        .name("second");
    let done = async {
        let _ = job.result(wait::PATIENCE).await;
    };
    worker.run_until(done).await?;
    Ok(job.result(Duration::ZERO).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_interrupts_iterations_waits_for_the_rest_and_leaves() -> Result<()> {
    let setup = Setup::start()?;
    let (client, folder) = (&setup.client, setup.folder());
    let worker = setup.worker(&[])?;
    let items = client.enqueue(Items { up_to: 2_000, folder: folder.clone() }).await?;
    let patient = client.enqueue(Patient { folder: folder.clone() }).await?;
    setup.began("items")?;
    setup.began("patient")?;
    worker.terminate()?;
    // The iteration goes back at once, with its cursor, while the other job goes on.
    let interrupted = until(&items, |job| job.state == JobState::Ready).await?;
    ensure!(interrupted.cursor.is_some() && interrupted.attempt == 0, "{interrupted:?}");
    let later = client.enqueue(Patient { folder }).await?;
    ensure!(patient.record().await?.state == JobState::Running);
    setup.open("patient")?;
    patient.result(wait::PATIENCE).await?;
    ensure!(worker.end()? == words("exit 0", "Shutdown"));
    let waiting = later.record().await?;
    ensure!((&waiting.state, waiting.attempt) == (&JobState::Ready, 0), "{waiting:?}");
    finish(client, &items).await?;
    let record = items.record().await?;
    ensure!((record.attempt, record.counters["items"]) == (1, 2_000), "{record:?}");
    finish(client, &later).await
}

/// Whoever closed the terminal of a worker killed it, and what ran at most once was dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_closed_terminal_and_a_quit_end_a_worker_in_order() -> Result<()> {
    let setup = Setup::start()?;
    for which in [Signal::HUP, Signal::QUIT, Signal::INT] {
        let worker = setup.worker(&[])?;
        let job = setup.client.enqueue(Patient { folder: setup.folder() }).at_most_once().await?;
        setup.began("patient")?;
        worker.signal(which)?;
        // The kernel and the shell both say that a terminal is closed.
        worker.signal(which)?;
        setup.open("patient")?;
        ensure!(worker.end()? == words("exit 0", "Shutdown"), "{which:?}");
        job.result(Duration::ZERO).await?;
        for name in ["patient.began", "patient.gate"] {
            fs::remove_file(setup.folder.path().join(name))?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_below_nohup_outlives_its_terminal() -> Result<()> {
    let setup = Setup::start()?;
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' HUP QUIT; exec \"$@\"", "sh"]);
    command.args([env!("CARGO_BIN_EXE_sdk-worker"), &setup.server.address, "first"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let worker = Process(command.spawn()?);
    let job = setup.client.enqueue(Patient { folder: setup.folder() }).await?;
    setup.began("patient")?;
    for which in [Signal::HUP, Signal::QUIT] {
        worker.signal(which)?;
    }
    setup.open("patient")?;
    job.result(wait::PATIENCE).await?;
    // It takes more.
    setup.client.enqueue(Hoard { bytes: 1 }).await?.result(wait::PATIENCE).await?;
    worker.terminate()?;
    ensure!(worker.end()? == words("exit 0", "Shutdown"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlasts_the_grace_goes_back_and_holds_up_no_exit() -> Result<()> {
    let setup = Setup::start()?;
    let (client, folder) = (&setup.client, setup.folder());
    let worker = setup.worker(&["grace_ms=100"])?;
    let stubborn = client.enqueue(Stubborn { folder: folder.clone() }).await?;
    let patient = client.enqueue(Patient { folder }).await?;
    setup.began("stubborn")?;
    setup.began("patient")?;
    worker.terminate()?;
    ensure!(worker.end()? == words("exit 0", "Shutdown"));
    for record in [stubborn.record().await?, patient.record().await?] {
        ensure!((&record.state, record.attempt) == (&JobState::Ready, 0), "{record:?}");
    }
    setup.open("patient")?;
    finish(client, &patient).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_at_most_once_run_dies_with_its_worker_and_is_never_handed_out_again() -> Result<()> {
    let setup = Setup::start()?;
    let (client, folder) = (&setup.client, setup.folder());
    let worker = setup.worker(&["grace_ms=100"])?;
    let patient = client.enqueue(Patient { folder: folder.clone() }).at_most_once().await?;
    let stubborn = client.enqueue(Stubborn { folder: folder.clone() }).at_most_once().await?;
    setup.began("patient")?;
    setup.began("stubborn")?;
    worker.terminate()?;
    ensure!(worker.end()? == words("exit 0", "Shutdown"));
    for record in [patient.record().await?, stubborn.record().await?] {
        ensure!((&record.state, record.attempt) == (&JobState::Dead, 1), "{record:?}");
        ensure!(record.reason == "at_most_once", "{record:?}");
    }
    fs::remove_file(folder.join("patient.began"))?;
    let killed = client.enqueue(Patient { folder: folder.clone() }).at_most_once().await?;
    let worker = setup.worker(&[])?;
    setup.began("patient")?;
    drop(worker);
    let record = until(&killed, |job| job.state != JobState::Running).await?;
    ensure!((&record.state, record.reason.as_str()) == (&JobState::Dead, "at_most_once"));
    // The next one finds nothing to do but this.
    fs::remove_file(folder.join("patient.began"))?;
    fs::remove_file(folder.join("stubborn.began"))?;
    setup.open("patient")?;
    finish(client, &client.enqueue(Items { up_to: 1, folder: folder.clone() }).await?).await?;
    ensure!(!folder.join("patient.began").exists() && !folder.join("stubborn.began").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_recycled_by_memory_and_by_jobs() -> Result<()> {
    let setup = Setup::start()?;
    let client = &setup.client;
    let worker = setup.worker(&["bytes=300000000"])?;
    client.enqueue(Hoard { bytes: 1 << 20 }).await?.result(wait::PATIENCE).await?;
    let large = client.enqueue(Hoard { bytes: 400 << 20 }).await?;
    large.result(wait::PATIENCE).await?;
    ensure!(worker.end()? == words("exit 0", "RecycledMemory"));
    let worker = setup.worker(&["jobs=2"])?;
    for _ in 0..2 {
        client.enqueue(Hoard { bytes: 1 }).await?.result(wait::PATIENCE).await?;
    }
    ensure!(worker.end()? == words("exit 0", "RecycledJobs"));
    Ok(())
}

/// What a supervisor hears next.
fn heard(supervisor: &UnixDatagram) -> Result<String> {
    let mut words = [0; 64];
    let length = supervisor.recv(&mut words)?;
    Ok(String::from_utf8_lossy(words.get(..length).unwrap_or_default()).into_owned())
}

fn heard_until(supervisor: &UnixDatagram, words: &str) -> Result<()> {
    wait::until(words, || Ok((heard(supervisor)? == words).then_some(())))
}

fn supervisor(path: &Path) -> Result<UnixDatagram> {
    let supervisor = UnixDatagram::bind(path)?;
    supervisor.set_read_timeout(Some(wait::PATIENCE))?;
    Ok(supervisor)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_hears_how_a_worker_is_doing() -> Result<()> {
    let setup = Setup::start()?;
    let socket = setup.folder.path().join("notify");
    let supervisor = supervisor(&socket)?;
    let mut command = setup.command(&[]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "600000");
    let worker = Process(command.spawn()?);
    heard_until(&supervisor, "READY=1")?;
    heard_until(&supervisor, "WATCHDOG=1")?;
    let job = setup.client.enqueue(Patient { folder: setup.folder() }).await?;
    setup.began("patient")?;
    worker.terminate()?;
    heard_until(&supervisor, "STOPPING=1")?;
    // A worker that waits for its last run is alive.
    for _ in 0..3 {
        ensure!(heard(&supervisor)? == "WATCHDOG=1");
    }
    setup.open("patient")?;
    job.result(wait::PATIENCE).await?;
    ensure!(worker.end()? == words("exit 0", "Shutdown"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_quietens_and_ends_a_worker() -> Result<()> {
    let setup = Setup::start()?;
    let (client, folder) = (&setup.client, setup.folder());
    let ask = |what: &str| -> Result<String> {
        let mut command = Command::new(binary()?);
        command.args(["workers", what, "first", "--server"]);
        command.arg(format!("http://{}", setup.server.address));
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let worker = setup.worker(&[])?;
    let items = client.enqueue(Items { up_to: 2_000, folder: folder.clone() }).await?;
    setup.began("items")?;
    ensure!(ask("quiet")? == "first is quiet");
    until(&items, |job| job.state == JobState::Ready).await?;
    ensure!(ask("terminate")? == "first is terminating");
    ensure!(worker.end()? == words("exit 0", "Terminated"));
    finish(client, &items).await
}
