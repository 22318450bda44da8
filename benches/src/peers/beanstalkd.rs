//! beanstalkd with its binlog, and clients of it in the style of those of Longshore: raw sockets,
//! reused buffers, one command per round trip.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::port;
use crate::jobs;
use crate::process::{Process, command};

/// When the binlog is synced.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Binlog {
    EveryWrite,
    /// Only where memory is measured and nothing else.
    Never,
}

/// A server.
#[derive(Debug)]
pub(crate) struct Beanstalkd {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Beanstalkd {
    pub(crate) fn start(folder: &Path, binlog: Binlog) -> Result<Self> {
        let address = port::free()?;
        let mut server = command("beanstalkd");
        server.args(["-l", "127.0.0.1", "-p", &address.port().to_string(), "-b"]).arg(folder);
        match binlog {
            Binlog::EveryWrite => server.args(["-f", "0"]),
            Binlog::Never => server.arg("-F"),
        };
        let log = folder.join("beanstalkd.log");
        let mut process = Process::start("beanstalkd", &mut server, &log, false)?;
        process.until(|| port::is_open(address))?;
        Ok(Self { process, address })
    }
}

/// A connection that sends a command and reads its answer to the end of a line.
#[derive(Debug)]
struct Line {
    stream: TcpStream,
    bytes: Vec<u8>,
    filled: usize,
}

impl Line {
    async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, bytes: vec![0; 64 * 1024], filled: 0 })
    }

    async fn exchange(&mut self, command: &[u8]) -> Result<&[u8]> {
        self.filled = 0;
        self.stream.write_all(command).await?;
        self.more().await?;
        while !self.bytes[..self.filled].ends_with(b"\r\n") {
            self.more().await?;
        }
        Ok(&self.bytes[..self.filled])
    }

    async fn more(&mut self) -> Result<()> {
        let count = self.stream.read(&mut self.bytes[self.filled..]).await?;
        ensure!(count > 0, "beanstalkd closed the connection");
        self.filled += count;
        Ok(())
    }
}

/// Puts jobs, one per round trip or many.
#[derive(Debug)]
pub(crate) struct Producer {
    line: Line,
    command: Vec<u8>,
    window: usize,
}

impl Producer {
    pub(crate) async fn open(address: SocketAddr, window: usize) -> Result<Self> {
        let args = jobs::args();
        let command = format!("put 0 0 60 {}\r\n{args}\r\n", args.len()).repeat(window);
        Ok(Self { line: Line::open(address).await?, command: command.into_bytes(), window })
    }

    /// Puts as many jobs as the window holds and waits for all answers.
    pub(crate) async fn put(&mut self) -> Result<()> {
        let mut answers = 0;
        let mut answer = self.line.exchange(&self.command).await?;
        loop {
            ensure!(answer.starts_with(b"INSERTED "), "put: {}", answer.escape_ascii());
            answers += memchr::memchr_iter(b'\n', answer).count();
            if answers == self.window {
                return Ok(());
            }
            answer = self.line.exchange(b"").await?;
        }
    }
}

/// Reserves jobs and deletes them.
#[derive(Debug)]
pub(crate) struct Taker {
    line: Line,
    delete: Vec<u8>,
}

impl Taker {
    pub(crate) async fn open(address: SocketAddr) -> Result<Self> {
        Ok(Self { line: Line::open(address).await?, delete: Vec::new() })
    }

    /// Takes one job; false where none is left.
    pub(crate) async fn take(&mut self) -> Result<bool> {
        let mut answer = self.line.exchange(b"reserve-with-timeout 0\r\n").await?;
        if answer == b"TIMED_OUT\r\n" {
            return Ok(false);
        }
        // The first line may arrive before the body.
        if memchr::memchr_iter(b'\n', answer).count() < 2 {
            self.line.more().await?;
            answer = &self.line.bytes[..self.line.filled];
        }
        let id = answer.strip_prefix(b"RESERVED ").context("reserve was refused")?;
        let end = memchr::memchr(b' ', id).context("no id")?;
        self.delete.clear();
        self.delete.extend_from_slice(b"delete ");
        self.delete.extend_from_slice(&id[..end]);
        self.delete.extend_from_slice(b"\r\n");
        let answer = self.line.exchange(&self.delete).await?;
        ensure!(answer == b"DELETED\r\n", "delete: {}", answer.escape_ascii());
        Ok(true)
    }
}
