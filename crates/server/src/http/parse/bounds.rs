//! What requests are checked against before the engine sees them, from its limits.

use std::ops::RangeInclusive;

use longshore_engine::Limits;

/// Bounds of what is parsed, beside that of the whole body.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    /// Jobs in a bulk.
    pub(crate) bulk_jobs_max: usize,
    /// Bytes of bodies in a bulk.
    pub(crate) bulk_bytes_max: u64,
    /// Bytes of a job's args.
    pub(crate) args_bytes_max: u64,
    /// Bytes of a result.
    pub(crate) result_bytes_max: u64,
    /// Bytes of metadata, and of all tags together.
    pub(crate) metadata_bytes_max: u64,
    /// Bytes of a cursor.
    pub(crate) cursor_bytes_max: u64,
    /// Settlements in one request.
    pub(crate) settlements_max: usize,
    /// Jobs in one lease request.
    pub(crate) lease_jobs_max: usize,
    /// The shortest and the longest lease.
    pub(crate) lease_ms: RangeInclusive<u64>,
    /// The longest wait of a request.
    pub(crate) wait_ms_max: u64,
    /// The farthest that anything may lie ahead.
    pub(crate) horizon_ms_max: u64,
    /// Queues in one lease request.
    pub(crate) queues_max: usize,
    /// Kinds in one lease request.
    pub(crate) kinds_max: usize,
}

impl Bounds {
    /// What the engine's limits allow.
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            bulk_jobs_max: limits.bulk_jobs_max,
            bulk_bytes_max: limits.bulk_bytes_max,
            args_bytes_max: limits.args_bytes_max,
            result_bytes_max: limits.result_bytes_max,
            metadata_bytes_max: limits.metadata_bytes_max as u64,
            cursor_bytes_max: limits.cursor_bytes_max,
            settlements_max: limits.lease_jobs_max,
            lease_jobs_max: limits.lease_jobs_max,
            lease_ms: limits.lease_ms.clone(),
            wait_ms_max: limits.wait_ms_max,
            horizon_ms_max: limits.horizon_ms_max,
            queues_max: 256,
            kinds_max: 1000,
        }
    }
}
