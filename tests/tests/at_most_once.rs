//! What may run at most once does, whatever happens to servers and workers: SIGTERM, SIGKILL and
//! frozen processes, operators who cancel, pause and drain, streams that break; over HTTP, gRPC and
//! the SDK. The verdict is by the workers' own files.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use longshore_tests::http::Client;
use longshore_tests::once::{self, LEASE_MS, PROGRAM};
use longshore_tests::random::Random;
use longshore_tests::server::{self, Server, binary, describe, signal};
use longshore_tests::{tier, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Each is the name of a queue, too.
const FACES: [&str; 4] = ["exec", "http", "grpc", "sdk"];
/// Worker processes of each face.
const WORKERS: usize = 2;
/// How many jobs of each face enter between two harms. Every fourth may run more than once: that
/// some do shows that the others are tried hard enough.
const ENTER: usize = 8;

/// A worker's process. Killed when it is dropped.
struct Worker {
    face: &'static str,
    name: String,
    child: Child,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Scene {
    folder: tempfile::TempDir,
    server: Server,
    random: Random,
    workers: Vec<Worker>,
    /// Those that were asked to end.
    leaving: Vec<Worker>,
    /// Those that stand still, and for how many harms more.
    frozen: Option<(u32, usize)>,
    /// Every job: whether it may run at most once, and its face.
    jobs: HashMap<String, (bool, &'static str)>,
    /// Those that were called off. One that was dead by then is gone without a trace.
    deleted: HashSet<String>,
    lives: u64,
}

impl Scene {
    fn start(seed: u64) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        let server = Self::serve(&data, "127.0.0.1:0")?;
        fs::write(folder.path().join("program"), PROGRAM)?;
        let mut scene = Self {
            folder,
            server,
            random: Random::new(seed),
            workers: Vec::new(),
            leaving: Vec::new(),
            frozen: None,
            jobs: HashMap::new(),
            deleted: HashSet::new(),
            lives: 0,
        };
        for face in FACES {
            for _ in 0..WORKERS {
                let worker = scene.worker(face)?;
                scene.workers.push(worker);
            }
        }
        Ok(scene)
    }

    fn serve(data: &std::path::Path, address: &str) -> Result<Server> {
        let mut command = server::serve_at(data, address)?;
        command.args(["--set", "workers.reconnect=1s"]);
        let mut server = Server::start_as(command, &data.with_extension("log"))?;
        server.wait_ready()?;
        Ok(server)
    }

    /// The next life of a worker.
    fn worker(&mut self, face: &'static str) -> Result<Worker> {
        self.lives += 1;
        let (address, name) = (&self.server.address, format!("{face}-{}", self.lives));
        let folder = self.folder.path();
        let mut command = if face == "exec" {
            let mut command = Command::new(binary()?);
            command.args(["work", "--queue", face, "--quiet", "--concurrency", "2"]);
            command.args(["--grace", "50ms", "--lease", &format!("{LEASE_MS}ms"), "--exec"]);
            command.arg(format!("sh {}", folder.join("program").display()));
            command.args(["--server", &format!("http://{address}")]);
            command.env("STARTS", once::file_of(folder, &name));
            command
        } else {
            let mut command = Command::new(env!("CARGO_BIN_EXE_once-worker"));
            command.args([face, address]).arg(folder).arg(&name);
            command.arg(self.random.number().to_string());
            command
        };
        let log = fs::File::options().create(true).append(true).open(self.log())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .current_dir(folder)
            .spawn()?;
        Ok(Worker { face, name, child })
    }

    /// What workers printed.
    fn log(&self) -> PathBuf {
        self.folder.path().join("workers.log")
    }

    fn enter(&mut self, count: usize) -> Result<()> {
        for face in FACES {
            let mut jobs = Vec::new();
            for n in 0..count {
                let (id, once) = (self.random.uuid(), n % 4 != 0);
                let kind = match (face, n % 3) {
                    ("sdk", 1) => "computation",
                    ("sdk", 2) => "walk",
                    _ => "errand",
                };
                let (ms, fails) = (20 + self.random.below(200), self.random.once_in(10));
                jobs.push(json!({
                    "id": id,
                    "kind": kind,
                    "args": {"ms": ms, "fails": fails},
                    "at_most_once": once,
                    "max_attempts": 20,
                    "lease": format!("{LEASE_MS}ms"),
                    "retry": {"policy": "constant", "delay": "0s"},
                }));
                self.jobs.insert(id, (once, face));
            }
            let path = format!("/v1/queues/{face}/jobs");
            let answer = self.client().post(&path, &json!({"jobs": jobs}))?;
            ensure!(answer.is_success(), "{}", answer.body);
        }
        Ok(())
    }

    fn client(&self) -> Client {
        self.server.client()
    }

    /// Asks for something that may be too late.
    fn ask(&self, method: &str, path: &str) -> Result<u16> {
        let nothing = json!({});
        let answer = self.client().ask(method, path, (method == "POST").then_some(&nothing))?;
        ensure!(matches!(answer.status, 200..=299 | 404 | 409 | 410), "{path}: {}", answer.body);
        Ok(answer.status)
    }

    /// One thing that goes wrong, or that an operator does.
    fn harm(&mut self) -> Result<()> {
        match self.random.below(14) {
            0..=4 => self.replace(Signal::TERM)?,
            5 | 6 => self.replace(Signal::KILL)?,
            7 => {
                self.server.kill()?;
                self.serve_again()?;
            }
            8 => {
                let status = self.server.terminate()?;
                ensure!(status.code() == Some(0), "{}", self.server.log_text());
                self.serve_again()?;
            }
            9 => {
                for id in self.some_running()? {
                    self.ask("DELETE", &format!("/v1/jobs/{id}"))?;
                    self.deleted.insert(id);
                }
            }
            10 => {
                for id in self.some_running()? {
                    self.ask("POST", &format!("/v1/jobs/{id}/pause"))?;
                    // Long enough to be heard by some, not by all.
                    thread::sleep(Duration::from_millis(10));
                    self.ask("POST", &format!("/v1/jobs/{id}/resume"))?;
                }
            }
            11 => {
                for what in ["pause", "resume"] {
                    for face in FACES {
                        self.ask("POST", &format!("/v1/queues/{face}/{what}"))?;
                    }
                }
            }
            12 => self.drain_worker()?,
            _ => self.freeze()?,
        }
        self.thaw_in_time()
    }

    fn serve_again(&mut self) -> Result<()> {
        let (data, address) = (self.folder.path().join("data"), self.server.address.clone());
        self.server = Self::serve(&data, &address)?;
        Ok(())
    }

    /// A third of the jobs that run.
    fn some_running(&mut self) -> Result<Vec<String>> {
        let page = self.client().get("/v1/jobs?state=running&limit=100")?;
        let jobs = page.body["jobs"].as_array().with_context(|| page.body.to_string())?;
        let ids = jobs.iter().filter_map(|job| job["id"].as_str().map(str::to_owned));
        Ok(ids.filter(|_| self.random.once_in(3)).collect())
    }

    /// Ends a worker, and has another one in its place at once.
    fn replace(&mut self, with: Signal) -> Result<()> {
        let index = self.random.below(self.workers.len() as u64) as usize;
        self.replace_at(index, Some(with))
    }

    fn replace_at(&mut self, index: usize, with: Option<Signal>) -> Result<()> {
        let next = self.worker(self.workers[index].face)?;
        let mut old = std::mem::replace(&mut self.workers[index], next);
        let pid = old.child.id();
        if let Some(with) = with {
            // It may have gone by itself, as one that was asked to over the server.
            if old.child.try_wait()?.is_none() {
                signal(pid, with)?;
            }
        }
        if self.frozen.is_some_and(|(frozen, _)| frozen == pid) {
            self.thaw()?;
        }
        if with != Some(Signal::KILL) {
            self.leaving.push(old);
        }
        Ok(())
    }

    /// Has the server quieten a worker, or ask it to leave.
    fn drain_worker(&mut self) -> Result<()> {
        let index = self.random.below(self.workers.len() as u64) as usize;
        let name = self.workers[index].name.clone();
        self.ask("POST", &format!("/v1/workers/{name}/quiet"))?;
        if self.random.once_in(2) {
            return self.replace_at(index, Some(Signal::TERM));
        }
        let heard = self.ask("POST", &format!("/v1/workers/{name}/terminate"))?;
        self.replace_at(index, (heard != 200).then_some(Signal::TERM))
    }

    /// Stops a worker for longer than its leases hold, as a paused machine would.
    fn freeze(&mut self) -> Result<()> {
        if self.frozen.is_none() {
            let index = self.random.below(self.workers.len() as u64) as usize;
            let pid = self.workers[index].child.id();
            if self.workers[index].child.try_wait()?.is_none() {
                signal(pid, Signal::STOP)?;
                self.frozen = Some((pid, 12));
            }
        }
        Ok(())
    }

    fn thaw_in_time(&mut self) -> Result<()> {
        match &mut self.frozen {
            Some((_, 0)) => self.thaw(),
            Some((_, harms)) => {
                *harms -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn thaw(&mut self) -> Result<()> {
        if let Some((pid, _)) = self.frozen.take() {
            signal(pid, Signal::CONT)?;
        }
        Ok(())
    }

    /// Lets everything end that has entered.
    fn settle(&mut self) -> Result<()> {
        self.thaw()?;
        let mut client = self.client();
        wait::until("every job ends", || {
            let answer = client.get("/v1/queues")?;
            let queues = answer.body["queues"].as_array().context("a list of queues")?;
            let states = ["ready", "scheduled", "retrying", "blocked", "running"];
            let counts = queues.iter().flat_map(|queue| states.map(|state| &queue[state]));
            Ok((counts.filter_map(Value::as_u64).sum::<u64>() == 0).then_some(()))
        })?;
        for worker in self.workers.drain(..) {
            signal(worker.child.id(), Signal::TERM)?;
            self.leaving.push(worker);
        }
        let log = fs::read_to_string(self.folder.path().join("workers.log"))?;
        for worker in &mut self.leaving {
            let status = wait::until(&worker.name, || Ok(worker.child.try_wait()?))?;
            ensure!(status.success(), "{}: {}\n{log}", worker.name, describe(status));
        }
        Ok(())
    }

    /// Every job as the server has it.
    fn ends(&self) -> Result<HashMap<String, Value>> {
        let (mut client, mut ends, mut cursor) = (self.client(), HashMap::new(), String::new());
        loop {
            let page = client.get(&format!("/v1/jobs?limit=500{cursor}"))?;
            for job in page.body["jobs"].as_array().with_context(|| format!("{page:?}"))? {
                let id = job["id"].as_str().context("a job has an id")?;
                ends.insert(id.to_owned(), job.clone());
            }
            match page.body["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(ends),
            }
        }
    }

    fn judge(&self) -> Result<()> {
        let (starts, ends) = (once::starts(self.folder.path())?, self.ends()?);
        let mut wrong = Vec::new();
        // How many ended so, by face: once and done, once and cut short, more than once.
        let mut seen: HashMap<(&str, &str), u32> = HashMap::new();
        for (id, (once, face)) in &self.jobs {
            let (ran, job) = (starts.get(id).copied().unwrap_or_default(), ends.get(id));
            let job = job.unwrap_or(&Value::Null);
            let state = job["state"].as_str().unwrap_or("gone");
            if !once {
                if state == "gone" && !self.deleted.contains(id) {
                    wrong.push(format!("{face}: {id} is gone"));
                }
                *seen.entry((face, if ran > 1 { "again" } else { "not again" })).or_default() += 1;
                continue;
            }
            let fits = match state {
                "succeeded" => ran == 1,
                "dead" => ran <= 1 && job["reason"] == "at_most_once",
                "cancelled" => ran <= 1,
                "gone" => ran <= 1 && self.deleted.contains(id),
                _ => false,
            };
            if !fits || job["attempt"].as_u64() > Some(1) {
                wrong.push(format!("{face}: {ran} runs of {id}, which is {job}"));
            }
            let how = match (ran, state) {
                (0, _) => "never begun",
                (_, "succeeded") => "done",
                _ => "cut short",
            };
            *seen.entry((face, how)).or_default() += 1;
        }
        eprintln!("{seen:?}");
        ensure!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        let some = |face, what| seen.contains_key(&(face, what));
        for face in FACES {
            ensure!(
                some(face, "done") && some(face, "cut short"),
                "hardly tried, {face}: {seen:?}"
            );
        }
        ensure!(FACES.iter().any(|face| some(face, "again")), "nothing ran again: {seen:?}");
        Ok(())
    }
}

fn run(scene: &mut Scene, harms: u64) -> Result<()> {
    for _ in 0..harms {
        scene.enter(ENTER)?;
        thread::sleep(Duration::from_millis(50 + scene.random.below(250)));
        scene.harm()?;
    }
    scene.settle()?;
    scene.judge()
}

#[test]
fn what_may_run_at_most_once_does_whatever_happens() {
    let named = std::env::var("ONCE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = named.unwrap_or_else(|| tier::pick(1, u64::from(std::process::id())));
    let mut scene = Scene::start(seed).unwrap();
    if let Err(error) = run(&mut scene, tier::pick(30, 1_500)) {
        let kept = scene.folder.keep();
        panic!("ONCE_SEED={seed}, {} has it all\n{error:#}", kept.display());
    }
}
