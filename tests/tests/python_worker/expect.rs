//! `Expect` as clients see it that other people wrote: every outcome through curl, Python and
//! nginx, and under kills that `417` is said of nothing that was done.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::{Context, Result, anyhow, bail, ensure};
use longshore_tests::http::Client;
use longshore_tests::python::{python, succeeds};
use longshore_tests::server::{Server, serve_at};
use longshore_tests::skip::skip;
use longshore_tests::wait;
use serde_json::json;

use super::nginx::{Nginx, program};

/// What becomes of jobs of a kind, and what that is answered with. Nobody takes `idle` and
/// `expires`.
const TABLE: [(&str, u16); 8] = [
    ("returns", 200),
    ("makes", 201),
    ("silent", 204),
    ("dies", 500),
    ("stops", 409),
    ("idle", 417),
    ("hangs", 504),
    ("expires", 410),
];
const WORDS: [&str; 3] = ["200-ok", "201-created", "204-no-content"];
/// What a client says it in.
const EXPECT: &str = "Expect";
const LONGSHORE: &str = "Longshore-Expect";

fn id(series: u8, n: usize) -> String {
    format!("00000000-0000-4000-80{series:02x}-{n:012x}")
}

/// The rows of the table for a client: id, kind, what it is answered with, word.
fn rows(
    series: u8,
    count: usize,
) -> impl Iterator<Item = (String, &'static str, u16, &'static str)> {
    let table = TABLE.iter().cycle().zip(WORDS.iter().cycle()).take(count).enumerate();
    table.map(move |(n, ((kind, status), word))| (id(series, n), *kind, *status, *word))
}

/// A worker that does with each job what its kind says, wherever the server is.
struct Worker {
    thread: Option<thread::JoinHandle<()>>,
    stops: Arc<AtomicBool>,
    /// What it was handed.
    had: Arc<Mutex<BTreeSet<String>>>,
}

impl Worker {
    /// `kinds`: those that it takes.
    fn start(address: &str, kinds: Vec<&'static str>) -> Self {
        let (stops, had) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let mut client = Client::new(address);
        let thread = thread::spawn({
            let (stops, had): (_, Arc<Mutex<_>>) = (Arc::clone(&stops), Arc::clone(&had));
            move || {
                while !stops.load(Ordering::Relaxed) {
                    // A server that is being killed answers nothing.
                    let _ = turn(&mut client, &kinds, &had);
                }
            }
        });
        Self { thread: Some(thread), stops, had }
    }

    /// One that takes what the table says.
    fn of_table(address: &str) -> Self {
        let taken = TABLE.map(|(kind, _)| kind).into_iter();
        Self::start(address, taken.filter(|it| !["idle", "expires"].contains(it)).collect())
    }

    fn had(&self) -> BTreeSet<String> {
        self.had.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

fn turn(client: &mut Client, kinds: &[&str], had: &Mutex<BTreeSet<String>>) -> Result<()> {
    let lease =
        json!({"queues": ["expect"], "kinds": kinds, "max": 10, "wait": "200ms", "lease": "10m"});
    let answer = client.post("/v1/lease", &lease)?;
    for job in answer.body["jobs"].as_array().into_iter().flatten() {
        let id = job["id"].as_str().context("an id")?;
        had.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        let (verb, mut body) = match job["kind"].as_str() {
            Some("returns") => ("ack", json!({"result": [1, 2]})),
            Some("makes") => ("ack", json!({"location": "/made/1"})),
            Some("silent" | "idle") => ("ack", json!({})),
            Some("dies") => ("fail", json!({"error": {"type": "Broken", "message": "no"}})),
            Some("stops") => ("discard", json!({})),
            _ => continue,
        };
        body["token"] = job["token"].clone();
        client.post(&format!("/v1/jobs/{id}/{verb}"), &body)?;
    }
    Ok(())
}

/// One row through curl: the status and the `Location`.
fn curl(address: &str, id: &str, kind: &str, word: &str, header: &str) -> Result<(u16, String)> {
    let url = format!("http://{address}/v1/queues/expect/jobs");
    let mut body = json!({"id": id, "kind": kind, "max_attempts": 1});
    if kind == "expires" {
        body["ttl"] = "200ms".into();
    }
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-o", "/dev/null", "-D", "-", "-d", &body.to_string(), &url]);
    for header in ["content-type: application/json", "prefer: wait=1", &format!("{header}: {word}")]
    {
        curl.args(["-H", header]);
    }
    let output = curl.output()?;
    ensure!(output.status.success(), "{output:?}");
    let head = String::from_utf8(output.stdout)?;
    let status = head.split(' ').nth(1).with_context(|| format!("it said {head:?}"))?.parse()?;
    let location = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("location").then(|| value.trim().to_owned())
    });
    Ok((status, location.unwrap_or_default()))
}

/// Of each request its id, status and `Location`.
type Answers = Vec<[String; 3]>;

/// A client in Python that asks one thing after the other.
struct Asking(Child);

impl Asking {
    fn start(python: &Path, client: &str, address: &str) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/expect/ask.py");
        let mut command = Command::new(python);
        command.arg(script).args([client, address, "1"]);
        Ok(Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?))
    }

    /// Asks all of it; tells of each answer as it comes: id, status, location.
    fn ask(mut self, lines: &[String], told: impl Fn()) -> Result<Answers> {
        let mut stdin = self.0.stdin.take().context("no standard input")?;
        let all = lines.join("\n") + "\n";
        let writing = thread::spawn(move || stdin.write_all(all.as_bytes()));
        let stdout = BufReader::new(self.0.stdout.take().context("no standard output")?);
        let mut answers = Vec::new();
        for line in stdout.lines() {
            let line = line?;
            let mut parts = line.split(' ').map(str::to_owned);
            let mut next = || parts.next().with_context(|| format!("it said {line:?}"));
            answers.push([next()?, next()?, next()?]);
            told();
        }
        writing.join().map_err(|_| anyhow!("writing met a bug"))??;
        ensure!(self.0.wait()?.success(), "the client failed");
        ensure!(answers.len() == lines.len(), "{} of {} answers", answers.len(), lines.len());
        Ok(answers)
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The Python clients that the machine has.
fn clients() -> Vec<(PathBuf, &'static str)> {
    let mut clients = Vec::new();
    if succeeds(Command::new("python3").arg("--version")).is_ok() {
        clients.push(("python3".into(), "http.client"));
    } else {
        skip("python3", "no python3");
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("expect-clients");
    match python(&folder, "requests", &["requests==2.32.3"]) {
        Ok(python) => clients.push((python, "requests")),
        Err((what, why)) => skip(what, &why),
    }
    clients
}

/// A proxy before the server, where the machine can have one.
fn proxy(address: &str) -> Result<Option<Nginx>> {
    match program() {
        Ok(program) => Nginx::start(&program, address).map(Some),
        Err((what, why)) => {
            skip(what, &why);
            Ok(None)
        }
    }
}

fn check_row(who: &str, (id, kind): (&str, &str), wanted: u16, told: (u16, &str)) -> Result<()> {
    let location = match wanted {
        201 => "/made/1".to_owned(),
        417 => told.1.to_owned(),
        _ => format!("/v1/status/{id}"),
    };
    ensure!(told == (wanted, &*location), "{who}: {kind} was answered {told:?}");
    Ok(())
}

/// Every row through curl and the clients in Python, all at once.
fn walk(who: &str, address: &str, header: &'static str, series: u8) -> Result<()> {
    let mut walks = Vec::new();
    if succeeds(Command::new("curl").arg("--version")).is_ok() {
        let (address, who) = (address.to_owned(), format!("{who} curl"));
        walks.push(thread::spawn(move || {
            for (id, kind, wanted, word) in rows(series, TABLE.len()) {
                let (status, location) = curl(&address, &id, kind, word, header)?;
                check_row(&who, (&id, kind), wanted, (status, &location))?;
            }
            Ok::<_, anyhow::Error>(())
        }));
    } else {
        skip("curl", "no curl");
    }
    for (series, (python, client)) in (series + 1..).zip(clients()) {
        let asking = Asking::start(&python, client, address)?;
        let who = format!("{who} {client}");
        walks.push(thread::spawn(move || {
            let line = |(id, kind, _, word)| format!("{id} {kind} {word} {header}");
            let lines: Vec<String> = rows(series, TABLE.len()).map(line).collect();
            let answers = asking.ask(&lines, || {})?;
            for ((id, kind, wanted, _), [_, status, location]) in
                rows(series, TABLE.len()).zip(&answers)
            {
                let status =
                    status.parse().with_context(|| format!("{who}: {kind}: {location}"))?;
                check_row(&who, (&id, kind), wanted, (status, location))?;
            }
            Ok(())
        }));
    }
    for walk in walks {
        walk.join().map_err(|_| anyhow!("a client met a bug"))??;
    }
    Ok(())
}

#[test]
fn every_outcome_comes_through_curl_and_python() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start_ready(&folder.path().join("data"))?;
    let _worker = Worker::of_table(&server.address);
    for (series, header) in [(0, EXPECT), (10, LONGSHORE)] {
        walk("directly", &server.address, header, series)?;
    }
    let unmet = curl(&server.address, &id(99, 0), "returns", "206-partial", EXPECT)?.0;
    let accepted = curl(&server.address, &id(99, 1), "returns", "202-accepted", EXPECT)?.0;
    ensure!((unmet, accepted) == (417, 202), "{unmet} {accepted}");
    Ok(())
}

#[test]
fn every_outcome_comes_through_nginx_that_drops_expect() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start_ready(&folder.path().join("data"))?;
    let Some(nginx) = proxy(&server.address)? else { return Ok(()) };
    let worker = Worker::of_table(&server.address);
    walk("nginx as it comes", &nginx.plain, LONGSHORE, 0)?;
    walk("nginx that lets it through", &nginx.open, EXPECT, 10)?;
    // What is dropped asks for nothing: the job was accepted, and stays.
    let mut client = server.client();
    let (dropped, refused) = (id(20, 0), id(20, 1));
    let told = curl(&nginx.plain, &dropped, "idle", "200-ok", EXPECT)?.0;
    ensure!(told == 202, "{told} without anything that is expected");
    let told = curl(&nginx.open, &refused, "idle", "200-ok", EXPECT)?.0;
    ensure!(told == 417, "{told} of what nobody takes");
    ensure!(state(&mut client, &dropped)?.as_deref() == Some("ready"));
    ensure!(state(&mut client, &refused)?.is_none());
    drop(worker);
    Ok(())
}

/// The state of a job; `None` where nobody knows it.
fn state(client: &mut Client, id: &str) -> Result<Option<String>> {
    let answer = client.get(&format!("/v1/jobs/{id}"))?;
    match answer.status {
        404 => Ok(None),
        200 => Ok(answer.body["state"].as_str().map(str::to_owned)),
        _ => bail!("{id}: {answer:?}"),
    }
}

/// Starts clients that ask without end in sight, directly and through the proxy; each tells of its
/// answers.
fn start_asking(
    address: &str,
    nginx: Option<&Nginx>,
    told: &mpsc::Sender<()>,
) -> Result<Vec<thread::JoinHandle<Result<Answers>>>> {
    const JOBS: usize = 40;
    let mut ways = vec![(address, EXPECT)];
    ways.extend(nginx.map(|nginx| (&*nginx.plain, LONGSHORE)));
    let mut asked = Vec::new();
    for (series, (python, client)) in (100..).step_by(10).zip(clients()) {
        for (series, (address, header)) in (series..).zip(ways.iter().copied()) {
            let line = |(id, kind, _, word)| format!("{id} {kind} {word} {header}");
            let lines: Vec<String> = rows(series, JOBS).map(line).collect();
            let asking = Asking::start(&python, client, address)?;
            let told = told.clone();
            asked.push(thread::spawn(move || {
                asking.ask(&lines, || {
                    let _ = told.send(());
                })
            }));
        }
    }
    Ok(asked)
}

#[test]
fn under_kills_no_answer_says_what_is_not_so() -> Result<()> {
    const ANSWERS_PER_KILL: usize = 15;
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let mut server = Server::start_ready(&data)?;
    let address = server.address.clone();
    let (worker, nginx) = (Worker::of_table(&address), proxy(&address)?);
    let (told, answered) = mpsc::channel();
    let asked = start_asking(&address, nginx.as_ref(), &told)?;
    drop(told);
    let mut kills = 0;
    // Killed while others wait.
    for (count, ()) in answered.iter().enumerate() {
        if count % ANSWERS_PER_KILL == 5 {
            server.kill()?;
            server = Server::start_as(serve_at(&data, &address)?, &data.with_extension("log"))?;
            server.wait_ready()?;
            kills += 1;
        }
    }
    let clients = asked.len();
    let mut answers = Vec::new();
    for asked in asked {
        answers.extend(asked.join().map_err(|_| anyhow!("asking met a bug"))??);
    }
    ensure!(kills >= 2 * clients, "{kills} kills beside {clients} clients");
    let mut client = server.client();
    let before = worker.had();
    for [id, status, location] in &answers {
        let (had, now) = (before.contains(id), state(&mut client, id)?);
        let is = |wanted: &str| now.as_deref() == Some(wanted);
        let so = match status.as_str() {
            "417" => !had && now.is_none(),
            "200" | "201" | "204" => had && is("succeeded"),
            "500" => is("dead"),
            "409" => is("cancelled"),
            "410" => is("expired"),
            "504" => client.get(location)?.body["state"].is_string(),
            // It may be there or not: whoever asks for its status hears.
            "-" | "502" | "503" => true,
            _ => false,
        };
        ensure!(so, "{id} was answered {status} {location}, had: {had}, and is {now:?}");
    }
    // Nothing comes back of what was told of as withdrawn, whoever takes what is there.
    let all = Worker::start(&address, TABLE.map(|(kind, _)| kind).to_vec());
    wait::until("all that is there is taken", || {
        let ready = client.get("/v1/queues/expect")?.body["ready"].as_u64();
        Ok((ready == Some(0)).then_some(()))
    })?;
    let had = &worker.had() | &all.had();
    let count = |wanted: &str| answers.iter().filter(|[_, status, _]| status == wanted).count();
    ensure!(count("417") > 0 && count("504") > 0, "none of what this is about: {answers:?}");
    let back = answers.iter().find(|[id, status, _]| status == "417" && had.contains(id));
    ensure!(back.is_none(), "{back:?} ran");
    Ok(())
}
