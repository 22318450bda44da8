//! A refusal on its way to a gRPC client: a status with the problem document beside it. Fields are
//! named as in the messages, not as in JSON.

use longshore_proto::v1;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code as Grpc, Status};

use crate::api::Problem;
use crate::http::code::Code;
use crate::http::refusal::Refusal;

/// Where trailing metadata has the code of the refusal.
pub(super) const CODE_KEY: &str = "longshore-code";
/// Bytes of a document in a header; a longer one is left out.
const DOCUMENT_BYTES_MAX: usize = 6 << 10;

/// The status that a call ends with.
pub(crate) fn status_of(refusal: &Refusal) -> Status {
    let problem = problem_of(refusal);
    let mut metadata = MetadataMap::new();
    metadata.insert(CODE_KEY, MetadataValue::from_static(refusal.code().as_str()));
    if problem.document.len() <= DOCUMENT_BYTES_MAX {
        let document = MetadataValue::from_bytes(&problem.document);
        metadata.insert_bin("longshore-problem-bin", document);
    }
    if let Some(ms) = problem.retry_after_ms {
        metadata.insert("retry-after-ms", MetadataValue::from(ms));
    }
    Status::with_metadata(grpc_code(refusal.code()), problem.detail, metadata)
}

/// A status of the library's own with the code that says the same over HTTP: it refuses messages
/// that are too large, cut, compressed or no messages before this face sees them, and methods that
/// there are not.
pub(super) fn coded(mut status: Status) -> Status {
    let code = match status.code() {
        _ if status.metadata().contains_key(CODE_KEY) => return status,
        Grpc::OutOfRange => Code::BodyTooLarge,
        Grpc::Internal if status.message().contains("EOF") => Code::BodyTruncated,
        Grpc::Internal if status.message().starts_with("Missing request") => Code::BodyMissing,
        Grpc::Internal | Grpc::InvalidArgument => Code::BodyMalformed,
        Grpc::Unimplemented if status.message().contains("compressed") => Code::MediaTypeRefused,
        Grpc::Unimplemented => Code::RouteUnknown,
        _ => return status,
    };
    let code = MetadataValue::from_static(code.as_str());
    status.metadata_mut().insert(CODE_KEY, code);
    status
}

/// The same as a part of a message.
pub(crate) fn problem_of(refusal: &Refusal) -> v1::Problem {
    let problem = renamed(refusal.problem());
    v1::Problem {
        document: serde_json::to_vec(&problem).unwrap_or_default().into(),
        code: problem.code,
        detail: problem.detail,
        field: problem.field.unwrap_or_default(),
        http_status: u32::from(problem.status),
        retry_after_ms: refusal.retry_after().map(|seconds| seconds * 1000),
    }
}

/// Names the fields as the messages do.
fn renamed(mut problem: Problem) -> Problem {
    let rename = |field: &mut Option<String>, detail: &mut String| {
        let Some(json) = field.as_ref() else { return };
        let name: Vec<&str> = json.split('.').map(field_name).collect();
        let name = name.join(".");
        if name != *json {
            *detail = detail.replacen(json.as_str(), &name, 1);
        }
        *field = Some(name);
    };
    rename(&mut problem.field, &mut problem.detail);
    for fault in &mut problem.faults {
        rename(&mut fault.field, &mut fault.detail);
    }
    problem
}

/// The name of a field of a message that JSON calls so.
fn field_name(json: &str) -> &str {
    match json {
        "run_at" => "run_at_unix_ms",
        "expires_at" => "expires_at_unix_ms",
        "delay" => "delay_ms",
        "ttl" => "ttl_ms",
        "timeout" => "timeout_ms",
        "lease" => "lease_ms",
        "max_age" => "max_age_ms",
        "retain" => "retain_ms",
        "retry_in" => "retry_in_ms",
        "wait" => "wait_ms",
        "base" => "base_ms",
        "cap" => "cap_ms",
        other => other,
    }
}

/// The code of gRPC that fits best. Clients go by `longshore-code`.
#[expect(clippy::too_many_lines, reason = "it is a table of the codes")]
fn grpc_code(code: Code) -> Grpc {
    match code {
        Code::BodyMalformed
        | Code::BodyMissing
        | Code::BodyNotUtf8
        | Code::BodyTooDeep
        | Code::BodyTooLarge
        | Code::BodyTruncated
        | Code::EntryTooLarge
        | Code::EventsTooLarge
        | Code::FieldMissing
        | Code::FieldRepeated
        | Code::FieldUnknown
        | Code::TlsExpected
        | Code::TlsUnexpected
        | Code::IdempotencyUnsupported
        | Code::HeadMalformed
        | Code::HeadTooLarge
        | Code::JobsRefused
        | Code::MediaTypeRefused
        | Code::MethodRefused
        | Code::ParameterUnknown
        | Code::TargetTooLong
        | Code::ValueRefused => Grpc::InvalidArgument,
        Code::BodyTimeout | Code::OutcomePending => Grpc::DeadlineExceeded,
        Code::AccessDenied
        | Code::ExchangeInternal
        | Code::HostRefused
        | Code::NameReserved
        | Code::OriginRefused => Grpc::PermissionDenied,
        Code::Unauthenticated => Grpc::Unauthenticated,
        Code::ExchangeUnknown
        | Code::AccountUnknown
        | Code::GateUnknown
        | Code::SlaUnknown
        | Code::GroupUnknown
        | Code::HoldUnknown
        | Code::JobGone
        | Code::JobUnknown
        | Code::LimitUnknown
        | Code::NamespaceUnknown
        | Code::OperationUnknown
        | Code::BackupUnknown
        | Code::QueueUnknown
        | Code::ResultUnknown
        | Code::RouteUnknown
        | Code::ScheduleUnknown
        | Code::StreamUnknown
        | Code::TokenUnknown
        | Code::TriggerUnknown
        | Code::WorkerUnknown => Grpc::NotFound,
        Code::ConsumerTaken | Code::JobIdTaken | Code::StreamExists | Code::UniqueTaken => {
            Grpc::AlreadyExists
        }
        Code::ConsumerExclusive
        | Code::DeclaredOtherwise
        | Code::IdempotencyKeyUsed
        | Code::EventsUnexpected
        | Code::ExchangeInUse
        | Code::ExpectationFailed
        | Code::GroupHasMembers
        | Code::GroupInUse
        | Code::MemberBehind
        | Code::MemberUnknown
        | Code::JobCancelled
        | Code::JobDead
        | Code::JobExpired
        | Code::JobStateRefused
        | Code::LeaseLost
        | Code::MessageUnknown
        | Code::NamespaceHasStreams
        | Code::NamespaceNotEmpty
        | Code::OffsetOutOfRange
        | Code::ProducerOutOfOrder
        | Code::QueueExclusive
        | Code::QueueInUse
        | Code::QueueNotEmpty
        | Code::QueueTypeRefused
        | Code::ScheduleStateRefused
        | Code::TurnPassed => Grpc::FailedPrecondition,
        Code::RequestSuperseded | Code::IdempotencyInProgress | Code::LimitChanging => {
            Grpc::Aborted
        }
        Code::AccountRate
        | Code::QueueFull
        | Code::TooManyAccounts
        | Code::TooManyIdempotencyKeys
        | Code::TooManyFailures
        | Code::TooManyBindings
        | Code::TooManyConsumers
        | Code::TooManyExchanges
        | Code::TooManyGateSets
        | Code::TooManyGates
        | Code::TooManySlas
        | Code::TooManyHolds
        | Code::TooManyKinds
        | Code::TooManyVersions
        | Code::TooManyLimits
        | Code::TooManyNamespaces
        | Code::TooManyOperations
        | Code::TooManyPartitions
        | Code::TooManyQueues
        | Code::TooManySchedules
        | Code::TooManySessions
        | Code::TooManyWorkers => Grpc::ResourceExhausted,
        Code::DiskLow
        | Code::MemoryLow
        | Code::Overloaded
        | Code::ShardStarting
        | Code::ShardStopped
        | Code::Stopping
        | Code::TooManyConnections
        | Code::TooManyRequests
        | Code::TooManyWaiting => Grpc::Unavailable,
        Code::EventsUnreadable | Code::Internal => Grpc::Internal,
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        status_of(&refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_field_of_the_message() {
        let refusal = Refusal::value("retry.base", "0ms", "at least 1ms").retry_after_s(2);
        let status = status_of(&refusal);
        assert_eq!(status.code(), Grpc::InvalidArgument);
        assert_eq!(status.message(), "retry.base_ms is 0ms; allowed: at least 1ms");
        assert_eq!(status.metadata().get("longshore-code").unwrap(), "value_refused");
        assert_eq!(status.metadata().get("retry-after-ms").unwrap(), "2000");
        let document = status.metadata().get_bin("longshore-problem-bin").unwrap();
        let document: Problem = serde_json::from_slice(&document.to_bytes().unwrap()).unwrap();
        assert_eq!(document.field.as_deref(), Some("retry.base_ms"));
    }

    #[test]
    fn jobs_at_fault_name_their_fields_too() {
        let fault = Refusal::value("delay", "x", "less");
        let problem = problem_of(&Refusal::of_jobs("jobs", vec![(3, fault)]));
        let document: Problem = serde_json::from_slice(&problem.document).unwrap();
        assert_eq!(document.faults[0].field.as_deref(), Some("delay_ms"));
        assert_eq!(problem.field, "jobs[3].delay_ms");
        assert!(problem.detail.contains("jobs[3].delay_ms is x"), "{}", problem.detail);
        assert_eq!((problem.code.as_str(), problem.http_status), ("jobs_refused", 400));
    }
}
