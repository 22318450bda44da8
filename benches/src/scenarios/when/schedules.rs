//! Many schedules that are due at one instant: how late the last of them is, and what one enqueue
//! takes meanwhile.

use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;

use super::super::crowd;
use crate::bench::Bench;
use crate::http::{BlockingConnection, Connection, get, put};
use crate::jobs::enqueue_one;
use crate::longshore::Server;
use crate::report::{Figure, Measure, Target};

const SLOT: Measure = Measure {
    name: "when-schedules",
    what: "many schedules due at one instant, the last job after it",
    unit: "s",
    target: Target::AtMost(2),
};
const NEIGHBOUR: Measure = Measure {
    name: "when-schedules-neighbour",
    what: "p99 of one enqueue meanwhile, of that before",
    unit: "%",
    target: Target::AtMost(200),
};

const CONNECTIONS: u64 = 16;
/// How many are surely created in a second, also by a development build.
const CREATED_PER_S_MIN: u64 = 1_000;
/// For how long the latency of one enqueue is measured.
const CALM: Duration = Duration::from_secs(5);
/// So many enqueues make a percentile, however soon all is over.
const ENQUEUES_MIN: usize = 100;
const LATE_S_MAX: f64 = 120.0;

pub(super) fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let count = bench.args.schedules;
    let folder = bench.folder()?;
    let server = Server::start(&bench.program, folder.path())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let slot_s = now.as_secs() + 2 * CALM.as_secs() + count / CREATED_PER_S_MIN;
    create(&server, count, slot_s)?;
    ensure!(now_s()? + CALM.as_secs_f64() < slot_s as f64, "creating them took too long");
    let calm_us = p99_us_until(&server, |since| since >= CALM)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let beside = scope.spawn(|| {
            while now_s()? < slot_s as f64 {
                thread::sleep(Duration::from_millis(5));
            }
            p99_us_until(&server, |_| is_over.load(Ordering::Relaxed))
        });
        let late_s = last_after(&server, count, slot_s as f64);
        is_over.store(true, Ordering::Relaxed);
        let busy_us = beside.join().map_err(|_| anyhow!("the neighbour panicked"))??;
        let details = [("calm_p99_us", calm_us), ("busy_p99_us", busy_us)];
        Ok(vec![
            Figure::new(&SLOT, late_s?, [("schedules", count as f64)]),
            Figure::new(&NEIGHBOUR, 100.0 * busy_us / calm_us, details),
        ])
    })
}

/// Puts schedules whose first slot is that second, in UTC.
fn create(server: &Server, count: u64, slot_s: u64) -> Result<()> {
    let (hour, minute, second) = (slot_s / 3600 % 24, slot_s / 60 % 60, slot_s % 60);
    let settings: Rc<str> = format!(
        "{{\"cron\":\"{second} {minute} {hour} * * *\",\
         \"job\":{{\"queue\":\"ticks\",\"kind\":\"tick\"}}}}"
    )
    .into();
    let address = server.address;
    let created = crowd::sum(CONNECTIONS as usize, |first| {
        let settings = Rc::clone(&settings);
        async move {
            let mut connection = Connection::open(address).await?;
            let (mut request, mut created) = (Vec::new(), 0);
            for number in (first as u64..count).step_by(CONNECTIONS as usize) {
                put(&mut request, &format!("/v1/schedules/s{number}"), settings.as_bytes());
                connection.exchange(&request).await?.success()?;
                created += 1;
            }
            Ok(created)
        }
    });
    let created = crowd::runtime()?.block_on(created)?;
    ensure!(created == count, "{created} schedules were created");
    Ok(())
}

/// How long after the slot the last job of it is there, in seconds.
fn last_after(server: &Server, count: u64, slot_s: f64) -> Result<f64> {
    let queue = get("/v1/queues/ticks");
    let mut connection = BlockingConnection::open(server.address)?;
    loop {
        let late_s = now_s()? - slot_s;
        if late_s > 0.0 {
            let answer = connection.exchange(&queue)?;
            let ready = if answer.status == 404 {
                0
            } else {
                let view: Value = serde_json::from_slice(answer.success()?)?;
                view["ready"].as_u64().context("a queue without a count")?
            };
            if ready == count {
                return Ok(late_s);
            }
            ensure!(late_s < LATE_S_MAX, "{ready} of {count} schedules fired in time");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The 99th percentile of enqueues one after the other, in microseconds.
fn p99_us_until(server: &Server, is_enough: impl Fn(Duration) -> bool) -> Result<f64> {
    let mut connection = BlockingConnection::open(server.address)?;
    let request = enqueue_one();
    let (start, mut took_us) = (Instant::now(), Vec::new());
    while took_us.len() < ENQUEUES_MIN || !is_enough(start.elapsed()) {
        let begun = Instant::now();
        connection.exchange(&request)?.success()?;
        took_us.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    took_us.sort_by(f64::total_cmp);
    Ok(took_us[took_us.len() * 99 / 100])
}

fn now_s() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}
