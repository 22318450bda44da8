//! What comes over HTTP/2 and is no call, or not from here.

use longshore_proto::v1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::harness::{Server, Worker, hello, soon};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A request without a body and the bytes of what it is answered with.
async fn plain(server: &Server, path: &str, kind: Option<&str>) -> Vec<u8> {
    let mut block = vec![0x82 + u8::from(kind.is_some()), 0x86];
    let mut literal = |index: u8, value: &str| {
        block.push(index);
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    };
    literal(0x04, path);
    literal(0x01, "localhost");
    if let Some(kind) = kind {
        // content-type is 31 in the static table: 0x0f and 16.
        literal(0x0f, "");
        block.truncate(block.len() - 1);
        block.extend_from_slice(&[16, kind.len() as u8]);
        block.extend_from_slice(kind.as_bytes());
    }
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let mut bytes = PREFACE.to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1]);
    bytes.extend_from_slice(&block);
    // One byte after the other: the preface is told from a request however it arrives.
    for byte in bytes {
        stream.write_all(&[byte]).await.unwrap();
    }
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    while !heard.ends_with(b"}") {
        let count = soon(stream.read(&mut buffer)).await.unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&buffer[..count]);
    }
    heard
}

fn says(heard: &[u8], what: &str) -> bool {
    String::from_utf8_lossy(heard).contains(what)
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_over_http2_gets_an_answer() {
    let server = Server::start().await;
    let heard = plain(&server, "/v1/queues", None).await;
    assert!(says(&heard, "\"code\":\"route_unknown\"") && says(&heard, "HTTP/1.1"), "{heard:?}");
    let heard = plain(&server, "/longshore.v1.Jobs/Enqueue", Some("application/json")).await;
    assert!(says(&heard, "\"code\":\"media_type_refused\""), "{heard:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_hosts_and_web_pages_are_refused() {
    let server = Server::start().await;
    let endpoint = Endpoint::from_shared(format!("http://{}", server.address)).unwrap();
    let origin = "http://evil.example".parse().unwrap();
    let channel = endpoint.clone().origin(origin).connect().await.unwrap();
    let mut jobs = v1::jobs_client::JobsClient::new(channel);
    let refused = jobs.list_jobs(v1::ListJobsRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refused.metadata().get("longshore-code").unwrap(), "host_refused");

    let mut request = tonic::Request::new(v1::ListJobsRequest::default());
    request.metadata_mut().insert("origin", "http://evil.example".parse().unwrap());
    let refused = server.jobs().await.list_jobs(request).await.unwrap_err();
    assert_eq!(refused.metadata().get("longshore-code").unwrap(), "origin_refused");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_is_still_spoken_on_the_same_port() {
    let server = Server::start().await;
    for method in ["GET", "POST", "PROPFIND", "PRI"] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request =
            format!("{method} /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut heard = String::new();
        soon(stream.read_to_string(&mut heard)).await.unwrap();
        assert!(heard.starts_with("HTTP/1.1 "), "{method}: {heard}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_server_tells_its_workers() {
    let mut server = Server::start().await;
    let (mut worker, _) = server.worker(hello()).await;
    server.begin_stop();
    let end = worker.end().await.unwrap();
    assert_eq!(end.code(), Code::Unavailable);
    assert_eq!(end.metadata().get("longshore-code").unwrap(), "stopping");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_preface_is_not_waited_for() {
    let server = Server::start_with(|config| {
        config.http.header_timeout = std::time::Duration::from_secs(1);
    })
    .await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(&PREFACE[..20]).await.unwrap();
    let mut heard = Vec::new();
    let ended = soon(stream.read_to_end(&mut heard)).await;
    assert!(ended.is_err() || heard.is_empty(), "{heard:?}");
    // The same for a worker that does not say hello.
    let mut silent = Worker::connect(server.workers().await).await;
    assert_eq!(silent.end().await.unwrap().code(), Code::InvalidArgument);
    server.stop().await;
}
