//! Runs jobs in the test itself.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use longshore_proto::v1;
use longshore_proto::v1::settlement::Verdict;
use serde::de::DeserializeOwned;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service};

use super::Recorder;
use super::waiting::Waiting;
use crate::delivery::Delivery;
use crate::iteration::Iteration;
use crate::outbox::Outbox;
use crate::outcome::JobEnd;
use crate::perform::{Handlers, JobCall, JobService};
use crate::run::Run;
use crate::worker::slot::execute;
use crate::{FollowUp, Job, JobError, JobOptions, Perform, PerformBlocking};

/// Runs jobs in the test itself, with the application's state and no server.
///
/// ```
/// use longshore::testing::Inline;
/// use longshore::{Context, Job, JobResult, Outcome, Perform};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Job, Serialize, Deserialize)]
/// #[job(output = u64)]
/// struct Double(u64);
///
/// impl Perform<()> for Double {
///     async fn perform(self, _: Context<()>) -> JobResult<u64> {
///         Ok(Outcome::done(self.0 * 2))
///     }
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let mut inline = Inline::new(()).register::<Double>();
/// assert_eq!(inline.run(Double(4)).await.result::<u64>(), 8);
/// # });
/// ```
pub struct Inline<S> {
    state: Arc<S>,
    handlers: Option<Handlers<S>>,
    service: Option<JobService>,
    layers: Vec<Wrap>,
    recorder: Recorder,
}

type Wrap = Box<dyn FnOnce(JobService) -> JobService + Send>;

impl<S> fmt::Debug for Inline<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inline").field("handlers", &self.handlers).finish_non_exhaustive()
    }
}

/// Which attempt of a job is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// That one, from 1.
    Number(u32),
    /// The one after which the job is dead.
    Last,
}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Ran {
    id: String,
    kind: String,
    attempt: u32,
    /// By the recorder's clock.
    at: Duration,
    again_in: Option<Duration>,
    verdict: Verdict,
    checkpoints: Vec<v1::Checkpoint>,
}

impl<S: Send + Sync + 'static> Inline<S> {
    /// With the state that the jobs share.
    pub fn new(state: S) -> Self {
        let state = Arc::new(state);
        let handlers = Handlers::new(Arc::clone(&state));
        Self {
            state,
            handlers: Some(handlers),
            service: None,
            layers: Vec::new(),
            recorder: Recorder::new(),
        }
    }

    /// What the jobs share.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Runs what a recorder keeps, in [`Inline::drain`]: that of the application's client.
    #[must_use]
    pub fn recorder(mut self, recorder: &Recorder) -> Self {
        self.recorder = recorder.clone();
        self
    }

    /// Adds a type of job.
    #[must_use]
    pub fn register<J: Perform<S>>(mut self) -> Self {
        self.add(Handlers::perform::<J>);
        self
    }

    /// Adds a type of job that computes or blocks.
    #[must_use]
    pub fn register_blocking<J: PerformBlocking<S>>(mut self) -> Self {
        self.add(Handlers::blocking::<J>);
        self
    }

    /// Adds a type of job that goes through a collection.
    #[must_use]
    pub fn register_iteration<J: Iteration<S>>(mut self) -> Self {
        self.add(Handlers::iteration::<J>);
        self
    }

    /// Wraps a tower layer around each run, as a worker would.
    #[must_use]
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<JobService> + Send + 'static,
        L::Service: Service<JobCall, Response = JobEnd, Error = JobError>,
        L::Service: Clone + Send + Sync + 'static,
        <L::Service as Service<JobCall>>::Future: Send + 'static,
    {
        self.layers.push(Box::new(move |inner| BoxCloneSyncService::new(layer.layer(inner))));
        self
    }

    fn add(&mut self, add: impl FnOnce(&mut Handlers<S>)) {
        let handlers = self.handlers.as_mut().expect("register types before anything is run");
        add(handlers);
    }

    /// Runs a job to the end of its first attempt.
    pub async fn run<J: Job>(&mut self, job: J) -> Ran {
        self.run_with(job, JobOptions::new()).await
    }

    /// The same with options.
    pub async fn run_with<J: Job>(&mut self, job: J, options: JobOptions) -> Ran {
        let job = new_job(&job, options);
        self.deliver(&Run::new(Delivery::first_of(&job), Arc::new(Outbox::inline()))).await
    }

    /// Runs a later attempt, or the last one: what a job does then, such as telling somebody that
    /// it gives up. The job has as many attempts as its type or `options` say.
    ///
    /// # Panics
    ///
    /// Where it has no such attempt.
    pub async fn run_attempt<J: Job>(
        &mut self,
        job: J,
        options: JobOptions,
        attempt: Attempt,
    ) -> Ran {
        let mut delivery = Delivery::first_of(&new_job(&job, options));
        let last = delivery.max_attempts;
        delivery.attempt = match attempt {
            Attempt::Number(number) => number,
            Attempt::Last => last,
        };
        let is_one = (1..=last).contains(&delivery.attempt);
        assert!(is_one, "a {} has attempts 1 to {last}, and not {}", J::KIND, delivery.attempt);
        self.deliver(&Run::new(delivery, Arc::new(Outbox::inline()))).await
    }

    /// Runs everything that was enqueued, and what that enqueues, until nothing is left, whether
    /// its time has come or not. Jobs that fail are not tried again: look at what is returned, or
    /// see [`Inline::advance`].
    pub async fn drain(&mut self) -> Vec<Ran> {
        let mut all = Vec::new();
        while let Some((place, waiting)) = self.recorder.next() {
            let ran = self.run_waiting(place, waiting).await;
            self.recorder.forget(place);
            all.push(Ran { again_in: None, ..ran });
        }
        all
    }

    /// Runs what was enqueued and may run now, and what that enqueues. See [`Inline::advance`].
    pub async fn run_due(&mut self) -> Vec<Ran> {
        self.advance(Duration::ZERO).await
    }

    /// Moves the recorder's clock, and runs on the way whatever may run, each job when its time
    /// comes: delays, retries, snoozes and interruptions pass as they would with a server and
    /// without waiting. Returns the runs, in their order.
    ///
    /// A job that fails waits as long as its policy says, without jitter, and runs its next
    /// attempt if the clock is moved that far; then it is dead. What is snoozed or interrupted
    /// goes on later from its cursor. Jobs expire (`ttl`, `max_age`); those of one ordering key
    /// run one after the other; where several may run, higher priorities come first.
    ///
    /// The clock stands still while a job runs, whatever it does: a job's `timeout` counts by
    /// tokio's clock. In a test with `start_paused = true` (tokio's feature `test-util`) a run
    /// that sleeps beyond its timeout fails without waiting, too. Instants that a producer names
    /// (`run_at`, `expires_at`) count from the real time at which it enqueues.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use longshore::testing::{Inline, Recorder};
    /// use longshore::{Context, Job, JobError, JobResult, JobState, Perform};
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Job, Serialize, Deserialize)]
    /// #[job(max_attempts = 3, retry(base = "1m", jitter = 0.2))]
    /// struct Remind(u64);
    ///
    /// impl Perform<()> for Remind {
    ///     async fn perform(self, _: Context<()>) -> JobResult {
    ///         Err(JobError::msg("no such mailbox"))
    ///     }
    /// }
    ///
    /// # tokio::runtime::Runtime::new().unwrap().block_on(async {
    /// let recorder = Recorder::new();
    /// let mut jobs = Inline::new(()).recorder(&recorder).register::<Remind>();
    /// let hours = |hours: u64| Duration::from_secs(3600 * hours);
    /// let job = recorder.client().enqueue(Remind(7)).delay(hours(2)).await.unwrap();
    /// assert!(jobs.advance(hours(1)).await.is_empty());
    /// let ran = jobs.advance(hours(1)).await;
    /// assert_eq!(ran[0].again_in(), Some(Duration::from_secs(60)));
    /// assert_eq!(recorder.state(job.id()), Some(JobState::Retrying));
    /// // Two more attempts, a minute and then two minutes later.
    /// assert_eq!(jobs.advance(hours(1)).await.len(), 2);
    /// assert_eq!(recorder.state(job.id()), Some(JobState::Dead));
    /// # });
    /// ```
    ///
    /// # Panics
    ///
    /// Where a job runs again and again at the same instant: one that is always snoozed for no
    /// time at all, say.
    pub async fn advance(&mut self, by: Duration) -> Vec<Ran> {
        let until = self.recorder.elapsed() + by;
        let mut all = Vec::new();
        while let Some((place, waiting)) = self.recorder.next_until(until) {
            all.push(self.run_waiting(place, waiting).await);
        }
        all
    }

    async fn run_waiting(&mut self, place: u64, waiting: Waiting) -> Ran {
        let run = Run::new(waiting.delivery.clone(), Arc::new(Outbox::inline()));
        let mut ran = self.deliver(&run).await;
        ran.again_in = self.recorder.settle(place, waiting, &ran.verdict, &ran.checkpoints);
        if let Err(refusal) = self.recorder.record(ran.follow_ups()) {
            panic!("what follows from a {} is refused: {refusal}", ran.kind());
        }
        ran
    }

    pub(super) async fn deliver(&mut self, run: &Arc<Run>) -> Ran {
        if let Some(handlers) = self.handlers.take() {
            if let Some((kind, first, second)) = handlers.twice {
                panic!("the kind '{kind}' is registered twice, by {first} and by {second}");
            }
            let layers = std::mem::take(&mut self.layers).into_iter().rev();
            self.service = Some(layers.fold(handlers.into_service(), |inner, wrap| wrap(inner)));
        }
        let service = self.service.as_mut().expect("it was made above");
        run.set_started();
        let verdict = execute(service, run).await.unwrap_or(Verdict::Release(v1::Release {}));
        let checkpoints = run.outbox.take_inline();
        let delivery = &run.delivery;
        Ran {
            id: delivery.id.clone(),
            kind: delivery.kind.clone(),
            attempt: delivery.attempt,
            at: self.recorder.elapsed(),
            again_in: None,
            verdict,
            checkpoints,
        }
    }
}

/// A job as it would travel.
pub(super) fn new_job<J: Job>(job: &J, options: JobOptions) -> v1::NewJob {
    let mut options = options.over(job.options());
    if let Some((one, other)) = options.conflict() {
        panic!("a {} may have {one} or {other}, not both", J::KIND);
    }
    options.queue.get_or_insert_with(|| J::QUEUE.to_owned());
    let args =
        serde_json::to_vec(job).unwrap_or_else(|error| panic!("a {} is no JSON: {error}", J::KIND));
    options.into_wire::<J>(args.into())
}

impl Ran {
    /// The job's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Which attempt it was, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When it ran: how far the recorder's [clock](Recorder::elapsed) had been moved.
    pub fn at(&self) -> Duration {
        self.at
    }

    /// How much later the job runs again, where a recorder keeps it and it has not ended.
    pub fn again_in(&self) -> Option<Duration> {
        self.again_in
    }

    /// The name of the job's type.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Whether it succeeded.
    pub fn is_done(&self) -> bool {
        matches!(self.verdict, Verdict::Ack(_))
    }

    /// Why it failed or was called off, if so.
    pub fn error(&self) -> Option<JobError> {
        match &self.verdict {
            Verdict::Fail(v1::Fail { error, .. }) | Verdict::Discard(v1::Discard { error }) => {
                Some(JobError::from_wire(error.clone().unwrap_or_default()))
            }
            _ => None,
        }
    }

    /// A word for how it ended: `done`, `failed`, `snoozed`, `released`, `discarded` or
    /// `interrupted`.
    pub fn ended(&self) -> &'static str {
        match &self.verdict {
            Verdict::Ack(_) => "done",
            Verdict::Fail(_) => "failed",
            Verdict::Snooze(_) => "snoozed",
            Verdict::Release(_) => "released",
            Verdict::Discard(_) => "discarded",
            Verdict::Interrupted(_) => "interrupted",
        }
    }

    /// What it returned. Panics where it did not succeed, and says how it ended.
    #[track_caller]
    pub fn result<T: DeserializeOwned>(&self) -> T {
        let Verdict::Ack(ack) = &self.verdict else {
            panic!("{} did not succeed, it {}: {:?}", self.kind, self.ended(), self.error())
        };
        let json = ack.result.as_deref().unwrap_or(b"null");
        serde_json::from_slice(json)
            .unwrap_or_else(|error| panic!("the result of {}: {error}", self.kind))
    }

    /// The resource that it made.
    pub fn location(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Ack(ack) if !ack.location.is_empty() => Some(&ack.location),
            _ => None,
        }
    }

    /// Jobs that entered with its end.
    pub fn follow_ups(&self) -> Vec<FollowUp> {
        match &self.verdict {
            Verdict::Ack(ack) => ack.enqueue.iter().cloned().map(FollowUp).collect(),
            _ => Vec::new(),
        }
    }

    /// Those of a type.
    #[track_caller]
    pub fn follow_ups_of<J: Job>(&self) -> Vec<J> {
        let jobs = self.follow_ups();
        let of_type = jobs.iter().filter(|job| job.kind() == J::KIND);
        of_type
            .map(|job| serde_json::from_slice(job.args()).expect("it was written from that type"))
            .collect()
    }

    /// What it counted.
    pub fn counter(&self, name: &str) -> i64 {
        self.checkpoints.iter().filter_map(|it| it.counters.get(name)).sum()
    }

    /// The progress that it told, in order.
    pub fn progress(&self) -> Vec<f64> {
        self.checkpoints.iter().filter_map(|it| it.progress).collect()
    }

    /// The errors of items that it gave up on.
    pub fn skipped(&self) -> Vec<JobError> {
        let items = self.checkpoints.iter().flat_map(|it| &it.skipped);
        items.map(|it| JobError::from_wire(it.error.clone().unwrap_or_default())).collect()
    }

    pub(super) fn checkpoints(&self) -> &[v1::Checkpoint] {
        &self.checkpoints
    }

    pub(super) fn verdict(&self) -> &Verdict {
        &self.verdict
    }
}
