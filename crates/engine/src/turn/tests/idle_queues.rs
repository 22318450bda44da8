//! Queues that nobody uses.

use super::*;
use crate::job::JobFilter;
use crate::operation::{JobAction, JobsChange};

impl Shard {
    fn queue_names(&mut self) -> Vec<String> {
        match self.call(Command::ListQueues { after: None, limit: 100 }) {
            Answer::Queues(queues, _) => queues.into_iter().map(|queue| queue.name).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Lets the time pass as the server does: tick by tick, when one is due.
    fn sleep(&mut self, ms: u64) {
        let end = self.clock.mono.plus(ms);
        while self.clock.mono < end {
            let next = self.turn.next_wake_ms(self.clock).expect("queues are looked at");
            self.advance(next.clamp(1, end.0 - self.clock.mono.0));
        }
    }
}

/// Queues of names that are made up as they are needed stayed for ever.
#[test]
fn queues_that_are_empty_and_unused_are_removed() {
    let limits = Limits { queue_idle_ms: Some(80_000), slice_items_max: 2, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    let enqueue = |shard: &mut Shard, queue: &str, n| {
        let (queue, jobs) = (queue.to_owned(), vec![NewJob { max_attempts: Some(1), ..job(n) }]);
        shard.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs }));
    };
    let done = |shard: &mut Shard, queue: &str| {
        let queues = vec![QueuePattern::Exactly(queue.to_owned())];
        let answer = shard.call(Command::LeaseJobs(Box::new(LeaseJobs { queues, ..wish() })));
        let Answer::Leased { jobs, .. } = answer else { panic!("{answer:?}") };
        shard.settle(&jobs[0], ack()).unwrap();
    };
    for (n, queue) in ["a", "b", "busy", "dead", "full", "used"].into_iter().enumerate() {
        enqueue(&mut shard, queue, n as u8 + 1);
    }
    let settings = QueueSettings { max_length: Some(9), ..QueueSettings::DEFAULT };
    shard.call(Command::PutQueue { queue: "set".into(), settings });
    for queue in ["a", "b", "used"] {
        done(&mut shard, queue);
    }
    let lease_ms = Some(3_600_000);
    for queue in ["busy", "dead"] {
        let queues = vec![QueuePattern::Exactly(queue.to_owned())];
        let wish = LeaseJobs { queues, lease_ms, ..wish() };
        let answer = shard.call(Command::LeaseJobs(Box::new(wish)));
        let Answer::Leased { jobs, .. } = answer else { panic!("{answer:?}") };
        if queue == "dead" {
            shard.settle(&jobs[0], fail()).unwrap();
        }
    }
    shard.sleep(60_000);
    assert_eq!(shard.queue_names().len(), 7);
    enqueue(&mut shard, "used", 9);
    done(&mut shard, "used");
    shard.sleep(45_000);
    assert_eq!(shard.queue_names(), ["busy", "dead", "full", "set", "used"]);
    let mut shard = shard.restart();
    assert_eq!(shard.queue_names(), ["busy", "dead", "full", "set", "used"]);
    shard.sleep(79_000);
    assert_eq!(shard.queue_names().len(), 5, "the time begins anew");
    shard.sleep(25_000);
    assert_eq!(shard.queue_names(), ["busy", "dead", "full", "set"]);
    enqueue(&mut shard, "a", 10);
    done(&mut shard, "a");
}

/// A queue that jobs only ever were moved to counted as unused from when it was created.
#[test]
fn a_queue_that_jobs_are_moved_to_is_used() {
    let limits = Limits { queue_idle_ms: Some(80_000), ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    let to = || "to".to_owned();
    shard.call(Command::PutQueue { queue: to(), settings: QueueSettings::DEFAULT });
    shard.enqueue(job(1));
    shard.sleep(75_000);
    let (filter, action) = (JobFilter::default(), JobAction::Move { queue: to() });
    let change = Box::new(JobsChange { filter, action, limit: None });
    shard.call(Command::StartOperation(OperationKind::ChangeJobs { change }));
    shard.advance(1);
    let queues = vec![QueuePattern::Exactly(to())];
    let answer = shard.call(Command::LeaseJobs(Box::new(LeaseJobs { queues, ..wish() })));
    let Answer::Leased { jobs, .. } = answer else { panic!("{answer:?}") };
    shard.settle(&jobs[0], ack()).unwrap();
    shard.sleep(20_000);
    assert!(shard.queue_names().contains(&to()));
    shard.sleep(100_000);
    assert!(!shard.queue_names().contains(&to()));
}
