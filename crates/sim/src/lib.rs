//! The simulator: one shard of Longshore in a world where everything goes wrong that may, decided
//! by a seed. The engine and the journal are the real ones; clock, disk, network, clients and the
//! thread that drives the shard's turn are simulated. The same seed gives the same run.
//!
//! Where to begin: [`run`] runs one seed; `simulation` chooses what happens next, `node` drives
//! the turn as the server does, `workload` holds the clients, what they were told, and what must
//! be true of it. A [`Canary`] is a fault put in on purpose, which must be noticed.

mod canary;
mod clock;
mod faults;
mod ledger;
mod map;
mod network;
mod node;
mod random;
mod rest;
mod simulation;
mod store;
mod trace;
mod workload;

pub use canary::Canary;
pub use simulation::{Config, Failure, Summary, run};
pub use workload::oracle::Verdict;
