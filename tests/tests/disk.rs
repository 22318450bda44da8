//! Disks that take no more. A full one is answered for and waited out, also where the reserve is
//! used up. Whatever was answered is there after a restart.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use longshore_tests::faults::{check_nothing_is_lost, enqueue_until_trouble};
use longshore_tests::http::{Answer, Client};
use longshore_tests::producer::base;
use longshore_tests::server::{Server, add_arguments, binary, serve};
use longshore_tests::skip::skip;
use longshore_tests::wait;
use serde_json::{Value, json};

/// A namespace of each of the two shards. Which one it is, is part of the format.
const NAMESPACES: [&str; 2] = ["default", "shop"];

/// No answer may take longer, on a machine that is busy with other tests.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// What a file of a small disk grows by.
const PAGE: u64 = 4096;

/// A small file system of its own.
struct SmallDisk {
    root: tempfile::TempDir,
}

impl SmallDisk {
    /// Mounts one, which takes root; else says why there is none.
    fn mount(size: &str) -> Option<Self> {
        let root = tempfile::tempdir().unwrap();
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(root.path());
        match command.output() {
            Ok(output) if output.status.success() => Some(Self { root }),
            Ok(output) => {
                skip("mount", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                skip("mount", &error.to_string());
                None
            }
        }
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    /// Takes all of its space but so much.
    fn fill_but(&self, left_bytes: u64) -> PathBuf {
        let path = self.root.path().join("filler");
        let file = File::create(&path).unwrap();
        let space = rustix::fs::statvfs(self.root.path()).unwrap();
        let bytes = (space.f_bavail * space.f_frsize).checked_sub(left_bytes).unwrap();
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).unwrap();
        path
    }

    /// Takes all of its space.
    fn fill(&self) -> PathBuf {
        let path = self.root.path().join("filler");
        let file = File::create(&path).unwrap();
        let mut bytes: u64 = 0;
        for step in [16 << 20, 1 << 20, 64 << 10, PAGE] {
            let flags = rustix::fs::FallocateFlags::empty();
            while rustix::fs::fallocate(&file, flags, bytes, step).is_ok() {
                bytes += step;
            }
        }
        assert!(bytes > 16 << 20, "only {bytes} bytes were left");
        path
    }
}

/// Fills the last page of a log, so that the next line finds no room on a full disk.
fn fill_page(log: &Path) {
    let mut file = File::options().append(true).open(log).unwrap();
    loop {
        let over = file.metadata().unwrap().len() % PAGE;
        if over == 0 {
            return;
        }
        // Where the server has just written a line, less of it fits.
        let _ = file.write_all(&vec![b'\n'; (PAGE - over) as usize]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that was killed may not have let go yet.
        let _ = Command::new("umount").arg("-l").arg(self.root.path()).status();
    }
}

/// Asks, and sees that there is an answer in time.
fn ask(client: &mut Client, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let begun = Instant::now();
    let answer = client.ask(method, path, body).unwrap();
    assert!(begun.elapsed() < ANSWER_MAX, "{method} {path} took {:?}", begun.elapsed());
    answer
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

/// Leases `count` new jobs of a namespace: their ids and tokens.
fn leased(client: &mut Client, namespace: &str, count: usize) -> Vec<(String, String)> {
    let made = ask(client, "PUT", &base(namespace), None);
    assert!(namespace == "default" || made.is_success(), "{made:?}");
    let path = base(namespace);
    let job = json!({ "kind": "k", "args": 1 });
    for _ in 0..count {
        let answer = ask(client, "POST", &format!("{path}/queues/q/jobs"), Some(&job));
        assert_eq!(answer.status, 202, "{answer:?}");
    }
    let lease = json!({ "queues": ["q"], "max": count, "lease": "1h" });
    let answer = ask(client, "POST", &format!("{path}/lease"), Some(&lease));
    let jobs = answer.body["jobs"].as_array().cloned().unwrap_or_default();
    assert_eq!(jobs.len(), count, "{answer:?}");
    jobs.iter().map(|job| (text(job, "id").to_owned(), text(job, "token").to_owned())).collect()
}

fn ack(client: &mut Client, namespace: &str, (id, token): &(String, String)) -> Answer {
    let body = json!({ "token": token, "result": "x".repeat(900_000) });
    ask(client, "POST", &format!("{}/jobs/{id}/ack", base(namespace)), Some(&body))
}

/// Acks until the shard refuses. Answers how many it took.
fn ack_until_refused(client: &mut Client, namespace: &str, jobs: &[(String, String)]) -> usize {
    for (index, job) in jobs.iter().enumerate() {
        let answer = ack(client, namespace, job);
        if !answer.is_success() {
            assert_eq!((answer.status, answer.code()), (503, "disk_low"), "{answer:?}");
            return index;
        }
    }
    panic!("the disk did not get full with {} acks", jobs.len());
}

/// What a full shard answers.
fn check_full(client: &mut Client, namespace: &str, running: &(String, String)) {
    let path = base(namespace);
    let (id, token) = running;
    let heartbeat = json!({ "token": token });
    for (method, path, body) in [
        ("POST", format!("{path}/jobs/{id}/heartbeat"), Some(&heartbeat)),
        ("DELETE", format!("{path}/queues/q"), None),
        ("GET", format!("{path}/queues/q"), None),
        ("POST", format!("{path}/queues/q/jobs"), Some(&json!({ "kind": "k" }))),
    ] {
        let answer = ask(client, method, &path, body);
        assert_eq!((answer.status, answer.code()), (503, "disk_low"), "{path}: {answer:?}");
    }
    let read = ask(client, "GET", &format!("{path}/jobs/{id}"), None);
    assert_eq!((read.status, text(&read.body, "state")), (200, "running"), "{read:?}");
}

/// With the reserve used up, acks, heartbeats, `DELETE` and `GET` of queues got no answer at all,
/// and `/readyz` said 200. Where the log was on the same disk, the thread that watches it ended
/// with a line that could not be written, and publishing was refused until a restart.
#[test]
fn a_full_disk_is_answered_for_and_waited_out() {
    let Some(disk) = SmallDisk::mount("96m") else { return };
    let log = disk.root.path().join("log");
    let start = || {
        let mut command = serve(&disk.data()).unwrap();
        command.args(["--set", "disk.reserve_bytes=4MiB"]);
        let mut server = Server::start_as(command, &log).unwrap();
        server.wait_ready().unwrap();
        server
    };
    let mut server = start();
    let mut client = server.client();
    let jobs = NAMESPACES.map(|namespace| leased(&mut client, namespace, 100));
    fill_page(&log);
    let filler = disk.fill();
    fill_page(&log);
    let acked = [0, 1].map(|shard| {
        let acked = ack_until_refused(&mut client, NAMESPACES[shard], &jobs[shard]);
        check_full(&mut client, NAMESPACES[shard], &jobs[shard][99]);
        acked
    });
    // The reserve was there for them.
    assert!(acked[0] >= 4, "{acked:?}");
    let health = ask(&mut client, "GET", "/readyz", None);
    assert_eq!(health.status, 503, "{health:?}");
    for shard in health.body["shards"].as_array().into_iter().flatten() {
        assert_eq!(text(shard, "state"), "waiting_for_space", "{health:?}");
        assert!(text(shard, "reason").contains("the disk is full"), "{health:?}");
    }
    std::fs::remove_file(filler).unwrap();
    server.wait_ready().unwrap();
    for shard in [0, 1] {
        // What was refused is repeated, and there is an end to it.
        for job in &jobs[shard][acked[shard]..acked[shard] + 3] {
            let answer = ack(&mut client, NAMESPACES[shard], job);
            assert!(answer.is_success(), "{answer:?}\n{}", server.log_text());
        }
        publish_until_taken(&mut client, NAMESPACES[shard]);
    }
    server.wait_logged("lines were lost: standard error did not take them").unwrap();
    server.kill().unwrap();
    let mut server = start();
    let mut client = server.client();
    for shard in [0, 1] {
        check_acked(&mut client, NAMESPACES[shard], &jobs[shard][..acked[shard] + 3]);
    }
    server.kill().unwrap();
}

/// Whoever watches the disk looks only now and then whether there is space again.
fn publish_until_taken(client: &mut Client, namespace: &str) {
    let path = format!("{}/queues/q/jobs", base(namespace));
    wait::until("publishing is open", || {
        let answer = ask(client, "POST", &path, Some(&json!({ "kind": "k" })));
        let refused = (answer.status, answer.code()) == (503, "disk_low");
        assert!(answer.is_success() || refused, "{answer:?}");
        Ok(answer.is_success().then_some(()))
    })
    .unwrap();
}

/// Acks by turns until both shards say that they wait for space, each refusal being for its want.
/// Answers how many each took.
fn ack_until_both_wait(client: &mut Client, jobs: &[Vec<(String, String)>; 2]) -> [usize; 2] {
    let mut acked = [0, 0];
    wait::until("both shards wait for space", || {
        for shard in [0, 1] {
            let job = jobs[shard].get(acked[shard]).context("the disk did not get full")?;
            let answer = ack(client, NAMESPACES[shard], job);
            if answer.is_success() {
                acked[shard] += 1;
            } else {
                assert_eq!((answer.status, answer.code()), (503, "disk_low"), "{answer:?}");
            }
        }
        let health = ask(client, "GET", "/readyz", None);
        let shards = health.body["shards"].as_array().cloned().unwrap_or_default();
        let both_wait = shards.iter().all(|it| text(it, "state") == "waiting_for_space");
        Ok(both_wait.then_some(()))
    })
    .unwrap();
    acked
}

/// Segments and reserve of the usual size on a disk with 15 to 50 MB left: both shards flush all
/// the time, and their flushes race for what the reserve gives back.
#[test]
fn a_disk_gets_full_under_shards_that_flush_with_segments_and_reserve_as_usual() {
    let Some(disk) = SmallDisk::mount("300m") else { return };
    let logs = tempfile::tempdir().unwrap();
    let log = logs.path().join("log");
    let start = || {
        let mut command = serve(&disk.data()).unwrap();
        command.args(["--set", "memory.memtable_bytes=1MiB"]);
        let mut server = Server::start_as(command, &log).unwrap();
        server.wait_ready().unwrap();
        server
    };
    let mut server = start();
    let mut client = server.client();
    let jobs = NAMESPACES.map(|namespace| leased(&mut client, namespace, 200));
    let filler = disk.fill_but(30 << 20);
    let acked = ack_until_both_wait(&mut client, &jobs);
    let told = std::fs::read_to_string(&log).unwrap();
    assert!(told.contains("the reserve is used"), "{told}");
    for shard in ["\"shard\":0,", "\"shard\":1,"] {
        let waits = |line: &str| line.contains("the flush waits") && line.contains(shard);
        assert!(told.lines().any(waits), "no flush of {shard} met the full disk\n{told}");
    }
    // All 64 MiB of the reserve went to what was going on, less what flushes left half-written.
    assert!(acked[0] + acked[1] > 40, "{acked:?}");
    std::fs::remove_file(filler).unwrap();
    server.wait_ready().unwrap();
    for shard in [0, 1] {
        for job in &jobs[shard][acked[shard]..acked[shard] + 3] {
            let answer = ack(&mut client, NAMESPACES[shard], job);
            assert!(answer.is_success(), "{answer:?}\n{}", server.log_text());
        }
    }
    server.kill().unwrap();
    let mut server = start();
    let mut client = server.client();
    for shard in [0, 1] {
        check_acked(&mut client, NAMESPACES[shard], &jobs[shard][..acked[shard] + 3]);
    }
    assert!(server.terminate().unwrap().success(), "{}", server.log_text());
}

fn check_acked(client: &mut Client, namespace: &str, jobs: &[(String, String)]) {
    for (id, _) in jobs {
        let read = ask(client, "GET", &format!("{}/jobs/{id}", base(namespace)), None);
        assert_eq!(text(&read.body, "state"), "succeeded", "{read:?}");
    }
}

/// A file that may not grow (`ulimit -f`) is another error than a full disk. It is met ahead, while
/// there is room left: publishing is refused.
#[test]
fn a_journal_that_may_not_grow_refuses_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    Server::start_ready(&data).unwrap().terminate().unwrap();
    let mut server = start_limited(&data, folder.path());
    let answers = enqueue_until_trouble(&server, 8000);
    assert!(!answers.broke, "{}", server.log_text());
    assert!(answers.refused > 0, "it never ran into the limit");
    assert!(!answers.accepted.is_empty());
    server.kill().unwrap();
    check_nothing_is_lost(&data, &answers.accepted).unwrap();
}

/// No file may get longer than 8 or 16 MB (the shells' blocks differ): the journal's first segments
/// fit, a later one does not. The signal is ignored, so that writes and allocations fail with EFBIG
/// instead of killing the process.
fn start_limited(data: &Path, folder: &Path) -> Server {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 16000; exec \"$0\" \"$@\""]);
    command.arg(binary().unwrap());
    add_arguments(&mut command, data);
    let mut server = Server::start_as(command, &folder.join("log")).unwrap();
    server.wait_ready().unwrap();
    server
}
