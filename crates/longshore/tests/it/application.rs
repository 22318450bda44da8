//! The example `application` as its three processes, with the real server, and all of them killed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use longshore::{Client, JobRecord, JobState};
use longshore_tests::http::{self, Answer};
use longshore_tests::server::{Server, binary, serve_at, signal};
use longshore_tests::wait;
use rustix::process::Signal;
use serde_json::Value;
use sqlx::SqlitePool;
use tempfile::TempDir;

const ROWS: i64 = 50_000;

/// A process of the example. Killed when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Scene {
    folder: TempDir,
    server: Server,
    client: Client,
    /// Where the web process listens.
    web: String,
    /// The web process, then the worker.
    processes: Vec<Process>,
}

/// The example, which `cargo test` builds beside the tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join("examples/application");
    assert!(path.is_file(), "run `cargo build --workspace --examples` first: {}", path.display());
    path
}

impl Scene {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Self::serve(&folder, "127.0.0.1:0");
        let client = Client::new(&server.address).unwrap();
        let mut scene = Self { folder, server, client, web: String::new(), processes: Vec::new() };
        assert!(scene.command(&["setup", "app.db"]).status().unwrap().success());
        let mut web = scene.command(&["web", "app.db", "127.0.0.1:0"]);
        let mut web = Process(web.stdout(Stdio::piped()).spawn().unwrap());
        let mut line = String::new();
        BufReader::new(web.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        line.trim().strip_prefix("listening on http://").unwrap().clone_into(&mut scene.web);
        scene.processes.push(web);
        scene.start_worker();
        scene
    }

    fn serve(folder: &TempDir, address: &str) -> Server {
        let data = folder.path().join("data");
        let mut command = serve_at(&data, address).unwrap();
        // Who is gone shall be missed soon.
        command.args(["--set", "workers.reconnect=1s", "--set", "limits.lease_default=3s"]);
        let mut server = Server::start_as(command, &data.with_extension("log")).unwrap();
        server.wait_ready().unwrap();
        server
    }

    fn serve_again(&mut self) {
        self.server = Self::serve(&self.folder, &self.server.address);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(example());
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("LONGSHORE_SERVER", format!("http://{}", self.server.address));
        command.env_remove("LONGSHORE_NAMESPACE");
        command
    }

    fn start_worker(&mut self) {
        let worker = self.command(&["work", "app.db"]).spawn().unwrap();
        self.processes.push(Process(worker));
    }

    fn end_of_worker(&mut self) {
        let mut worker = self.processes.pop().unwrap();
        let status = wait::until("the worker ends", || Ok(worker.0.try_wait()?)).unwrap();
        assert!(status.success(), "{status}");
    }

    fn ask(&self, line: &str, headers: &[&str], body: &str) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let more: Vec<_> = headers.iter().filter_map(|it| it.split_once(": ")).collect();
        http::Client::new(&self.web).ask_with(method, path, &more, Some(body)).unwrap()
    }

    fn sign_up(&self, name: &str, headers: &[&str]) -> Answer {
        let body = format!("{{\"email\": \"{name}@new.example\"}}");
        self.ask("POST /signup", headers, &body)
    }

    /// How a job has ended.
    fn end(&self, status: &Value) -> Value {
        let line = format!("GET {}", status.as_str().unwrap());
        self.ask(&line, &["Prefer: wait=30"], "").body
    }

    async fn count(&self, what: &str) -> i64 {
        let url = format!("sqlite:{}", self.folder.path().join("app.db").display());
        let db = SqlitePool::connect(&url).await.unwrap();
        let row = sqlx::query_as::<_, (i64,)>(what).fetch_one(&db).await.unwrap();
        db.close().await;
        row.0
    }

    fn ask_operator(&self, arguments: &[&str]) {
        let mut command = Command::new(binary().unwrap());
        command.args(arguments).args(["--server", &format!("http://{}", self.server.address)]);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_application_signs_up_and_its_troubles_end_as_they_say() {
    let mut scene = Scene::start();
    let signed_up = scene.sign_up("ada", &["Prefer: wait=30"]);
    assert_eq!(signed_up.status, 200, "{}", signed_up.head);
    assert_eq!(signed_up.body["result"], "a mail is on its way to ada@new.example");
    let again = scene.sign_up("ada", &[]);
    assert_eq!((again.status, &again.body["id"]), (202, &signed_up.body["id"]));
    let at_once = scene.sign_up("bob", &[]);
    assert_eq!(at_once.status, 202);
    assert_eq!(scene.end(&at_once.body["status"])["state"], "succeeded");
    assert_eq!(scene.count("SELECT count(*) FROM mails").await, 2);

    let troubles = scene.ask("POST /troubles", &[], "").body;
    for (trouble, state, word) in [
        ("fails_twice", "succeeded", "3"),
        ("times_out", "dead", "longer than "),
        ("panics", "dead", "nobody thought of this"),
        ("snoozes", "succeeded", ""),
        ("expires", "expired", ""),
        ("charge", "dead", "nobody knows"),
    ] {
        let end = scene.end(&troubles[trouble]);
        assert_eq!(end["state"], state, "{trouble}: {end}");
        assert!(end.to_string().contains(word), "{trouble}: {end}");
    }
    assert_eq!(scene.count("SELECT count(*) FROM charges").await, 1);

    scene.server.kill().unwrap();
    let refused = scene.sign_up("cyd", &["Prefer: wait=30"]);
    assert_eq!(refused.status, 503);
    assert_ne!(refused.field("retry-after"), "", "{}", refused.head);
    scene.serve_again();
    assert_eq!(scene.sign_up("cyd", &["Prefer: wait=30"]).status, 200);
    assert_eq!(scene.count("SELECT count(*) FROM mails").await, 3);
}

/// Waits until the backfill has come further, and tells of it.
async fn further(client: &Client, id: &str, than: i64) -> JobRecord {
    let end = std::time::Instant::now() + wait::PATIENCE;
    loop {
        let job = client.job(id).await.unwrap();
        let rows = job.counters.get("rows").copied().unwrap_or_default();
        if rows > than || job.state.has_ended() {
            return job;
        }
        assert!(std::time::Instant::now() < end, "it stays {job:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_backfill_of_the_application_outlives_kills_of_every_sort() {
    let mut scene = Scene::start();
    let started = scene.ask("POST /backfill", &[], "");
    assert_eq!(started.status, 202);
    let id = started.body["id"].as_str().unwrap().to_owned();
    let mut rows = 0;
    for harm in 0..7 {
        let job = further(&scene.client, &id, rows + 1_000).await;
        assert!(!job.state.has_ended(), "too early, before harm {harm}: {job:?}");
        rows = job.counters["rows"];
        let worker = scene.processes.last().unwrap().0.id();
        match harm {
            0 => {
                drop(scene.processes.pop());
                scene.start_worker();
            }
            1 => {
                signal(worker, Signal::TERM).unwrap();
                scene.end_of_worker();
                scene.start_worker();
            }
            2 => {
                scene.server.kill().unwrap();
                scene.serve_again();
            }
            3 => {
                assert_eq!(scene.server.terminate().unwrap().code(), Some(0));
                scene.serve_again();
            }
            4 => {
                scene.ask_operator(&["jobs", "pause", &id]);
                scene.ask_operator(&["jobs", "resume", &id]);
            }
            5 => {
                let workers = scene.server.client().get("/v1/workers").unwrap().body;
                let list = workers["workers"].as_array().unwrap();
                let here = list.iter().find(|it| it["pid"] == worker).unwrap();
                scene.ask_operator(&["workers", "terminate", here["session"].as_str().unwrap()]);
                scene.end_of_worker();
                scene.start_worker();
            }
            _ => {
                scene.server.kill().unwrap();
                drop(scene.processes.pop());
                scene.start_worker();
                scene.serve_again();
            }
        }
    }
    let job = further(&scene.client, &id, i64::MAX).await;
    assert_eq!((&job.state, job.attempt), (&JobState::Succeeded, 1), "{job:?}");
    assert_eq!(job.result::<i64>().unwrap(), 0);
    assert_eq!(job.counters["rows"], ROWS);
    assert_eq!(scene.count("SELECT count(*) FROM users WHERE visits > 0").await, ROWS);
    // Batches in flight when a worker was killed ran again, and no others.
    let again = scene.count("SELECT sum(visits) - count(*) FROM users").await;
    assert!(again < ROWS / 10, "{again} rows were done again");
}
