//! Background jobs in Rust, on a Longshore server.
//!
//! See `docs/rust.md` for a guide.

mod backoff;
mod client;
mod context;
mod delivery;
mod enumerators;
mod error;
mod iteration;
mod job;
pub mod layers;
mod mailbox;
mod options;
mod outbox;
mod outcome;
mod panics;
mod perform;
mod run;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub mod sql;
pub mod testing;
mod worker;

pub use client::{
    Change, Client, ClientBuilder, ClientError, Ended, Enqueue, EnqueueAll, EnqueueCall,
    EnqueueService, Enqueued, JobHandle, JobRecord, JobState, Jobs, Refusal, Resume, SkippedItem,
    StreamedBatch,
};
pub use context::Context;
pub use delivery::Delivery;
pub use enumerators::Line;
pub use error::JobError;
pub use iteration::{
    Checkpoints, Enumerator, ItemToRun, Iteration, IterationSettings, OnItemError,
};
pub use job::{Job, JobResult, Perform, PerformBlocking};
pub use longshore_derive::Job;
pub use options::{JobOptions, RetryPolicy};
pub use outcome::{FollowUp, JobEnd, Outcome};
pub use perform::{JobCall, JobService};
pub use run::StopReason;
pub use worker::{Prefetch, Stopped, Worker, WorkerError};

/// Lets the crate's own tests derive as its users do.
extern crate self as longshore;
