//! Acks of messages, publishes and jobs in one commit.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{EnqueueAnswer, MessageVerdictText, NewJob, PublishAnswer, PublishBody};

/// A message to publish, and where.
#[sparse]
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransactionPublish<'a> {
    /// The exchange; left out for the queue that `queue` names.
    pub exchange: Option<String>,
    /// The queue that it goes to directly, instead of an exchange.
    pub queue: Option<String>,
    /// The message.
    #[serde(borrow)]
    pub message: PublishBody<'a>,
}

/// A message that was taken, and how it ends.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransactionSettlement {
    /// The queue that it was taken from.
    pub queue: String,
    /// Which.
    pub id: String,
    /// What it was taken with.
    pub token: String,
    /// How it ends; `ack` where left out.
    #[serde(default = "ack")]
    pub verdict: MessageVerdictText,
}

const fn ack() -> MessageVerdictText {
    MessageVerdictText::Ack
}

/// What is to happen at once: all of it in one commit, or nothing.
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TransactionRequest<'a> {
    /// Messages that were taken and end, at most 1,000.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settle: Vec<TransactionSettlement>,
    /// Messages to publish, at most 1,000.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<TransactionPublish<'a>>,
    /// Jobs to enqueue, each with its `queue`.
    #[serde(borrow, skip_serializing_if = "Vec::is_empty")]
    pub enqueue: Vec<NewJob<'a>>,
}

/// What became of a transaction that is on disk.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TransactionAnswer {
    /// Of each message that was published, in order.
    pub published: Vec<PublishAnswer>,
    /// Of each job, in order.
    pub enqueued: Vec<EnqueueAnswer>,
}
