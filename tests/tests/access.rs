//! Accounts of a real server: the first token, the command line, `kill -9`, and how containers
//! begin.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use longshore::{
    Client, ClientError, Context as JobContext, Job, JobResult, Outcome, Perform, Worker,
};
use longshore_tests::server::{self, Server};
use longshore_tests::wait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Runs the command line against a server, with a token from a file where one is named.
fn run(server: &Server, token: Option<&Path>, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(server::binary()?);
    command.args(["--server", &server.address]).args(arguments);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LONGSHORE_") {
            command.env_remove(name);
        }
    }
    if let Some(token) = token {
        command.env("LONGSHORE_TOKEN_FILE", token);
    }
    Ok(command.output()?)
}

fn said(server: &Server, token: &Path, arguments: &[&str]) -> Result<String> {
    let output = run(server, Some(token), arguments)?;
    let (out, error) =
        (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr).into_owned());
    ensure!(output.status.success(), "{arguments:?}: {out}{error}");
    Ok(out)
}

/// Starts a server that requires accounts, and waits until it lets people in.
fn start(data: &Path, variables: &[(&str, &str)], more: &[&str]) -> Result<Server> {
    let mut command = server::serve(data)?;
    command.args(["--access", "required"]).args(more).envs(variables.iter().copied());
    let mut server = Server::start_as(command, &data.with_extension("log"))?;
    server.wait_ready()?;
    Ok(server)
}

#[test]
fn accounts_survive_kill_9_and_a_removed_one_stays_out() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = start(&data, &[], &[]).unwrap();
    let admin = data.join("admin-token");
    assert_eq!(fs::metadata(&admin).unwrap().permissions().mode() & 0o777, 0o600);
    let shop = folder.path().join("shop-token");
    let gone = folder.path().join("gone-token");
    for (name, file) in [("shop", &shop), ("gone", &gone)] {
        said(&server, &admin, &["accounts", "put", name, "--role", "enqueue"]).unwrap();
        let token = said(&server, &admin, &["accounts", "token", "create", name, "web"]).unwrap();
        fs::write(file, token).unwrap();
    }
    said(&server, &gone, &["enqueue", "welcome"]).unwrap();
    said(&server, &admin, &["accounts", "delete", "gone"]).unwrap();
    server.kill().unwrap();
    let server = start(&data, &[], &[]).unwrap();
    said(&server, &shop, &["enqueue", "welcome"]).unwrap();
    for (file, code) in [(&gone, "(unauthenticated)"), (&shop, "(access_denied)")] {
        let output = run(&server, Some(file), &["accounts", "list"]).unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(code), "{error}");
    }
    let list = said(&server, &admin, &["accounts", "list"]).unwrap();
    assert!(list.contains("shop") && !list.contains("gone"), "{list}");
    let grant = ["accounts", "grant", "shop", "--role", "work", "--names", "mail*", "--in", "x"];
    let shown = said(&server, &admin, &grant).unwrap();
    assert!(shown.contains("enqueue; work on mail* in x"), "{shown}");
    let trail = said(&server, &admin, &["audit", "tail", "--limit", "100"]).unwrap();
    for told in ["first start account.put admin", "admin account.delete gone"] {
        assert!(trail.contains(told), "{trail}");
    }
}

#[test]
fn a_container_brings_its_accounts() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("accounts.toml");
    let token = "a-token-of-at-least-24-bytes";
    let accounts = format!(
        "[[account]]\nname = \"shop\"\npassword = \"correct horse\"\n\
         tokens = [{{ id = \"web\", token = \"{token}\" }}]\n\
         grants = [{{ role = \"enqueue\", namespace = \"default\" }}]\n"
    );
    fs::write(&file, accounts).unwrap();
    let admin = [("LONGSHORE_ADMIN_TOKEN", "the-token-of-the-operator-1")];
    let more = ["--accounts-file", file.to_str().unwrap()];
    let one = folder.path().join("one");
    let shop = folder.path().join("shop");
    fs::write(&one, "the-token-of-the-operator-1\n").unwrap();
    fs::write(&shop, token).unwrap();
    let account = |server: &Server, admin: &Path| -> Result<Value> {
        let json = said(server, admin, &["-o", "json", "accounts", "show", "shop"])?;
        Ok(serde_json::from_str(&json)?)
    };
    let mut server = start(&data, &admin, &more).unwrap();
    assert!(!data.join("admin-token").exists());
    said(&server, &shop, &["enqueue", "welcome"]).unwrap();
    let first = account(&server, &one).unwrap();
    server.kill().unwrap();
    let mut server = start(&data, &admin, &more).unwrap();
    assert_eq!(account(&server, &one).unwrap(), first, "the same file changes nothing");
    server.kill().unwrap();
    let other = [("LONGSHORE_ADMIN_TOKEN", "the-token-of-the-operator-2")];
    let two = folder.path().join("two");
    fs::write(&two, "the-token-of-the-operator-2\n").unwrap();
    let server = start(&data, &other, &more).unwrap();
    assert_eq!(account(&server, &two).unwrap(), first);
    assert!(account(&server, &one).is_err(), "another token in its place revokes it");
}

/// Starts a server that is to refuse its configuration, and gives what it says.
fn refused(address: &str, more: &[&str]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let mut command = server::serve_at(&folder.path().join("data"), address)?;
    let output = command.args(more).output().context("the server does not start")?;
    if output.status.success() {
        bail!("it started with {more:?}");
    }
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_would_let_anybody_in_does_not_start() {
    let said = refused("0.0.0.0:0", &[]).unwrap();
    assert!(said.contains("--access required"), "{said}");
    let token = "serve.admin_token=the-token-of-the-operator-1";
    let said = refused("127.0.0.1:0", &["--set", token]).unwrap();
    assert!(said.contains("--access required") && !said.contains("operator-1"), "{said}");
    let said = refused("127.0.0.1:0", &["--set", "serve.accounts_file=none.toml"]).unwrap();
    assert!(said.contains("--access required"), "{said}");
    let said = refused("127.0.0.1:0", &["--access", "perhaps"]).unwrap();
    assert!(said.contains("off or required"), "{said}");
    let said =
        refused("127.0.0.1:0", &["--access", "required", "--set", "serve.admin_token=short"])
            .unwrap();
    assert!(said.contains("24 to 512") && !said.contains("short"), "{said}");
}

/// A request over plain HTTP with a name and a password in base64: the status and the body.
fn basic(address: &str, path: &str, pair: &str) -> Result<(u16, String)> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Basic {pair}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.split(' ').nth(1).context("no status")?.parse()?;
    Ok((status, answer))
}

#[test]
fn the_management_api_lets_the_same_accounts_in() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = start(&data, &[], &["--management", "127.0.0.1:0"]).unwrap();
    let management = server.next_address("management").unwrap();
    let admin = data.join("admin-token");
    let secret = folder.path().join("password");
    fs::write(&secret, "correct horse\n").unwrap();
    let file = secret.to_str().unwrap();
    let put = ["accounts", "put", "ann", "--role", "read", "--password-file", file];
    let shown = said(&server, &admin, &put).unwrap();
    assert!(!shown.contains("horse"), "{shown}");
    // ann:correct horse, ann:correct horsf, guest:guest
    let [right, wrong, guest] =
        ["YW5uOmNvcnJlY3QgaG9yc2U=", "YW5uOmNvcnJlY3QgaG9yc2Y=", "Z3Vlc3Q6Z3Vlc3Q="];
    let (status, body) = basic(&management, "/api/whoami", right).unwrap();
    assert!(status == 200 && body.contains("\"ann\""), "{body}");
    assert_eq!(basic(&management, "/api/queues", right).unwrap().0, 200);
    // One that has none of these permissions is told of none.
    let (status, body) = basic(&management, "/api/permissions", right).unwrap();
    assert!(status == 200 && body.ends_with("\r\n\r\n[]"), "{body}");
    let twice = format!("{right}\r\nauthorization: Basic {right}");
    for pair in [wrong, guest, "", "x", &twice] {
        assert_eq!(basic(&management, "/api/whoami", pair).unwrap().0, 401, "{pair}");
    }
    assert_eq!(basic(&server.address, "/v1/queues", right).unwrap().0, 200);
    said(&server, &admin, &["accounts", "delete", "ann"]).unwrap();
    assert_eq!(basic(&management, "/api/whoami", right).unwrap().0, 401);
}

/// A job that returns what it was given.
#[derive(Debug, Deserialize, Job, Serialize)]
#[job(output = u32)]
struct Echo {
    number: u32,
}

impl Perform<()> for Echo {
    async fn perform(self, _: JobContext<()>) -> JobResult<u32> {
        Ok(Outcome::done(self.number))
    }
}

#[test]
fn the_sdk_comes_in_with_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = start(&data, &[], &[]).unwrap();
    let admin = data.join("admin-token");
    let token = |name: &str, roles: &[&str]| -> Result<String> {
        let mut put = vec!["accounts", "put", name];
        put.extend(roles.iter().flat_map(|role| ["--role", role]));
        said(&server, &admin, &put)?;
        let made = said(&server, &admin, &["accounts", "token", "create", name, "t"])?;
        Ok(made.trim().to_owned())
    };
    let (shop, worker) =
        (token("shop", &["enqueue"]).unwrap(), token("worker", &["work"]).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = |token: &str| Client::builder(&server.address).token(token).build().unwrap();
        let of_worker = client(&worker);
        let works = Worker::new(&of_worker, ()).register::<Echo>();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let working = tokio::spawn(works.run_until(async {
            let _ = stopped.await;
        }));
        let job = client(&shop).enqueue(Echo { number: 7 }).await.unwrap();
        assert_eq!(job.result(wait::PATIENCE).await.unwrap(), 7);
        let _ = stop.send(());
        working.await.unwrap().unwrap();
        for (token, code) in [("wrong", "unauthenticated"), (&worker, "access_denied")] {
            match client(token).enqueue(Echo { number: 8 }).await {
                Err(ClientError::Refused(refusal)) => assert_eq!(refusal.code, code),
                other => panic!("{other:?}"),
            }
        }
    });
}
