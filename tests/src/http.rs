//! A tiny HTTP/1.1 client on a blocking socket. It tells what surely did not reach the server from
//! what may have; that is all that a history needs.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
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
    stream: Option<BufReader<TcpStream>>,
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

fn connect(address: &str) -> io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(BufReader::new(stream))
}

fn exchange(
    stream: &mut BufReader<TcpStream>,
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
    stream.get_mut().write_all(request.as_bytes())?;
    let malformed = |what: &str| io::Error::new(ErrorKind::InvalidData, what.to_owned());
    let mut line = read_line(stream)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status: u16 = status.ok_or_else(|| malformed(&line))?;
    let (mut length, mut goes_on) = (0, true);
    loop {
        line = read_line(stream)?;
        let Some((name, value)) = line.split_once(':') else { break };
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", value) => {
                length = value.parse().map_err(|_| malformed(&line))?;
            }
            ("connection", "close") => goes_on = false,
            ("transfer-encoding", _) => return Err(malformed("a body of unknown length")),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    let body = serde_json::from_slice(&body).unwrap_or_default();
    Ok((Answer { status, body }, goes_on))
}

fn read_line(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
