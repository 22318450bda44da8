//! The service of what messages and jobs have in one commit. It does what its sibling over HTTP
//! does.

use std::sync::Arc;

use longshore_engine::ask::StartOperation;
use longshore_engine::driver::Class;
use longshore_engine::{
    Enqueued, MessageMove, MessageSettlement, MessageTransaction, OperationKind, PublishMessage,
    Published,
};
use longshore_proto::v1;
use longshore_proto::v1::message_publish::To;
use longshore_proto::v1::messages_server::Messages;
use longshore_proto::v1::redrive_request::To as RedriveTo;
use tonic::{Request, Response, Status};

use super::admin::operation_told;
use super::job_in::entering;
use super::job_out::id_text;
use super::{Face, namespace_of};
use crate::api::{
    DurationText, HeadersBody, InstantText, MessageFilterBody, MessageVerdictText, PublishBody,
    RedriveRequest, TransactionSettlement,
};
use crate::http::code::Code;
use crate::http::content;
use crate::http::handle::{check_transaction, count_moved, moving_of, settlement_of};
use crate::http::json::{missing, repeated};
use crate::http::look::ask;
use crate::http::operation_view;
use crate::http::refusal::Refusal;
use crate::http::text::{check_path_name, quoted};
use crate::http::view;

/// The service on one connection.
pub(super) struct MessagesFace(pub(super) Arc<Face>);

/// How a message ends.
fn settlement(of: v1::MessageSettlement) -> Result<MessageSettlement, Refusal> {
    let verdict = match of.verdict.as_str() {
        "" | "ack" => MessageVerdictText::Ack,
        "requeue" => MessageVerdictText::Requeue,
        "reject" => MessageVerdictText::Reject,
        other => {
            return Err(Refusal::value("verdict", quoted(other), "ack, requeue or reject"));
        }
    };
    let v1::MessageSettlement { queue, id, token, .. } = of;
    settlement_of(&TransactionSettlement { queue, id, token, verdict })
}

/// A message, and where it goes.
fn message(of: v1::MessagePublish) -> Result<PublishMessage, Refusal> {
    let message = of.message.unwrap_or_default();
    let to = match &of.to {
        Some(To::Exchange(exchange)) => (exchange.as_str(), message.routing_key.as_str()),
        Some(To::Queue(queue)) if message.routing_key.is_empty() => ("", queue.as_str()),
        Some(To::Queue(_)) => return Err(repeated("routing_key", "where the message goes")),
        None => return Err(missing("to", "exchange or queue")),
    };
    let to = (to.0.to_owned(), to.1.to_owned());
    let is_to_queue = matches!(of.to, Some(To::Queue(_)));
    let some = |text: String| (!text.is_empty()).then_some(text);
    let priority = message.priority.map(|priority| {
        let refused = |_| Refusal::value("priority", priority, "0 to 255");
        u8::try_from(priority).map_err(refused)
    });
    let body = PublishBody {
        headers: headers(&message.headers)?,
        content_type: some(message.content_type),
        message_id: some(message.message_id),
        correlation_id: some(message.correlation_id),
        reply_to: some(message.reply_to),
        kind: some(message.r#type),
        app_id: some(message.app_id),
        priority: priority.transpose()?,
        persistent: Some(!message.transient),
        ttl: message.ttl_ms.map(DurationText),
        delay: message.delay_ms.map(DurationText),
        ..PublishBody::default()
    };
    let given = content::message_with(&body, (message.body, false), (&to.0, &to.1))?;
    // A queue that is named is to be there.
    Ok(PublishMessage { mandatory: is_to_queue, ..given })
}

fn headers(json: &[u8]) -> Result<HeadersBody, Refusal> {
    if json.is_empty() {
        return Ok(HeadersBody::default());
    }
    serde_json::from_slice(json).map_err(|error| {
        let detail = format!("headers is no JSON object: {error}");
        Refusal::new(Code::BodyMalformed, detail).field("headers")
    })
}

/// The messages that are moved, and where.
fn moving(of: v1::RedriveRequest) -> Result<MessageMove, Refusal> {
    check_path_name("queue", &of.queue)?;
    let filter = of.filter.unwrap_or_default();
    let filter = MessageFilterBody {
        routing_key: filter.routing_key,
        headers: headers(&filter.headers)?,
        text: filter.text,
        since: filter.since_unix_ms.map(InstantText),
        until: filter.until_unix_ms.map(InstantText),
        reason: filter.reason,
        died_in: filter.died_in,
    };
    let limit = of.limit;
    let request = match of.to {
        None => RedriveRequest { limit, filter, ..RedriveRequest::default() },
        Some(RedriveTo::ToQueue(queue)) => {
            RedriveRequest { to_queue: Some(queue), limit, filter, ..RedriveRequest::default() }
        }
        Some(RedriveTo::ToExchange(to)) => {
            let (to_exchange, routing_key) = (Some(to.exchange), to.routing_key);
            RedriveRequest { to_exchange, routing_key, limit, filter, to_queue: None }
        }
    };
    moving_of(&of.queue, request)
}

fn published(came: &Published) -> v1::MessagePublished {
    let told = content::published(came);
    v1::MessagePublished { queues: told.queues, delayed: told.delayed }
}

fn enqueued(one: &Enqueued) -> v1::JobEnqueued {
    let unique = one.met.map(|met| view::unique_outcome(met).as_str().to_owned());
    let (id, replayed) = (id_text(one.id), one.replayed);
    v1::JobEnqueued { id, replayed, unique: unique.unwrap_or_default() }
}

impl MessagesFace {
    async fn carry_out(
        &self,
        request: v1::TransactRequest,
    ) -> Result<v1::TransactResponse, Refusal> {
        let v1::TransactRequest { namespace, settle, publish, enqueue } = request;
        let namespace = namespace_of(&namespace)?;
        check_transaction((settle.len(), publish.len(), enqueue.len()))?;
        let _admitted = self.0.app.enter(Class::Publish, self.0.earlier)?;
        let enqueues =
            if enqueue.is_empty() { Vec::new() } else { entering(&enqueue, &self.0.app.bounds)? };
        let transaction = MessageTransaction {
            connection: None,
            publishes: publish.into_iter().map(message).collect::<Result<_, _>>()?,
            settlements: Vec::new(),
            leased: settle.into_iter().map(settlement).collect::<Result<_, _>>()?,
            enqueues,
        };
        let (came, jobs) = ask(&self.0.app, namespace, transaction).await?;
        Ok(v1::TransactResponse {
            published: came.iter().map(published).collect(),
            enqueued: jobs.iter().map(enqueued).collect(),
        })
    }
}

impl MessagesFace {
    async fn move_messages(&self, request: v1::RedriveRequest) -> Result<v1::Operation, Refusal> {
        let (namespace, dry_run) = (request.namespace.clone(), request.dry_run);
        let namespace = namespace_of(&namespace)?;
        let moving = moving(request)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        if dry_run {
            let counted = count_moved(&self.0.app, namespace, moving).await?;
            return Ok(operation_told(None, &counted));
        }
        let kind = OperationKind::MoveMessages { moving: Box::new(moving) };
        let of = ask(&self.0.app, namespace, StartOperation(kind)).await?;
        Ok(operation_told(Some(of.id), &operation_view::operation(&of)))
    }
}

#[tonic::async_trait]
impl Messages for MessagesFace {
    async fn redrive(
        &self,
        request: Request<v1::RedriveRequest>,
    ) -> Result<Response<v1::Operation>, Status> {
        Ok(Response::new(self.move_messages(request.into_inner()).await?))
    }

    async fn transact(
        &self,
        request: Request<v1::TransactRequest>,
    ) -> Result<Response<v1::TransactResponse>, Status> {
        let answer = self.carry_out(request.into_inner()).await?;
        Ok(self.0.read(answer)?)
    }
}
