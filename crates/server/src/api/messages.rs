//! Messages, exchanges and bindings as they are told and set.

use std::collections::BTreeMap;

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{BlockedByRecord, DurationText, InstantText, Problem, RawJson};

/// Headers by name: texts, numbers, truth values or `null`.
pub type HeadersBody = BTreeMap<String, serde_json::Value>;

/// What holds for a queue of messages.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MessageSettingsBody {
    /// It outlives a restart; true where left out.
    pub durable: bool,
    /// It ends when its last consumer leaves.
    pub auto_delete: bool,
    /// The highest priority that counts, up to 255; left out for none.
    pub max_priority: Option<u8>,
    /// How often a message may come back; 20 where left out, 0 for no limit.
    pub delivery_limit: u32,
    /// One consumer gets all, and the next one once it leaves.
    pub single_active_consumer: bool,
    /// How long a message is worth to be delivered.
    pub ttl: Option<DurationText>,
    /// How long the queue stays while nobody consumes from it, takes from it or declares it.
    pub expires: Option<DurationText>,
    /// Messages that wait, at most.
    pub max_length: Option<u64>,
    /// Bytes of bodies, at most.
    pub max_bytes: Option<u64>,
    /// What happens to one message too many.
    pub overflow: OverflowText,
    /// The exchange for messages that end without an ack; an empty name for the default one.
    pub dead_letter_exchange: Option<String>,
    /// Their routing key then; the one that they have where left out.
    pub dead_letter_routing_key: Option<String>,
    /// The header whose value is a message's ordering key: of each key one message at a time is
    /// with a consumer, in order.
    pub ordering_header: Option<String>,
    /// The stream in which each message that is published to the queue is an event as well.
    pub stream: Option<String>,
}

/// What happens to one message too many.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "kebab-case")]
pub enum OverflowText {
    /// The first of the queue goes.
    #[default]
    DropHead,
    /// The new one is refused.
    RejectPublish,
    /// The new one is refused, and becomes a dead letter.
    RejectPublishDlx,
}

impl Default for MessageSettingsBody {
    fn default() -> Self {
        Self {
            durable: true,
            auto_delete: false,
            max_priority: None,
            delivery_limit: longshore_engine::DELIVERY_LIMIT_DEFAULT,
            single_active_consumer: false,
            ttl: None,
            expires: None,
            max_length: None,
            max_bytes: None,
            overflow: OverflowText::DropHead,
            dead_letter_exchange: None,
            dead_letter_routing_key: None,
            ordering_header: None,
            stream: None,
        }
    }
}

/// What there is to tell of a queue of messages.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct MessageQueueRecord {
    /// It belongs to one connection.
    #[serde(default)]
    pub exclusive: bool,
    /// The policy that counts for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Messages that wait.
    pub ready: u64,
    /// Messages that consumers have and have not settled.
    pub unsettled: u64,
    /// Bytes of the bodies of both.
    pub bytes: u64,
    /// Consumers of connections.
    pub consumers: u64,
    /// Messages that entered since the queue was created.
    pub published_total: u64,
    /// Messages acked since then.
    pub acked_total: u64,
    /// Messages that ended otherwise since then.
    pub dropped_total: u64,
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "lowercase")]
pub enum ExchangeTypeText {
    /// By the routing key as it is.
    Direct,
    /// To all that is bound.
    Fanout,
    /// By patterns of words: `*` for one, `#` for any number.
    Topic,
    /// By headers.
    Headers,
    /// To one of what is bound, by the routing key: each gets a share by its weight.
    #[serde(rename = "consistent-hash")]
    ConsistentHash,
}

/// An exchange as it is declared.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExchangeBody {
    /// How it routes.
    #[serde(rename = "type")]
    pub kind: ExchangeTypeText,
    /// It outlives a restart; true where left out.
    #[serde(default = "yes")]
    pub durable: bool,
    /// It ends with its last binding.
    #[serde(default)]
    pub auto_delete: bool,
    /// Only other exchanges publish to it.
    #[serde(default)]
    pub internal: bool,
    /// The exchange for messages that none of its bindings take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternate: Option<String>,
}

const fn yes() -> bool {
    true
}

/// An exchange at one moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ExchangeRecord {
    /// Its name.
    pub name: String,
    /// How it was declared.
    pub settings: ExchangeBody,
    /// Bindings that lead from it.
    pub bindings: u64,
    /// The policy that counts for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

/// A page of exchanges, in the order of their names.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ExchangeList {
    /// The exchanges.
    pub exchanges: Vec<ExchangeRecord>,
    /// What to hand in as `cursor` for the next page; left out at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How headers are compared.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "lowercase")]
pub enum MatchText {
    /// A message has all of them.
    #[default]
    All,
    /// A message has one of them at least.
    Any,
}

/// A binding of an exchange: to a queue or to another exchange.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BindingBody {
    /// The queue that it leads to.
    pub queue: Option<String>,
    /// The exchange that it leads to, instead of a queue.
    pub to_exchange: Option<String>,
    /// The stream that it leads to, instead of a queue: each message becomes an event, too.
    pub to_stream: Option<String>,
    /// The routing key, or the pattern of a topic exchange.
    pub routing_key: String,
    /// How headers are compared.
    #[serde(rename = "match")]
    pub matching: MatchText,
    /// What headers a message is to have; `null` for any value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub headers: HeadersBody,
    /// The queue is one of jobs, and this is what each message becomes there.
    pub job: Option<JobBindingBody>,
}

/// What each message becomes at the end of a binding that leads to a queue of jobs.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobBindingBody {
    /// The kind of the job.
    pub kind: String,
    /// Its priority, 0 to 9; the message's where left out, or the queue's where that has none.
    #[schema(maximum = 9)]
    pub priority: Option<u8>,
    /// How long after the message it may start.
    pub delay: Option<DurationText>,
    /// Jobs of the same routing key run one after the other; otherwise those of the same header
    /// `x-job-key`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ordered: bool,
    /// The version of the kind, from 1.
    #[schema(minimum = 1)]
    pub version: Option<u32>,
}

/// Whether a binding changed anything.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ChangedAnswer {
    /// False where it was so already.
    pub changed: bool,
}

/// A binding as it is told.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct BindingRecord {
    /// The exchange that it leads from.
    pub exchange: String,
    /// The queue that it leads to.
    pub queue: Option<String>,
    /// The exchange that it leads to.
    pub to_exchange: Option<String>,
    /// The stream that it leads to.
    pub to_stream: Option<String>,
    /// The routing key, or the pattern.
    pub routing_key: String,
    /// How headers are compared.
    #[serde(rename = "match")]
    pub matching: MatchText,
    /// What headers a message is to have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub headers: HeadersBody,
    /// What each message becomes in a queue of jobs.
    pub job: Option<JobBindingBody>,
}

/// A page of bindings.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct BindingList {
    /// The bindings.
    pub bindings: Vec<BindingRecord>,
    /// What to hand in as `cursor` for the next page; left out at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A message to publish.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PublishBody<'a> {
    /// By what the exchange routes it; left out where it goes to a queue directly.
    pub routing_key: String,
    /// What it says: a text as it is, any other JSON as its text, with `application/json`.
    #[serde(borrow)]
    pub body: Option<RawJson<'a>>,
    /// What it says, of any bytes, in base64; instead of `body`.
    pub body_base64: Option<String>,
    /// Headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub headers: HeadersBody,
    /// A MIME type.
    pub content_type: Option<String>,
    /// The application's identity of it.
    pub message_id: Option<String>,
    /// Which request it answers.
    pub correlation_id: Option<String>,
    /// The queue for an answer.
    pub reply_to: Option<String>,
    /// The application's name of its type.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// What published it.
    pub app_id: Option<String>,
    /// 0 to 255, the highest first, where the queue has priorities.
    pub priority: Option<u8>,
    /// It is to outlive a restart; true where left out.
    pub persistent: Option<bool>,
    /// How long it is worth to be delivered.
    pub ttl: Option<DurationText>,
    /// How long it stays aside before it is routed.
    pub delay: Option<DurationText>,
}

/// Messages to publish, each on its own.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishBulk<'a> {
    /// The messages.
    #[serde(borrow)]
    pub messages: Vec<PublishBody<'a>>,
}

/// What became of a message.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct PublishAnswer {
    /// How many queues have it; 0 where none wanted it, and it is gone.
    pub queues: u64,
    /// It is kept and routed later.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub delayed: bool,
    /// Why it was refused, in the answer to a bulk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// What became of many messages.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct PublishBulkAnswer {
    /// Of each, in order.
    pub published: Vec<PublishAnswer>,
}

/// How messages are taken.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConsumeRequest {
    /// How many at most, 1 to 1000; 1 where left out.
    pub max: Option<usize>,
    /// How long to wait for the first.
    pub wait: Option<DurationText>,
    /// For how long they are taken; 30 seconds where left out. Unsettled, they go back then.
    pub lease: Option<DurationText>,
    /// They are acked before they are delivered: each comes at most once.
    pub auto_ack: bool,
}

/// A message as it is told.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct MessageRecord {
    /// Which of its queue.
    pub id: String,
    /// What it is settled with.
    pub token: Option<String>,
    /// For how long it was taken.
    pub lease: Option<DurationText>,
    /// Somebody may have got it before.
    pub redelivered: bool,
    /// How often it came back.
    pub returns: u32,
    /// Where it is looked at: its ordering key, where another message of the key comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocked_by: Vec<BlockedByRecord>,
    /// The exchange that it was published to; empty where it went to a queue directly.
    pub exchange: String,
    /// Its routing key.
    pub routing_key: String,
    /// When it was published.
    pub published_at: InstantText,
    /// Its priority.
    pub priority: u8,
    /// It is to outlive a restart.
    pub persistent: bool,
    /// Headers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub headers: HeadersBody,
    /// A MIME type.
    pub content_type: Option<String>,
    /// The application's identity of it.
    pub message_id: Option<String>,
    /// Which request it answers.
    pub correlation_id: Option<String>,
    /// The queue for an answer.
    pub reply_to: Option<String>,
    /// The application's name of its type.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// What published it.
    pub app_id: Option<String>,
    /// Why and where it became a dead letter, the newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deaths: Vec<DeathRecord>,
    /// What it says, where that is a text.
    pub body: Option<String>,
    /// What it says otherwise, in base64.
    pub body_base64: Option<String>,
}

/// That a message ended in a queue without an ack.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct DeathRecord {
    /// The queue.
    pub queue: String,
    /// Why: `rejected`, `expired`, `maxlen` or `delivery_limit`.
    pub reason: String,
    /// How often for that reason in that queue.
    pub count: u64,
    /// When for the first time.
    pub at: InstantText,
    /// The exchange that it had been published to.
    pub exchange: String,
    /// Its routing keys.
    pub routing_keys: Vec<String>,
}

/// Messages that were taken.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ConsumeAnswer {
    /// The messages, in order; perhaps none.
    pub messages: Vec<MessageRecord>,
}

/// A page of messages that were only looked at.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct MessageList {
    /// The messages, in the order in which they are handed out. Those that consumers of
    /// connections have are among them.
    pub messages: Vec<MessageRecord>,
    /// How many were looked at, where only some are meant: a page may end before it is full.
    pub examined: Option<u64>,
    /// What to hand in as `cursor` for the next page; left out at the end.
    pub next: Option<String>,
}

/// How a message is settled.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "lowercase")]
pub enum MessageVerdictText {
    /// It is done with.
    Ack,
    /// It goes back to its old place.
    Requeue,
    /// It goes for good.
    Reject,
}

/// A message that was taken, and how it ends.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessageSettlementBody {
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

/// Messages to settle, each on its own.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettleMessagesRequest {
    /// The messages.
    pub messages: Vec<MessageSettlementBody>,
}

/// A message that was taken.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TakenMessageBody {
    /// Which.
    pub id: String,
    /// What it was taken with.
    pub token: String,
}

/// Messages to keep for longer, each on its own.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExtendMessagesRequest {
    /// The messages.
    pub messages: Vec<TakenMessageBody>,
    /// For how long from now on; as long as they were taken for where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<DurationText>,
}

/// What became of one message.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SettledMessage {
    /// Which.
    pub id: String,
    /// Why it was refused; left out where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Problem>,
}

/// What became of each message, in order.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct SettleMessagesAnswer {
    /// Of each.
    pub settled: Vec<SettledMessage>,
}

/// How many messages were removed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct RemovedAnswer {
    /// Those that waited.
    pub removed: u64,
}
