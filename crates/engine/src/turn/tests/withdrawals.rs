//! Jobs that are withdrawn: as if they had not been enqueued, or not at all.

use super::*;
use crate::Entry;
use crate::record::{Record, Upkeep};
use crate::wire::Wire;

fn chosen(n: u8) -> NewJob {
    NewJob { fingerprint: Some([n; 16]), ordering_key: Some("key".to_owned()), ..job(n) }
}

fn withdraw(shard: &mut Shard, n: u8) -> Answer {
    shard.call(Command::WithdrawJob { id: id(n) })
}

#[test]
fn a_job_that_nobody_had_is_as_if_it_had_not_been_enqueued() {
    let mut shard = Shard::new();
    (1..=2).for_each(|n| drop(shard.enqueue(chosen(n))));
    let waits = shard.send(Command::AwaitJob { id: id(1), wait_ms: 10_000 });
    assert!(matches!(withdraw(&mut shard, 1), Answer::JobWithdrawn));
    shard.advance(1);
    assert!(matches!(
        shard.answers.remove(&waits),
        Some(Answer::Rejected(Rejection::JobUnknown { .. }))
    ));
    let mut shard = shard.restart();
    assert!(matches!(withdraw(&mut shard, 1), Answer::Rejected(Rejection::JobUnknown { .. })));
    // What was behind it comes forward, and its id is free.
    assert_eq!(ids(&shard.lease(9)), [2]);
    match shard.enqueue(NewJob { fingerprint: Some([9; 16]), ..job(1) }) {
        Answer::Enqueued(all) => assert!(!all[0].replayed),
        other => panic!("{other:?}"),
    }
    assert_eq!(shard.state(id(1)), Some(JobState::Ready));
}

#[test]
fn a_job_that_a_worker_has_or_had_stays() {
    let mut shard = Shard::new();
    shard.enqueue(chosen(1));
    let jobs = shard.lease(1);
    assert!(matches!(withdraw(&mut shard, 1), Answer::Job(_)));
    shard.settle(&jobs[0], Verdict::Release).unwrap();
    assert_eq!(shard.state(id(1)), Some(JobState::Ready));
    assert!(matches!(withdraw(&mut shard, 1), Answer::Job(_)), "it may have begun");
    let jobs = shard.lease(1);
    shard.settle(&jobs[0], ack()).unwrap();
    match withdraw(&mut shard, 1) {
        Answer::Job(view) => assert_eq!(view.state(), JobState::Succeeded),
        other => panic!("{other:?}"),
    }
}

/// Somebody who posted the same id without an expectation was told that it is accepted: it was
/// withdrawn all the same when the time of the other one was over.
#[test]
fn a_job_that_others_were_told_of_stays() {
    let mut shard = Shard::new();
    (1..=2).for_each(|n| drop(shard.enqueue(chosen(n))));
    match shard.enqueue(chosen(1)) {
        Answer::Enqueued(all) => assert!(all[0].replayed),
        other => panic!("{other:?}"),
    }
    let records = |shard: &Shard| shard.journal.iter().filter(|entry| tells(entry)).count();
    assert_eq!(records(&shard), 1);
    shard.enqueue(chosen(1));
    assert_eq!(records(&shard), 1, "it is noted once");
    let mut shard = shard.restart();
    assert!(matches!(withdraw(&mut shard, 1), Answer::Job(_)));
    assert_eq!(shard.state(id(1)), Some(JobState::Ready));
    assert!(matches!(withdraw(&mut shard, 2), Answer::JobWithdrawn));
}

fn tells(entry: &Bytes) -> bool {
    let entry = Entry::from_bytes(entry).unwrap();
    entry.records.iter().any(|record| match record {
        Record::Upkeep { fact } => matches!(**fact, Upkeep::JobTold { .. }),
        _ => false,
    })
}
