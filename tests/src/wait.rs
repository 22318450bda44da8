//! Waiting on conditions. A deadline is generous and only there to end a test that hangs.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How long anything may take before it counts as hanging.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask()? {
            return Ok(answer);
        }
        if Instant::now() > end {
            bail!("waited for {} s: {what}", PATIENCE.as_secs());
        }
        thread::sleep(PAUSE);
    }
}
