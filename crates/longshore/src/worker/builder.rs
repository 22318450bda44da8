//! How a worker is put together.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::util::BoxCloneSyncService;
use tower::{Layer, Service};

use super::Prefetch;
use super::lanes::Wish;
use super::signals::stop_signal;
use super::supervise::{self, Plan, Stopped, WorkerError};
use crate::iteration::Iteration;
use crate::outcome::JobEnd;
use crate::perform::{Handlers, JobCall, JobService};
use crate::{Client, Job, JobError, Perform, PerformBlocking};

type Wrap = Box<dyn FnOnce(JobService) -> JobService + Send>;

/// A worker: it takes jobs of the types that it knows and runs them.
///
/// ```no_run
/// # use longshore::{Client, Context, Job, JobResult, Outcome, Perform, Worker};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Job, Serialize, Deserialize)]
/// # struct WelcomeEmail;
/// # struct App;
/// # impl Perform<App> for WelcomeEmail {
/// #     async fn perform(self, _: Context<App>) -> JobResult { Ok(Outcome::DONE) }
/// # }
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::new("http://127.0.0.1:7077")?;
/// Worker::new(&client, App)
///     .register::<WelcomeEmail>()
///     .queues(["critical", "mails"])
///     .concurrency(32)
///     .run()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a worker does nothing until it is run"]
pub struct Worker<S> {
    client: Client,
    handlers: Handlers<S>,
    /// Each kind with the queue of its type.
    kinds: Vec<(String, String)>,
    wishes: Vec<Wish>,
    layers: Vec<Wrap>,
    plan: Plan,
}

impl<S> fmt::Debug for Worker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("handlers", &self.handlers)
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

impl<S: Send + Sync + 'static> Worker<S> {
    /// One that works for the client's server and namespace. `state` is what its jobs share.
    pub fn new(client: &Client, state: S) -> Self {
        Self {
            client: client.clone(),
            handlers: Handlers::new(Arc::new(state)),
            kinds: Vec::new(),
            wishes: Vec::new(),
            layers: Vec::new(),
            plan: Plan::new(),
        }
    }

    /// Adds a type of job.
    pub fn register<J: Perform<S>>(mut self) -> Self {
        self.handlers.perform::<J>();
        self.note_queue::<J>();
        self
    }

    /// Adds a type of job that computes or blocks; it runs on a thread of its own, which does not
    /// hold up the end of the process.
    pub fn register_blocking<J: PerformBlocking<S>>(mut self) -> Self {
        self.handlers.blocking::<J>();
        self.note_queue::<J>();
        self
    }

    /// Adds a type of job that goes through a collection.
    pub fn register_iteration<J: Iteration<S>>(mut self) -> Self {
        self.handlers.iteration::<J>();
        self.note_queue::<J>();
        self
    }

    fn note_queue<J: Job>(&mut self) {
        self.kinds.push((J::KIND.to_owned(), J::QUEUE.to_owned()));
    }

    /// Asks for these queues in strict order: a later one is served only where the earlier ones
    /// have nothing ready. `*` means all, `prefix*` those that begin so. Default: the queues of
    /// the registered types, in the order in which they were registered.
    pub fn queues<Q: Into<String>>(mut self, queues: impl IntoIterator<Item = Q>) -> Self {
        for queue in queues {
            self.wish(queue.into(), 0, None);
        }
        self
    }

    /// Asks for a queue with a weight: each delivery asks first for a queue that is drawn so.
    /// Either all queues have a weight or none has.
    pub fn weighted_queue(mut self, queue: impl Into<String>, weight: u32) -> Self {
        self.wish(queue.into(), weight.max(1), None);
        self
    }

    /// Asks for a queue of which at most `limit` jobs run here at a time, and no more than the
    /// concurrency of the worker leaves: what finds no slot within a fraction of a second is given
    /// back, and where others have all slots no more is asked for until one of them ends. It has a
    /// session of its own over the same connection, so that its jobs hold up no others, and takes
    /// no part in the order of the other queues. `longshore workers list` shows that session as a
    /// line of its own, `NAME/QUEUE`; what is asked of it is asked of the whole worker.
    pub fn limited_queue(mut self, queue: impl Into<String>, limit: u32) -> Self {
        self.wish(queue.into(), 0, Some(limit.max(1)));
        self
    }

    fn wish(&mut self, queue: String, weight: u32, limit: Option<u32>) {
        self.wishes.retain(|it| it.queue != queue);
        self.wishes.push(Wish { queue, weight, limit });
    }

    /// How many jobs run at once. Default: 16. At most 10,000 are held by one worker.
    pub fn concurrency(mut self, jobs: u32) -> Self {
        self.plan.concurrency = jobs.max(1);
        self
    }

    /// How many more jobs it takes than it can run at once. Default: [`Prefetch::Adaptive`].
    pub fn prefetch(mut self, prefetch: Prefetch) -> Self {
        self.plan.prefetch = prefetch;
        self
    }

    /// A name for people. Default: the host's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.plan.name = name.into();
        self
    }

    /// Free words about it, such as its version or zone.
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.plan.labels.insert(name.into(), value.into());
        self
    }

    /// How long a lease holds without a heartbeat. Default: what the job or its queue says.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.plan.lease = Some(lease);
        self
    }

    /// How long a run may go on after the worker was asked to end. Then it is dropped and its job
    /// goes back to its place. Stay below what your supervisor allows. Default: 25 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.plan.grace = grace;
        self
    }

    /// Ends, as for a deploy, after so many jobs; a supervisor starts a fresh one. Each lane, which
    /// a [`Worker::limited_queue`] has of its own, takes no more than are left.
    pub fn recycle_after_jobs(mut self, jobs: u64) -> Self {
        self.plan.jobs_max = Some(jobs.max(1));
        self
    }

    /// Ends, as for a deploy, when the process occupies more than this; a supervisor starts a
    /// fresh one.
    pub fn recycle_above_bytes(mut self, bytes: u64) -> Self {
        self.plan.bytes_max = Some(bytes);
        self
    }

    /// Wraps a tower layer around each run. The first one that is added is the outermost. One that
    /// panics fails the run that it is around.
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

    /// Works until the process is asked to end by SIGTERM, ctrl-c, SIGQUIT or SIGHUP (a terminal
    /// that is closed; the last two unless they are ignored, as below `nohup`), the server asks for
    /// it, or it is time to recycle; then ends as a deploy wants it: it takes nothing more,
    /// interrupts iterations, waits up to the grace, gives back the rest. A server that is not
    /// there is waited for; one that refuses the worker ends it.
    pub async fn run(self) -> Result<Stopped, WorkerError> {
        let signal = stop_signal()?;
        self.run_until(signal).await
    }

    /// The same, with a future of your own instead of the signals. Where the returned future is
    /// dropped, that is as if the process were killed: runs are dropped where they are, and their
    /// leases are lost once the server has waited for this worker in vain.
    pub async fn run_until(
        self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Stopped, WorkerError> {
        let mut plan = self.plan;
        (plan.kinds, plan.versions) = self.handlers.kinds();
        if plan.kinds.is_empty() && plan.versions.is_empty() {
            return Err(WorkerError::NoTypes);
        }
        if let Some((kind, first, second)) = self.handlers.twice {
            return Err(WorkerError::KindTwice { kind: kind.to_owned(), first, second });
        }
        plan.wishes = self.wishes;
        if plan.wishes.is_empty() {
            for (_, queue) in &self.kinds {
                if !plan.wishes.iter().any(|wish| wish.queue == *queue) {
                    plan.wishes.push(Wish { queue: queue.clone(), weight: 0, limit: None });
                }
            }
        }
        plan.served = self.kinds;
        let mut service = self.handlers.into_service();
        for wrap in self.layers.into_iter().rev() {
            service = wrap(service);
        }
        // Boxed, so that those who await a worker do not carry all of its state.
        Box::pin(supervise::supervise(&self.client, plan, service, shutdown)).await
    }
}

impl Plan {
    fn new() -> Self {
        Self {
            name: supervise::host(),
            labels: HashMap::new(),
            kinds: Vec::new(),
            versions: Vec::new(),
            served: Vec::new(),
            wishes: Vec::new(),
            concurrency: 16,
            prefetch: Prefetch::Adaptive,
            lease: None,
            grace: Duration::from_secs(25),
            jobs_max: None,
            bytes_max: None,
        }
    }
}
