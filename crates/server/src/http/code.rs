//! The permanent codes of every refusal that this face can answer, with their status and title.
//! Each has its entry in `docs/errors.md`. Retired codes are never used for something else.

use hyper::StatusCode;

macro_rules! codes {
    ($($name:ident = $text:literal, $status:ident, $title:literal;)*) => {
        /// A permanent code.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub(crate) enum Code {
            $(#[doc = $title] $name,)*
        }

        impl Code {
            /// Every code, in the order of its name.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it stands in a problem document.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status that it is answered with.
            pub(crate) const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// What it means, in words that never change.
            pub(crate) const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    AccessDenied = "access_denied", FORBIDDEN, "The account may not do that";
    AccountRate = "account_rate", TOO_MANY_REQUESTS, "The account makes too many requests";
    AccountUnknown = "account_unknown", NOT_FOUND, "The account does not exist";
    BackupUnknown = "backup_unknown", NOT_FOUND, "No such copy was asked for";
    BodyMalformed = "body_malformed", BAD_REQUEST, "The body is not JSON";
    BodyMissing = "body_missing", BAD_REQUEST, "The request needs a body";
    BodyNotUtf8 = "body_not_utf8", BAD_REQUEST, "The body is not UTF-8";
    BodyTimeout = "body_timeout", REQUEST_TIMEOUT, "The body did not arrive in time";
    BodyTooDeep = "body_too_deep", BAD_REQUEST, "JSON is nested too deeply";
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE, "The body is too large";
    BodyTruncated = "body_truncated", BAD_REQUEST, "The body ended too early";
    ConsumerExclusive = "consumer_exclusive", CONFLICT, "The queue has an exclusive consumer";
    ConsumerTaken = "consumer_taken", CONFLICT, "There is a consumer of that name";
    DeclaredOtherwise = "declared_otherwise", CONFLICT, "It is there with other settings";
    DiskLow = "disk_low", SERVICE_UNAVAILABLE, "The disk is nearly full";
    EntryTooLarge = "entry_too_large", PAYLOAD_TOO_LARGE, "It is more than one commit takes";
    EventsUnexpected = "events_unexpected", CONFLICT, "The key has another number of events";
    EventsTooLarge = "events_too_large", PAYLOAD_TOO_LARGE, "The events are too many bytes";
    EventsUnreadable = "events_unreadable", INTERNAL_SERVER_ERROR, "Events cannot be read";
    ExchangeInUse = "exchange_in_use", CONFLICT, "The exchange has bindings";
    ExchangeInternal = "exchange_internal", FORBIDDEN, "The exchange is internal";
    ExchangeUnknown = "exchange_unknown", NOT_FOUND, "The exchange does not exist";
    ExpectationFailed = "expectation_failed", EXPECTATION_FAILED, "The expectation cannot be met";
    FieldMissing = "field_missing", BAD_REQUEST, "A field is missing";
    FieldRepeated = "field_repeated", BAD_REQUEST, "A field stands twice";
    FieldUnknown = "field_unknown", BAD_REQUEST, "A field is not known";
    SlaUnknown = "sla_unknown", NOT_FOUND, "The service level does not exist";
    TooManySlas = "too_many_slas", TOO_MANY_REQUESTS, "There are too many service levels";
    GateUnknown = "gate_unknown", NOT_FOUND, "The gate does not exist";
    GroupHasMembers = "group_has_members", CONFLICT, "The group has members";
    GroupInUse = "group_in_use", CONFLICT, "The group is that of a trigger";
    GroupUnknown = "group_unknown", NOT_FOUND, "The group has read nothing";
    HeadMalformed = "head_malformed", BAD_REQUEST, "The request is not HTTP";
    HeadTooLarge = "head_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "The head is too large";
    HoldUnknown = "hold_unknown", NOT_FOUND, "The tag is not held";
    HostRefused = "host_refused", FORBIDDEN, "The host is not this machine";
    IdempotencyInProgress = "idempotency_in_progress", CONFLICT, "The request is under way";
    IdempotencyKeyUsed = "idempotency_key_used", UNPROCESSABLE_ENTITY, "The key came with another request";
    IdempotencyUnsupported = "idempotency_unsupported", BAD_REQUEST, "The request takes no key";
    Internal = "internal", INTERNAL_SERVER_ERROR, "A bug was met";
    JobCancelled = "job_cancelled", CONFLICT, "The job was cancelled";
    JobDead = "job_dead", INTERNAL_SERVER_ERROR, "The job failed for good";
    JobExpired = "job_expired", GONE, "The job has expired";
    JobGone = "job_gone", GONE, "The job is not here any more";
    JobIdTaken = "job_id_taken", CONFLICT, "The id names another job";
    JobStateRefused = "job_state_refused", CONFLICT, "The job's state does not allow that";
    JobUnknown = "job_unknown", NOT_FOUND, "The job does not exist";
    JobsRefused = "jobs_refused", BAD_REQUEST, "Jobs of a bulk are at fault";
    LeaseLost = "lease_lost", CONFLICT, "The lease has ended";
    LimitChanging = "limit_changing", CONFLICT, "The limit still changes";
    LimitUnknown = "limit_unknown", NOT_FOUND, "The limit does not exist";
    MediaTypeRefused = "media_type_refused", UNSUPPORTED_MEDIA_TYPE, "The body has to be JSON";
    MemberBehind = "member_behind", CONFLICT, "The member is at another epoch";
    MemberUnknown = "member_unknown", CONFLICT, "The group does not know the member";
    MemoryLow = "memory_low", SERVICE_UNAVAILABLE, "Too much is in flight";
    MessageUnknown = "message_unknown", CONFLICT, "The message is not with who settles it";
    MethodRefused = "method_refused", METHOD_NOT_ALLOWED, "The method is not allowed here";
    NameReserved = "name_reserved", FORBIDDEN, "The name is reserved";
    NamespaceHasStreams = "namespace_has_streams", CONFLICT, "The namespace still has streams";
    NamespaceNotEmpty = "namespace_not_empty", CONFLICT, "The namespace still has queues";
    NamespaceUnknown = "namespace_unknown", NOT_FOUND, "The namespace does not exist";
    OffsetOutOfRange = "offset_out_of_range", CONFLICT, "There is no event at that offset";
    OperationUnknown = "operation_unknown", NOT_FOUND, "The operation does not exist";
    OriginRefused = "origin_refused", FORBIDDEN, "Requests of web pages are refused";
    OutcomePending = "outcome_pending", GATEWAY_TIMEOUT, "The job has not ended";
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Too many requests wait";
    ParameterUnknown = "parameter_unknown", BAD_REQUEST, "A query parameter is not known";
    ProducerOutOfOrder = "producer_out_of_order", CONFLICT, "It is not the producer's next";
    QueueExclusive = "queue_exclusive", CONFLICT, "The queue belongs to one connection";
    QueueFull = "queue_full", TOO_MANY_REQUESTS, "The queue is full";
    QueueInUse = "queue_in_use", CONFLICT, "The queue has consumers";
    QueueNotEmpty = "queue_not_empty", CONFLICT, "The queue still holds jobs";
    QueueTypeRefused = "queue_type_refused", CONFLICT, "The queue is of another type";
    QueueUnknown = "queue_unknown", NOT_FOUND, "The queue does not exist";
    RequestSuperseded = "request_superseded", CONFLICT, "A newer request took this one's place";
    ResultUnknown = "result_unknown", NOT_FOUND, "The job has no result";
    RouteUnknown = "route_unknown", NOT_FOUND, "There is nothing at this path";
    ScheduleStateRefused = "schedule_state_refused", CONFLICT, "The schedule's state forbids that";
    ScheduleUnknown = "schedule_unknown", NOT_FOUND, "The schedule does not exist";
    ShardStarting = "shard_starting", SERVICE_UNAVAILABLE, "The shard is starting";
    ShardStopped = "shard_stopped", SERVICE_UNAVAILABLE, "The shard has stopped";
    Stopping = "stopping", SERVICE_UNAVAILABLE, "The server is stopping";
    StreamExists = "stream_exists", CONFLICT, "The stream exists already";
    StreamUnknown = "stream_unknown", NOT_FOUND, "The stream does not exist";
    TargetTooLong = "target_too_long", URI_TOO_LONG, "The target is too long";
    TlsExpected = "tls_expected", BAD_REQUEST, "The port speaks TLS";
    TlsUnexpected = "tls_unexpected", BAD_REQUEST, "The port speaks plain text";
    TokenUnknown = "token_unknown", NOT_FOUND, "The account has no such token";
    TooManyAccounts = "too_many_accounts", TOO_MANY_REQUESTS, "There are too many accounts";
    TooManyFailures = "too_many_failures", TOO_MANY_REQUESTS, "Too many attempts to come in failed";
    TooManyBindings = "too_many_bindings", TOO_MANY_REQUESTS, "There are too many bindings";
    TooManyConnections = "too_many_connections", SERVICE_UNAVAILABLE, "Too many connections";
    TooManyConsumers = "too_many_consumers", TOO_MANY_REQUESTS, "There are too many consumers";
    TooManyExchanges = "too_many_exchanges", TOO_MANY_REQUESTS, "There are too many exchanges";
    TooManyGateSets = "too_many_gate_sets", TOO_MANY_REQUESTS, "Too many sets of gates are named";
    TooManyGates = "too_many_gates", TOO_MANY_REQUESTS, "There are too many gates";
    TooManyHolds = "too_many_holds", TOO_MANY_REQUESTS, "There are too many holds";
    TooManyKinds = "too_many_kinds", TOO_MANY_REQUESTS, "There are too many kinds";
    TooManyVersions = "too_many_versions", TOO_MANY_REQUESTS, "A kind has too many versions";
    TooManyIdempotencyKeys = "too_many_idempotency_keys", TOO_MANY_REQUESTS, "Too many keys are kept";
    TooManyLimits = "too_many_limits", TOO_MANY_REQUESTS, "There are too many limits";
    TooManyNamespaces = "too_many_namespaces", TOO_MANY_REQUESTS, "There are too many namespaces";
    TooManyOperations = "too_many_operations", TOO_MANY_REQUESTS, "Too many operations go on";
    TooManyPartitions = "too_many_partitions", TOO_MANY_REQUESTS, "There are too many partitions";
    TooManyQueues = "too_many_queues", TOO_MANY_REQUESTS, "There are too many queues";
    TooManyRequests = "too_many_requests", SERVICE_UNAVAILABLE, "Too many requests are in flight";
    TooManySchedules = "too_many_schedules", TOO_MANY_REQUESTS, "There are too many schedules";
    TooManySessions = "too_many_sessions", TOO_MANY_REQUESTS, "Too many workers are remembered";
    TooManyWaiting = "too_many_waiting", SERVICE_UNAVAILABLE, "Too many requests wait for jobs";
    TooManyWorkers = "too_many_workers", TOO_MANY_REQUESTS, "Too many workers are connected";
    TriggerUnknown = "trigger_unknown", NOT_FOUND, "The trigger does not exist";
    TurnPassed = "turn_passed", CONFLICT, "The turn is older than one that was answered";
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "Nobody comes in like that";
    UniqueTaken = "unique_taken", CONFLICT, "Another job has the unique key";
    ValueRefused = "value_refused", BAD_REQUEST, "A value is not allowed";
    WorkerUnknown = "worker_unknown", NOT_FOUND, "The worker is not connected";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const ERRORS: &str = include_str!("../../../../docs/errors.md");

    #[test]
    fn every_code_is_explained_and_nothing_else_is() {
        let explained: BTreeSet<&str> =
            ERRORS.lines().filter_map(|line| line.strip_prefix("## ")).map(str::trim).collect();
        let codes: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(explained, codes);
    }

    #[test]
    fn the_documented_status_is_the_one_that_is_answered() {
        for code in Code::ALL {
            let heading = format!("## {}\n", code.as_str());
            let entry = ERRORS.split(&heading).nth(1).unwrap();
            let first = entry.trim_start().lines().next().unwrap();
            let status = format!("**{}.**", code.status().as_u16());
            assert!(first.contains(&status), "{heading}{first}");
        }
    }
}
