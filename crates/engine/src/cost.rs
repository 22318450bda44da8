//! What a command costs, known before it is taken up. The cost follows from what the command names;
//! where it works on what exists, from the bound that it keeps to.

use crate::account::AccountCommand;
use crate::command::{Command, Settlement, Verdict};
use crate::kind::KindRange;
use crate::schedule::ScheduleCommand;
use crate::stream::{AppendBatch, StreamCommand, TransactionAsk, TriggerCommand};

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
            Self::LeaseJobs(lease) => {
                let meant = meant(lease.queues.len(), lease.kinds.as_deref());
                (cost_of(&lease.settle) + lease.max + meant).min(1000)
            }
            Self::Subscribe(command) => {
                let meant = meant(command.queues.len(), command.kinds.as_deref());
                (command.credit.jobs + meant).min(1000)
            }
            Self::AddCredit { credit, settle, .. } => (cost_of(settle) + credit.jobs).min(1000),
            Self::SettleJobs(settlements) => cost_of(settlements),
            Self::ExtendLeases(extensions) => extensions.len(),
            Self::CheckpointJobs(told) => told.len(),
            Self::StartJobs(jobs) => jobs.len(),
            Self::ExtendSession { known, .. } => known.len().min(LONG),
            Self::AwaitJob { .. }
            | Self::CancelJob { .. }
            | Self::RemoveJob { .. }
            | Self::WithdrawJob { .. }
            | Self::RescheduleJob { .. }
            | Self::RetryJob { .. }
            | Self::PauseJob { .. }
            | Self::ResumeJob { .. }
            | Self::StartOperation(_)
            | Self::CancelOperation { .. }
            | Self::GetOperation { .. }
            | Self::CreateNamespace
            | Self::GetNamespace => 1,
            Self::Messages(command) => command.cost(),
            Self::GetLimit { .. }
            | Self::PutQueue { .. }
            | Self::PauseQueue { .. }
            | Self::DeleteQueue { .. }
            | Self::GetQueue { .. } => QUEUE,
            Self::OfSchedule { command, .. } => match command {
                // It is not known how far ahead the first slot lies.
                ScheduleCommand::Put { .. } => QUEUE,
                _ => 8,
            },
            Self::ResumeSession { .. }
            | Self::EndSession { .. }
            | Self::ListQueues { .. }
            | Self::ListOperations
            | Self::ListNamespaces { .. }
            | Self::PutLimit { .. }
            | Self::DeleteLimit { .. }
            | Self::ListLimits
            | Self::Kinds(_)
            | Self::Gates(_)
            | Self::Sla(_)
            | Self::Holds(_)
            | Self::DeleteNamespace => LONG,
            Self::Stream(command) => cost_of_stream(command),
            Self::Accounts(command) => cost_of_accounts(command),
            // How it was and how it is are told.
            Self::Audited(audited) => audited.command.cost() + QUEUE,
            // The answer is written down.
            Self::Keyed(keyed) => 2 * keyed.command.cost() + QUEUE,
        };
        jobs.max(1)
    }
}

/// Pairs of a queue and a kind that are looked for at the cost of a job.
const PAIRS: usize = 32;

/// What it costs to look for each of so many kinds in each of so many queues. Of kinds of which
/// nothing is due, only the name is looked for.
fn meant(queues: usize, kinds: Option<&[KindRange]>) -> usize {
    kinds.map_or(0, |kinds| queues.saturating_mul(kinds.len()) / PAIRS)
}

/// Settlements, and the jobs that enter with them.
fn cost_of(settlements: &[Settlement]) -> usize {
    let of = |settlement: &Settlement| match &settlement.verdict {
        Verdict::Ack { follow_ups, .. } => 1 + follow_ups.len(),
        _ => 1,
    };
    settlements.iter().map(of).sum()
}

/// Pages are as long as what they tell is large.
fn cost_of_accounts(command: &AccountCommand) -> usize {
    match command {
        AccountCommand::Change { .. }
        | AccountCommand::Delete { .. }
        | AccountCommand::Note { .. }
        | AccountCommand::Get { .. } => QUEUE,
        AccountCommand::List { .. } | AccountCommand::Audit { .. } => LONG,
    }
}

/// What ends a transaction touches all of its partitions and offsets.
fn cost_of_transaction(ask: &TransactionAsk) -> usize {
    match ask {
        TransactionAsk::Take { .. } | TransactionAsk::End { .. } => LONG,
        TransactionAsk::AddPartitions { partitions, .. } => partitions.len(),
        TransactionAsk::CommitOffsets { offsets, .. } => offsets.len(),
        TransactionAsk::AddOffsets { .. } => 1,
    }
}

/// A batch that comes from a known producer reads and writes what is known of it; its bytes are
/// copied once, about 16 KiB in the time of a job.
fn cost_of_stream(command: &StreamCommand) -> usize {
    const BATCH_BYTES: usize = 16 << 10;
    match command {
        StreamCommand::Create { partitions, .. }
        | StreamCommand::AddPartitions { partitions, .. } => *partitions as usize,
        StreamCommand::Delete { .. }
        | StreamCommand::ForgetGroup { .. }
        | StreamCommand::Trigger(
            TriggerCommand::Put { .. }
            | TriggerCommand::Replay { .. }
            | TriggerCommand::Delete { .. },
        )
        | StreamCommand::GetOffsets { of: None, .. } => LONG,
        StreamCommand::Append(batches) => {
            let cost =
                |append: &AppendBatch| 1 + append.batch.len() / BATCH_BYTES + append.keys.len();
            batches.iter().map(cost).sum()
        }
        StreamCommand::CommitOffsets { offsets, .. } => offsets.len(),
        StreamCommand::GroupsUsed { groups } => groups.len(),
        StreamCommand::ForgetAborted { markers, .. } => markers.len(),
        StreamCommand::Trigger(TriggerCommand::Fire(fire)) => 1 + fire.events.len(),
        StreamCommand::Transact(command) => cost_of_transaction(&command.ask),
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
    use crate::command::{
        ConsumerId, Credit, EnqueueJobs, Holder, NewJob, QueuePattern, Subscribe,
    };
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
        let lease = |queues: usize, kinds: usize| {
            let queues = vec![QueuePattern::Exactly("q".into()); queues];
            let kinds = Some(vec![KindRange::unversioned("k"); kinds]);
            let credit = Credit { jobs: 1, bytes: 1 };
            let (consumer, holder) = (ConsumerId(1), holder());
            let queues = queues.into_iter().map(|pattern| (pattern, 1)).collect();
            let lease_ms = None;
            Command::Subscribe(Box::new(Subscribe {
                consumer,
                holder,
                queues,
                kinds,
                lease_ms,
                credit,
            }))
            .cost()
        };
        assert_eq!((lease(1, 31), lease(4, 80), lease(256, 1024)), (1, 11, 1000));
        let resume = Command::ResumeSession { holder: holder(), held: Vec::new() };
        assert_eq!(resume.cost(), LONG);
        assert_eq!(Command::ListNamespaces { after: None, limit: 1 }.cost(), LONG);
    }
}
