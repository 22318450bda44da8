//! Tenants: inside a queue and urgency they take turns, whatever each of them has waiting.

use super::*;
use crate::limit::{JobLimit, LimitRule, LimitScope, LimitSettings};
use crate::tenant::TenantWeight;

fn of(n: u8, tenant: &str) -> NewJob {
    NewJob { tenant: Some(tenant.to_owned()), ..job(n) }
}

fn enqueue_all(shard: &mut Shard, jobs: &[(u8, &str)]) {
    for (n, tenant) in jobs {
        shard.enqueue(of(*n, tenant));
    }
}

fn weigh(shard: &mut Shard, weights: &[(&str, u32)]) -> Answer {
    let weight = |(tenant, weight): &(&str, u32)| TenantWeight {
        tenant: (*tenant).to_owned(),
        weight: *weight,
    };
    let tenants = weights.iter().map(weight).collect();
    let settings = QueueSettings { tenants, ..QueueSettings::DEFAULT };
    shard.call(Command::PutQueue { queue: "q".to_owned(), settings })
}

/// The order in which `count` jobs are handed out, one at a time.
fn one_by_one(shard: &mut Shard, count: usize) -> Vec<u8> {
    (0..count).flat_map(|_| ids(&shard.lease(1))).collect()
}

#[test]
fn a_tenants_backlog_delays_anothers_first_job_by_one() {
    let mut shard = Shard::new();
    for n in 1..=50 {
        shard.enqueue(of(n, "big"));
    }
    assert_eq!(one_by_one(&mut shard, 3), [1, 2, 3]);
    shard.advance(1_000);
    enqueue_all(&mut shard, &[(100, "small"), (101, "small"), (102, "late")]);
    // What is to be had at the same moment comes in the same order at once.
    assert_eq!(ids(&shard.lease(6)), [4, 100, 102, 5, 101, 6]);
    let mut shard = shard.restart();
    assert_eq!(one_by_one(&mut shard, 2), [7, 8]);
}

#[test]
fn a_tenant_with_a_weight_has_as_many_jobs_in_its_turn() {
    let mut shard = Shard::new();
    weigh(&mut shard, &[("a", 3), ("b", 1)]);
    for n in 1..=9 {
        shard.enqueue(of(n, "a"));
        shard.enqueue(of(n + 100, "b"));
    }
    // In its first turn each of a tenant's jobs has its own place.
    assert_eq!(one_by_one(&mut shard, 4), [1, 101, 2, 3]);
    assert_eq!(one_by_one(&mut shard, 4), [102, 4, 5, 6]);
    weigh(&mut shard, &[]);
    assert_eq!(one_by_one(&mut shard, 4), [103, 7, 104, 8]);
    assert!(matches!(weigh(&mut shard, &[("a", 0)]), Answer::Rejected(_)));
    assert!(matches!(weigh(&mut shard, &[("b", 1), ("a", 1)]), Answer::Rejected(_)));
}

#[test]
fn a_tenant_has_one_turn_however_many_kinds_it_runs() {
    let mut shard = Shard::new();
    for n in 1..=4 {
        for (kind, at) in [("x", 0), ("y", 20)] {
            shard.enqueue(NewJob { kind: kind.to_owned(), ..of(n + at, "many") });
        }
    }
    for n in 100..104 {
        shard.enqueue(of(n, "one"));
    }
    let order = one_by_one(&mut shard, 8);
    let of_one = |jobs: &[u8]| jobs.iter().filter(|n| **n >= 100).count();
    assert_eq!((of_one(&order[..4]), of_one(&order)), (2, 4), "{order:?}");
}

#[test]
fn what_is_more_urgent_or_not_due_yet_keeps_its_place() {
    let mut shard = Shard::new();
    let delayed = NewJob { start: Some(Start::After(5_000)), ..of(3, "a") };
    enqueue_all(&mut shard, &[(1, "a"), (2, "a")]);
    shard.enqueue(delayed);
    shard.enqueue(NewJob { priority: Some(9), ..of(4, "a") });
    shard.enqueue(NewJob { priority: Some(9), ..of(5, "a") });
    shard.enqueue(job(6));
    assert_eq!(ids(&shard.lease(9)), [4, 5, 1, 6, 2], "the urgent ones have turns of their own");
    assert!(shard.lease(9).is_empty());
    shard.advance(5_000);
    assert_eq!(ids(&shard.lease(9)), [3]);
}

#[test]
fn jobs_of_a_key_take_turns_and_hold_up_no_other_of_their_tenants() {
    let mut shard = Shard::new();
    let settings =
        LimitSettings { scope: LimitScope::Key, rule: LimitRule::Concurrency { max: 1 } };
    shard.call(Command::PutLimit { name: "api".to_owned(), settings });
    let keyed = |n, tenant, key: &str| {
        let limit = JobLimit { name: "api".to_owned(), key: key.to_owned() };
        NewJob { limit: Some(limit), ..of(n, tenant) }
    };
    for (n, tenant, key) in [(1, "a", "x"), (2, "a", "x"), (3, "a", "y"), (4, "b", "x")] {
        shard.enqueue(keyed(n, tenant, key));
    }
    shard.enqueue(of(5, "a"));
    let jobs = shard.lease(9);
    assert_eq!(ids(&jobs), [1, 3, 5], "of the key that one has, nobody gets a second");
    let mut shard = shard.restart();
    shard.settle(&jobs[0], ack()).unwrap();
    assert_eq!(ids(&shard.lease(9)), [4], "the other tenant's turn under the key");
}

#[test]
fn a_retry_keeps_its_tenant_and_waits_for_its_turn() {
    let mut shard = Shard::new();
    enqueue_all(&mut shard, &[(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "b")]);
    let first = shard.lease(1);
    shard.settle(&first[0], fail()).unwrap();
    shard.advance(60_000);
    assert_eq!(one_by_one(&mut shard, 5), [3, 2, 4, 1, 5]);
}

#[test]
fn nothing_is_kept_of_tenants_that_have_no_jobs() {
    let mut shard = Shard::new();
    let size = |shard: &Shard| shard.turn.map().entries().range(vec![190]..vec![194]).count();
    enqueue_all(&mut shard, &[(1, "a"), (2, "a"), (3, "b"), (4, "b")]);
    shard.enqueue(NewJob { ordering_key: Some("k".to_owned()), ..of(5, "c") });
    shard.enqueue(NewJob { ordering_key: Some("k".to_owned()), ..of(6, "c") });
    assert!(size(&shard) > 0);
    shard.call(Command::CancelJob { id: id(2), force: false });
    shard.call(Command::CancelJob { id: id(6), force: false });
    for _ in 0..3 {
        for job in shard.lease(9) {
            shard.settle(&job, ack()).unwrap();
        }
    }
    assert_eq!(size(&shard), 0);
}

#[test]
fn handing_out_among_ten_thousand_tenants_looks_at_no_more_than_with_one() {
    let looked = |tenants: u32| {
        let mut shard = Shard::new();
        for n in 0..10_000_u32 {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            let mut new = NewJob::new(JobId(bytes), "k", "{}");
            new.tenant = Some(format!("t{}", n % tenants));
            shard.enqueue(new);
        }
        let ns = shard.turn.state.queues.all_after(None).next().expect("there is one").namespace;
        let mut looked = 0;
        for _ in 0..50 {
            let all = QueuePattern::Prefix(String::new());
            let now = shard.clock.wall;
            looked += shard.turn.state.offer(ns, &all, None, (now, 1)).looked;
            assert_eq!(shard.lease(1).len(), 1);
        }
        looked
    };
    let (one, many) = (looked(1), looked(10_000));
    assert!(one > 0);
    assert!(many * 10 <= one * 13, "{many} looks instead of {one}");
}

#[test]
fn a_tenants_job_without_a_level_does_not_wait_for_ever_behind_those_with_one() {
    use crate::sla::{SlaCommand, SlaGoal, SlaSettings, SlaTarget};
    let mut shard = Shard::new();
    let target = SlaTarget::Kind { name: "fast".to_owned() };
    let goal = SlaGoal::StartedWithin { within_ms: 5_000 };
    let settings = Box::new(SlaSettings { target, goal, share: 9_900, breach: None });
    shard.call(Command::Sla(SlaCommand::Put { name: "fast".to_owned(), settings }));
    shard.enqueue(of(1, "a"));
    let fast = |n| NewJob { kind: "fast".to_owned(), ..of(n, "a") };
    shard.enqueue(fast(2));
    let mut taken = Vec::new();
    for n in 3..=70 {
        shard.enqueue(fast(n));
        let jobs = shard.lease(1);
        taken.extend(ids(&jobs));
        shard.settle(&jobs[0], ack()).unwrap();
        shard.advance(60_000);
    }
    let at = taken.iter().position(|n| *n == 1);
    assert!(at.is_some_and(|at| (50..65).contains(&at)), "it has an hour: {at:?}");
}

/// Nothing said why an older job of a tenant waited while others of the queue started.
#[test]
fn a_job_whose_tenant_had_its_turn_says_so() {
    let mut shard = Shard::new();
    enqueue_all(&mut shard, &[(1, "a"), (2, "a"), (3, "b")]);
    let blocked_by =
        |shard: &mut Shard, n: u8| match shard.call(Command::AwaitJob { id: id(n), wait_ms: 0 }) {
            Answer::Job(view) => view.blocked_by,
            other => panic!("{other:?}"),
        };
    assert_eq!(blocked_by(&mut shard, 2), []);
    assert_eq!(ids(&shard.lease(1)), [1]);
    let turn = crate::BlockedBy::TenantTurn { tenant: "a".to_owned() };
    assert_eq!((blocked_by(&mut shard, 2), blocked_by(&mut shard, 3)), (vec![turn], vec![]));
    assert_eq!(ids(&shard.lease(2)), [3, 2]);
}
