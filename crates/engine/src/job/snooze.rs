//! Snoozes have an end: a job whose worker only ever puts it off is dead after as many as the limit
//! says, so that somebody sees it.

use crate::bounds::check_duration;
use crate::ids::{JobId, NamespaceId};
use crate::job::{Cause, DeadReason, EndKind, JobError};
use crate::moment::Moment;
use crate::queueing::LiveLease;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;

impl State {
    /// What putting a run off comes to: its job waits, or it failed for good where the job was
    /// snoozed as often as it may be.
    pub(crate) fn decide_snooze(
        &self,
        (namespace, id): (NamespaceId, JobId),
        live: &LiveLease,
        delay_ms: u64,
        moment: Moment,
    ) -> Result<(Record, EndKind), Rejection> {
        check_duration(&self.limits, "delay", Some(delay_ms), 0)?;
        let (token, snoozes) = (live.lease().token, live.job().snoozes);
        if snoozes < self.limits.snoozes_max {
            let available_at = moment.at.plus(delay_ms);
            let record = Record::JobSnoozed { namespace, id, token, available_at };
            return Ok((record, EndKind::Snoozed));
        }
        let error = Some(JobError {
            kind: "too_many_snoozes".to_owned(),
            message: format!("snoozed {snoozes} times, as often as a job may be"),
            backtrace: String::new(),
        });
        let (cause, next) = (Cause::Failed, self.dead(DeadReason::TooManySnoozes, moment));
        let record = Record::AttemptFailed { namespace, id, token, cause, error, next };
        Ok((record, EndKind::SnoozedOut))
    }
}
