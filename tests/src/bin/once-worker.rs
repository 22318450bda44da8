//! A worker that writes down what it starts: `once-worker FACE ADDRESS FOLDER NAME SEED`. The face
//! is `http`, `grpc` or `sdk`, and so is its queue.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};
use longshore::Client;
use longshore_tests::once::{Starts, grpc, http, sdk};
use longshore_tests::random::Random;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

static STOP: AtomicBool = AtomicBool::new(false);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [face, address, folder, name, seed] = &arguments[..] else {
        bail!("five arguments are needed, {} were given", arguments.len());
    };
    let (url, random) = (format!("http://{address}"), Random::new(seed.parse()?));
    let starts = Starts::open(Path::new(folder), name)?;
    if face == "sdk" {
        return sdk::work(&url, name, starts).await;
    }
    let mut asked = signal(SignalKind::terminate())?;
    let (sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        asked.recv().await;
        STOP.store(true, Ordering::Relaxed);
        sender.send_replace(true);
        // Its end would count as a change.
        std::future::pending::<()>().await;
    });
    match face.as_str() {
        "grpc" => grpc::Worker::new(Client::new(url)?, name, starts, random, stop).work().await,
        "http" => {
            let (address, name) = (address.clone(), name.clone());
            let work = move || {
                let client = longshore_tests::http::Client::new(&address);
                http::Worker { client, name: &name, starts, random, stop: &STOP }.work()
            };
            tokio::task::spawn_blocking(work).await?
        }
        _ => bail!("there is no face '{face}'"),
    }
}
