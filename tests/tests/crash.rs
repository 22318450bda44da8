//! Producers and workers over HTTP while the server is killed again and again, and workers too:
//! the verdict is by total-queue, from the clients' own histories.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use longshore_tests::history::{self, Event, Recorder};
use longshore_tests::http::Client;
use longshore_tests::judge::{Final, judge, summarize};
use longshore_tests::producer::{Producer, base};
use longshore_tests::random::Random;
use longshore_tests::server::{Server, describe, serve};
use longshore_tests::worker::{Order, Worker};
use longshore_tests::{tier, wait};

const NAMESPACES: &[&str] = &["default", "shop"];
const PRODUCERS: u64 = 4;
/// Workers that live as long as the run.
const WORKERS: u64 = 2;
/// Workers that are processes and get killed.
const MORTALS: u64 = 2;

/// Where everything of a run lies.
struct Place {
    folder: tempfile::TempDir,
    seed: u64,
    started: Instant,
}

impl Place {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, seed, started: Instant::now() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn history(&self, name: &str) -> PathBuf {
        self.path(&format!("history-{name}"))
    }

    fn random(&self, of: u64) -> Random {
        let mut random = Random::new(self.seed);
        Random::new((0..=of).map(|_| random.number()).last().unwrap_or_default())
    }

    /// Tells clients where the server is: whole or not at all.
    fn publish(&self, address: &str) -> Result<()> {
        fs::write(self.path("address.new"), address)?;
        Ok(fs::rename(self.path("address.new"), self.path("address"))?)
    }
}

fn seed() -> u64 {
    let named = std::env::var("CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    named.unwrap_or_else(|| tier::pick(1, u64::from(std::process::id()) ^ history::now_us()))
}

#[test]
fn nothing_that_was_answered_is_lost_or_done_twice() {
    let kills = tier::pick(20, 400);
    let place = Place::new(seed());
    let outcome = run(&place, kills);
    let wrong = match outcome {
        Ok(wrong) => wrong,
        Err(error) => vec![format!("{error:#}")],
    };
    if !wrong.is_empty() {
        let (seed, count) = (place.seed, wrong.len());
        let shown = wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        let kept = place.folder.keep();
        panic!("CRASH_SEED={seed}, {} has it all\n{count} wrong:\n{shown}", kept.display());
    }
}

fn run(place: &Place, kills: u64) -> Result<Vec<String>> {
    let data = place.path("data");
    let mut server = Server::start_ready(&data)?;
    let mut client = server.client();
    for name in NAMESPACES.iter().filter(|name| **name != "default") {
        let answer = client.ask("PUT", &base(name), None)?;
        if !answer.is_success() {
            bail!("namespace {name}: {} {}", answer.status, answer.body);
        }
    }
    place.publish(&server.address)?;
    let (stop_producers, order) = (AtomicBool::new(false), Mutex::new(Order::Work));
    thread::scope(|scope| {
        let mut producers = Vec::new();
        for index in 0..PRODUCERS {
            let producer = producer(place, index, &stop_producers)?;
            producers.push(scope.spawn(|| producer.run()));
        }
        let mut workers = Vec::new();
        for index in 0..WORKERS {
            let worker = worker(place, index)?;
            let order = || *order.lock().unwrap_or_else(PoisonError::into_inner);
            workers.push(scope.spawn(move || worker.run(order)));
        }
        let torn = torment(place, &mut server, kills);
        say(place, "killed enough");
        stop_producers.store(true, Ordering::Relaxed);
        let drained = torn.and_then(|()| {
            for producer in producers {
                producer.join().expect("a producer does not panic")?;
            }
            drain(&mut server.client())
        });
        // Workers go on until they have an answer: without a server they would never end.
        let last = if drained.is_ok() { Order::Finish } else { Order::Abandon };
        *order.lock().unwrap_or_else(PoisonError::into_inner) = last;
        drained?;
        say(place, "every job has ended");
        for worker in workers {
            worker.join().expect("a worker does not panic")?;
        }
        verdict(place, &mut server.client())
    })
}

fn producer<'p>(place: &'p Place, index: u64, stop: &'p AtomicBool) -> Result<Producer<'p>> {
    let name = format!("p{index}");
    Ok(Producer {
        namespace: NAMESPACES[index as usize % NAMESPACES.len()],
        address: Box::leak(place.path("address").into_boxed_path()),
        random: place.random(index),
        recorder: Recorder::open(&place.history(&name))?,
        stop,
        name,
    })
}

fn worker(place: &Place, index: u64) -> Result<Worker<'_>> {
    let name = format!("w{index}");
    Ok(Worker {
        namespace: NAMESPACES[index as usize % NAMESPACES.len()],
        session: "only".to_owned(),
        address: Box::leak(place.path("address").into_boxed_path()),
        random: place.random(100 + index),
        recorder: Recorder::open(&place.history(&name))?,
        name,
    })
}

/// A worker as a process.
struct Mortal {
    child: Child,
}

impl Mortal {
    fn start(place: &Place, index: u64, life: u64) -> Result<Self> {
        let name = format!("m{index}");
        let seed = place.random(200 + index).number() ^ life;
        let child = Command::new(env!("CARGO_BIN_EXE_crash-worker"))
            .args([&name, &format!("life-{life}")])
            .arg(NAMESPACES[index as usize % NAMESPACES.len()])
            .args([place.path("address"), place.history(&format!("{name}-{life}"))])
            .arg(seed.to_string())
            .arg(place.path("stop-mortals"))
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self { child })
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Kills the server and workers at random moments, and starts them again.
fn torment(place: &Place, server: &mut Server, kills: u64) -> Result<()> {
    let data = place.path("data");
    let mut random = place.random(1000);
    let mut mortals: Vec<Mortal> =
        (0..MORTALS).map(|index| Mortal::start(place, index, 0)).collect::<Result<_>>()?;
    for kill in 1..=kills {
        // Most lives are long enough for work, some end while the journal is still replayed.
        let life_ms = if random.once_in(4) { random.below(60) } else { random.below(1500) };
        thread::sleep(Duration::from_millis(life_ms));
        if random.once_in(3) {
            let index = random.below(MORTALS);
            mortals[index as usize] = Mortal::start(place, index, kill)?;
        }
        if random.once_in(6) {
            let status = server.terminate()?;
            if status.code() != Some(0) {
                bail!("SIGTERM ended it with {}\n{}", describe(status), server.log_text());
            }
        } else {
            server.kill()?;
        }
        if random.once_in(4) {
            kill_while_it_starts(&data, &mut random)?;
        }
        *server = Server::start(&data).with_context(|| format!("start after kill {kill}"))?;
        place.publish(&server.address)?;
    }
    server.wait_ready()?;
    fs::write(place.path("stop-mortals"), "")?;
    for mortal in &mut mortals {
        let status = wait::until("a worker ends", || Ok(mortal.child.try_wait()?))?;
        if !status.success() {
            bail!("a worker ended with {}", describe(status));
        }
    }
    Ok(())
}

/// Starts a server and kills it before it says that it listens, or about then.
fn kill_while_it_starts(data: &Path, random: &mut Random) -> Result<()> {
    let mut command = serve(data)?;
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    thread::sleep(Duration::from_millis(random.below(60)));
    child.kill()?;
    child.wait()?;
    Ok(())
}

/// Waits until nothing waits or runs in any queue, for as long as it becomes less.
fn drain(client: &mut Client) -> Result<()> {
    for namespace in NAMESPACES {
        let mut left = u64::MAX;
        while left > 0 {
            let mut seen = String::new();
            let less = wait::until("the queues become shorter", || {
                let answer = client.get(&format!("{}/queues", base(namespace)))?;
                seen = answer.body.to_string();
                let queues = answer.body["queues"].as_array().context("a list of queues")?;
                let states = ["ready", "scheduled", "retrying", "blocked", "held", "running"];
                let counts = queues.iter().flat_map(|queue| states.map(|state| &queue[state]));
                let sum: u64 = counts.filter_map(serde_json::Value::as_u64).sum();
                Ok((answer.is_success() && sum < left).then_some(sum))
            });
            left = less.with_context(|| format!("{namespace}: {seen}"))?;
        }
    }
    Ok(())
}

/// Shows with `--nocapture` what the run is like.
#[expect(clippy::print_stderr, reason = "that is what it is for")]
fn say(place: &Place, what: &str) {
    let ms = place.started.elapsed().as_millis();
    eprintln!("seed {}, {ms} ms: {what}", place.seed);
}

fn verdict(place: &Place, client: &mut Client) -> Result<Vec<String>> {
    let mut events = Vec::new();
    for entry in fs::read_dir(place.folder.path())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("history-") {
            events.extend(history::read(&path)?);
        }
    }
    let mut finals = BTreeMap::new();
    for namespace in NAMESPACES {
        list(client, namespace, &mut finals)?;
    }
    let summary = summarize(&events);
    say(place, &format!("{summary:?}, {} jobs at the end", finals.len()));
    let mut wrong = judge(&events, &finals);
    if summary.accepted < 100 || summary.leases < 100 {
        wrong.push(format!("hardly anything was done: {summary:?}"));
    }
    let refused = events.iter().filter(|event| matches!(event, Event::EnqueueRefused { .. }));
    if refused.count() == 0 {
        wrong.push("no bad request was refused".to_owned());
    }
    Ok(wrong)
}

/// Every job of a namespace as it is kept, page by page.
fn list(client: &mut Client, namespace: &str, finals: &mut BTreeMap<String, Final>) -> Result<()> {
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("{}/jobs?limit=500{cursor}", base(namespace)))?;
        let jobs = page.body["jobs"].as_array().with_context(|| format!("{page:?}"))?;
        for job in jobs {
            let text = |name: &str| job[name].as_str().unwrap_or_default().to_owned();
            let label = job["tags"][0].as_str().unwrap_or_default().to_owned();
            finals.insert(text("id"), Final { label, state: text("state") });
        }
        match page.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(()),
        }
    }
}

#[test]
fn the_address_file_is_replaced_whole() {
    let place = Place::new(1);
    place.publish("127.0.0.1:1").unwrap();
    place.publish("127.0.0.1:2").unwrap();
    let path: &Path = &place.path("address");
    assert_eq!(longshore_tests::producer::address_in(path), "127.0.0.1:2");
}
