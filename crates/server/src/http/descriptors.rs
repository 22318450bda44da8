//! File descriptors: each connection takes one, and whoever takes the last keeps a shard from
//! opening its files. So there are at most as many connections as leave the shards theirs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::HttpConfig;

/// What a shard may have open: tables of its state, segments of its journal.
const PER_SHARD: u64 = 256 + 32;
/// What else may be open.
const OTHERS: u64 = 128;

/// Asks the system for as many descriptors as are wanted, and bounds the connections to those that
/// there are.
pub(super) fn fit(config: HttpConfig, shards: u32) -> HttpConfig {
    let kept = OTHERS + PER_SHARD * u64::from(shards);
    let wanted = kept + (config.connections_max + config.connections_reserved) as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let maximum = limit.maximum;
        let current = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current, maximum }) {
            tracing::debug!(%error, "the limit of file descriptors stays as it is");
        }
    }
    let Some(limit) = getrlimit(Resource::Nofile).current else { return config };
    let fitted = fit_into(config.clone(), limit.saturating_sub(kept) as usize);
    if fitted != config {
        let connections = fitted.connections_max + fitted.connections_reserved;
        tracing::warn!(limit, connections, "file descriptors are few, so connections are, too");
    }
    fitted
}

fn fit_into(mut config: HttpConfig, room: usize) -> HttpConfig {
    if config.connections_max + config.connections_reserved > room {
        config.connections_reserved = config.connections_reserved.min(room / 4);
        config.connections_max = (room - config.connections_reserved).max(1);
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(given: (usize, usize), room: usize, fitted: (usize, usize)) {
        let (connections_max, connections_reserved) = given;
        let config = HttpConfig { connections_max, connections_reserved, ..HttpConfig::default() };
        let found = fit_into(config, room);
        assert_eq!((found.connections_max, found.connections_reserved), fitted);
    }

    #[test]
    fn connections_leave_descriptors_to_the_shards() {
        check((10_000, 500), 20_000, (10_000, 500));
        check((10_000, 500), 10_500, (10_000, 500));
        check((10_000, 500), 10_499, (9_999, 500));
        check((10_000, 500), 320, (240, 80));
        check((10_000, 0), 320, (320, 0));
        check((10_000, 500), 0, (1, 0));
    }

    #[test]
    fn a_limit_is_raised_as_far_as_it_is_wanted() {
        let before = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let config = HttpConfig { connections_max: 1, ..HttpConfig::default() };
        assert_eq!(fit(config.clone(), 1), config);
        assert!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) >= before);
    }
}
