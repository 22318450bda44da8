//! The `longshore` binary: reads the command line, hands over to one command, ends with its code.

mod bench;
mod cli;
mod client;
mod completions;
mod config;
mod demo;
mod dev;
mod enqueue;
mod failure;
mod http;
mod jobs;
mod launch;
mod namespaces;
mod operations;
mod output;
mod queues;
mod run;
mod serve;
mod signals;
mod verify;
mod work;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.execute() {
        Ok(code) => code,
        Err(error) => failure::report(&error),
    }
}
