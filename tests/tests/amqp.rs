//! AMQP, as a client that other people wrote speaks it: pika against a real server, which is
//! killed. Needs Python and pika from `PyPI`; skipped where those are missing.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use longshore_amqp::codec::Method;
use longshore_amqp::codec::methods::ConnectionClose;
use longshore_tests::amqp::Connection;
use longshore_tests::python::{Missing, python, succeeds};
use longshore_tests::server::Server;
use longshore_tests::skip::skip;

fn compat() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/pika")
}

/// A Python with pika.
fn pika() -> Result<PathBuf, Missing> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pika");
    python(&folder, "pika", &[OsStr::new("-r"), compat().join("requirements.txt").as_os_str()])
}

fn start(data: &Path) -> Result<Server> {
    Server::start_with(data, &["--amqp", "127.0.0.1:0"])
}

fn step(python: &Path, address: &str, step: &str) -> Result<()> {
    let mut command = Command::new(python);
    command.arg(compat().join("smoke.py")).args([address, step]);
    succeeds(&mut command).map_err(|why| anyhow::anyhow!("{step}: {why}"))
}

/// Publishes, and returns once all of it is confirmed and the client still there.
fn publish(python: &Path, address: &str) -> Result<std::process::Child> {
    let mut child = Command::new(python)
        .arg(compat().join("smoke.py"))
        .args([address, "publish"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = child.stdout.take().context("no standard output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.trim() != "confirmed" {
        bail!("nothing was confirmed: {line:?}, {}", child.wait()?);
    }
    Ok(child)
}

#[test]
fn what_pika_got_confirmed_is_there_after_a_kill() -> Result<()> {
    let python = match pika() {
        Ok(python) => python,
        Err((need, why)) => {
            skip(need, &why);
            return Ok(());
        }
    };
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let mut server = start(&data)?;
    let mut client = publish(&python, &server.next_address("amqp")?)?;
    server.kill()?;
    client.kill()?;
    client.wait()?;
    let mut server = start(&data)?;
    step(&python, &server.next_address("amqp")?, "consume")?;
    ensure!(server.terminate()?.success(), "{}", server.log_text());
    Ok(())
}

#[test]
fn pika_gets_what_it_relies_on() -> Result<()> {
    let python = match pika() {
        Ok(python) => python,
        Err((need, why)) => {
            skip(need, &why);
            return Ok(());
        }
    };
    let folder = tempfile::tempdir()?;
    let mut server = start(&folder.path().join("data"))?;
    let address = server.next_address("amqp")?;
    for name in ["routing", "refusals", "settling", "lives", "replies", "large", "heartbeats"] {
        step(&python, &address, name)?;
    }
    ensure!(server.terminate()?.success(), "{}", server.log_text());
    Ok(())
}

/// A client that closes twice, as one with several threads does, must find its answer: a socket
/// that the server closes with something unread in it is reset.
#[test]
fn who_asks_for_the_end_closes_the_socket() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(&folder.path().join("data"))?;
    let mut client = Connection::open(&server.next_address("amqp")?)?;
    client.say(0, ConnectionClose { reply_code: 200, ..ConnectionClose::default() })?;
    client.wait_for(|method| matches!(method, Method::ConnectionCloseOk(_)))?;
    for _ in 0..10_000 {
        client.say(0, ConnectionClose { reply_code: 200, ..ConnectionClose::default() })?;
    }
    client.say_no_more()?;
    ensure!(client.frame()?.is_none(), "nothing follows the answer");
    Ok(())
}
