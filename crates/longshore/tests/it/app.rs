//! An application with jobs of every sort, and a worker that a test starts and ends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore::{
    Client, Context, Enumerator, Iteration, IterationSettings, Job, JobError, JobOptions,
    JobResult, Outcome, Perform, PerformBlocking, Stopped, Worker,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinHandle;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Job, Serialize, Deserialize)]
#[job(output = u64)]
pub(crate) struct Double(pub(crate) u64);

/// Runs until the test lets it go on.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "gated", output = u32)]
pub(crate) struct Gated(pub(crate) u32);

#[derive(Job, Serialize, Deserialize)]
#[job(max_attempts = 1)]
pub(crate) struct Broken;

/// Computes until it is told to stop, and then panics where it shall.
#[derive(Job, Serialize, Deserialize)]
#[job(max_attempts = 1, output = String)]
pub(crate) struct Compute {
    pub(crate) panics: bool,
}

#[derive(Job, Serialize, Deserialize)]
pub(crate) struct First;

/// Tells whether it is its job's last run.
#[derive(Job, Serialize, Deserialize)]
#[job(output = bool)]
pub(crate) struct Once;

#[derive(Job, Serialize, Deserialize, Default)]
#[job(queue = "numbers")]
pub(crate) struct Numbers {
    pub(crate) up_to: u64,
    #[serde(default)]
    pub(crate) broken: Vec<u64>,
    /// Waits here for the test, or until it is interrupted, once.
    #[serde(default)]
    pub(crate) gate_at: Option<u64>,
    /// What is broken fails the run, instead of being skipped.
    #[serde(default)]
    pub(crate) fails: bool,
}

#[derive(Clone, Default)]
pub(crate) struct App {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    gate: Semaphore,
    entered: Notify,
    running: AtomicUsize,
    pub(crate) running_max: AtomicUsize,
    runs: Mutex<HashMap<u64, u32>>,
    pub(crate) repaired: Mutex<bool>,
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
    pub(crate) fn note(&self, number: u64) {
        *self.inner.runs.lock().unwrap().entry(number).or_default() += 1;
    }

    pub(crate) fn runs(&self, number: u64) -> u32 {
        self.inner.runs.lock().unwrap().get(&number).copied().unwrap_or(0)
    }

    pub(crate) async fn pass_gate(&self) {
        self.inner.entered.notify_one();
        self.inner.gate.acquire().await.unwrap().forget();
    }

    pub(crate) async fn until_entered(&self) {
        tokio::time::timeout(PATIENCE, self.inner.entered.notified()).await.unwrap();
    }

    pub(crate) fn open(&self, times: usize) {
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

impl PerformBlocking<App> for Compute {
    fn perform(self, ctx: Context<App>) -> JobResult<String> {
        assert!(!self.panics, "it cannot be computed");
        ctx.state().inner.entered.notify_one();
        while !ctx.is_stopped() {
            std::thread::yield_now();
        }
        Ok(Outcome::done(format!("{:?}", ctx.stop_reason())))
    }
}

impl Perform<App> for First {
    async fn perform(self, ctx: Context<App>) -> JobResult {
        ctx.follow_up_with(Double(4), JobOptions::new().tag("second"))?;
        Ok(Outcome::DONE)
    }
}

impl Perform<App> for Once {
    async fn perform(self, ctx: Context<App>) -> JobResult<bool> {
        Ok(Outcome::done(ctx.is_at_most_once()))
    }
}

impl Iteration<App> for Numbers {
    type Item = u64;
    type Cursor = u64;

    fn settings(&self) -> IterationSettings {
        let settings = IterationSettings::new();
        if self.fails { settings } else { settings.skip_after(0, Duration::ZERO) }
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
            tokio::select! {
                () = ctx.state().pass_gate() => {}
                () = ctx.interruption().cancelled() => {}
            }
            return Ok(());
        }
        ctx.state().note(*number);
        ctx.count("sum", i64::try_from(*number)?);
        Ok(())
    }
}

pub(crate) struct Running {
    stop: Option<oneshot::Sender<()>>,
    pub(crate) worker: JoinHandle<Stopped>,
}

impl Running {
    pub(crate) fn start(client: &Client, app: &App) -> Self {
        Self::start_with(client, app, |worker| worker)
    }

    pub(crate) fn start_with(
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
            .register::<Once>()
            .register_blocking::<Compute>()
            .register_iteration::<Numbers>()
            .name("tester")
            .grace(Duration::from_secs(10));
        let worker = with(worker).run_until(async move {
            let _ = stopping.await;
        });
        Self { stop: Some(stop), worker: tokio::spawn(async { worker.await.unwrap() }) }
    }

    pub(crate) async fn stop(mut self) -> Stopped {
        drop(self.stop.take());
        self.worker.await.unwrap()
    }

    /// Ends it as SIGKILL would.
    pub(crate) fn kill(self) {
        self.worker.abort();
    }
}
