//! Time in which this process ran. A peer that was given no chance, since the server was stopped
//! (SIGSTOP) or its thread waited for a disk, is not late.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

/// How often it is looked whether the process ran.
const SLICE: Duration = Duration::from_secs(1);
/// Whoever wakes so much too late was kept from running; a busy machine is rarely that late.
const STALL_MIN: Duration = Duration::from_secs(1);

/// What counts of the time that a wait for `slice` took: nothing, where the thread was kept from
/// running meanwhile. Whatever the peer did then is heard of before the next wait ends.
pub(crate) fn counted(took: Duration, slice: Duration) -> Duration {
    if took > slice + STALL_MIN { Duration::ZERO } else { took }
}

/// Is ready once the thread has run for `duration`.
pub(crate) async fn pass(duration: Duration) {
    let mut left = duration;
    while !left.is_zero() {
        let (slice, begun) = (left.min(SLICE), Instant::now());
        sleep(slice).await;
        left = left.saturating_sub(counted(begun.elapsed(), slice));
    }
}

/// It took too long.
#[derive(Debug)]
pub(crate) struct Late;

impl From<Late> for std::io::Error {
    fn from(_: Late) -> Self {
        std::io::ErrorKind::TimedOut.into()
    }
}

/// What comes of `future` before the thread has run for `duration`.
pub(crate) async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Late> {
    tokio::select! {
        biased;
        output = future => Ok(output),
        () = pass(duration) => Err(Late),
    }
}

/// Seconds that a thread of connections has run, read once in each; 1 at the start, so that 0 can
/// mean never. They are those of the clock, however late a busy machine comes to read it.
#[derive(Debug)]
pub(crate) struct Ticks {
    now: AtomicU64,
    /// When it was read last, and how long the thread had run then.
    read: Mutex<(Instant, Duration)>,
}

impl Ticks {
    pub(crate) fn new() -> Self {
        Self { now: AtomicU64::new(1), read: Mutex::new((Instant::now(), Duration::ZERO)) }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    /// Reads the clock. The thread itself does it, or this says nothing of it.
    fn tick(&self, now: Instant) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, ran) = *read;
        let ran = ran + counted(now.saturating_duration_since(before), SLICE);
        *read = (now, ran);
        self.now.store(1 + ran.as_secs(), Ordering::Relaxed);
    }

    /// Reads the clock once a second.
    pub(crate) async fn run(&self) {
        let mut seconds = interval(SLICE);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            seconds.tick().await;
            self.tick(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::yield_now;

    use super::*;

    #[test]
    fn a_stop_of_the_whole_server_is_nobodys_time() {
        let ticks = Ticks::new();
        let mut now = ticks.read.lock().unwrap().0;
        let mut after = |ms| {
            now += Duration::from_millis(ms);
            ticks.tick(now);
            ticks.now()
        };
        for _ in 0..9 {
            after(1300);
        }
        assert_eq!(after(1300), 14, "13 s, and 1 at the start");
        assert_eq!(after(60_000), 14);
        assert_eq!(after(900), 14);
        assert_eq!(after(100), 15);
    }

    #[tokio::test]
    async fn a_wait_does_not_end_with_a_stop_of_the_server() {
        let waits = tokio::spawn(pass(Duration::from_millis(1500)));
        let in_time = tokio::spawn(timeout(Duration::from_millis(1500), async {
            // It is there when the server goes on, and the time is not over.
            sleep(Duration::from_millis(1)).await;
            sleep(Duration::from_millis(1)).await;
            7
        }));
        yield_now().await;
        // What runs on this thread is kept from running.
        std::thread::sleep(SLICE + STALL_MIN + Duration::from_millis(100));
        let resumed = Instant::now();
        assert_eq!(in_time.await.unwrap().unwrap(), 7);
        waits.await.unwrap();
        let took = resumed.elapsed();
        assert!(took >= Duration::from_millis(1400), "{took:?}");
        let never = std::future::pending::<()>();
        assert!(timeout(Duration::from_millis(1), never).await.is_err());
    }
}
