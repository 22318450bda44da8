//! From untrusted bytes to commands: pure functions, one file per kind of request. Used by
//! HTTP and gRPC: what only JSON has is checked here; names and sizes are, too, in the words of the
//! API, and the engine checks them again.

mod admin;
mod bounds;
mod check;
mod enqueue;
mod fingerprint;
mod gate;
mod id_source;
mod informing;
mod kinds;
mod lease;
mod limit;
mod location;
mod operation;
mod progress;
mod schedule;
mod settle;
mod sla;
#[cfg(test)]
mod tests;
mod unique;

pub(crate) use admin::{kind_settings_of, settings_of};
pub(super) use admin::{parse_kind_settings, parse_purge, parse_retry_dead, parse_settings};
pub(crate) use bounds::Bounds;
pub(super) use enqueue::parse_enqueue;
pub(crate) use enqueue::{follow_ups, job_of};
pub(crate) use gate::{close_of, gate_of, open_of};
pub(super) use gate::{parse_close, parse_gate};
pub(crate) use id_source::is_made_here;
pub(crate) use kinds::kind_ranges;
pub(super) use lease::parse_lease;
pub(crate) use lease::pattern;
pub(crate) use limit::limit_of;
pub(super) use limit::parse_limit;
pub(crate) use location::check_location;
pub(super) use location::is_followed;
pub(super) use operation::parse_operation;
pub(crate) use operation::{job_filter, jobs_change, state_word};
pub(crate) use progress::hundredths;
pub(crate) use progress::new_start;
pub(super) use progress::{parse_checkpoint, parse_heartbeat, parse_reschedule, parse_retry};
pub use schedule::preview_schedule;
pub(crate) use schedule::{next_start, schedule_of};
pub(super) use schedule::{parse_next, parse_schedule};
pub(super) use settle::{
    Settlements, parse_ack, parse_discard, parse_fail, parse_interrupt, parse_release,
    parse_settle, parse_snooze,
};
pub(super) use sla::parse_sla;
pub(crate) use sla::sla_of;
