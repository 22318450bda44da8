//! A tiny HTTP/1.1 client on a blocking socket. It tells what surely did not reach the server from
//! what may have; that is all that a history needs. It reads answers as the command line does.

#[path = "../../crates/cli/src/http/answer.rs"]
#[cfg_attr(not(test), expect(dead_code, reason = "nobody asks for fields of the head here"))]
mod answer;

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
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
    /// The lines before the body.
    pub head: String,
    /// The body: what the JSON says, or the text where it is no JSON; null where it is empty.
    pub body: Value,
}

impl Answer {
    /// Whether the server did what was asked.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What the head says under a name; empty where it says nothing.
    pub fn field(&self, name: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
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
        self.ask_with(method, path, &[], body.map(Value::to_string).as_deref())
    }

    /// The same with more lines in the head, and a body as it is.
    pub fn ask_with(
        &mut self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: Option<&str>,
    ) -> Result<Answer, Trouble> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => connect(&self.address).map_err(Trouble::NotSent)?,
        };
        let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        if let Some(body) = body {
            let length = body.len();
            let _ =
                write!(request, "content-type: application/json\r\ncontent-length: {length}\r\n");
        }
        for (name, value) in more {
            let _ = write!(request, "{name}: {value}\r\n");
        }
        let answer = exchange(&mut stream, &(request + "\r\n" + body.unwrap_or_default()));
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

fn exchange(stream: &mut TcpStream, request: &str) -> io::Result<(Answer, bool)> {
    stream.write_all(request.as_bytes())?;
    let mut answer = answer::Answer::default();
    answer.begin(false);
    while {
        let count = stream.read(answer.room())?;
        !answer.advance(count)?
    } {}
    let head = String::from_utf8_lossy(answer.head()).into_owned();
    let body = serde_json::from_slice(answer.body()).unwrap_or_else(|_| {
        let text = String::from_utf8_lossy(answer.body());
        if text.is_empty() { Value::Null } else { text.into() }
    });
    Ok((Answer { status: answer.status(), head, body }, !answer.closes()))
}
