//! What can be asked of transactions, and how it is answered.

use thiserror::Error;

use crate::ids::PartitionId;
use crate::stream::{OffsetRefusal, OffsetToCommit};

/// A command about the transactions of one id.
#[derive(Clone, Debug)]
pub struct TransactionCommand {
    /// The id: whoever uses it last is the only one who may.
    pub id: String,
    /// What is asked.
    pub ask: TransactionAsk,
}

/// Who asks: a producer with its epoch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TransactionStamp {
    /// The number of the producer.
    pub producer: u64,
    /// Its epoch.
    pub epoch: u32,
}

/// What is asked of a transactional id.
#[derive(Clone, Debug)]
pub enum TransactionAsk {
    /// To be the one who uses it. What another one has left open is aborted.
    Take {
        /// How long a transaction may be open, in milliseconds.
        timeout_ms: u64,
        /// Who asks, where it had the id before and takes a new epoch for itself.
        current: Option<TransactionStamp>,
    },
    /// To append to these partitions within the transaction, which begins with that.
    AddPartitions {
        /// Who asks.
        stamp: TransactionStamp,
        /// Which.
        partitions: Vec<PartitionId>,
    },
    /// To commit offsets within the transaction, which begins with that.
    AddOffsets {
        /// Who asks.
        stamp: TransactionStamp,
    },
    /// To remember how far a group has read, once the transaction is committed.
    CommitOffsets {
        /// Who asks.
        stamp: TransactionStamp,
        /// The group.
        group: String,
        /// The first offsets that it has not read.
        offsets: Vec<OffsetToCommit>,
    },
    /// To end the transaction.
    End {
        /// Who asks.
        stamp: TransactionStamp,
        /// Whether it is committed, or aborted.
        commit: bool,
    },
}

/// The answer to a [`TransactionCommand`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TransactionAnswer {
    /// To `Take`: with what to ask from now on.
    Taken(TransactionStamp),
    /// To `AddPartitions`, `AddOffsets` and `End`.
    Done,
    /// To `CommitOffsets`: what became of each, in order.
    Offsets(Vec<Result<(), OffsetRefusal>>),
}

/// Why nothing is done.
#[derive(Clone, Copy, Debug, Eq, Error, PartialEq)]
pub enum TransactionRefusal {
    /// The producer does not have that transactional id.
    #[error("the producer does not have this transactional id")]
    NotTheProducer,
    /// Somebody else has taken the id since, or the transaction took too long.
    #[error("epoch {found} of the producer is not the current one, {current}")]
    Fenced {
        /// The producer's.
        found: u32,
        /// The current one.
        current: u32,
    },
    /// There is no transaction that this could be about.
    #[error("no such transaction is open")]
    NotOpen,
    /// A partition does not exist.
    #[error("a partition does not exist")]
    PartitionUnknown,
    /// The transaction may not take so long, or no time at all.
    #[error("a transaction takes 1 to {max} milliseconds")]
    TimeoutRefused {
        /// What is allowed.
        max: u64,
    },
    /// There are too many of them already.
    #[error("more than {limit} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many may be.
        limit: usize,
    },
}

/// What a reader of committed events has to know of a partition: a transaction that is open in it
/// or was aborted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TransactionMark {
    /// The partition.
    pub partition: PartitionId,
    /// The producer.
    pub producer: u64,
    /// The offset of its first event.
    pub first: u64,
    /// The offset of the marker that aborted it; `None` where it is open.
    pub last: Option<u64>,
}
