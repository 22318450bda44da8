//! Events over Kafka's protocol, produced and consumed by the tools of Apache Kafka; beside Apache
//! Kafka as people run it, which writes to disk when the kernel does, and with a flush per batch.

use std::net::SocketAddr;

use anyhow::{Context, Result};

use crate::bench::{Bench, begin};
use crate::host::{Meter, memory_mib};
use crate::longshore::Server;
use crate::peers::{Kafka, Peer, kafka_tool};
use crate::report::{Figure, Measure, Target, say};

const SMALL: Measure = Measure {
    name: "kafka-produce-100",
    what: "one Java producer, 100 B, acks=all, linger.ms=0",
    unit: "events/s",
    target: Target::RatioAtLeast(1),
};
const LARGE: Measure = Measure {
    name: "kafka-produce-1k",
    what: "one Java producer, 1 KiB, acks=all, linger.ms=0",
    unit: "events/s",
    target: Target::RatioAtLeastPercent { percent: 150 },
};
const BATCH: Measure = Measure {
    name: "kafka-produce-batch",
    what: "the same with batch.size=1MiB, linger.ms=5",
    unit: "events/s",
    target: Target::AtLeast(250_000),
};
const PRODUCE_P50: Measure = Measure {
    name: "kafka-produce-p50",
    what: "produce at 2,000/s, p50",
    unit: "ms",
    target: Target::RatioAtMost { percent: 100 },
};
const PRODUCE_P99: Measure = Measure {
    name: "kafka-produce-p99",
    what: "produce at 2,000/s, p99",
    unit: "ms",
    target: Target::RatioAtMost { percent: 100 },
};
const CONSUME_SMALL: Measure = Measure {
    name: "kafka-consume-100",
    what: "one Java consumer from the start, 100 B",
    unit: "events/s",
    target: Target::RatioAtLeast(1),
};
const CONSUME_LARGE: Measure = Measure {
    name: "kafka-consume-1k",
    what: "one Java consumer from the start, 1 KiB",
    unit: "events/s",
    target: Target::RatioAtLeast(1),
};
const MEMORY: Measure = Measure {
    name: "kafka-memory",
    what: "memory after that",
    unit: "MiB",
    target: Target::AtMost(96),
};
const START: Measure = Measure {
    name: "kafka-start",
    what: "start to listening, no store yet",
    unit: "ms",
    target: Target::RatioAtMost { percent: 10 },
};

/// Events of each load, enough for some seconds of it.
const SMALL_EVENTS: u64 = 1_500_000;
const LARGE_EVENTS: u64 = 300_000;
const BATCH_EVENTS: u64 = 1_000_000;
const PACE: u64 = 2_000;
const PACED_EVENTS: u64 = 10 * PACE;

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let ours = "Longshore: serve --kafka; every batch on disk before its answer";
    let theirs = "Kafka: one node, nothing set; and with flush.messages=1 on its topics";
    begin("Kafka: ProducerPerformance and ConsumerPerformance of Apache Kafka", &[ours, theirs]);
    if !Peer::Kafka.is_installed() {
        bench.has(Peer::Kafka);
        say("  skipped: its tools make the load");
        return Ok(());
    }
    let peers: [(&'static str, &crate::bench::Run<'_>); 2] = [
        ("Kafka without fsync", &|bench| kafka(bench, &[])),
        ("Kafka with fsync", &|bench| kafka(bench, &["--config", "flush.messages=1"])),
    ];
    let peers = if bench.has(Peer::Kafka) { peers.as_slice() } else { &[] };
    bench.rounds(longshore, peers)
}

fn longshore(bench: &Bench) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let mut server =
        Server::start_with(&bench.program, folder.path(), &["--kafka", "127.0.0.1:0"])?;
    let start_ms = server.ready_after.as_secs_f64() * 1e3;
    let line = server.next_line()?;
    let address = line.trim().strip_prefix("listening on kafka://").and_then(|it| it.parse().ok());
    let address = address.with_context(|| format!("the server said {line:?}"))?;
    measure(address, server.process.pid(), start_ms, &[])
}

fn kafka(bench: &Bench, topics: &[&str]) -> Result<Vec<Figure>> {
    let folder = bench.folder()?;
    let start = std::time::Instant::now();
    let server = Kafka::start(folder.path())?;
    let start_ms = start.elapsed().as_secs_f64() * 1e3;
    measure(server.address, server.process.pid(), start_ms, topics)
}

fn measure(address: SocketAddr, pid: u32, start_ms: f64, topics: &[&str]) -> Result<Vec<Figure>> {
    let server = Loaded { address: address.to_string(), pid };
    for topic in ["small", "large", "batch", "paced"] {
        let create = ["--bootstrap-server", &server.address, "--create", "--topic", topic];
        kafka_tool("TopicCommand", &[&create, topics].concat())?;
    }
    let quick = ["linger.ms=0"];
    let large = ["linger.ms=5", "batch.size=1048576"];
    let paced = server.produce("paced", PACED_EVENTS, 100, Some(PACE), &quick)?;
    let mut figures = vec![
        Figure::new(&PRODUCE_P50, paced.p50_ms, []),
        Figure::new(&PRODUCE_P99, paced.p99_ms, paced.details),
    ];
    let produced = server.produce("small", SMALL_EVENTS, 100, None, &quick)?;
    figures.push(Figure::new(&SMALL, produced.rate, produced.details));
    let produced = server.produce("large", LARGE_EVENTS, 1024, None, &quick)?;
    figures.push(Figure::new(&LARGE, produced.rate, produced.details));
    let produced = server.produce("batch", BATCH_EVENTS, 1024, None, &large)?;
    figures.push(Figure::new(&BATCH, produced.rate, produced.details));
    figures.push(server.consume(&CONSUME_SMALL, "small", SMALL_EVENTS)?);
    figures.push(server.consume(&CONSUME_LARGE, "batch", BATCH_EVENTS)?);
    figures.push(Figure::new(&MEMORY, memory_mib(pid)?, []));
    figures.push(Figure::new(&START, start_ms, []));
    Ok(figures)
}

/// The server that is loaded.
#[derive(Debug)]
struct Loaded {
    address: String,
    pid: u32,
}

/// What `ProducerPerformance` tells.
#[derive(Debug)]
struct Produced {
    rate: f64,
    p50_ms: f64,
    p99_ms: f64,
    details: Vec<(&'static str, f64)>,
}

impl Loaded {
    fn produce(
        &self,
        topic: &str,
        events: u64,
        bytes: u32,
        pace: Option<u64>,
        settings: &[&str],
    ) -> Result<Produced> {
        let [count, bytes] = [events.to_string(), bytes.to_string()];
        let pace = pace.map_or_else(|| "-1".to_owned(), |it| it.to_string());
        let server = format!("bootstrap.servers={}", self.address);
        let mut words = vec!["--topic", topic, "--num-records", &count, "--record-size", &bytes];
        words.extend(["--throughput", &pace, "--producer-props", &server, "acks=all"]);
        words.extend(settings);
        let meter = Meter::start(&[self.pid]);
        let line = kafka_tool("ProducerPerformance", &words)?;
        let details = of_server(&meter, events);
        let before = |unit: &str| {
            let (head, _) = line.split_once(unit)?;
            head.rsplit([' ', ',']).find(|it| !it.is_empty())?.parse().ok()
        };
        let told = before(" records/sec").zip(before(" ms 50th")).zip(before(" ms 99th"));
        let ((rate, p50_ms), p99_ms) = told.with_context(|| format!("it told {line:?}"))?;
        Ok(Produced { rate, p50_ms, p99_ms, details })
    }

    fn consume(&self, measure: &'static Measure, topic: &str, events: u64) -> Result<Figure> {
        let count = events.to_string();
        let words = ["--bootstrap-server", &self.address, "--topic", topic, "--messages", &count];
        let meter = Meter::start(&[self.pid]);
        let line = kafka_tool("ConsumerPerformance", &words)?;
        let details = of_server(&meter, events);
        // The sixth column: events per second, with the time to join its group.
        let rate = line.split(',').nth(5).and_then(|it| it.trim().parse().ok());
        Ok(Figure::new(measure, rate.with_context(|| format!("it told {line:?}"))?, details))
    }
}

/// The tool is another process here: what others used says nothing.
fn of_server(meter: &Meter, events: u64) -> Vec<(&'static str, f64)> {
    let [server, _, _, stolen, per_event] = meter.stop(events);
    vec![server, stolen, per_event]
}
