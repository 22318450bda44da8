//! Producers, consumers and groups of librdkafka while the server is killed and paused again and
//! again; the verdict is by the anomalies of Jepsen's workload for Kafka. Needs Python and packages
//! from `PyPI`; skipped where those are missing.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use longshore_tests::events::{Fate, Operation, Step, judge, read};
use longshore_tests::kafka::{Broker, clients, suite};
use longshore_tests::random::Random;
use longshore_tests::server::signal;
use longshore_tests::skip::skip;
use longshore_tests::{tier, wait};
use rustix::process::Signal;

const TOPIC: &str = "storm";
const PARTITIONS: u32 = 4;
/// What each client does, by its name.
const CLIENTS: &[(&str, &str)] = &[
    ("sender-1", "send"),
    ("sender-2", "send"),
    ("transactor-1", "transact"),
    ("transactor-2", "transact"),
    ("reader-1", "assign"),
    ("member-1", "subscribe"),
    ("member-2", "subscribe"),
];
/// Bytes of a sender's history between two deaths of the server, at most: a second or so of it.
const PROGRESS_BYTES_MAX: u64 = 1 << 20;
/// Acknowledged events that a run has at least: fewer are no storm.
const ACKNOWLEDGED_MIN: usize = 1_000;

/// A client in a process of its own, which ends with a test that fails.
struct Client {
    child: Child,
    said: PathBuf,
}

impl Client {
    fn start(python: &Path, kafka: &str, folder: &Path, name: &str, what: &str) -> Result<Self> {
        let said = folder.join(format!("{name}.jsonl"));
        let child = Command::new(python)
            .arg(suite().join("workload.py"))
            .args([kafka, TOPIC, &PARTITIONS.to_string(), name, what])
            .stdin(Stdio::piped())
            .stdout(File::create(&said)?)
            .stderr(File::create(folder.join(format!("{name}.log")))?)
            .spawn()?;
        Ok(Self { child, said })
    }

    /// Has it end, and reads what it saw.
    fn stop(mut self) -> Result<Vec<Operation>> {
        drop(self.child.stdin.take());
        let ended = self.child.wait()?;
        let log = std::fs::read_to_string(self.said.with_extension("log"))?;
        ensure!(ended.success(), "{}: {ended}\n{log}", self.said.display());
        read(&std::fs::read_to_string(&self.said)?)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills the server and starts it again whenever clients have got on by something, or lets it stand
/// still for a while.
fn torment(broker: &mut Broker, progress: &Path) -> Result<()> {
    let mut random = Random::new(u64::from(std::process::id()));
    let end = Instant::now() + Duration::from_secs(tier::pick(25, 30 * 60));
    let mut seen = 0;
    while Instant::now() < end {
        let aim = seen + 1 + random.below(PROGRESS_BYTES_MAX);
        seen = wait::until("senders go on", || {
            Ok(Some(std::fs::metadata(progress)?.len()).filter(|told| *told >= aim))
        })?;
        if random.once_in(4) {
            let pid = broker.server.pid();
            signal(pid, Signal::STOP)?;
            thread::sleep(Duration::from_millis(random.below(1000)));
            signal(pid, Signal::CONT)?;
        } else {
            broker.restart()?;
        }
    }
    Ok(())
}

#[test]
fn clients_of_kafka_see_no_anomaly_however_often_the_server_is_killed() {
    let python = match clients(env!("CARGO_TARGET_TMPDIR")) {
        Ok(python) => python,
        Err((need, why)) => return skip(need, &why),
    };
    storm(&python).unwrap();
}

fn storm(python: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut broker = Broker::start(folder.path())?;
    let kafka = broker.kafka.clone();
    run(python, &kafka, folder.path(), "make")?;
    let begin =
        |(name, what): &(&str, &str)| Client::start(python, &kafka, folder.path(), name, what);
    let clients = CLIENTS.iter().map(begin).collect::<Result<Vec<_>>>()?;
    let progress = clients.first().context("no clients")?.said.clone();
    let tormented = torment(&mut broker, &progress);
    tormented.with_context(|| broker.server.log_text())?;
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.stop()?);
    }
    // Once more: what is there now has to be on disk.
    broker.restart()?;
    history.extend(run(python, &kafka, folder.path(), "final")?);
    verdict(&history)?;
    ensure!(broker.server.terminate()?.success(), "{}", broker.server.log_text());
    Ok(())
}

/// A client that ends by itself.
fn run(python: &Path, kafka: &str, folder: &Path, what: &str) -> Result<Vec<Operation>> {
    Client::start(python, kafka, folder, what, what)?.stop()
}

fn verdict(history: &[Operation]) -> Result<()> {
    let found = judge(history);
    let first: Vec<_> = found.iter().take(20).map(ToString::to_string).collect();
    ensure!(found.is_empty(), "{} anomalies:\n{}", found.len(), first.join("\n"));
    let sent = history.iter().filter(|it| it.fate == Fate::Ok).flat_map(|it| &it.steps);
    let sent = sent.filter(|step| matches!(step, Step::Send { .. })).count();
    ensure!(sent >= ACKNOWLEDGED_MIN, "only {sent} events were acknowledged");
    Ok(())
}
