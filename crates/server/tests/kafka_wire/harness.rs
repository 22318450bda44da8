//! A server of its own per test, and a client that writes and reads frames.

use std::time::Duration;

use bytes::Bytes;
use longshore_kafka::api;
use longshore_kafka::input::Input;
use longshore_server::kafka::{self, KafkaConfig};
use longshore_server::{Access, ConsumerGroups, Listener};
use longshore_server::{Node, NodeConfig};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    listener: Listener,
    node: Node,
    _dir: TempDir,
}

impl Server {
    pub(crate) async fn start_with(change: impl FnOnce(&mut KafkaConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = NodeConfig { reserve_bytes: 0, ..NodeConfig::new(dir.path().join("store")) };
        let node = Node::open(&config).unwrap();
        assert!(node.started().await.is_ready());
        let mut config =
            KafkaConfig { listen: Some("127.0.0.1:0".into()), ..KafkaConfig::default() };
        change(&mut config);
        let (shared, groups) = ((&Access::off(), None), ConsumerGroups::default());
        let listener = kafka::listen(&config, &node, shared, &groups).await.unwrap().unwrap();
        Self { listener, node, _dir: dir }
    }

    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn client(&self) -> Client {
        let stream = TcpStream::connect(self.listener.plain().unwrap()).await.unwrap();
        Client { stream, asked: 0 }
    }

    pub(crate) async fn stop(self) {
        self.listener.stop().await;
        self.node.stop().await;
    }
}

/// The body of a request, at a version that is not flexible.
#[derive(Clone, Default)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Body {
    pub(crate) fn i8(mut self, value: i8) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn i16(mut self, value: i16) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn i32(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn i64(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn text(self, text: &str) -> Self {
        let mut body = self.i16(i16::try_from(text.len()).unwrap());
        body.0.extend(text.as_bytes());
        body
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let mut body = self.i32(i32::try_from(bytes.len()).unwrap());
        body.0.extend(bytes);
        body
    }

    /// So many elements, each written by `element`.
    pub(crate) fn array(self, count: usize, element: impl Fn(Self, usize) -> Self) -> Self {
        let body = self.i32(i32::try_from(count).unwrap());
        (0..count).fold(body, element)
    }
}

pub(crate) struct Client {
    stream: TcpStream,
    asked: i32,
}

impl Client {
    /// Sends without waiting for what comes back.
    pub(crate) async fn send(&mut self, (key, version): (i16, i16), body: &Body) {
        let api = api::find(key).unwrap();
        assert!(version < api.flexible, "texts would have to be compact");
        self.asked += 1;
        let frame = Body::default().i16(key).i16(version).i32(self.asked).text("test");
        let length = i32::try_from(frame.0.len() + body.0.len()).unwrap();
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(frame.0);
        bytes.extend(&body.0);
        timeout(PATIENCE, self.stream.write_all(&bytes)).await.unwrap().unwrap();
    }

    /// The body of the next answer.
    pub(crate) async fn answer(&mut self) -> Input {
        let mut length = [0; 4];
        timeout(PATIENCE, self.stream.read_exact(&mut length)).await.unwrap().unwrap();
        let mut frame = vec![0; i32::from_be_bytes(length).cast_unsigned() as usize];
        timeout(PATIENCE, self.stream.read_exact(&mut frame)).await.unwrap().unwrap();
        let mut input = Input::new(Bytes::from(frame), false);
        input.i32().unwrap();
        input
    }

    pub(crate) async fn ask(&mut self, request: (i16, i16), body: &Body) -> Input {
        self.send(request, body).await;
        self.answer().await
    }

    /// Makes a topic with partitions.
    pub(crate) async fn create(&mut self, topic: &str, partitions: i32) {
        let body = Body::default().array(1, |body, _| {
            body.text(topic).i32(partitions).i16(1).array(0, |it, _| it).array(0, |it, _| it)
        });
        let mut answer = self.ask((api::CREATE_TOPICS, 2), &body.i32(1000).i8(0)).await;
        answer.i32().unwrap();
        let codes = answer.array(|it| {
            it.string()?;
            let code = it.i16()?;
            it.nullable_string()?;
            Ok(code)
        });
        assert_eq!(codes.unwrap(), [0]);
    }

    /// Appends a batch, and answers its offset or code.
    pub(crate) async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        transaction: Option<&str>,
        batch: &[u8],
    ) -> Result<i64, i16> {
        let body = match transaction {
            None => Body::default().i16(-1),
            Some(id) => Body::default().text(id),
        };
        let body = body.i16(-1).i32(1000).array(1, |body, _| {
            body.text(topic).array(1, |body, _| body.i32(partition).bytes(batch))
        });
        let mut answer = self.ask((api::PRODUCE, 7), &body).await;
        let results = answer.array(|it| {
            it.string()?;
            it.array(|it| {
                it.i32()?;
                let (code, offset) = (it.i16()?, it.i64()?);
                it.i64()?;
                it.i64()?;
                Ok((code, offset))
            })
        });
        match results.unwrap()[0][0] {
            (0, offset) => Ok(offset),
            (code, _) => Err(code),
        }
    }
}
