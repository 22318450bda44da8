//! A tiny HTTP/1.1 client on a blocking socket. It tells what surely did not reach the server from
//! what may have; that is all that a history needs. It reads answers as the command line does.

#[path = "../../crates/cli/src/http/answer.rs"]
#[cfg_attr(not(test), expect(dead_code, reason = "nobody asks for fields of the head here"))]
mod answer;

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// How long an answer may take. Longer than any wait that a client asks for.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body; null where it is empty or no JSON.
    pub body: Value,
}

impl Answer {
    /// Whether the server did what was asked.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The code of a problem document.
    pub fn code(&self) -> &str {
        self.body.get("code").and_then(Value::as_str).unwrap_or_default()
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Trouble {
    /// Nobody was there: the request had no effect.
    NotSent(io::Error),
    /// The connection broke: it may have had its effect.
    Unknown(io::Error),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotSent(error) => write!(f, "not sent: {error}"),
            Self::Unknown(error) => write!(f, "no answer: {error}"),
        }
    }
}

impl std::error::Error for Trouble {}

/// A connection to one server, opened when needed.
#[derive(Debug)]
pub struct Client {
    address: String,
    stream: Option<TcpStream>,
}

impl Client {
    /// A client of the server at `host:port`.
    pub fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None }
    }

    /// Talks to another address from now on.
    pub fn turn_to(&mut self, address: &str) {
        if self.address != address {
            address.clone_into(&mut self.address);
            self.stream = None;
        }
    }

    /// Asks and waits for the answer.
    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Trouble> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.address).map_err(Trouble::NotSent)?,
        };
        let body = body.map(Value::to_string);
        let answer = exchange(&mut stream, &self.address, method, path, body.as_deref());
        let (answer, goes_on) = answer.map_err(Trouble::Unknown)?;
        self.stream = goes_on.then_some(stream);
        Ok(answer)
    }

    /// `GET`.
    pub fn get(&mut self, path: &str) -> Result<Answer, Trouble> {
        self.ask("GET", path, None)
    }

    /// `POST`.
    pub fn post(&mut self, path: &str, body: &Value) -> Result<Answer, Trouble> {
        self.ask("POST", path, Some(body))
    }
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

fn exchange(
    stream: &mut TcpStream,
    address: &str,
    method: &str,
    path: &str,
    body: Option<&str>,
) -> io::Result<(Answer, bool)> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\n");
    if let Some(body) = body {
        let length = body.len();
        let headers = format!("content-type: application/json\r\ncontent-length: {length}\r\n");
        request.push_str(&headers);
    }
    request.push_str("\r\n");
    request.push_str(body.unwrap_or_default());
    stream.write_all(request.as_bytes())?;
    let mut answer = answer::Answer::default();
    answer.begin(false);
    while {
        let count = stream.read(answer.room())?;
        !answer.advance(count)?
    } {}
    let body = serde_json::from_slice(answer.body()).unwrap_or_default();
    Ok((Answer { status: answer.status(), body }, !answer.closes()))
}
