//! Messages that arrive in part: their bytes are bounded over all streams, and so is their time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::Request;
use hyper::body::Frame;
use longshore_proto::v1;
use longshore_proto::v1::worker_message::Message as Tells;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;

use crate::harness::{Server, hello, soon};

/// A stream of which a test says each byte.
struct Raw {
    parts: mpsc::Sender<Result<Frame<Bytes>, Status>>,
    answer: tokio::task::JoinHandle<Option<String>>,
}

impl Raw {
    async fn open(server: &Server, method: &str) -> Self {
        let (parts, sent) = mpsc::channel(64);
        let mut channel = server.channel().await;
        let request = Request::post(format!("http://{}/{method}", server.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Body::new(StreamBody::new(ReceiverStream::new(sent))))
            .unwrap();
        let answer = tokio::spawn(async move {
            std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
            let answer = channel.call(request).await.unwrap();
            let code = |headers: &hyper::HeaderMap| {
                headers.get("longshore-code").map(|code| code.to_str().unwrap().to_owned())
            };
            if let Some(code) = code(answer.headers()) {
                return Some(code);
            }
            let whole = http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
            whole.trailers().and_then(code)
        });
        Self { parts, answer }
    }

    async fn send(&self, bytes: impl Into<Bytes>) {
        // The server may have ended the stream.
        let _ = self.parts.send(Ok(Frame::data(bytes.into()))).await;
    }

    /// The beginning of a message of `length` bytes, `some` of which follow.
    async fn begin(&self, length: u32, some: usize) {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(5 + some, 0);
        self.send(bytes).await;
    }

    async fn say(&self, message: Tells) {
        self.message(&v1::WorkerMessage { message: Some(message) }.encode_to_vec()).await;
    }

    /// A whole message.
    async fn message(&self, message: &[u8]) {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
        bytes.extend_from_slice(message);
        self.send(bytes).await;
    }

    /// The code that the call ends with.
    async fn end(self) -> Option<String> {
        soon(self.answer).await.unwrap()
    }
}

const WORK: &str = "longshore.v1.Workers/Work";
const ENQUEUE: &str = "longshore.v1.Jobs/EnqueueStream";

/// Bytes of bodies of a class that are held.
async fn held(server: &Server, class: &str) -> u64 {
    let (_, metrics) = server.http("GET", "/metrics").await;
    let name = format!("longshore_http_body_bytes{{class=\"{class}\"}} ");
    let line = metrics.as_str().unwrap().lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap().parse().unwrap()
}

async fn until_held(server: &Server, class: &str, bytes: impl Fn(u64) -> bool) {
    soon(async { while !bytes(held(server, class).await) {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_messages_are_bounded_over_all_streams() {
    const LENGTH: u32 = 3 << 20;
    let server = Server::start_with(|config| {
        config.http.reserved_bytes_max = 1 << 20;
        config.http.publish_bytes_max = 1 << 20;
    })
    .await;
    for (method, class) in [(WORK, "settle"), (ENQUEUE, "publish")] {
        // One message of any size passes where nothing else is there.
        let first = Raw::open(&server, method).await;
        first.begin(LENGTH, 2 << 20).await;
        until_held(&server, class, |bytes| bytes == 5 + (2 << 20)).await;
        let second = Raw::open(&server, method).await;
        second.begin(LENGTH, 1000).await;
        assert_eq!(second.end().await.as_deref(), Some("memory_low"), "{method}");
        first.parts.send(Err(Status::cancelled("enough"))).await.unwrap();
        drop(first);
        until_held(&server, class, |bytes| bytes == 0).await;
    }
    // What is whole is not held: any number of messages goes over a stream.
    let stream = Raw::open(&server, WORK).await;
    stream.say(Tells::Hello(hello())).await;
    let worker = "x".repeat(100_000);
    let job = v1::LeaseRef { id: worker, token: String::new() };
    for _ in 0..30 {
        stream.say(Tells::Started(v1::Started { jobs: vec![job.clone()] })).await;
    }
    stream.say(Tells::Goodbye(v1::Goodbye {})).await;
    assert_eq!(stream.end().await, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_has_begun_goes_on_or_its_stream_ends() {
    let server = Server::start_with(|config| {
        config.http.body_timeout = Duration::from_millis(300);
    })
    .await;
    let stream = Raw::open(&server, WORK).await;
    stream.say(Tells::Hello(hello())).await;
    // Between two messages there may be any time.
    tokio::time::sleep(Duration::from_millis(600)).await;
    stream.say(Tells::Heartbeat(v1::Heartbeat::default())).await;
    stream.begin(1000, 500).await;
    assert_eq!(stream.end().await.as_deref(), Some("body_timeout"));
    server.stop().await;
}

/// The library refuses them before the service sees them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_or_cut_has_its_code() {
    let server = Server::start_with(|config| config.http.body_bytes_max = 1 << 20).await;
    for method in [ENQUEUE, "longshore.v1.Jobs/Enqueue", "longshore.v1.Admin/GetQueue"] {
        let too_large = Raw::open(&server, method).await;
        too_large.begin(2 << 20, 1000).await;
        assert_eq!(too_large.end().await.as_deref(), Some("body_too_large"), "{method}");
        let cut = Raw::open(&server, method).await;
        cut.begin(1000, 500).await;
        let Raw { parts, answer } = cut;
        drop(parts);
        let code = soon(answer).await.unwrap();
        assert_eq!(code.as_deref(), Some("body_truncated"), "{method}");
        // Right behind the length.
        let cut = Raw::open(&server, method).await;
        cut.begin(1000, 0).await;
        let Raw { parts, answer } = cut;
        drop(parts);
        let code = soon(answer).await.unwrap();
        assert_eq!(code.as_deref(), Some("body_truncated"), "{method}");
    }
    server.stop().await;
}

/// Streams ended with a status that clients cannot go by.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_has_its_code() {
    let server = Server::start().await;
    let garbage = [&[0, 0, 0, 0, 4][..], &[0xff; 4]].concat();
    let compressed = [&[1, 0, 0, 0, 1][..], &[0]].concat();
    let flagged = [&[7, 0, 0, 0, 1][..], &[0]].concat();
    for method in [ENQUEUE, "longshore.v1.Jobs/Enqueue", "longshore.v1.Admin/GetQueue"] {
        for bytes in [&garbage, &compressed, &flagged] {
            let stream = Raw::open(&server, method).await;
            stream.send(bytes.clone()).await;
            assert_eq!(stream.end().await.as_deref(), Some("body_malformed"), "{method}");
        }
    }
    // Behind messages that are sound, too.
    let stream = Raw::open(&server, ENQUEUE).await;
    let sound = v1::EnqueueRequest { queue: "q".into(), jobs: vec![], ..Default::default() };
    stream.message(&sound.encode_to_vec()).await;
    stream.send(garbage.clone()).await;
    assert_eq!(stream.end().await.as_deref(), Some("body_malformed"));
    for bytes in [garbage, compressed, flagged] {
        let first = Raw::open(&server, WORK).await;
        first.send(bytes.clone()).await;
        assert_eq!(first.end().await.as_deref(), Some("value_refused"));
        let later = Raw::open(&server, WORK).await;
        later.say(Tells::Hello(hello())).await;
        later.send(bytes).await;
        assert_eq!(later.end().await.as_deref(), Some("value_refused"));
    }
    let nothing = Raw::open(&server, "longshore.v1.Jobs/Enqueue").await;
    let Raw { parts, answer } = nothing;
    drop(parts);
    assert_eq!(soon(answer).await.unwrap().as_deref(), Some("body_missing"));
    for method in ["longshore.v1.Jobs/Nothing", "longshore.v1.Nothing/At", "nothing/at"] {
        let unknown = Raw::open(&server, method).await;
        assert_eq!(unknown.end().await.as_deref(), Some("route_unknown"), "{method}");
    }
    server.stop().await;
}
