//! What a spent limit over kinds costs those who take jobs, and what it costs to find who waits.

use super::*;
use crate::ids::NamespaceId;
use crate::kind::KindRange;
use crate::limit::{LimitRule, LimitScope, LimitSettings};

/// Queues of the kind whose limit is spent.
const QUEUES: u64 = 3000;

fn number(n: u64) -> JobId {
    JobId(u128::from(n).to_be_bytes())
}

impl Shard {
    fn fill(&mut self, queue: &str, n: u64, kind: &str) {
        let jobs = vec![NewJob { id: number(n), kind: kind.to_owned(), ..job(0) }];
        self.call(Command::EnqueueJobs(EnqueueJobs { queue: queue.to_owned(), jobs }));
    }

    fn limit_kind(&mut self, kind: &str, max: u64) {
        let scope = LimitScope::Kind { name: Some(kind.to_owned()) };
        let settings = LimitSettings { scope, rule: LimitRule::Concurrency { max } };
        self.call(Command::PutLimit { name: kind.to_owned(), settings });
    }

    fn ns(&self) -> NamespaceId {
        self.turn.state.namespaces.named("default").unwrap()
    }

    /// Jobs of all queues, and what was looked at for them.
    fn take_all(&mut self, max: usize) -> (Vec<Delivery>, usize) {
        let before = self.turn.looked;
        let queues = vec![QueuePattern::Prefix(String::new())];
        match self.call(Command::LeaseJobs(Box::new(LeaseJobs { queues, max, ..wish() }))) {
            Answer::Leased { jobs, .. } => (jobs, self.turn.looked - before),
            other => panic!("{other:?}"),
        }
    }

    fn wait_for(&mut self, n: u64, pattern: QueuePattern, kind: &str) -> u64 {
        let kinds = Some(vec![KindRange::unversioned(kind)]);
        let (session, queues) = (format!("s{n}"), vec![pattern]);
        let wish = LeaseJobs { queues, kinds, session, wait_ms: 9_000, max: 1, ..wish() };
        self.send(Command::LeaseJobs(Box::new(wish)))
    }
}

/// Each lease of all queues, and each consumer that was offered one, looked at every lane of a kind
/// whose limit was spent.
#[test]
fn lanes_of_a_spent_kind_are_passed_once_and_a_limit_that_flips_moves_none() {
    let mut shard = Shard::new();
    shard.limit_kind("slow", 1);
    for n in 0..QUEUES {
        shard.fill(&format!("q{n}"), n, "slow");
    }
    let (mut running, _) = shard.take_all(1);
    assert_eq!(running.len(), 1);
    // They stand among the others from before: those that are in the way are put apart.
    shard.fill("other", QUEUES, "quick");
    let (jobs, looked) = shard.take_all(9);
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [number(QUEUES)]);
    assert!(looked < 8 * QUEUES as usize, "{looked}");
    for n in 1..50 {
        shard.fill("other", QUEUES + n, "quick");
        let (jobs, looked) = shard.take_all(9);
        assert!(jobs.len() == 1 && looked < 20, "{looked}");
        // It lets go, and is spent again with the next one.
        shard.settle(&running[0], ack()).unwrap();
        let apart = shard.turn.state.lanes.apart_count();
        let (jobs, looked) = shard.take_all(9);
        assert!(jobs.len() == 1 && jobs[0].id == number(n) && looked < 400, "{looked}");
        assert_eq!(shard.turn.state.lanes.apart_count(), apart - 1);
        running = jobs;
    }
    let mut shard = shard.restart();
    shard.fill("other", 2 * QUEUES, "quick");
    let (jobs, looked) = shard.take_all(9);
    assert!(jobs.len() == 1 && looked < 8 * QUEUES as usize, "{looked} after a restart");
    shard.call(Command::DeleteLimit { name: "slow".to_owned() });
    shard.advance(31_000);
    let mut left = 0;
    loop {
        let (jobs, _) = shard.take_all(500);
        if jobs.is_empty() {
            break;
        }
        left += jobs.len();
    }
    assert_eq!(left, QUEUES as usize - 49 + 51, "nothing is lost, and what was lost comes again");
}

/// Many kinds of which limits let go are so many more trees for whoever takes of all.
#[test]
fn few_kinds_stand_apart_that_nothing_holds_back() {
    let mut shard = Shard::new();
    for kind in 0..100 {
        shard.limit_kind(&format!("k{kind}"), 1);
        for n in 0..3 {
            shard.fill(&format!("q{n}"), 10 * kind + n, &format!("k{kind}"));
        }
    }
    let (jobs, _) = shard.take_all(500);
    assert_eq!(jobs.len(), 100);
    assert!(shard.take_all(500).0.is_empty());
    assert_eq!(shard.turn.state.lanes.apart_count(), 200);
    for job in &jobs {
        shard.settle(job, ack()).unwrap();
    }
    for _ in 0..4 {
        shard.advance(1);
    }
    let apart = shard.turn.state.lanes.apart_count();
    assert_eq!(apart, 2 * 64, "the others came back");
    assert_eq!(shard.take_all(500).0.len(), 100);
}

/// Whoever did not ask for the kind was asked all the same, at no cost that anybody counted; and
/// where a turn ended in between, the next one began with the first again.
#[test]
fn those_who_wait_for_other_kinds_are_asked_within_the_budget_of_a_turn() {
    let mut shard = Shard::new();
    let exactly = || QueuePattern::Exactly("q".to_owned());
    let waiting = 20_000;
    shard.turn.state.limits.waiters_max = crate::Cap { shard: 50_000, namespace: 50_000 };
    for n in 0..waiting {
        shard.wait_for(n, exactly(), "other");
    }
    let last = shard.wait_for(waiting, exactly(), "wanted");
    let before = shard.turn.looked;
    shard.send(Command::EnqueueJobs(EnqueueJobs {
        queue: "q".to_owned(),
        jobs: vec![NewJob { kind: "wanted".to_owned(), ..job(1) }],
    }));
    let looked = shard.turn.looked - before;
    assert!(looked < 20_000, "{looked} in one turn");
    assert!(!shard.answers.contains_key(&last), "it comes later");
    assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(0));
    for n in 0..20 {
        // What comes meanwhile does not have it begin anew.
        shard.fill("q", n + 10, "nobodys");
        let before = shard.turn.looked;
        shard.turn.tick(shard.clock);
        assert!(shard.turn.looked - before < 40_000);
        shard.flush();
        if shard.answers.contains_key(&last) {
            break;
        }
    }
    let Some(Answer::Leased { jobs, .. }) = shard.answers.remove(&last) else { panic!("nothing") };
    assert_eq!(ids(&jobs), [1]);
    while shard.turn.tick(shard.clock) {
        shard.flush();
    }
}

/// All who waited for some prefix were compared with each queue in which something became
/// available.
#[test]
fn who_waits_for_other_prefixes_is_not_looked_at() {
    let mut shard = Shard::new();
    for n in 0..2000 {
        shard.wait_for(n, QueuePattern::Prefix(format!("other{n:04}")), "k");
    }
    let two = shard.wait_for(3000, QueuePattern::Prefix("q.b".to_owned()), "k");
    let one = shard.wait_for(3001, QueuePattern::Prefix("q.".to_owned()), "k");
    let ns = shard.ns();
    let looked = |shard: &Shard, queue: &str| {
        let before = shard.turn.consumers.looks.get();
        shard.turn.consumers.next_for(ns, queue, None);
        shard.turn.consumers.looks.get() - before
    };
    assert!(looked(&shard, "nobodys") <= 4 && looked(&shard, "other1234") <= 4);
    shard.fill("q.b", 1, "k");
    assert!(shard.answers.contains_key(&two) && !shard.answers.contains_key(&one));
    shard.fill("q.b", 2, "k");
    assert!(shard.answers.contains_key(&one));
    assert_eq!(looked(&shard, "q.b"), 1, "nobody asks for so short a prefix any more");
}
