//! A worker of the Rust SDK as a process of its own: `sdk-worker URL NAME [jobs=N] [bytes=N]
//! [grace_ms=N]`. It prints why it has ended.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use longshore::{Client, Worker};
use longshore_tests::sdk::{Hoard, Items, Patient, Stubborn, Taken};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "what the test reads")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, name, settings @ ..] = &arguments[..] else {
        bail!("two arguments are needed, {} were given", arguments.len());
    };
    let client = Client::new(url)?;
    let mut worker = Worker::new(&client, Taken::default())
        .register_iteration::<Items>()
        .register::<Patient>()
        .register_blocking::<Stubborn>()
        .register::<Hoard>()
        .name(name);
    for setting in settings {
        let (what, value) = setting.split_once('=').with_context(|| setting.clone())?;
        let value: u64 = value.parse()?;
        worker = match what {
            "jobs" => worker.recycle_after_jobs(value),
            "bytes" => worker.recycle_above_bytes(value),
            "grace_ms" => worker.grace(Duration::from_millis(value)),
            _ => bail!("there is no setting '{what}'"),
        };
    }
    let stopped = worker.run().await?;
    println!("{stopped:?}");
    Ok(())
}
