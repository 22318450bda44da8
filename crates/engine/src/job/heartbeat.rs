//! Heartbeats: they extend a lease in memory only; progress is a record.

use crate::answer::Instruction;
use crate::bounds::cut;
use crate::command::Extension;
use crate::ids::{JobId, NamespaceId, Token};
use crate::job::enqueue::check_lease;
use crate::queueing::LiveLease;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;

impl LiveLease {
    /// What its worker shall do.
    pub(crate) fn instruction(&self) -> Instruction {
        if self.lease().cancel_requested {
            Instruction::Cancel
        } else if self.is_to_pause() && !self.job().options.at_most_once {
            // What runs at most once would not go on after the pause: it comes to its end.
            Instruction::Interrupt { reason: "pause" }
        } else {
            Instruction::Continue
        }
    }
}

impl State {
    /// What the worker is told, and the record of its progress where it tells any.
    pub(crate) fn decide_extension(
        &self,
        namespace: NamespaceId,
        extension: &Extension,
    ) -> Result<(Option<Record>, Instruction), Rejection> {
        let live = self.live_lease(namespace, extension.id, extension.token)?;
        check_lease(self, extension.lease_ms)?;
        let progress = extension.progress.map(|progress| progress.min(10_000));
        let max = self.limits.progress_text_bytes_max;
        let progress_text = extension.progress_text.as_ref().map(|text| cut(text, max));
        let told = progress.is_some() || progress_text.is_some();
        let record = told.then_some(Record::ProgressReported {
            namespace,
            id: extension.id,
            progress,
            progress_text,
        });
        Ok((record, self.instruct(namespace, live)))
    }

    /// The lease that a worker shows, if it is still its own.
    pub(crate) fn live_lease(
        &self,
        ns: NamespaceId,
        id: JobId,
        token: Token,
    ) -> Result<&LiveLease, Rejection> {
        let live = self.leases.get(ns, id).filter(|live| live.lease().token == token);
        live.ok_or_else(|| {
            if self.job(ns, id).is_none() {
                return self.job_unknown(ns, id);
            }
            let why = "the run was settled, or the lease ran out and the job went elsewhere";
            Rejection::LeaseLost { id, token, why }
        })
    }

    pub(crate) fn apply_progress_reported(
        &mut self,
        ns: NamespaceId,
        id: JobId,
        progress: Option<u16>,
        progress_text: Option<String>,
    ) {
        self.change_lease(ns, id, |lease| {
            lease.progress = progress.or(lease.progress);
            if progress_text.is_some() {
                lease.progress_text = progress_text;
            }
        });
    }
}
