//! How far an operation is, as a part of the whole.

use super::{Operation, OperationState};
use crate::ids::JobId;
use crate::state::keys;

impl Operation {
    /// How far it is, from 0 to 1.
    pub fn progress(&self) -> f64 {
        if self.state == OperationState::Finished {
            return 1.0;
        }
        // Where an operation has a limit, how many it has changed tells how far it is.
        let limited = self.kind.limit().is_some();
        let done = if limited { self.changed } else { self.examined };
        let done = if self.candidates == 0 { 0.0 } else { done as f64 / self.candidates as f64 };
        done.max(self.walked().unwrap_or(0.0)).min(1.0)
    }

    /// How far a walk over jobs in the order of their ids has come, where these begin with the time
    /// at which they were made (RFC 9562, UUID version 7). Before those that may match there may be
    /// very many that have ended, or of other queues.
    fn walked(&self) -> Option<f64> {
        let from = made_at(self.first.as_deref()?)?;
        let at = made_at(self.cursor.as_deref()?)?;
        let all = self.started_at.0.checked_sub(from).filter(|all| *all > 0)?;
        Some(at.saturating_sub(from) as f64 / all as f64)
    }
}

/// When the id of a job under its key was made.
fn made_at(key: &[u8]) -> Option<u64> {
    let JobId(id) = keys::id_at(key, 5).filter(|_| key.first() == Some(&keys::JOB))?;
    let version = id[6] >> 4;
    let millis = id.iter().take(6).fold(0, |millis, byte| millis << 8 | u64::from(*byte));
    (version == 7).then_some(millis)
}
