//! Calls of a client that meet faults on their way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use longshore::{Client, ClientError, Job, JobOptions};
use serde::{Deserialize, Serialize};
use tonic::Code;

use crate::fake::Fake;

#[derive(Job, Serialize, Deserialize)]
#[job(queue = "notes", priority = 3, tags("a"))]
struct Note(u32);

#[tokio::test]
async fn an_enqueue_that_meets_a_fault_is_repeated_with_the_same_id() {
    let fake = Fake::start().await;
    fake.script.failures.lock().unwrap().extend([Code::Unavailable, Code::DeadlineExceeded]);
    let job = fake.client().enqueue(Note(7)).delay(Duration::from_secs(3)).await.unwrap();
    let sent = fake.script.enqueued.lock().unwrap();
    assert_eq!(sent.len(), 3);
    assert!(sent.iter().all(|request| request.jobs[0].id == job.id()));
    let request = &sent[0];
    assert_eq!((request.queue.as_str(), request.jobs[0].kind.as_str()), ("notes", "note"));
    assert_eq!(request.jobs[0].delay_ms, Some(3_000));
    assert_eq!(request.jobs[0].priority, Some(3));
    assert_eq!(request.jobs[0].tags, ["a"]);
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let fake = Fake::start().await;
    fake.script.failures.lock().unwrap().push_back(Code::InvalidArgument);
    let error = fake.client().enqueue(Note(7)).await.unwrap_err();
    assert_eq!(error.code(), Some("invalid_argument"));
    assert_eq!(fake.script.enqueued.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let client = Client::builder("127.0.0.1:1").deadline(Duration::from_millis(100));
    let client = client.attempt_timeout(Duration::from_millis(100)).build().unwrap();
    let error = client.enqueue(Note(7)).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("http://127.0.0.1:1") && text.contains("longshore serve"), "{text}");
    let error = Client::new("ftp://x").unwrap_err().to_string();
    assert!(error.contains("write http://HOST:PORT"), "{error}");
}

#[tokio::test]
async fn a_slow_source_of_jobs_uses_up_no_deadline() {
    let fake = Fake::start().await;
    *fake.script.breaks.lock().unwrap() = 1;
    let deadline = Duration::from_millis(100);
    let client = Client::builder(fake.client().url()).deadline(deadline).build().unwrap();
    let slow = stream::once(async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Note(7)
    });
    let accepted = client.enqueue_stream(slow, JobOptions::new(), |_| {}).await;
    assert_eq!(accepted.unwrap(), 1);
}

#[tokio::test]
async fn a_stream_of_jobs_outlives_broken_calls() {
    let fake = Fake::start().await;
    *fake.script.breaks.lock().unwrap() = 2;
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let accepted = fake
        .client()
        .enqueue_stream(stream::iter((0..1_200).map(Note)), JobOptions::new(), |batch| {
            heard.lock().unwrap().extend(batch.ids);
        })
        .await
        .unwrap();
    assert_eq!(accepted, 1_200);
    let mut ids = told.lock().unwrap().clone();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 1_200);
}
