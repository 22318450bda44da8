//! HTTP/1.1 as lean as it gets: the load generator shares the cores with what it measures. Raw
//! sockets and reused buffers. Answers are read as the command line reads them.

#[path = "../../crates/cli/src/http/answer.rs"]
#[cfg_attr(not(test), expect(dead_code, reason = "nobody asks for fields of the head here"))]
mod answer;

use std::io::{Read, Write};
use std::net::SocketAddr;

use anyhow::{Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::answer::Answer;

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
    fn of(answer: &'a Answer) -> Result<Self> {
        ensure!(!answer.closes(), "the server closes the connection");
        Ok(Self { status: answer.status(), body: answer.body() })
    }

    /// The body, where the server did what it was asked.
    pub(crate) fn success(self) -> Result<&'a [u8]> {
        if !(200..300).contains(&self.status) {
            bail!("the server answered {}: {}", self.status, self.body.escape_ascii());
        }
        Ok(self.body)
    }
}

/// A connection among many on one thread.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    answer: Answer,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Answer::default() })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Reply<'_>> {
        self.answer.begin(false);
        self.stream.write_all(request).await?;
        loop {
            let count = self.stream.read(self.answer.room()).await?;
            if self.answer.advance(count)? {
                return Reply::of(&self.answer);
            }
        }
    }
}

/// The only connection of its thread.
#[derive(Debug)]
pub(crate) struct BlockingConnection {
    stream: std::net::TcpStream,
    answer: Answer,
}

impl BlockingConnection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = std::net::TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Answer::default() })
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<Reply<'_>> {
        self.answer.begin(false);
        self.stream.write_all(request)?;
        loop {
            let count = self.stream.read(self.answer.room())?;
            if self.answer.advance(count)? {
                return Reply::of(&self.answer);
            }
        }
    }
}
