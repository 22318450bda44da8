//! Messages over AMQP, one connection, 100 bytes, persistent, with confirms; beside `RabbitMQ` with
//! quorum queues, which are on disk before they are confirmed as ours are.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::amqp::{Confirms, Connection, Heard, message};
use crate::bench::{Bench, begin};
use crate::host::Meter;
use crate::longshore::Server;
use crate::peers::{Peer, RabbitMq};
use crate::report::{Figure, Measure, Target};

const BODY_BYTES: usize = 100;
/// Messages that are not confirmed.
const WINDOW: u64 = 512;
const PREFETCH: u16 = 512;
const FANOUT_QUEUES: usize = 100;
const FANOUT_WINDOW: u64 = 32;
/// Messages per second where it is measured how long one takes.
const PACE: u64 = 2000;

const PUBLISH: Measure = Measure {
    name: "amqp-publish",
    what: "publish with confirms, one connection",
    unit: "messages/s",
    target: Target::RatioAtLeast(3),
};
const THROUGH: Measure = Measure {
    name: "amqp-through",
    what: "publish and consume at once, one connection",
    unit: "messages/s",
    target: Target::RatioAtLeastPercent { percent: 250 },
};
const FANOUT: Measure = Measure {
    name: "amqp-fanout",
    what: "fanout to 100 queues, with confirms",
    unit: "entries/s",
    target: Target::RatioAtLeast(5),
};
const P50: Measure = Measure {
    name: "amqp-latency-p50",
    what: "publish to deliver at 2,000/s, p50",
    unit: "us",
    target: Target::RatioAtMost { percent: 60 },
};
const P99: Measure = Measure {
    name: "amqp-latency-p99",
    what: "publish to deliver at 2,000/s, p99",
    unit: "us",
    target: Target::RatioAtMost { percent: 60 },
};

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let title = format!(
        "AMQP: {BODY_BYTES} bytes, persistent, {WINDOW} unconfirmed, {} s each, latency {} s",
        bench.args.seconds,
        4 * bench.args.seconds
    );
    let ours = "Longshore: serve --amqp; queues of type messages";
    let theirs = "RabbitMQ: one node as Debian installs it, no plugins; quorum queues";
    begin(&title, &[ours, theirs]);
    let peer = bench.has(Peer::RabbitMq).then_some(("RabbitMQ", &rabbitmq as _));
    bench.pairs(longshore, peer)
}

/// Starts the server, which listens for AMQP as well.
pub(super) fn start(bench: &Bench, folder: &Path, more: &[&str]) -> Result<(Server, SocketAddr)> {
    let more = [&["--amqp", "127.0.0.1:0"], more].concat();
    let mut server = Server::start_with(&bench.program, folder, &more)?;
    let line = server.next_line()?;
    let address = line.trim().strip_prefix("listening on amqp://").and_then(|it| it.parse().ok());
    Ok((server, address.with_context(|| format!("the server said {line:?}"))?))
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let (server, address) = start(bench, folder.path(), &[])?;
    measure(bench, address, server.process.pid())
}

fn rabbitmq(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let server = RabbitMq::start(folder.path())?;
    measure(bench, server.address, server.pid)
}

fn measure(bench: &Bench, address: SocketAddr, pid: u32) -> Result<Vec<Figure>> {
    let length = Duration::from_secs(bench.args.seconds);
    // First, while neither server has anything left to tidy up.
    let mut figures = latency(address, pid, length)?;
    figures.push(publish(address, pid, length)?);
    figures.push(through(address, pid, length)?);
    figures.push(fanout(address, pid, length)?);
    Ok(figures)
}

/// Publishes as fast as confirms come.
fn pump(connection: &mut Connection, message: &[u8], window: u64, length: Duration) -> Result<f64> {
    let burst = message.repeat(window as usize);
    let mut confirms = Confirms::default();
    let start = Instant::now();
    while start.elapsed() < length || confirms.open > 0 {
        let room = window - confirms.open;
        if room >= window / 4 && start.elapsed() < length {
            connection.send(burst.get(..message.len() * room as usize).unwrap_or_default())?;
            confirms.publish(room);
        }
        connection.hear(|heard| {
            if let Heard::Confirmed { tag, multiple } = heard {
                confirms.confirm(tag, multiple);
            }
            Ok(())
        })?;
    }
    Ok(confirms.confirmed as f64 / start.elapsed().as_secs_f64())
}

/// How many come in a time at a rate.
#[expect(clippy::cast_sign_loss, reason = "neither is negative")]
fn in_time(rate: f64, length: Duration) -> u64 {
    (rate * length.as_secs_f64()) as u64
}

fn publish(address: SocketAddr, pid: u32, length: Duration) -> Result<Figure> {
    let mut connection = Connection::open(address)?;
    connection.declare("publish")?;
    connection.confirm()?;
    let meter = Meter::start(&[pid]);
    let rate = pump(&mut connection, &message("", "publish", &[b'x'; BODY_BYTES]), WINDOW, length)?;
    Ok(Figure::new(&PUBLISH, rate, meter.stop(in_time(rate, length))))
}

fn fanout(address: SocketAddr, pid: u32, length: Duration) -> Result<Figure> {
    let mut connection = Connection::open(address)?;
    let queues = (0..FANOUT_QUEUES).map(|it| (format!("fanout-{it}"), String::new()));
    let queues: Vec<_> = queues.collect();
    for (queue, _) in &queues {
        connection.declare(queue)?;
    }
    connection.declare_exchange("to-all", "fanout", &queues)?;
    connection.confirm()?;
    let meter = Meter::start(&[pid]);
    let message = message("to-all", "", &[b'x'; BODY_BYTES]);
    let rate = pump(&mut connection, &message, FANOUT_WINDOW, length)? * FANOUT_QUEUES as f64;
    Ok(Figure::new(&FANOUT, rate, meter.stop(in_time(rate, length))))
}

fn through(address: SocketAddr, pid: u32, length: Duration) -> Result<Figure> {
    let mut connection = Connection::open(address)?;
    connection.declare("through")?;
    connection.confirm()?;
    connection.consume("through", PREFETCH)?;
    let message = message("", "through", &[b'x'; BODY_BYTES]);
    let burst = message.repeat(WINDOW as usize);
    let (mut confirms, mut came) = (Confirms::default(), 0_u64);
    let meter = Meter::start(&[pid]);
    let start = Instant::now();
    while start.elapsed() < length {
        // Bounded by what is consumed as well, so that nothing piles up.
        let under_way = confirms.open.max(confirms.confirmed + confirms.open - came);
        let room = WINDOW.saturating_sub(under_way);
        if room >= WINDOW / 4 {
            connection.send(burst.get(..message.len() * room as usize).unwrap_or_default())?;
            confirms.publish(room);
        }
        let before = came;
        let mut last = 0;
        connection.hear(|heard| {
            match heard {
                Heard::Confirmed { tag, multiple } => confirms.confirm(tag, multiple),
                Heard::Delivered { tag } => {
                    last = tag;
                    came += 1;
                }
                _ => {}
            }
            Ok(())
        })?;
        if came > before {
            connection.ack(last)?;
        }
    }
    let rate = came as f64 / start.elapsed().as_secs_f64();
    Ok(Figure::new(&THROUGH, rate, meter.stop(came)))
}

/// Publishes at an even pace; each body says when it left.
fn latency(address: SocketAddr, pid: u32, length: Duration) -> Result<Vec<Figure>> {
    let mut connection = Connection::open(address)?;
    connection.declare("latency")?;
    connection.confirm()?;
    connection.consume("latency", PREFETCH)?;
    connection.set_waiting(false)?;
    // Long enough that one pause of the disk is not its p99.
    let count = PACE * 4 * length.as_secs();
    let (mut sent, mut took) = (0, Vec::with_capacity(count as usize));
    let meter = Meter::start(&[pid]);
    let start = Instant::now();
    while (took.len() as u64) < count {
        ensure!(start.elapsed() < 40 * length, "{} of {count} came", took.len());
        let due = in_time(PACE as f64, start.elapsed());
        while sent < count.min(due) {
            let mut body = [b'x'; BODY_BYTES];
            let now = start.elapsed().as_nanos() as u64;
            if let Some(head) = body.first_chunk_mut() {
                *head = now.to_be_bytes();
            }
            connection.send(&message("", "latency", &body))?;
            sent += 1;
        }
        let mut last = 0;
        let heard = connection.hear(|heard| {
            match heard {
                Heard::Delivered { tag } => last = tag,
                Heard::Body(body) => {
                    let left = body.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
                    took.push((start.elapsed().as_nanos() as u64 - left) as f64 / 1000.0);
                }
                _ => {}
            }
            Ok(())
        })?;
        if last > 0 {
            connection.ack(last)?;
        }
        if !heard {
            thread::sleep(Duration::from_micros(50));
        }
    }
    let details = meter.stop(count);
    took.sort_by(f64::total_cmp);
    let at = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or_default();
    Ok(vec![Figure::new(&P50, at(50), details), Figure::new(&P99, at(99), [])])
}
