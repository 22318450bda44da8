//! Streams, their events, and groups that read them, as they are told and set.

use std::collections::BTreeMap;

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DurationText, InstantText, Problem, RawJson};

/// Headers of an event, by name.
pub type EventHeaders = BTreeMap<String, Option<String>>;

/// What is to hold for a stream.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamBody {
    /// How many partitions it has. A new one has 1 where left out; of one that is there it may only
    /// grow.
    pub partitions: Option<u32>,
    /// How long events are kept; 7 days where left out, `0s` for ever.
    pub retention: Option<DurationText>,
    /// Bytes kept of each partition; left out for all.
    pub retention_bytes: Option<u64>,
    /// Bytes of one batch; 1,048,588 where left out.
    pub batch_bytes_max: Option<u32>,
    /// Bytes after which a partition begins its next file; 67,108,864 where left out. What goes,
    /// goes in whole files.
    pub file_bytes: Option<u64>,
    /// Whether only the newest event of each key is kept, in time, and every event has one. Where
    /// true, events are kept for ever unless `retention` or `retention_bytes` says otherwise. Left
    /// out, it stays as it is, and is false for a new stream.
    pub compact: Option<bool>,
    /// How much of a partition has to be new before older events of its keys go, in percent; 50
    /// where left out.
    pub compaction_dirty_percent: Option<u32>,
    /// How old an event has to be before it may go for a newer one; `0s` where left out.
    pub compaction_lag_min: Option<DurationText>,
    /// After how long it goes even where little is new; never where left out.
    pub compaction_lag_max: Option<DurationText>,
    /// How long an event without a value, which says that its key is gone, stays after that; 1 day
    /// where left out.
    pub tombstone_retention: Option<DurationText>,
    /// How far the times of the events of one file may be apart; 7 days where left out. Only files
    /// that are written to no more are compacted.
    pub file_age: Option<DurationText>,
    /// Of messages that are events as well: the header whose value is the key of the event. Of a
    /// message without it the routing key is.
    pub ordering_header: Option<String>,
    /// Whether the events of each key are counted, so that an append may say how many it expects.
    /// It is said when the stream is created, and stays. Every event has a key of at most 1024
    /// bytes then, and is appended over HTTP or gRPC. Left out, it is false for a new stream.
    pub count_keys: Option<bool>,
}

/// A partition of a stream.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct PartitionRecord {
    /// Its number in the stream.
    pub partition: u32,
    /// The first offset that is kept.
    pub start: u64,
    /// The offset of the next event: what stands before it is on disk.
    pub end: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// A stream at one moment.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct StreamRecord {
    /// Its name.
    pub name: String,
    /// What holds for it.
    pub settings: StreamBody,
    /// Its partitions.
    pub partitions: Vec<PartitionRecord>,
}

/// A stream in a list.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct StreamSummary {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// How many events are kept.
    pub events: u64,
    /// Bytes of its files.
    pub bytes: u64,
}

/// A page of streams, in the order of their names.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct StreamList {
    /// The streams.
    pub streams: Vec<StreamSummary>,
    /// What to hand in as `cursor` for the next page; left out at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An event to append.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EventBody<'a> {
    /// The partition. Where left out the key chooses it, as Kafka's Java client does, or the
    /// server.
    pub partition: Option<u32>,
    /// What events share that are to stay in order.
    pub key: Option<String>,
    /// A key of any bytes, in base64; instead of `key`.
    pub key_base64: Option<String>,
    /// What it says: a text as it is, any other JSON as its text. Left out, it is a tombstone.
    #[serde(borrow)]
    pub value: Option<RawJson<'a>>,
    /// What it says, of any bytes, in base64; instead of `value`.
    pub value_base64: Option<String>,
    /// Headers: texts, or `null`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub headers: EventHeaders,
    /// Its time; now where left out.
    pub at: Option<InstantText>,
    /// How many events its key is to have before this one, in a stream that counts them. Where it
    /// has another number, no event of the request is appended to that partition.
    pub expected_events: Option<u64>,
}

/// Events to append. Those of one partition stand in it in this order, all of them or none.
#[derive(Clone, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventBulk<'a> {
    /// The events.
    #[serde(borrow)]
    pub events: Vec<EventBody<'a>>,
}

/// Where an event stands.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct AppendAnswer {
    /// The partition.
    pub partition: u32,
    /// Its offset there.
    pub offset: Option<u64>,
    /// Why it was refused, in the answer to a bulk.
    pub error: Option<Problem>,
}

/// Where many events stand.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct AppendBulkAnswer {
    /// Of each, in order.
    pub appended: Vec<AppendAnswer>,
}

/// An event as it is told.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct EventRecord {
    /// The partition.
    pub partition: u32,
    /// Its offset there; of a compressed batch the first one.
    pub offset: u64,
    /// Its time.
    pub at: InstantText,
    /// Its key, where that is a text.
    pub key: Option<String>,
    /// Its key otherwise, in base64.
    pub key_base64: Option<String>,
    /// What it says, where that is a text.
    pub value: Option<String>,
    /// What it says otherwise, in base64.
    pub value_base64: Option<String>,
    /// Headers; of one that is no text the base64, of one that stands twice the last.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub headers: EventHeaders,
    /// Its producer compressed this many events with `codec`: they are told as they are, as the
    /// base64 of their batch of Kafka in `value_base64`.
    pub compressed_events: Option<u64>,
    /// How.
    pub codec: Option<String>,
}

/// Events of a partition.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct EventList {
    /// The events, in order; perhaps none.
    pub events: Vec<EventRecord>,
    /// The offset to go on from.
    pub next: u64,
    /// The first offset that is kept.
    pub start: u64,
    /// The offset of the next event of the partition.
    pub end: u64,
    /// Where the events of a key were asked for: how many it has had, where the stream counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_events: Option<u64>,
}

/// How far a group has read a partition.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct GroupOffsetRecord {
    /// The stream.
    pub stream: String,
    /// The partition.
    pub partition: u32,
    /// The offset of the first event that it has not read.
    pub offset: u64,
    /// The offset of the next event of the partition.
    pub end: u64,
    /// Events that it has yet to read.
    pub lag: u64,
    /// When it said so.
    pub at: InstantText,
    /// What it wishes to find again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
}

/// A group of consumers.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct GroupRecord {
    /// Its name.
    pub name: String,
    /// Events that it has yet to read, of all partitions that it has read.
    pub lag: u64,
    /// Where it has members: whether each has what it is to have, in Kafka's words (`Stable`,
    /// `Reconciling`, `PreparingRebalance`, `CompletingRebalance`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Its members, clients of Kafka and of gRPC alike.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<GroupMember>,
    /// The partitions that it has read.
    pub offsets: Vec<GroupOffsetRecord>,
}

/// A member of a group.
#[sparse]
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct GroupMember {
    /// Its name in the group.
    pub id: String,
    /// What it calls itself across restarts, where it does.
    pub instance: Option<String>,
    /// How it calls itself.
    pub client: String,
    /// Where it is; empty over gRPC where nobody is asked who it is.
    pub host: String,
    /// What it reads. Left out in groups in which one of the members assigns: there it is only for
    /// them to know.
    pub partitions: Option<Vec<MemberPartitions>>,
}

/// What a member reads of a stream.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct MemberPartitions {
    /// The stream.
    pub stream: String,
    /// The partitions.
    pub partitions: Vec<i32>,
}

/// A group of consumers in a list.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct GroupSummary {
    /// Its name.
    pub name: String,
    /// Partitions that it has read.
    pub partitions: u64,
    /// Events that it has yet to read of them.
    pub lag: u64,
    /// How many members it has.
    #[serde(default)]
    pub members: u64,
}

/// A page of groups.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct GroupList {
    /// The groups.
    pub groups: Vec<GroupSummary>,
    /// What to hand in as `cursor` for the next page; left out at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// How far a group is to have read a partition.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OffsetBody {
    /// The stream.
    pub stream: String,
    /// The partition.
    pub partition: u32,
    /// The offset of the first event that it has not read.
    pub offset: u64,
    /// What it wishes to find again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub metadata: String,
}

/// How far a group has read. All of it is remembered, or nothing.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OffsetsBody {
    /// By partition.
    pub offsets: Vec<OffsetBody>,
}
