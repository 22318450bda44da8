//! What clients saw: one event per line in the history of each, written before they act on it, so
//! that killing a client loses nothing that happened. It judges nothing.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// A job as its producer asked for it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Wanted {
    /// What its args say: a name of the client's own, never used twice.
    pub label: String,
    /// The id, where the client chose it.
    pub id: Option<String>,
    /// The ordering key.
    pub key: Option<String>,
    /// Whether it may be delivered once only.
    pub at_most_once: bool,
}

/// What a worker received.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Leased {
    /// When the request left for the first time.
    pub sent_us: u64,
    /// When the answer was there.
    pub at_us: u64,
    /// The namespace.
    pub namespace: String,
    /// The job's id.
    pub id: String,
    /// What its args say.
    pub label: String,
    /// The ordering key.
    pub key: Option<String>,
    /// The token, as its two numbers.
    pub token: (u64, u64),
    /// How long the lease holds.
    pub lease_us: u64,
}

/// One thing that a client did or saw. Instants are of the monotonic clock of the machine, so
/// that those of several processes compare.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A request to enqueue leaves, for the first time.
    EnqueueSent {
        /// Names the request.
        call: String,
        /// When.
        at_us: u64,
        /// The jobs, in order; more than one is a bulk.
        jobs: Vec<Wanted>,
    },
    /// It was answered: the jobs are accepted.
    EnqueueAnswered {
        /// Names the request.
        call: String,
        /// When.
        at_us: u64,
        /// Their ids.
        ids: Vec<String>,
    },
    /// It was refused for good.
    EnqueueRefused {
        /// Names the request.
        call: String,
        /// Why.
        code: String,
    },
    /// A job was delivered.
    Leased(Leased),
    /// A settlement leaves, for the first time.
    SettleSent {
        /// When.
        at_us: u64,
        /// The job.
        id: String,
        /// The lease.
        token: (u64, u64),
        /// What it says.
        verdict: String,
    },
    /// It was answered with what became of the lease.
    Settled {
        /// The job.
        id: String,
        /// The lease.
        token: (u64, u64),
        /// What ended it, as the server says.
        verdict: String,
    },
    /// It was refused.
    SettleRefused {
        /// The job.
        id: String,
        /// The lease.
        token: (u64, u64),
        /// Why.
        code: String,
    },
    /// The client noticed something that may never be.
    Wrong {
        /// What.
        what: String,
    },
}

/// Where a client writes what it sees.
#[derive(Debug)]
pub struct Recorder {
    file: File,
}

impl Recorder {
    /// Goes on with the history in `path`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { file: file.with_context(|| format!("cannot open {}", path.display()))? })
    }

    /// Writes an event. Once it returns, the kernel has it: no SIGKILL takes it back.
    pub fn write(&mut self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_vec(event)?;
        line.push(b'\n');
        self.file.write_all(&line).context("the history cannot be written")
    }
}

/// Reads a history. The last line may have been cut by a SIGKILL.
pub fn read(path: &Path) -> Result<Vec<Event>> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut events = Vec::new();
    let mut lines = BufReader::new(file).split(b'\n').peekable();
    while let Some(line) = lines.next() {
        match serde_json::from_slice(&line?) {
            Ok(event) => events.push(event),
            Err(_) if lines.peek().is_none() => {}
            Err(error) => return Err(error).context("a history is damaged"),
        }
    }
    Ok(events)
}

/// The monotonic clock of the machine, in microseconds.
pub fn now_us() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histories_come_back_also_when_the_last_line_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        let wrong = Event::Wrong { what: "x\ny".to_owned() };
        let refused = Event::EnqueueRefused { call: "c".to_owned(), code: "d".to_owned() };
        let mut recorder = Recorder::open(&path).unwrap();
        recorder.write(&wrong).unwrap();
        recorder.write(&refused).unwrap();
        assert_eq!(read(&path).unwrap(), [wrong.clone(), refused]);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(read(&path).unwrap(), [wrong]);
        assert!(now_us() > 0);
    }
}
