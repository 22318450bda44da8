//! The real `rabbitmqadmin` against the management API. Needs Debian's package `rabbitmq-server`;
//! skipped where that is missing.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use longshore_tests::server::Server;
use longshore_tests::skip::skip;
use serde_json::Value;

/// A server, and where its management API is.
fn start(folder: &Path) -> Result<(Server, String)> {
    let server = Server::start_with(&folder.join("data"), &["--management", "127.0.0.1:0"])?;
    let management = server.next_address("management")?;
    Ok((server, management))
}

fn ask(management: &str, arguments: &[&str]) -> Result<(u16, Value)> {
    let output = Command::new("curl")
        .args(["-s", "-w", "\n%{http_code}"])
        .args(arguments.iter().map(|it| it.replace("API", &format!("http://{management}/api"))))
        .output()?;
    let said = String::from_utf8(output.stdout)?;
    let (body, status) = said.rsplit_once('\n').context("no status")?;
    Ok((status.parse()?, serde_json::from_str(body).unwrap_or(Value::Null)))
}

#[test]
fn rabbitmqadmin_works_as_with_rabbitmq() {
    if Command::new("rabbitmqadmin").arg("--version").output().is_err() {
        return skip("rabbitmqadmin", "it is of the package rabbitmq-server");
    }
    let folder = tempfile::tempdir().unwrap();
    let (server, management) = start(folder.path()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/rabbitmqadmin/run.sh");
    let output =
        Command::new(script).env("MANAGEMENT", &management).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{failed}{}", server.log_text());
    assert!(said.lines().filter(|line| line.starts_with("PASS")).count() >= 20, "{said}");
}

#[test]
fn what_of_definitions_has_no_meaning_here_is_told_and_who_is_not_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let (_server, management) = start(folder.path()).unwrap();
    let definitions =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/rabbitmqadmin/definitions-3.10.json");
    let data = format!("@{}", definitions.display());
    let json = "content-type: application/json";
    let login = ["-u", "guest:guest"];
    let import = [&login[..], &["-X", "POST", "-H", json, "-d", &data, "API/definitions"]].concat();
    let (status, came) = ask(&management, &import).unwrap();
    assert_eq!(status, 200, "{came}");
    assert_eq!((&came["taken"]["queues"], &came["taken"]["policies"]), (&2.into(), &1.into()));
    let refused = came["not_taken"].as_array().unwrap();
    let ha = refused.iter().find(|it| it["section"] == "policies").unwrap();
    assert_eq!(ha["item"]["name"], "ha");
    assert!(refused.iter().any(|it| it["section"] == "users"), "{came}");
    for arguments in [&["API/overview"][..], &["-u", "guest:wrong", "API/overview"]] {
        assert_eq!(ask(&management, arguments).unwrap().0, 401);
    }
    let elsewhere = [&login[..], &["-H", "host: example.com", "API/overview"]].concat();
    assert_eq!(ask(&management, &elsewhere).unwrap().0, 401);
    let connections = [&login[..], &["API/connections"]].concat();
    let (status, why) = ask(&management, &connections).unwrap();
    assert_eq!((status, &why["error"]), (501, &"not_implemented".into()));
    let unknown = [&login[..], &["API/queues/%2F/nowhere"]].concat();
    assert_eq!(ask(&management, &unknown).unwrap().0, 404);
}
