//! The `longshore` binary: reads the command line, hands over to one command, ends with its code.

mod accounts;
mod backup;
mod bench;
mod cli;
mod client;
mod completions;
mod config;
mod demo;
mod dev;
mod enqueue;
mod events;
mod failure;
mod gates;
mod holds;
mod http;
mod jobs;
mod kinds;
mod launch;
mod limits;
mod logs;
mod matching;
mod messages;
mod moving;
mod name;
mod namespaces;
mod operations;
mod output;
mod patient;
mod policies;
mod queues;
mod replay;
mod run;
mod schedules;
mod serve;
mod shovel;
mod signals;
mod sla;
mod stderr;
mod streams;
mod tls;
mod triggers;
mod verify;
mod watch;
mod work;
mod workers;

use std::process::ExitCode;

/// A server's life is many small short-lived values: measured on one shard's thread, the system's
/// allocator took a third of the time of an enqueue and half of a drain.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A huge page for each thread's few small values would be most of an idle server's memory.
    // Where the kernel knows no huge pages, there is nothing to turn off.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let done = cli::Cli::read().map_err(anyhow::Error::from).and_then(cli::Cli::execute);
    let code = done.unwrap_or_else(|error| failure::report(&error));
    stderr::finish();
    code
}
