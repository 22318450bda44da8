//! Failures to come in, by peer: whoever gives many wrong passwords is refused without a look at
//! what it says.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Wrong passwords of one name from one address after which it waits with that name.
const OF_NAME_MAX: u32 = 20;
/// Wrong passwords of one address after which it waits with every name. An address may be that of
/// many, behind a proxy or a gateway.
const OF_ADDRESS_MAX: u32 = 200;
/// After that long without a failure nothing is held against an address.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// Addresses, and names with each, that are remembered.
const PEERS_MAX: usize = 4096;

#[derive(Debug)]
struct Failed {
    count: u32,
    last: Instant,
}

/// An address, alone or with the hash of a name.
type Of = (IpAddr, Option<u64>);

/// What is remembered of failures.
#[derive(Debug, Default)]
pub(super) struct Peers {
    failed: HashMap<Of, Failed>,
    names: RandomState,
}

/// What stands for an address: of IPv6, the part that one network has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let kept = v6.to_bits() >> 64 << 64;
            // Of this machine's own address nothing is left of the first half.
            IpAddr::V6(if v6.is_loopback() { v6 } else { Ipv6Addr::from_bits(kept) })
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Peers {
    /// How many seconds an address has to wait with a name, where it has failed too often.
    pub(super) fn waits_s(&self, peer: Option<IpAddr>, name: &str, now: Instant) -> Option<u64> {
        let peer = network(peer?);
        let left = |of: Of, max: u32| {
            let failed = self.failed.get(&of).filter(|failed| failed.count >= max)?;
            FORGOTTEN_AFTER.checked_sub(now.saturating_duration_since(failed.last))
        };
        // What comes from this machine may be everybody, through a proxy.
        let of_all = || left((peer, None), OF_ADDRESS_MAX).filter(|_| !peer.is_loopback());
        let waits = left((peer, Some(self.names.hash_one(name))), OF_NAME_MAX).or_else(of_all);
        waits.map(|left| left.as_secs() + 1)
    }

    /// Remembers a wrong password.
    pub(super) fn guessed_wrong(&mut self, peer: Option<IpAddr>, name: &str, now: Instant) {
        let Some(peer) = peer.map(network) else { return };
        self.remember((peer, None), now);
        self.remember((peer, Some(self.names.hash_one(name))), now);
    }

    fn remember(&mut self, of: Of, now: Instant) {
        let is_old = |it: &Failed| now.saturating_duration_since(it.last) > FORGOTTEN_AFTER;
        if self.failed.len() >= 2 * PEERS_MAX && !self.failed.contains_key(&of) {
            self.failed.retain(|_, it| !is_old(it));
            let oldest = self.failed.iter().min_by_key(|(_, it)| it.last).map(|(of, _)| *of);
            if let Some(oldest) = oldest.filter(|_| self.failed.len() >= 2 * PEERS_MAX) {
                self.failed.remove(&oldest);
            }
        }
        let failed = self.failed.entry(of).or_insert(Failed { count: 0, last: now });
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
        let [bad, good] = [[10, 0, 0, 1], [10, 0, 0, 2]];
        let [bad, good] = [bad, good].map(|it| Some(IpAddr::from(it)));
        for _ in 0..OF_NAME_MAX {
            peers.guessed_wrong(bad, "ann", now);
        }
        assert_eq!(peers.waits_s(good, "ann", now), None);
        assert_eq!(peers.waits_s(bad, "bob", now), None, "others share its address");
        assert_eq!(peers.waits_s(bad, "ann", now), Some(61));
        let later = now + Duration::from_secs(59);
        assert_eq!(peers.waits_s(bad, "ann", later), Some(2));
        assert_eq!(peers.waits_s(bad, "ann", now + Duration::from_secs(61)), None);
        let later = now + Duration::from_secs(62);
        peers.guessed_wrong(bad, "ann", later);
        assert_eq!(peers.waits_s(bad, "ann", later), None, "it begins anew");
    }

    #[test]
    fn an_address_that_guesses_names_waits_unless_it_is_this_machine() {
        let now = Instant::now();
        for (address, waits) in [("10.0.0.1", true), ("127.0.0.1", false), ("::1", false)] {
            let (mut peers, peer) = (Peers::default(), Some(address.parse().unwrap()));
            for n in 0..OF_ADDRESS_MAX {
                peers.guessed_wrong(peer, &format!("name {n}"), now);
            }
            assert_eq!(peers.waits_s(peer, "ann", now).is_some(), waits, "{address}");
        }
        let mut peers = Peers::default();
        let of = |n: u32| Some(format!("2001:db8::{n:x}").parse().unwrap());
        for n in 0..OF_NAME_MAX {
            peers.guessed_wrong(of(n), "ann", now);
        }
        assert!(peers.waits_s(of(999), "ann", now).is_some(), "it is one network");
        let other = Some("2001:db8:0:1::1".parse().unwrap());
        assert_eq!(peers.waits_s(other, "ann", now), None);
    }

    #[test]
    fn memory_of_peers_is_bounded_and_forgets_the_oldest_first() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        let one = IpAddr::from([10, 0, 0, 1]);
        for n in 0..2 * PEERS_MAX as u32 {
            let at = now + Duration::from_micros(n.into());
            peers.guessed_wrong(Some(IpAddr::from(n.to_be_bytes())), "ann", at);
            if n % 100 == 0 {
                peers.guessed_wrong(Some(one), "ann", at);
            }
        }
        assert!(peers.failed.len() <= 2 * PEERS_MAX);
        assert!(peers.waits_s(Some(one), "ann", now).is_some());
    }
}
