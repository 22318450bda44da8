//! Longshore and its peers side by side: one command measures both in alternating pairs and
//! prints medians, ratios and the settings of both.

mod amqp;
mod args;
mod bench;
#[path = "../../crates/cli/src/bench/floor.rs"]
mod floor;
mod host;
mod http;
mod jobs;
mod longshore;
mod peers;
mod process;
mod report;
mod scenarios;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::args::Args;
use crate::bench::Bench;

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let mut bench = Bench::prepare(args)?;
    scenarios::run(&mut bench)?;
    bench.finish()?;
    Ok(ExitCode::SUCCESS)
}
