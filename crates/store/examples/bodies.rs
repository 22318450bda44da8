//! Puts large bodies, keeps them, drops half of them, and prints what was written for it and what
//! stays on disk: `cargo run --release -p longshore-store --example bodies -- 8192 64 32` for 8192
//! of 64 KiB, kept apart from the tables where they have 32 KiB or more; 0 keeps none apart.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for its developers")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Instant;

use bytes::Bytes;
use longshore_engine::{OrderedMap, Reader};
use longshore_store::{Lsm, LsmConfig};

const MIB: f64 = (1 << 20) as f64;

/// Bytes that this process had written to the disk so far.
fn written_mib() -> f64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find(|line| line.starts_with("write_bytes")).unwrap();
    line.split(' ').nth(1).unwrap().parse::<f64>().unwrap() / MIB
}

fn occupied_mib(dir: &Path) -> f64 {
    let blocks = |folder: &str| -> u64 {
        let files = fs::read_dir(dir.join(folder)).into_iter().flatten();
        files.map(|file| file.unwrap().metadata().unwrap().blocks() * 512).sum()
    };
    (blocks("tables") + blocks("bodies")) as f64 / MIB
}

fn job_key(job: u64) -> Vec<u8> {
    let mut key = vec![0x05, 0, 0, 0, 1];
    key.extend((1_700_000_000_000 + job / 50).to_be_bytes());
    key.extend(job.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key
}

fn body_key(job: u64) -> Vec<u8> {
    let mut key = vec![0x0f];
    key.extend(job.to_be_bytes());
    key
}

/// Writes a group and does at once what the server does on other threads.
fn write(lsm: &mut Lsm, changes: Vec<(Vec<u8>, Option<Bytes>)>, last: bool) {
    let position = lsm.position().next();
    for (key, value) in changes {
        lsm.put(position, &key, value.as_deref());
    }
    lsm.seal(position);
    if lsm.should_rotate() || last {
        lsm.rotate().unwrap();
        let flusher = lsm.flusher();
        flusher.flush_sealed(lsm.position()).unwrap();
        while flusher.sweep().unwrap() {}
        while flusher.compact().unwrap() {}
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default: u64| args.next().map_or(default, |arg| arg.parse().unwrap());
    let (count, body_kib, min_kib) = (number(8192), number(64), number(32));
    let dir = args.next().unwrap_or_else(|| "target/bodies".into());
    let dir = Path::new(&dir);
    let _ = fs::remove_dir_all(dir);
    let body_bytes_min = if min_kib == 0 { usize::MAX } else { (min_kib as usize) << 10 };
    let config = LsmConfig { body_bytes_min, ..LsmConfig::default() };
    let mut lsm = Lsm::open(dir, config).unwrap();
    let noise: Vec<u8> = (0..body_kib << 11).map(|n| ((n * n) >> 7) as u8).collect();
    let noise = Bytes::from(noise);
    let start = Instant::now();
    let print = |what: &str| {
        let (written, occupied) = (written_mib(), occupied_mib(dir));
        let took = start.elapsed();
        println!("{what}: {written:.0} MiB written so far, {occupied:.0} MiB on disk, {took:.1?}");
    };
    for first in (0..count).step_by(16) {
        let jobs = first..(first + 16).min(count);
        let changes = jobs.flat_map(|job| {
            let at = (job % (body_kib << 10)) as usize;
            let body = noise.slice(at..at + ((body_kib << 10) as usize));
            [(job_key(job), Some(noise.slice(..350))), (body_key(job), Some(body))]
        });
        let changes = changes.collect();
        write(&mut lsm, changes, first + 16 >= count);
    }
    print("put");
    let begun = Instant::now();
    for job in 0..count {
        assert!(lsm.get(&body_key(job)).is_some());
    }
    println!("read: {:.1} us each", begun.elapsed().as_secs_f64() * 1e6 / count as f64);
    for first in (0..count).step_by(1000) {
        let jobs = (first..(first + 1000).min(count)).filter(|job| job % 2 == 0);
        let changes = jobs.flat_map(|job| [(job_key(job), None), (body_key(job), None)]);
        write(&mut lsm, changes.collect(), true);
    }
    print("half of them dropped");
}
