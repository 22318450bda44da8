//! Jobs that enter with the ack of another one: all of them and the ack, or nothing.

use super::*;
use crate::command::FollowUp;
use crate::queue::QueueSettings;

fn follow_up(queue: &str, job: NewJob) -> FollowUp {
    FollowUp { queue: queue.to_owned(), job }
}

fn ack_with(follow_ups: Vec<FollowUp>) -> Verdict {
    Verdict::Ack { result: None, location: None, follow_ups, next_tick: None }
}

#[test]
fn an_ack_and_its_follow_ups_are_one_entry() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { ordering_key: Some("k".into()), ..job(1) });
    let jobs = shard.lease(1);
    let entries = shard.journal.len();
    let next = || NewJob { ordering_key: Some("k".into()), ..job(2) };
    let all = || vec![follow_up("q", next()), follow_up("new", NewJob::new(id(3), "other", "[]"))];
    assert_eq!(shard.settle(&jobs[0], ack_with(all())), Ok(EndKind::Acked));
    assert_eq!(shard.journal.len(), entries + 1);
    assert_eq!(ids(&shard.lease(9)), [2], "the key is free for what follows");
    let again = vec![follow_up("q", job(9))];
    assert_eq!(shard.settle(&jobs[0], ack_with(again)), Ok(EndKind::Acked), "the first answer");
    assert_eq!(shard.state(id(9)), None, "a repetition enqueues nothing");
    let mut shard = shard.restart();
    assert_eq!(shard.state(id(3)), Some(JobState::Ready));
}

#[test]
fn a_refused_follow_up_refuses_the_ack() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    let nameless = NewJob { kind: String::new(), ..job(3) };
    let all = vec![follow_up("new", job(2)), follow_up("q", nameless), follow_up("", job(4))];
    let Err(Rejection::JobsRefused { faults }) = shard.settle(&jobs[0], ack_with(all)) else {
        panic!()
    };
    assert_eq!(faults.iter().map(|fault| fault.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!((shard.state(id(1)), shard.state(id(2))), (Some(JobState::Running), None));
    let answer = shard.call(Command::GetQueue { queue: "new".into() });
    assert!(matches!(answer, Answer::Rejected(Rejection::QueueUnknown { .. })));
    let many = (0..10_001).map(|_| follow_up("q", job(5))).collect();
    assert!(shard.settle(&jobs[0], ack_with(many)).is_err());
    assert_eq!(shard.settle(&jobs[0], ack()), Ok(EndKind::Acked), "it kept its lease");
}

#[test]
fn an_ack_makes_room_for_what_follows_in_its_queue() {
    let mut shard = Shard::new();
    let settings = QueueSettings { max_length: Some(1), ..QueueSettings::DEFAULT };
    shard.call(Command::PutQueue { queue: "q".into(), settings });
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    let two = vec![follow_up("q", job(2)), follow_up("q", job(3))];
    assert!(matches!(shard.settle(&jobs[0], ack_with(two)), Err(Rejection::QueueFull { .. })));
    let one = vec![follow_up("q", job(2))];
    assert_eq!(shard.settle(&jobs[0], ack_with(one)), Ok(EndKind::Acked));
}

#[test]
fn what_follows_is_decided_as_if_what_stands_before_it_held() {
    let limits = crate::limits::Cap { shard: 9, namespace: 2 };
    let limits = Limits { queues_max: limits, kinds_max: limits, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    let named = |n, print| NewJob { fingerprint: Some([print; 16]), ..job(n) };
    let faults = |shard: &mut Shard, all| match shard.settle(&jobs[0], ack_with(all)) {
        Err(Rejection::JobsRefused { faults }) => faults.into_iter().map(|fault| fault.0).collect(),
        Ok(_) => Vec::new(),
        other => panic!("{other:?}"),
    };
    let of = |kind: &str, n| NewJob { kind: kind.into(), ..job(n) };
    // Another request with an id of the same command; the third queue; the third kind.
    let all = vec![
        follow_up("new", named(2, 1)),
        follow_up("new", named(2, 2)),
        follow_up("third", job(3)),
        follow_up("new", of("l", 4)),
        follow_up("new", of("m", 5)),
    ];
    assert_eq!(faults(&mut shard, all), [1, 2, 4]);
    let all = vec![
        follow_up("new", named(2, 1)),
        follow_up("new", named(2, 1)),
        follow_up("new", of("l", 4)),
        follow_up("q", of("l", 5)),
    ];
    assert_eq!(faults(&mut shard, all), [0_usize; 0]);
    let queues = ["new", "q"].map(|name| QueuePattern::Exactly(name.to_owned()));
    let wish = LeaseJobs { queues: queues.to_vec(), max: 9, ..wish() };
    let Answer::Leased { jobs, .. } = shard.call(Command::LeaseJobs(Box::new(wish))) else {
        panic!("no jobs")
    };
    assert_eq!(ids(&jobs), [2, 4, 5], "the repeated one entered once, in order");
}
