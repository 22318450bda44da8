//! Moving messages back to where they came from, or elsewhere; which of a queue are meant.

use longshore_engine::ask::GetMessageQueue;
use longshore_engine::query;
use longshore_engine::{
    Answer, Command, MessageAnswer, MessageCommand, MessageEnd, MessageFilter, MessageMove, MoveTo,
    OperationKind, Reader, Rejection, TimeMs,
};

use super::{ok, operations};
use crate::access::needs_of;
use crate::api::{InstantText, MessageFilterBody, OperationRecord, RedriveRequest};
use crate::http::app::{App, Call};
use crate::http::json::{read_or_default, repeated};
use crate::http::look;
use crate::http::operation_view;
use crate::http::query::Query;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::{check_path_name, quoted};

/// Messages that a count looks at, at most.
const COUNTED_MAX: usize = 200_000;

/// Parameters that say which messages are meant, beside a header.
const TEXTS: [&str; 6] = ["routing_key", "text", "since", "until", "reason", "died_in"];

pub(super) async fn redrive(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    let moving = moving_of(call.name, read_or_default(&call.body)?)?;
    if call.query.flag("dry_run")? {
        return Ok(ok(&count(call.app, call.namespace, moving).await?).not_cached());
    }
    operations::start(&call, OperationKind::MoveMessages { moving: Box::new(moving) }).await
}

/// The move that a request asks for.
pub(crate) fn moving_of(queue: &str, request: RedriveRequest) -> Result<MessageMove, Refusal> {
    let RedriveRequest { to_queue, to_exchange, routing_key, limit, filter } = request;
    if routing_key.is_some() && to_exchange.is_none() {
        let value = "given without to_exchange";
        return Err(Refusal::value("routing_key", value, "a key for an exchange that is named"));
    }
    if limit == Some(0) {
        return Err(Refusal::value("limit", 0, "at least 1"));
    }
    let to = match (to_queue, to_exchange) {
        (Some(_), Some(_)) => return Err(repeated("to_exchange", "where the messages go")),
        (Some(queue), None) => MoveTo::Queue { queue },
        (None, Some(exchange)) => MoveTo::Exchange { exchange, routing_key },
        (None, None) => MoveTo::Origin,
    };
    Ok(MessageMove { queue: queue.to_owned(), to, filter: filter_of(filter)?, limit })
}

fn filter_of(body: MessageFilterBody) -> Result<MessageFilter, Refusal> {
    let MessageFilterBody { routing_key, headers, text, since, until, reason, died_in } = body;
    let mut compared = Vec::new();
    for (name, value) in headers {
        let value = match value {
            serde_json::Value::String(text) => text,
            serde_json::Value::Bool(_) | serde_json::Value::Number(_) => value.to_string(),
            other => {
                let allowed = "a text, a number, true or false";
                return Err(Refusal::value("filter.headers", other, allowed));
            }
        };
        compared.push((name, value));
    }
    let instant = |at: InstantText| TimeMs(at.0);
    Ok(MessageFilter {
        routing_key,
        headers: compared,
        text,
        since: since.map(instant),
        until: until.map(instant),
        reason: reason.as_deref().map(reason_of).transpose()?,
        died_in,
    })
}

fn reason_of(text: &str) -> Result<MessageEnd, Refusal> {
    let of_letters = [
        MessageEnd::Rejected,
        MessageEnd::Expired,
        MessageEnd::Overflown,
        MessageEnd::DeliveryLimit,
    ];
    let found = of_letters.into_iter().find(|reason| reason.name() == text);
    found.ok_or_else(|| {
        let allowed = "rejected, expired, maxlen or delivery_limit";
        Refusal::value("reason", quoted(text), allowed)
    })
}

/// Which messages a query means, and the texts of its parameters.
pub(super) fn filter_of_query<'q>(
    query: &'q Query<'_>,
) -> Result<(MessageFilter, Vec<Option<&'q str>>), Refusal> {
    let text = |name: &str| query.text(name).map(str::to_owned);
    let instant = |name: &'static str| {
        let given = query.text(name);
        let read = |given: &str| {
            let refused = || Refusal::value(name, quoted(given), crate::api::INSTANT_EXPECTED);
            given.parse::<InstantText>().map_err(|_| refused())
        };
        given.map(read).transpose()
    };
    let mut filter = filter_of(MessageFilterBody {
        routing_key: text("routing_key"),
        text: text("text"),
        since: instant("since")?,
        until: instant("until")?,
        reason: text("reason"),
        died_in: text("died_in"),
        ..MessageFilterBody::default()
    })?;
    if let Some(header) = query.text("header") {
        let refused = || Refusal::value("header", quoted(header), "NAME=VALUE");
        let (name, value) = header.split_once('=').ok_or_else(refused)?;
        filter.headers.push((name.to_owned(), value.to_owned()));
    }
    let texts = TEXTS.into_iter().chain(["header"]).map(|name| query.text(name)).collect();
    Ok((filter, texts))
}

/// Refuses as the move would that was only asked about. Nobody is told of the destination more than
/// that it may be one, so no right is needed beyond those of the move.
async fn check_destination(app: &App, ns: &str, moving: &MessageMove) -> Result<(), Refusal> {
    moving.check()?;
    let look = match &moving.to {
        MoveTo::Origin => return Ok(()),
        MoveTo::Queue { queue } => {
            MessageCommand::GetQueue { queue: queue.clone(), connection: None }
        }
        MoveTo::Exchange { exchange, .. } => {
            MessageCommand::GetExchange { exchange: exchange.clone() }
        }
    };
    match app.node.call(ns, Command::Messages(look)).await? {
        Answer::Messages(MessageAnswer::Exchange(view, _)) if view.exchange.internal => {
            Err(Rejection::ExchangeInternal { exchange: view.exchange.name }.into())
        }
        // It may be moved to all the same.
        Answer::Rejected(Rejection::QueueExclusive { .. }) => Ok(()),
        Answer::Rejected(rejection) => Err(rejection.into()),
        _ => Ok(()),
    }
}

/// How many messages would be moved, as far as the filter says: exact up to a bound.
pub(crate) async fn count(
    app: &App,
    ns: &str,
    moving: MessageMove,
) -> Result<OperationRecord, Refusal> {
    let stands = GetMessageQueue { queue: moving.queue.clone(), connection: None };
    let (view, _) = look::ask(app, ns, stands).await?;
    let stands = view.ready + view.unsettled;
    let most = moving.limit.unwrap_or(u64::MAX);
    let kind = OperationKind::MoveMessages { moving: Box::new(moving.clone()) };
    for need in needs_of(&Command::StartOperation(kind.clone())) {
        app.who.demand(ns, &need)?;
    }
    check_destination(app, ns, &moving).await?;
    let namespace = ns.to_owned();
    let look = move |reader: &dyn Reader, _| {
        let (queue, filter) = (&moving.queue, &moving.filter);
        query::count_messages(reader, &namespace, queue, filter, (COUNTED_MAX, most))
    };
    let (matched, examined) = app.node.read(ns, look).await??;
    Ok(operation_view::dry_run(&kind, stands.min(most), examined, matched))
}
