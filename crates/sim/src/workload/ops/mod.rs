//! One module per operation: what is asked, what trying it may have done, and what its answer
//! says.

pub(crate) mod admin;
pub(crate) mod checkpoint;
pub(crate) mod enqueue;
pub(crate) mod heartbeat;
pub(crate) mod lease;
pub(crate) mod operation;
pub(crate) mod schedule;
pub(crate) mod session;
pub(crate) mod settle;
