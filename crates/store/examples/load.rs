//! Loads a state as a shard with many jobs would and prints rates, latencies and memory:
//! `cargo run --release -p longshore-store --example load -- [JOBS] [FOLDER]`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for its developers")]

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use longshore_engine::{OrderedMap, Position, Reader};
use longshore_store::{Flusher, Lsm, LsmConfig};

const GROUP_JOBS: u64 = 100;

fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096.0 / f64::from(1 << 20)
}

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

fn written_mib() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find(|line| line.starts_with("wchar")).unwrap();
    line.split(' ').nth(1).unwrap().parse::<f64>().unwrap() / f64::from(1 << 20)
}

fn disk_mib(dir: &Path) -> f64 {
    let files = std::fs::read_dir(dir.join("tables")).unwrap();
    let bytes: u64 = files.filter_map(|file| Some(file.ok()?.metadata().ok()?.len())).sum();
    bytes as f64 / f64::from(1 << 20)
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 27)
}

/// As the catalogue of keys has it: a namespace, then an id that grows with time.
fn job_key(job: u64) -> Vec<u8> {
    let mut key = vec![0x10, 0, 0, 0, 1];
    key.extend((1_700_000_000_000 + job / 50).to_be_bytes());
    key.extend(mix(job).to_be_bytes());
    key
}

fn ready_key(job: u64) -> Vec<u8> {
    let mut key = vec![0x20, 0, 0, 0, 1, 0, 0, 0, 7, 128, 0, 0, 0, 3];
    key.extend((1_700_000_000_000 + job / 50).to_be_bytes());
    key.extend(job.to_be_bytes());
    key
}

/// A slice of ready-made text, so that making values costs nothing.
fn job_value(job: u64) -> Bytes {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| {
        let words =
            ["{\"kind\":\"welcome_email\",", "\"args\":{\"user_id\":", "\"locale\":\"en\","];
        let mut text = String::new();
        for n in 0..40_000 {
            text.push_str(words[mix(n) as usize % words.len()]);
            let _ = write!(text, "{:x}", mix(n ^ 0x55));
        }
        Bytes::from(text)
    });
    let start = mix(job) as usize % (TEXT.len() - 350);
    TEXT.slice(start..start + 350)
}

/// A key and the value that it has from now on, or none where it is removed.
type Change = (Vec<u8>, Option<Bytes>);

/// Writes a group of one entry.
fn write(lsm: &mut Lsm, position: Position, changes: Vec<Change>) {
    for (key, value) in changes {
        lsm.put(position, &key, value.as_deref());
    }
    lsm.seal(position);
}

fn enqueue(jobs: impl Iterator<Item = u64>) -> Vec<Change> {
    let mut changes = Vec::new();
    for job in jobs {
        changes.push((job_key(job), Some(job_value(job))));
        changes.push((ready_key(job), Some(Bytes::from_static(b"0123456789abcdef!"))));
    }
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    changes
}

fn settle(jobs: impl Iterator<Item = u64>) -> Vec<Change> {
    let mut changes: Vec<Change> =
        jobs.flat_map(|job| [(job_key(job), None), (ready_key(job), None)]).collect();
    changes.sort_by(|a, b| a.0.cmp(&b.0));
    changes
}

struct Clock {
    start: Instant,
    cpu: (Duration, Duration),
    slowest: Duration,
    stalled: Duration,
    micros: Vec<u32>,
}

impl Clock {
    fn start() -> Self {
        Self {
            start: Instant::now(),
            cpu: cpu(),
            slowest: Duration::ZERO,
            stalled: Duration::ZERO,
            micros: Vec::new(),
        }
    }

    fn turn<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        let took = start.elapsed();
        self.micros.push(took.as_micros() as u32);
        self.slowest = self.slowest.max(took);
        result
    }

    fn print(&mut self, what: &str, count: u64) {
        let took = self.start.elapsed().as_secs_f64();
        let now = cpu();
        let own = now.0.saturating_sub(self.cpu.0);
        let all = now.1.saturating_sub(self.cpu.1);
        let per = |cpu: Duration| cpu.as_secs_f64() * 1e6 / count as f64;
        self.micros.sort_unstable();
        let at = |percent: usize| self.micros[(self.micros.len() - 1) * percent / 100];
        println!(
            "{what}: {:.0}/s in {took:.2} s; CPU {:.2} us each, {:.2} beside; turn p50 {} us, p99 {} us, max {:?}; \
             stalled {:.2} s; {:.0} MiB resident, {:.0} MiB written so far",
            count as f64 / took,
            per(own),
            per(all.saturating_sub(own)),
            at(50),
            at(99),
            self.slowest,
            self.stalled.as_secs_f64(),
            resident_mib(),
            written_mib(),
        );
    }
}

/// What the server does around every group.
fn after_group(lsm: &mut Lsm, durable: &AtomicU64, clock: &mut Clock) {
    durable.store(lsm.position().0, Ordering::Release);
    let start = Instant::now();
    while lsm.is_full() {
        thread::sleep(Duration::from_micros(200));
    }
    clock.stalled += start.elapsed();
    if lsm.should_rotate() {
        lsm.rotate();
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

fn run(lsm: &mut Lsm, jobs: u64, dir: &Path, durable: &AtomicU64) {
    let mut clock = Clock::start();
    for first in (0..jobs).step_by(GROUP_JOBS as usize) {
        let changes = enqueue(first..first + GROUP_JOBS);
        let position = lsm.position().next();
        clock.turn(|| write(lsm, position, changes));
        after_group(lsm, durable, &mut clock);
    }
    clock.print("enqueue, keys written", jobs * 2);
    println!("  {:.0} MiB on disk", disk_mib(dir));
    while lsm.flusher().compact().unwrap() {}
    clock.print("  and compacted", jobs * 2);
    println!("  {:.0} MiB on disk", disk_mib(dir));
    let only = std::env::var("ONLY").unwrap_or_else(|_| "gets churn drain again".into());
    let wanted = |phase: &str| only.contains(phase);
    if wanted("gets") {
        gets(lsm, jobs);
    }
    if wanted("churn") {
        churn(lsm, jobs, durable);
    }
    if wanted("drain") {
        drain(lsm, jobs, durable);
    }
    if wanted("again") {
        churn(lsm, jobs * 4, durable);
    }
    println!("  {:.0} MiB on disk", disk_mib(dir));
}

fn gets(lsm: &Lsm, jobs: u64) {
    for (what, span, present) in
        [("get, hot", 2000.min(jobs), true), ("get, any", jobs, true), ("get, absent", jobs, false)]
    {
        let mut clock = Clock::start();
        let count = 200_000;
        for n in 0..count {
            let job = jobs - 1 - mix(n) % span;
            let mut key = job_key(job);
            if !present {
                *key.last_mut().unwrap() ^= 0x55;
            }
            assert_eq!(clock.turn(|| lsm.get(&key)).is_some(), present);
        }
        clock.print(what, count);
    }
}

/// Leases in hundreds from the head of the queue and settles them, as fast as it goes.
fn drain(lsm: &mut Lsm, jobs: u64, durable: &AtomicU64) {
    let mut clock = Clock::start();
    let mut head = vec![0x20];
    let mut drained = 0;
    let mut next = 0;
    while drained < jobs {
        clock.turn(|| {
            let mut found = Vec::new();
            lsm.scan(&head, &[0x21], &mut |key, _| {
                found.push(key.to_vec());
                if found.len() == 100 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            for job in next..next + found.len() as u64 {
                assert!(lsm.get(&job_key(job)).is_some());
            }
            let count = found.len() as u64;
            assert!(count > 0);
            head = found.pop().unwrap();
            let position = lsm.position().next();
            write(lsm, position, settle(next..next + count));
            next += count;
            drained += count;
        });
        after_group(lsm, durable, &mut clock);
    }
    clock.print("drain in hundreds, jobs", jobs);
}

/// A short queue beside what waits: every turn enqueues a hundred and settles a hundred.
fn churn(lsm: &mut Lsm, first: u64, durable: &AtomicU64) {
    let mut clock = Clock::start();
    let rounds = 10_000;
    for round in 0..rounds {
        let base = first + round * 100;
        let position = lsm.position().next();
        clock.turn(|| {
            let mut changes = enqueue(base..base + 100);
            if round >= 10 {
                let old = base - 1000;
                let mut found = 0;
                lsm.scan(&ready_key(old), &[0x21], &mut |_, _| {
                    found += 1;
                    if found == 100 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                changes.extend(settle(old..old + 100));
                changes.sort_by(|a, b| a.0.cmp(&b.0));
            }
            write(lsm, position, changes);
        });
        after_group(lsm, durable, &mut clock);
    }
    let last = first + rounds * 100;
    let position = lsm.position().next();
    write(lsm, position, settle(last - 1000..last));
    clock.print("churn of a short queue, jobs", rounds * 100);
}

fn main() {
    let mut args = std::env::args().skip(1);
    let jobs: u64 = args.next().map_or(1_000_000, |jobs| jobs.parse().unwrap());
    let dir = args.next().unwrap_or_else(|| "target/load".into());
    let dir = Path::new(&dir);
    let _ = std::fs::remove_dir_all(dir);
    println!("{:.1} MiB resident at start", resident_mib());
    let start = Instant::now();
    let mut config = LsmConfig::default();
    let mib = |name| std::env::var(name).ok().map(|mib| mib.parse::<usize>().unwrap() << 20);
    config.memtable_bytes = mib("MEMTABLE_MIB").unwrap_or(config.memtable_bytes);
    config.cache_bytes = mib("CACHE_MIB").map_or(config.cache_bytes, |bytes| bytes as u64);
    config.table_bytes = mib("TABLE_MIB").map_or(config.table_bytes, |bytes| bytes as u64);
    config.young_tables = mib("YOUNG").map_or(config.young_tables, |young| (young >> 20) as u8);
    let mut lsm = Lsm::open(dir, config).unwrap();
    println!("made in {:?}, {:.1} MiB resident", start.elapsed(), resident_mib());
    let (durable, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let flusher = lsm.flusher();
    thread::scope(|scope| {
        scope.spawn(|| background(&flusher, &durable, &done));
        run(&mut lsm, jobs, dir, &durable);
        done.store(true, Ordering::Release);
    });
    drop((lsm, flusher));
    let start = Instant::now();
    let lsm = Lsm::open(dir, LsmConfig::default()).unwrap();
    println!("opened at {} in {:?}", lsm.position(), start.elapsed());
}
