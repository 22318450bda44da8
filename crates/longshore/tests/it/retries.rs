//! Calls of a client that meet faults on their way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use longshore::testing::Recorder;
use longshore::{
    BatchOutcome, Client, ClientError, Job, JobOptions, JobState, Resume, Start, StreamedBatch,
};
use longshore_proto::v1;
use serde::{Deserialize, Serialize};
use tonic::{Code, Status};

use crate::fake::{Fake, refusal};

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
async fn a_change_whose_answer_was_lost_is_told_as_done() {
    let fake = Fake::start().await;
    let client = fake.client();
    let script = |status| fake.script.refusals.lock().unwrap().push_back(status);
    let running = v1::Job { state: "running".into(), ..v1::Job::default() };
    fake.script.jobs.lock().unwrap().push_back(running);
    let moved = || refusal(Code::FailedPrecondition, "job_state_refused");
    script(Status::unavailable("lost"));
    script(moved());
    let change = client.retry("a", Resume::LastCheckpoint).await.unwrap();
    assert_eq!((change.state, change.effect.as_str()), (JobState::Running, "retried"));
    script(Status::unavailable("lost"));
    script(moved());
    let change = client.reschedule("a", Start::Now).await.unwrap();
    assert_eq!((change.state, change.effect.as_str()), (JobState::Running, "rescheduled"));
    script(Status::unavailable("lost"));
    script(refusal(Code::NotFound, "job_unknown"));
    assert_eq!(client.remove("a").await.unwrap().effect, "removed");
    // What was not repeated is what it is.
    script(moved());
    let error = client.retry("a", Resume::LastCheckpoint).await.unwrap_err();
    assert_eq!(error.code(), Some("job_state_refused"));
    script(moved());
    let error = client.reschedule("a", Start::Now).await.unwrap_err();
    assert_eq!(error.code(), Some("job_state_refused"));
    script(refusal(Code::NotFound, "job_unknown"));
    assert_eq!(client.cancel("a").await.unwrap_err().code(), Some("job_unknown"));
}

#[tokio::test]
async fn a_recorder_keeps_what_is_streamed() {
    let recorder = Recorder::new();
    let mut batches = Vec::new();
    let notes = stream::iter((0..501).map(Note));
    let each = |batch: StreamedBatch| batches.push(batch.ids.len());
    let accepted = recorder.client().enqueue_stream(notes, JobOptions::new(), each).await;
    assert_eq!((accepted.unwrap(), recorder.all().len()), (501, 501));
    assert_eq!(batches, [500, 1]);
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

/// A client that gives up soon, and what it is told of a stream of batches that are not answered.
async fn unanswered(fake: &Fake, jobs: u32) -> (ClientError, Vec<StreamedBatch>) {
    let deadline = Duration::from_millis(50);
    let client = Client::builder(fake.client().url()).deadline(deadline).build().unwrap();
    let mut told = Vec::new();
    let notes = stream::iter((0..jobs).map(Note));
    let each = |batch| told.push(batch);
    let error = client.enqueue_stream(notes, JobOptions::new(), each).await.unwrap_err();
    (error, told)
}

#[tokio::test]
async fn a_batch_that_was_not_answered_is_told_and_sent_again_with_its_ids() {
    let fake = Fake::start().await;
    *fake.script.breaks.lock().unwrap() = u32::MAX;
    let (error, told) = unanswered(&fake, 1_200).await;
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    assert!(error.may_take_effect());
    let jobs: Vec<_> = told.iter().map(|batch| batch.ids.len()).collect();
    assert_eq!(jobs, [500, 500, 200]);
    fake.script.enqueued.lock().unwrap().clear();
    for batch in &told {
        let BatchOutcome::Unknown(unanswered) = &batch.outcome else { panic!("{batch:?}") };
        fake.client().enqueue_again(unanswered).await.unwrap();
        let sent = fake.script.enqueued.lock().unwrap().pop().unwrap();
        assert_eq!(sent.queue, "notes");
        let ids: Vec<_> = sent.jobs.into_iter().map(|job| job.id).collect();
        assert_eq!(ids, batch.ids);
    }
}

#[tokio::test]
async fn a_batch_that_met_a_full_disk_is_not_told_as_refused() {
    let fake = Fake::start().await;
    let problem = v1::Problem {
        code: "disk_low".into(),
        http_status: 503,
        retry_after_ms: Some(1),
        ..v1::Problem::default()
    };
    *fake.script.problem.lock().unwrap() = Some(problem);
    let (error, told) = unanswered(&fake, 3).await;
    assert_eq!(error.code(), Some("disk_low"));
    assert!(error.may_take_effect());
    let [batch] = &told[..] else { panic!("{told:?}") };
    assert!(matches!(batch.outcome, BatchOutcome::Unknown(_)), "{batch:?}");
    assert_eq!(batch.ids.len(), 3);
}
