//! The examples of the documentation, run as they stand: every `sh` block of the guides goes
//! through a shell against a real server. Blocks that are not to be run are fenced otherwise.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use longshore_tests::server::{Server, binary};
use serde_json::{Value, json};

/// Where the documentation says that the server is.
const ADDRESS: &str = "127.0.0.1:7077";

/// Commands that other steps run, or that would run for ever; the server is there already.
const ELSEWHERE: [&str; 5] =
    ["cargo ", "longshore dev", "longshore serve", "longshore demo", "longshore bench"];

/// Programs of the reader's own that the pages run.
const PROGRAMS: [(&str, &str); 2] = [
    ("send-mail", "#!/bin/sh\ncat > /dev/null\necho '{\"sent\": true}'\n"),
    ("move-shard", "#!/bin/sh\n[ \"$1\" = 42 ]\n"),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The `sh` blocks of a page, with the line where each begins.
fn blocks(text: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        match &mut open {
            None if line.trim() == "```sh" => open = Some((index + 1, String::new())),
            Some(_) if line.trim() == "```" => blocks.extend(open.take()),
            Some((_, block)) => {
                block.push_str(line);
                block.push('\n');
            }
            None => {}
        }
    }
    blocks
}

/// The block as it is run: without what runs elsewhere, against the server of the test, failing
/// where a request is refused.
fn prepared(block: &str, server: &Server) -> Result<String> {
    let mut script = String::from("set -euo pipefail\n");
    for line in block.lines().filter(|line| !ELSEWHERE.iter().any(|e| line.starts_with(e))) {
        // A worker goes on until it is told to stop.
        let line = match line.strip_prefix("longshore work") {
            Some(rest) => format!("timeout --signal TERM 2 longshore work{rest} || [ $? = 124 ]"),
            None => line.replace("curl -s", "curl -sS --fail-with-body"),
        };
        writeln!(script, "{}", line.replace(ADDRESS, &server.address))?;
    }
    if script.contains("/ID") || script.contains("TOKEN") {
        let (id, token) = leased(server)?;
        script = script.replace("/ID", &format!("/{id}")).replace("TOKEN", &token);
    }
    Ok(script)
}

/// A job that runs: its id and token.
fn leased(server: &Server) -> Result<(String, String)> {
    let mut client = server.client();
    let job = json!({"kind": "example", "args": {}});
    let enqueued = client.post("/v1/queues/examples/jobs", &job)?;
    ensure!(enqueued.is_success(), "{:?}", enqueued.body);
    let lease = json!({"queues": ["examples"], "max": 1, "worker": "docs"});
    let answer = client.post("/v1/lease", &lease)?;
    let text = |field: &str| {
        let value = answer.body.pointer(&format!("/jobs/0/{field}")).and_then(Value::as_str);
        value.map(str::to_owned).with_context(|| format!("no {field} in {}", answer.body))
    };
    Ok((text("id")?, text("token")?))
}

fn run_page(page: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start_ready(&folder.path().join("data"))?;
    for (name, script) in PROGRAMS {
        let program = folder.path().join(name);
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    let longshore = binary()?;
    let programs = longshore.parent().context("the binary lies in a folder")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell_worker = Command::new(&longshore)
        .args(["work", "--allow-shell", "--quiet", "--server"])
        .arg(format!("http://{}", server.address))
        .spawn()?;
    let result = run_blocks(page, folder.path(), &server, programs, &path);
    shell_worker.kill()?;
    shell_worker.wait()?;
    result
}

/// Runs the examples of a page, one after the other, in a folder.
fn run_blocks(
    page: &str,
    folder: &Path,
    server: &Server,
    programs: &Path,
    path: &str,
) -> Result<()> {
    let text = fs::read_to_string(root().join(page)).with_context(|| page.to_owned())?;
    let blocks = blocks(&text);
    ensure!(!blocks.is_empty(), "{page} has no example");
    for (line, block) in blocks {
        let output = Command::new("bash")
            .args(["-c", &prepared(&block, server)?])
            .current_dir(folder)
            .env("PATH", format!("{}:{path}", programs.display()))
            .env("LONGSHORE_SERVER", format!("http://{}", server.address))
            .output()?;
        ensure!(
            output.status.success(),
            "the example at {page}:{line} ends with {}:\n{block}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
    }
    Ok(())
}

/// Users were left to guess it.
#[test]
fn what_users_ask_about_is_said() -> Result<()> {
    for (page, said) in [
        ("README.md", "[gRPC](docs/grpc.md)"),
        (
            "docs/http.md",
            "`older_than` or `before`: of waiting jobs these count from when the job was enqueued, \
             not from when it may run; of dead ones from when it died",
        ),
        ("docs/jobs.md", "grows up to `cap`, which is a day where it is left out"),
    ] {
        let text = fs::read_to_string(root().join(page))?;
        let words: Vec<_> = text.split_whitespace().collect();
        ensure!(words.join(" ").contains(said), "{page} does not say: {said}");
    }
    Ok(())
}

#[test]
fn the_readme_holds() -> Result<()> {
    run_page("README.md")
}

#[test]
fn the_jobs_guide_holds() -> Result<()> {
    run_page("docs/jobs.md")
}

#[test]
fn the_messages_guide_holds() -> Result<()> {
    run_page("docs/messages.md")
}

#[test]
fn the_quick_start_holds() -> Result<()> {
    run_page("docs/quick-start.md")
}

#[test]
fn the_schedules_guide_holds() -> Result<()> {
    run_page("docs/schedules.md")
}

#[test]
fn the_limits_guide_holds() -> Result<()> {
    run_page("docs/limits.md")
}

#[test]
fn the_guide_to_unique_jobs_holds() -> Result<()> {
    run_page("docs/unique.md")
}

#[test]
fn the_tenants_guide_holds() -> Result<()> {
    run_page("docs/tenants.md")
}

#[test]
fn the_guide_to_service_levels_holds() -> Result<()> {
    run_page("docs/sla.md")
}

#[test]
fn the_gates_guide_holds() -> Result<()> {
    run_page("docs/gates.md")
}

#[test]
fn an_example_that_fails_is_noticed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start_ready(&folder.path().join("data"))?;
    let block = "curl -s http://127.0.0.1:7077/v1/queues/none\n";
    let status = Command::new("bash").args(["-c", &prepared(block, &server)?]).output()?.status;
    ensure!(!status.success(), "a refusal passes for success");
    Ok(())
}
