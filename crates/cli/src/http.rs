//! One HTTP/1.1 connection to a server, kept alive: requests with a body, answers with a length
//! or in chunks. It knows no API; it follows no redirect; it repeats nothing.

use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::tls::Tls;

/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The longest body of an answer.
const BODY_BYTES_MAX: usize = 256 << 20;
/// How much is read at once where the length is not known.
const READ_BYTES: usize = 16 << 10;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status.
    pub(crate) status: u16,
    /// `Retry-After`, in seconds.
    pub(crate) retry_after_s: Option<u64>,
    /// The body.
    pub(crate) body: Vec<u8>,
}

/// A connection with at most one request under way.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Socket,
    /// `Host` of every request.
    host: String,
    /// `Authorization` of every request, where there is one.
    authorization: Option<String>,
    /// What arrived and was not consumed.
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// The server, or an error, ended it.
    closed: bool,
}

/// Which server, and how it is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `name:port`.
    pub(crate) host: String,
    /// With TLS, where that is so.
    pub(crate) tls: Option<Tls>,
}

impl Target {
    /// As a URL.
    pub(crate) fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.host)
    }
}

#[derive(Debug)]
enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// How the body of an answer is delimited.
enum Framing {
    Length(usize),
    Chunked,
}

struct Head {
    status: u16,
    framing: Framing,
    close: bool,
    retry_after_s: Option<u64>,
    length: usize,
}

impl Connection {
    /// Connects to a server.
    pub(crate) async fn open(target: &Target) -> io::Result<Self> {
        let stream = TcpStream::connect(&target.host).await?;
        stream.set_nodelay(true)?;
        let stream = match &target.tls {
            None => Socket::Plain(stream),
            Some(tls) => Socket::Tls(Box::new(tls.connect(stream).await?)),
        };
        Ok(Self {
            stream,
            host: target.host.clone(),
            authorization: None,
            inbox: Vec::new(),
            outbox: Vec::new(),
            closed: false,
        })
    }

    /// The same with an `Authorization`, where there is one.
    #[must_use]
    pub(crate) fn authorized(self, authorization: Option<&str>) -> Self {
        Self { authorization: authorization.map(str::to_owned), ..self }
    }

    /// Whether another request can be sent.
    pub(crate) fn is_usable(&self) -> bool {
        !self.closed
    }

    /// Sends a request and reads its answer. After an error, or when the future was dropped, the
    /// connection is not usable.
    pub(crate) async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Reply> {
        if self.closed {
            return Err(io::ErrorKind::NotConnected.into());
        }
        self.closed = true;
        self.write_request(method, path, headers, body).await?;
        let head = self.read_head().await?;
        let no_body = method == "HEAD" || head.status == 204 || head.status == 304;
        let body = match head.framing {
            _ if no_body => Vec::new(),
            Framing::Length(length) => self.take(length).await?,
            Framing::Chunked => self.read_chunks().await?,
        };
        self.closed = head.close;
        let Head { status, retry_after_s, .. } = head;
        Ok(Reply { status, retry_after_s, body })
    }

    async fn write_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<()> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.host);
        if let Some(value) = &self.authorization {
            let _ = write!(head, "authorization: {value}\r\n");
        }
        for (name, value) in headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        if body.is_some() || method == "POST" {
            let length = body.map_or(0, <[u8]>::len);
            let _ = write!(head, "content-type: application/json\r\ncontent-length: {length}\r\n");
        }
        head.push_str("\r\n");
        self.outbox.clear();
        self.outbox.extend_from_slice(head.as_bytes());
        self.outbox.extend_from_slice(body.unwrap_or_default());
        let sent = match &mut self.stream {
            Socket::Plain(stream) => stream.write_all(&self.outbox).await,
            Socket::Tls(stream) => match stream.write_all(&self.outbox).await {
                Ok(()) => stream.flush().await,
                error => error,
            },
        };
        // A server that refuses a large body answers before it has read it.
        match sent {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    }

    async fn read_head(&mut self) -> io::Result<Head> {
        loop {
            match parse_head(&self.inbox)? {
                // 1xx: the answer proper follows.
                Some(head) if head.status < 200 => {
                    self.inbox.drain(..head.length);
                }
                Some(head) => {
                    self.inbox.drain(..head.length);
                    return Ok(head);
                }
                None if self.inbox.len() > HEAD_BYTES_MAX => {
                    return Err(invalid("the head of the answer is longer than 64 KiB"));
                }
                None => self.fill(READ_BYTES).await?,
            }
        }
    }

    async fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let length = loop {
                match httparse::parse_chunk_size(&self.inbox) {
                    Ok(httparse::Status::Complete((used, length))) => {
                        self.inbox.drain(..used);
                        break length as usize;
                    }
                    Ok(httparse::Status::Partial) if self.inbox.len() < 1024 => {
                        self.fill(READ_BYTES).await?;
                    }
                    _ => return Err(invalid("the answer has a malformed chunk")),
                }
            };
            if length > BODY_BYTES_MAX - body.len() {
                return Err(invalid("the answer is longer than 256 MiB"));
            }
            if length == 0 {
                self.skip_trailers().await?;
                return Ok(body);
            }
            body.extend_from_slice(&self.take(length).await?);
            if self.take(2).await? != b"\r\n" {
                return Err(invalid("the answer has a malformed chunk"));
            }
        }
    }

    async fn skip_trailers(&mut self) -> io::Result<()> {
        loop {
            if let Some(end) = self.inbox.windows(2).position(|pair| pair == b"\r\n") {
                self.inbox.drain(..end + 2);
                if end == 0 {
                    return Ok(());
                }
            } else if self.inbox.len() > HEAD_BYTES_MAX {
                return Err(invalid("the trailers of the answer are longer than 64 KiB"));
            } else {
                self.fill(READ_BYTES).await?;
            }
        }
    }

    /// The next `length` bytes. Memory grows with what arrives, not with what is announced.
    async fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.inbox.len() < length {
            let missing = length - self.inbox.len();
            self.fill(missing.clamp(READ_BYTES, 1 << 20)).await?;
        }
        let rest = self.inbox.split_off(length);
        Ok(std::mem::replace(&mut self.inbox, rest))
    }

    async fn fill(&mut self, room: usize) -> io::Result<()> {
        self.inbox.reserve(room);
        let read = match &mut self.stream {
            Socket::Plain(stream) => stream.read_buf(&mut self.inbox).await?,
            Socket::Tls(stream) => stream.read_buf(&mut self.inbox).await?,
        };
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection before its answer was complete",
            ));
        }
        Ok(())
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response
        .parse(bytes)
        .map_err(|error| invalid(&format!("the answer is not HTTP/1.1: {error}")))?;
    let httparse::Status::Complete(length) = parsed else { return Ok(None) };
    let mut head = Head {
        status: response.code.unwrap_or_default(),
        framing: Framing::Length(0),
        close: response.version == Some(0),
        retry_after_s: None,
        length,
    };
    for header in response.headers.iter() {
        let value = String::from_utf8_lossy(header.value).trim().to_owned();
        if header.name.eq_ignore_ascii_case("content-length") {
            let length = value.parse().ok().filter(|length| *length <= BODY_BYTES_MAX);
            let length = length.ok_or_else(|| invalid("the answer is longer than 256 MiB"))?;
            if !matches!(head.framing, Framing::Chunked) {
                head.framing = Framing::Length(length);
            }
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.framing = Framing::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.close |= value.eq_ignore_ascii_case("close");
        } else if header.name.eq_ignore_ascii_case("retry-after") {
            head.retry_after_s = value.parse().ok();
        }
    }
    Ok(Some(head))
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that answers with `answer`, byte by byte where `slow`, then closes.
    async fn answer_of(answer: &'static [u8], slow: bool) -> io::Result<(Reply, Connection)> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            for piece in answer.chunks(if slow { 1 } else { answer.len().max(1) }) {
                stream.write_all(piece).await.unwrap();
                stream.flush().await.unwrap();
            }
            String::from_utf8(request[..length].to_vec()).unwrap()
        });
        let mut connection = Connection::open(&Target { host: address, tls: None }).await?;
        let reply = connection.request("POST", "/v1/x", &[("prefer", "wait=1")], Some(b"{}")).await;
        let request = server.await.unwrap();
        assert!(request.starts_with("POST /v1/x HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("content-length: 2\r\n"), "{request}");
        reply.map(|reply| (reply, connection))
    }

    #[tokio::test]
    async fn a_body_of_known_length() {
        let answer =
            b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\nLocation: /v1/status/a\r\n\r\nhello";
        for slow in [false, true] {
            let (reply, connection) = answer_of(answer, slow).await.unwrap();
            assert_eq!((reply.status, reply.body.as_slice()), (202, &b"hello"[..]));
            assert!(connection.is_usable());
        }
    }

    #[tokio::test]
    async fn a_body_in_chunks() {
        let answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 x\r\nRetry-After: 3\r\n\
            Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        for slow in [false, true] {
            let (reply, connection) = answer_of(answer, slow).await.unwrap();
            assert_eq!((reply.status, reply.body.as_slice()), (503, &b"abcde"[..]));
            assert_eq!(reply.retry_after_s, Some(3));
            assert!(!connection.is_usable());
        }
    }

    #[tokio::test]
    async fn broken_answers_are_errors() {
        let answers: &[&'static [u8]] = &[
            b"",
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
        ];
        for answer in answers {
            assert!(answer_of(answer, false).await.is_err(), "{}", answer.escape_ascii());
        }
    }
}
