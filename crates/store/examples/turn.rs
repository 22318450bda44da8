//! Drives a shard's turn over its tree as a server does, without journal and network, and prints
//! what a job costs: `cargo run --release -p longshore-store --example turn -- [JOBS] [FOLDER]`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for its developers")]

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use longshore_engine::{
    Answer, Clock, Command, Effect, EnqueueJobs, JobId, LeaseJobs, Limits, MonoMs, NewJob,
    Position, QueuePattern, Recovery, ReplyTo, Request, Settlement, TimeMs, Turn, Verdict,
};
use longshore_store::{Flusher, Lsm, LsmConfig};

// As the server has it: much of a turn's time goes into memory.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BULK_JOBS: u64 = 1000;
const BATCH_JOBS: usize = 100;

/// What this thread and all threads together have computed so far.
fn cpu() -> (Duration, Duration) {
    let of = |task: &Path| {
        let text = std::fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
    };
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let all = tasks.filter_map(Result::ok).map(|task| of(&task.path())).sum();
    (of(Path::new("/proc/thread-self")), all)
}

struct Phase {
    start: Instant,
    cpu: (Duration, Duration),
}

impl Phase {
    fn start() -> Self {
        Self { start: Instant::now(), cpu: cpu() }
    }

    fn print(&self, what: &str, jobs: u64) {
        let now = cpu();
        let per = |span: Duration| span.as_secs_f64() * 1e6 / jobs as f64;
        let own = now.0.saturating_sub(self.cpu.0);
        let all = now.1.saturating_sub(self.cpu.1);
        println!(
            "{what}: {:.0}/s; CPU {:.2} us each on the shard's thread, {:.2} beside it",
            jobs as f64 / self.start.elapsed().as_secs_f64(),
            per(own),
            per(all.saturating_sub(own)),
        );
    }
}

struct Shard<'a> {
    turn: Turn,
    start: Instant,
    durable: &'a AtomicU64,
    /// Turns that the workers have taken.
    turns: u64,
}

impl Shard<'_> {
    fn lsm(&self) -> &Lsm {
        self.turn.map().downcast_ref().unwrap()
    }

    fn clock(&self) -> Clock {
        let ms = self.start.elapsed().as_millis() as u64;
        Clock { wall: TimeMs(1_700_000_000_000 + ms), mono: MonoMs(ms), random: ms }
    }

    fn call(&mut self, command: Command) -> Answer {
        let request = Request { namespace: "default".into(), reply_to: ReplyTo(1), command };
        self.turn.submit(request, self.clock());
        let effects = match self.turn.seal() {
            Some(group) => self.turn.committed(group.last()),
            None => self.turn.ready_effects(),
        };
        self.durable.store(self.turn.durable().0, Ordering::Release);
        while self.lsm().is_full() {
            thread::sleep(Duration::from_micros(200));
        }
        if self.lsm().should_rotate() {
            self.turn.complete_map().downcast_mut::<Lsm>().unwrap().rotate();
        }
        let Some(Effect::Reply { answer, .. }) = effects.into_iter().next() else {
            panic!("a call is answered")
        };
        answer
    }

    fn enqueue(&mut self, jobs: u64) {
        let args = Bytes::from(vec![b'7'; 200]);
        for first in (0..jobs).step_by(BULK_JOBS as usize) {
            let job = |n: u64| {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&(n / 4).to_be_bytes());
                id[8..].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
                NewJob::new(JobId(id), "no_op", args.clone())
            };
            let jobs = (first..first + BULK_JOBS).map(job).collect();
            self.call(Command::EnqueueJobs(EnqueueJobs { queue: "bench".into(), jobs }));
        }
    }

    fn drain(&mut self, batch: usize) {
        let mut settle: [Vec<Settlement>; 4] = Default::default();
        let mut empty = 0;
        loop {
            self.turns += 1;
            let turn = self.turns;
            let worker = turn as usize % 4;
            let request = LeaseJobs {
                queues: vec![QueuePattern::Exactly("bench".into())],
                kinds: None,
                max: batch,
                wait_ms: 0,
                lease_ms: None,
                worker: format!("worker-{worker}"),
                session: "session".into(),
                ask: Some(turn),
                seen: Some(turn.saturating_sub(4)),
                settle: std::mem::take(&mut settle[worker]),
                prefetch: false,
            };
            let Answer::Leased { jobs, .. } = self.call(Command::LeaseJobs(Box::new(request)))
            else {
                panic!("no lease")
            };
            empty = if jobs.is_empty() { empty + 1 } else { 0 };
            if empty > 4 {
                break;
            }
            let ack = || Verdict::Ack {
                result: None,
                location: None,
                follow_ups: Vec::new(),
                next_tick: None,
            };
            let done = jobs.iter().map(|job| (job.id, job.token));
            let done = done.map(|(id, token)| Settlement { id, token, verdict: ack() });
            settle[worker] = done.collect();
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

fn main() {
    let mut args = std::env::args().skip(1);
    let jobs: u64 = args.next().map_or(300_000, |jobs| jobs.parse().unwrap());
    let dir = args.next().unwrap_or_else(|| "target/turn".into());
    let _ = std::fs::remove_dir_all(&dir);
    let lsm = Lsm::open(Path::new(&dir), LsmConfig::default()).unwrap();
    let flusher = lsm.flusher();
    let (durable, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let turn = Recovery::begin(lsm, Position::START, Limits::default())
        .unwrap()
        .start(Clock { wall: TimeMs(1_700_000_000_000), ..Clock::default() }, &["default"]);
    let mut shard = Shard { turn, start: Instant::now(), durable: &durable, turns: 0 };
    thread::scope(|scope| {
        scope.spawn(|| background(&flusher, &durable, &done));
        for (what, batch) in [("in hundreds", BATCH_JOBS), ("one by one", 1)] {
            let jobs = if batch == 1 { jobs / 4 } else { jobs };
            let phase = Phase::start();
            shard.enqueue(jobs);
            phase.print(&format!("enqueue, then drain {what}: enqueued"), jobs);
            let phase = Phase::start();
            shard.drain(batch);
            phase.print("  drained", jobs);
        }
        done.store(true, Ordering::Release);
    });
}
