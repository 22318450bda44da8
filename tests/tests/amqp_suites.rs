//! Tests that other people wrote for their clients of AMQP, against a real server: see `compat`.
//! Skipped where a client, or what it needs, is not to be had.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use longshore_tests::server::binary;
use longshore_tests::skip::skip;
use longshore_tests::tier;

/// What `run.sh` ends with where a client cannot be had.
const MISSING: i32 = 69;

/// Those that take a few seconds each.
const QUICK: &[&str] = &["py-amqp", "amqp091-go", "java"];
/// Those that take longer.
const SLOW: &[&str] =
    &["pika-acceptance", "kombu", "aio-pika", "aiormq", "php-amqplib", "bunny", "lapin"];

fn check(client: &str) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/run.sh");
    let output = Command::new(script)
        .arg(client)
        .env("LONGSHORE_BIN", binary()?)
        .env("COMPAT_WORK", Path::new(env!("CARGO_TARGET_TMPDIR")).join("compat"))
        .env_remove("AMQP")
        .stdin(Stdio::null())
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    match output.status.code() {
        Some(0) => {}
        Some(MISSING) => skip("compat", &said),
        _ => bail!("{}: {said}", output.status),
    }
    Ok(())
}

#[test]
fn what_others_test_of_their_clients_holds() -> Result<()> {
    let slow = tier::pick(&[][..], SLOW);
    QUICK.iter().chain(slow).try_for_each(|client| check(client))
}
