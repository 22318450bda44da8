//! What each method asks of who calls it, before its message is read: a role for anything
//! anywhere. What the message is about is asked of the command that it becomes.

use longshore_engine::Role;

use crate::access::{ADMIN, CONSUME, ENQUEUE, FOLLOW, LOOK, PROGRESS, PUBLISH, READ, WORK};
use crate::http::app::App;
use crate::http::refusal::Refusal;

/// Methods of the services of administrators that change nothing. One that is not here asks for
/// `admin`, whatever its name.
const READS: &[&str] = &[
    "GetGate",
    "GetHold",
    "GetKind",
    "GetLimit",
    "GetNamespace",
    "GetOperation",
    "GetQueue",
    "GetSchedule",
    "GetSla",
    "ListGates",
    "ListHolds",
    "ListKinds",
    "ListLimits",
    "ListNamespaces",
    "ListOperations",
    "ListQueues",
    "ListSchedules",
    "ListSlas",
    "ListSlots",
];

/// The roles that a method asks for, one of which will do; `None` for what is no method of ours.
fn asks(service: &str, method: &str) -> Option<&'static [Role]> {
    let roles = match (service.strip_prefix("longshore.v1.")?, method) {
        ("Jobs", "Enqueue" | "EnqueueStream" | "CancelJob" | "RescheduleJob") => ENQUEUE,
        ("Jobs", "GetJob" | "AwaitJob" | "WatchJob") => FOLLOW,
        // Each call about accounts asks for it in their namespace.
        ("Accounts", _)
        | ("Jobs", "RetryJob" | "PauseJob" | "ResumeJob")
        | ("Messages", "Redrive")
        | ("Streams", "CreateStream")
        | ("Workers", "QuietWorker" | "TerminateWorker") => ADMIN,
        ("Jobs", "ListJobs") | ("Workers", "ListWorkers" | "GetWorker") => READ,
        ("Workers", "Work") => WORK,
        ("Streams", "AppendEvents" | "TakeProducer") => PUBLISH,
        ("Streams", "GetStream") => LOOK,
        ("Streams", "ReadEvents" | "ReadKey" | "GetOffsets") => PROGRESS,
        ("Streams", "CommitOffsets" | "HeartbeatGroup") => CONSUME,
        ("Messages", "Transact") => &[Role::Publish, Role::Enqueue, Role::Consume],
        ("Admin" | "Blockers" | "Levels" | "Schedules", method) => {
            if READS.contains(&method) {
                READ
            } else {
                ADMIN
            }
        }
        _ => return None,
    };
    Some(roles)
}

/// Refuses a call that none of its caller's roles lets through.
pub(super) fn check(app: &App, service: &str, method: &str) -> Result<(), Refusal> {
    if app.who.is_local() {
        return Ok(());
    }
    let Some(roles) = asks(service, method) else { return Ok(()) };
    if app.who.may_anywhere(roles) {
        return Ok(());
    }
    Err(app.who.denied("", roles, &crate::access::Wanted::Anything).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOS: [&str; 9] = [
        include_str!("../../../../proto/longshore/v1/accounts.proto"),
        include_str!("../../../../proto/longshore/v1/admin.proto"),
        include_str!("../../../../proto/longshore/v1/control.proto"),
        include_str!("../../../../proto/longshore/v1/jobs.proto"),
        include_str!("../../../../proto/longshore/v1/levels.proto"),
        include_str!("../../../../proto/longshore/v1/messages.proto"),
        include_str!("../../../../proto/longshore/v1/schedules.proto"),
        include_str!("../../../../proto/longshore/v1/streams.proto"),
        include_str!("../../../../proto/longshore/v1/workers.proto"),
    ];

    #[test]
    fn every_method_asks_for_a_role() {
        let mut count = 0;
        for proto in PROTOS {
            let service = proto.lines().find_map(|line| line.strip_prefix("service ")).unwrap();
            let service = format!("longshore.v1.{}", service.trim_end_matches(" {"));
            for line in proto.lines().filter_map(|line| line.trim().strip_prefix("rpc ")) {
                let method = line.split('(').next().unwrap();
                assert!(asks(&service, method).is_some(), "{service}/{method}");
                count += 1;
            }
        }
        assert!(count >= 77, "{count}");
    }
}
