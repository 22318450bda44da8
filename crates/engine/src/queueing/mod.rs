//! What waits and is handed out, whatever it is: where entries are filed, what blocks them, which
//! of them comes next, and who has it. It knows no attempts, retries or outcomes: those are what a
//! job adds.

mod blockers;
mod credit;
mod dispatch;
mod filing;
mod heads;
mod job_pause;
mod lanes;
mod leases;
mod ordering_key;

pub(crate) use blockers::blockers_of;
pub(crate) use credit::{Budget, CreditLeft};
pub(crate) use dispatch::Offer;
pub(crate) use filing::DUE_SECONDS_TOLD_MAX;
#[cfg(test)]
pub(crate) use lanes::Room;
pub(crate) use lanes::{KindPlace, LaneId, Lanes, PartId, Slot};
pub(crate) use leases::{AtWorker, HolderKey, Leases, LiveLease, holder_key};
