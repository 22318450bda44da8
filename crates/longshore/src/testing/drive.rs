//! Drives an iteration as a server would: item by item, with interruptions where the test wants.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use longshore_proto::v1::settlement::Verdict;
use serde_json::Value;

use super::inline::new_job;
use super::{Inline, Ran};
use crate::delivery::Delivery;
use crate::iteration::Iteration;
use crate::outbox::Outbox;
use crate::run::Run;
use crate::{JobError, JobOptions};

/// Drives one iteration through as many runs as the test wants.
///
/// ```
/// # use longshore::{Context, Enumerator, Iteration, Job, JobError};
/// # use longshore::testing::{Drive, Step};
/// # #[derive(Job, serde::Serialize, serde::Deserialize)]
/// # struct Count;
/// # impl Iteration<()> for Count {
/// #     type Item = u64;
/// #     type Cursor = u64;
/// #     async fn enumerate(&self, cursor: Option<u64>, _: &Context<()>)
/// #         -> Result<Enumerator<u64, u64>, JobError> { Ok(Enumerator::range(0..10, cursor)) }
/// #     async fn each(&self, _: &u64, _: &Context<()>) -> Result<(), JobError> { Ok(()) }
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let mut drive = Drive::new(Count, ());
/// assert_eq!(drive.items(3).await, Step::Interrupted("test".into()));
/// assert_eq!(drive.cursor(), Some(&serde_json::json!(2)));
/// // A worker that is killed: the next run goes on from the cursor.
/// assert_eq!(drive.to_the_end().await, Step::Done);
/// assert_eq!(drive.counter("items"), 10);
/// # });
/// ```
#[derive(Debug)]
pub struct Drive<S> {
    inline: Inline<S>,
    delivery: Delivery,
    /// What the job's runs told, as a server would know it.
    cursor: Option<Value>,
    skipped: Vec<JobError>,
    last: Option<Ran>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The job is done.
    Done,
    /// It was interrupted, for this reason, and can go on.
    Interrupted(String),
    /// It failed, and a further attempt goes on from the cursor.
    Failed(JobError),
    /// Anything else: a word for it.
    Other(&'static str),
}

impl<S: Send + Sync + 'static> Drive<S> {
    /// An iteration that has not begun.
    pub fn new<J: Iteration<S>>(job: J, state: S) -> Self {
        Self::with(job, state, JobOptions::new())
    }

    /// The same with options, such as a cursor where it begins.
    #[expect(clippy::needless_pass_by_value, reason = "a job that was handed over is gone")]
    pub fn with<J: Iteration<S>>(job: J, state: S, options: JobOptions) -> Self {
        let inline = Inline::new(state).register_iteration::<J>();
        let delivery = Delivery::first_of(&new_job(&job, options));
        let cursor = serde_json::from_slice(&delivery.cursor).ok();
        Self { inline, delivery, cursor, skipped: Vec::new(), last: None }
    }

    /// Runs so many items and interrupts the run behind the last of them.
    pub async fn items(&mut self, items: u64) -> Step {
        self.run(items, None).await
    }

    /// A run that is asked to interrupt itself from the beginning, for a reason.
    pub async fn interrupted(&mut self, reason: &str) -> Step {
        self.run(0, Some(reason)).await
    }

    /// Runs until the run ends by itself: at the end, with an error, or at its maximal runtime.
    pub async fn to_the_end(&mut self) -> Step {
        self.run(0, None).await
    }

    /// What the job shares with the application.
    pub fn state(&self) -> &S {
        self.inline.state()
    }

    /// Where the next run begins: a cursor of the job.
    pub fn cursor(&self) -> Option<&Value> {
        self.cursor.as_ref()
    }

    /// Lets the next run begin elsewhere.
    pub fn set_cursor(&mut self, cursor: Option<Value>) {
        self.cursor = cursor;
    }

    /// What its runs have counted.
    pub fn counter(&self, name: &str) -> i64 {
        self.delivery.counters.get(name).copied().unwrap_or(0)
    }

    /// The errors of items that were given up on.
    pub fn skipped(&self) -> &[JobError] {
        &self.skipped
    }

    /// The last run.
    pub fn last(&self) -> Option<&Ran> {
        self.last.as_ref()
    }

    async fn run(&mut self, items: u64, interrupt: Option<&str>) -> Step {
        self.delivery.cursor =
            self.cursor.as_ref().map(|it| it.to_string().into()).unwrap_or_default();
        let run = Run::new(self.delivery.clone(), Arc::new(Outbox::inline()));
        run.items_left.store(items, Ordering::Relaxed);
        if let Some(reason) = interrupt {
            run.interrupt(reason);
        }
        let ran = self.inline.deliver(&run).await;
        for checkpoint in ran.checkpoints() {
            if !checkpoint.cursor.is_empty() {
                self.cursor = serde_json::from_slice(&checkpoint.cursor).ok();
            }
            for (name, by) in &checkpoint.counters {
                *self.delivery.counters.entry(name.clone()).or_default() += by;
            }
        }
        self.skipped.extend(ran.skipped());
        let step = match ran.verdict() {
            Verdict::Ack(_) => Step::Done,
            Verdict::Interrupted(it) => {
                self.delivery.interruptions += 1;
                Step::Interrupted(it.reason.clone())
            }
            Verdict::Fail(_) => {
                self.delivery.attempt += 1;
                Step::Failed(ran.error().unwrap_or_else(|| JobError::msg("it failed")))
            }
            _ => Step::Other(ran.ended()),
        };
        self.last = Some(ran);
        step
    }
}
