//! The worker of the SDK: one sort of job that is dropped at the end of the grace, one that
//! computes on a thread, and an iteration.

use std::time::Duration;

use anyhow::Result;
use longshore::{
    Client, Context, Enumerator, Iteration, Job, JobError, JobResult, Outcome, Perform,
    PerformBlocking, Worker,
};
use serde::{Deserialize, Serialize};

use super::{Errand, LEASE_MS, Starts};

/// The same as an errand on a thread of its own.
#[derive(Clone, Debug, Deserialize, Job, Serialize)]
pub struct Computation {
    /// How long it takes.
    pub ms: u64,
}

/// The same in steps.
#[derive(Clone, Debug, Deserialize, Job, Serialize)]
pub struct Walk {
    /// How long it takes.
    pub ms: u64,
}

impl Perform<Starts> for Errand {
    async fn perform(self, ctx: Context<Starts>) -> JobResult {
        ctx.state().note(ctx.id())?;
        tokio::time::sleep(Duration::from_millis(self.ms)).await;
        if self.fails { Err(JobError::new("Oops", "told to fail")) } else { Ok(Outcome::DONE) }
    }
}

impl PerformBlocking<Starts> for Computation {
    fn perform(self, ctx: Context<Starts>) -> JobResult {
        ctx.state().note(ctx.id())?;
        std::thread::sleep(Duration::from_millis(self.ms));
        Ok(Outcome::DONE)
    }
}

impl Iteration<Starts> for Walk {
    type Item = u64;
    type Cursor = u64;

    async fn enumerate(
        &self,
        cursor: Option<u64>,
        ctx: &Context<Starts>,
    ) -> Result<Enumerator<u64, u64>, JobError> {
        ctx.state().note(ctx.id())?;
        Ok(Enumerator::range(0..self.ms, cursor))
    }

    async fn each(&self, _: &u64, _: &Context<Starts>) -> Result<(), JobError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }
}

/// Works until the process is told to end.
pub async fn work(url: &str, name: &str, starts: Starts) -> Result<()> {
    Worker::new(&Client::new(url)?, starts)
        .register::<Errand>()
        .register_blocking::<Computation>()
        .register_iteration::<Walk>()
        .queues(["sdk"])
        .name(name)
        .concurrency(2)
        .lease(Duration::from_millis(LEASE_MS))
        .grace(Duration::from_millis(50))
        .run()
        .await?;
    Ok(())
}
