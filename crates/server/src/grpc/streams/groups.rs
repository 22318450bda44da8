//! Groups of consumers over gRPC: members come, are there and go, and say how far they have read.
//! They are the groups that Kafka clients have.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_engine::ask::{CommitOffsets, GetOffsets};
use longshore_engine::driver::Class;
use longshore_engine::{CommittedOffset, GroupOffset, OffsetToCommit, Rejection};
use longshore_kafka::codes;
use longshore_kafka::consumer_group::Client;
use longshore_kafka::message::consumer_groups::{HeartbeatRequest, TopicPartitions};
use longshore_proto::v1;

use super::{StreamsFace, namespace_of};
use crate::access::{CONSUME, Need, PROGRESS, unauthenticated};
use crate::groups::{Streams, has_members, refusal_of};
use crate::http::look::ask;
use crate::http::refusal::Refusal;
use crate::http::text::{check_name, check_path_name};
use crate::lots::no_partition;

/// Streams of one member.
const STREAMS_MAX: usize = 100;
/// Partitions that a member says it has.
const OWNED_MAX: usize = 100_000;
/// How long a member may take to give partitions back where it does not say.
const REBALANCE_MS: u64 = 300_000;
/// The epoch of whoever joins.
const JOINS: i32 = 0;

impl StreamsFace {
    /// How far a group has read a stream.
    pub(super) async fn offsets(
        &self,
        request: v1::GetOffsetsRequest,
    ) -> Result<v1::GroupOffsets, Refusal> {
        let namespace = namespace_of(&request.namespace)?;
        check_name("group", &request.group)?;
        let stream = self.stream(namespace, &request.stream, PROGRESS)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let partitions = (0..stream.partitions.len() as u32).collect();
        let of = Some(vec![(request.stream, partitions)]);
        let offsets = ask(&self.0.app, namespace, GetOffsets { group: request.group, of }).await?;
        let place = |it: GroupOffset| {
            let (partition, offset) = (it.partition, it.committed?.offset);
            Some(v1::EventPlace { partition, offset })
        };
        Ok(v1::GroupOffsets { offsets: offsets.into_iter().filter_map(place).collect() })
    }

    /// Remembers how far a group has read.
    pub(super) async fn commit(
        &self,
        request: v1::CommitOffsetsRequest,
    ) -> Result<v1::CommitOffsetsResponse, Refusal> {
        let namespace = namespace_of(&request.namespace)?;
        check_name("group", &request.group)?;
        let stream = self.stream(namespace, &request.stream, PROGRESS)?;
        // Strangers are not told of epochs.
        self.demand(namespace, &Need::named(CONSUME, &request.group))?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let epoch = if request.member.is_empty() { -1 } else { request.epoch };
        let groups = self.0.app.groups.of(namespace);
        let code = groups.may_commit(&request.group, epoch, (&request.member, None));
        if code != codes::NONE {
            let alone = request.member.is_empty();
            let refused = || refusal_of(code, &request.group, None);
            return Err(if alone { has_members(&request.group) } else { refused() });
        }
        let name: Arc<str> = request.stream.as_str().into();
        let mut offsets = Vec::with_capacity(request.offsets.len());
        for v1::EventPlace { partition, offset } in request.offsets {
            if partition as usize >= stream.partitions.len() {
                return Err(no_partition(partition, &stream));
            }
            let metadata = String::new();
            let committed = CommittedOffset { offset, leader_epoch: None, metadata };
            offsets.push(OffsetToCommit { stream: Arc::clone(&name), partition, committed });
        }
        let commit = CommitOffsets { group: request.group, offsets };
        let results = ask(&self.0.app, namespace, commit).await?;
        if results.iter().all(Result::is_ok) {
            Ok(v1::CommitOffsetsResponse {})
        } else {
            // It was there a moment ago.
            Err(Rejection::StreamUnknown { stream: request.stream }.into())
        }
    }

    fn demand(&self, namespace: &str, need: &Need<'_>) -> Result<(), Refusal> {
        let Some(who) = self.0.app.who.now() else { return Err(unauthenticated()) };
        who.demand(namespace, need)?;
        Ok(())
    }

    /// A member is there, comes or goes.
    pub(super) fn hear(
        &self,
        request: v1::HeartbeatGroupRequest,
    ) -> Result<v1::HeartbeatGroupResponse, Refusal> {
        let namespace = namespace_of(&request.namespace)?.to_owned();
        check_name("group", &request.group)?;
        check_member(&request)?;
        self.demand(&namespace, &Need::named(CONSUME, &request.group))?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let joins = request.epoch == JOINS;
        for name in &request.streams {
            // What a member cannot read nobody else would get.
            self.demand(&namespace, &Need::named(CONSUME, name))?;
            if joins {
                self.stream(&namespace, name, CONSUME)?;
            }
        }
        let app = &self.0.app;
        let log = app.node.stream_log(&namespace)?;
        let store_id = app.node.stats().manifest.store_id.simple().to_string();
        let streams = Streams { log: &log, namespace: &namespace, store_id: &store_id };
        let names = ids(&request.streams, streams);
        let (group, wanted) = (request.group.clone(), request.streams.clone());
        let host = app.peer.address.map(|address| address.to_string()).unwrap_or_default();
        let client = Client { id: request.client, host };
        let heartbeat = HeartbeatRequest {
            group: request.group,
            member: request.member,
            epoch: request.epoch,
            rebalance_timeout_ms: rebalance_ms(request.rebalance_ms),
            topics: Some(wanted),
            owned: (!joins).then(|| owned(&request.owned, streams)),
            ..HeartbeatRequest::default()
        };
        let told = app.groups.of(&namespace).hear(heartbeat, client, streams);
        if told.error != codes::NONE {
            return Err(refusal_of(told.error, &group, told.message));
        }
        let assigned = told.assignment.unwrap_or_default().into_iter().filter_map(|it| {
            let stream = (*names.get(&it.id)?).to_owned();
            let partitions = it.partitions.into_iter().filter_map(|index| index.try_into().ok());
            Some(v1::StreamPartitions { stream, partitions: partitions.collect() })
        });
        Ok(v1::HeartbeatGroupResponse {
            epoch: told.epoch,
            interval_ms: u64::try_from(told.interval_ms).unwrap_or_default(),
            assigned: assigned.collect(),
        })
    }
}

fn check_member(request: &v1::HeartbeatGroupRequest) -> Result<(), Refusal> {
    check_name("member", &request.member)?;
    let count = request.streams.len();
    if count == 0 || count > STREAMS_MAX {
        let (value, allowed) = (format!("{count} streams"), format!("1 to {STREAMS_MAX} streams"));
        return Err(Refusal::value("streams", value, allowed));
    }
    for name in &request.streams {
        check_path_name("stream", name)?;
    }
    if request.epoch < -1 {
        return Err(Refusal::value("epoch", request.epoch, "-1 or more"));
    }
    let owned: usize = request.owned.iter().map(|it| it.partitions.len() + 1).sum();
    if owned > OWNED_MAX || (request.epoch == JOINS && owned > 0) {
        let allowed = format!("at most {OWNED_MAX}, and none of a member that joins");
        return Err(Refusal::value("owned", format!("{owned} partitions"), allowed));
    }
    if !request.client.is_empty() {
        check_name("client", &request.client)?;
    }
    Ok(())
}

fn rebalance_ms(asked: u64) -> i32 {
    let ms = if asked == 0 { REBALANCE_MS } else { asked };
    i32::try_from(ms).unwrap_or(i32::MAX)
}

/// The streams that are there, by the ids that the coordinator knows them by.
fn ids<'a>(names: &'a [String], streams: Streams<'_>) -> BTreeMap<[u8; 16], &'a str> {
    names.iter().filter_map(|name| Some((streams.id(name)?, name.as_str()))).collect()
}

/// What a member says that it has. Of a stream that is gone nobody has anything.
fn owned(said: &[v1::StreamPartitions], streams: Streams<'_>) -> Vec<TopicPartitions> {
    let index = |index: &u32| i32::try_from(*index).ok();
    let of = |it: &v1::StreamPartitions| {
        let partitions = it.partitions.iter().filter_map(index).collect();
        Some(TopicPartitions { id: streams.id(&it.stream)?, partitions })
    };
    said.iter().filter_map(of).collect()
}
