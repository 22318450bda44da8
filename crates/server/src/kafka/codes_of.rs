//! Refusals in Kafka's words: the one place where codes of this server become codes of Kafka.

use longshore_engine::{AppendRefusal, OffsetRefusal, Rejection, TransactionRefusal};
use longshore_kafka::codes;
use longshore_node::Unavailable;
use longshore_streams::ReadError;

/// Nothing was done, and the client may try again: that is how it understands this code.
pub(super) const NOT_NOW: i16 = codes::NOT_ENOUGH_REPLICAS;

/// A code and what it is about.
pub(super) type Refused = (i16, String);

/// A shard that does not take it.
pub(super) fn of_unavailable(why: &Unavailable) -> Refused {
    (NOT_NOW, why.to_string())
}

/// What a coordinator says instead: of a shard that does not take it now, that it is not there.
pub(super) fn of_coordinator((code, _): Refused) -> i16 {
    if code == NOT_NOW { codes::COORDINATOR_NOT_AVAILABLE } else { code }
}

/// A decision of the engine.
#[expect(clippy::too_many_lines, reason = "it is a table of the rejections")]
pub(super) fn of_rejection(rejection: &Rejection) -> Refused {
    let code = match rejection {
        Rejection::StreamUnknown { .. } | Rejection::NamespaceUnknown { .. } => {
            codes::UNKNOWN_TOPIC_OR_PARTITION
        }
        Rejection::StreamExists { .. } => codes::TOPIC_ALREADY_EXISTS,
        Rejection::TooManyPartitions { .. }
        | Rejection::ValueRefused { field: "partitions", .. } => codes::INVALID_PARTITIONS,
        Rejection::ValueRefused { field: "stream", .. } => codes::INVALID_TOPIC_EXCEPTION,
        Rejection::ValueRefused { field: "group", .. } => codes::INVALID_GROUP_ID,
        Rejection::ValueRefused { field: "batch_bytes_max" | "file_bytes", .. } => {
            codes::INVALID_CONFIG
        }
        Rejection::ValueRefused { .. } | Rejection::EntryTooLarge { .. } => codes::INVALID_REQUEST,
        Rejection::GroupInUse { .. } => codes::NON_EMPTY_GROUP,
        Rejection::Stopping => NOT_NOW,
        Rejection::NamespaceNotEmpty { .. }
        | Rejection::NamespaceHasStreams { .. }
        | Rejection::TooManyNamespaces { .. }
        | Rejection::QueueUnknown { .. }
        | Rejection::QueueFull { .. }
        | Rejection::QueueNotEmpty { .. }
        | Rejection::TooManyQueues { .. }
        | Rejection::TooManyKinds { .. }
        | Rejection::TooManyVersions { .. }
        | Rejection::JobsRefused { .. }
        | Rejection::JobIdTaken { .. }
        | Rejection::JobUnknown { .. }
        | Rejection::JobStateRefused { .. }
        | Rejection::LeaseLost { .. }
        | Rejection::AskPassed { .. }
        | Rejection::RequestSuperseded { .. }
        | Rejection::TooManyWaiting { .. }
        | Rejection::TooManySessions { .. }
        | Rejection::OperationUnknown { .. }
        | Rejection::TooManyOperations { .. }
        | Rejection::QueueTypeRefused { .. }
        | Rejection::QueueExclusive { .. }
        | Rejection::QueueInUse { .. }
        | Rejection::ConsumerExclusive { .. }
        | Rejection::ConsumerTaken { .. }
        | Rejection::TooManyConsumers { .. }
        | Rejection::UniqueTaken { .. }
        | Rejection::NamespaceHasSchedules { .. }
        | Rejection::ScheduleUnknown { .. }
        | Rejection::TooManySchedules { .. }
        | Rejection::ScheduleStateRefused { .. }
        | Rejection::LimitUnknown { .. }
        | Rejection::LimitChanging { .. }
        | Rejection::TooManyLimits { .. }
        | Rejection::DeclaredOtherwise { .. }
        | Rejection::NameReserved { .. }
        | Rejection::ExchangeUnknown { .. }
        | Rejection::ExchangeInUse { .. }
        | Rejection::ExchangeInternal { .. }
        | Rejection::TooManyExchanges { .. }
        | Rejection::TooManyBindings { .. }
        | Rejection::MessageUnknown { .. }
        | Rejection::AccountUnknown { .. }
        | Rejection::TokenUnknown { .. }
        | Rejection::TooManyAccounts { .. }
        | Rejection::KeyUsedOtherwise
        | Rejection::TooManyKeys { .. }
        | Rejection::SlaUnknown { .. }
        | Rejection::TooManySlas { .. }
        | Rejection::GateUnknown { .. }
        | Rejection::TooManyGates { .. }
        | Rejection::TooManyGateSets { .. }
        | Rejection::HoldUnknown { .. }
        | Rejection::TooManyHolds { .. } => codes::UNKNOWN_SERVER_ERROR,
    };
    (code, rejection.to_string())
}

/// A batch that is not appended.
pub(super) fn of_append(refusal: AppendRefusal) -> i16 {
    match refusal {
        AppendRefusal::PartitionUnknown => codes::UNKNOWN_TOPIC_OR_PARTITION,
        AppendRefusal::TooLarge => codes::MESSAGE_TOO_LARGE,
        AppendRefusal::SequenceOutOfOrder { .. } => codes::OUT_OF_ORDER_SEQUENCE_NUMBER,
        AppendRefusal::EpochPassed { .. } => codes::INVALID_PRODUCER_EPOCH,
        AppendRefusal::NotInTransaction => codes::INVALID_TXN_STATE,
        AppendRefusal::KeysUntold | AppendRefusal::EventsUnexpected { .. } => {
            codes::POLICY_VIOLATION
        }
    }
}

/// A transaction that does not go on.
pub(super) fn of_transaction(refusal: TransactionRefusal) -> i16 {
    match refusal {
        TransactionRefusal::NotTheProducer => codes::INVALID_PRODUCER_ID_MAPPING,
        TransactionRefusal::Fenced { .. } => codes::PRODUCER_FENCED,
        TransactionRefusal::NotOpen => codes::INVALID_TXN_STATE,
        TransactionRefusal::PartitionUnknown => codes::UNKNOWN_TOPIC_OR_PARTITION,
        TransactionRefusal::TimeoutRefused { .. } => codes::INVALID_TRANSACTION_TIMEOUT,
        TransactionRefusal::TooMany { .. } => codes::POLICY_VIOLATION,
    }
}

/// An offset that is not remembered.
pub(super) fn of_offset(refusal: OffsetRefusal) -> i16 {
    match refusal {
        OffsetRefusal::PartitionUnknown => codes::UNKNOWN_TOPIC_OR_PARTITION,
        OffsetRefusal::MetadataTooLarge => codes::OFFSET_METADATA_TOO_LARGE,
    }
}

/// Events that cannot be read; what is wrong with the files is logged.
pub(super) fn of_read(error: &ReadError) -> i16 {
    match error {
        ReadError::OutOfRange { .. } => codes::OFFSET_OUT_OF_RANGE,
        ReadError::Damaged { .. } | ReadError::Io { .. } => {
            tracing::error!(%error, "events cannot be read");
            codes::KAFKA_STORAGE_ERROR
        }
    }
}
