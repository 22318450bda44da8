//! Messages against what their clients know: random commands, crashes that lose what was not yet
//! durable, and a naive account of what was promised. What is confirmed is never lost, what is
//! acked never comes again, nobody has what another one has, each queue keeps its order, and who
//! may have got a message before is told. A flushed image and the journal give the same state.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod account;
#[path = "../model/random.rs"]
#[expect(dead_code, reason = "the model of jobs draws in more ways")]
mod random;
mod shard;
mod transactions;
mod walk;

use walk::{Fault, Walk};

const SEEDS: u64 = 300;
const STEPS: usize = 160;

#[test]
fn messages_keep_their_promises_across_crashes() {
    for seed in 0..SEEDS {
        Walk::new(seed, None).run(STEPS).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
    }
}

/// The net holds: each of these faults is caught within a hundred seeds.
#[test]
fn what_breaks_a_promise_is_caught() {
    for fault in [
        Fault::AnswersBeforeCommit,
        Fault::LosesAcks,
        Fault::SkipsReplay,
        Fault::SplitsTransactions,
    ] {
        let caught = (0..100).any(|seed| Walk::new(seed, Some(fault)).run(STEPS).is_err());
        assert!(caught, "{fault:?}");
    }
}
