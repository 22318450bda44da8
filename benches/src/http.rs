//! HTTP/1.1 as lean as it gets: the load generator shares the cores with what it measures. Raw
//! sockets, reused buffers, answers of a known length only.

use std::io::{Read, Write};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ROOM_BYTES: usize = 64 * 1024;
/// More than any answer that is asked for here.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Writes a request with a JSON body to `out`, which it clears.
pub(crate) fn post(out: &mut Vec<u8>, path: &str, body: &[u8]) {
    send(out, "POST", path, body);
}

/// The same for what is to be stored under a path.
pub(crate) fn put(out: &mut Vec<u8>, path: &str, body: &[u8]) {
    send(out, "PUT", path, body);
}

fn send(out: &mut Vec<u8>, method: &str, path: &str, body: &[u8]) {
    out.clear();
    let head = format_args!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    out.write_fmt(head).expect("writing to memory cannot fail");
    out.extend_from_slice(body);
}

/// A request without a body.
pub(crate) fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").into_bytes()
}

/// An answer, in the buffer of its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The body, where the server did what it was asked.
    pub(crate) fn success(self) -> Result<&'a [u8]> {
        if !(200..300).contains(&self.status) {
            bail!("the server answered {}: {}", self.status, self.body.escape_ascii());
        }
        Ok(self.body)
    }
}

/// What was received of one answer.
#[derive(Debug)]
struct Received {
    bytes: Vec<u8>,
    filled: usize,
    head: Option<Head>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Head {
    status: u16,
    start: usize,
    length: usize,
}

impl Received {
    fn new() -> Self {
        Self { bytes: vec![0; ROOM_BYTES], filled: 0, head: None }
    }

    fn clear(&mut self) {
        self.filled = 0;
        self.head = None;
    }

    fn room(&mut self) -> &mut [u8] {
        &mut self.bytes[self.filled..]
    }

    /// Takes in `count` bytes that were read to the room; whether the answer is complete.
    fn advance(&mut self, count: usize) -> Result<bool> {
        ensure!(count > 0, "the server closed the connection");
        self.filled += count;
        if self.head.is_none() {
            self.head = parse_head(&self.bytes[..self.filled])?;
        }
        let end = self.head.map(|head| head.start + head.length);
        let wanted = end.unwrap_or(self.filled + 1);
        ensure!(wanted <= ANSWER_BYTES_MAX, "an answer of {wanted} bytes");
        if wanted > self.bytes.len() {
            self.bytes.resize(wanted.next_power_of_two(), 0);
        }
        Ok(self.filled >= wanted)
    }

    fn reply(&self) -> Result<Reply<'_>> {
        let head = self.head.context("no answer was received")?;
        let body = &self.bytes[head.start..][..head.length];
        Ok(Reply { status: head.status, body })
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<Head>> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).context("the head is no text")?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3));
    let status = status.and_then(|it| it.parse().ok()).context("no status line")?;
    let body = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let length = body.context("an answer without a length")?;
    Ok(Some(Head { status, start: end + 4, length }))
}

/// A connection among many on one thread.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Received,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Received::new() })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Reply<'_>> {
        self.received.clear();
        self.stream.write_all(request).await?;
        loop {
            let count = self.stream.read(self.received.room()).await?;
            if self.received.advance(count)? {
                return self.received.reply();
            }
        }
    }
}

/// The only connection of its thread.
#[derive(Debug)]
pub(crate) struct BlockingConnection {
    stream: std::net::TcpStream,
    received: Received,
}

impl BlockingConnection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Received::new() })
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<Reply<'_>> {
        self.received.clear();
        self.stream.write_all(request)?;
        loop {
            let count = self.stream.read(self.received.room())?;
            if self.received.advance(count)? {
                return self.received.reply();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receive(answer: &[u8], step: usize) -> Result<(u16, Vec<u8>)> {
        let mut received = Received::new();
        for part in answer.chunks(step) {
            received.room()[..part.len()].copy_from_slice(part);
            if received.advance(part.len())? {
                let reply = received.reply()?;
                return Ok((reply.status, reply.body.to_vec()));
            }
        }
        bail!("incomplete")
    }

    #[test]
    fn answers_in_parts_of_any_size() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\ndate: x\r\n\r\nhello";
        for step in 1..=answer.len() {
            assert_eq!(receive(answer, step).unwrap(), (202, b"hello".to_vec()));
        }
    }

    #[test]
    fn long_answers() {
        let mut answer = b"HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n".to_vec();
        answer.resize(answer.len() + 200_000, b'x');
        assert_eq!(receive(&answer, 50_000).unwrap().1.len(), 200_000);
    }

    #[test]
    fn what_is_no_answer() {
        for answer in ["SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert!(receive(answer.as_bytes(), 100).is_err(), "{answer}");
        }
    }
}
