//! Jobs that run at most once: a run of theirs that has begun is the last one, so nothing takes it
//! back.

use crate::command::Verdict;
use crate::ids::{JobId, NamespaceId};
use crate::job::{Cause, JobError};
use crate::moment::Moment;
use crate::queueing::LiveLease;
use crate::record::Record;
use crate::state::State;

impl State {
    /// Whether the run is the last one of its job, although its worker would have it run again.
    /// What it says then counts as its word that nothing ran, unless it had said otherwise.
    pub(crate) fn is_spent(&self, ns: NamespaceId, live: &LiveLease, verdict: &Verdict) -> bool {
        let returns = match verdict {
            Verdict::Snooze { .. } | Verdict::Release => self.has_begun(ns, live),
            // Only what runs can be interrupted.
            Verdict::Interrupt { .. } => true,
            Verdict::Ack { .. } | Verdict::Fail { .. } | Verdict::Discard { .. } => false,
        };
        returns && live.job().options.at_most_once
    }

    /// Whether its worker was heard of the run: that it starts, or how far it is.
    pub(crate) fn has_begun(&self, ns: NamespaceId, live: &LiveLease) -> bool {
        let lease = live.lease();
        let reported = lease.progress.is_some() || lease.progress_text.is_some();
        let saved = || self.checkpoint(ns, live.job().id).and_then(|it| it.token);
        live.begun() || reported || saved() == Some(lease.token)
    }

    /// The end of such a run: it failed.
    pub(crate) fn decide_spent(
        &self,
        (namespace, id): (NamespaceId, JobId),
        live: &LiveLease,
        moment: Moment,
    ) -> Record {
        let message = "the run had begun and was to be given back: a job that runs at most once \
                       does not run again";
        let error = JobError {
            kind: "at_most_once".to_owned(),
            message: message.to_owned(),
            backtrace: String::new(),
        };
        let (token, cause, error) = (live.lease().token, Cause::Failed, Some(error));
        let next = self.after_failure(live.job(), live.lease(), 0, moment);
        Record::AttemptFailed { namespace, id, token, cause, error, next }
    }
}
