//! Consumers: who is handed what, in which order, and for how long.

use super::*;
use crate::Cap;
use crate::command::{ConsumerId, Credit, Holder, Subscribe};

fn credit(jobs: usize) -> Credit {
    Credit { jobs, bytes: 1 << 20 }
}

fn subscribe(number: u64, jobs: usize) -> Subscribe {
    Subscribe {
        consumer: ConsumerId(number),
        holder: Holder { worker: "w".into(), session: format!("s{number}") },
        queues: vec![(QueuePattern::Prefix(String::new()), 0)],
        kinds: None,
        lease_ms: None,
        credit: credit(jobs),
    }
}

impl Shard {
    fn subscribe(&mut self, command: Subscribe) -> bool {
        match self.call(Command::Subscribe(Box::new(command))) {
            Answer::Subscribed { stands } => stands,
            other => panic!("{other:?}"),
        }
    }

    fn add_credit(&mut self, number: u64, credit: Credit, settle: Vec<Settlement>) {
        let consumer = ConsumerId(number);
        let count = settle.len();
        match self.call(Command::AddCredit { consumer, credit, settle }) {
            Answer::Settled(settled) => {
                assert!(settled.len() == count && settled.iter().all(Result::is_ok), "{settled:?}");
            }
            other => panic!("{other:?}"),
        }
    }

    /// What was delivered since the last look: to whom, and which jobs.
    fn took(&mut self) -> Vec<(u64, Vec<u8>)> {
        let all = std::mem::take(&mut self.delivered);
        all.iter().map(|(consumer, jobs)| (*consumer, ids(jobs))).collect()
    }

    fn enqueue_each(&mut self, numbers: std::ops::RangeInclusive<u8>) {
        for n in numbers {
            self.enqueue(job(n));
        }
    }
}

#[test]
fn a_stream_is_handed_jobs_as_they_come_until_its_credit_is_used() {
    let mut shard = Shard::new();
    shard.enqueue_each(1..=1);
    assert!(shard.subscribe(subscribe(1, 3)));
    assert_eq!(shard.took(), [(1, vec![1])]);
    shard.enqueue_each(2..=5);
    let jobs: Vec<_> = shard.delivered.iter().flat_map(|(_, jobs)| jobs.clone()).collect();
    assert_eq!(shard.took(), [(1, vec![2]), (1, vec![3])], "its credit is used");
    let done = |job: &Delivery| Settlement { id: job.id, token: job.token, verdict: ack() };
    shard.add_credit(1, credit(1), jobs.iter().map(done).collect());
    assert_eq!(shard.took(), [(1, vec![4])], "in the same turn as what it settles");
    assert_eq!(shard.state(id(2)), Some(JobState::Succeeded));
    shard.add_credit(7, credit(5), Vec::new());
    assert_eq!(shard.took(), [], "who is no consumer is given no credit");
    assert_eq!(shard.state(id(5)), Some(JobState::Ready));
}

#[test]
fn who_waits_longest_is_served_first_be_it_a_request_or_a_stream() {
    let mut shard = Shard::new();
    shard.subscribe(subscribe(1, 2));
    let wish = LeaseJobs { wait_ms: 50_000, session: "other".into(), ..wish() };
    let request = shard.send(Command::LeaseJobs(Box::new(wish)));
    shard.subscribe(subscribe(2, 1));
    shard.enqueue_each(1..=4);
    assert_eq!(shard.took(), [(1, vec![1]), (2, vec![3]), (1, vec![4])]);
    let answer = shard.answers.remove(&request);
    assert!(matches!(answer, Some(Answer::Leased { jobs, .. }) if ids(&jobs) == [2]));
}

#[test]
fn what_many_wait_for_is_handed_out_to_their_credit_and_not_beyond() {
    let mut shard = Shard::new();
    for number in 1..=3 {
        shard.subscribe(subscribe(number, number as usize));
    }
    let jobs = (1..=20).map(job).collect();
    shard.call(Command::EnqueueJobs(EnqueueJobs { queue: "q".into(), jobs }));
    let all: Vec<_> = shard.took();
    assert_eq!(all, [(1, vec![1]), (2, vec![2, 3]), (3, vec![4, 5, 6])]);
    shard.add_credit(2, credit(1), Vec::new());
    assert_eq!(shard.took(), [(2, vec![7])]);
}

#[test]
fn who_has_gone_or_was_replaced_is_handed_nothing() {
    let mut shard = Shard::new();
    shard.subscribe(subscribe(1, 5));
    shard.turn.unsubscribe(ConsumerId(1));
    shard.enqueue_each(1..=1);
    assert_eq!(shard.took(), []);
    shard.subscribe(subscribe(2, 1));
    assert_eq!(shard.took(), [(2, vec![1])]);
    // The session has a newer stream.
    shard.add_credit(2, credit(5), Vec::new());
    shard.subscribe(Subscribe { consumer: ConsumerId(3), ..subscribe(2, 1) });
    assert_eq!(shard.closed, [(2, CloseReason::Superseded)]);
    shard.enqueue_each(2..=3);
    assert_eq!(shard.took(), [(3, vec![2])]);
    let holder = subscribe(2, 0).holder;
    shard.add_credit(3, credit(5), Vec::new());
    assert_eq!(shard.took(), [(3, vec![3])]);
    shard.call(Command::EndSession { holder, why: "it left".into(), goodbye: true });
    assert_eq!(shard.closed[1..], [(3, CloseReason::SessionEnded)]);
    // They come back free, and nobody is there for them.
    assert_eq!(shard.took(), []);
    assert_eq!(shard.state(id(2)), Some(JobState::Ready));
    shard.subscribe(subscribe(4, 0));
    shard.turn.begin_stop(shard.clock);
    shard.flush();
    assert_eq!(shard.closed[2..], [(4, CloseReason::Stopping)]);
}

#[test]
fn a_large_job_uses_up_the_bytes_of_a_credit_and_no_more_than_is_given_back_counts() {
    let mut shard = Shard::new();
    for n in 1..=4 {
        shard.enqueue(NewJob { args: Bytes::from(vec![b'7'; 100]), ..job(n) });
    }
    let few = Credit { jobs: 9, bytes: 150 };
    shard.subscribe(Subscribe { credit: few, ..subscribe(1, 0) });
    assert_eq!(
        shard.took(),
        [(1, vec![1]), (1, vec![2])],
        "the second is larger than what is left"
    );
    shard.add_credit(1, Credit { jobs: 0, bytes: 50 }, Vec::new());
    assert_eq!(shard.took(), []);
    shard.add_credit(1, Credit { jobs: 0, bytes: 100 }, Vec::new());
    assert_eq!(shard.took(), [(1, vec![3])]);
}

#[test]
fn one_delivery_is_no_larger_than_one_lease_and_the_rest_follows() {
    let mut shard = Shard::new();
    shard.turn.state.limits.lease_jobs_max = 2;
    shard.enqueue_each(1..=5);
    shard.subscribe(subscribe(1, 5));
    assert_eq!(shard.took(), [(1, vec![1, 2]), (1, vec![3, 4]), (1, vec![5])]);
}

#[test]
fn nothing_is_granted_while_the_disk_has_no_room_for_grants() {
    let mut shard = Shard::new();
    shard.subscribe(subscribe(1, 1));
    shard.turn.set_grants(false);
    shard.enqueue_each(1..=2);
    shard.advance(1000);
    assert_eq!(shard.took(), []);
    assert!(shard.lease(1).is_empty());
    assert_ne!(shard.turn.next_wake_ms(shard.clock), Some(0), "and nothing is tried in a loop");
    shard.turn.set_grants(true);
    shard.advance(0);
    assert_eq!(shard.took(), [(1, vec![1])]);
    assert_eq!(ids(&shard.lease(1)), [2]);
}

#[test]
fn where_too_many_wait_a_stream_is_served_once_and_does_not_stand() {
    let mut shard = Shard::new();
    shard.turn.state.limits.waiters_max = Cap { shard: 1, namespace: 1 };
    shard.enqueue_each(1..=2);
    assert!(shard.subscribe(subscribe(1, 1)));
    assert!(!shard.subscribe(subscribe(2, 5)));
    assert_eq!(shard.took(), [(1, vec![1]), (2, vec![2])]);
    shard.enqueue_each(3..=3);
    assert_eq!(shard.took(), []);
}

#[test]
fn what_streams_ask_for_is_consumed_while_they_stand_and_a_while_longer() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let consumers = |shard: &mut Shard| match shard.call(Command::GetQueue { queue: "q".into() }) {
        Answer::Queue(queue) => queue.consumers,
        other => panic!("{other:?}"),
    };
    shard.subscribe(subscribe(1, 0));
    let long = shard.turn.state.limits.consumer_ms + 20_000;
    shard.advance(10 * long);
    assert_eq!(consumers(&mut shard), 1);
    shard.turn.unsubscribe(ConsumerId(1));
    assert_eq!(consumers(&mut shard), 1);
    shard.advance(long);
    assert_eq!(consumers(&mut shard), 0);
}

/// One look at the queues that have something left sees some of them only.
#[test]
fn a_stream_is_handed_all_that_its_credit_is_for_however_many_queues_it_comes_from() {
    let mut shard = Shard::new();
    let numbered = |n: u32| JobId(u128::from(n).to_be_bytes());
    for n in (1..=3000).rev() {
        let (queue, new) = (format!("q{:04}", n / 3), NewJob::new(numbered(n), "k", "{}"));
        shard.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs: vec![new] }));
    }
    assert!(shard.subscribe(subscribe(1, 5000)));
    shard.advance(0);
    let taken: usize = shard.delivered.iter().map(|(_, jobs)| jobs.len()).sum();
    assert_eq!(taken, 3000);
}

/// What waited for room on the disk was offered to some of those who stood in line only.
#[test]
fn when_grants_come_back_everybody_in_line_is_offered_what_there_is() {
    let mut shard = Shard::new();
    shard.turn.set_grants(false);
    for n in 0..600 {
        assert!(shard.subscribe(subscribe(n, 1)));
    }
    for n in 0..600u32 {
        let new = NewJob::new(JobId(u128::from(n).to_be_bytes()), "k", "{}");
        let queue = format!("q{n:04}");
        shard.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs: vec![new] }));
    }
    assert!(shard.delivered.is_empty());
    shard.turn.set_grants(true);
    assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(0));
    shard.advance(0);
    assert_eq!(shard.delivered.len(), 600);
}

/// A lane that came forward by itself while others were still to be put forward told nobody.
#[test]
fn what_follows_a_job_that_is_called_off_as_it_becomes_due_is_handed_out() {
    let mut shard = Shard::new();
    let at = Some(Start::After(10_000));
    let new =
        |n: u32| NewJob { start: at, ..NewJob::new(JobId(u128::from(n).to_be_bytes()), "k", "{}") };
    for n in 0..300 {
        let queue = format!("q{n:04}");
        let jobs = vec![new(2 * n), new(2 * n + 1)];
        shard.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs }));
    }
    let last =
        Subscribe { queues: vec![(QueuePattern::Exactly("q0299".into()), 0)], ..subscribe(1, 5) };
    assert!(shard.subscribe(last));
    shard.clock.wall = shard.clock.wall.plus(10_000);
    shard.clock.mono = shard.clock.mono.plus(10_000);
    let id = JobId(598u128.to_be_bytes());
    shard.call(Command::CancelJob { id, force: false });
    shard.advance(0);
    assert_eq!(shard.delivered.len(), 1);
}
