//! Who asks over HTTP, gRPC and the management API, and what each route asks of who asks. Routes
//! that send commands are asked for again by these; a route that is not in the table does not
//! compile.

use hyper::header::{AUTHORIZATION, HeaderMap};

use super::app::App;
use super::query::Query;
use super::refusal::Refusal;
use super::route::{Found, Op};
use crate::access::{
    ADMIN, Access, CONSUME, Credentials, ENQUEUE, FOLLOW, LOOK, Need, PROGRESS, PUBLISH, Peer,
    Principal, READ, WORK, Wanted, unauthenticated,
};
use crate::base64::decode;
use longshore_engine::Role;

/// Bytes of a name and a password in base64.
const BASIC_BYTES_MAX: usize = 2048;

/// What a route asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Asks {
    /// Nothing: whoever comes is answered.
    Nothing,
    /// Nothing where the configuration says so, else a role for anything anywhere.
    Metrics,
    /// A role for anything in the namespace; what it is about is looked at later.
    Any(&'static [Role]),
    /// A role for what the path names.
    Named(&'static [Role]),
    /// A role for everything in the namespace.
    All(&'static [Role]),
    /// A role for everything in the namespace that the path names.
    AllOfNamed(&'static [Role]),
    /// A role for anything in the namespace that the path names.
    AnyOfNamed(&'static [Role]),
    /// A role for everything in every namespace.
    Everywhere(&'static [Role]),
    /// To read the jobs of the queue that the query names, or of all.
    Jobs,
    /// To be in charge of accounts.
    System,
}

/// What a route asks.
#[expect(clippy::too_many_lines, reason = "it is a table of the operations")]
pub(super) const fn asks(op: Op) -> Asks {
    match op {
        Op::Live | Op::Ready | Op::Started | Op::OpenApi | Op::ErrorPage => Asks::Nothing,
        Op::Metrics => Asks::Metrics,
        Op::Enqueue => Asks::Named(ENQUEUE),
        Op::Lease
        | Op::Ack
        | Op::Fail
        | Op::Snooze
        | Op::Release
        | Op::Discard
        | Op::Interrupt
        | Op::Heartbeat
        | Op::Checkpoint
        | Op::Settle => Asks::Any(WORK),
        Op::GetStatus | Op::WatchJob | Op::GetJob | Op::GetResult => Asks::Any(FOLLOW),
        Op::ListJobs => Asks::Jobs,
        // Its flags make it ask for more.
        Op::CancelJob | Op::RescheduleJob => Asks::Any(ENQUEUE),
        // What a filter means may be all of the namespace.
        Op::RetryJob | Op::PauseJob | Op::ResumeJob | Op::ChangeJobs => Asks::Any(ADMIN),
        Op::GetQueue
        | Op::GetLimit
        | Op::GetSla
        | Op::GetGate
        | Op::GetHold
        | Op::GetSchedule
        | Op::NextSlots => Asks::Named(READ),
        Op::PutQueue
        | Op::DeleteQueue
        | Op::PauseQueue
        | Op::ResumeQueue
        | Op::PurgeQueue
        | Op::RetryDead
        | Op::Redrive
        | Op::PutLimit
        | Op::DeleteLimit
        | Op::PutSla
        | Op::DeleteSla
        | Op::PutGate
        | Op::CloseGate
        | Op::OpenGate
        | Op::DeleteGate
        | Op::PutHold
        | Op::DeleteHold
        | Op::PutSchedule
        | Op::DeleteSchedule
        | Op::PauseSchedule
        | Op::ResumeSchedule
        | Op::RunSchedule
        | Op::SetNextSlot
        | Op::DeleteMessages
        | Op::PutExchange
        | Op::DeleteExchange
        | Op::Bind
        | Op::Unbind
        | Op::PutStream
        | Op::DeleteStream
        | Op::DeleteGroup => Asks::Named(ADMIN),
        Op::ListQueues
        | Op::ListLimits
        | Op::ListSlas
        | Op::ListGates
        | Op::ListHolds
        | Op::ListOperations
        | Op::GetOperation
        | Op::ListSchedules
        | Op::ListExchanges
        | Op::ListPolicies
        | Op::GetKind
        | Op::ListKinds
        | Op::ListBindings
        | Op::ListStreams
        | Op::ListGroups
        | Op::GetTrigger
        | Op::ListTriggers
        | Op::ListWorkers
        | Op::GetWorker => Asks::All(READ),
        Op::CancelOperation
        | Op::PutKind
        | Op::PutPolicy
        | Op::DeletePolicy
        | Op::PutTrigger
        | Op::DeleteTrigger
        | Op::ReplayStream
        | Op::QuietWorker
        | Op::TerminateWorker => Asks::All(ADMIN),
        Op::ListNamespaces => Asks::Everywhere(READ),
        Op::GetNamespace => Asks::AnyOfNamed(READ),
        Op::PutNamespace | Op::DeleteNamespace => Asks::AllOfNamed(ADMIN),
        Op::PublishToExchange | Op::PublishToQueue | Op::AppendEvents => Asks::Named(PUBLISH),
        Op::Transact => Asks::Any(&[Role::Publish, Role::Enqueue, Role::Consume]),
        Op::Consume | Op::SettleMessages | Op::ExtendMessages | Op::PutGroup => {
            Asks::Named(CONSUME)
        }
        Op::PeekMessages | Op::ReadEvents | Op::FollowStream | Op::GetGroup => {
            Asks::Named(PROGRESS)
        }
        Op::GetExchange | Op::GetStream => Asks::Named(LOOK),
        Op::ListAccounts
        | Op::GetAccount
        | Op::PutAccount
        | Op::DeleteAccount
        | Op::CreateToken
        | Op::RevokeToken
        | Op::ListAudit
        | Op::BeginBackup
        | Op::GetBackup
        | Op::ListBackups => Asks::System,
    }
}

/// Lets whoever makes a request in: the server as they ask it, or `None` where nobody is asked who
/// it is, by this route or at all.
pub(super) async fn let_in(
    app: &App,
    found: &Found<'_>,
    headers: &HeaderMap,
) -> Result<Option<App>, Refusal> {
    match asks(found.route.op) {
        Asks::Nothing => Ok(None),
        Asks::Metrics if app.access.opens_metrics() => Ok(None),
        _ => by_headers(app, headers).await,
    }
}

/// Lets somebody in by the headers of a request.
pub(crate) async fn by_headers(app: &App, headers: &HeaderMap) -> Result<Option<App>, Refusal> {
    if !app.access.is_required() {
        return Ok(None);
    }
    let who = authenticate(&app.access, &app.peer, headers).await?;
    who.take_turn()?;
    Ok(Some(app.asked_by(who)))
}

/// Who makes a request: by its one `Authorization`, or where it has none by the certificate of the
/// connection.
pub(crate) async fn authenticate(
    access: &Access,
    from: &Peer,
    headers: &HeaderMap,
) -> Result<Principal, Refusal> {
    let mut given = headers.get_all(AUTHORIZATION).iter();
    let (first, more) = (given.next(), given.next());
    let peer = from.address;
    let Some(header) = first else {
        let shown = from.certificate.as_ref().ok_or_else(unauthenticated)?;
        return access.authenticate(Credentials::Certificate(shown), peer).await;
    };
    let text = header.to_str().ok().filter(|_| more.is_none());
    let (scheme, value) = text.and_then(|text| text.split_once(' ')).unwrap_or_default();
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return access.authenticate(Credentials::Bearer(value), peer).await;
    }
    if scheme.eq_ignore_ascii_case("basic") && value.len() <= BASIC_BYTES_MAX {
        let pair = decode(value.as_bytes()).and_then(|pair| String::from_utf8(pair).ok());
        if let Some((name, password)) = pair.as_deref().and_then(|pair| pair.split_once(':')) {
            return access.authenticate(Credentials::Password { name, password }, peer).await;
        }
    }
    Err(access.failed(peer))
}

/// Refuses a request that its route does not let through.
pub(super) fn check_route(app: &App, found: &Found<'_>, query: &Query<'_>) -> Result<(), Refusal> {
    if app.who.is_local() {
        return Ok(());
    }
    let (namespace, name) = (&*found.namespace, &*found.name);
    let need = match asks(found.route.op) {
        Asks::Nothing => return Ok(()),
        Asks::Metrics => {
            if app.access.opens_metrics() {
                return Ok(());
            }
            // They name the queues and streams of all namespaces.
            Need::everywhere(READ)
        }
        Asks::Any(roles) => Need::any(roles),
        Asks::Named(roles) => Need::named(roles, name),
        Asks::All(roles) => Need::all(roles),
        Asks::AllOfNamed(roles) => Need { namespace: Some(name), ..Need::all(roles) },
        Asks::AnyOfNamed(roles) => Need { namespace: Some(name), ..Need::any(roles) },
        Asks::Everywhere(roles) => Need::everywhere(roles),
        Asks::Jobs => Need::new(READ, query.text("queue").map_or(Wanted::Everything, Wanted::Name)),
        Asks::System => Need::of_system(),
    };
    app.who.demand(namespace, &need)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::http::route::Base;
    use crate::http::routes::ROUTES;

    const BEGIN: &str = "<!-- routes: written by a test, LONGSHORE_BLESS=1 -->\n";
    const END: &str = "<!-- end of routes -->";

    fn roles(of: &[Role], what: &str) -> String {
        let roles: Vec<String> = of.iter().map(|role| format!("`{}`", role.as_str())).collect();
        format!("{} {what}", roles.join(" or "))
    }

    fn told(asks: Asks) -> String {
        match asks {
            Asks::Nothing => "nothing".to_owned(),
            Asks::Metrics => {
                roles(READ, "for everything in every namespace, or nothing by setting")
            }
            Asks::Any(of) => roles(of, "for what it is about"),
            Asks::Named(of) => roles(of, "for the name"),
            Asks::All(of) => roles(of, "for everything in the namespace"),
            Asks::AllOfNamed(of) => roles(of, "for everything in that namespace"),
            Asks::AnyOfNamed(of) => roles(of, "for anything in that namespace"),
            Asks::Everywhere(of) => roles(of, "for everything everywhere"),
            Asks::Jobs => roles(READ, "for the queue that is named, or for everything"),
            Asks::System => roles(ADMIN, "for everything in `_system`"),
        }
    }

    /// The guide has this table, and `tests/http/access.rs` walks it with every role.
    #[test]
    fn the_guide_has_the_table_of_routes() {
        let mut table = String::from("| request | asks for |\n| --- | --- |\n");
        for route in ROUTES {
            let base = if route.base == Base::Root { "" } else { "/v1" };
            let path = route.path.replace("{}", "{name}");
            writeln!(table, "| `{} {base}{path}` | {} |", route.method, told(asks(route.op)))
                .unwrap();
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/access.md");
        let guide = std::fs::read_to_string(path).unwrap();
        let (before, rest) = guide.split_once(BEGIN).unwrap();
        let (_, after) = rest.split_once(END).unwrap();
        let wanted = format!("{before}{BEGIN}{table}{END}{after}");
        if std::env::var_os("LONGSHORE_BLESS").is_some() {
            std::fs::write(path, &wanted).unwrap();
        }
        let same = std::fs::read_to_string(path).unwrap() == wanted;
        assert!(same, "docs/access.md has drifted: run this test with LONGSHORE_BLESS=1");
    }
}
