//! What the real server refuses, and mistakes that a user makes: each is told, and nothing hangs.

use std::time::{Duration, Instant};

use futures_util::stream;
use longshore::testing::EmbeddedServer;
use longshore::{
    Client, ClientError, Context, Ended, Enumerator, Iteration, Job, JobError, JobOptions,
    JobResult, Outcome, Perform, Worker, WorkerError,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

/// A job that asks for too much, in one way or another.
#[derive(Job, Serialize, Deserialize, Clone, Copy)]
#[job(max_attempts = 1, output = String)]
enum Greedy {
    Result { bytes: usize },
    Location,
    FollowUp,
    Cursor { bytes: usize },
    Counter,
    Panic { bytes: usize },
    Modest,
}

impl Perform<()> for Greedy {
    async fn perform(self, ctx: Context<()>) -> JobResult<String> {
        match self {
            Self::Result { bytes } => return Ok(Outcome::done("x".repeat(bytes))),
            Self::Location => return Ok(Outcome::made(String::new(), "not \\ an address")),
            Self::FollowUp => {
                ctx.follow_up_with(Self::Modest, JobOptions::new().tag("t".repeat(300)))?;
            }
            Self::Cursor { bytes } => ctx.save_cursor(&"x".repeat(bytes)).await?,
            Self::Counter => ctx.count(&"x".repeat(300), 1),
            Self::Panic { bytes } => panic!("{}", "x".repeat(bytes)),
            Self::Modest => {}
        }
        Ok(Outcome::done("done".to_owned()))
    }
}

/// Cursors that are more than a server takes.
#[derive(Job, Serialize, Deserialize)]
#[job(max_attempts = 1)]
struct LongCursors;

impl Iteration<()> for LongCursors {
    type Item = u32;
    type Cursor = String;

    async fn enumerate(
        &self,
        _: Option<String>,
        _: &Context<()>,
    ) -> Result<Enumerator<u32, String>, JobError> {
        let long = "x".repeat(100_000);
        Ok(Enumerator::from_pairs((0..).map(move |number| (number, long.clone()))))
    }

    async fn each(&self, _: &u32, _: &Context<()>) -> Result<(), JobError> {
        tokio::task::yield_now().await;
        Ok(())
    }
}

/// Many items that fail at once.
#[derive(Job, Serialize, Deserialize)]
struct AllBroken;

impl Iteration<()> for AllBroken {
    type Item = u64;
    type Cursor = u64;

    fn settings(&self) -> longshore::IterationSettings {
        longshore::IterationSettings::new().skip_after(0, Duration::ZERO)
    }

    async fn enumerate(
        &self,
        cursor: Option<u64>,
        _: &Context<()>,
    ) -> Result<Enumerator<u64, u64>, JobError> {
        Ok(Enumerator::range(0..20_000, cursor))
    }

    async fn each(&self, number: &u64, _: &Context<()>) -> Result<(), JobError> {
        Err(JobError::new("broken", number))
    }
}

async fn working() -> (EmbeddedServer, Client) {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    let worker = Worker::new(&client, ())
        .register::<Greedy>()
        .register_iteration::<LongCursors>()
        .register_iteration::<AllBroken>();
    tokio::spawn(worker.run_until(std::future::pending()));
    (server, client)
}

#[tokio::test]
async fn a_run_that_asks_for_too_much_fails_and_harms_no_other() {
    let (_server, client) = working().await;
    for (job, kind, words) in [
        (Greedy::Result { bytes: 2 << 20 }, "body_too_large", "result"),
        // More than a whole message may have.
        (Greedy::Result { bytes: 30 << 20 }, "body_too_large", "keep large results elsewhere"),
        (Greedy::Location, "value_refused", "location"),
        (Greedy::FollowUp, "jobs_refused", "tag"),
        (Greedy::Cursor { bytes: 100_000 }, "body_too_large", "cursor"),
        (Greedy::Cursor { bytes: 2 << 20 }, "cursor_too_large", "keep results elsewhere"),
        (Greedy::Panic { bytes: 30 << 20 }, "panic", "xxxx"),
    ] {
        let handle = client.enqueue(job).await.unwrap();
        let Ended::Dead(error) = handle.ended(PATIENCE).await.unwrap() else {
            panic!("it is not dead: {kind}")
        };
        let error = format!("{error}");
        assert!(error.starts_with(kind) && error.contains(words), "{kind}: {error:.500}");
    }
    // What only informs costs no run.
    let counter = client.enqueue(Greedy::Counter).await.unwrap();
    assert_eq!(counter.result(PATIENCE).await.unwrap(), "done");
    let modest = client.enqueue(Greedy::Modest).await.unwrap();
    assert_eq!(modest.result(PATIENCE).await.unwrap(), "done");
}

#[tokio::test]
async fn an_iteration_whose_cursor_is_refused_ends() {
    let (_server, client) = working().await;
    let job = client.enqueue(LongCursors).await.unwrap();
    let Ended::Dead(error) = job.ended(PATIENCE).await.unwrap() else { panic!("not dead") };
    assert_eq!(error.kind(), "body_too_large");
    assert!(error.message().contains("a checkpoint was refused"), "{error}");
}

#[tokio::test]
async fn an_iteration_may_skip_all_that_it_has() {
    let (_server, client) = working().await;
    let job = client.enqueue(AllBroken).await.unwrap();
    job.result(PATIENCE).await.unwrap();
    let record = job.record().await.unwrap();
    assert_eq!(record.counters["skipped"], 20_000);
    assert!(!record.skipped().is_empty());
}

#[tokio::test]
async fn what_cannot_be_enqueued_is_told() {
    #[derive(Job, Serialize, Deserialize)]
    struct Large(String);
    let (_server, client) = working().await;
    let error = client.enqueue(Greedy::Modest).tag("t".repeat(300)).await.unwrap_err();
    assert!(error.to_string().contains("255"), "{error}");
    let error = client.enqueue(Large("x".repeat(17 << 20))).await.unwrap_err();
    assert!(error.to_string().contains("16"), "{error}");
    let error = client.enqueue(Large("x".repeat(30 << 20))).await.unwrap_err();
    assert!(error.to_string().contains("too large"), "{error}");
    let none: Vec<Greedy> = Vec::new();
    assert!(client.enqueue_all(none).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_worker_that_its_server_does_not_want_ends_and_says_why() {
    let server = EmbeddedServer::start().await.unwrap();
    let client = Client::builder(server.url()).namespace("a/b*").build().unwrap();
    let worker = Worker::new(&client, ()).register::<Greedy>().run_until(std::future::pending());
    let error = tokio::time::timeout(PATIENCE, worker).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("namespace"), "{error}");
    let none = Worker::new(&client, ()).run_until(std::future::pending()).await;
    assert!(matches!(none, Err(WorkerError::NoTypes)));
}

mod other {
    use super::*;

    /// Another type with the same name.
    #[derive(Job, Serialize, Deserialize)]
    pub(super) struct Greedy;

    impl Perform<()> for Greedy {
        async fn perform(self, _: Context<()>) -> JobResult {
            Ok(Outcome::DONE)
        }
    }
}

#[tokio::test]
async fn two_types_with_one_name_are_no_worker() {
    let client = Client::new("http://127.0.0.1:1").unwrap();
    let worker = Worker::new(&client, ()).register::<Greedy>().register::<other::Greedy>();
    let error = worker.run_until(std::future::pending()).await.unwrap_err().to_string();
    assert!(error.contains("'greedy' is registered twice"), "{error}");
    assert!(error.contains("refusals::Greedy") && error.contains("other::Greedy"), "{error}");
}

#[tokio::test]
async fn jobs_of_one_call_share_a_queue() {
    #[derive(Serialize, Deserialize)]
    struct ToQueue(String);
    impl Job for ToQueue {
        type Output = ();
        const KIND: &'static str = "to_queue";
        fn options(&self) -> JobOptions {
            JobOptions::new().queue(self.0.clone())
        }
    }
    let (_server, client) = working().await;
    let both = || ["a", "b"].map(|queue| ToQueue(queue.to_owned()));
    let error = client.enqueue_all(both()).await.unwrap_err();
    assert!(matches!(error, ClientError::QueuesDiffer { .. }), "{error}");
    let streamed = client.enqueue_stream(stream::iter(both()), JobOptions::new(), |_| {}).await;
    assert_eq!(streamed.unwrap(), 2);
    client.enqueue_all(both()).queue("c").await.unwrap();
}

#[tokio::test]
async fn no_call_takes_longer_than_it_may() {
    // It takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let client = Client::builder(url).deadline(Duration::from_millis(300)).build().unwrap();
    let job = client.handle::<Greedy>("01983f2e-7a10-7cc0-8000-000000000001");
    let began = Instant::now();
    let mut errors = vec![
        client.enqueue(Greedy::Modest).await.unwrap_err(),
        job.result(Duration::from_millis(100)).await.unwrap_err(),
        job.cancel().await.unwrap_err(),
        client.watch(job.id()).await.map(drop).unwrap_err(),
    ];
    let jobs = stream::iter([Greedy::Modest]);
    errors.push(client.enqueue_stream(jobs, JobOptions::new(), |_| {}).await.unwrap_err());
    for error in errors {
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn something_else_at_the_address_is_named() {
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", other.local_addr().unwrap());
    let app = axum::Router::new();
    tokio::spawn(async { axum::serve(other, app).await.unwrap() });
    let client = Client::builder(&url).deadline(Duration::from_secs(1)).build().unwrap();
    let error = client.enqueue(Greedy::Modest).await.unwrap_err().to_string();
    assert!(error.contains("is that the address of a Longshore server?"), "{error}");
}

#[test]
fn a_client_outside_of_a_runtime_is_an_error_and_no_panic() {
    let error = Client::new("http://127.0.0.1:7077").unwrap_err();
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

#[tokio::test]
async fn a_wait_that_is_given_up_harms_nothing() {
    let (_server, client) = working().await;
    let job = client.enqueue(Greedy::Modest).delay(Duration::from_secs(3)).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_millis(20), job.result(PATIENCE)).await;
    assert!(waiting.is_err());
    let error = job.result(Duration::from_millis(1)).await.unwrap_err();
    assert!(matches!(error, ClientError::NotEnded { .. }), "{error:?}");
    assert!(error.to_string().contains("goes on, ask again later"), "{error}");
    assert_eq!(job.result(PATIENCE).await.unwrap(), "done");
    // A result of another type than is expected.
    let error = client.handle::<other::Greedy>(job.id()).result(PATIENCE).await.unwrap_err();
    assert!(matches!(error, ClientError::Decode { .. }), "{error:?}");
    assert_eq!(job.record().await.unwrap().result::<serde_json::Value>().unwrap(), json!("done"));
}
