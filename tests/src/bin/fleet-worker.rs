//! A worker of a fleet: `fleet-worker URL FOLDER NAME CONCURRENCY`. All else is as it is by
//! default.

use anyhow::{Result, bail};
use longshore::{Client, Worker};
use longshore_tests::fleet::{Shore, Wait};

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, folder, name, concurrency] = &arguments[..] else {
        bail!("four arguments are needed, {} were given", arguments.len());
    };
    let shore = Shore::open(folder.as_ref(), name)?;
    let client = Client::new(url)?;
    Worker::new(&client, shore)
        .register::<Wait>()
        .name(name)
        .concurrency(concurrency.parse()?)
        .run()
        .await?;
    Ok(())
}
