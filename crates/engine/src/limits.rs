//! Every bound that the engine checks when it decides. `apply` reads none of them, so that a
//! changed limit never changes what a record means.

use std::fmt;

/// Bytes that a journal takes as one entry.
pub const ENTRY_BYTES_MAX: usize = 32 << 20;

/// How many there may be of something: on the whole shard, and of one namespace, so that none uses
/// up what all of them share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cap {
    /// Of all namespaces together.
    pub shard: usize,
    /// Of one namespace.
    pub namespace: usize,
}

/// Who has as many of something as may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// The namespace of the request.
    Namespace,
    /// The shard, all of its namespaces together.
    Shard,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Namespace => "the namespace",
            Self::Shard => "the shard",
        })
    }
}

impl Cap {
    /// Room for one more beside what the namespace and the whole shard have; where there is none,
    /// whose cap that is and what it is.
    pub(crate) fn check(self, namespace: usize, shard: usize) -> Result<(), (Scope, usize)> {
        if namespace >= self.namespace {
            Err((Scope::Namespace, self.namespace))
        } else if shard >= self.shard {
            Err((Scope::Shard, self.shard))
        } else {
            Ok(())
        }
    }
}

/// Bounds of one shard. Faces check sizes before they reserve memory; the engine checks again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Bytes of one journal entry, at most [`ENTRY_BYTES_MAX`]. What holds together is refused
    /// where it is more.
    pub entry_bytes_max: usize,
    /// Jobs in one atomic call.
    pub bulk_jobs_max: usize,
    /// Bytes of bodies in one atomic call.
    pub bulk_bytes_max: u64,
    /// Bytes of a job's args.
    pub args_bytes_max: u64,
    /// Bytes of a job's result.
    pub result_bytes_max: u64,
    /// Bytes of metadata, and of all tags together.
    pub metadata_bytes_max: usize,
    /// Bytes of a name: queue, kind, namespace, worker, session, ordering key, tag.
    pub name_bytes_max: usize,
    /// Bytes kept of an error's message.
    pub error_message_bytes_max: usize,
    /// Bytes kept of an error's backtrace.
    pub error_backtrace_bytes_max: usize,
    /// Bytes of a progress text.
    pub progress_text_bytes_max: usize,
    /// Bytes of a cursor.
    pub cursor_bytes_max: u64,
    /// Counters of a job.
    pub counters_max: usize,
    /// Skipped items that are kept of a job; of more only the number is.
    pub skipped_items_max: usize,
    /// Bytes kept of a skipped item's message, and of its backtrace.
    pub skipped_text_bytes_max: usize,
    /// Jobs in one lease request.
    pub lease_jobs_max: usize,
    /// Shortest and longest lease.
    pub lease_ms: std::ops::RangeInclusive<u64>,
    /// The lease where neither worker, job nor queue says.
    pub lease_ms_default: u64,
    /// Longest wait of a request.
    pub wait_ms_max: u64,
    /// Farthest that any instant or duration may lie ahead.
    pub horizon_ms_max: u64,
    /// Exchanges that were declared.
    pub exchanges_max: Cap,
    /// Bindings.
    pub bindings_max: Cap,
    /// Consumers of messages that are bound to a connection.
    pub message_consumers_max: Cap,
    /// Bytes of a message's body.
    pub message_bytes_max: u64,
    /// Queues.
    pub queues_max: Cap,
    /// Kinds.
    pub kinds_max: Cap,
    /// Namespaces of a shard.
    pub namespaces_max: usize,
    /// Requests that wait at the same time, and streams that take jobs.
    pub waiters_max: Cap,
    /// Sessions remembered.
    pub sessions_max: Cap,
    /// How often a job may be snoozed; the next one after that makes it dead.
    pub snoozes_max: u32,
    /// Attempts in all where nobody says.
    pub max_attempts_default: u32,
    /// How long an outcome is kept where nobody says.
    pub retain_ms_default: u64,
    /// Bytes of outcomes kept per namespace.
    pub outcome_bytes_max: u64,
    /// How long a dead job is kept.
    pub dead_retain_ms: u64,
    /// How long the id of a forgotten job that a client named is remembered.
    pub tombstone_ms: u64,
    /// Tombstones kept per namespace, the oldest are dropped first.
    pub tombstones_max: u64,
    /// How long a session without requests is remembered.
    pub session_ms: u64,
    /// How long a queue without jobs and settings of its own stays; `None` for ever.
    pub queue_idle_ms: Option<u64>,
    /// How long after its last request a worker counts as a consumer.
    pub consumer_ms: u64,
    /// Items in one slice of housekeeping or of an operation.
    pub slice_items_max: usize,
    /// Operations that may be under way.
    pub operations_max: Cap,
    /// Finished operations that are remembered. Whoever has the most forgets first.
    pub operations_kept: Cap,
    /// Whether a namespace comes into being when somebody first enqueues into it.
    pub namespaces_on_first_use: bool,
    /// Schedules.
    pub schedules_max: Cap,
    /// Partitions of one stream.
    pub stream_partitions_max: u32,
    /// Partitions of a shard.
    pub partitions_max: usize,
    /// Bytes that a stream may allow a batch.
    pub stream_batch_bytes_max: u32,
    /// How long a producer of events is remembered after its last batch.
    pub producer_ms: u64,
    /// How long offsets of a group are remembered after its last member or commit; `None` for ever.
    pub offsets_ms: Option<u64>,
    /// The longest that a producer's transaction may be open.
    pub transaction_ms_max: u64,
    /// Partitions of one transaction.
    pub transaction_partitions_max: usize,
    /// Transactional ids of a shard.
    pub transactional_ids_max: usize,
    /// How long a transactional id is remembered after it was last used.
    pub transactional_id_ms: u64,
    /// Offsets in one call.
    pub offsets_bulk_max: usize,
    /// Bytes of what is remembered with an offset.
    pub offset_metadata_bytes_max: usize,
    /// Bytes that the offsets of all open transactions of a shard may take in memory.
    pub transaction_offset_bytes_max: usize,
}

const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;
const DAY: u64 = 24 * HOUR;
const MIB: u64 = 1 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            entry_bytes_max: ENTRY_BYTES_MAX,
            bulk_jobs_max: 10_000,
            bulk_bytes_max: 16 * MIB,
            args_bytes_max: 16 * MIB,
            result_bytes_max: MIB,
            metadata_bytes_max: 16 << 10,
            name_bytes_max: 255,
            error_message_bytes_max: 10_000,
            error_backtrace_bytes_max: 16 << 10,
            progress_text_bytes_max: 1024,
            cursor_bytes_max: 64 << 10,
            counters_max: 32,
            skipped_items_max: 100,
            skipped_text_bytes_max: 1024,
            lease_jobs_max: 1000,
            lease_ms: SECOND..=12 * HOUR,
            lease_ms_default: 30 * SECOND,
            wait_ms_max: 60 * SECOND,
            horizon_ms_max: 10 * 366 * DAY,
            exchanges_max: Cap { shard: 20_000, namespace: 10_000 },
            bindings_max: Cap { shard: 1_000_000, namespace: 500_000 },
            message_consumers_max: Cap { shard: 200_000, namespace: 100_000 },
            message_bytes_max: 16 << 20,
            queues_max: Cap { shard: 200_000, namespace: 100_000 },
            kinds_max: Cap { shard: 100_000, namespace: 10_000 },
            namespaces_max: 10_000,
            waiters_max: Cap { shard: 100_000, namespace: 50_000 },
            sessions_max: Cap { shard: 100_000, namespace: 50_000 },
            snoozes_max: 10_000,
            max_attempts_default: 26,
            retain_ms_default: DAY,
            outcome_bytes_max: 256 * MIB,
            dead_retain_ms: 180 * DAY,
            tombstone_ms: DAY,
            tombstones_max: 1_000_000,
            session_ms: HOUR,
            queue_idle_ms: None,
            consumer_ms: 60 * SECOND,
            slice_items_max: 256,
            operations_max: Cap { shard: 64, namespace: 16 },
            operations_kept: Cap { shard: 1024, namespace: 256 },
            namespaces_on_first_use: false,
            schedules_max: Cap { shard: 2_000_000, namespace: 1_000_000 },
            stream_partitions_max: 10_000,
            partitions_max: 100_000,
            stream_batch_bytes_max: 16 << 20,
            producer_ms: DAY,
            offsets_ms: Some(7 * DAY),
            transaction_ms_max: 900 * SECOND,
            transaction_partitions_max: 2000,
            transactional_ids_max: 10_000,
            transactional_id_ms: 7 * DAY,
            offsets_bulk_max: 10_000,
            offset_metadata_bytes_max: 4096,
            transaction_offset_bytes_max: 64 << 20,
        }
    }
}

impl Limits {
    /// Every bound tiny, so that tests and the simulator meet all of them.
    pub fn tiny() -> Self {
        Self {
            bulk_jobs_max: 8,
            args_bytes_max: 8192,
            bulk_bytes_max: 32 << 10,
            result_bytes_max: 8192,
            cursor_bytes_max: 64,
            counters_max: 3,
            skipped_items_max: 3,
            lease_jobs_max: 8,
            exchanges_max: Cap { shard: 6, namespace: 4 },
            bindings_max: Cap { shard: 16, namespace: 12 },
            message_consumers_max: Cap { shard: 8, namespace: 6 },
            queues_max: Cap { shard: 6, namespace: 4 },
            kinds_max: Cap { shard: 7, namespace: 4 },
            namespaces_max: 4,
            sessions_max: Cap { shard: 16, namespace: 12 },
            waiters_max: Cap { shard: 16, namespace: 12 },
            outcome_bytes_max: 2048,
            tombstones_max: 4,
            snoozes_max: 3,
            slice_items_max: 4,
            operations_max: Cap { shard: 4, namespace: 3 },
            operations_kept: Cap { shard: 4, namespace: 3 },
            namespaces_on_first_use: true,
            schedules_max: Cap { shard: 6, namespace: 4 },
            stream_partitions_max: 4,
            partitions_max: 8,
            offsets_bulk_max: 4,
            transaction_partitions_max: 3,
            transactional_ids_max: 4,
            // The model does not know when a round comes.
            offsets_ms: None,
            offset_metadata_bytes_max: 8,
            transaction_offset_bytes_max: 400,
            ..Self::default()
        }
    }
}
