//! One HTTP/1.1 connection to a server, kept alive: requests with a body, answers with a length
//! or in chunks. It knows no API; it follows no redirect; it repeats nothing.

mod answer;

use std::fmt::Write as _;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use self::answer::Answer;
use crate::tls::Tls;

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
    answer: Answer,
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
            answer: Answer::default(),
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
        self.read_answer(method == "HEAD").await?;
        let answer = &self.answer;
        self.closed = answer.closes();
        let retry_after_s = answer.field("retry-after").and_then(|value| value.parse().ok());
        Ok(Reply { status: answer.status(), retry_after_s, body: answer.body().to_vec() })
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

    async fn read_answer(&mut self, is_bare: bool) -> io::Result<()> {
        self.answer.begin(is_bare);
        loop {
            let room = self.answer.room();
            let count = match &mut self.stream {
                Socket::Plain(stream) => stream.read(room).await?,
                Socket::Tls(stream) => stream.read(room).await?,
            };
            if self.answer.advance(count)? {
                return Ok(());
            }
        }
    }
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
    async fn a_server_that_closes_is_not_asked_again() {
        let answer = b"HTTP/1.1 503 x\r\nRetry-After: 3\r\nConnection: close\r\n\
            Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
        let (reply, connection) = answer_of(answer, false).await.unwrap();
        assert_eq!((reply.status, reply.body.as_slice()), (503, &b"abcde"[..]));
        assert_eq!(reply.retry_after_s, Some(3));
        assert!(!connection.is_usable());
        assert!(answer_of(b"", false).await.is_err());
    }
}
