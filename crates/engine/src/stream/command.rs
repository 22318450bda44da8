//! What can be asked of streams, and how it is answered.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    CommittedOffset, KeyToAppend, PartitionEnds, StreamSettings, TransactionAnswer,
    TransactionCommand, TransactionMark, TransactionRefusal, TriggerCommand,
};
use crate::ids::{PartitionId, StreamId};

/// What to do with the streams of a namespace.
#[derive(Clone, Debug)]
pub enum StreamCommand {
    /// Create a stream.
    Create {
        /// Its name.
        stream: String,
        /// How many partitions it has.
        partitions: u32,
        /// Its settings.
        settings: StreamSettings,
    },
    /// Change the settings of a stream.
    Change {
        /// Its name.
        stream: String,
        /// What is to hold from now on.
        settings: StreamSettings,
    },
    /// Add partitions to a stream until it has so many.
    AddPartitions {
        /// Its name.
        stream: String,
        /// How many it is to have.
        partitions: u32,
    },
    /// Remove a stream with its events.
    Delete {
        /// Its name.
        stream: String,
    },
    /// Append batches, each on its own.
    Append(Vec<AppendBatch>),
    /// Forget the events of a partition before an offset.
    Trim {
        /// Which partition.
        partition: PartitionId,
        /// The first offset that is kept; `None` for the next event's.
        start: Option<u64>,
    },
    /// Forget aborted transactions of a partition of whose events nothing is left.
    ForgetAborted {
        /// Which partition.
        partition: PartitionId,
        /// The offsets of their markers.
        markers: Vec<u64>,
    },
    /// Something about a trigger.
    Trigger(TriggerCommand),
    /// Take a number for a producer that appends nothing twice.
    TakeProducerId,
    /// Remember how far a group has read.
    CommitOffsets {
        /// The group.
        group: String,
        /// The first offsets that it has not read.
        offsets: Vec<OffsetToCommit>,
    },
    /// Tell how far a group has read.
    GetOffsets {
        /// The group.
        group: String,
        /// Streams and indexes of partitions; `None` for all that it committed.
        of: Option<Vec<(String, Vec<u32>)>>,
    },
    /// Forget how far a group has read, all of it.
    ForgetGroup {
        /// The group.
        group: String,
    },
    /// Hear which groups have members, so that their offsets are not forgotten by age. To be told
    /// again within two hours.
    GroupsUsed {
        /// Their names.
        groups: Vec<String>,
    },
    /// Something about a transaction.
    Transact(TransactionCommand),
}

/// One batch of events for one partition.
#[derive(Clone, Debug)]
pub struct AppendBatch {
    /// Which partition.
    pub partition: PartitionId,
    /// How many events it has.
    pub events: u32,
    /// Who appends it, where that is to be done once.
    pub producer: Option<ProducerStamp>,
    /// Whether it belongs to the producer's transaction.
    pub transactional: bool,
    /// Its bytes, which the engine does not read.
    pub batch: Bytes,
    /// Its events by their keys, each key once; needed where the stream counts them.
    pub keys: Vec<KeyToAppend>,
}

/// What a producer says of a batch, so that it is appended once and in order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProducerStamp {
    /// Its number.
    pub id: u64,
    /// Its epoch; older ones are refused.
    pub epoch: u32,
    /// The sequence number of the first event, up to 2^31 - 1; 0 follows that.
    pub sequence: u32,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Appended {
    /// The offset of its first event.
    pub base_offset: u64,
    /// The first offset that the partition keeps.
    pub start: u64,
    /// It had been appended before.
    pub replayed: bool,
}

/// Why a batch is not appended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AppendRefusal {
    /// There is no such partition, or no more.
    #[error("the partition does not exist")]
    PartitionUnknown,
    /// It is larger than the stream or the journal allows.
    #[error("the batch is too large")]
    TooLarge,
    /// It does not follow the producer's last one.
    #[error("the sequence number {found} does not follow the producer's last one")]
    SequenceOutOfOrder {
        /// The batch's.
        found: u32,
    },
    /// A newer epoch of the producer has appended.
    #[error("epoch {found} of the producer is older than {current}")]
    EpochPassed {
        /// The batch's.
        found: u32,
        /// The newest.
        current: u32,
    },
    /// The stream counts the events of each key, and which keys the batch has is not told.
    #[error(
        "the stream counts the events of each key: each has one, and they are appended over \
             HTTP or gRPC, outside of transactions"
    )]
    KeysUntold,
    /// A key has another number of events than is expected.
    #[error("the key has {actual} events, and not {expected}")]
    EventsUnexpected {
        /// Which of the keys of the batch.
        index: usize,
        /// How many are expected.
        expected: u64,
        /// How many it has.
        actual: u64,
    },
    /// The producer has no transaction open that may append there.
    #[error("no transaction of the producer is open that appends to the partition")]
    NotInTransaction,
}

/// How far a group has read a partition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OffsetToCommit {
    /// The stream. Partitions of one share its name.
    pub stream: Arc<str>,
    /// The index of the partition.
    pub partition: u32,
    /// What is to be remembered.
    pub committed: CommittedOffset,
}

/// Why an offset is not remembered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OffsetRefusal {
    /// There is no such partition.
    PartitionUnknown,
    /// The metadata is too long.
    MetadataTooLarge,
}

/// How far a group has read a partition; `None` where it has committed nothing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GroupOffset {
    /// The stream. Partitions of one share its name.
    pub stream: Arc<str>,
    /// The index of the partition.
    pub partition: u32,
    /// What was committed last.
    pub committed: Option<CommittedOffset>,
    /// Whether a transaction is open that has another one.
    pub pending: bool,
}

/// A stream as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamView {
    /// Its number in the shard; never reused.
    pub id: StreamId,
    /// The name of its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its partitions in the order of their indexes, each with where it begins and ends.
    pub partitions: Vec<(PartitionId, PartitionEnds)>,
    /// Its settings.
    pub settings: StreamSettings,
    /// Transactions that are open in its partitions or were aborted; told of at a start only.
    pub transactions: Vec<TransactionMark>,
}

/// The answer to a [`StreamCommand`].
#[derive(Clone, Debug)]
pub enum StreamAnswer {
    /// To `Create`, `Change`, `AddPartitions`: the stream as it is now.
    Stream(Box<StreamView>),
    /// To `Delete`.
    Deleted,
    /// To `Append`: what became of each batch, in order.
    Appended(Vec<Result<Appended, AppendRefusal>>),
    /// To `Trim`: the first offset that is kept now; `None` where there is no such partition, or
    /// where it does not go so far.
    Trimmed(Option<u64>),
    /// To `ForgetAborted`.
    AbortedForgotten,
    /// To the creation or change of a trigger.
    TriggerPut,
    /// To the removal of a trigger: whether there was one.
    TriggerDeleted(bool),
    /// To a replay: how many offsets there are up to its end.
    Replaying(u64),
    /// To events for a trigger: whether it was where the events begin.
    Fired(bool),
    /// To `TakeProducerId`.
    ProducerId(u64),
    /// To `CommitOffsets`: what became of each, in order.
    Committed(Vec<Result<(), OffsetRefusal>>),
    /// To `GetOffsets`.
    Offsets(Vec<GroupOffset>),
    /// To `ForgetGroup`: whether more of it is left, for another such command.
    GroupForgotten {
        /// How many offsets were forgotten.
        offsets: usize,
        /// Whether more are left.
        more: bool,
    },
    /// To `GroupsUsed`.
    GroupsNoted,
    /// To `Transact`.
    Transacted(Result<TransactionAnswer, TransactionRefusal>),
}
