//! A limit with many keys that changes: what holds does so at once, the rest follows in slices, and
//! a restart in between loses none of it.

use super::*;
use crate::limit::{JobLimit, LimitRule, LimitScope, LimitSettings};
use crate::record::{Record, Upkeep};
use crate::wire::Wire;

const SLICE: usize = 4;
const KEYS: u8 = 40;

fn put(shard: &mut Shard, rule: LimitRule) -> Answer {
    let settings = LimitSettings { scope: LimitScope::Key, rule };
    shard.call(Command::PutLimit { name: "api".to_owned(), settings })
}

fn at_once(max: u64) -> LimitRule {
    LimitRule::Concurrency { max }
}

fn keyed(n: u8, key: u8) -> NewJob {
    let limit = JobLimit { name: "api".to_owned(), key: format!("key-{key}") };
    NewJob { limit: Some(limit), ..job(n) }
}

/// A shard with two jobs of each of many keys, of which one of each runs.
fn busy(rule: LimitRule) -> (Shard, Vec<Delivery>) {
    let limits = Limits { lease_ms_default: 900_000, slice_items_max: SLICE, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    put(&mut shard, rule);
    for key in 0..KEYS {
        shard.enqueue(keyed(2 * key, key));
        shard.enqueue(keyed(2 * key + 1, key));
    }
    let jobs = shard.lease(1000);
    assert_eq!(jobs.len(), usize::from(KEYS), "one of each key");
    (shard, jobs)
}

fn tick(shard: &mut Shard) -> bool {
    let more = shard.turn.tick(shard.clock);
    shard.flush();
    more
}

/// The keys that each record of a journal brings up to date.
fn settled_at_a_time(shard: &Shard) -> Vec<usize> {
    let entries = shard.journal.iter().map(|entry| crate::Entry::from_bytes(entry).unwrap());
    let records = entries.flat_map(|entry| entry.records);
    let settled = records.filter_map(|record| match record {
        Record::Upkeep { fact } => match *fact {
            Upkeep::LimitKeysSettled { keys, .. } => Some(keys.len()),
            _ => None,
        },
        _ => None,
    });
    settled.collect()
}

#[test]
fn a_limit_that_is_raised_lets_its_keys_go_in_slices_and_a_key_that_is_asked_about_at_once() {
    let (mut shard, _) = busy(at_once(1));
    put(&mut shard, at_once(2));
    let let_go = shard.lease(1000).len();
    assert!((1..=SLICE).contains(&let_go), "a slice in the turn of the change: {let_go}");
    let last = KEYS - 1;
    shard.enqueue(NewJob { priority: Some(9), ..keyed(200, last) });
    assert_eq!(ids(&shard.lease(1)), [200], "its key was asked about");
    assert!(tick(&mut shard), "there is more to do at once");
    let mut shard = shard.restart();
    let mut turns = 0;
    while tick(&mut shard) {
        turns += 1;
        assert!(turns < 1000, "it comes to an end");
    }
    let jobs = shard.lease(1000).len();
    assert_eq!(
        let_go + jobs,
        usize::from(KEYS) - 1,
        "all but that of the key that was asked about"
    );
    let settled = settled_at_a_time(&shard);
    assert!(settled.iter().all(|keys| *keys <= SLICE) && settled.len() > 10, "{settled:?}");
}

#[test]
fn a_limit_that_is_lowered_grants_no_more_of_keys_that_its_round_has_not_reached() {
    let (mut shard, jobs) = busy(at_once(1));
    put(&mut shard, at_once(3));
    while tick(&mut shard) {}
    let more = shard.lease(1000);
    assert_eq!(more.len(), usize::from(KEYS), "two of each run");
    for key in 0..KEYS {
        shard.enqueue(keyed(100 + key, key));
    }
    put(&mut shard, at_once(2));
    assert!(shard.lease(1000).is_empty(), "all keys have what they may have");
    let mut shard = shard.restart();
    assert!(shard.lease(1000).is_empty());
    shard.settle(&jobs[7], ack()).unwrap();
    assert_eq!(shard.lease(1000).len(), 1, "a slot came back");
    while tick(&mut shard) {}
    assert!(shard.lease(1000).is_empty());
}

#[test]
fn what_windows_have_counted_is_kept_through_changes_that_their_round_has_not_reached() {
    let window = |max| LimitRule::Window { max, period_ms: 3_600_000 };
    let (mut shard, jobs) = busy(window(1));
    for job in &jobs {
        shard.settle(job, ack()).unwrap();
    }
    put(&mut shard, window(5));
    put(&mut shard, window(2));
    let mut shard = shard.restart();
    while tick(&mut shard) {}
    let second = shard.lease(1000);
    assert_eq!(second.len(), usize::from(KEYS), "one more of each");
    for key in 0..KEYS {
        shard.enqueue(keyed(100 + key, key));
    }
    assert!(shard.lease(1000).is_empty(), "the window has counted two");
    for job in &second {
        shard.settle(job, ack()).unwrap();
    }
    shard.advance(3_600_000);
    assert_eq!(shard.lease(1000).len(), usize::from(KEYS));
}

#[test]
fn a_limit_that_is_deleted_and_comes_again_has_counted_nothing() {
    let window = |max| LimitRule::Window { max, period_ms: 3_600_000 };
    let (mut shard, jobs) = busy(window(1));
    for job in &jobs {
        shard.settle(job, ack()).unwrap();
    }
    shard.call(Command::DeleteLimit { name: "api".to_owned() });
    let settings = LimitSettings { scope: LimitScope::Namespace, rule: at_once(1) };
    let refused = shard.call(Command::PutLimit { name: "api".to_owned(), settings });
    assert!(matches!(refused, Answer::Rejected(Rejection::LimitChanging { .. })), "{refused:?}");
    let bucket = LimitRule::Bucket { burst: 1, count: 1, period_ms: 3_600_000 };
    put(&mut shard, bucket);
    let mut shard = shard.restart();
    while tick(&mut shard) {}
    assert_eq!(shard.lease(1000).len(), usize::from(KEYS), "one of each, as of a new limit");
    shard.call(Command::DeleteLimit { name: "api".to_owned() });
    while tick(&mut shard) {}
    let shard = shard.restart();
    let left = shard
        .turn
        .map()
        .entries()
        .keys()
        .filter(|key| matches!(key.first(), Some(153..=156 | 218)));
    assert_eq!(left.count(), 0, "nothing of it is left");
}

#[test]
fn what_limits_are_told_of_is_bounded_by_what_is_looked_at() {
    let (shard, _) = busy(at_once(1));
    let state = &shard.turn.state;
    let ns = state.namespaces.named("default").unwrap();
    let told = |looks: usize| {
        let looks = &mut crate::looks::Looks::new(looks);
        let views = state.limit_views(ns, 9, (0, looks));
        (views[0].spent, views[0].waiting)
    };
    assert_eq!(told(10_000), (40, 40));
    assert_eq!(told(4), (0, 0), "not even one look elsewhere");
    let (spent, waiting) = told(40);
    assert!((1..40).contains(&spent) && waiting > 0, "each has its share: {spent}, {waiting}");
    let (spent, waiting) = told(100);
    assert!(spent == 40 && (1..=4).contains(&waiting), "{waiting} of keys that were visited");
}

#[test]
fn a_stop_does_not_wait_for_the_keys_of_a_limit_and_the_next_life_goes_on_with_them() {
    let (mut shard, _) = busy(at_once(1));
    put(&mut shard, at_once(2));
    shard.turn.begin_stop(shard.clock);
    let before = settled_at_a_time(&shard).len();
    assert!(!tick(&mut shard), "nothing is to be done at once");
    assert_ne!(shard.turn.next_wake_ms(shard.clock), Some(0));
    assert_eq!(settled_at_a_time(&shard).len(), before);
    let mut shard = shard.restart();
    while tick(&mut shard) {}
    assert_eq!(shard.lease(1000).len(), usize::from(KEYS), "one more of each");
}

#[test]
fn a_limit_that_changes_does_not_wait_for_another_one_with_many_keys() {
    let (mut shard, _) = busy(at_once(1));
    let of_queues =
        |max| LimitSettings { scope: LimitScope::Queue { name: None }, rule: at_once(max) };
    let put_queues = |shard: &mut Shard, max| {
        let (name, settings) = ("queues".to_owned(), of_queues(max));
        shard.call(Command::PutLimit { name, settings })
    };
    put_queues(&mut shard, 1);
    while tick(&mut shard) {}
    let jobs = vec![job(201), job(202)];
    shard.call(Command::EnqueueJobs(EnqueueJobs { queue: "other".to_owned(), jobs }));
    let lease = |shard: &mut Shard| {
        let queues = vec![QueuePattern::Exactly("other".to_owned())];
        match shard.call(Command::LeaseJobs(Box::new(LeaseJobs { queues, max: 9, ..wish() }))) {
            Answer::Leased { jobs, .. } => ids(&jobs),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lease(&mut shard).len(), 1);
    put(&mut shard, at_once(2));
    put_queues(&mut shard, 2);
    assert_eq!(lease(&mut shard).len(), 1, "in the turn of its own change");
    // Both are under way: they take turns.
    put(&mut shard, at_once(3));
    put_queues(&mut shard, 100);
    let under_way = |shard: &Shard| crate::limit::limits_unsettled(&shard.turn.state).len();
    for _ in 0..6 {
        tick(&mut shard);
    }
    assert_eq!(under_way(&shard), 1, "the one with few keys is through");
}
