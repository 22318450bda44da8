//! What a job is granted with.

use crate::ids::{JobId, Token};
use crate::wire::wire_struct;

wire_struct! {
    /// A job and the token of its new lease.
    pub struct Grant {
        /// The job.
        pub id: JobId,
        /// The new lease.
        pub token: Token,
        /// How long it holds without a heartbeat.
        pub lease_ms: u64,
    }
}
