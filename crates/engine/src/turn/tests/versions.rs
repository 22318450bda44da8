//! Versions of kinds: who is handed which, what is told of each, and that switches over a kind are
//! over all its versions.

use super::*;
use crate::gate::GateChange;
use crate::kind::{KindAnswer, KindCommand, KindInQueue, KindRange, KindView};
use crate::limit::{LimitRule, LimitScope, LimitSettings};
use crate::{GateClosed, GateCommand};

fn versioned(n: u8, version: u32) -> NewJob {
    NewJob { version, ..job(n) }
}

fn range(from: u32, to: u32) -> KindRange {
    KindRange { kind: "k".to_owned(), from, to }
}

impl Shard {
    fn lease_of(&mut self, kinds: Option<Vec<KindRange>>) -> Vec<Delivery> {
        let wish = LeaseJobs { kinds, max: 9, ..wish() };
        match self.call(Command::LeaseJobs(Box::new(wish))) {
            Answer::Leased { jobs, .. } => jobs,
            other => panic!("{other:?}"),
        }
    }

    fn kinds(&mut self, command: KindCommand) -> Vec<KindView> {
        match self.call(Command::Kinds(command)) {
            Answer::Kinds(KindAnswer::Kinds(kinds, false)) => kinds,
            Answer::Kinds(KindAnswer::Kind(kind)) => kind.versions,
            other => panic!("{other:?}"),
        }
    }

    /// Version, waiting and running of each of the kind.
    fn counts(&mut self) -> Vec<(u32, u64, u64)> {
        let kinds = self.kinds(KindCommand::Get { name: "k".to_owned() });
        kinds.iter().map(|kind| (kind.version, kind.waiting, kind.running)).collect()
    }

    fn unserved(&mut self, version: u32) -> bool {
        let (queue, kind) = ("q".to_owned(), "k".to_owned());
        let of = vec![KindInQueue { queue, kind, version }];
        match self.call(Command::Kinds(KindCommand::Unserved { of })) {
            Answer::Kinds(KindAnswer::Unserved(unserved)) => unserved[0],
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn versions_are_handed_only_to_those_who_run_them() {
    let mut shard = Shard::new();
    for version in 0..5 {
        shard.enqueue(versioned(version as u8, version));
    }
    let jobs = shard.lease_of(Some(vec![range(2, 3)]));
    assert_eq!(ids(&jobs), [2, 3]);
    assert_eq!(jobs[1].version, 3, "a worker sees which it is");
    assert_eq!(ids(&shard.lease_of(Some(vec!["k".into()]))), [0], "no range: those without one");
    assert_eq!(ids(&shard.lease_of(Some(vec![range(0, 1)]))), [1], "0 stands for none");
    assert_eq!(ids(&shard.lease_of(None)), [4], "who names no kinds runs every version");
}

#[test]
fn ranges_upside_down_and_too_many_are_refused() {
    let mut shard = Shard::new();
    let many = (0..17).map(|n| range(2 * n + 1, 2 * n + 1)).collect();
    for kinds in [vec![range(2, 1)], many] {
        let wish = LeaseJobs { kinds: Some(kinds), ..wish() };
        let answer = shard.call(Command::LeaseJobs(Box::new(wish)));
        let refused = |it: &Answer| {
            matches!(it, Answer::Rejected(Rejection::ValueRefused { field: "versions", .. }))
        };
        assert!(refused(&answer), "{answer:?}");
    }
}

#[test]
fn a_failed_job_and_a_snoozed_one_keep_their_version() {
    let mut shard = Shard::new();
    shard.enqueue(versioned(1, 2));
    let job = shard.lease_of(Some(vec![range(2, 2)])).remove(0);
    shard.settle(&job, fail()).unwrap();
    shard.advance(100);
    assert!(shard.lease_of(Some(vec![range(1, 1)])).is_empty());
    assert_eq!(ids(&shard.lease_of(Some(vec![range(2, 2)]))), [1]);
}

#[test]
fn what_waits_and_runs_of_each_version_is_counted() {
    let mut shard = Shard::new();
    shard.enqueue(versioned(1, 1));
    shard.enqueue(versioned(2, 2));
    shard.enqueue(NewJob { ordering_key: Some("o".into()), ..versioned(3, 2) });
    shard.enqueue(NewJob { ordering_key: Some("o".into()), ..versioned(4, 2) });
    shard.enqueue(NewJob { start: Some(Start::After(1000)), ..versioned(5, 2) });
    assert_eq!(shard.counts(), [(1, 1, 0), (2, 4, 0)]);
    let jobs = shard.lease_of(Some(vec![range(2, 2)]));
    assert_eq!(ids(&jobs), [2, 3], "4 waits behind 3, 5 for its time");
    assert_eq!(shard.counts(), [(1, 1, 0), (2, 2, 2)]);
    shard.settle(&jobs[0], ack()).unwrap();
    let mut shard = shard.restart();
    assert_eq!(shard.counts(), [(1, 1, 0), (2, 2, 1)], "as before a restart");
    shard.settle(&jobs[1], fail()).unwrap();
    assert_eq!(shard.counts(), [(1, 1, 0), (2, 3, 0)]);
    let kinds = shard.kinds(KindCommand::List { after: Some(("k".to_owned(), 1)), limit: 9 });
    assert_eq!(kinds.len(), 1, "a list goes on after what was seen");
}

#[test]
fn what_no_worker_runs_is_told() {
    let mut shard = Shard::new();
    shard.enqueue(versioned(1, 3));
    assert!(shard.unserved(3) && shard.unserved(0));
    shard.lease_of(Some(vec![range(1, 2)]));
    assert!(shard.unserved(3) && !shard.unserved(2));
    let told = shard.kinds(KindCommand::Get { name: "k".to_owned() });
    assert_eq!((told[0].consumers, told[0].workers.len()), (Some(0), 0));
    shard.lease_of(Some(vec![range(2, 3)]));
    assert!(!shard.unserved(3) && shard.unserved(1), "the worker asks for something else now");
    let told = shard.kinds(KindCommand::Get { name: "k".to_owned() });
    assert_eq!((told[0].consumers, &told[0].workers[..]), (Some(1), &["w".to_owned()][..]));
}

#[test]
fn a_version_that_comes_while_its_kind_is_shut_waits_too() {
    let mut shard = Shard::new();
    shard.enqueue(versioned(1, 1));
    let closed = Some(GateClosed { closed: true, ..GateClosed::default() });
    let change = GateChange { closed, queues: None, kinds: Some(vec!["k".into()]) };
    let gate = GateCommand::Change { name: "g".to_owned(), change };
    shard.call(Command::Gates(gate));
    shard.enqueue(versioned(2, 2));
    assert!(shard.lease_of(None).is_empty() && shard.lease_of(Some(vec![range(0, 9)])).is_empty());
    shard.call(Command::Gates(GateCommand::Delete { name: "g".to_owned() }));
    assert_eq!(ids(&shard.lease_of(Some(vec![range(0, 9)]))), [1, 2]);
}

#[test]
fn a_limit_of_a_kind_counts_all_its_versions() {
    let mut shard = Shard::new();
    let rule = LimitRule::Concurrency { max: 1 };
    let settings = LimitSettings { scope: LimitScope::Kind { name: Some("k".to_owned()) }, rule };
    shard.call(Command::PutLimit { name: "l".to_owned(), settings });
    shard.enqueue(versioned(1, 1));
    let jobs = shard.lease_of(None);
    assert_eq!(ids(&jobs), [1]);
    shard.enqueue(versioned(2, 2));
    assert!(shard.lease_of(None).is_empty() && shard.lease_of(Some(vec![range(2, 2)])).is_empty());
    shard.settle(&jobs[0], ack()).unwrap();
    assert_eq!(ids(&shard.lease_of(Some(vec![range(2, 2)]))), [2]);
}

#[test]
fn a_kind_has_a_bounded_number_of_versions() {
    let mut shard = Shard::new();
    shard.turn.state.limits.kinds_max = crate::limits::Cap { shard: 5000, namespace: 5000 };
    for version in 0..1000 {
        let id = JobId([[1; 8], u64::from(version).to_be_bytes()].concat().try_into().unwrap());
        let named = NewJob { id, ..versioned(0, version) };
        shard.enqueue(named);
    }
    let jobs = vec![versioned(7, 1000)];
    let queue = "q".to_owned();
    match shard.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs })) {
        Answer::Rejected(Rejection::TooManyVersions { kind, limit: 1000 }) => assert_eq!(kind, "k"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn ranges_that_overlap_hand_out_each_version_once() {
    let mut shard = Shard::new();
    for version in 0..4 {
        shard.enqueue(versioned(version as u8, version));
    }
    let jobs = shard.lease_of(Some(vec![range(2, 3), range(0, 2), "k".into(), range(1, 3)]));
    assert_eq!(ids(&jobs), [0, 1, 2, 3]);
}
