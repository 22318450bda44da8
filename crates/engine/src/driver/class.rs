//! What a command weighs: its class, and the bytes of its bodies. Weighing looks at lengths only.

use crate::command::{CheckpointJob, Command, FollowUp, NewJob, Settlement, Verdict};
use crate::message::{MessageCommand, PublishMessage};
use crate::schedule::ScheduleCommand;
use crate::stream::{
    AppendBatch, StreamCommand, TransactionAsk, TransactionCommand, TriggerCommand, TriggerEvent,
};

/// Commands of a class wait for each other; classes take turns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Class {
    /// Settlements, heartbeats, administration.
    Settle = 0,
    /// Leases and other requests that may wait.
    Lease = 1,
    /// New jobs.
    Publish = 2,
}

impl Class {
    /// How many there are.
    pub const COUNT: usize = 3;
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [Self::Settle, Self::Lease, Self::Publish];

    /// The class of a command.
    pub const fn of(command: &Command) -> Self {
        match command {
            Command::EnqueueJobs(_)
            | Command::Stream(
                StreamCommand::Append(_) | StreamCommand::Trigger(TriggerCommand::Fire(_)),
            ) => Self::Publish,
            Command::LeaseJobs(_) | Command::Subscribe(_) | Command::AwaitJob { .. } => Self::Lease,
            Command::Messages(command) => of_messages(command),
            Command::AddCredit { settle, .. } if settle.is_empty() => Self::Lease,
            Command::Audited(audited) => Self::of(&audited.command),
            Command::Keyed(keyed) => Self::of(&keyed.command),
            _ => Self::Settle,
        }
    }

    /// A word for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Settle => "settle",
            Self::Lease => "lease",
            Self::Publish => "publish",
        }
    }
}

const fn of_messages(command: &MessageCommand) -> Class {
    match command {
        MessageCommand::Publish(_) | MessageCommand::Transact(_) => Class::Publish,
        // The end of a connection comes after the consumers that it has asked for.
        MessageCommand::CloseConnection { .. }
        | MessageCommand::Consume(_)
        | MessageCommand::Lease(_)
        | MessageCommand::GetOne { .. }
        | MessageCommand::AddCredit(_)
        | MessageCommand::ShareCredit(_) => Class::Lease,
        _ => Class::Settle,
    }
}

/// Beside the bytes of bodies, what a command may take in memory.
const COMMAND_BYTES: u64 = 512;
const JOB_BYTES: u64 = 256;
/// A key that is told beside a batch, with what its record says of it.
const KEY_BYTES: u64 = 128;

/// Bytes that the command holds, about.
pub fn bytes_of(command: &Command) -> u64 {
    COMMAND_BYTES
        + match command {
            Command::EnqueueJobs(enqueue) => enqueue.jobs.iter().map(job_bytes).sum(),
            Command::Audited(audited) => bytes_of(&audited.command),
            Command::Keyed(keyed) => bytes_of(&keyed.command),
            Command::LeaseJobs(lease) => lease.settle.iter().map(settlement_bytes).sum(),
            Command::SettleJobs(settlements) | Command::AddCredit { settle: settlements, .. } => {
                settlements.iter().map(settlement_bytes).sum()
            }
            Command::ExtendLeases(extensions) => JOB_BYTES * extensions.len() as u64,
            Command::CheckpointJobs(told) => told.iter().map(checkpoint_bytes).sum(),
            Command::ResumeSession { held, .. } => 64 * held.len() as u64,
            Command::ExtendSession { known, .. } => 32 * known.len() as u64,
            Command::StartJobs(jobs) => 32 * jobs.len() as u64,
            Command::OfSchedule { command: ScheduleCommand::Put { settings, .. }, .. } => {
                let metadata = settings.job.metadata.as_ref().map_or(0, bytes::Bytes::len);
                JOB_BYTES + (settings.job.args.len() + metadata) as u64
            }
            Command::Messages(command) => message_bytes(command),
            Command::Stream(command) => stream_bytes(command),
            _ => 0,
        }
}

fn message_bytes(command: &MessageCommand) -> u64 {
    match command {
        MessageCommand::Publish(messages) => published_bytes(messages),
        MessageCommand::Transact(it) => {
            let jobs: u64 = it.enqueues.iter().map(|one| job_bytes(&one.job)).sum();
            let settled = 24 * it.settlements.len() as u64 + 64 * it.leased.len() as u64;
            published_bytes(&it.publishes) + settled + jobs
        }
        MessageCommand::Untaken { messages, .. } => 24 * messages.len() as u64,
        MessageCommand::Settle { settlements, .. } => 24 * settlements.len() as u64,
        MessageCommand::ReturnLeased(messages) => 64 * messages.len() as u64,
        MessageCommand::SettleLeased(settlements) => 64 * settlements.len() as u64,
        _ => 0,
    }
}

fn published_bytes(messages: &[PublishMessage]) -> u64 {
    let bytes = |one: &PublishMessage| JOB_BYTES + (one.body.len() + one.properties.len()) as u64;
    messages.iter().map(bytes).sum()
}

fn job_bytes(job: &NewJob) -> u64 {
    let metadata = job.metadata.as_ref().map_or(0, bytes::Bytes::len);
    JOB_BYTES + (job.args.len() + metadata) as u64
}

fn settlement_bytes(settlement: &Settlement) -> u64 {
    let body = match &settlement.verdict {
        Verdict::Ack { result, follow_ups, .. } => {
            let jobs: u64 = follow_ups.iter().map(|one| job_bytes(&one.job)).sum();
            result.as_ref().map_or(0, bytes::Bytes::len) + jobs as usize
        }
        Verdict::Fail { .. } => 4096,
        _ => 0,
    };
    JOB_BYTES + body as u64
}

fn checkpoint_bytes(told: &CheckpointJob) -> u64 {
    let cursors = told.cursor.iter().chain(told.skipped.iter().map(|(cursor, _)| cursor));
    let texts = 2048 * told.skipped.len() + 64 * told.counters.len();
    JOB_BYTES + (cursors.map(bytes::Bytes::len).sum::<usize>() + texts) as u64
}

fn stream_bytes(command: &StreamCommand) -> u64 {
    match command {
        StreamCommand::Append(batches) => {
            let bytes = |append: &AppendBatch| {
                let keys = append.keys.iter().map(|it| KEY_BYTES + it.appended.key.len() as u64);
                JOB_BYTES + append.batch.len() as u64 + keys.sum::<u64>()
            };
            batches.iter().map(bytes).sum()
        }
        StreamCommand::Trigger(TriggerCommand::Fire(fire)) => {
            let bytes = |it: &TriggerEvent| {
                let of = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
                let headers = it.headers.iter().map(|(name, value)| name.len() + of(value));
                let headers: usize = headers.sum();
                JOB_BYTES + (of(&it.key) + of(&it.value) + headers) as u64
            };
            fire.events.iter().map(bytes).sum()
        }
        StreamCommand::CommitOffsets { offsets, .. }
        | StreamCommand::Transact(TransactionCommand {
            ask: TransactionAsk::CommitOffsets { offsets, .. },
            ..
        }) => JOB_BYTES * offsets.len() as u64,
        _ => 0,
    }
}

fn follow_ups_of(settlement: &Settlement) -> &[FollowUp] {
    match &settlement.verdict {
        Verdict::Ack { follow_ups, .. } => follow_ups,
        _ => &[],
    }
}

/// Whether the command brings new jobs in.
pub fn enqueues(command: &Command) -> bool {
    let settle = match command {
        Command::EnqueueJobs(_)
        | Command::Messages(MessageCommand::Publish(_))
        | Command::Stream(
            StreamCommand::Append(_)
            | StreamCommand::Create { .. }
            | StreamCommand::Trigger(TriggerCommand::Fire(_)),
        ) => return true,
        Command::Messages(MessageCommand::Transact(it)) => {
            return !it.publishes.is_empty() || !it.enqueues.is_empty();
        }
        Command::OfSchedule { command, .. } => {
            return matches!(command, ScheduleCommand::Put { .. } | ScheduleCommand::Run);
        }
        Command::LeaseJobs(lease) => &lease.settle,
        Command::SettleJobs(settlements) | Command::AddCredit { settle: settlements, .. } => {
            settlements
        }
        Command::Audited(audited) => return enqueues(&audited.command),
        Command::Keyed(keyed) => return enqueues(&keyed.command),
        _ => return false,
    };
    settle.iter().any(|settlement| !follow_ups_of(settlement).is_empty())
}

#[cfg(test)]
mod tests {
    use crate::command::EnqueueJobs;
    use crate::ids::{JobId, PartitionId};
    use crate::stream::{AppendedKey, KeyToAppend};

    use super::*;

    #[test]
    fn a_bulk_weighs_what_its_jobs_weigh() {
        let job = NewJob::new(JobId::default(), "k", vec![0_u8; 1000]);
        let command = Command::EnqueueJobs(EnqueueJobs { queue: "q".into(), jobs: vec![job; 30] });
        assert_eq!(bytes_of(&command), COMMAND_BYTES + 30 * (JOB_BYTES + 1000));
        assert_eq!(Class::of(&command), Class::Publish);
        assert_eq!(Class::of(&Command::ListOperations), Class::Settle);
    }

    #[test]
    fn a_batch_weighs_what_its_keys_weigh_too() {
        let appended = AppendedKey { key: vec![b'k'; 1000].into(), events: 1, first: 0, last: 0 };
        let append = AppendBatch {
            partition: PartitionId(1),
            events: 500,
            producer: None,
            transactional: false,
            batch: vec![0_u8; 3000].into(),
            keys: vec![KeyToAppend { appended, expected: None }; 500],
        };
        let command = Command::Stream(StreamCommand::Append(vec![append]));
        let keys = 500 * (KEY_BYTES + 1000);
        assert_eq!(bytes_of(&command), COMMAND_BYTES + JOB_BYTES + 3000 + keys);
    }
}
