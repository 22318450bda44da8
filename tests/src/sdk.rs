//! Jobs for a worker of the Rust SDK in a process of its own. What they do is seen in a folder:
//! `NAME.began` once one has begun, and some go on until there is `NAME.gate`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use longshore::{
    Context, Enumerator, Iteration, Job, JobError, JobResult, Outcome, Perform, PerformBlocking,
};
use serde::{Deserialize, Serialize};

/// What the jobs share: memory that one of them takes for good.
#[derive(Debug, Default)]
pub struct Taken(Mutex<Vec<Vec<u8>>>);

/// Items of a millisecond each.
#[derive(Debug, Deserialize, Job, Serialize)]
pub struct Items {
    /// How many.
    pub up_to: u64,
    /// Where it shows.
    pub folder: PathBuf,
}

/// Runs until its gate is open, however long that takes.
#[derive(Debug, Deserialize, Job, Serialize)]
pub struct Patient {
    /// Where it shows.
    pub folder: PathBuf,
}

/// The same on a thread of its own: nothing stops it.
#[derive(Debug, Deserialize, Job, Serialize)]
pub struct Stubborn {
    /// Where it shows.
    pub folder: PathBuf,
}

/// Takes memory and keeps it.
#[derive(Debug, Deserialize, Job, Serialize)]
pub struct Hoard {
    /// How much.
    pub bytes: usize,
}

fn show(folder: &Path, name: &str) -> Result<(), JobError> {
    Ok(fs::write(folder.join(format!("{name}.began")), "")?)
}

impl Iteration<Taken> for Items {
    type Item = u64;
    type Cursor = u64;

    async fn enumerate(
        &self,
        cursor: Option<u64>,
        _: &Context<Taken>,
    ) -> Result<Enumerator<u64, u64>, JobError> {
        Ok(Enumerator::range(0..self.up_to, cursor))
    }

    async fn each(&self, _: &u64, _: &Context<Taken>) -> Result<(), JobError> {
        show(&self.folder, "items")?;
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok(())
    }
}

impl Perform<Taken> for Patient {
    async fn perform(self, _: Context<Taken>) -> JobResult {
        show(&self.folder, "patient")?;
        while !self.folder.join("patient.gate").exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(Outcome::DONE)
    }
}

impl PerformBlocking<Taken> for Stubborn {
    fn perform(self, _: Context<Taken>) -> JobResult {
        show(&self.folder, "stubborn")?;
        loop {
            std::thread::park();
        }
    }
}

impl Perform<Taken> for Hoard {
    async fn perform(self, ctx: Context<Taken>) -> JobResult {
        let mut taken = ctx.state().0.lock().map_err(|error| JobError::msg(error.to_string()))?;
        taken.push(vec![1; self.bytes]);
        Ok(Outcome::DONE)
    }
}
