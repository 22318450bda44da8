//! Background jobs in Rust, on a Longshore server.
//!
//! # A job runs at least once
//!
//! This comes first, because it shapes how a job is written. A job that was accepted is not lost:
//! it stays until a worker has said that it is done. A worker can die after the work and before
//! that word, and then the job runs again. So write each job so that a second run does no harm:
//!
//! - Do what leads to the same end however often it is done: set a value instead of adding to
//!   one, write to a name that follows from the job, rename a finished file into place.
//! - Where that cannot be, remember what is done under [`Context::id`], which is the same in every
//!   run: in the same transaction as the work, or as the idempotency key of a service that is
//!   called.
//! - Fence what must not be done by two at once with [`Delivery::token`], which is new with each
//!   delivery.
//! - What must rather not happen than happen twice is `at_most_once`.
//!
//! # A job, a worker, a client
//!
//! A job is a plain serde type; what runs it is an implementation of [`Perform`]. Tests need no
//! server:
//!
//! ```
//! use std::collections::HashSet;
//! use std::sync::Mutex;
//!
//! use longshore::testing::Inline;
//! use longshore::{Context, Job, JobResult, Outcome, Perform};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Job, Serialize, Deserialize)]
//! #[job(queue = "billing", timeout = "30s", retry(base = "5s", cap = "10m"))]
//! struct SendInvoice {
//!     order: u64,
//! }
//!
//! /// What the application shares with its jobs.
//! #[derive(Default)]
//! struct App {
//!     sent: Mutex<HashSet<u64>>,
//! }
//!
//! impl Perform<App> for SendInvoice {
//!     async fn perform(self, ctx: Context<App>) -> JobResult {
//!         // In a real application: a table with a unique key.
//!         let is_first = ctx.state().sent.lock().expect("not poisoned").insert(self.order);
//!         if is_first {
//!             // ... send it ...
//!         }
//!         Ok(Outcome::DONE)
//!     }
//! }
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let mut jobs = Inline::new(App::default()).register::<SendInvoice>();
//! for _ in 0..2 {
//!     assert!(jobs.run(SendInvoice { order: 7 }).await.is_done());
//! }
//! assert_eq!(jobs.state().sent.lock().unwrap().len(), 1);
//! # });
//! ```
//!
//! In production a [`Client`] hands jobs over and a [`Worker`] runs them:
//!
//! ```no_run
//! # use longshore::{Client, Context, Job, JobResult, Outcome, Perform, Worker};
//! # #[derive(Job, serde::Serialize, serde::Deserialize)]
//! # struct SendInvoice { order: u64 }
//! # struct App;
//! # impl Perform<App> for SendInvoice {
//! #     async fn perform(self, _: Context<App>) -> JobResult { Ok(Outcome::DONE) }
//! # }
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new("http://127.0.0.1:7077")?;
//! client.enqueue(SendInvoice { order: 7 }).await?;
//! Worker::new(&client, App).register::<SendInvoice>().run().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # How a run ends
//!
//! [`Outcome`] has the ways: done, with a result and the address of what was made; again after a
//! delay; later, without using an attempt; called off. An error fails the attempt, and so does a
//! panic, which is caught and told with its place.
//!
//! # One after the other
//!
//! [`Context::follow_up`] enqueues the next job in the same commit that ends this one: no step is
//! lost, none is doubled.
//!
//! # Long jobs
//!
//! An [`Iteration`] is split into a collection and the work for one item. Deploys and crashes
//! interrupt it, and it goes on where it was; that uses no attempt.
//!
//! # More
//!
//! - [`testing`]: what was enqueued, iterations item by item, a server in the test's process.
//! - [`streams`]: events in the order in which they happened, appended and read as a group.
//! - [`layers`]: logging, metrics, tracing and your own, on both sides.
//! - `web` (feature `axum`): `202 Accepted` and a status resource in your own API.
//! - `sql` (features `postgres`, `sqlite`): iterate over tables.

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
pub mod streams;
pub mod testing;
mod unique;
#[cfg(feature = "axum")]
pub mod web;
mod worker;

pub use client::{
    BatchOutcome, Change, Client, ClientBuilder, ClientError, Ended, Enqueue, EnqueueAll,
    EnqueueCall, EnqueueService, Enqueued, Gate, Hold, JobHandle, JobRecord, JobState, Jobs, Kind,
    KindVersion, Limit, LimitSettings, Missed, Overlap, Refusal, Resume, Schedule, ScheduleRecord,
    SkippedItem, Sla, SlaSettings, Start, StreamedBatch, UnansweredBatch,
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
pub use unique::{Unique, UniqueUntil};
pub use worker::{Prefetch, Stopped, Worker, WorkerError};

/// The examples of the guides are compiled, and run where they can be, as they stand there.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/rust.md")]
#[doc = include_str!("../../../docs/limits.md")]
#[doc = include_str!("../../../docs/unique.md")]
#[doc = include_str!("../../../docs/tenants.md")]
struct Guide;

/// Lets the crate's own tests derive as its users do.
extern crate self as longshore;
