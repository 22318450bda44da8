//! What the shards of runs may hold.

use longshore_engine::{Cap, Limits};

use crate::random::Random;
use crate::workload::versions;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// Bytes of outcomes in runs that forget them: those of a few jobs.
pub(crate) const OUTCOME_BYTES_MAX: u64 = 2 << 10;

/// What the shard of a run may hold.
pub(crate) fn limits(seed: u64, random: &mut Random) -> Limits {
    let kinds_max = if versions::has_some(seed) { 28 } else { 16 };
    // Nothing that the verdict needs is forgotten before it is given.
    Limits {
        retain_ms_default: 30 * DAY_MS,
        tombstone_ms: 30 * DAY_MS,
        dead_retain_ms: 60 * DAY_MS,
        outcome_bytes_max: u64::MAX,
        tombstones_max: u64::MAX,
        sessions_max: Cap { shard: 100, namespace: 100 },
        // Its workloads expect no refusal for these.
        queues_max: Cap { shard: 24, namespace: 24 },
        kinds_max: Cap { shard: kinds_max, namespace: kinds_max },
        schedules_max: Cap { shard: 12, namespace: 12 },
        operations_max: Cap { shard: 4, namespace: 4 },
        waiters_max: Cap { shard: 16, namespace: 16 },
        queue_idle_ms: random.maybe(50, |random| 1000 + random.below(30_000)),
        partitions_max: 16,
        ..Limits::tiny()
    }
}
