//! Heartbeats: they extend a lease in memory only; progress is a record.

use crate::answer::Instruction;
use crate::bounds::cut;
use crate::command::Extension;
use crate::ids::{JobId, NamespaceId, Token};
use crate::job::enqueue::check_lease;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{LiveLease, State, keys};
use crate::wire::Wire;

impl LiveLease {
    /// What its worker shall do.
    pub(crate) fn instruction(&self) -> Instruction {
        if self.lease.cancel_requested {
            Instruction::Cancel
        } else if self.paused && !self.job.options.at_most_once {
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
        let live = self.leases.get(&(ns, id)).filter(|live| live.lease.token == token);
        live.map(|live| &**live).ok_or_else(|| {
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
        let live = self.leases.get_mut(&(ns, id)).expect("the record names a live lease");
        live.lease.progress = progress.or(live.lease.progress);
        if progress_text.is_some() {
            live.lease.progress_text = progress_text;
        }
        let value = live.lease.to_bytes();
        self.put_bytes(&keys::lease(ns, id), &value);
    }

    /// A volatile fact: the lease holds from now on anew, but not past the run's timeout.
    pub(crate) fn extend_lease(&mut self, ns: NamespaceId, id: JobId, lease_ms: Option<u64>) {
        let mono = self.mono;
        let Some(live) = self.leases.get_mut(&(ns, id)) else { return };
        let expires = mono.plus(lease_ms.unwrap_or(live.lease.lease_ms));
        let expires = live.timeout.map_or(expires, |timeout| expires.min(timeout));
        self.lease_ends.remove(&(live.expires, ns, id));
        (live.expires, live.spared) = (expires, false);
        self.lease_ends.insert((expires, ns, id));
    }

    /// For so long no worker could be heard: see `Turn::end_shortage`.
    pub(crate) fn spare_leases(&mut self, shortage_ms: u64) {
        let mono = self.mono;
        // Whose session was heard since the last shortage is not spared any more.
        let all: Vec<_> = self.leases.keys().copied().collect();
        for (ns, id) in all {
            self.file_end_as_heard(ns, id);
        }
        self.lease_ends.clear();
        for ((ns, id), live) in &mut self.leases {
            let without = live.expires.plus(shortage_ms);
            let anew = if live.spared { without } else { mono.plus(live.lease.lease_ms) };
            let expires = anew.max(without);
            live.expires = live.timeout.map_or(expires, |timeout| expires.min(timeout));
            live.spared = true;
            self.lease_ends.insert((live.expires, *ns, *id));
        }
    }
}
