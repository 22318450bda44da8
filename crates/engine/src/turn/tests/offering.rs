//! What the end of a run costs under a limit over its namespace, and who gets its slot.

use super::*;
use crate::command::{ConsumerId, Credit, Holder, Subscribe};
use crate::limit::{LimitRule, LimitScope, LimitSettings};

/// Queues that one look is about, in tests.
const LOOK: usize = 16;

impl Shard {
    fn fill_in(&mut self, namespace: &str, queue: &str, count: u64) {
        let jobs = (0..count).map(|_| {
            self.next_reply += 1;
            NewJob { id: JobId(u128::from(self.next_reply).to_be_bytes()), ..job(0) }
        });
        let (queue, jobs) = (queue.to_owned(), jobs.collect());
        self.ask_in(namespace, Command::EnqueueJobs(EnqueueJobs { queue, jobs }));
    }

    fn ask_in(&mut self, namespace: &str, command: Command) {
        let reply_to = ReplyTo(self.next_reply + 1);
        self.next_reply += 2;
        let request = Request { namespace: namespace.to_owned(), reply_to, command };
        self.turn.submit(request, self.clock);
        self.flush();
        let answer = self.answers.remove(&reply_to.0);
        assert!(!matches!(answer, None | Some(Answer::Rejected(_))), "{answer:?}");
    }

    fn one_at_a_time(&mut self) {
        let rule = LimitRule::Concurrency { max: 1 };
        let settings = LimitSettings { scope: LimitScope::Namespace, rule };
        self.call(Command::PutLimit { name: "one".to_owned(), settings });
    }

    fn stream_of(&mut self, number: u64, queue: &str) {
        let subscribe = Subscribe {
            consumer: ConsumerId(number),
            holder: Holder { worker: "w".into(), session: format!("s{number}") },
            queues: vec![(QueuePattern::Exactly(queue.to_owned()), 0)],
            kinds: None,
            lease_ms: Some(3_600_000),
            credit: Credit { jobs: 100, bytes: 1 << 20 },
        };
        self.call(Command::Subscribe(Box::new(subscribe)));
    }

    /// The only delivery since the last look, and to whom; ticks as long as there is more to do.
    fn delivery(&mut self) -> (u64, Delivery) {
        let mut ticks = 0;
        while self.delivered.is_empty() {
            assert_eq!(self.turn.next_wake_ms(self.clock), Some(0), "there is more to do");
            let before = self.turn.state.limiting.offering.looked;
            self.turn.tick(self.clock);
            self.flush();
            let looked = self.turn.state.limiting.offering.looked - before;
            assert!(looked <= LOOK, "{looked} queues in one tick");
            ticks += 1;
            assert!(ticks < 100, "it comes to an end");
        }
        let mut all = std::mem::take(&mut self.delivered);
        let (consumer, mut jobs) = all.pop().unwrap();
        assert!(all.is_empty() && jobs.len() == 1, "one at a time");
        (consumer, jobs.remove(0))
    }
}

/// Each end of a run walked the queues of all namespaces.
#[test]
fn the_end_of_a_run_looks_at_few_queues_of_its_own_namespace() {
    let mut shard = Shard::new();
    shard.ask_in("other", Command::CreateNamespace);
    for n in 0..500 {
        shard.fill_in("other", &format!("q{n:03}"), 1);
    }
    for queue in ["a", "b", "c"] {
        shard.fill_in("default", queue, 9);
    }
    shard.one_at_a_time();
    shard.stream_of(1, "b");
    let (_, mut running) = shard.delivery();
    for _ in 1..9 {
        let before = shard.turn.state.limiting.offering.looked;
        shard.settle(&running, ack()).unwrap();
        (_, running) = shard.delivery();
        let looked = shard.turn.state.limiting.offering.looked - before;
        assert!((1..=3).contains(&looked), "{looked} queues were looked at");
    }
    shard.settle(&running, ack()).unwrap();
    for _ in 0..9 {
        shard.advance(1);
    }
    assert!(!shard.turn.state.limiting.offering.goes_on(), "each was looked at once");
    assert!(shard.delivered.is_empty(), "nobody takes of the others");
}

/// Of many queues only the first so many were offered: where these always have jobs, and the limit
/// is spent again at once, workers of the others never had a turn.
#[test]
fn workers_of_all_queues_have_their_turn_under_a_limit_over_their_namespace() {
    let mut shard = Shard::new();
    for n in 0..100 {
        shard.fill_in("default", &format!("q{n:03}"), if n % 99 == 0 { 100 } else { 1 });
    }
    shard.one_at_a_time();
    for (number, queue) in [(1, "q000"), (2, "q001"), (3, "q050"), (4, "q099")] {
        shard.stream_of(number, queue);
    }
    let mut deliveries = [0_u32; 5];
    let (mut to, mut running) = shard.delivery();
    for _ in 0..60 {
        deliveries[to as usize] += 1;
        shard.settle(&running, ack()).unwrap();
        (to, running) = shard.delivery();
    }
    assert_eq!(deliveries[2..4], [1, 1], "all that they have");
    assert!(deliveries[1] >= 25 && deliveries[4] >= 25, "{deliveries:?}");
}

/// What is offered to nobody is not looked for, tick by tick.
#[test]
fn where_nobody_waits_nothing_is_looked_for() {
    let mut shard = Shard::new();
    for n in 0..100 {
        shard.fill_in("default", &format!("q{n:03}"), 2);
    }
    shard.one_at_a_time();
    let queues = vec![QueuePattern::Prefix(String::new())];
    let asks = || Command::LeaseJobs(Box::new(LeaseJobs { queues: queues.clone(), ..wish() }));
    for _ in 0..5 {
        let Answer::Leased { jobs, .. } = shard.call(asks()) else { panic!("no answer") };
        let before = shard.turn.state.limiting.offering.looked;
        shard.settle(&jobs[0], ack()).unwrap();
        shard.advance(1);
        assert!(!shard.turn.state.limiting.offering.goes_on());
        let looked = shard.turn.state.limiting.offering.looked - before;
        assert!(looked <= LOOK, "{looked} queues");
    }
}
