//! Acks of messages, publishes and jobs in one commit.

use bytes::Bytes;
use longshore_engine::{Enqueued, MessageSettlement, MessageTransaction, PublishMessage};

use super::messages::BULK_MAX;
use super::{ask, ok};
use crate::api::{
    EnqueueAnswer, JobIdText, TransactionAnswer, TransactionPublish, TransactionRequest,
    TransactionSettlement,
};
use crate::http::app::Call;
use crate::http::body::Held;
use crate::http::content;
use crate::http::json::{missing, read, repeated, text_of};
use crate::http::parse::follow_ups;
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::check_path_name;
use crate::http::view;

pub(super) async fn transact(call: Call<'_>, held: Option<Held>) -> Result<Reply, Refusal> {
    let request: TransactionRequest<'_> = read(text_of(&call.body)?)?;
    let TransactionRequest { settle, publish, enqueue } = request;
    check_transaction((settle.len(), publish.len(), enqueue.len()))?;
    let leased = settle.iter().map(settlement_of).collect::<Result<_, _>>()?;
    let publishes =
        publish.iter().map(|body| message(&call.body, body)).collect::<Result<_, _>>()?;
    let enqueues = if enqueue.is_empty() {
        Vec::new()
    } else {
        follow_ups(enqueue, &call.body, &call.app.bounds)?
    };
    let settlements = Vec::new();
    let transaction =
        MessageTransaction { connection: None, publishes, settlements, leased, enqueues };
    let (published, enqueued) = ask(&call, transaction).await?;
    drop(held);
    let published = published.iter().map(content::published);
    let enqueued = enqueued.iter().map(|one| accepted(&call, one)).collect();
    Ok(ok(&TransactionAnswer { published: published.collect(), enqueued }))
}

/// Refuses a transaction with too much of a sort, or with nothing: so many messages are settled and
/// published, and jobs enqueued.
pub(crate) fn check_transaction(
    (settle, publish, enqueue): (usize, usize, usize),
) -> Result<(), Refusal> {
    for (field, count) in [("settle", settle), ("publish", publish)] {
        if count > BULK_MAX {
            let (value, allowed) = (format!("{count} messages"), format!("at most {BULK_MAX}"));
            return Err(Refusal::value(field, value, allowed));
        }
    }
    if settle + publish + enqueue == 0 {
        return Err(missing("publish", "something to settle, publish or enqueue"));
    }
    Ok(())
}

/// How a message ends that was taken.
pub(crate) fn settlement_of(body: &TransactionSettlement) -> Result<MessageSettlement, Refusal> {
    check_path_name("queue", &body.queue)?;
    let (message, token) = content::message_name(&body.queue, &body.id, &body.token)?;
    Ok(MessageSettlement { message, token, verdict: content::verdict_of(body.verdict) })
}

fn message(request: &Bytes, body: &TransactionPublish<'_>) -> Result<PublishMessage, Refusal> {
    let to = match (&body.exchange, &body.queue) {
        (Some(exchange), None) => (exchange.as_str(), &*body.message.routing_key),
        (None, Some(queue)) if body.message.routing_key.is_empty() => ("", queue.as_str()),
        (None, Some(_)) => return Err(repeated("routing_key", "where the message goes")),
        (Some(_), Some(_)) => return Err(repeated("queue", "where the message goes")),
        (None, None) => return Err(missing("exchange", "the name of an exchange, a string")),
    };
    let mut message = content::message_of(request, &body.message, to)?;
    // A queue that is named is to be there.
    message.mandatory = body.queue.is_some();
    Ok(message)
}

fn accepted(call: &Call<'_>, one: &Enqueued) -> EnqueueAnswer {
    let id = JobIdText(one.id.0);
    let status = call.path("status", &id.to_string());
    EnqueueAnswer { id, status, replayed: one.replayed, unique: one.met.map(view::unique_outcome) }
}
