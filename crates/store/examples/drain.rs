//! What a job costs the threads that decide, flush and compact, without a server or a journal
//! around. First with all jobs waiting before the first is leased, then with a thousand at a time:
//! `cargo run --release -p longshore-store --example drain -- [JOBS] [FOLDER]`

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for its developers")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use longshore_engine::{
    Answer, Clock, Command, Delivery, Effect, EnqueueJobs, JobId, LeaseJobs, Limits, MonoMs,
    NewJob, Position, QueuePattern, Recovery, ReplyTo, Request, Settlement, TimeMs, Turn, Verdict,
};
use longshore_store::{Flusher, Lsm, LsmConfig};

#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BATCH: u64 = 100;
const WORKERS: u64 = 4;

/// What this thread and all threads together have computed so far.
fn cpu() -> [Duration; 2] {
    let of = |task: &Path| {
        let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
    };
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let all = tasks.filter_map(Result::ok).map(|task| of(&task.path())).sum();
    [of(Path::new("/proc/thread-self")), all]
}

struct Shard<'a> {
    turn: Turn,
    durable: &'a AtomicU64,
    began: Instant,
    journal_bytes: usize,
    rotations: u32,
    calls: u64,
    held: Vec<Vec<Delivery>>,
}

impl Shard<'_> {
    fn lsm(&self) -> &Lsm {
        self.turn.map().downcast_ref().unwrap()
    }

    fn submit(&mut self, command: Command) -> Option<Answer> {
        self.calls += 1;
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64;
        let mono = MonoMs(self.began.elapsed().as_millis() as u64);
        let clock = Clock { wall: TimeMs(wall), mono, random: self.calls };
        let namespace = "default".to_owned();
        self.turn.submit(Request { namespace, reply_to: ReplyTo(self.calls), command }, clock);
        self.journal_bytes += self.turn.seal().map_or(0, |group| group.bytes.len());
        let position = self.turn.position();
        self.durable.store(position.0, Ordering::Release);
        while self.lsm().is_full() {
            thread::sleep(Duration::from_micros(200));
        }
        if self.lsm().should_rotate() {
            self.turn.complete_map().downcast_mut::<Lsm>().unwrap().rotate();
            self.rotations += 1;
        }
        let replies = self.turn.committed(position).into_iter().filter_map(|effect| match effect {
            Effect::Reply { answer, .. } => Some(answer),
            _ => None,
        });
        replies.last()
    }

    fn enqueue(&mut self, first: u64, count: u64) {
        let job = |n: u64| {
            let (time, low) = (u128::from(1_700_000_000_000 + n / 50), n.wrapping_mul(0x9e37_79b9));
            let id = JobId(((time << 80) | u128::from(low) << 32 | u128::from(n)).to_be_bytes());
            NewJob::new(id, "bench", format!("\"{}\"", "x".repeat(198)))
        };
        let jobs = (first..first + count).map(job).collect();
        self.submit(Command::EnqueueJobs(EnqueueJobs { queue: "bench".into(), jobs }));
    }

    /// The worker settles what it has and leases more. How many it gets.
    fn work(&mut self, worker: u64) -> u64 {
        let ack = |job: Delivery| Settlement {
            id: job.id,
            token: job.token,
            verdict: Verdict::Ack {
                result: None,
                location: None,
                follow_ups: Vec::new(),
                next_tick: None,
            },
        };
        let held = std::mem::take(&mut self.held[worker as usize]);
        let lease = LeaseJobs {
            queues: vec![QueuePattern::Exactly("bench".into())],
            kinds: None,
            max: BATCH as usize,
            wait_ms: 0,
            lease_ms: None,
            worker: format!("w{worker}"),
            session: format!("s{worker}"),
            ask: None,
            seen: None,
            settle: held.into_iter().map(ack).collect(),
            prefetch: false,
        };
        match self.submit(Command::LeaseJobs(Box::new(lease))) {
            Some(Answer::Leased { jobs, .. }) => {
                let count = jobs.len() as u64;
                self.held[worker as usize] = jobs;
                count
            }
            other => panic!("answered {other:?}"),
        }
    }

    fn drain(&mut self) {
        loop {
            let mut got = 0;
            for worker in 0..WORKERS {
                got += self.work(worker);
            }
            if got == 0 {
                return;
            }
        }
    }
}

fn background(flusher: &Flusher, durable: &AtomicU64, done: &AtomicBool) {
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                flusher.flush_sealed(Position(durable.load(Ordering::Acquire))).unwrap();
                thread::sleep(Duration::from_millis(1));
            }
        });
        while !done.load(Ordering::Acquire) {
            if !flusher.compact().unwrap() {
                thread::sleep(Duration::from_millis(5));
            }
        }
    });
}

fn measured(what: &str, jobs: u64, shard: &mut Shard<'_>, work: impl FnOnce(&mut Shard<'_>)) {
    let (start, before, rotations) = (Instant::now(), cpu(), shard.rotations);
    work(shard);
    let took = start.elapsed();
    let own = cpu()[0].saturating_sub(before[0]);
    // What is to be flushed and compacted for it counts.
    thread::sleep(Duration::from_millis(500));
    let all = cpu()[1].saturating_sub(before[1]);
    let per = |cpu: Duration| cpu.as_secs_f64() * 1e6 / jobs as f64;
    println!(
        "{what}: {:.0}/s; processor time {:.2} us each, {:.2} of it the shard's thread; \
         {} memtables",
        jobs as f64 / took.as_secs_f64(),
        per(all),
        per(own),
        shard.rotations - rotations
    );
}

fn main() {
    let mut args = std::env::args().skip(1);
    let jobs: u64 = args.next().map_or(200_000, |jobs| jobs.parse().unwrap());
    let parent = args.next().unwrap_or_else(|| ".".into());
    let folder = Path::new(&parent).join(format!("drain-{}.tmp", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let lsm = Lsm::open(&folder, LsmConfig::default()).unwrap();
    let flusher = lsm.flusher();
    let (durable, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| background(&flusher, &durable, &done));
        let recovery = Recovery::begin(lsm, Position::START, Limits::default()).unwrap();
        let turn = recovery.start(Clock::default(), &["default"]);
        let held = vec![Vec::new(); WORKERS as usize];
        let (durable, began) = (&durable, Instant::now());
        let (journal_bytes, rotations, calls) = (0, 0, 0);
        let mut shard = Shard { turn, durable, began, journal_bytes, rotations, calls, held };
        measured("enqueued", jobs, &mut shard, |shard| {
            (0..jobs).step_by(1000).for_each(|first| shard.enqueue(first, 1000));
        });
        measured("drained", jobs, &mut shard, |shard| {
            shard.drain();
        });
        measured("enqueued and drained at once", jobs, &mut shard, |shard| {
            for first in (jobs..2 * jobs).step_by(400) {
                shard.enqueue(first, 400);
                for worker in 0..WORKERS {
                    shard.work(worker);
                }
            }
            shard.drain();
        });
        done.store(true, Ordering::Release);
    });
    std::fs::remove_dir_all(&folder).unwrap();
}
