//! Second copies of real servers: a disk is lost and a store is made of its copy, which has what
//! the lost one had, job by job, message by message, event by event.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};
use longshore_tests::http::Client;
use longshore_tests::server::{Server, binary};
use longshore_tests::skip::skip;
use longshore_tests::{python, wait};
use serde_json::{Value, json};

/// A folder with the data of a server and a place for copies beside it.
struct Ground {
    folder: tempfile::TempDir,
}

impl Ground {
    fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::tempdir()? })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn place(&self) -> String {
        self.path("copies").display().to_string()
    }

    /// Starts a server that sends copies all the time.
    fn start(&self, data: &str) -> Result<Server> {
        let to = format!("ship.to={}", self.place());
        let more = ["--set", &to, "--set", "ship.every=100ms", "--set", "ship.base_every=1s"];
        Server::start_with(&self.path(data), &more)
    }

    fn restore(&self, data: &str, more: &[&str]) -> Result<Output> {
        longshore(&["restore", "--from", &self.place(), "-o", "json"], &self.path(data), more)
    }

    fn restored(&self, data: &str, more: &[&str]) -> Result<Value> {
        let output = self.restore(data, more)?;
        ensure!(output.status.success(), "{}", text(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// The files of copies whose path holds this text.
    fn objects(&self, holding: &str) -> Result<Vec<PathBuf>> {
        let (mut found, mut folders) = (Vec::new(), vec![self.path("copies")]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.display().to_string().contains(holding) {
                    found.push(path);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn longshore(args: &[&str], data: &Path, more: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LONGSHORE_") {
            command.env_remove(name);
        }
    }
    Ok(command.args(args).arg("--data").arg(data).args(more).output()?)
}

fn backup(server: &Server, to: &str) -> Result<Output> {
    let address = format!("http://{}", server.address);
    let args = ["--server", &address, "backup", "--to", to, "-o", "json"];
    Ok(Command::new(binary()?).args(args).output()?)
}

fn ask(client: &mut Client, method: &str, path: &str, body: &Value) -> Result<Value> {
    let answer = client.ask(method, path, (!body.is_null()).then_some(body))?;
    ensure!(answer.is_success(), "{method} {path}: {answer:?}");
    Ok(answer.body)
}

/// Jobs with small and large args, some done; messages; events.
fn fill(client: &mut Client, from: u64, count: u64) -> Result<()> {
    for number in from..from + count {
        let bulk = if number.is_multiple_of(10) { 50_000 } else { 40 };
        let job = json!({ "kind": "k", "args": { "n": number, "x": "y".repeat(bulk) } });
        ask(client, "POST", "/v1/queues/q/jobs", &job)?;
        let message =
            json!({ "body": format!("message {number}"), "message_id": number.to_string() });
        ask(client, "POST", "/v1/queues/m/publish", &message)?;
        let event = json!({ "key": format!("{}", number % 7), "value": format!("event {number}") });
        ask(client, "POST", "/v1/streams/s/events", &event)?;
        if number.is_multiple_of(3) {
            let wish = json!({ "queues": ["q"], "lease": "10m", "worker": "w" });
            let lease = ask(client, "POST", "/v1/lease", &wish)?;
            let job = &lease["jobs"][0];
            let path = format!("/v1/jobs/{}/ack", job["id"].as_str().context("an id")?);
            let done = json!({ "token": job["token"], "result": { "of": number } });
            ask(client, "POST", &path, &done)?;
        }
    }
    Ok(())
}

fn prepare(client: &mut Client) -> Result<()> {
    ask(client, "PUT", "/v1/queues/m", &json!({ "messages": {} }))?;
    ask(client, "PUT", "/v1/streams/s", &json!({ "partitions": 3 }))?;
    Ok(())
}

/// All that a server has, each job, message and event as it tells it.
fn told(client: &mut Client) -> Result<Vec<Value>> {
    let mut told = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = ask(client, "GET", &format!("/v1/jobs?limit=100{cursor}"), &Value::Null)?;
        let jobs = page["jobs"].as_array().context("jobs")?;
        for job in jobs {
            let path = format!("/v1/jobs/{}", job["id"].as_str().context("an id")?);
            told.push(ask(client, "GET", &path, &Value::Null)?);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let peek = ask(client, "GET", "/v1/queues/m/messages?limit=1000", &Value::Null)?;
    for message in peek["messages"].as_array().context("messages")? {
        let mut message = message.clone();
        // After a start all that stood before counts as delivered.
        message.as_object_mut().context("a message")?.remove("redelivered");
        told.push(message);
    }
    for partition in 0..3 {
        let mut place = "from=earliest".to_owned();
        loop {
            let path = format!("/v1/streams/s/events?partition={partition}&{place}&limit=1000");
            let page = ask(client, "GET", &path, &Value::Null)?;
            let events = page["events"].as_array().context("events")?;
            if events.is_empty() {
                break;
            }
            told.extend(events.iter().cloned());
            place = format!("offset={}", page["next"]);
        }
    }
    Ok(told)
}

fn shipping(client: &mut Client) -> Result<Value> {
    Ok(ask(client, "GET", "/v1/backups", &Value::Null)?["shipping"].clone())
}

/// Waits until all that was answered is at the place, and a base as well.
fn wait_sent(client: &mut Client) -> Result<()> {
    wait::until("everything is sent", || {
        let now = shipping(client)?;
        let sent = now["shards"].as_array().context("shards")?.iter().all(|shard| {
            shard["lag_bytes"] == 0 && shard["lag_seconds"] == 0.0 && shard["position"].is_u64()
        });
        let has_base = now["bases"].as_array().is_some_and(|bases| !bases.is_empty());
        Ok((sent && has_base).then_some(()))
    })
}

fn bases(client: &mut Client) -> Result<usize> {
    Ok(shipping(client)?["bases"].as_array().map_or(0, Vec::len))
}

/// Starts a server on a restored store, which has to be whole.
fn check_whole(ground: &Ground, data: &str, expected: &[Value]) -> Result<()> {
    let verify = Command::new(binary()?).arg("verify").arg(ground.path(data)).output()?;
    ensure!(verify.status.success(), "{}", text(&verify.stdout));
    let server = Server::start_ready(&ground.path(data))?;
    let found = told(&mut server.client())?;
    ensure!(found.len() == expected.len(), "{} of {}", found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found, expected);
    }
    Ok(())
}

#[test]
fn a_lost_disk_loses_nothing_that_was_sent() {
    let ground = Ground::new().unwrap();
    let mut server = ground.start("data").unwrap();
    let mut client = server.client();
    prepare(&mut client).unwrap();
    fill(&mut client, 0, 100).unwrap();
    wait_sent(&mut client).unwrap();
    // Some is in files of a base, some in the journal behind it.
    let before = bases(&mut client).unwrap();
    wait::until("another base", || Ok((bases(&mut client)? > before).then_some(()))).unwrap();
    fill(&mut client, 100, 50).unwrap();
    let expected = told(&mut client).unwrap();
    wait_sent(&mut client).unwrap();
    server.kill().unwrap();
    fs::remove_dir_all(ground.path("data")).unwrap();
    let restored = ground.restored("again", &[]).unwrap();
    assert_eq!(restored["shards"].as_array().unwrap().len(), 2, "{restored}");
    check_whole(&ground, "again", &expected).unwrap();
}

#[test]
fn a_store_goes_back_to_a_time_between_two_jobs() {
    let ground = Ground::new().unwrap();
    let mut server = ground.start("data").unwrap();
    let mut client = server.client();
    prepare(&mut client).unwrap();
    fill(&mut client, 0, 20).unwrap();
    wait_sent(&mut client).unwrap();
    fill(&mut client, 20, 20).unwrap();
    let expected = told(&mut client).unwrap();
    // The instant of the last event that is to be there.
    let at = expected.iter().filter_map(|it| it["at"].as_str()).max().unwrap().to_owned();
    fill(&mut client, 40, 20).unwrap();
    wait_sent(&mut client).unwrap();
    server.terminate().unwrap();
    let restored = ground.restored("then", &["--at", &at]).unwrap();
    let server = Server::start_ready(&ground.path("then")).unwrap();
    let found = told(&mut server.client()).unwrap();
    // What was answered in the same millisecond may be there, and nothing of a millisecond later.
    assert!(found.len().abs_diff(expected.len()) <= 1, "{restored}");
    let refused = ground.restore("never", &["--at", "2020-01-01T00:00:00Z"]).unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", text(&refused.stderr));
    assert!(!ground.path("never").exists());
}

#[test]
fn a_second_copy_sends_only_what_is_new() {
    let ground = Ground::new().unwrap();
    let place = ground.place();
    let allow = format!("ship.allow={place}");
    let more = ["--set", allow.as_str(), "--shards", "1"];
    let mut server = Server::start_with(&ground.path("data"), &more).unwrap();
    let mut client = server.client();
    prepare(&mut client).unwrap();
    fill(&mut client, 0, 60).unwrap();
    // What was flushed is in files.
    server.terminate().unwrap();
    let server = Server::start_with(&ground.path("data"), &more).unwrap();
    let mut client = server.client();
    let refused = backup(&server, "/elsewhere").unwrap();
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
    let first = backup(&server, &place).unwrap();
    assert!(first.status.success(), "{}", text(&first.stderr));
    let first: Value = serde_json::from_slice(&first.stdout).unwrap();
    assert_eq!(first["sent_bytes"], first["bytes"], "{first}");
    assert!(first["bytes"].as_u64().unwrap() > 100_000, "{first}");
    fill(&mut client, 60, 10).unwrap();
    let expected = told(&mut client).unwrap();
    let second = backup(&server, &place).unwrap();
    assert!(second.status.success(), "{}", text(&second.stderr));
    let second: Value = serde_json::from_slice(&second.stdout).unwrap();
    assert!(second["sent_bytes"].as_u64().unwrap() < 10_000, "{second}");
    // What is gone from the place is new there.
    let files = [place.as_str(), "-path", "*/files/*", "-type", "f", "-delete"];
    assert!(Command::new("find").args(files).status().unwrap().success());
    let third = backup(&server, &place).unwrap();
    assert!(third.status.success(), "{}", text(&third.stderr));
    let third: Value = serde_json::from_slice(&third.stdout).unwrap();
    assert_eq!(third["sent_bytes"], third["bytes"], "{third}");
    drop(server);
    ground.restored("again", &[]).unwrap();
    check_whole(&ground, "again", &expected).unwrap();
}

#[test]
fn a_kill_in_the_middle_of_sending_leaves_a_copy_that_is_whole() {
    let ground = Ground::new().unwrap();
    let mut expected = Vec::new();
    for round in 0..6 {
        let mut server = ground.start("data").unwrap();
        let mut client = server.client();
        if round == 0 {
            prepare(&mut client).unwrap();
        }
        fill(&mut client, round * 30, 30).unwrap();
        if round == 5 {
            wait_sent(&mut client).unwrap();
            expected = told(&mut client).unwrap();
        }
        // Whatever it was sending.
        server.kill().unwrap();
    }
    fs::remove_dir_all(ground.path("data")).unwrap();
    ground.restored("again", &[]).unwrap();
    check_whole(&ground, "again", &expected).unwrap();
    // It goes on being copied, in a line of its own, from which it can be restored again.
    let mut server = ground.start("again").unwrap();
    let mut client = server.client();
    fill(&mut client, 1000, 10).unwrap();
    wait_sent(&mut client).unwrap();
    let expected = told(&mut client).unwrap();
    server.kill().unwrap();
    ground.restored("third", &[]).unwrap();
    check_whole(&ground, "third", &expected).unwrap();
}

#[test]
fn two_servers_that_send_the_same_store_do_not_mix() {
    let ground = Ground::new().unwrap();
    let mut server = ground.start("data").unwrap();
    let mut client = server.client();
    prepare(&mut client).unwrap();
    fill(&mut client, 0, 10).unwrap();
    wait_sent(&mut client).unwrap();
    server.kill().unwrap();
    longshore_tests::fixture::copy(&ground.path("data"), &ground.path("twin")).unwrap();
    let server = ground.start("data").unwrap();
    let mut client = server.client();
    fill(&mut client, 10, 10).unwrap();
    wait_sent(&mut client).unwrap();
    let expected = told(&mut client).unwrap();
    let twin = ground.start("twin").unwrap();
    let mut of_twin = twin.client();
    fill(&mut of_twin, 500, 20).unwrap();
    wait::until("the twin is refused", || {
        Ok((shipping(&mut of_twin)?["refused"] == true).then_some(()))
    })
    .unwrap();
    wait_sent(&mut client).unwrap();
    drop((server, twin));
    ground.restored("again", &[]).unwrap();
    check_whole(&ground, "again", &expected).unwrap();
}

#[test]
fn what_is_damaged_is_named_and_nothing_is_left_to_open() {
    let ground = Ground::new().unwrap();
    let mut server = ground.start("data").unwrap();
    let mut client = server.client();
    prepare(&mut client).unwrap();
    fill(&mut client, 0, 30).unwrap();
    wait_sent(&mut client).unwrap();
    server.terminate().unwrap();
    let full = ground.path("full");
    fs::create_dir(&full).unwrap();
    fs::write(full.join("x"), "mine").unwrap();
    let refused = ground.restore("full", &[]).unwrap();
    assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
    assert_eq!(fs::read(full.join("x")).unwrap(), b"mine");
    let newest = ground.objects("/bases/").unwrap().pop().unwrap();
    let named = text(&fs::read(&newest).unwrap());
    for kind in ["/bases/", "/files/", "/pieces/"] {
        for object in ground.objects(kind).unwrap() {
            let leaf = object.file_name().unwrap().to_string_lossy().into_owned();
            let stem = leaf.split('.').next().unwrap_or_default();
            let used = match kind {
                "/bases/" => object == newest,
                "/files/" => named.contains(&format!("\"{stem}\"")),
                // The first ones may be older than the base.
                _ => false,
            };
            let used =
                used || object == *ground.objects("shard-0/pieces/").unwrap().last().unwrap();
            if !used {
                continue;
            }
            let whole = fs::read(&object).unwrap();
            let mut flipped = whole.clone();
            let middle = flipped.len() / 2;
            flipped[middle] ^= 4;
            for damaged in [flipped, whole[..middle].to_vec()] {
                fs::write(&object, damaged).unwrap();
                let output = ground.restore("again", &[]).unwrap();
                assert!(!output.status.success(), "{}", object.display());
                let said = text(&output.stderr);
                assert!(said.contains(&leaf), "{leaf}: {said}");
                assert!(!ground.path("again").exists(), "nothing is left");
            }
            fs::write(&object, whole).unwrap();
        }
    }
    ground.restored("again", &[]).unwrap();
}

/// A server that speaks S3, as other people wrote it. Ended when it is dropped.
struct S3 {
    child: std::process::Child,
    endpoint: String,
}

impl S3 {
    /// `None` where the machine has none.
    fn start() -> Result<Option<Self>> {
        let (packages, modules) = (["moto[server]"], "moto.server, boto3");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-moto");
        let of_system =
            python::succeeds(Command::new("python3").args(["-c", "import moto.server"]));
        let python = match of_system {
            Ok(()) => PathBuf::from("python3"),
            Err(_) => match python::python(&folder, modules, &packages) {
                Ok(python) => python,
                Err((need, why)) => {
                    skip(need, &why);
                    return Ok(None);
                }
            },
        };
        let mut child = Command::new(&python)
            .args(["-m", "moto.server", "-p", "0"])
            .stderr(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()?;
        let lines = BufReader::new(child.stderr.take().context("standard error")?).lines();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some((_, address)) = line.split_once("Running on ") {
                    drop(tell.send(address.trim().to_owned()));
                }
            }
        });
        let endpoint = told.recv_timeout(wait::PATIENCE)?;
        let made = Self { child, endpoint };
        let make = "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1])\
            .create_bucket(Bucket='bucket')";
        let mut bucket = Command::new(&python);
        bucket.args(["-c", make, &made.endpoint]).envs(made.environment());
        python::succeeds(&mut bucket).map_err(anyhow::Error::msg)?;
        Ok(Some(made))
    }

    fn environment(&self) -> [(&'static str, &str); 5] {
        [
            ("AWS_ACCESS_KEY_ID", "key"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
            ("AWS_ENDPOINT", &self.endpoint),
        ]
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_bucket_is_a_place_like_a_folder() {
    let Some(s3) = S3::start().unwrap() else { return };
    let ground = Ground::new().unwrap();
    let mut command = longshore_tests::server::serve(&ground.path("data")).unwrap();
    command.args(["--set", "ship.to=s3://bucket/some/where", "--set", "ship.every=100ms"]);
    command.args(["--set", "ship.base_every=1s"]).envs(s3.environment());
    let mut server = Server::start_as(command, &ground.path("log")).unwrap();
    server.wait_ready().unwrap();
    let mut client = server.client();
    prepare(&mut client).unwrap();
    fill(&mut client, 0, 40).unwrap();
    let expected = told(&mut client).unwrap();
    wait_sent(&mut client).unwrap();
    server.kill().unwrap();
    let mut restore = Command::new(binary().unwrap());
    restore.args(["restore", "--from", "s3://bucket/some/where", "--data"]);
    let output = restore.arg(ground.path("again")).envs(s3.environment()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    check_whole(&ground, "again", &expected).unwrap();
}
