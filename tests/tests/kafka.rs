//! Unmodified Kafka clients against a real server, and what they were told over its death. Needs
//! Python and packages from `PyPI`; skipped where those are missing.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use longshore_tests::kafka::{Broker, clients, suite};
use longshore_tests::skip::skip;

/// Acknowledgements that are waited for before each death of the server.
const ACKS: usize = 300;
/// Transactions that end before each death.
const TRANSACTIONS: usize = 40;
const DEATHS: usize = 3;

/// Ends a client that a failing test leaves behind.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn survive(python: &Path, broker: &Broker, what: &str) -> Result<(Client, ChildStdout)> {
    let mut child = Command::new(python)
        .arg(suite().join("survive.py"))
        .args([&broker.kafka, what, "survivors"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("no standard output")?;
    Ok((Client(child), stdout))
}

#[test]
fn kafka_clients_find_here_what_they_find_at_kafka() {
    let python = match clients(env!("CARGO_TARGET_TMPDIR")) {
        Ok(python) => python,
        Err((need, why)) => return skip(need, &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).unwrap();
    let output = Command::new(&python)
        .arg(suite().join("suite.py"))
        .arg(&broker.kafka)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{failed}{}", broker.server.log_text());
    assert!(said.lines().filter(|line| line.starts_with("PASS")).count() >= 12, "{said}");
}

#[test]
fn what_a_kafka_producer_was_told_outlives_kill_9() {
    let python = match clients(env!("CARGO_TARGET_TMPDIR")) {
        Ok(python) => python,
        Err((need, why)) => return skip(need, &why),
    };
    kill_and_look(&python, ("produce", "check"), ACKS).unwrap();
}

#[test]
fn transactions_of_a_kafka_producer_outlive_kill_9_whole() {
    let python = match clients(env!("CARGO_TARGET_TMPDIR")) {
        Ok(python) => python,
        Err((need, why)) => return skip(need, &why),
    };
    kill_and_look(&python, ("transact", "check-transactions"), TRANSACTIONS).unwrap();
}

#[test]
fn what_compaction_leaves_is_what_it_leaves_at_kafka() {
    let python = match clients(env!("CARGO_TARGET_TMPDIR")) {
        Ok(python) => python,
        Err((need, why)) => return skip(need, &why),
    };
    let folder = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(folder.path()).unwrap();
    // A stop syncs files, and only those are compacted.
    for steps in [&["write"][..], &["look", "close"], &["gone"]] {
        let output = Command::new(&python)
            .arg(suite().join("compaction.py"))
            .arg(&broker.kafka)
            .args(steps)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let failed = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{steps:?}: {failed}{}", broker.server.log_text());
        broker.stop_and_start().unwrap();
    }
}

#[test]
fn kafka_streams_counts_words_exactly_once() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/kafka-streams/run.sh");
    let output = Command::new(script)
        .env("KAFKA", &broker.kafka)
        .env("COMPAT_WORK", Path::new(env!("CARGO_TARGET_TMPDIR")).join("compat"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    match output.status.code() {
        Some(0) => {}
        Some(69) => skip("compat", &said),
        code => panic!("{code:?}: {said}{}", broker.server.log_text()),
    }
}

fn kill_and_look(python: &Path, (act, check): (&str, &str), acks_each: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut broker = Broker::start(folder.path())?;
    // Two partitions: the topic is made by whoever asks for it first.
    let made =
        Command::new(python).args(["-c", MAKE, &broker.kafka]).stdin(Stdio::null()).status()?;
    ensure!(made.success(), "the topic was not made");
    let (mut producer, stdout) = survive(python, &broker, act)?;
    let mut lines = BufReader::new(stdout).lines();
    let mut acks = Vec::new();
    for _ in 0..DEATHS {
        for _ in 0..acks_each {
            acks.push(lines.next().context("the producer has ended")??);
        }
        broker.restart()?;
    }
    drop(producer.0.stdin.take());
    for line in lines {
        acks.push(line?);
    }
    ensure!(producer.0.wait()?.success(), "the producer failed");
    // Once more after the last acknowledgement.
    broker.restart()?;
    let (mut checker, stdout) = survive(python, &broker, check)?;
    let mut stdin = checker.0.stdin.take().context("no standard input")?;
    stdin.write_all(acks.join("\n").as_bytes())?;
    drop(stdin);
    let said = std::io::read_to_string(stdout)?;
    let passed = checker.0.wait()?.success();
    ensure!(passed, "{said}{}", broker.server.log_text());
    ensure!(said.starts_with("OK ") && acks.len() >= acks_each * DEATHS, "{said}");
    Ok(())
}

const MAKE: &str = "\
import sys
from confluent_kafka.admin import AdminClient, NewTopic
admin = AdminClient({'bootstrap.servers': sys.argv[1]})
new = NewTopic('survivors', 2, 1, config={'segment.bytes': '20000'})
admin.create_topics([new])['survivors'].result(30)
";
