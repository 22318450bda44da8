//! Folders that a version of Longshore wrote and that stand in `tests/fixtures`: how one is made,
//! and what is in one. What is read is read as of the last entry's instant, so that no clock of
//! today moves anything in it.

mod others;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_engine::query::{attempts_of, body_of, list_jobs, skipped_of};
use longshore_engine::wire::Wire;
use longshore_engine::{Entry, JobFilter, JobView, Limits, Reader, Recovery, TimeMs};
use longshore_journal::{FileConfig, FileJournal, Journal, Prepare};
use longshore_server::config::ServerConfig;
use longshore_server::{Node, NodeConfig, StoreDir, http};
use longshore_store::{Lsm, LsmConfig};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::enumeration::node;
use crate::http::Client;
use crate::wait;

pub use others::answers;

/// Where they stand, one folder for each level, named after it.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// What a store holds, a line for each job. It opens the store as a start does.
pub fn contents(data: &Path) -> Result<String> {
    let store = StoreDir::open_existing(data)?;
    let id = store.manifest().store_id.into_bytes();
    let mut text = String::new();
    for index in 0..store.manifest().shards {
        let shard = store.shard(index);
        let identity = longshore_journal::Identity { store: id, shard: index };
        let config = FileConfig { identity, ..FileConfig::default() };
        let (journal, _) = FileJournal::open(shard.journal(), config)?;
        let identity = longshore_store::Identity { store: id, shard: index };
        let config = LsmConfig { identity, ..LsmConfig::default() };
        let map = Lsm::open(&shard.state(), config)?;
        let persisted = map.position();
        writeln!(text, "shard {index}: state at {persisted}, journal to {}", journal.tail())?;
        let mut recovery = Recovery::begin(map, persisted, Limits::default())?;
        let mut at = TimeMs(0);
        for entry in journal.read_from(persisted.next())? {
            let (position, entry) = entry?;
            recovery.replay(position, &entry)?;
            at = Entry::from_bytes(&entry)?.at;
        }
        let map = recovery.complete_map();
        let filter = JobFilter::default();
        let page = list_jobs(map, "default", &filter, None, (1000, 100_000), at);
        for view in page.context("the namespace is there")?.jobs {
            describe(&mut text, map, &view)?;
        }
    }
    Ok(text)
}

fn describe(text: &mut String, map: &dyn Reader, view: &JobView) -> Result<()> {
    let JobView { job, lease, checkpoint, paused, .. } = view;
    let (queue, kind, state, attempt) = (&job.queue, &job.kind, view.state(), job.attempt);
    write!(text, "{} {queue} {kind} {state:?} attempt {attempt}", job.id)?;
    if let Some(args) = &job.args {
        let args = body_of(map, args);
        let shown = args.get(..args.len().min(30)).unwrap_or_default();
        write!(text, " args {} {}", args.len(), String::from_utf8_lossy(shown))?;
    }
    if let Some(lease) = lease {
        write!(text, " leased by {} {}", lease.worker, lease.session)?;
    }
    if let Some(checkpoint) = checkpoint {
        write!(text, " cursor {:?} counters {:?}", checkpoint.cursor, checkpoint.counters)?;
    }
    if *paused {
        text.push_str(" paused");
    }
    if let Some(key) = &job.options.ordering_key {
        write!(text, " behind {key}")?;
    }
    let notes = attempts_of(map, "default", job.id).len();
    let skipped = skipped_of(map, "default", job.id).len();
    writeln!(text, " notes {notes} skipped {skipped} tags {:?}", job.options.tags)?;
    Ok(())
}

/// A server in this process, with files as small as they may be.
struct Life {
    address: String,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<()>>,
}

impl Life {
    fn begin(data: &Path) -> Result<Self> {
        // Nothing is flushed or prepared while the folder is copied.
        let small = node::config(data);
        let node = NodeConfig {
            journal: FileConfig { prepare: Prepare::Inline, ..small.journal },
            lsm: LsmConfig { memtable_bytes: 4 << 20, ..small.lsm },
            flush_age_max: Duration::from_secs(3600),
            ..small
        };
        let config = ServerConfig { node, ..ServerConfig::default() };
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let node = Node::open(&config.node)?;
                ensure!(node.started().await.is_ready(), "it does not become ready");
                let listener = http::bind("127.0.0.1:0").await?;
                tell.send(listener.local_addr()?.to_string())?;
                let shutdown = async {
                    let _ = stopped.await;
                };
                http::serve(&config, node, listener, shutdown).await?;
                anyhow::Ok(())
            })
        });
        let address = told.recv().context("it does not start")?;
        Ok(Self { address, stop, served })
    }

    fn end(self) -> Result<()> {
        let _ = self.stop.send(());
        self.served.join().ok().context("it panicked")?
    }
}

/// Requests of one client, without a body where it is null; what is refused is an error.
struct Maker(Client);

impl Maker {
    fn ask(&mut self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let answer = self.0.ask(method, path, (!body.is_null()).then_some(body))?;
        ensure!(answer.is_success(), "{method} {path} {body}: {answer:?}");
        Ok(answer.body)
    }

    fn post(&mut self, path: &str, body: &Value) -> Result<Value> {
        self.ask("POST", path, body)
    }

    /// Enqueues a job in a queue of the name of its kind.
    fn enqueue(&mut self, kind: &str, mut job: Value) -> Result<String> {
        job["kind"] = json!(kind);
        let answer = self.post(&format!("/v1/queues/{kind}/jobs"), &job)?;
        Ok(answer["id"].as_str().context("an id")?.to_owned())
    }

    /// Leases the job of a queue and does something with it.
    fn run(&mut self, queue: &str, verb: &str, mut body: Value) -> Result<()> {
        let job = self.lease(queue)?;
        body["token"] = job["token"].clone();
        self.post(&format!("/v1/jobs/{}/{verb}", job["id"].as_str().context("an id")?), &body)?;
        Ok(())
    }

    fn lease(&mut self, queue: &str) -> Result<Value> {
        let wish = json!({ "queues": [queue], "lease": "12h", "worker": "w" });
        let answer = self.post("/v1/lease", &wish)?;
        Ok(answer["jobs"].get(0).with_context(|| format!("no job in {queue}"))?.clone())
    }
}

/// The turn of the worker `w` that has to give the same lease again.
pub const TURN: u64 = 7;

/// Makes a store with something of everything in `data`, by requests as clients make them, and
/// leaves in `to` what a crash would leave: a flushed state and a journal after it.
pub fn make(data: &Path, to: &Path) -> Result<()> {
    let life = Life::begin(data)?;
    let mut maker = Maker(Client::new(&life.address));
    flushed(&mut maker)?;
    others::make(&mut maker)?;
    life.end()?;
    let life = Life::begin(data)?;
    journaled(&mut Maker(Client::new(&life.address)))?;
    // Whatever was answered is on disk.
    copy(data, to)?;
    life.end()
}

const FAR: &str = "3650d";

fn flushed(maker: &mut Maker) -> Result<()> {
    let settings = json!({ "max_length": 1000, "defaults": { "priority": 5, "retain": FAR } });
    maker.ask("PUT", "/v1/queues/full", &settings)?;
    let retry = json!({ "policy": "exponential", "base": "1s", "factor": 2, "cap": "1h" });
    let full = json!({
        "args": { "n": 1 }, "id": "5a0e8400-e29b-41d4-a716-446655440000", "priority": 9,
        "ordering_key": "k", "max_attempts": 3, "retry": retry, "max_age": FAR, "ttl": FAR,
        "timeout": FAR, "lease": "12h", "retain": FAR, "tags": ["eu", "bulk"],
        "metadata": { "request": 1 },
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    maker.enqueue("full", full)?;
    maker.enqueue("full", json!({ "ordering_key": "k" }))?;
    maker.enqueue("plain", json!({}))?;
    maker.enqueue("later", json!({ "delay": FAR }))?;
    maker.enqueue("stored", json!({ "args": "x".repeat(6000) }))?;
    maker.enqueue("apart", json!({ "args": "y".repeat(40_000) }))?;
    for kind in ["acked", "large", "failed", "died", "put-off", "discarded", "interrupted"] {
        let attempts = if kind == "died" { 1 } else { 9 };
        maker.enqueue(kind, json!({ "retain": FAR, "max_attempts": attempts }))?;
    }
    maker.run("acked", "ack", json!({ "result": [1, 2], "location": "/reports/7" }))?;
    maker.run("large", "ack", json!({ "result": "z".repeat(5000) }))?;
    let error = json!({ "type": "E", "message": "m", "backtrace": "b" });
    maker.run("failed", "fail", json!({ "error": error, "retry_in": FAR }))?;
    maker.run("died", "fail", json!({ "error": error }))?;
    maker.run("put-off", "snooze", json!({ "delay": FAR }))?;
    maker.run("discarded", "discard", json!({}))?;
    maker.run("interrupted", "interrupt", json!({ "reason": "deploy" }))?;
    aside(maker)?;
    long(maker)
}

/// What is called off, held back, removed.
fn aside(maker: &mut Maker) -> Result<()> {
    let id = maker.enqueue("called-off", json!({ "retain": FAR }))?;
    maker.ask("DELETE", &format!("/v1/jobs/{id}"), &Value::Null)?;
    let id = maker.enqueue("held", json!({}))?;
    maker.post(&format!("/v1/jobs/{id}/pause"), &json!({}))?;
    maker.enqueue("stopped", json!({}))?;
    maker.post("/v1/queues/stopped/pause", &json!({}))?;
    let id = maker.enqueue("late", json!({ "ttl": "1ms", "retain": FAR }))?;
    wait::until("the job expires", || {
        let job = maker.ask("GET", &format!("/v1/jobs/{id}"), &Value::Null)?;
        Ok((job["state"] == "expired").then_some(()))
    })?;
    maker.enqueue("gone", json!({ "id": "5a0e8400-e29b-41d4-a716-446655440001" }))?;
    let purge = maker.post("/v1/queues/gone/purge", &json!({}))?;
    let operation = format!("/v1/operations/{}", purge["id"].as_str().context("an id")?);
    wait::until("the operation ends", || {
        let operation = maker.ask("GET", &operation, &Value::Null)?;
        Ok((operation["state"] == "finished").then_some(()))
    })?;
    maker.ask("PUT", "/v1/namespaces/shop", &json!({}))?;
    maker.post("/v1/namespaces/shop/queues/mails/jobs", &json!({ "kind": "k" }))?;
    Ok(())
}

/// A long run, and a worker that counts its turns.
fn long(maker: &mut Maker) -> Result<()> {
    maker.enqueue("long", json!({}))?;
    let skipped = json!([{ "cursor": 7, "error": { "type": "E", "message": "m" } }]);
    let saved = json!({
        "seq": 1, "cursor": { "id": 48211 }, "progress": 0.31, "progress_text": "a third",
        "counters": { "rows": 100, "errors": -1 }, "skipped": skipped,
    });
    maker.run("long", "checkpoint", saved)?;
    maker.enqueue("counted", json!({}))?;
    let wish = json!({
        "queues": ["counted"], "lease": "12h", "worker": "w", "session": "s", "turn": TURN,
    });
    maker.post("/v1/lease", &wish)?;
    Ok(())
}

/// What stands in the journal only.
fn journaled(maker: &mut Maker) -> Result<()> {
    maker.enqueue("plain", json!({ "args": "in the journal" }))?;
    maker.enqueue("apart", json!({ "args": "w".repeat(33_000) }))?;
    maker.run("plain", "ack", json!({ "result": 1 }))?;
    maker.enqueue("cancelling", json!({}))?;
    let job = maker.lease("cancelling")?;
    let id = job["id"].as_str().context("an id")?;
    maker.ask("DELETE", &format!("/v1/jobs/{id}"), &Value::Null)?;
    Ok(())
}
