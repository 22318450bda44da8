//! Limits at dispatch: so many at a time or in a time, by namespace, queue, kind and key; what they
//! hold back stands in nobody's way.

use super::*;
use crate::answer::BlockedBy;
use crate::limit::{JobLimit, LimitRule, LimitScope, LimitSettings};

fn put(shard: &mut Shard, name: &str, scope: LimitScope, rule: LimitRule) -> Answer {
    let settings = LimitSettings { scope, rule };
    shard.call(Command::PutLimit { name: name.to_owned(), settings })
}

fn at_once(max: u64) -> LimitRule {
    LimitRule::Concurrency { max }
}

fn keyed(n: u8, key: &str) -> NewJob {
    let limit = JobLimit { name: "api".to_owned(), key: key.to_owned() };
    NewJob { limit: Some(limit), ..job(n) }
}

fn blocked_by(shard: &mut Shard, n: u8) -> Vec<BlockedBy> {
    match shard.call(Command::AwaitJob { id: id(n), wait_ms: 0 }) {
        Answer::Job(view) => view.blocked_by,
        other => panic!("{other:?}"),
    }
}

#[test]
fn so_many_of_a_key_run_at_a_time_and_others_pass() {
    let mut shard = Shard::new();
    put(&mut shard, "api", LimitScope::Key, at_once(2));
    for (n, key) in [(1, "a"), (2, "a"), (3, "a"), (4, "b"), (5, "a")] {
        shard.enqueue(keyed(n, key));
    }
    shard.enqueue(job(6));
    let jobs = shard.lease(9);
    assert_eq!(ids(&jobs), [1, 2, 4, 6], "in order, past what is held back");
    let limit = BlockedBy::Limit { name: "api".to_owned(), key: "a".to_owned() };
    assert_eq!(blocked_by(&mut shard, 3), [limit]);
    assert!(shard.lease(9).is_empty());
    shard.settle(&jobs[0], ack()).unwrap();
    assert_eq!(ids(&shard.lease(9)), [3]);
    let mut shard = shard.restart();
    assert!(shard.lease(9).is_empty(), "the slots are taken after a restart, too");
    shard.settle(&jobs[1], fail()).unwrap();
    assert_eq!(ids(&shard.lease(9)), [5], "the failed one waits for its time");
}

#[test]
fn a_slot_comes_back_with_its_lease_and_not_before() {
    let mut shard = Shard::new();
    put(&mut shard, "api", LimitScope::Key, at_once(1));
    for n in [1, 2] {
        shard.enqueue(NewJob { max_attempts: Some(1), ..keyed(n, "a") });
    }
    let jobs = shard.lease(9);
    shard.call(Command::CancelJob { id: id(1), force: false });
    assert!(shard.lease(9).is_empty(), "it was only asked to stop");
    shard.advance(29_000);
    assert!(shard.lease(9).is_empty());
    shard.advance(2_000);
    assert_eq!(ids(&shard.lease(9)), [2], "its worker was lost");
    assert!(shard.settle(&jobs[0], ack()).is_err());
    assert!(shard.lease(9).is_empty(), "a zombie frees nothing");
}

#[test]
fn whole_queues_kinds_and_the_namespace_are_held_back() {
    let mut shard = Shard::new();
    put(&mut shard, "queue", LimitScope::Queue { name: None }, at_once(1));
    for (queue, n) in [("q", 1), ("q", 2), ("p", 3), ("p", 4)] {
        let jobs = vec![job(n)];
        shard.call(Command::EnqueueJobs(EnqueueJobs { queue: queue.to_owned(), jobs }));
    }
    let wish = || LeaseJobs { queues: vec![QueuePattern::Prefix(String::new())], ..wish() };
    let all = |shard: &mut Shard| {
        let wish = LeaseJobs { max: 9, ..wish() };
        match shard.call(Command::LeaseJobs(Box::new(wish))) {
            Answer::Leased { jobs, .. } => jobs,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ids(&all(&mut shard)), [1, 3]);
    put(&mut shard, "kind", LimitScope::Kind { name: Some("other".to_owned()) }, at_once(1));
    put(&mut shard, "all", LimitScope::Namespace, at_once(3));
    shard.call(Command::DeleteLimit { name: "queue".to_owned() });
    let other = |n| NewJob { kind: "other".to_owned(), ..job(n) };
    shard.enqueue(other(5));
    shard.enqueue(other(6));
    assert_eq!(ids(&all(&mut shard)), [2], "three at a time");
    put(&mut shard, "all", LimitScope::Namespace, at_once(9));
    let jobs = all(&mut shard);
    assert_eq!(ids(&jobs), [4, 5], "one of the kind");
    let mut shard = shard.restart();
    assert!(all(&mut shard).is_empty());
    shard.settle(&jobs[1], ack()).unwrap();
    assert_eq!(ids(&all(&mut shard)), [6]);
}

#[test]
fn windows_and_buckets_are_filled_by_time() {
    let mut shard = Shard::new();
    put(&mut shard, "api", LimitScope::Key, LimitRule::Window { max: 2, period_ms: 60_000 });
    for n in 1..=5 {
        shard.enqueue(keyed(n, "a"));
    }
    assert_eq!(ids(&shard.lease(9)), [1, 2]);
    let next = shard.turn.next_wake_ms(shard.clock);
    assert_eq!(next, Some(60_000 - 1_000_000 % 60_000), "windows begin at whole minutes");
    shard.advance(next.unwrap() - 1);
    assert!(shard.lease(9).is_empty());
    let mut shard = shard.restart();
    shard.advance(1);
    assert_eq!(ids(&shard.lease(9)), [3, 4]);

    let mut shard = Shard::new();
    let rule = LimitRule::Bucket { burst: 2, count: 1, period_ms: 1_000 };
    put(&mut shard, "api", LimitScope::Kind { name: None }, rule);
    for n in 1..=6 {
        shard.enqueue(NewJob { max_attempts: Some(1), ..job(n) });
    }
    assert_eq!(ids(&shard.lease(9)), [1, 2]);
    shard.advance(999);
    assert!(shard.lease(9).is_empty());
    shard.advance(1);
    assert_eq!(ids(&shard.lease(9)), [3]);
    shard.advance(60_000);
    assert_eq!(ids(&shard.lease(9)), [4, 5], "no more than the burst");
    shard.advance(60_000);
    let left =
        shard.turn.map().entries().keys().filter(|key| matches!(key.first(), Some(154..=156)));
    assert_eq!(left.count(), 0, "a full bucket is not kept");
}

#[test]
fn a_change_holds_at_once_and_a_waiting_worker_is_served() {
    let mut shard = Shard::new();
    put(&mut shard, "api", LimitScope::Key, at_once(1));
    for n in 1..=4 {
        shard.enqueue(keyed(n, "a"));
    }
    let first = shard.lease(9);
    assert_eq!(ids(&first), [1]);
    let waiting = shard.send(Command::LeaseJobs(Box::new(LeaseJobs { wait_ms: 9_000, ..wish() })));
    put(&mut shard, "api", LimitScope::Key, at_once(2));
    let Some(Answer::Leased { jobs, .. }) = shard.answers.remove(&waiting) else { panic!() };
    assert_eq!(ids(&jobs), [2]);
    put(&mut shard, "api", LimitScope::Key, at_once(1));
    shard.settle(&first[0], ack()).unwrap();
    assert!(shard.lease(9).is_empty(), "one is enough now");
    let refused = put(&mut shard, "api", LimitScope::Namespace, at_once(1));
    assert!(matches!(refused, Answer::Rejected(Rejection::ValueRefused { .. })));
    shard.call(Command::DeleteLimit { name: "api".to_owned() });
    assert_eq!(ids(&shard.lease(9)), [3, 4]);
    let gone = shard.call(Command::GetLimit { name: "api".to_owned() });
    assert!(matches!(gone, Answer::Rejected(Rejection::LimitUnknown { .. })));
    put(&mut shard, "api", LimitScope::Key, at_once(3));
    shard.enqueue(keyed(5, "a"));
    assert!(shard.lease(9).is_empty(), "leases from before it count");
}

/// The job waited for a key that its limit does not count, and for good.
#[test]
fn a_job_that_names_a_limit_of_another_scope_waits_for_none_of_its_keys() {
    let mut shard = Shard::new();
    put(&mut shard, "api", LimitScope::Queue { name: None }, at_once(1));
    shard.enqueue(job(1));
    shard.enqueue(job(2));
    assert_eq!(ids(&shard.lease(9)), [1], "nothing is left for queue q");
    let jobs = vec![keyed(3, "q")];
    shard.call(Command::EnqueueJobs(EnqueueJobs { queue: "other".into(), jobs }));
    let other = LeaseJobs { queues: vec![QueuePattern::Exactly("other".into())], ..wish() };
    let Answer::Leased { jobs, .. } = shard.call(Command::LeaseJobs(Box::new(other))) else {
        panic!();
    };
    assert_eq!(ids(&jobs), [3]);
}

/// What a long window had used up stayed so until that would have ended.
#[test]
fn a_window_that_gets_shorter_or_longer_holds_at_once() {
    let mut shard = Shard::new();
    let window = |max, period_ms| LimitRule::Window { max, period_ms };
    let run = |shard: &mut Shard| {
        let jobs = shard.lease(9);
        for job in &jobs {
            shard.settle(job, ack()).unwrap();
        }
        ids(&jobs)
    };
    put(&mut shard, "api", LimitScope::Key, window(1, 86_400_000));
    for n in 1..=4 {
        shard.enqueue(keyed(n, "a"));
    }
    assert_eq!(run(&mut shard), [1]);
    put(&mut shard, "api", LimitScope::Key, window(1, 1000));
    assert_eq!(run(&mut shard), [2], "the first one began in an earlier second");
    put(&mut shard, "api", LimitScope::Key, window(2, 1000));
    assert_eq!(run(&mut shard), [3]);
    put(&mut shard, "api", LimitScope::Key, window(1, 60_000));
    shard.advance(1000);
    assert!(run(&mut shard).is_empty(), "the minute has not ended");
    shard.advance(60_000);
    assert_eq!(run(&mut shard), [4]);
}

#[test]
fn what_is_held_back_is_purged_rescheduled_and_ordered_like_any_other() {
    let mut shard = Shard::new();
    put(&mut shard, "api", LimitScope::Key, at_once(1));
    for n in 1..=5 {
        shard.enqueue(keyed(n, "a"));
    }
    shard.enqueue(NewJob { priority: Some(9), ..keyed(6, "a") });
    let jobs = shard.lease(9);
    assert_eq!(ids(&jobs), [6]);
    shard.call(Command::CancelJob { id: id(1), force: false });
    let start = Start::After(60_000);
    shard.call(Command::RescheduleJob { id: id(2), start });
    shard.settle(&jobs[0], ack()).unwrap();
    let jobs = shard.lease(9);
    assert_eq!(ids(&jobs), [3]);
    let (queue, kind, before) = ("q".to_owned(), None, None);
    shard.call(Command::StartOperation(OperationKind::PurgeQueue { queue, kind, before }));
    shard.advance(1);
    shard.settle(&jobs[0], ack()).unwrap();
    shard.advance(100_000);
    assert!(shard.lease(9).is_empty());
    let lines =
        shard.turn.map().entries().keys().filter(|key| matches!(key.first(), Some(6 | 151 | 152)));
    assert_eq!(lines.count(), 0);
}

#[test]
fn a_limit_with_many_held_back_costs_others_nothing() {
    let mut shard = Shard::new();
    put(&mut shard, "api", LimitScope::Key, at_once(1));
    let number = |n: u32| JobId(u128::from(n + 1000).to_be_bytes());
    for first in (0..100_000).step_by(10_000) {
        let jobs = (first..first + 10_000)
            .map(|n| NewJob { id: number(n), ..keyed(1, &(n % 1000).to_string()) });
        let (queue, jobs) = ("q".to_owned(), jobs.collect());
        shard.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs }));
    }
    let mut leased = 0;
    loop {
        let jobs = shard.lease(1000).len();
        leased += jobs;
        if jobs == 0 {
            break;
        }
    }
    assert_eq!(leased, 1000, "one of each key");
    shard.enqueue(job(1));
    let kept = shard.turn.state.lanes.in_memory();
    assert_eq!(kept, (1, 1), "99,000 jobs wait in lines");
    let state = &shard.turn.state;
    let all = QueuePattern::Prefix(String::new());
    let ns = state.namespaces.named("default").unwrap();
    let offer = state.offer(ns, &all, None, (shard.clock.wall, 10));
    assert!(offer.jobs == [id(1)] && offer.looked <= 4, "{offer:?}");
}

#[test]
fn a_limit_tells_what_runs_and_waits_over_all_keys_and_for_some() {
    let mut shard = Shard::new();
    let rule = LimitRule::Concurrency { max: 1 };
    let settings = LimitSettings { scope: LimitScope::Key, rule };
    shard.call(Command::PutLimit { name: "api".to_owned(), settings });
    for n in 0..60 {
        let key = format!("account-{}", n % 25);
        let limit = Some(JobLimit { name: "api".to_owned(), key });
        shard.enqueue(NewJob { limit, ..job(n) });
    }
    let jobs = shard.lease(100);
    assert_eq!(jobs.len(), 25);
    let told = |shard: &mut Shard| match shard.call(Command::GetLimit { name: "api".to_owned() }) {
        Answer::Limit(view) => *view,
        other => panic!("{other:?}"),
    };
    let view = told(&mut shard);
    assert_eq!((view.running, view.spent, view.waiting, view.keys.len()), (25, 25, 35, 20));
    let first = &view.keys[0];
    assert_eq!((first.key.as_str(), first.running, first.waiting), ("account-0", 1, 2));
    let Answer::Limits(all) = shard.call(Command::ListLimits) else { panic!("no list") };
    assert_eq!((all[0].waiting, all[0].keys.len()), (35, 0));
    let mut shard = shard.restart();
    assert_eq!(told(&mut shard), view, "as before a restart");
    for job in &jobs {
        shard.settle(job, ack()).unwrap();
    }
    let view = told(&mut shard);
    assert_eq!((view.running, view.spent, view.waiting), (0, 0, 0), "what waits can start");
}
