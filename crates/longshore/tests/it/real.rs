//! Against the real server, in the process of the test.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream;
use longshore::testing::EmbeddedServer;
use longshore::{
    Client, Context, Ended, Enumerator, Iteration, IterationSettings, Job, JobError, JobOptions,
    JobResult, JobState, Outcome, Perform, Stopped, Worker,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinHandle;

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Job, Serialize, Deserialize)]
#[job(output = u64)]
struct Double(u64);

/// Runs until the test lets it go on.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "gated", output = u32)]
struct Gated(u32);

#[derive(Job, Serialize, Deserialize)]
#[job(max_attempts = 1)]
struct Broken;

#[derive(Job, Serialize, Deserialize)]
struct First;

#[derive(Job, Serialize, Deserialize)]
#[job(queue = "numbers")]
struct Numbers {
    up_to: u64,
    #[serde(default)]
    broken: Vec<u64>,
    /// Waits here for the test, once.
    #[serde(default)]
    gate_at: Option<u64>,
}

#[derive(Clone, Default)]
struct App {
    inner: Arc<Inner>,
}

struct Inner {
    gate: Semaphore,
    entered: Notify,
    running: AtomicUsize,
    running_max: AtomicUsize,
    runs: Mutex<HashMap<u64, u32>>,
    repaired: Mutex<bool>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            gate: Semaphore::new(0),
            entered: Notify::new(),
            running: AtomicUsize::new(0),
            running_max: AtomicUsize::new(0),
            runs: Mutex::default(),
            repaired: Mutex::default(),
        }
    }
}

impl App {
    fn note(&self, number: u64) {
        *self.inner.runs.lock().unwrap().entry(number).or_default() += 1;
    }

    fn runs(&self, number: u64) -> u32 {
        self.inner.runs.lock().unwrap().get(&number).copied().unwrap_or(0)
    }

    async fn pass_gate(&self) {
        self.inner.entered.notify_one();
        self.inner.gate.acquire().await.unwrap().forget();
    }

    async fn until_entered(&self) {
        tokio::time::timeout(PATIENCE, self.inner.entered.notified()).await.unwrap();
    }

    fn open(&self, times: usize) {
        self.inner.gate.add_permits(times);
    }
}

impl Perform<App> for Double {
    async fn perform(self, ctx: Context<App>) -> JobResult<u64> {
        ctx.state().note(self.0);
        Ok(Outcome::made(self.0 * 2, format!("/numbers/{}", self.0 * 2)))
    }
}

impl Perform<App> for Gated {
    async fn perform(self, ctx: Context<App>) -> JobResult<u32> {
        let app = ctx.state();
        app.note(u64::from(self.0));
        let now = app.inner.running.fetch_add(1, Ordering::SeqCst) + 1;
        app.inner.running_max.fetch_max(now, Ordering::SeqCst);
        tokio::select! {
            () = app.pass_gate() => {}
            () = ctx.cancellation().cancelled() => {}
        }
        app.inner.running.fetch_sub(1, Ordering::SeqCst);
        Ok(Outcome::done(ctx.attempt()))
    }
}

impl Perform<App> for Broken {
    async fn perform(self, _: Context<App>) -> JobResult {
        panic!("it is broken")
    }
}

impl Perform<App> for First {
    async fn perform(self, ctx: Context<App>) -> JobResult {
        ctx.follow_up_with(Double(4), JobOptions::new().tag("second"))?;
        Ok(Outcome::DONE)
    }
}

impl Iteration<App> for Numbers {
    type Item = u64;
    type Cursor = u64;

    fn settings(&self) -> IterationSettings {
        IterationSettings::new().skip_after(0, Duration::ZERO)
    }

    async fn enumerate(
        &self,
        cursor: Option<u64>,
        _: &Context<App>,
    ) -> Result<Enumerator<u64, u64>, JobError> {
        Ok(Enumerator::range(0..self.up_to, cursor))
    }

    async fn each(&self, number: &u64, ctx: &Context<App>) -> Result<(), JobError> {
        let is_repaired = *ctx.state().inner.repaired.lock().unwrap();
        if self.broken.contains(number) && !is_repaired {
            return Err(JobError::new("broken", number));
        }
        if self.gate_at == Some(*number) && ctx.state().runs(*number) == 0 {
            ctx.state().note(*number);
            ctx.state().pass_gate().await;
            return Ok(());
        }
        ctx.state().note(*number);
        ctx.count("sum", i64::try_from(*number)?);
        Ok(())
    }
}

struct Running {
    stop: Option<oneshot::Sender<()>>,
    worker: JoinHandle<Stopped>,
}

impl Running {
    fn start(client: &Client, app: &App) -> Self {
        Self::start_with(client, app, |worker| worker)
    }

    fn start_with(
        client: &Client,
        app: &App,
        with: impl FnOnce(Worker<App>) -> Worker<App>,
    ) -> Self {
        let (stop, stopping) = oneshot::channel::<()>();
        let worker = Worker::new(client, app.clone())
            .register::<Double>()
            .register::<Gated>()
            .register::<Broken>()
            .register::<First>()
            .register_iteration::<Numbers>()
            .name("tester")
            .grace(Duration::from_secs(10));
        let worker = with(worker).run_until(async move {
            let _ = stopping.await;
        });
        Self { stop: Some(stop), worker: tokio::spawn(async { worker.await.unwrap() }) }
    }

    async fn stop(mut self) -> Stopped {
        drop(self.stop.take());
        self.worker.await.unwrap()
    }

    /// Ends it as SIGKILL would.
    fn kill(self) {
        self.worker.abort();
    }
}

#[tokio::test]
async fn a_job_goes_from_the_client_through_a_worker_and_back() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let job = client.enqueue(Double(21)).tag("a").await.unwrap();
    let Ended::Succeeded { result, location } = job.ended(PATIENCE).await.unwrap() else {
        panic!("it did not succeed")
    };
    assert_eq!((result, location.as_deref()), (42, Some("/numbers/42")));
    let broken = client.enqueue(Broken).await.unwrap();
    let Ended::Dead(error) = broken.ended(PATIENCE).await.unwrap() else { panic!("not dead") };
    assert_eq!((error.kind(), error.message()), ("panic", "it is broken"));
    let error = broken.result(PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("is dead: panic: it is broken"), "{error}");
    assert_eq!(worker.stop().await, Stopped::Shutdown);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_follows_enters_with_the_end() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    client.enqueue(First).await.unwrap().result(PATIENCE).await.unwrap();
    let (jobs, _) = client.list(&longshore::Jobs::all().kind("double"), "").await.unwrap();
    assert_eq!(jobs.len(), 1);
    let second = client.handle::<Double>(jobs[0].id.clone());
    assert_eq!(second.result(PATIENCE).await.unwrap(), 8);
    worker.stop().await;
}

#[tokio::test]
async fn many_jobs_are_each_run_once() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let jobs = client.enqueue_all((0..500).map(Double)).await.unwrap();
    assert_eq!(jobs.len(), 500);
    let streamed = stream::iter((500..3_000).map(Double));
    let accepted = client.enqueue_stream(streamed, JobOptions::new(), |batch| {
        assert!(batch.refused.is_none(), "{batch:?}");
    });
    assert_eq!(accepted.await.unwrap(), 2_500);
    let last = client.enqueue(Double(3_000)).await.unwrap();
    let worker = Running::start(&client, &app);
    last.result(PATIENCE).await.unwrap();
    worker.stop().await;
    assert!((0..=3_000).all(|number| app.runs(number) == 1));
}

#[tokio::test]
async fn a_running_job_hears_that_it_is_called_off() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let job = client.enqueue(Gated(1)).await.unwrap();
    app.until_entered().await;
    assert_eq!(job.cancel().await.unwrap().effect, "requested");
    // Its ack still wins.
    assert_eq!(job.result(PATIENCE).await.unwrap(), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_run_outlives_a_restart_of_the_server() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let job = client.enqueue(Gated(1)).await.unwrap();
    app.until_entered().await;
    let server = server.restart().await.unwrap();
    app.open(1);
    assert_eq!(job.result(PATIENCE).await.unwrap(), 1);
    assert_eq!(app.runs(1), 1);
    worker.stop().await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_queue_has_its_limit_and_holds_up_no_other() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let gated = client.enqueue_all((0..6).map(Gated)).await.unwrap();
    let other = client.enqueue(Double(7)).await.unwrap();
    let worker = Running::start_with(&client, &app, |worker| {
        worker.queues(["default"]).limited_queue("gated", 2).concurrency(8)
    });
    app.until_entered().await;
    assert_eq!(other.result(PATIENCE).await.unwrap(), 14);
    app.open(6);
    for job in gated {
        job.result(PATIENCE).await.unwrap();
    }
    assert!(app.inner.running_max.load(Ordering::SeqCst) <= 2);
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_can_be_told_to_leave() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    client.enqueue(Double(1)).await.unwrap().result(PATIENCE).await.unwrap();
    client.terminate_worker("tester").await.unwrap();
    let stopped = tokio::time::timeout(PATIENCE, worker.worker).await.unwrap().unwrap();
    assert_eq!(stopped, Stopped::Terminated);
}

#[tokio::test]
async fn an_iteration_goes_on_after_a_pause_and_a_kill() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let numbers = Numbers { up_to: 400, broken: vec![], gate_at: Some(200) };
    let job = client.enqueue(numbers).lease(Duration::from_secs(2)).await.unwrap();
    app.until_entered().await;
    // What came before the gate is on disk soon, without a further item.
    let saved = async {
        loop {
            let record = job.record().await.unwrap();
            if record.cursor == Some(json!(199)) {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let record = tokio::time::timeout(PATIENCE, saved).await.unwrap();
    assert_eq!((record.counters["items"], record.counters["sum"]), (200, 199 * 100));
    worker.kill();
    let worker = Running::start(&client, &app);
    job.result(PATIENCE).await.unwrap();
    let record = job.record().await.unwrap();
    assert_eq!(record.attempt, 1, "a lost run that got on uses no attempt");
    assert_eq!(record.counters["sum"], 399 * 200);
    assert!((0..400).all(|number| app.runs(number) == 1 + u32::from(number == 200)));
    worker.stop().await;
}

#[tokio::test]
async fn a_deploy_costs_no_item_and_no_attempt() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let numbers = Numbers { up_to: 50, broken: vec![], gate_at: Some(20) };
    let job = client.enqueue(numbers).await.unwrap();
    app.until_entered().await;
    let stopping = tokio::spawn(worker.stop());
    app.open(1);
    stopping.await.unwrap();
    let worker = Running::start(&client, &app);
    job.result(PATIENCE).await.unwrap();
    let record = job.record().await.unwrap();
    assert_eq!((record.attempt, record.state), (1, JobState::Succeeded));
    assert!((0..50).all(|number| app.runs(number) == 1));
    worker.stop().await;
}

#[tokio::test]
async fn skipped_items_are_listed_and_run_again() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let numbers = || Numbers { up_to: 10, broken: vec![0, 6], gate_at: None };
    let job = client.enqueue(numbers()).await.unwrap();
    job.result(PATIENCE).await.unwrap();
    let skipped = job.record().await.unwrap().skipped();
    let messages: Vec<_> = skipped.iter().map(|item| item.error.message()).collect();
    assert_eq!(messages, ["0", "6"]);
    *app.inner.repaired.lock().unwrap() = true;
    let again = job.rerun_skipped(numbers()).await.unwrap().unwrap();
    again.result(PATIENCE).await.unwrap();
    assert!((0..10).all(|number| app.runs(number) == 1));
    assert_eq!(again.record().await.unwrap().counters["items"], 2);
    assert!(again.rerun_skipped(numbers()).await.unwrap().is_none());
    worker.stop().await;
}
