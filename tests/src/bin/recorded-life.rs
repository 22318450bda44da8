//! One life of a server and its clients, in one process so that one trace has the order of all that
//! they do: `recorded-life DATA HISTORY SEED REQUESTS END`. After so many requests of a client it
//! stops in order, or, where END is `kill`, it is killed while the other clients go on.

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context, Result, bail};
use longshore_server::config::ServerConfig;
use longshore_server::{Node, http};
use longshore_tests::enumeration::client::{Client, Clients, Line, Note, take_in};
use longshore_tests::enumeration::node;
use longshore_tests::http::Client as Connection;
use longshore_tests::random::Random;
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::oneshot;

/// Each has its own queue. Two share groups, and a third makes them race.
const CLIENTS: [&str; 3] = ["a", "b", "c"];

/// Longer than the quiet after which the journal is marked.
const QUIET: Duration = Duration::from_millis(30);

struct Life {
    history: PathBuf,
    seed: u64,
    requests: u64,
    kill: bool,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, history, seed, requests, end] = &arguments[..] else {
        bail!("five arguments are needed, {} were given", arguments.len());
    };
    let life = Life {
        history: history.into(),
        seed: seed.parse()?,
        requests: requests.parse()?,
        kill: end == "kill",
    };
    let config = ServerConfig { node: node::config(Path::new(data)), ..ServerConfig::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = http::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let node = Node::open(&config.node)?;
        let readiness = node.started().await;
        if !readiness.is_ready() {
            bail!("it does not start: {readiness:?}");
        }
        let (stop, stopped) = oneshot::channel();
        let clients = thread::spawn(move || {
            let outcome = life.run(&address);
            // The server is there until it is told to stop, so it listens.
            let _ = stop.send(());
            outcome
        });
        http::serve(&config, node, listener, async { drop(stopped.await) }).await?;
        clients.join().expect("clients do not panic")
    })
}

impl Life {
    fn run(&self, address: &str) -> Result<()> {
        let mut clients = Clients::new();
        take_in(&mut clients, &fs::read(&self.history).unwrap_or_default())?;
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for (index, name) in CLIENTS.into_iter().enumerate() {
                let client = clients.remove(name).unwrap_or_default();
                let seed = self.seed.wrapping_mul(31).wrapping_add(index as u64);
                let random = Random::new(seed);
                threads.push(scope.spawn(move || self.run_client(name, client, random, address)));
            }
            threads.into_iter().try_for_each(|it| it.join().expect("a client does not panic"))
        })
    }

    fn run_client(
        &self,
        name: &str,
        mut client: Client,
        mut random: Random,
        address: &str,
    ) -> Result<()> {
        let mut connection = Connection::new(address);
        if let Some(note) = client.resolve(&mut connection)? {
            self.write(name, &mut client, note)?;
        }
        for _ in 0..self.requests {
            let ask = client.next(&mut random);
            self.write(name, &mut client, Note::Asked(ask.clone()))?;
            let answered = client.ask(name, &ask, &mut connection)?;
            self.write(name, &mut client, answered)?;
            if random.once_in(15) {
                thread::sleep(QUIET);
            }
        }
        if self.kill {
            kill_process(getpid(), Signal::KILL)?;
        }
        Ok(())
    }

    /// Notes something, in the history first.
    fn write(&self, name: &str, client: &mut Client, note: Note) -> Result<()> {
        client.note(&note);
        let mut line = serde_json::to_vec(&Line { client: name.to_owned(), note })?;
        line.push(b'\n');
        let file = fs::OpenOptions::new().create(true).append(true).open(&self.history);
        std::io::Write::write_all(&mut file?, &line).context("the history cannot be written")
    }
}
