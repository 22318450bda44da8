//! The signals that ask a process to stop, as something to wait for: SIGINT, SIGTERM, SIGQUIT, and
//! SIGHUP, which comes when the terminal is closed.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// All of them, heard from now on.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// Not heard where whoever started the process had it ignored, as `nohup` does.
    quit: Option<Signal>,
    hang_up: Option<Signal>,
    /// One came already.
    heard: bool,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        let ignored = ignored();
        let unless_ignored = |kind: SignalKind| {
            let is_ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
            if is_ignored { Ok(None) } else { signal(kind).map(Some) }
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: unless_ignored(SignalKind::quit())?,
            hang_up: unless_ignored(SignalKind::hangup())?,
            heard: false,
        })
    }

    /// The next one. SIGHUP counts only as the first: shell and kernel both send it when a terminal
    /// is closed, and a service manager may after SIGTERM, and nobody lost patience then.
    pub(crate) async fn next(&mut self) {
        loop {
            let counts = tokio::select! {
                _ = self.interrupt.recv() => true,
                _ = self.terminate.recv() => true,
                () = received(&mut self.quit) => true,
                () = received(&mut self.hang_up) => !self.heard,
            };
            if counts {
                self.heard = true;
                return;
            }
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// The signals that this process ignores, a bit each, from the lowest for signal 1 on.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// Turns true at the first signal, and is set again at every other.
pub(crate) fn stop_on_signal() -> io::Result<watch::Receiver<bool>> {
    let mut signals = Signals::listen()?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            signals.next().await;
            if stop.send(true).is_err() {
                return;
            }
        }
    });
    Ok(stopped)
}
