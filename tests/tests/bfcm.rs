//! The live dashboard of `examples/bfcm` in a real browser, while each of its parts and the server
//! are killed. Needs Python and Chromium; skipped where one is missing.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use longshore_tests::python::succeeds;
use longshore_tests::server::{Server, serve_at};
use longshore_tests::skip::skip;
use longshore_tests::wait;
use serde_json::Value;

/// Orders that are made up before each death, and in the end.
const ORDERS: u64 = 1_000;
const DEATHS: u64 = 3;
const PER_SECOND: &str = "4000";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A process with Python, which a failing test does not leave behind.
struct Running {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Running {
    fn start(script: &str, words: &[&str]) -> Result<Self> {
        let mut child = Command::new("python3")
            .arg(root().join(script))
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let said = BufReader::new(child.stdout.take().context("no standard output")?);
        Ok(Self { child, said })
    }

    fn next_line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.said.read_line(&mut line)? > 0, "it has ended");
        Ok(line.trim().to_owned())
    }

    /// What an expression gives in the page, of a browser.
    fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let stdin = self.child.stdin.as_mut().context("no standard input")?;
        writeln!(stdin, "{expression}")?;
        Ok(serde_json::from_str(&self.next_line()?)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn start(data: &Path, address: &str) -> Result<Server> {
    let mut server = Server::start_as(serve_at(data, address)?, &data.with_extension("log"))?;
    server.wait_ready()?;
    Ok(server)
}

#[test]
fn the_dashboard_counts_each_order_once_whatever_is_killed() {
    for (need, mut command) in
        [("python3", Command::new("python3")), ("chromium", Command::new("chromium"))]
    {
        if let Err(why) = succeeds(command.arg("--version")) {
            return skip(need, &why);
        }
    }
    watch().unwrap();
}

fn watch() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    // All have to find each other again.
    let address = format!("127.0.0.1:{}", free_port()?);
    let url = format!("http://{address}");
    let port = free_port()?.to_string();
    let mut server = start(&data, &address)?;
    let dashboard = || {
        let mut dashboard = Running::start("examples/bfcm/dashboard.py", &[&url, &port])?;
        let line = dashboard.next_line()?;
        ensure!(line.starts_with("listening on "), "{line}");
        anyhow::Ok(dashboard)
    };
    let mut shown = dashboard()?;
    let mut page = Running::start("tests/browser.py", &[&format!("http://127.0.0.1:{port}/")])?;
    for death in 1..=DEATHS {
        let until = (death * ORDERS).to_string();
        // It does not get to its end: the server dies before.
        let mut orders = Running::start("examples/bfcm/orders.py", &[&url, PER_SECOND, &until])?;
        orders.next_line()?;
        server.kill()?;
        drop(orders);
        drop(shown);
        server = start(&data, &address)?;
        shown = dashboard()?;
        let mut orders = Running::start("examples/bfcm/orders.py", &[&url, PER_SECOND, &until])?;
        ensure!(orders.child.wait()?.success(), "the shop has failed");
        sees(&mut page, death * ORDERS)?;
    }
    let cents = wait::until("the sums are those of all orders", || {
        let cents = sum(&server)?;
        let told = page.evaluate("document.getElementById('revenue').textContent")?;
        let dollars = page.evaluate(&format!("money.format({cents} / 100)"))?;
        Ok((told == dollars).then_some(cents))
    })?;
    ensure!(cents > 0, "orders cost nothing");
    ensure!(server.terminate()?.success(), "{}", server.log_text());
    Ok(())
}

/// The page, which nobody has loaded again, tells so many orders.
fn sees(page: &mut Running, orders: u64) -> Result<()> {
    let mut last = Value::Null;
    wait::until("the page shows all orders", || {
        let told = "Number(document.getElementById('orders').textContent.replaceAll(',', ''))";
        last = page.evaluate(told)?;
        let state = page.evaluate("document.getElementById('state').textContent")?;
        Ok((last == orders && state == "live").then_some(()))
    })
    .with_context(|| format!("it shows {last} of {orders}"))
}

/// What all orders cost together, by the stream.
fn sum(server: &Server) -> Result<u64> {
    let (mut client, mut next, mut numbers, mut cents) = (server.client(), 0, Vec::new(), 0);
    loop {
        let path = format!("/v1/streams/orders/events?offset={next}&limit=1000");
        let page = client.get(&path).map_err(|error| anyhow::anyhow!("{error:?}"))?.body;
        let events = page["events"].as_array().context("no events")?;
        if events.is_empty() {
            break;
        }
        for event in events {
            let order: Value = serde_json::from_str(event["value"].as_str().unwrap_or_default())?;
            numbers.push(order["order"].as_u64().context("no number")?);
            cents += order["cents"].as_u64().context("no price")?;
        }
        next = page["next"].as_u64().context("nowhere to go on")?;
    }
    ensure!(numbers == (1..=DEATHS * ORDERS).collect::<Vec<_>>(), "orders are missing or twice");
    Ok(cents)
}
