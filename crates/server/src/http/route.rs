//! What a route is and how a path finds one. The table itself is in `routes.rs`.

use std::borrow::Cow;

use hyper::Method;
use longshore_engine::driver::Class;
use utoipa::openapi::{RefOr, Schema};

use super::routes::ROUTES;
use super::text::percent_decode;

/// The namespace of paths that name none.
pub(crate) const DEFAULT_NAMESPACE: &str = "default";

/// What a request asks for. One handler each.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Op {
    Ack,
    CancelJob,
    CancelOperation,
    ChangeJobs,
    Checkpoint,
    CloseGate,
    Bind,
    Consume,
    DeleteExchange,
    DeleteGate,
    DeleteHold,
    DeleteLimit,
    DeleteMessages,
    DeleteNamespace,
    DeleteQueue,
    DeleteSchedule,
    Discard,
    Enqueue,
    ErrorPage,
    ExtendMessages,
    Fail,
    GetExchange,
    GetGate,
    GetHold,
    GetJob,
    GetLimit,
    GetNamespace,
    GetOperation,
    GetQueue,
    GetResult,
    GetSchedule,
    GetStatus,
    GetWorker,
    Heartbeat,
    Interrupt,
    Lease,
    ListBindings,
    ListExchanges,
    ListSlas,
    GetSla,
    PutSla,
    DeleteSla,
    ListGates,
    ListHolds,
    GetKind,
    PutKind,
    ListJobs,
    ListKinds,
    ListLimits,
    ListNamespaces,
    ListOperations,
    ListQueues,
    ListSchedules,
    ListWorkers,
    Live,
    Metrics,
    NextSlots,
    OpenApi,
    OpenGate,
    PauseJob,
    PeekMessages,
    PublishToExchange,
    PublishToQueue,
    PutExchange,
    PutGate,
    PutHold,
    SettleMessages,
    Unbind,
    PauseQueue,
    PauseSchedule,
    PurgeQueue,
    PutLimit,
    PutNamespace,
    PutQueue,
    PutSchedule,
    QuietWorker,
    Ready,
    Release,
    RescheduleJob,
    ResumeJob,
    ResumeQueue,
    ResumeSchedule,
    Redrive,
    RetryDead,
    RetryJob,
    RunSchedule,
    SetNextSlot,
    Settle,
    Snooze,
    Started,
    TerminateWorker,
    DeletePolicy,
    ListPolicies,
    PutPolicy,
    Transact,
    WatchJob,
    AppendEvents,
    DeleteGroup,
    DeleteStream,
    FollowStream,
    GetGroup,
    GetStream,
    ListGroups,
    ListStreams,
    PutGroup,
    PutStream,
    ReadEvents,
    ListAccounts,
    GetAccount,
    PutAccount,
    DeleteAccount,
    CreateToken,
    RevokeToken,
    ListAudit,
    BeginBackup,
    GetBackup,
    ListBackups,
    DeleteTrigger,
    GetTrigger,
    ListTriggers,
    PutTrigger,
    ReplayStream,
}

impl Op {
    /// Whether a worker's runs hang on it.
    pub(crate) fn is_of_worker(self) -> bool {
        matches!(
            self,
            Self::Ack
                | Self::Checkpoint
                | Self::Discard
                | Self::Fail
                | Self::Heartbeat
                | Self::Interrupt
                | Self::Lease
                | Self::Release
                | Self::Settle
                | Self::Snooze
        )
    }
}

/// Where a route lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Base {
    /// Below `/v1` for the default namespace, below `/v1/namespaces/{ns}` for others.
    Namespace,
    /// At the path as it stands.
    Root,
}

/// What a parameter of the query may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ParameterKind {
    Duration,
    Flag,
    /// How many: of a page.
    Number,
    /// A partition or an offset.
    Place,
    State,
    Text,
}

/// A parameter of the query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    pub(crate) kind: ParameterKind,
    pub(crate) about: &'static str,
}

/// Gives the schema of a body's type, and all that it refers to.
pub(crate) type SchemaOf = fn(&mut Vec<(String, RefOr<Schema>)>) -> RefOr<Schema>;

/// One kind of answer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) status: u16,
    pub(crate) about: &'static str,
    pub(crate) bodies: &'static [SchemaOf],
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) base: Base,
    pub(crate) path: &'static str,
    pub(crate) op: Op,
    pub(crate) class: Class,
    pub(crate) about: &'static str,
    pub(crate) parameters: &'static [Parameter],
    pub(crate) bodies: &'static [SchemaOf],
    pub(crate) body_is_optional: bool,
    pub(crate) outcomes: &'static [Outcome],
}

/// A route and what the path fills in.
#[derive(Debug)]
pub(crate) struct Found<'p> {
    pub(crate) route: &'static Route,
    pub(crate) namespace: Cow<'p, str>,
    /// The one variable segment that a route may have.
    pub(crate) name: Cow<'p, str>,
}

/// Why no route was found.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum NotFound {
    /// Nothing is at this path.
    Path,
    /// Only these methods are.
    Method(String),
    /// A segment is no percent-encoded UTF-8.
    Encoding,
}

/// Finds the route of a request.
pub(crate) fn find<'p>(method: &Method, path: &'p str) -> Result<Found<'p>, NotFound> {
    // Whatever answers GET answers HEAD; the body is left out below.
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let (namespace, inside) = match split_namespace(path) {
        Some((namespace, inside)) => (namespace, Some(inside)),
        None => (DEFAULT_NAMESPACE, path.strip_prefix("/v1")),
    };
    let mut allowed: Vec<&str> = Vec::new();
    for route in ROUTES {
        let place = match route.base {
            Base::Root => Some(path),
            Base::Namespace => inside,
        };
        let Some(name) = place.and_then(|place| match_path(route.path, place)) else { continue };
        if route.method != method {
            allowed.push(route.method);
            continue;
        }
        let decode = |text| percent_decode(text, false).ok_or(NotFound::Encoding);
        return Ok(Found { route, namespace: decode(namespace)?, name: decode(name)? });
    }
    if allowed.is_empty() {
        return Err(NotFound::Path);
    }
    Err(NotFound::Method(allowed.join(", ")))
}

/// The namespace that the path names and the rest of the path, which begins with a slash.
fn split_namespace(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v1/namespaces/")?;
    let slash = rest.find('/').filter(|slash| *slash > 0)?;
    rest.split_at_checked(slash)
}

/// The variable segment (empty where the pattern has none) if the path matches.
fn match_path<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    let Some((head, tail)) = pattern.split_once("{}") else {
        return (pattern == path).then_some("");
    };
    let name = path.strip_prefix(head)?.strip_suffix(tail)?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &Method, path: &str, expected: Result<(Op, &str, &str), NotFound>) {
        let found = find(method, path);
        let found = found.map(|it| (it.route.op, it.namespace.into_owned(), it.name.into_owned()));
        let expected = expected.map(|(op, ns, name)| (op, ns.to_owned(), name.to_owned()));
        assert_eq!(found, expected, "{method} {path}");
    }

    #[test]
    fn paths_find_their_routes() {
        let post = Method::POST;
        check(&post, "/v1/queues/mail/jobs", Ok((Op::Enqueue, "default", "mail")));
        check(&post, "/v1/namespaces/a%20b/queues/x%2Fy/jobs", Ok((Op::Enqueue, "a b", "x/y")));
        check(&post, "/v1/lease", Ok((Op::Lease, "default", "")));
        check(&post, "/v1/namespaces/eu/lease", Ok((Op::Lease, "eu", "")));
        check(&Method::GET, "/v1/queues", Ok((Op::ListQueues, "default", "")));
        check(&Method::GET, "/v1/namespaces/eu", Ok((Op::GetNamespace, "default", "eu")));
        check(&Method::GET, "/v1/namespaces", Ok((Op::ListNamespaces, "default", "")));
        check(&Method::HEAD, "/livez", Ok((Op::Live, "default", "")));
        check(&Method::DELETE, "/v1/jobs/7", Ok((Op::CancelJob, "default", "7")));
    }

    #[test]
    fn what_is_not_there_is_said() {
        check(&Method::GET, "/", Err(NotFound::Path));
        check(&Method::GET, "/v1", Err(NotFound::Path));
        check(&Method::GET, "/v2/queues", Err(NotFound::Path));
        check(&Method::GET, "/v1/queues/", Err(NotFound::Path));
        check(&Method::GET, "/v1/queues//", Err(NotFound::Path));
        check(&Method::GET, "/v1/queues/a/b/jobs", Err(NotFound::Path));
        check(&Method::GET, "/v1/namespaces//queues/a", Err(NotFound::Path));
        check(&Method::POST, "/v1/queues/%ff/jobs", Err(NotFound::Encoding));
        check(&Method::GET, "/v1/lease", Err(NotFound::Method("POST".into())));
        check(&Method::PATCH, "/v1/queues/a", Err(NotFound::Method("GET, PUT, DELETE".into())));
    }

    #[test]
    fn no_row_hides_another() {
        for (index, one) in ROUTES.iter().enumerate() {
            for other in &ROUTES[index + 1..] {
                let same =
                    (one.method, one.base, one.path) == (other.method, other.base, other.path);
                assert!(!same && one.op != other.op, "{} {}", one.method, one.path);
            }
        }
    }
}
