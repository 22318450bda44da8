//! Black-box tests: real processes, kills, faults of the disk. This library has what they share: a
//! small HTTP client, a server as a process, clients that keep histories, and the verdict over
//! those. It knows nothing of the insides of what it tests; it speaks HTTP and reads exit codes.
//! Only `enumeration` and `fixture` open stores themselves.

pub mod amqp;
pub mod enumeration;
pub mod events;
pub mod faults;
pub mod fixture;
pub mod fleet;
pub mod history;
pub mod http;
pub mod judge;
pub mod kafka;
pub mod once;
pub mod postgres;
pub mod producer;
pub mod python;
pub mod random;
pub mod sdk;
pub mod server;
pub mod skip;
pub mod storm;
pub mod tier;
pub mod tls;
pub mod wait;
pub mod worker;
