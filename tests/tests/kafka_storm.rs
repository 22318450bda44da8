//! Producers, consumers and groups of librdkafka while the server is killed and paused again and
//! again; the verdict is by the anomalies of Jepsen's workload for Kafka. Needs Python and packages
//! from `PyPI`; skipped where those are missing.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use longshore_tests::events::{Fate, Operation, Step, judge, read};
use longshore_tests::python::{Missing, python};
use longshore_tests::random::Random;
use longshore_tests::server::{Server, serve, signal};
use longshore_tests::skip::skip;
use longshore_tests::tier;
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
/// Acknowledged events that a run has at least: fewer are no storm.
const ACKNOWLEDGED_MIN: usize = 1_000;

fn suite() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/kafka-python-clients")
}

/// A Python with the clients.
fn clients() -> Result<PathBuf, Missing> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kafka-python-clients");
    let list = suite().join("requirements.txt");
    python(&folder, "aiokafka, confluent_kafka, kafka", &[OsStr::new("-r"), list.as_os_str()])
}

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

fn start(data: &Path, kafka: &str) -> Result<Server> {
    let mut command = serve(data)?;
    command.args(["--kafka", kafka]);
    let mut server = Server::start_as(command, &data.with_extension("log"))?;
    server.wait_ready()?;
    Ok(server)
}

/// Kills the server at random moments and starts it again, or lets it stand still for a while.
fn torment(server: &mut Server, data: &Path, kafka: &str) -> Result<()> {
    let mut random = Random::new(u64::from(std::process::id()));
    let end = Instant::now() + Duration::from_secs(tier::pick(25, 30 * 60));
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(300 + random.below(1500)));
        if random.once_in(4) {
            signal(server.pid(), Signal::STOP)?;
            thread::sleep(Duration::from_millis(random.below(1000)));
            signal(server.pid(), Signal::CONT)?;
        } else {
            server.kill()?;
            *server = start(data, kafka)?;
        }
    }
    Ok(())
}

#[test]
fn clients_of_kafka_see_no_anomaly_however_often_the_server_is_killed() {
    let python = match clients() {
        Ok(python) => python,
        Err((need, why)) => return skip(need, &why),
    };
    storm(&python).unwrap();
}

fn storm(python: &Path) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    // Clients have to find it there again: the port cannot be the system's choice later.
    let kafka = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let mut server = start(&data, &kafka)?;
    run(python, &kafka, folder.path(), "make")?;
    let begin =
        |(name, what): &(&str, &str)| Client::start(python, &kafka, folder.path(), name, what);
    let clients = CLIENTS.iter().map(begin).collect::<Result<Vec<_>>>()?;
    let tormented = torment(&mut server, &data, &kafka);
    tormented.with_context(|| server.log_text())?;
    let mut history = Vec::new();
    for client in clients {
        history.extend(client.stop()?);
    }
    // Once more: what is there now has to be on disk.
    server.kill()?;
    server = start(&data, &kafka)?;
    history.extend(run(python, &kafka, folder.path(), "final")?);
    verdict(&history)?;
    ensure!(server.terminate()?.success(), "{}", server.log_text());
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
