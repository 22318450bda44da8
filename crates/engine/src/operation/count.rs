//! Which jobs an operation would change, for whoever only counts them.

use super::OperationKind;
use crate::answer::JobState;
use crate::ids::TimeMs;
use crate::job::{Job, JobFilter, Lease};
use crate::map::Reader;

impl OperationKind {
    /// Whether it takes a look at jobs to tell which are meant. How many jobs others are about is
    /// what the counters of their queues say.
    pub fn is_filtered(&self) -> bool {
        let (kind, before) = self.filter();
        kind.is_some() || before.is_some() || matches!(self, Self::ChangeJobs { .. })
    }

    /// Where to look for its jobs.
    pub(crate) fn looked_at(&self) -> JobFilter {
        let (kind, before) = self.filter();
        let state = match self {
            Self::ChangeJobs { change } => return change.filter.clone(),
            Self::RetryDead { .. } | Self::PurgeDead { .. } => Some(JobState::Dead),
            Self::PurgeQueue { .. } | Self::DeleteQueue { .. } | Self::MoveMessages { .. } => None,
        };
        let (queue, kind) = (self.queue().map(str::to_owned), kind.map(str::to_owned));
        JobFilter { queue, state, kind, before, ..JobFilter::default() }
    }

    /// Whether one of them is meant, as [`looked_at`](Self::looked_at) says for all.
    pub(crate) fn means(
        &self,
        reader: &dyn Reader,
        looked_at: &JobFilter,
        (job, lease): (&Job, Option<&Lease>),
        now: TimeMs,
    ) -> bool {
        match self {
            Self::ChangeJobs { change } => change.means(reader, (job, lease), now),
            Self::PurgeQueue { .. } if !JobState::of(job, lease.is_some(), now).waits() => false,
            _ => looked_at.takes(reader, (job, lease.is_some()), now),
        }
    }
}
