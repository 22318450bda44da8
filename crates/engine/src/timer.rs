//! Timers: from an instant on, something is to be looked at. Whoever looks decides what that means:
//! a timer that concerns nobody any more does no harm.

use crate::ids::{GateId, JobId, NamespaceId, ScheduleId};
use crate::state::keys;
use crate::wire::wire_enum;

wire_enum! {
    /// What a timer is about.
    #[derive(Copy, Eq, Ord, PartialOrd)]
    pub enum Subject {
        /// A job whose time may have run out.
        1 => Job {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
        },
        /// A schedule whose next slot is due.
        130 => Schedule {
            /// Its namespace.
            namespace: NamespaceId,
            /// The schedule.
            id: ScheduleId,
        },
        /// A gate that opens by itself.
        170 => Gate {
            /// Its namespace.
            namespace: NamespaceId,
            /// The gate.
            id: GateId,
        },
    }
}

/// The number of jobs among the subjects.
const JOB: u8 = 1;

/// The number of schedules among them.
const SCHEDULE: u8 = 130;

/// The number of gates among them.
const GATE: u8 = 170;

impl Subject {
    /// A job.
    pub(crate) fn job(namespace: NamespaceId, id: JobId) -> Self {
        Self::Job { namespace, id }
    }

    /// As it stands at the end of a timer's key.
    pub(crate) fn append_to(self, key: keys::Key) -> keys::Key {
        match self {
            Self::Job { namespace, id } => key.u8(JOB).namespace(namespace).id(id),
            Self::Schedule { namespace, id } => key.u8(SCHEDULE).namespace(namespace).u64(id.0),
            Self::Gate { namespace, id } => key.u8(GATE).namespace(namespace).u32(id.0),
        }
    }

    /// What stands at the end of a timer's key.
    pub(crate) fn of_key(end: &[u8]) -> Option<Self> {
        match *end.first()? {
            JOB => {
                let (namespace, id) = (keys::u32_at(end, 1)?, keys::id_at(end, 5)?);
                Some(Self::Job { namespace: NamespaceId(namespace), id })
            }
            SCHEDULE => {
                let (namespace, id) = (keys::u32_at(end, 1)?, keys::u64_at(end, 5)?);
                Some(Self::Schedule { namespace: NamespaceId(namespace), id: ScheduleId(id) })
            }
            GATE => {
                let (namespace, id) = (keys::u32_at(end, 1)?, keys::u32_at(end, 5)?);
                Some(Self::Gate { namespace: NamespaceId(namespace), id: GateId(id) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::TimeMs;
    use crate::wire::Wire;

    #[test]
    fn a_timers_key_names_its_subject() {
        let schedule = Subject::Schedule { namespace: NamespaceId(7), id: ScheduleId(9) };
        let gate = Subject::Gate { namespace: NamespaceId(7), id: GateId(9) };
        for subject in [Subject::job(NamespaceId(7), JobId([9; 16])), schedule, gate] {
            let key = keys::timer(TimeMs(5), subject);
            assert_eq!(keys::timer_of(&key), Some((TimeMs(5), subject)));
            assert_eq!(key.get(9), subject.to_bytes().first(), "the same number in both");
        }
        for end in [&[][..], &[2], &[JOB, 0, 0, 0, 7, 9]] {
            assert_eq!(Subject::of_key(end), None);
        }
    }
}
