//! From untrusted bytes to commands: pure functions, one file per kind of request. What the engine
//! checks is left to it; here is what only JSON over HTTP has.

mod admin;
mod enqueue;
mod fingerprint;
mod id_source;
mod lease;
mod location;
mod progress;
mod settle;
#[cfg(test)]
mod tests;

use longshore_engine::Limits;

pub(super) use admin::{parse_purge, parse_retry_dead, parse_settings};
pub(super) use enqueue::parse_enqueue;
pub(crate) use enqueue::{follow_ups, job_of};
pub(super) use lease::parse_lease;
pub(crate) use lease::pattern;
pub(crate) use location::check_location;
pub(super) use location::is_followed;
pub(crate) use progress::hundredths;
pub(super) use progress::{parse_checkpoint, parse_heartbeat, parse_retry};
pub(super) use settle::{
    parse_ack, parse_discard, parse_fail, parse_interrupt, parse_release, parse_settle,
    parse_snooze,
};

/// Bounds of what is parsed, beside that of the whole body.
#[derive(Clone, Debug)]
#[expect(clippy::struct_field_names, reason = "each is a bound and ends so, as everywhere")]
pub(crate) struct Bounds {
    /// Jobs in a bulk.
    pub(crate) bulk_jobs_max: usize,
    /// Bytes of a job's args.
    pub(crate) args_bytes_max: u64,
    /// Bytes of a result.
    pub(crate) result_bytes_max: u64,
    /// Bytes of metadata.
    pub(crate) metadata_bytes_max: u64,
    /// Bytes of a cursor.
    pub(crate) cursor_bytes_max: u64,
    /// Settlements in one request.
    pub(crate) settlements_max: usize,
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
            args_bytes_max: limits.args_bytes_max,
            result_bytes_max: limits.result_bytes_max,
            metadata_bytes_max: limits.metadata_bytes_max as u64,
            cursor_bytes_max: limits.cursor_bytes_max,
            settlements_max: limits.lease_jobs_max,
            queues_max: 256,
            kinds_max: 1000,
        }
    }
}
