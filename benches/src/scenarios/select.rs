//! Which scenarios were asked for.

use anyhow::{Context, Result};

use super::{
    amqp, amqp_many, backlog, bulk, checkpoint, drain, idle, iterate, kafka, latency, one_by_one,
    queues, sdk, when, workers,
};
use crate::args::Scenario;
use crate::bench::Bench;

type Run = fn(&mut Bench) -> Result<()>;

const SCENARIOS: &[(Scenario, &str, Run)] = &[
    (Scenario::Idle, "idle", idle::run),
    (Scenario::Latency, "latency", latency::run),
    (Scenario::OneByOne, "one-by-one", one_by_one::run),
    (Scenario::Bulk, "bulk", bulk::run),
    (Scenario::Backlog, "backlog", backlog::run),
    (Scenario::Drain, "drain", drain::run),
    (Scenario::Sdk, "sdk", sdk::run),
    (Scenario::Iterate, "iterate", iterate::run),
    (Scenario::Checkpoint, "checkpoint", checkpoint::run),
    (Scenario::Workers, "workers", workers::run),
    (Scenario::Amqp, "amqp", amqp::run),
    (Scenario::AmqpMany, "amqp-many", amqp_many::run),
    (Scenario::Kafka, "kafka", kafka::run),
    (Scenario::When, "when", when::run),
    (Scenario::Queues, "queues", queues::run),
];

/// Runs what the command line names.
pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    let asked = bench.args.scenario;
    for (scenario, name, run) in SCENARIOS {
        if asked == Scenario::All || asked == *scenario {
            run(bench).context(*name)?;
        }
    }
    Ok(())
}
