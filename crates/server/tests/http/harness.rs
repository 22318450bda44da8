//! A server of its own per test, and a client that writes and reads HTTP byte by byte.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use longshore_server::config::ServerConfig;
use longshore_server::http::Listeners;
use longshore_server::{Access, Node, NodeConfig, http};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    dir: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = ServerConfig {
            node: NodeConfig { reserve_bytes: 0, ..NodeConfig::new(dir.path().join("store")) },
            ..ServerConfig::default()
        };
        change(&mut config);
        let node = Node::open(&config.node).unwrap();
        assert!(node.started().await.is_ready());
        let listener = http::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let access = Access::start(&config.access, &node).unwrap();
        access.ready().await;
        let listeners = Listeners { access, ..Listeners::from(listener) };
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            http::serve(&config, node, listeners, shutdown).await.unwrap();
        });
        Self { address, stop: Some(stop), served, dir }
    }

    /// A server that asks who comes in, and the token of its administrator.
    pub(crate) async fn start_asking() -> (Self, String) {
        let server = Self::start_with(|config| config.access.required = true).await;
        let token = std::fs::read_to_string(server.dir.path().join("store/admin-token"));
        let token = token.unwrap().trim().to_owned();
        (server, token)
    }

    pub(crate) fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// Begins to stop and waits for the end.
    pub(crate) async fn stop(mut self) {
        self.begin_stop();
        timeout(PATIENCE, &mut self.served).await.unwrap().unwrap();
    }

    pub(crate) fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).unwrap();
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The body, if the status is `status`.
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// Checks that this is a problem document.
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("/docs/errors.md#{code}"));
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        problem
    }
}

pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        // A server that has closed already is what some tests are about.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The same where the server is to read all of it.
    pub(crate) async fn send_whole(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the server reads what is sent");
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[], "").await
    }

    pub(crate) async fn delete(&mut self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], "").await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Answer {
        self.ask("POST", path, &[], body).await
    }

    pub(crate) async fn put(&mut self, path: &str, body: &str) -> Answer {
        self.ask("PUT", path, &[], body).await
    }

    /// One request with the usual headers and `more`.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        more: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.send(&request(method, path, more, body)).await;
        self.answer_to(method).await
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        self.answer_to("GET").await
    }

    async fn answer_to(&mut self, method: &str) -> Answer {
        let head = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                break String::from_utf8(head).unwrap();
            }
            assert!(
                self.fill().await,
                "the connection ended at {:?}",
                String::from_utf8_lossy(&self.buffer)
            );
        };
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, value)| value.parse().unwrap());
        let length = if method == "HEAD" { 0 } else { length };
        while self.buffer.len() < length {
            assert!(self.fill().await, "the body ended early");
        }
        let body = self.buffer.drain(..length).collect();
        Answer { status, headers, body }
    }

    async fn fill(&mut self) -> bool {
        let mut chunk = [0_u8; 8 << 10];
        let read = timeout(PATIENCE, self.stream.read(&mut chunk)).await.expect("an answer");
        let count = read.unwrap_or(0);
        self.buffer.extend_from_slice(&chunk[..count]);
        count > 0
    }

    /// Reads on until `what` has come; answers all that has, and what it said.
    pub(crate) async fn read_until(&mut self, what: &str) -> String {
        loop {
            if let Some(at) = find(&self.buffer, what.as_bytes()) {
                let read: Vec<u8> = self.buffer.drain(..at + what.len()).collect();
                return String::from_utf8(read).unwrap();
            }
            assert!(self.fill().await, "the connection ended before {what:?}");
        }
    }

    /// Whether the server has closed the connection without a further byte.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill().await
    }
}

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\n");
    let given = |name: &str| more.iter().any(|(other, _)| *other == name);
    if !given("host") {
        text.push_str("host: localhost\r\n");
    }
    if method != "GET" && !given("content-type") {
        text.push_str("content-type: application/json\r\n");
    }
    if !body.is_empty() || method == "POST" {
        write!(text, "content-length: {}\r\n", body.len()).unwrap();
    }
    for (name, value) in more.iter().filter(|(_, value)| !value.is_empty()) {
        write!(text, "{name}: {value}\r\n").unwrap();
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}
