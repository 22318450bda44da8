//! How an iteration goes on, when it stops, and what it does with items that fail.

use std::time::Duration;

/// When the cursor is handed over, and whether an item waits for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checkpoints {
    /// After each item, without waiting: one is under way at a time, then the latest follows. A
    /// worker that is killed costs the items since the last one that arrived: those of a few
    /// milliseconds.
    #[default]
    Latest,
    /// The same, and every so many items the run waits until its cursor is on disk: a worker that
    /// is killed costs at most so many.
    WaitEvery(u64),
}

impl Checkpoints {
    /// Each item waits until its cursor is on disk.
    pub const EACH: Self = Self::WaitEvery(1);
}

/// What becomes of an item that fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnItemError {
    /// The run fails. The job's next attempt begins with this item.
    #[default]
    Fail,
    /// The item is tried `retries` times more, `delay` apart. Then the run goes on without it;
    /// the job's list of skipped items tells where it stands and what was wrong.
    Skip {
        /// How often it is tried again.
        retries: u32,
        /// How long to wait before each.
        delay: Duration,
    },
}

/// How an iteration behaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IterationSettings {
    /// How long one run may go on before it makes room for others and is continued later.
    pub max_runtime: Option<Duration>,
    /// When the cursor is handed over.
    pub checkpoints: Checkpoints,
    /// What becomes of an item that fails.
    pub on_item_error: OnItemError,
}

impl IterationSettings {
    /// No bound on a run, no waiting, a failing item fails the run.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long one run may go on before it makes room for others and is continued later.
    #[must_use]
    pub fn max_runtime(mut self, span: Duration) -> Self {
        self.max_runtime = Some(span);
        self
    }

    /// When the cursor is handed over.
    #[must_use]
    pub fn checkpoints(mut self, checkpoints: Checkpoints) -> Self {
        self.checkpoints = checkpoints;
        self
    }

    /// Skips an item that has failed so often again.
    #[must_use]
    pub fn skip_after(mut self, retries: u32, delay: Duration) -> Self {
        self.on_item_error = OnItemError::Skip { retries, delay };
        self
    }
}
