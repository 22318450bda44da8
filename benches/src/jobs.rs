//! What Longshore is sent and what it answers, as bytes: enqueue one, enqueue many, lease with
//! settle. Leases are picked out of the answer without parsing the rest.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use memchr::memmem;

use crate::http::{Connection, post};

/// What the args of a job take as JSON, on every side.
pub(crate) const ARGS_BYTES: usize = 200;
/// The most that one request may enqueue.
pub(crate) const BULK_JOBS: u64 = 10_000;

const QUEUE_PATH: &str = "/v1/queues/bench/jobs";

/// A JSON array of [`ARGS_BYTES`].
pub(crate) fn args() -> String {
    format!("[1,\"{}\"]", "x".repeat(ARGS_BYTES - 6))
}

fn job() -> String {
    format!("{{\"kind\":\"noop\",\"args\":{}}}", args())
}

/// The request that enqueues one job; the server chooses its id, so it can be sent again.
pub(crate) fn enqueue_one() -> Vec<u8> {
    let mut request = Vec::new();
    post(&mut request, QUEUE_PATH, job().as_bytes());
    request
}

/// The request that enqueues many.
pub(crate) fn enqueue_many(count: u64) -> Vec<u8> {
    let jobs = vec![job(); count as usize].join(",");
    let mut request = Vec::new();
    post(&mut request, QUEUE_PATH, format!("{{\"jobs\":[{jobs}]}}").as_bytes());
    request
}

/// Enqueues `count` jobs over one connection, in the largest bulks.
pub(crate) async fn fill(address: SocketAddr, count: u64) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    let whole = enqueue_many(BULK_JOBS);
    for _ in 0..count / BULK_JOBS {
        connection.exchange(&whole).await?.success()?;
    }
    if !count.is_multiple_of(BULK_JOBS) {
        connection.exchange(&enqueue_many(count % BULK_JOBS)).await?.success()?;
    }
    Ok(())
}

/// A worker's loop on one connection: every request settles what the last one leased.
#[derive(Debug)]
pub(crate) struct Worker {
    connection: Connection,
    queue: &'static str,
    max: usize,
    /// The settlements of the jobs in hand, as JSON.
    settle: Vec<u8>,
    in_hand: u64,
    body: Vec<u8>,
    request: Vec<u8>,
}

/// What one turn of the loop did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Turn {
    pub(crate) settled: u64,
    pub(crate) leased: u64,
}

impl Worker {
    pub(crate) async fn open(address: SocketAddr, max: usize) -> Result<Self> {
        Self::of_queue(address, "bench", max).await
    }

    /// One of another queue.
    pub(crate) async fn of_queue(
        address: SocketAddr,
        queue: &'static str,
        max: usize,
    ) -> Result<Self> {
        Ok(Self {
            connection: Connection::open(address).await?,
            queue,
            max,
            settle: Vec::new(),
            in_hand: 0,
            body: Vec::new(),
            request: Vec::new(),
        })
    }

    /// Acknowledges the jobs in hand and leases the next ones, without waiting for any.
    pub(crate) async fn turn(&mut self) -> Result<Turn> {
        let Self { connection, queue, max, settle, in_hand, body, request } = self;
        body.clear();
        body.extend_from_slice(format!("{{\"queues\":[\"{queue}\"],\"max\":{max}").as_bytes());
        body.extend_from_slice(b",\"settle\":[");
        body.extend_from_slice(settle);
        body.extend_from_slice(b"]}");
        post(request, "/v1/lease", body);
        let answer = connection.exchange(request).await?.success()?;
        ensure!(
            memmem::find(answer, b"\"error\"").is_none(),
            "a settlement was refused: {}",
            answer.escape_ascii()
        );
        let settled = std::mem::take(in_hand);
        settle.clear();
        *in_hand = each_lease(answer, |id, token| {
            if !settle.is_empty() {
                settle.push(b',');
            }
            settle.extend_from_slice(b"{\"id\":\"");
            settle.extend_from_slice(id);
            settle.extend_from_slice(b"\",\"token\":\"");
            settle.extend_from_slice(token);
            settle.extend_from_slice(b"\",\"verdict\":\"ack\"}");
        })?;
        Ok(Turn { settled, leased: *in_hand })
    }
}

/// Calls `take` with id and token of every job in the answer; how many they are.
fn each_lease(answer: &[u8], mut take: impl FnMut(&[u8], &[u8])) -> Result<u64> {
    let mut count = 0;
    let mut rest = answer;
    // Settlements in the answer have ids and no tokens: the id that counts is the last one
    // before its token.
    while let Some(at) = memmem::find(rest, b"\"token\":\"") {
        let (before, after) = rest.split_at(at);
        let id = memmem::rfind(before, b"\"id\":\"").context("a lease without an id")?;
        let token = text(&after[b"\"token\":\"".len()..])?;
        take(text(&before[id + b"\"id\":\"".len()..])?, token);
        rest = &after[b"\"token\":\"".len() + token.len()..];
        count += 1;
    }
    Ok(count)
}

fn text(bytes: &[u8]) -> Result<&[u8]> {
    let end = memchr::memchr(b'"', bytes).context("a text without an end")?;
    Ok(&bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn args_have_their_size() {
        assert_eq!(args().len(), ARGS_BYTES);
        assert!(serde_json::from_str::<serde_json::Value>(&job()).is_ok());
    }

    #[test]
    fn leases_are_picked_out() {
        let answer = br#"{"jobs":[{"id":"a","args":[1],"token":"t"},{"id":"b","token":"u"}],
            "settled":[{"id":"c","settled":"ack"}]}"#;
        let mut seen = Vec::new();
        let count = each_lease(answer, |id, token| seen.push((id.to_vec(), token.to_vec())));
        assert_eq!(count.unwrap(), 2);
        assert_eq!(seen, [(b"a".to_vec(), b"t".to_vec()), (b"b".to_vec(), b"u".to_vec())]);
        assert_eq!(each_lease(br#"{"jobs":[]}"#, |_, _| ()).unwrap(), 0);
        assert!(each_lease(br#"{"id":"a","token":"b"#, |_, _| ()).is_err());
    }
}
