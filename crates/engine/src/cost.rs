//! What a command costs, known before anybody takes it up: by what it names, and where it is about
//! what exists, by the bound that it keeps to.

use crate::command::{Command, Settlement, Verdict};
use crate::stream::StreamCommand;

/// What a command costs that is about more than it names: a slice of what exists, or as many
/// things as all the slices of a turn.
const LONG: usize = 256;

/// A queue as it is told: its kinds are compared with what workers ask for.
const QUEUE: usize = 32;

impl Command {
    /// Its share of a turn, in jobs: about three microseconds each. What it does beyond that it
    /// does in slices, in turns of their own.
    pub fn cost(&self) -> usize {
        let jobs = match self {
            Self::EnqueueJobs(enqueue) => enqueue.jobs.len(),
            Self::LeaseJobs(lease) => (cost_of(&lease.settle) + lease.max).min(1000),
            Self::Subscribe(command) => command.credit.jobs.min(1000),
            Self::AddCredit { credit, settle, .. } => (cost_of(settle) + credit.jobs).min(1000),
            Self::SettleJobs(settlements) => cost_of(settlements),
            Self::ExtendLeases(extensions) => extensions.len(),
            Self::CheckpointJobs(told) => told.len(),
            Self::StartJobs(jobs) => jobs.len(),
            Self::ExtendSession { known, .. } => known.len().min(LONG),
            Self::AwaitJob { .. }
            | Self::CancelJob { .. }
            | Self::RemoveJob { .. }
            | Self::RescheduleJob { .. }
            | Self::RetryJob { .. }
            | Self::PauseJob { .. }
            | Self::ResumeJob { .. }
            | Self::StartOperation(_)
            | Self::CancelOperation { .. }
            | Self::GetOperation { .. }
            | Self::CreateNamespace
            | Self::GetNamespace => 1,
            Self::PutQueue { .. }
            | Self::PauseQueue { .. }
            | Self::DeleteQueue { .. }
            | Self::GetQueue { .. } => QUEUE,
            Self::ResumeSession { .. }
            | Self::EndSession { .. }
            | Self::ListQueues { .. }
            | Self::ListOperations
            | Self::ListNamespaces { .. }
            | Self::DeleteNamespace => LONG,
            Self::Stream(command) => cost_of_stream(command),
        };
        jobs.max(1)
    }
}

/// Settlements, and the jobs that enter with them.
fn cost_of(settlements: &[Settlement]) -> usize {
    let of = |settlement: &Settlement| match &settlement.verdict {
        Verdict::Ack { follow_ups, .. } => 1 + follow_ups.len(),
        _ => 1,
    };
    settlements.iter().map(of).sum()
}

/// A batch that comes from a known producer reads and writes what is known of it; its bytes are
/// copied once, about 16 KiB in the time of a job.
fn cost_of_stream(command: &StreamCommand) -> usize {
    const BATCH_BYTES: usize = 16 << 10;
    match command {
        StreamCommand::Create { partitions, .. }
        | StreamCommand::AddPartitions { partitions, .. } => *partitions as usize,
        StreamCommand::Delete { .. } | StreamCommand::ForgetGroup { .. } => LONG,
        StreamCommand::Append(batches) => {
            batches.iter().map(|append| 1 + append.batch.len() / BATCH_BYTES).sum()
        }
        StreamCommand::CommitOffsets { offsets, .. } => offsets.len(),
        StreamCommand::GetOffsets { of: None, .. } => LONG,
        StreamCommand::GetOffsets { of: Some(of), .. } => {
            of.iter().map(|(_, partitions)| 1 + partitions.len()).sum()
        }
        StreamCommand::Change { .. }
        | StreamCommand::Trim { .. }
        | StreamCommand::TakeProducerId => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{EnqueueJobs, Holder, NewJob};
    use crate::ids::{JobId, Token};

    #[test]
    fn what_touches_more_than_it_names_costs_a_slice() {
        let job = NewJob::new(JobId::default(), "k", "{}");
        let bulk = |count| EnqueueJobs { queue: "q".into(), jobs: vec![job.clone(); count] };
        assert_eq!(Command::EnqueueJobs(bulk(30)).cost(), 30);
        assert_eq!(Command::SettleJobs(Vec::new()).cost(), 1);
        let holder = || Holder { worker: "w".into(), session: "s".into() };
        let end = Command::EndSession { holder: holder(), why: String::new(), goodbye: true };
        assert_eq!(end.cost(), LONG);
        let known = vec![(JobId::default(), Token::default()); 10_000];
        let beat = |known| Command::ExtendSession { holder: holder(), known };
        assert_eq!((beat(known).cost(), beat(Vec::new()).cost()), (LONG, 1));
        let resume = Command::ResumeSession { holder: holder(), held: Vec::new() };
        assert_eq!(resume.cost(), LONG);
        assert_eq!(Command::ListNamespaces { after: None, limit: 1 }.cost(), LONG);
    }
}
