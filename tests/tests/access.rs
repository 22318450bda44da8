//! Accounts of a real server: the first token, the command line, `kill -9`, and how containers
//! begin.

#[path = "access/leaving.rs"]
mod leaving;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use longshore::{
    Client, ClientError, Context as JobContext, Job, JobResult, Outcome, Perform, Worker,
};
use longshore_tests::server::{self, Server};
use longshore_tests::{http, wait};
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
    let authorization = ("authorization", &*format!("Basic {pair}"));
    let answer = http::Client::new(address).ask_with("GET", path, &[authorization], None)?;
    Ok((answer.status, answer.body.to_string()))
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
    assert_eq!((status, &*body), (200, "[]"));
    let twice = format!("{right}\r\nauthorization: Basic {right}");
    for pair in [wrong, guest, "", "x", &twice] {
        assert_eq!(basic(&management, "/api/whoami", pair).unwrap().0, 401, "{pair}");
    }
    assert_eq!(basic(&server.address, "/v1/queues", right).unwrap().0, 200);
    said(&server, &admin, &["accounts", "delete", "ann"]).unwrap();
    assert_eq!(basic(&management, "/api/whoami", right).unwrap().0, 401);
}

/// An account with a role, a token of it, and what it is called.
fn token_of(server: &Server, admin: &Path, name: &str, grant: &[&str]) -> Result<String> {
    said(server, admin, &[&["accounts", "put", name], grant].concat())?;
    let token = said(server, admin, &["accounts", "token", "create", name, "web"])?;
    Ok(token.trim().to_owned())
}

fn asked(
    address: &str,
    (method, path): (&str, &str),
    token: &str,
    body: &str,
) -> Result<(u16, String)> {
    let authorization = ("authorization", &*format!("Bearer {token}"));
    let answer = http::Client::new(address).ask_with(method, path, &[authorization], Some(body))?;
    Ok((answer.status, answer.body.to_string()))
}

/// Each route that changes something, by who may do everything, something in one namespace, read
/// all of it, and nothing of it.
#[test]
fn the_management_api_holds_accounts_to_their_roles() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = start(&data, &[], &["--management", "127.0.0.1:0"]).unwrap();
    let api = server.next_address("management").unwrap();
    let admin = data.join("admin-token");
    let token = |name: &str, grant: &[&str]| token_of(&server, &admin, name, grant).unwrap();
    let boss = token("boss", &["--role", "admin"]);
    let local = token("local", &["--role", "admin", "--in", "default"]);
    let reader = token("reader", &["--role", "read"]);
    let stranger = token("stranger", &["--role", "enqueue"]);
    let all = [&boss, &local, &reader, &stranger];

    let queue = r#"{"durable": true, "auto_delete": false}"#;
    let exchange = r#"{"type": "fanout", "durable": true}"#;
    let bind = r#"{"routing_key": "k"}"#;
    let publish = r#"{"routing_key": "q", "payload": "m", "properties": {}}"#;
    let get = r#"{"count": 1, "ackmode": "ack_requeue_true"}"#;
    let policy = r#"{"pattern": "^q$", "definition": {"max-length": 9}, "apply-to": "queues"}"#;
    let ann = r#"{"tags": ""}"#;
    let may = r#"{"configure": "^$", "write": "^q$", "read": ".*"}"#;
    let definitions = r#"{"users": [{"name": "bob", "tags": ""}]}"#;
    // What comes after that is asked of who may least first, so that all is there.
    for (method, path, body, of_local, of_reader) in [
        ("GET", "/api/overview", "", false, true),
        ("GET", "/api/vhosts", "", false, true),
        ("GET", "/api/definitions", "", false, true),
        ("PUT", "/api/vhosts/shop", "", false, false),
        ("PUT", "/api/queues/%2F/q", queue, true, false),
        ("PUT", "/api/exchanges/%2F/x", exchange, true, false),
        ("POST", "/api/bindings/%2F/e/x/q/q", bind, true, false),
        ("POST", "/api/exchanges/%2F/amq.default/publish", publish, true, false),
        ("POST", "/api/queues/%2F/q/get", get, true, false),
        ("PUT", "/api/policies/%2F/p", policy, true, false),
        ("DELETE", "/api/policies/%2F/p", "", true, false),
        ("PUT", "/api/users/ann", ann, false, false),
        ("GET", "/api/users/ann", "", false, false),
        ("PUT", "/api/permissions/%2F/ann", may, false, false),
        ("DELETE", "/api/permissions/%2F/ann", "", false, false),
        ("DELETE", "/api/users/ann", "", false, false),
        ("DELETE", "/api/queues/%2F/q/contents", "", true, false),
        ("DELETE", "/api/queues/%2F/q", "", true, false),
        ("DELETE", "/api/exchanges/%2F/x", "", true, false),
        ("DELETE", "/api/vhosts/shop", "", false, false),
    ] {
        let may = [true, of_local, of_reader, false];
        for (token, may) in all.into_iter().zip(may).rev() {
            let (status, said) = asked(&api, (method, path), token, body).unwrap();
            let refused = status == 401 && said.contains("needs the role");
            assert_eq!(refused, !may, "{method} {path}: {status} {said}");
            // Whoever was first has done it, and the other one finds it so.
            let done = matches!(status, 200 | 201 | 204) || status == 404 && method == "DELETE";
            assert!(!may || done, "{method} {path}: {status} {said}");
        }
    }
    // To who may not do everything the account that asks, and no permissions.
    let (_, users) = asked(&api, ("GET", "/api/users"), &reader, "").unwrap();
    assert!(users.contains("reader") && !users.contains("boss"), "{users}");
    for path in ["/api/permissions", "/api/users/boss/permissions"] {
        assert_eq!(asked(&api, ("GET", path), &local, "").unwrap(), (200, "[]".to_owned()));
    }
    for (token, taken) in [(&local, 0), (&reader, 0), (&stranger, 0), (&boss, 1)] {
        let (status, said) = asked(&api, ("POST", "/api/definitions"), token, definitions).unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        let refused = usize::from(taken == 0);
        assert_eq!((status, &said["taken"]["users"]), (200, &taken.into()), "{said}");
        assert_eq!(said["not_taken"].as_array().map(Vec::len), Some(refused), "{said}");
    }
}

#[test]
fn the_last_operator_stays_one_over_the_management_api() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = start(&data, &[], &["--management", "127.0.0.1:0"]).unwrap();
    let api = server.next_address("management").unwrap();
    let admin = data.join("admin-token");
    let boss = token_of(&server, &admin, "boss", &["--role", "admin"]).unwrap();
    assert_eq!(asked(&api, ("DELETE", "/api/users/admin"), &boss, "").unwrap().0, 204);
    let stripped = r#"{"tags": "monitoring"}"#;
    for (method, body) in [("PUT", stripped), ("DELETE", "")] {
        let (status, said) = asked(&api, (method, "/api/users/boss"), &boss, body).unwrap();
        assert!(status == 400 && said.contains("leaves an account"), "{status} {said}");
    }
    let (status, said) = asked(&api, ("GET", "/api/users/boss"), &boss, "").unwrap();
    assert!(status == 200 && said.contains("administrator"), "{said}");
}

/// A request was let in with its head, and its account is there no longer when the body comes: it
/// put itself back.
#[test]
fn an_administrator_that_was_removed_does_not_come_back_by_what_it_had_begun() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = start(&data, &[], &["--management", "127.0.0.1:0"]).unwrap();
    let api = server.next_address("management").unwrap();
    let admin = data.join("admin-token");
    let body = r#"{"tags": "administrator", "password": "correct horse"}"#;
    let grants = r#"{"grants": [{"role": "admin", "namespace": "*", "names": "*"}]}"#;
    let import = r#"{"users": [{"name": "NAME", "tags": "administrator"}]}"#;
    let cases = [
        ("gone", &api, "PUT", "/api/users/gone", body),
        ("less", &api, "PUT", "/api/users/less", body),
        ("away", &api, "POST", "/api/definitions", import),
        ("lost", &server.address, "PUT", "/v1/accounts/lost", grants),
    ];
    for (name, address, method, path, body) in cases {
        let body = body.replace("NAME", name);
        let token = token_of(&server, &admin, name, &["--role", "admin"]).unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // `100-continue` tells that the request was let in: its head is all that it looks at.
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
             expect: 100-continue\r\ncontent-type: application/json\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut told = [0; 25];
        stream.read_exact(&mut told).unwrap();
        assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n", "{path}");
        if name == "less" {
            said(&server, &admin, &["accounts", "put", name, "--role", "read"]).unwrap();
        } else {
            said(&server, &admin, &["accounts", "delete", name]).unwrap();
        }
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let refused = ["HTTP/1.1 401", "HTTP/1.1 403"].iter().any(|it| answer.starts_with(it));
        assert!(refused || answer.contains("not_taken\":[{"), "{path}: {answer}");
    }
    let list = said(&server, &admin, &["accounts", "list"]).unwrap();
    assert!(!["gone", "away", "lost"].iter().any(|name| list.contains(name)), "{list}");
    let token = fs::read_to_string(&admin).unwrap();
    let (_, less) = asked(&api, ("GET", "/api/users/less"), token.trim(), "").unwrap();
    assert!(less.contains("monitoring") && !less.contains("administrator"), "{less}");
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
