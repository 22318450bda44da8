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
        self.one_at_a_time_in("default", LimitScope::Namespace);
    }

    fn one_at_a_time_in(&mut self, namespace: &str, scope: LimitScope) {
        let settings = LimitSettings { scope, rule: LimitRule::Concurrency { max: 1 } };
        self.ask_in(namespace, Command::PutLimit { name: "one".to_owned(), settings });
    }

    fn stream_of(&mut self, number: u64, queue: &str) {
        self.stream_in("default", number, queue);
    }

    fn stream_in(&mut self, namespace: &str, number: u64, queue: &str) {
        let subscribe = Subscribe {
            consumer: ConsumerId(number),
            holder: Holder { worker: "w".into(), session: format!("s{number}") },
            queues: vec![(QueuePattern::Exactly(queue.to_owned()), 0)],
            kinds: None,
            lease_ms: Some(3_600_000),
            credit: Credit { jobs: 100, bytes: 1 << 20 },
        };
        self.ask_in(namespace, Command::Subscribe(Box::new(subscribe)));
    }

    fn end_in(&mut self, namespace: &str, run: &Delivery) {
        let settlement = Settlement { id: run.id, token: run.token, verdict: ack() };
        self.ask_in(namespace, Command::SettleJobs(vec![settlement]));
    }

    fn looks_on(&self) -> bool {
        self.turn.state.limiting.offering().goes_on()
    }

    /// The only delivery since the last look, and to whom; ticks as long as there is more to do.
    fn delivery(&mut self) -> (u64, Delivery) {
        let mut ticks = 0;
        while self.delivered.is_empty() {
            assert_eq!(self.turn.next_wake_ms(self.clock), Some(0), "there is more to do");
            let before = self.turn.state.limiting.offering().looked;
            self.turn.tick(self.clock);
            self.flush();
            let looked = self.turn.state.limiting.offering().looked - before;
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
        let before = shard.turn.state.limiting.offering().looked;
        shard.settle(&running, ack()).unwrap();
        (_, running) = shard.delivery();
        let looked = shard.turn.state.limiting.offering().looked - before;
        assert!((1..=3).contains(&looked), "{looked} queues were looked at");
    }
    shard.settle(&running, ack()).unwrap();
    for _ in 0..9 {
        shard.advance(1);
    }
    assert!(!shard.looks_on(), "each was looked at once");
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

/// Each look found the same 4096 queues first: workers of the others were never offered anything.
#[test]
fn workers_of_all_queues_have_their_turn_under_a_limit_over_a_kind() {
    const QUEUES: usize = 10_000;
    let mut shard = Shard::new();
    let name = |n: usize| format!("q{n:05}");
    let taken = |n: usize| n.is_multiple_of(1000);
    for n in 0..QUEUES {
        shard.fill_in("default", &name(n), if taken(n) { 9 } else { 1 });
    }
    shard.one_at_a_time_in("default", LimitScope::Kind { name: None });
    for n in (0..QUEUES).filter(|n| taken(*n)) {
        shard.stream_of(n as u64, &name(n));
    }
    let (mut deliveries, mut ticks) = (BTreeMap::<u64, u64>::new(), 0);
    while deliveries.values().sum::<u64>() < 9 * 10 {
        for (to, jobs) in std::mem::take(&mut shard.delivered) {
            assert_eq!(jobs.len(), 1, "one at a time");
            *deliveries.entry(to).or_default() += 1;
            shard.settle(&jobs[0], ack()).unwrap();
        }
        let before = shard.turn.state.limiting.offering().looked;
        shard.turn.tick(shard.clock);
        shard.flush();
        assert!(shard.turn.state.limiting.offering().looked - before <= LOOK);
        let served: Vec<u64> = deliveries.values().copied().collect();
        assert!(served.iter().all(|count| count + 2 >= served[0]), "{deliveries:?}");
        ticks += 1;
        assert!(ticks < 10 * QUEUES.div_ceil(LOOK), "some have no turn: {deliveries:?}");
    }
    assert_eq!(deliveries.len(), 10);
    for _ in 0..2 * QUEUES.div_ceil(LOOK) {
        shard.turn.tick(shard.clock);
        shard.flush();
    }
    assert!(!shard.looks_on(), "each was looked at once");
    assert_eq!(shard.turn.state.limiting.offering().remembered(), 0);
}

/// What is offered to nobody is not looked for.
#[test]
fn where_nobody_waits_nothing_is_looked_for() {
    for scope in [LimitScope::Namespace, LimitScope::Kind { name: None }] {
        let mut shard = Shard::new();
        for n in 0..100 {
            shard.fill_in("default", &format!("q{n:03}"), 2);
        }
        shard.one_at_a_time_in("default", scope);
        let queues = vec![QueuePattern::Prefix(String::new())];
        let asks = || Command::LeaseJobs(Box::new(LeaseJobs { queues: queues.clone(), ..wish() }));
        for _ in 0..5 {
            let Answer::Leased { jobs, .. } = shard.call(asks()) else { panic!("no answer") };
            shard.settle(&jobs[0], ack()).unwrap();
            assert!(!shard.looks_on());
            shard.advance(1);
        }
        let mut shard = shard.restart();
        shard.advance(1);
        assert_eq!(shard.turn.state.limiting.offering().looked, 0);
        assert!(!shard.looks_on());
    }
}

/// A namespace that is at its limit, and has an end in each turn, took each look for itself.
#[test]
fn namespaces_that_let_go_take_turns() {
    let mut shard = Shard::new();
    shard.ask_in("other", Command::CreateNamespace);
    for n in 0..100 {
        shard.fill_in("other", &format!("q{n:03}"), 2);
    }
    shard.fill_in("default", "a", 100);
    for namespace in ["default", "other"] {
        shard.one_at_a_time_in(namespace, LimitScope::Namespace);
    }
    shard.stream_in("other", 2, "q099");
    let (_, of_other) = shard.delivery();
    shard.stream_of(1, "a");
    let (_, mut running) = shard.delivery();
    shard.end_in("other", &of_other);
    let mut turns = 0;
    let mut served = false;
    while !served {
        turns += 1;
        assert!(turns < 20, "nobody comes to the other namespace");
        shard.settle(&running, ack()).unwrap();
        shard.turn.tick(shard.clock);
        shard.flush();
        for (consumer, mut jobs) in std::mem::take(&mut shard.delivered) {
            match consumer {
                1 => running = jobs.remove(0),
                _ => served = true,
            }
        }
    }
    assert!(!shard.looks_on(), "both are spent");
    assert_ne!(shard.turn.next_wake_ms(shard.clock), Some(0), "there is nothing to do");
}

/// Where looks had come to was remembered of namespaces that have no limit, or are gone.
#[test]
fn nothing_is_remembered_of_namespaces_without_a_limit() {
    for (is_spent, is_deleted) in [(true, false), (false, false), (false, true)] {
        let mut shard = Shard::new();
        shard.ask_in("other", Command::CreateNamespace);
        shard.fill_in("other", "a", 2);
        shard.one_at_a_time_in("other", LimitScope::Namespace);
        shard.stream_in("other", 1, "a");
        let (_, running) = shard.delivery();
        shard.end_in("other", &running);
        let (_, running) = shard.delivery();
        let remembered = |shard: &Shard| shard.turn.state.limiting.offering().remembered();
        assert_eq!(remembered(&shard), 1);
        if !is_spent {
            shard.end_in("other", &running);
            shard.advance(1);
        }
        if is_deleted {
            shard.ask_in("other", Command::DeleteQueue { queue: "a".to_owned() });
            shard.ask_in("other", Command::DeleteNamespace);
        } else {
            shard.ask_in("other", Command::DeleteLimit { name: "one".to_owned() });
        }
        for _ in 0..9 {
            shard.advance(1);
        }
        assert_eq!(remembered(&shard), 0, "{is_spent}, {is_deleted}");
    }
}
