//! The signals that ask a worker to end: SIGTERM, SIGINT, SIGQUIT, and SIGHUP, which comes when the
//! terminal is closed.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Completes when one of them arrives. From now on none ends the process by itself.
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()> + Send> {
    let ignored = ignored();
    let unless_ignored = |kind: SignalKind| {
        let is_ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
        if is_ignored { Ok(None) } else { signal(kind).map(Some) }
    };
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = unless_ignored(SignalKind::quit())?;
    let mut hang_up = unless_ignored(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = received(&mut quit) => {}
            () = received(&mut hang_up) => {}
        }
    })
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// The signals that whoever started this process had it ignore, as `nohup` does, a bit each, from
/// the lowest for signal 1 on. Where no `/proc` tells, none.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
