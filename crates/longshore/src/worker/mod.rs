//! Workers: processes that run jobs. A worker has lanes, each with a session of its own with the
//! server; slots in which jobs run; and a supervisor that starts and ends it all.

mod builder;
mod intake;
mod lanes;
mod memory;
mod notify;
mod prefetch;
mod served;
mod session;
mod settling;
mod signals;
pub(crate) mod slot;
mod supervise;

pub use builder::Worker;
pub use prefetch::Prefetch;
pub use supervise::{Stopped, WorkerError};

/// What a worker does at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Working,
    /// It takes nothing more and interrupts what can be interrupted, but stays.
    Quiet,
    /// It takes nothing more and interrupts what can be interrupted, for this reason.
    Stopping(&'static str),
    /// What still runs is dropped.
    Killing,
}

/// What a session tells the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The stream is open.
    Welcomed,
    /// The server asks the worker to take nothing more.
    QuietAsked,
    /// The server asks the worker to leave.
    TerminateAsked,
}
