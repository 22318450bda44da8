//! Messages: exchanges, bindings, publishing, taking and settling.

use longshore_engine::ask::{
    Ask, Bind, BlockedMessages, DeleteExchange, ExtendMessages, GetExchange, ListBindings,
    ListExchanges, PublishMessages, PurgeMessages, SettleMessages, Unbind,
};
use longshore_engine::query;
use longshore_engine::{
    BindingSpec, DeclareExchange, DeclareQueue, Declared, ExchangeView, LeaseMessages, Matching,
    MessagePage, MessageSettlement, Published, Reader, Rejection,
};

use super::moving::filter_of_query;
use super::{ask, ok};
use crate::api::{
    BindingBody, BindingList, ChangedAnswer, ConsumeAnswer, ConsumeRequest, ExchangeBody,
    ExchangeList, ExtendMessagesRequest, MatchText, MessageList, PublishAnswer, PublishBody,
    PublishBulk, PublishBulkAnswer, QueueSettingsBody, RemovedAnswer, SettleMessagesAnswer,
    SettleMessagesRequest, SettledMessage,
};
use crate::http::app::Call;
use crate::http::body::Held;
use crate::http::content;
use crate::http::cursor;
use crate::http::json::{members, read, read_or_default, repeated, text_of};
use crate::http::look::{self, PAGE_DEFAULT, PAGE_MAX};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;

/// Messages in one bulk, and in one settlement.
pub(super) const BULK_MAX: usize = 1000;

/// Bytes of messages on one page, about.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// The command that declares a queue of messages, where the body is of one.
pub(super) fn declared(call: &Call<'_>) -> Result<Option<DeclareQueue>, Refusal> {
    let body: QueueSettingsBody = read(text_of(&call.body)?)?;
    let Some(messages) = &body.messages else { return Ok(None) };
    let others = QueueSettingsBody { messages: None, ..body.clone() };
    if others != QueueSettingsBody::default() {
        let allowed = "nothing else beside it: a queue holds jobs or messages";
        return Err(Refusal::value("messages", "given with settings of jobs", allowed));
    }
    let settings = content::settings_of(messages);
    Ok(Some(DeclareQueue { queue: call.name.to_owned(), settings, connection: None }))
}

pub(super) async fn publish(
    call: Call<'_>,
    held: Option<Held>,
    to_queue: bool,
) -> Result<Reply, Refusal> {
    check_path_name(if to_queue { "queue" } else { "exchange" }, call.name)?;
    let text = text_of(&call.body)?;
    let is_bulk = members(text).is_some_and(|all| all.iter().any(|(name, _)| name == "messages"));
    let bodies = if is_bulk {
        read::<PublishBulk<'_>>(text)?.messages
    } else {
        vec![read::<PublishBody<'_>>(text)?]
    };
    check_bulk(bodies.len())?;
    let mut messages = Vec::with_capacity(bodies.len());
    for body in &bodies {
        if to_queue && !body.routing_key.is_empty() {
            return Err(repeated("routing_key", "where the message goes"));
        }
        let to = if to_queue { ("", call.name) } else { (call.name, &*body.routing_key) };
        messages.push(content::message_of(&call.body, body, to)?);
    }
    let published = ask(&call, PublishMessages(messages)).await?;
    drop(held);
    let mut told = published.into_iter().map(|came| match came {
        // A queue that is named is to be there.
        Ok(Published::Unroutable) if to_queue => {
            Err(Rejection::QueueUnknown { queue: call.name.to_owned() }.into())
        }
        Ok(came) => Ok(content::published(&came)),
        Err(rejection) => Err(Refusal::from(rejection)),
    });
    if is_bulk {
        let refused = |refusal: Refusal| PublishAnswer {
            error: Some(refusal.problem()),
            ..PublishAnswer::default()
        };
        let told = told.map(|came| came.unwrap_or_else(refused));
        return Ok(ok(&PublishBulkAnswer { published: told.collect() }));
    }
    Ok(ok(&told.next_back().transpose()?.unwrap_or_default()))
}

fn check_bulk(count: usize) -> Result<(), Refusal> {
    if count == 0 || count > BULK_MAX {
        let value = format!("{count} messages");
        return Err(Refusal::value("messages", value, format!("1 to {BULK_MAX} messages")));
    }
    Ok(())
}

pub(super) async fn consume(call: Call<'_>, held: Option<Held>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    let request: ConsumeRequest = read_or_default(&call.body)?;
    let lease = LeaseMessages {
        queue: call.name.to_owned(),
        max: request.max.unwrap_or(1),
        wait_ms: request.wait.map_or(0, |wait| wait.0),
        lease_ms: request.lease.map(|lease| lease.0),
        auto_ack: request.auto_ack,
    };
    if lease.wait_ms > 0 {
        // A request may wait for a minute; what it waits with is small.
        drop(held);
    }
    let messages = look::ask_waiting(call.app, call.namespace, lease).await?;
    Ok(ok(&ConsumeAnswer { messages: messages.iter().map(content::delivered).collect() }))
}

pub(super) async fn settle(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    let request: SettleMessagesRequest = read(text_of(&call.body)?)?;
    check_bulk(request.messages.len())?;
    let mut settlements = Vec::with_capacity(request.messages.len());
    for body in &request.messages {
        let (message, token) = content::message_name(call.name, &body.id, &body.token)?;
        let verdict = content::verdict_of(body.verdict);
        settlements.push(MessageSettlement { message, token, verdict });
    }
    let ids = request.messages.into_iter().map(|body| body.id);
    settled(&call, SettleMessages(settlements), ids).await
}

pub(super) async fn extend(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    let request: ExtendMessagesRequest = read(text_of(&call.body)?)?;
    check_bulk(request.messages.len())?;
    let held = request.messages.iter();
    let held = held.map(|body| content::message_name(call.name, &body.id, &body.token));
    let (messages, lease_ms) = (held.collect::<Result<_, _>>()?, request.lease.map(|it| it.0));
    let ids = request.messages.into_iter().map(|body| body.id);
    settled(&call, ExtendMessages { messages, lease_ms }, ids).await
}

async fn settled(
    call: &Call<'_>,
    command: impl Ask<Answer = Vec<Result<(), Rejection>>>,
    ids: impl Iterator<Item = String>,
) -> Result<Reply, Refusal> {
    let told = ids.zip(ask(call, command).await?).map(|(id, answer)| {
        let error = answer.err().map(|rejection| Refusal::from(rejection).problem());
        SettledMessage { id, error }
    });
    Ok(ok(&SettleMessagesAnswer { settled: told.collect() }))
}

pub(super) async fn peek(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let (filter, mut parts) = filter_of_query(&call.query)?;
    let is_filtered = !filter.is_empty();
    parts.truncate(if is_filtered { parts.len() } else { 0 });
    parts.insert(0, Some(call.name));
    let scope = cursor::scope("messages", call.namespace, &parts);
    let after = call.query.text("cursor").map(|text| cursor::decode(text, scope)).transpose()?;
    let (namespace, queue) = (call.namespace.to_owned(), call.name.to_owned());
    let look = move |reader: &dyn Reader, _| {
        let bounds = (limit, PAGE_BYTES_MAX);
        query::peek_messages(reader, (&namespace, &queue), &filter, after.as_ref(), bounds)
    };
    let page = call.app.node.read(call.namespace, look).await??;
    let blocked = blocked_of(&call, &page).await;
    let told = page.messages.iter().zip(blocked);
    let messages = told.map(|(peeked, blocked)| content::peeked(peeked, blocked)).collect();
    let next = page.next.map(|key| cursor::encode(&key, scope));
    let examined = is_filtered.then_some(page.examined);
    Ok(ok(&MessageList { messages, examined, next }).not_cached())
}

/// Which messages of a page wait behind others of their ordering keys: a snapshot does not know who
/// has what, so the shard is asked. On a full disk it answers nothing, and messages are told all
/// the same.
async fn blocked_of(call: &Call<'_>, page: &MessagePage) -> Vec<bool> {
    let none = vec![false; page.messages.len()];
    if page.messages.iter().all(|it| it.ordering_key.is_none()) {
        return none;
    }
    let messages = page.messages.iter().map(|it| (it.tag.urgency, it.tag.place)).collect();
    let queue = call.name.to_owned();
    ask(call, BlockedMessages { queue, messages }).await.unwrap_or(none)
}

pub(super) async fn purge(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("queue", call.name)?;
    let removed =
        ask(&call, PurgeMessages { queue: call.name.to_owned(), connection: None }).await?;
    Ok(ok(&RemovedAnswer { removed }))
}

pub(super) async fn list_exchanges(call: Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let scope = cursor::scope("exchanges", call.namespace, &[]);
    let after = call.query.text("cursor").map(|text| cursor::decode(text, scope)).transpose()?;
    let after = after.map(|name| String::from_utf8_lossy(&name).into_owned());
    let (page, more) = ask(&call, ListExchanges { after, limit }).await?;
    let exchanges: Vec<_> = page.iter().map(content::exchange_record).collect();
    let last = exchanges.last().filter(|_| more);
    let next = last.map(|last| cursor::encode(last.name.as_bytes(), scope));
    Ok(ok(&ExchangeList { exchanges, next }).not_cached())
}

async fn exchange_reply(
    call: &Call<'_>,
    command: impl Ask<Answer = (Box<ExchangeView>, Declared)>,
) -> Result<Reply, Refusal> {
    let (view, _) = ask(call, command).await?;
    Ok(ok(&content::exchange_record(&view)).not_cached())
}

pub(super) async fn get_exchange(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("exchange", call.name)?;
    exchange_reply(&call, GetExchange { exchange: call.name.to_owned() }).await
}

pub(super) async fn put_exchange(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("exchange", call.name)?;
    let body: ExchangeBody = read(text_of(&call.body)?)?;
    let declare = DeclareExchange {
        exchange: call.name.to_owned(),
        kind: content::exchange_kind(body.kind),
        durable: body.durable,
        auto_delete: body.auto_delete,
        internal: body.internal,
        alternate: body.alternate,
        arguments: bytes::Bytes::new(),
    };
    exchange_reply(&call, declare).await
}

pub(super) async fn delete_exchange(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("exchange", call.name)?;
    let (exchange, if_unused) = (call.name.to_owned(), call.query.flag("if_unused")?);
    changed(&call, DeleteExchange { exchange, if_unused }).await
}

pub(super) async fn changed(
    call: &Call<'_>,
    command: impl Ask<Answer = bool>,
) -> Result<Reply, Refusal> {
    Ok(ok(&ChangedAnswer { changed: ask(call, command).await? }))
}

pub(super) async fn bind(call: Call<'_>, bind: bool) -> Result<Reply, Refusal> {
    check_path_name("exchange", call.name)?;
    let body: BindingBody = read(text_of(&call.body)?)?;
    let to_stream = body.to_stream.is_some();
    let (destination, to_exchange) = match (body.queue, body.to_exchange, body.to_stream) {
        (Some(queue), None, None) => (queue, false),
        (None, Some(exchange), None) => (exchange, true),
        (None, None, Some(stream)) => (stream, false),
        (None, None, None) => {
            return Err(crate::http::json::missing("queue", "the name of a queue, a string"));
        }
        _ => {
            let twice = if to_stream { "to_stream" } else { "to_exchange" };
            return Err(repeated(twice, "where the binding leads"));
        }
    };
    let spec = BindingSpec {
        source: call.name.to_owned(),
        destination,
        to_exchange,
        to_stream,
        routing_key: body.routing_key,
        matching: match body.matching {
            MatchText::All => Matching::All,
            MatchText::Any => Matching::Any,
        },
        headers: content::headers_of(&body.headers)?,
        arguments: bytes::Bytes::new(),
        connection: None,
        job: body.job.map(content::job_binding).transpose()?,
    };
    let spec = Box::new(spec);
    if bind { changed(&call, Bind(spec)).await } else { changed(&call, Unbind(spec)).await }
}

pub(super) async fn list_bindings(call: Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let source = call.query.text("exchange");
    let scope = cursor::scope("bindings", call.namespace, &[source]);
    let after = call.query.text("cursor").map(|text| cursor::decode(text, scope)).transpose()?;
    let source = source.map(str::to_owned);
    let (page, next) = ask(&call, ListBindings { source, after, limit }).await?;
    let bindings = page.iter().map(content::binding_record).collect();
    let next = next.map(|key| cursor::encode(&key, scope));
    Ok(ok(&BindingList { bindings, next }).not_cached())
}
