//! A worker as a process of its own, so that it can be killed: `crash-worker NAME SESSION NAMESPACE
//! ADDRESS-FILE HISTORY SEED STOP-FILE`. It ends once STOP-FILE is there.

use std::path::Path;

use anyhow::{Result, bail};
use longshore_tests::history::Recorder;
use longshore_tests::random::Random;
use longshore_tests::worker::{Order, Worker};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, session, namespace, address, history, seed, stop] = &arguments[..] else {
        bail!("seven arguments are needed, {} were given", arguments.len());
    };
    let worker = Worker {
        name: name.clone(),
        session: session.clone(),
        namespace,
        address: Path::new(address),
        random: Random::new(seed.parse()?),
        recorder: Recorder::open(Path::new(history))?,
    };
    worker.run(|| if Path::new(stop).exists() { Order::Finish } else { Order::Work })
}
