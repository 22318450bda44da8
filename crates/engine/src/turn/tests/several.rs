//! Jobs that name several limits, or a limit and a tenant: a slot is taken of all or of none, and
//! what waits for one of them stands in nobody's way.

use super::*;
use crate::answer::BlockedBy;
use crate::limit::{JobLimit, LimitRule, LimitScope, LimitSettings};

fn put(shard: &mut Shard, name: &str, max: u64) {
    let rule = LimitRule::Concurrency { max };
    let settings = LimitSettings { scope: LimitScope::Key, rule };
    let answer = shard.call(Command::PutLimit { name: name.to_owned(), settings });
    assert!(matches!(answer, Answer::Limit(_)), "{answer:?}");
}

fn of(name: &str, key: &str) -> JobLimit {
    JobLimit { name: name.to_owned(), key: key.to_owned() }
}

/// A job of an account that calls some API.
fn call(n: u8, account: &str, api: &str) -> NewJob {
    NewJob { limits: vec![of("account", account), of("api", api)], ..job(n) }
}

fn blocked_by(shard: &mut Shard, n: u8) -> Vec<(String, String)> {
    let answer = shard.call(Command::AwaitJob { id: id(n), wait_ms: 0 });
    let Answer::Job(view) = answer else { panic!("{answer:?}") };
    let told = view.blocked_by.into_iter().map(|by| match by {
        BlockedBy::Limit { name, key } => (name, key),
        other => panic!("{other:?}"),
    });
    told.collect()
}

fn kept(shard: &Shard) -> usize {
    let keys = shard.turn.map().entries().keys();
    keys.filter(|key| matches!(key.first(), Some(6 | 151 | 152 | 191..=193 | 220..=222))).count()
}

#[test]
fn a_job_takes_a_slot_of_each_of_its_limits_or_of_none() {
    let mut shard = Shard::new();
    put(&mut shard, "account", 1);
    put(&mut shard, "api", 2);
    for (n, account, api) in
        [(1, "a", "x"), (2, "a", "x"), (3, "b", "x"), (4, "c", "x"), (5, "a", "y"), (6, "d", "y")]
    {
        shard.enqueue(call(n, account, api));
    }
    let jobs = shard.lease(9);
    assert_eq!(ids(&jobs), [1, 3, 6], "5 has to wait for its account, 4 for its API");
    let text = |name: &str, key: &str| (name.to_owned(), key.to_owned());
    assert_eq!(blocked_by(&mut shard, 4), [text("api", "x")]);
    assert_eq!(blocked_by(&mut shard, 2), [text("api", "x"), text("account", "a")]);
    let mut shard = shard.restart();
    assert!(shard.lease(9).is_empty());
    shard.settle(&jobs[1], ack()).unwrap();
    assert_eq!(ids(&shard.lease(9)), [4], "2 is before it, and its account is taken");
    shard.settle(&jobs[0], ack()).unwrap();
    let jobs = shard.lease(9);
    assert_eq!(ids(&jobs), [2]);
    shard.settle(&jobs[0], ack()).unwrap();
    assert_eq!(ids(&shard.lease(9)), [5]);
    assert_eq!(kept(&shard), 0);
}

#[test]
fn tenants_take_turns_under_a_key_too() {
    let mut shard = Shard::new();
    put(&mut shard, "api", 1);
    let of_tenant = |n, tenant: &str| {
        let tenant = Some(tenant.to_owned());
        NewJob { limit: Some(of("api", "x")), tenant, ..job(n) }
    };
    for n in 1..=6 {
        shard.enqueue(of_tenant(n, "big"));
    }
    shard.enqueue(of_tenant(7, "small"));
    shard.enqueue(of_tenant(8, "small"));
    let mut order = Vec::new();
    for n in 0..8 {
        let jobs = shard.lease(9);
        assert_eq!(jobs.len(), 1, "one at a time");
        order.extend(ids(&jobs));
        shard.advance(1);
        shard.settle(&jobs[0], ack()).unwrap();
        if n == 3 {
            shard = shard.restart();
        }
    }
    assert_eq!(order, [1, 7, 2, 8, 3, 4, 5, 6]);
    assert_eq!(kept(&shard), 0);
}

#[test]
fn what_names_a_limit_twice_or_too_many_is_refused() {
    let mut shard = Shard::new();
    let refused = |shard: &mut Shard, limits: Vec<JobLimit>| {
        let jobs = vec![NewJob { limits, ..job(1) }];
        let queue = "q".to_owned();
        let answer = shard.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs }));
        matches!(answer, Answer::Rejected(Rejection::ValueRefused { field: "limits", .. }))
    };
    assert!(refused(&mut shard, vec![of("api", "x"), of("api", "y")]));
    let many = (0..5).map(|n| of(&format!("limit-{n}"), "x")).collect();
    assert!(refused(&mut shard, many));
}

#[test]
fn many_lines_behind_one_key_are_moved_once_and_not_with_every_slot() {
    let mut shard = Shard::new();
    put(&mut shard, "account", 1);
    put(&mut shard, "api", 1);
    let jobs = (0..3000).map(|n| NewJob { id: number(n), ..call(1, &format!("{n}"), "x") });
    let (queue, jobs) = ("q".to_owned(), jobs.collect());
    shard.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs }));
    let first = shard.lease(1);
    assert_eq!(first.len(), 1);
    for _ in 0..3 {
        assert!(shard.lease(1).is_empty(), "each is met once");
    }
    assert_eq!(shard.turn.state.lanes.in_memory().0, 0, "all stand under the API");
    shard.flush();
    let before = shard.journal.iter().map(Bytes::len).sum::<usize>();
    let mut running = first;
    for _ in 0..20 {
        shard.settle(&running[0], ack()).unwrap();
        running = shard.lease(9);
        assert_eq!(running.len(), 1);
    }
    let bytes = shard.journal.iter().map(Bytes::len).sum::<usize>() - before;
    assert!(bytes < 20 * 400, "a slot moves one of them: {bytes} bytes");
}

/// A shard whose jobs name up to three limits, and what a naive count says of it.
struct Stress {
    seed: u64,
    random: u64,
    shard: Shard,
    max: BTreeMap<String, u64>,
    waiting: BTreeMap<u32, Vec<JobLimit>>,
    running: Vec<(Delivery, Vec<JobLimit>)>,
}

fn number(n: u32) -> JobId {
    JobId(u128::from(n + 1000).to_be_bytes())
}

impl Stress {
    fn new(seed: u64) -> Self {
        let mut shard = Shard::new();
        let max: BTreeMap<_, _> = ["l0", "l1", "l2"].map(|name| (name.to_owned(), 2)).into();
        for (name, max) in &max {
            put(&mut shard, name, *max);
        }
        let (waiting, running) = (BTreeMap::new(), Vec::new());
        Self { seed, random: seed, shard, max, waiting, running }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = self.random.wrapping_add(self.seed | 1);
        (self.random >> 33) % below
    }

    fn has_room(&self, limits: &[JobLimit]) -> bool {
        limits.iter().all(|limit| {
            let named = |(_, of): &&(Delivery, Vec<JobLimit>)| of.contains(limit);
            (self.running.iter().filter(named).count() as u64) < self.max[&limit.name]
        })
    }

    fn enqueue(&mut self, n: u32) {
        let mut limits = Vec::new();
        for at in 0..3 {
            if self.draw(3) > 0 {
                limits.push(of(&format!("l{at}"), &format!("key-{}", self.draw(3))));
            }
        }
        let tenant = (self.draw(3) == 0).then(|| format!("tenant-{}", self.draw(3)));
        let gates = if self.draw(5) == 0 { vec!["open".to_owned()] } else { Vec::new() };
        let new = NewJob { id: number(n), tenant, gates, limits: limits.clone(), ..job(1) };
        self.shard.enqueue(new);
        self.waiting.insert(n, limits);
    }

    /// A restart, another limit, a job that is called off, or runs that end.
    fn disturb(&mut self) {
        match self.draw(8) {
            0 => self.shard = self.shard.restart(),
            1 => {
                let (name, max) = (format!("l{}", self.draw(3)), 1 + self.draw(3));
                put(&mut self.shard, &name, max);
                self.max.insert(name, max);
            }
            2 => {
                let at = self.draw(self.waiting.len() as u64) as usize;
                let gone = *self.waiting.keys().nth(at).unwrap();
                self.shard.call(Command::CancelJob { id: number(gone), force: false });
                self.waiting.remove(&gone);
            }
            _ => {}
        }
        for _ in 0..self.draw(3) {
            if !self.running.is_empty() {
                let at = self.draw(self.running.len() as u64) as usize;
                let (ended, _) = self.running.remove(at);
                self.shard.advance(1);
                self.shard.settle(&ended, ack()).unwrap();
            }
        }
    }

    fn lease(&mut self, max: usize) {
        for job in self.shard.lease(max) {
            let n = u128::from_be_bytes(job.id.0) as u32 - 1000;
            let limits = self.waiting.remove(&n).expect("it waited");
            assert!(self.has_room(&limits), "seed {}: job {n} has no room", self.seed);
            self.running.push((job, limits));
        }
    }
}

#[test]
fn nothing_that_has_room_waits_and_nothing_runs_without() {
    for seed in 1..=40_u64 {
        let mut it = Stress::new(seed);
        for n in 0..200 {
            it.enqueue(n);
            it.disturb();
            let some = 1 + it.draw(4) as usize;
            it.lease(some);
            it.lease(1000);
            let idle = it.waiting.iter().find(|(_, limits)| it.has_room(limits));
            assert!(idle.is_none(), "seed {seed}: {idle:?} could run");
        }
        for (job, _) in &it.running {
            it.shard.settle(job, ack()).unwrap();
        }
        let (queue, kind, before) = ("q".to_owned(), None, None);
        it.shard.call(Command::StartOperation(OperationKind::PurgeQueue { queue, kind, before }));
        it.shard.advance(1);
        assert_eq!(kept(&it.shard), 0, "seed {seed}");
        assert!(it.shard.turn.state.limiting.counts_nothing());
    }
}

#[test]
fn what_a_spent_key_holds_back_makes_no_oldest_age() {
    let mut shard = Shard::new();
    put(&mut shard, "api", 1);
    let of_tenant = |n, tenant: &str| {
        let tenant = Some(tenant.to_owned());
        NewJob { limit: Some(of("api", "x")), tenant, ..job(n) }
    };
    let oldest = |shard: &mut Shard| match shard.call(Command::GetQueue { queue: "q".to_owned() }) {
        Answer::Queue(view) => view.oldest_age_ms,
        other => panic!("{other:?}"),
    };
    for (n, tenant) in [(1, "big"), (2, "big"), (3, "small"), (4, "third")] {
        shard.enqueue(of_tenant(n, tenant));
    }
    shard.advance(500);
    assert_eq!(oldest(&mut shard), Some(500));
    let jobs = shard.lease(9);
    assert_eq!((ids(&jobs), oldest(&mut shard)), (vec![1], None));
    shard.enqueue(of_tenant(5, "fourth"));
    let mut shard = shard.restart();
    assert_eq!(oldest(&mut shard), None);
    shard.settle(&jobs[0], ack()).unwrap();
    assert_eq!(oldest(&mut shard), Some(500), "there is room for one again");
    for _ in 0..4 {
        let jobs = shard.lease(9);
        assert_eq!((jobs.len(), oldest(&mut shard)), (1, None));
        shard.settle(&jobs[0], ack()).unwrap();
    }
    assert_eq!((kept(&shard), oldest(&mut shard)), (0, None));
}

#[test]
fn a_tenant_with_very_many_keys_holds_up_others_for_a_few_jobs() {
    let mut shard = Shard::new();
    put(&mut shard, "account", 9);
    let of_tenant = |n: u32, tenant: &str, key: String| NewJob {
        id: number(n),
        limit: Some(of("account", &key)),
        tenant: Some(tenant.to_owned()),
        ..job(1)
    };
    // Their names go the other way than their times.
    let big = (0..300).map(|n| of_tenant(n, "big", format!("key-{:03}", 999 - n)));
    let (queue, jobs) = ("q".to_owned(), big.collect());
    shard.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs }));
    shard.enqueue(of_tenant(1000, "small", "own".to_owned()));
    let small = number(1000);
    let first = (0..300).position(|_| shard.lease(1)[0].id == small);
    assert!(first.is_some_and(|at| at <= 6), "{first:?} of another tenant came before it");
}
