//! Failures to come in, by peer: whoever fails often is refused without a look at what it says, and
//! the log hears of it at a bounded rate.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Failures of one address after which it waits.
const FAILURES_MAX: u32 = 20;
/// After that long without a failure nothing is held against an address.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Addresses that are remembered.
const PEERS_MAX: usize = 4096;
/// How often the log hears of failures.
const TOLD_EVERY: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Failed {
    count: u32,
    last: Instant,
}

/// What is remembered of failures.
#[derive(Debug, Default)]
pub(super) struct Peers {
    failed: HashMap<IpAddr, Failed>,
    told: Option<Instant>,
    untold: u64,
    pub(super) total: u64,
}

impl Peers {
    /// How many seconds an address has to wait, where it has failed too often.
    pub(super) fn waits_s(&self, peer: Option<IpAddr>, now: Instant) -> Option<u64> {
        let failed = self.failed.get(&peer?)?;
        let since = now.saturating_duration_since(failed.last);
        let left = FORGOTTEN_AFTER.checked_sub(since)?;
        (failed.count >= FAILURES_MAX).then(|| left.as_secs() + 1)
    }

    /// Notes a failure. How many there were since the log heard of one, where it shall hear of
    /// this one.
    pub(super) fn note(&mut self, peer: Option<IpAddr>, now: Instant) -> Option<u64> {
        self.total += 1;
        self.untold += 1;
        if let Some(peer) = peer {
            self.remember(peer, now);
        }
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < TOLD_EVERY) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    fn remember(&mut self, peer: IpAddr, now: Instant) {
        let is_old = |it: &Failed| now.saturating_duration_since(it.last) > FORGOTTEN_AFTER;
        if self.failed.len() >= PEERS_MAX && !self.failed.contains_key(&peer) {
            self.failed.retain(|_, it| !is_old(it));
            if self.failed.len() >= PEERS_MAX {
                // So many fail at once that addresses mean nothing.
                self.failed.clear();
            }
        }
        let failed = self.failed.entry(peer).or_insert(Failed { count: 0, last: now });
        if is_old(failed) {
            failed.count = 0;
        }
        failed.count = failed.count.saturating_add(1);
        failed.last = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_fails_often_waits_and_others_do_not() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        let [bad, good] = [1, 2].map(|last| Some(IpAddr::from([10, 0, 0, last])));
        let told: Vec<_> = (0..20).map(|_| peers.note(bad, now)).collect();
        assert_eq!((told[0], told[19]), (Some(1), None), "the log hears of the first");
        assert_eq!(peers.waits_s(good, now), None);
        assert_eq!(peers.waits_s(bad, now), Some(61));
        let later = now + Duration::from_secs(59);
        assert_eq!(peers.waits_s(bad, later), Some(2));
        assert_eq!(peers.waits_s(bad, now + Duration::from_secs(61)), None);
        assert_eq!(peers.note(bad, now + Duration::from_secs(62)), Some(20));
        assert_eq!(peers.waits_s(bad, now + Duration::from_secs(62)), None, "it begins anew");
    }

    #[test]
    fn memory_of_peers_is_bounded() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        for n in 0..3 * PEERS_MAX as u32 {
            peers.note(Some(IpAddr::from(n.to_be_bytes())), now);
        }
        assert!(peers.failed.len() <= PEERS_MAX);
    }
}
