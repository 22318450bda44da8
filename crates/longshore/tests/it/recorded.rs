//! What stands for the server in a test of an application does as the server does.

use std::time::{Duration, SystemTime};

use longshore::testing::{Attempt, EmbeddedServer, Inline, Recorder};
use longshore::{Client, ClientError, Context, Job, JobError, JobOptions, JobResult, Perform};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

#[derive(Job, Serialize, Deserialize)]
#[job(max_attempts = 5)]
struct Notify(u64);

impl Perform<()> for Notify {
    async fn perform(self, ctx: Context<()>) -> JobResult {
        let word = if ctx.is_last_attempt() { "gave up" } else { "again" };
        Err(JobError::new(word, ctx.attempt().to_string()))
    }
}

/// One request repeated, and another one with the same id.
async fn twice(client: &Client) -> Option<String> {
    let id = Uuid::now_v7();
    client.enqueue(Notify(1)).id(id).await.unwrap();
    client.enqueue(Notify(1)).id(id).await.unwrap();
    let other = client.enqueue(Notify(2)).id(id).await.unwrap_err();
    other.code().map(str::to_owned)
}

#[tokio::test]
async fn two_requests_with_one_id_are_one_job() {
    let recorder = Recorder::new();
    let kept = twice(&recorder.client()).await;
    assert_eq!(recorder.all().len(), 1);
    // One that was run stays known.
    let mut inline = Inline::new(()).recorder(&recorder).register::<Notify>();
    let id = recorder.all()[0].id().to_owned();
    assert_eq!(inline.drain().await.len(), 1);
    recorder.client().enqueue(Notify(1)).id(id.parse().unwrap()).await.unwrap();
    assert!(recorder.all().is_empty());
    let server = EmbeddedServer::start().await.unwrap();
    assert_eq!(kept, twice(&server.client()).await);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_delay_beside_an_instant_is_refused() {
    let recorder = Recorder::new();
    let client = recorder.client();
    let (at, span) = (SystemTime::now() + Duration::from_secs(60), Duration::from_secs(5));
    for (options, word) in [
        (JobOptions::new().delay(span).run_at(at), "run_at"),
        (JobOptions::new().run_at(at).delay(span), "run_at"),
        (JobOptions::new().ttl(span).expires_at(at), "expires_at"),
    ] {
        let batch = tokio_stream([Notify(1)]);
        let refused = client.enqueue_stream(batch, options, |_| {}).await.unwrap_err();
        assert!(matches!(refused, ClientError::OptionsDiffer { one, .. } if one == word));
    }
    let refused = client.enqueue(Notify(1)).delay(span).run_at(at).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a job may have run_at or delay, not both: leave one of them out"
    );
    recorder.assert_none::<Notify>();
}

fn tokio_stream<T: Send>(of: impl IntoIterator<Item = T>) -> impl futures_util::Stream<Item = T> {
    futures_util::stream::iter(of.into_iter().collect::<Vec<_>>())
}

#[tokio::test]
async fn a_job_can_be_run_at_its_last_attempt() {
    let mut inline = Inline::new(()).register::<Notify>();
    for (attempt, word, number) in [
        (Attempt::Number(1), "again", "1"),
        (Attempt::Number(4), "again", "4"),
        (Attempt::Last, "gave up", "5"),
    ] {
        let ran = inline.run_attempt(Notify(1), JobOptions::new(), attempt).await;
        assert_eq!(ran.error(), Some(JobError::new(word, number)));
    }
    let fewer = JobOptions::new().max_attempts(2);
    let ran = inline.run_attempt(Notify(1), fewer, Attempt::Last).await;
    assert_eq!(ran.error(), Some(JobError::new("gave up", "2")));
}
