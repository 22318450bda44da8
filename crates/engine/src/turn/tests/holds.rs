//! Holds: from the call on no job with the tag starts, and it is told when none runs any more.

use super::*;
use crate::BlockedBy;
use crate::hold::{HoldAnswer, HoldCommand, HoldView};
use crate::state::keys;

fn tagged(n: u8, tag: &str) -> NewJob {
    NewJob { tags: vec![tag.to_owned()], ..job(n) }
}

fn of(answer: Answer) -> HoldView {
    match answer {
        Answer::Holds(HoldAnswer::Hold(view)) => *view,
        other => panic!("{other:?}"),
    }
}

fn put(tag: &str, wait_ms: u64) -> Command {
    Command::Holds(HoldCommand::Put { tag: tag.to_owned(), reason: None, wait_ms })
}

fn delete(shard: &mut Shard, tag: &str) {
    let answer = shard.call(Command::Holds(HoldCommand::Delete { tag: tag.to_owned() }));
    assert!(matches!(answer, Answer::Holds(HoldAnswer::Deleted)), "{answer:?}");
}

fn blocked(shard: &Shard) -> u64 {
    shard.turn.stats(shard.clock, None, 99).queues[0].queue.blocked
}

#[test]
fn no_job_with_a_held_tag_starts_and_others_pass() {
    let mut shard = Shard::new();
    for (n, tag) in [(1, "a"), (2, "b"), (3, "a")] {
        shard.enqueue(tagged(n, tag));
    }
    let view = of(shard.call(put("a", 0)));
    assert_eq!((view.hold.epoch, view.running), (1, 0));
    shard.enqueue(tagged(4, "a"));
    assert_eq!(blocked(&shard), 1, "what comes stands aside at once");
    assert_eq!(ids(&shard.lease(9)), [2]);
    assert_eq!(blocked(&shard), 3, "the others are set aside as they are met");
    match shard.call(Command::AwaitJob { id: id(1), wait_ms: 0 }) {
        Answer::Job(view) => {
            let hold = BlockedBy::Hold { tag: "a".to_owned(), reason: None, epoch: 1 };
            assert_eq!(view.blocked_by, [hold]);
        }
        other => panic!("{other:?}"),
    }
    let mut shard = shard.restart();
    assert!(shard.lease(9).is_empty(), "it is held after a restart, too");
    assert_eq!(of(shard.call(put("a", 0))).hold.epoch, 1, "it stands as it is");
    delete(&mut shard, "a");
    let mut shard = shard.restart();
    shard.advance(0);
    assert_eq!(blocked(&shard), 0);
    assert_eq!(ids(&shard.lease(9)), [1, 3, 4], "in their old order");
    assert_eq!(of(shard.call(put("a", 0))).hold.epoch, 2, "an epoch is never used again");
}

#[test]
fn who_holds_a_tag_is_answered_when_the_last_lease_was_given_back() {
    let mut shard = Shard::new();
    shard.enqueue(tagged(1, "a"));
    shard.enqueue(tagged(2, "a"));
    let jobs = shard.lease(9);
    let waiting = shard.send(put("a", 60_000));
    assert!(!shard.answers.contains_key(&waiting));
    let beat = Extension {
        id: id(1),
        token: jobs[0].token,
        lease_ms: None,
        progress: None,
        progress_text: None,
    };
    let told = shard.call(Command::ExtendLeases(vec![beat]));
    let interrupt = Instruction::Interrupt { reason: "hold" };
    assert!(matches!(&told, Answer::Extended(told) if told[..] == [Ok(interrupt)]), "{told:?}");
    let interrupted = Verdict::Interrupt { reason: "hold".to_owned(), delay_ms: None };
    assert_eq!(shard.settle(&jobs[0], interrupted), Ok(EndKind::Interrupted));
    assert_eq!(blocked(&shard), 1);
    assert!(!shard.answers.contains_key(&waiting), "another one runs still");
    shard.settle(&jobs[1], ack()).unwrap();
    let view = of(shard.answers.remove(&waiting).expect("nothing runs any more"));
    assert_eq!((view.running, view.unaccounted), (0, 0));
    assert!(shard.lease(9).is_empty());
}

#[test]
fn a_lease_that_runs_out_while_its_tag_is_held_is_unaccounted() {
    let mut shard = Shard::new();
    shard.enqueue(tagged(1, "a"));
    shard.enqueue(tagged(2, "a"));
    let jobs = shard.lease(9);
    assert_eq!(of(shard.call(put("a", 0))).running, 2);
    let waiting = shard.send(put("a", 50_000));
    shard.call(Command::CancelJob { id: id(2), force: true });
    let mut lost = shard.restart();
    lost.advance(30_001);
    shard.advance(30_001);
    let told = of(shard.answers.remove(&waiting).expect("no lease is left"));
    let again = of(lost.call(put("a", 50_000)));
    for view in [told, again] {
        assert_eq!((view.running, view.unaccounted, view.runs.len()), (0, 2, 0));
        let lost: Vec<_> = view.lost.iter().map(|(id, lost)| (id.0[0], lost.token)).collect();
        assert_eq!(lost, [(1, jobs[0].token), (2, jobs[1].token)]);
    }
    assert!(shard.lease(9).is_empty());
    delete(&mut shard, "a");
    shard.advance(0);
    assert_eq!(ids(&shard.lease(9)), [1]);
    assert_eq!(of(shard.call(put("a", 0))).unaccounted, 0, "another hold has its own list");
}

#[test]
fn who_waits_for_a_hold_that_goes_is_told_so() {
    let mut shard = Shard::new();
    shard.enqueue(tagged(1, "a"));
    shard.lease(9);
    let waiting = shard.send(put("a", 60_000));
    let other = shard.send(put("a", 1_000));
    shard.advance(1_000);
    assert_eq!(of(shard.answers.remove(&other).expect("its time is over")).running, 1);
    delete(&mut shard, "a");
    let answer = shard.answers.remove(&waiting);
    let gone = Some(Answer::Rejected(Rejection::HoldUnknown { tag: "a".to_owned() }));
    assert_eq!(format!("{answer:?}"), format!("{gone:?}"));
}

#[test]
fn a_job_that_stands_aside_can_end_and_leaves_nothing_behind() {
    let mut shard = Shard::new();
    shard.call(put("a", 0));
    shard.call(put("b", 0));
    let tags = vec!["a".to_owned(), "b".to_owned()];
    shard.enqueue(NewJob { tags, ..job(1) });
    shard.enqueue(tagged(2, "a"));
    shard.call(Command::CancelJob { id: id(2), force: false });
    delete(&mut shard, "a");
    shard.advance(0);
    assert_eq!(blocked(&shard), 1, "another tag of its is held");
    assert!(shard.lease(9).is_empty());
    delete(&mut shard, "b");
    shard.advance(0);
    assert_eq!(ids(&shard.lease(9)), [1]);
    let keys = [crate::state::keys::HELD_BACK, crate::state::keys::HELD_BACK_JOB];
    let left = shard.turn.state.map().entries().keys().filter(|key| keys.contains(&key[0])).count();
    assert_eq!(left, 0);
}

/// The leases of the whole namespace were looked through when a tag was held.
#[test]
fn leases_are_counted_by_their_tags_before_one_of_these_is_held() {
    let mut shard = Shard::new();
    let twice = vec!["a".to_owned(), "b".to_owned(), "a".to_owned()];
    shard.enqueue(NewJob { tags: twice, ..job(1) });
    shard.enqueue(tagged(2, "a"));
    shard.enqueue(job(3));
    let jobs = shard.lease(9);
    shard.settle(&jobs[2], ack()).unwrap();
    assert_eq!((of(shard.call(put("a", 0))).running, of(shard.call(put("b", 0))).running), (2, 1));
    let mut shard = shard.restart();
    assert_eq!(of(shard.call(put("a", 0))).running, 2);
    shard.settle(&jobs[0], ack()).unwrap();
    assert_eq!((of(shard.call(put("a", 0))).running, of(shard.call(put("b", 0))).running), (1, 0));
    shard.settle(&jobs[1], ack()).unwrap();
    delete(&mut shard, "a");
    assert_eq!(of(shard.call(put("a", 0))).running, 0);
}

/// Their keys were removed in one turn, however many they were, and counted one by one each time
/// a hold was looked at.
#[test]
fn of_many_lost_runs_so_many_are_kept_and_all_are_counted() {
    // Of one hold 1000, and of a namespace 10,000.
    for (tags, most, of_first) in [(1, 1_000, 1_000), (12, 10_000, 834)] {
        lose_many_runs(tags, most, of_first);
    }
}

const MANY: usize = 1100;

/// Each of these tags is held, and so many runs of each were lost.
fn shard_of_lost_runs(tags: &[String]) -> Shard {
    let mut shard = Shard::new();
    let jobs = (0..MANY).map(|n| {
        let mut id = JobId([0; 16]);
        id.0[..2].copy_from_slice(&(n as u16).to_be_bytes());
        NewJob { tags: tags.to_vec(), ..NewJob::new(id, "k", "[]") }
    });
    let command = EnqueueJobs { queue: "q".to_owned(), jobs: jobs.collect() };
    assert!(matches!(shard.call(Command::EnqueueJobs(command)), Answer::Enqueued(_)));
    while shard.lease(100).len() == 100 {}
    for tag in tags {
        assert_eq!(of(shard.call(put(tag, 0))).running, MANY as u64);
    }
    for _ in 0..20 {
        shard.advance(31_000);
    }
    shard
}

/// How many keys of lost runs there are, and how many counts.
fn lost_keys(shard: &Shard) -> (usize, usize) {
    let entries = shard.turn.state.map().entries();
    let count = |first| entries.keys().filter(|key| key[0] == first).count();
    (count(keys::LOST_RUN), count(keys::LOST_COUNT))
}

fn lose_many_runs(tags: usize, most: usize, of_first: usize) {
    let tags: Vec<String> = (0..tags).map(|n| format!("t{n}")).collect();
    let mut shard = shard_of_lost_runs(&tags);
    assert_eq!(lost_keys(&shard).0, most);
    let view = |shard: &mut Shard, tag: &str| {
        let view = of(shard.call(put(tag, 0)));
        (view.running, view.unaccounted, view.lost.len())
    };
    assert_eq!(view(&mut shard, "t0"), (0, MANY as u64, of_first));
    shard = shard.restart();
    assert_eq!(view(&mut shard, "t0"), (0, MANY as u64, of_first), "after a start, too");
    delete(&mut shard, "t0");
    assert_eq!(lost_keys(&shard).0, most - of_first);
    shard = shard.restart();
    assert_eq!(view(&mut shard, "t0"), (0, 0, 0), "another hold has its own count");
    for tag in &tags {
        delete(&mut shard, tag);
    }
    assert_eq!(lost_keys(&shard), (0, 0));
}

/// Nothing was kept of it since others had taken all room, and what the namespace keeps had gone
/// with these: it panicked, at each attempt.
#[test]
fn a_hold_of_which_no_lost_run_is_kept_goes_as_the_last_one() {
    // In the order in which a namespace that is deleted removes them, `z` is the last one.
    let tags: Vec<String> = (0..12).map(|n| format!("t{n}")).collect();
    let mut shard = shard_of_lost_runs(&tags);
    let mut late = JobId([7; 16]);
    late.0[0] = 255;
    let job = NewJob { tags: vec!["z".to_owned()], ..NewJob::new(late, "k", "[]") };
    shard.enqueue(job);
    assert_eq!(shard.lease(9).len(), 1);
    shard.call(put("z", 0));
    shard.advance(31_000);
    let view = of(shard.call(put("z", 0)));
    assert_eq!((view.running, view.unaccounted, view.lost.len()), (0, 1, 0));
    let mut deleted = shard.restart();
    let queue = "q".to_owned();
    deleted.send(Command::StartOperation(OperationKind::DeleteQueue { queue: queue.clone() }));
    for _ in 0..100 {
        deleted.advance(1);
    }
    deleted.send(Command::DeleteQueue { queue });
    let answer = deleted.call(Command::DeleteNamespace);
    assert!(matches!(answer, Answer::NamespaceDeleted), "{answer:?}");
    assert_eq!(lost_keys(&deleted), (0, 0));
    let mut again = shard.restart();
    for tag in &tags {
        delete(&mut shard, tag);
        delete(&mut again, tag);
    }
    let mut later = shard.restart();
    for shard in [&mut shard, &mut again, &mut later] {
        delete(shard, "z");
        assert_eq!(lost_keys(shard), (0, 0));
        assert_eq!(of(shard.call(put("z", 0))).unaccounted, 0);
    }
}
