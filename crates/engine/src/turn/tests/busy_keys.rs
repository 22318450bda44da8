//! What waits behind a busy key of a limit costs nobody anything: not the first job of another key,
//! nor the next one of its own, nor a start. What is looked at in the map is counted, not time.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::limit::{JobLimit, LimitRule, LimitScope, LimitSettings};
use crate::map::{OrderedMap, Reader};

/// A map that counts entries that are read, passed and written.
#[derive(Debug)]
struct Counted {
    map: Map,
    looks: Arc<AtomicUsize>,
}

impl Counted {
    fn look(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }
}

impl Reader for Counted {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.look();
        self.map.get(key).cloned()
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        self.look();
        self.map.scan(from, to, &mut |key, value| {
            self.look();
            visit(key, value)
        });
    }
}

impl OrderedMap for Counted {
    fn put(&mut self, position: Position, key: &[u8], value: Option<&[u8]>) {
        self.look();
        OrderedMap::put(&mut self.map, position, key, value);
    }

    fn seal(&mut self, _: Position) {}
}

/// What jobs name beside the key that is busy.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Nothing,
    /// A key of their own of another limit.
    Account,
    /// One of a few tenants.
    Tenant,
}

struct Bench {
    shard: Shard,
    looks: Arc<AtomicUsize>,
    shape: Shape,
    jobs: u64,
}

impl Bench {
    fn on(map: Map, position: Position, (shape, jobs): (Shape, u64)) -> Self {
        let looks = Arc::new(AtomicUsize::new(0));
        let counted = Counted { map, looks: Arc::clone(&looks) };
        let limits = Limits { lease_ms_default: 3_600_000, ..Limits::default() };
        let shard = Shard::recover_on(counted, (Map::new(), position), &[], limits);
        Self { shard, looks, shape, jobs }
    }

    fn new(shape: Shape) -> Self {
        let mut bench = Self::on(Map::new(), Position::START, (shape, 0));
        for name in ["api", "account"] {
            let rule = LimitRule::Concurrency { max: 1 };
            let settings = LimitSettings { scope: LimitScope::Key, rule };
            bench.shard.call(Command::PutLimit { name: name.to_owned(), settings });
        }
        bench
    }

    /// A start from what is on disk, and what it looked at.
    fn restart(mut self) -> (Self, usize) {
        let position = self.shard.turn.position();
        let map = self.shard.turn.complete_map().downcast_ref::<Counted>().unwrap().map.clone();
        let bench = Self::on(map, position, (self.shape, self.jobs));
        let looked = bench.looks.load(Ordering::Relaxed);
        (bench, looked)
    }

    fn job(&mut self, key: &str) -> NewJob {
        self.jobs += 1;
        let of = |name: &str, key: String| JobLimit { name: name.to_owned(), key };
        let api = of("api", key.to_owned());
        let mut new = NewJob { id: JobId(u128::from(self.jobs).to_be_bytes()), ..job(0) };
        match self.shape {
            Shape::Account => new.limits = vec![of("account", self.jobs.to_string()), api],
            Shape::Nothing => new.limit = Some(api),
            Shape::Tenant => {
                new.limit = Some(api);
                new.tenant = Some(format!("{key} {}", self.jobs % 7));
            }
        }
        new
    }

    fn enqueue(&mut self, key: &str, count: u64) {
        let jobs = (0..count).map(|_| self.job(key)).collect();
        let command = EnqueueJobs { queue: "q".to_owned(), jobs };
        let answer = self.shard.call(Command::EnqueueJobs(command));
        assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
    }

    /// What a worker that waits is handed by a change, and what that looked at.
    fn served(&mut self, change: impl FnOnce(&mut Self)) -> (Delivery, usize) {
        let waits = LeaseJobs { wait_ms: 1_000, session: String::new(), ..wish() };
        let waiting = self.shard.send(Command::LeaseJobs(Box::new(waits)));
        assert!(!self.shard.answers.contains_key(&waiting), "the key is busy");
        let before = self.looks.load(Ordering::Relaxed);
        change(self);
        let looked = self.looks.load(Ordering::Relaxed) - before;
        match self.shard.answers.remove(&waiting) {
            Some(Answer::Leased { mut jobs, .. }) => (jobs.remove(0), looked),
            other => panic!("{other:?}"),
        }
    }
}

/// What is looked at with so many jobs parked behind one key: at the first job of another key, when
/// the busy one is free, at a start, and at both after that.
fn looks(shape: Shape, parked: u64) -> [usize; 5] {
    let mut bench = Bench::new(shape);
    bench.enqueue("busy", 1);
    let running = bench.shard.lease(1).remove(0);
    for _ in 0..parked / 5_000 {
        bench.enqueue("busy", 5_000);
    }
    let (_, other) = bench.served(|bench| bench.enqueue("other", 1));
    let end = |run: Delivery| move |bench: &mut Bench| drop(bench.shard.settle(&run, ack()));
    let (next, freed) = bench.served(end(running));
    assert_eq!(next.id, JobId(2_u128.to_be_bytes()), "the one that came first");
    let (mut bench, start) = bench.restart();
    let (_, other_again) = bench.served(|bench| bench.enqueue("third", 1));
    let (next, freed_again) = bench.served(end(next));
    assert!(next.id > JobId(2_u128.to_be_bytes()));
    [other, freed, start, other_again, freed_again]
}

#[test]
fn what_a_busy_key_has_parked_is_looked_at_by_nobody() {
    for shape in [Shape::Nothing, Shape::Account, Shape::Tenant] {
        let [few, many] = [5_000, 100_000].map(|parked| looks(shape, parked));
        for (few, many) in few.iter().zip(&many) {
            assert!(*many <= few + 20, "{shape:?}: {many} where {few} do with less that waits");
        }
        assert!(many.iter().all(|looks| *looks < 500), "{shape:?}: {many:?}");
    }
}
