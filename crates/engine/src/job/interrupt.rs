//! Interruptions: a run ends so that another one goes on from its cursor. They use no attempt.

use crate::bounds::{check_duration, cut_name};
use crate::ids::{JobId, NamespaceId, TimeMs, Token};
use crate::job::{EndKind, Job, Phase};
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;

impl State {
    pub(crate) fn decide_interrupt(
        &self,
        (namespace, id, token): (NamespaceId, JobId, Token),
        reason: &str,
        delay_ms: Option<u64>,
        moment: Moment,
    ) -> Result<Record, Rejection> {
        check_duration(&self.limits, "delay", delay_ms, 0)?;
        let available_at = delay_ms.map(|delay_ms| moment.at.plus(delay_ms));
        // It only informs: the run is over, whatever its worker calls the reason.
        let reason = cut_name(&self.limits, reason).unwrap_or_else(|| "interrupt".to_owned());
        Ok(Record::JobInterrupted { namespace, id, token, reason, available_at })
    }

    pub(crate) fn apply_job_interrupted(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        reason: String,
        available_at: Option<TimeMs>,
    ) {
        let (mut job, lease) = self.end_run(ns, id);
        let queue = self.queue_of(ns, &job);
        let mut checkpoint = self.checkpoint(ns, id).unwrap_or_default();
        checkpoint.interruptions += 1;
        checkpoint.interrupted_for = Some(reason);
        self.put_checkpoint(ns, id, &checkpoint);
        job.losses = 0;
        job.remember_end(lease.token, EndKind::Interrupted);
        if let Some(available_at) = available_at {
            job.phase = Phase::Waiting;
            job.available_at = available_at.max(self.now());
        }
        self.drop_expiry(ns, &mut job);
        self.wait_again(ns, queue, job);
    }

    /// A job that has come some way has been started in time: it does not expire any more.
    pub(crate) fn drop_expiry(&mut self, ns: NamespaceId, job: &mut Job) {
        if let Some(expires_at) = job.options.expires_at.take()
            && job.deadline != Some(expires_at)
        {
            self.clear_timer(expires_at, crate::timer::Subject::job(ns, job.id));
        }
    }
}
