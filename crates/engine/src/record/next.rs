//! What a record says of the time after an attempt that did not succeed.

use crate::ids::TimeMs;
use crate::job::DeadReason;
use crate::wire::wire_enum;

wire_enum! {
    /// What follows an attempt that did not succeed.
    pub enum Next {
        /// Another attempt, from this instant.
        1 => RetryAt {
            /// The instant.
            available_at: TimeMs,
        },
        /// Another attempt, at its old place.
        2 => Requeue,
        /// Nothing: the job is dead.
        3 => Dead {
            /// Why.
            reason: DeadReason,
            /// Until when it is kept.
            forget_at: TimeMs,
        },
        /// Nothing: somebody had asked to cancel it.
        4 => Cancelled,
        /// The same attempt again, at its old place, from the cursor that this run moved.
        5 => Resume,
    }
}
