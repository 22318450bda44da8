//! The simulator: one shard of Longshore in a world where everything goes wrong that may, decided
//! by a seed. The engine, its driver and the journal are those that ship; clock, disk, network,
//! clients and threads are simulated. The same seed gives the same run, whether images of a map
//! keep the state or, slower, the tree that ships on real files.
//!
//! Where to begin: [`run`] runs one seed; `simulation` chooses what happens next, `node` does for
//! the driver what the server's threads do, `workload` holds the clients, what they were told, and
//! what must be true of it. A [`Canary`] is a fault put in on purpose, which must be noticed.

mod bounds;
mod canary;
mod clock;
mod faults;
mod folder;
mod ledger;
mod map;
mod messages;
mod network;
mod node;
mod random;
mod rest;
mod simulation;
mod store;
mod trace;
mod watch;
mod workload;

pub use canary::{CANARIES, Canary, TREE_CANARIES};
pub use folder::Keeper;
pub use simulation::{Config, Failure, Summary, run};
pub use workload::oracle::Verdict;
