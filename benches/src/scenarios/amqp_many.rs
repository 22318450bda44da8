//! Many of everything over AMQP: queues written in turn, bindings of a topic exchange, waiting
//! messages, connections that do nothing.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::amqp::start;
use super::workers::make_room;
use crate::amqp::{Confirms, Connection, Heard, message};
use crate::bench::{Bench, begin};
use crate::host::Meter;
use crate::report::{Figure, Measure, Target};

const TURNS: Measure = Measure {
    name: "amqp-queues-in-turn",
    what: "publish to 1,000 queues in turn, of the rate to one",
    unit: "%",
    target: Target::AtLeast(70),
};
const TOPIC: Measure = Measure {
    name: "amqp-topic-bindings",
    what: "publish to a topic exchange of 100,000 bindings, of the rate with ten",
    unit: "%",
    target: Target::AtLeast(70),
};
const MEMORY: Measure = Measure {
    name: "amqp-waiting-memory",
    what: "waiting messages of 200 B, memory above idle",
    unit: "MiB",
    target: Target::AtMost(48),
};
const DRAIN: Measure = Measure {
    name: "amqp-drain",
    what: "drain of what waited, one consumer",
    unit: "messages/s",
    target: Target::AtLeast(100_000),
};
const IDLE: Measure = Measure {
    name: "amqp-connection-memory",
    what: "one of 10,000 idle connections, memory in the server",
    unit: "KiB",
    target: Target::AtMost(30),
};

const BODY_BYTES: usize = 100;
const WAITING_BYTES: usize = 200;
const WINDOW: usize = 512;
const PREFETCH: u16 = 1_000;
const QUEUES: usize = 1_000;
const BINDINGS: usize = 100_000;
const CONNECTIONS: usize = 10_000;
/// How long a server rests before its memory is read.
const REST: Duration = Duration::from_secs(10);

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let waiting = bench.args.waiting_messages;
    let ours = format!("Longshore: serve --amqp; {waiting} messages of {WAITING_BYTES} B wait");
    begin("AMQP: many queues, bindings, messages, connections", &[&ours]);
    bench.pairs(longshore, None)
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let length = Duration::from_secs(bench.args.seconds);
    let mut figures = waiting(bench)?;
    figures.push(connections(bench)?);
    let folder = bench.folder()?;
    let (_server, address) = start(bench, folder.path(), &[])?;
    figures.push(in_turn(address, length)?);
    figures.push(topic(address, length)?);
    Ok(figures)
}

/// Publishes these in turn, as fast as confirms come, until it is enough. How many per second.
fn pump(
    connection: &mut Connection,
    confirms: &mut Confirms,
    messages: &[Vec<u8>],
    is_enough: impl Fn(u64) -> bool,
) -> Result<f64> {
    let before = confirms.confirmed;
    let (mut next, mut sent) = (messages.iter().cycle(), 0);
    let mut burst = Vec::new();
    let start = Instant::now();
    while confirms.open > 0 || !is_enough(sent) {
        let room = WINDOW as u64 - confirms.open;
        if room >= WINDOW as u64 / 4 && !is_enough(sent) {
            burst.clear();
            next.by_ref().take(room as usize).for_each(|it| burst.extend_from_slice(it));
            connection.send(&burst)?;
            confirms.publish(room);
            sent += room;
        }
        connection.hear(|heard| {
            if let Heard::Confirmed { tag, multiple } = heard {
                confirms.confirm(tag, multiple);
            }
            Ok(())
        })?;
    }
    Ok((confirms.confirmed - before) as f64 / start.elapsed().as_secs_f64())
}

/// The same for so long.
fn pump_for(
    connection: &mut Connection,
    confirms: &mut Confirms,
    messages: &[Vec<u8>],
    length: Duration,
) -> Result<f64> {
    let start = Instant::now();
    pump(connection, confirms, messages, |_| start.elapsed() >= length)
}

fn in_turn(address: SocketAddr, length: Duration) -> Result<Figure> {
    let mut connection = Connection::open(address)?;
    let queues: Vec<_> = (0..QUEUES).map(|it| format!("turn-{it:04}")).collect();
    for queue in &queues {
        connection.declare(queue)?;
    }
    connection.confirm()?;
    let body = [b'x'; BODY_BYTES];
    let messages: Vec<_> = queues.iter().map(|queue| message("", queue, &body)).collect();
    let mut confirms = Confirms::default();
    let one =
        pump_for(&mut connection, &mut confirms, messages.get(..1).unwrap_or_default(), length)?;
    let all = pump_for(&mut connection, &mut confirms, &messages, length)?;
    Ok(Figure::new(&TURNS, 100.0 * all / one, [("one_per_s", one), ("in_turn_per_s", all)]))
}

fn topic(address: SocketAddr, length: Duration) -> Result<Figure> {
    let mut connection = Connection::open(address)?;
    connection.declare("topic")?;
    connection.declare("others")?;
    let bindings = |count: usize| {
        let key = |it: usize| match it % 3 {
            0 => format!("a{it}.b.*"),
            1 => format!("a{it}.#"),
            _ => format!("*.c{it}.d"),
        };
        let others = (1..count).map(move |it| ("others".to_owned(), key(it)));
        others.chain([("topic".to_owned(), "orders.*.paid".to_owned())]).collect::<Vec<_>>()
    };
    let start = Instant::now();
    connection.declare_exchange("few", "topic", &bindings(10))?;
    connection.declare_exchange("many", "topic", &bindings(BINDINGS))?;
    let bound_s = start.elapsed().as_secs_f64();
    connection.confirm()?;
    let body = [b'x'; BODY_BYTES];
    let mut confirms = Confirms::default();
    let mut rate = |exchange| {
        let message = message(exchange, "orders.eu.paid", &body);
        pump_for(&mut connection, &mut confirms, &[message], length)
    };
    let (few, many) = (rate("few")?, rate("many")?);
    let details = [("few_per_s", few), ("many_per_s", many), ("bound_s", bound_s)];
    Ok(Figure::new(&TOPIC, 100.0 * many / few, details))
}

fn waiting(bench: &Bench) -> Result<Vec<Figure>> {
    let count = bench.args.waiting_messages;
    let folder = bench.folder()?;
    let (server, address) = start(bench, folder.path(), &[])?;
    let mut connection = Connection::open(address)?;
    connection.declare("waiting")?;
    connection.confirm()?;
    thread::sleep(REST);
    let idle_mib = server.process.memory_mib()?;
    let message = message("", "waiting", &[b'x'; WAITING_BYTES]);
    let rate = pump(&mut connection, &mut Confirms::default(), &[message], |sent| sent >= count)?;
    let filled_mib = server.process.memory_mib()?;
    thread::sleep(REST);
    let rested_mib = server.process.memory_mib()?;
    let details =
        [("idle_mib", idle_mib), ("just_filled_mib", filled_mib), ("publish_per_s", rate)];
    let memory = Figure::new(&MEMORY, rested_mib - idle_mib, details);
    let meter = Meter::start(&[server.process.pid()]);
    let start = Instant::now();
    connection.consume("waiting", PREFETCH)?;
    let mut came = 0;
    while came < count {
        let mut last = 0;
        connection.hear(|heard| {
            if let Heard::Delivered { tag } = heard {
                last = tag;
                came += 1;
            }
            Ok(())
        })?;
        if last > 0 {
            connection.ack(last)?;
        }
        ensure!(start.elapsed() < Duration::from_secs(600), "{came} of {count} came");
    }
    let rate = came as f64 / start.elapsed().as_secs_f64();
    Ok(vec![memory, Figure::new(&DRAIN, rate, meter.stop(came))])
}

fn connections(bench: &Bench) -> Result<Figure> {
    make_room(CONNECTIONS)?;
    let folder = bench.folder()?;
    let more = ["--set", "http.connections_max=15000"];
    let (server, address) = start(bench, folder.path(), &more)?;
    thread::sleep(REST);
    let idle_mib = server.process.memory_mib()?;
    let open = (0..CONNECTIONS).map(|_| Connection::open(address)).collect::<Result<Vec<_>>>()?;
    thread::sleep(REST);
    let each_kib = (server.process.memory_mib()? - idle_mib) * 1024.0 / open.len() as f64;
    Ok(Figure::new(&IDLE, each_kib, [("idle_mib", idle_mib)]))
}
