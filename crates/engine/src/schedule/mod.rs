//! Schedules: what enqueues jobs at times. `cron` and `calendar` say at which instants (pure, by
//! the bundled time zones), `plan` which slot is next, `change` what people change, `tick` what a
//! slot brings about. Only decisions compute slots: a record names the next one, so that replay
//! never asks a time zone.

mod calendar;
mod change;
mod cron;
mod plan;
mod tick;
mod types;

pub use calendar::local_time;
pub use plan::{PlanFault, next_slots, slot_job_id};
pub use types::{
    JobTemplate, LastTick, Missed, NewSchedule, Overlap, Schedule, ScheduleCommand, ScheduleState,
    ScheduleTotals, ScheduleView, Slot, Spec, Tick, TickOutcome,
};
