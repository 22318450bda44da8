//! System calls that fail, by `strace`: a failed journal ends the process with exit 74, nothing is
//! acknowledged after it, and a restart has all that was acknowledged before. It needs `strace`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use longshore_tests::faults::{EXIT_JOURNAL_FAILED, check_nothing_is_lost, enqueue_until_trouble};
use longshore_tests::random::Random;
use longshore_tests::server::{Server, add_arguments, binary, describe};
use longshore_tests::skip::lacks;
use longshore_tests::tier;
use serde_json::json;

/// The server under `strace`, which makes calls fail from number `from` of each thread on.
fn traced(data: &Path, call: &str, error: &str, from: u64) -> Result<Command> {
    let mut command = Command::new("strace");
    // -D: the tracer is not in the way, the process that was started is the server itself.
    command.args(["-D", "-f", "-qq", "-o", "/dev/null"]);
    command.args(["-e".to_owned(), format!("trace={call}")]);
    command.args(["-e".to_owned(), format!("inject={call}:error={error}:when={from}+")]);
    command.arg(binary()?);
    add_arguments(&mut command, data);
    Ok(command)
}

/// Makes `call` fail at several moments, each on a store of its own.
fn check_failing(call: &str, error: &str) -> Result<()> {
    if lacks("strace") {
        return Ok(());
    }
    let mut random = Random::new(7);
    // Entries that are written in pieces have a body of some length.
    let args_bytes = if call == "pwritev" { 20_000 } else { 200 };
    let mut failed_while_serving = 0;
    for round in 0..tier::pick(4, 60) {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        // A store that was in use before: making one needs those calls, too.
        let before = used_before(&data)?;
        let from = 15 + random.below(60);
        let command = traced(&data, call, error, from)?;
        let log = folder.path().join("log");
        let started = Server::start_as(command, &log);
        let started = started.and_then(|mut server| server.wait_ready().map(|()| server));
        let mut server = match started {
            Ok(server) => server,
            // The fault came while it started.
            Err(why) => {
                let checked =
                    check_start_refused(&why).and_then(|()| check_nothing_is_lost(&data, &before));
                let round = || format!("round {round}, {error} of {call} from {from}: {why:#}");
                checked.with_context(round)?;
                continue;
            }
        };
        let answers = enqueue_until_trouble(&server, args_bytes);
        if !answers.broke {
            bail!("round {round}: it goes on without a disk: {answers:?}\n{}", server.log_text());
        }
        let status = server.wait_end()?;
        if status.code() != Some(EXIT_JOURNAL_FAILED) {
            bail!("round {round}: {}\n{}", describe(status), server.log_text());
        }
        failed_while_serving += u64::from(!answers.accepted.is_empty());
        let lost = check_nothing_is_lost(&data, &[before, answers.accepted].concat());
        lost.with_context(|| format!("round {round}, {error} of {call} from {from}"))?;
    }
    if failed_while_serving == 0 {
        bail!("the fault never came while it served");
    }
    Ok(())
}

/// Uses a store and stops. Answers the jobs that are in it.
fn used_before(data: &Path) -> Result<Vec<String>> {
    let mut server = Server::start_ready(data)?;
    let body = json!({ "jobs": vec![json!({ "kind": "k" }); 3] });
    let answer = server.client().post("/v1/queues/q/jobs", &body)?;
    let ids = answer.body["ids"].as_array().context("no ids")?;
    let ids = ids.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
    server.terminate()?;
    Ok(ids)
}

/// A server that does not come up ends by itself and says why, or tells which shard does not serve.
fn check_start_refused(why: &anyhow::Error) -> Result<()> {
    let said = format!("{why:#}");
    let ended = said.contains("the server ended") && said.contains("exit");
    let told = ["Input/output error", "No space left on device"].iter().any(|it| said.contains(it));
    if (ended && told) || said.contains("a shard has stopped") {
        return Ok(());
    }
    bail!("it did not say why it does not start")
}

#[test]
fn a_failed_sync_ends_the_process_and_loses_nothing() {
    check_failing("fdatasync", "EIO").unwrap();
}

#[test]
fn a_failed_write_ends_the_process_and_loses_nothing() {
    check_failing("pwrite64", "EIO").unwrap();
}

#[test]
fn a_failed_write_of_pieces_ends_the_process_and_loses_nothing() {
    check_failing("pwritev", "EIO").unwrap();
}

#[test]
fn a_write_without_space_ends_the_process_and_loses_nothing() {
    check_failing("pwrite64", "ENOSPC").unwrap();
}
