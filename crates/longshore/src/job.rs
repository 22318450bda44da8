//! What a job is: a plain serde type with a name, and the code that runs it. It knows no server.

use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Context, JobError, JobOptions, Outcome};

/// What a run answers.
pub type JobResult<T = ()> = Result<Outcome<T>, JobError>;

/// A type of job: its fields are the arguments that travel from the producer to the worker.
///
/// Derive it:
///
/// ```
/// use longshore::Job;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Job, Serialize, Deserialize)]
/// #[job(kind = "welcome_email", queue = "mails", max_attempts = 10, timeout = "30s")]
/// struct WelcomeEmail {
///     user: u64,
/// }
///
/// assert_eq!(WelcomeEmail::KIND, "welcome_email");
/// ```
///
/// Attributes, all of which may be left out:
///
/// | attribute | meaning |
/// | --- | --- |
/// | `kind = "..."` | the name that travels; the type's name in snake case |
/// | `queue = "..."` | its queue; `default` |
/// | `output = Type` | what a run returns; `()` |
/// | `priority = 5` | 0 to 9, 9 first |
/// | `max_attempts = 10` | attempts in all |
/// | `timeout = "30s"`, `lease`, `ttl`, `max_age`, `retain` | spans: `ms`, `s`, `m`, `h`, `d` |
/// | `retry(constant = "30s")` | the same delay before each further attempt |
/// | `retry(base = "1s", factor = 2.0, cap = "10m", jitter = 0.2)` | a delay that grows |
/// | `at_most_once` | the first run is the last one |
/// | `ordering_key = EXPR` | an expression over `self`: jobs with equal keys run one at a time |
/// | `tags("a", "b")` | names to find jobs by |
/// | `version = 3` | the version of the type: its jobs go only to workers that run it |
/// | `runs_from = 2` | the oldest version whose jobs this code runs, too; 0: without one |
pub trait Job: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What a run returns where it is done.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// The name of the type on the wire. Do not change it while jobs of it wait.
    const KIND: &'static str;

    /// The queue that it goes to where the producer does not say.
    const QUEUE: &'static str = "default";

    /// The version of the type; 0 for none. Its jobs go only to workers that run it.
    const VERSION: u32 = 0;

    /// The oldest version whose jobs this code runs, too; 0 for those without one.
    const RUNS_FROM: u32 = Self::VERSION;

    /// How it is to run where the producer does not say.
    fn options(&self) -> JobOptions {
        JobOptions::default()
    }
}

/// The code of a job, as it runs in a worker that holds state of the type `S`.
///
/// A job runs at least once: a worker may die after the work and before that is known. Write it
/// so that a second run does no harm.
pub trait Perform<S>: Job {
    /// Runs it.
    fn perform(self, ctx: Context<S>) -> impl Future<Output = JobResult<Self::Output>> + Send;
}

/// The code of a job that computes or blocks: it runs on a thread of its own, so that it holds up
/// nothing else. It cannot be stopped from outside: ask [`Context::is_stopped`] now and then.
pub trait PerformBlocking<S>: Job {
    /// Runs it.
    fn perform(self, ctx: Context<S>) -> JobResult<Self::Output>;
}
