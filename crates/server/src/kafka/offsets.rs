//! `ListOffsets`, `OffsetForLeaderEpoch`, `OffsetCommit`, `OffsetFetch`.

use std::collections::BTreeMap;
use std::sync::Arc;

use longshore_engine::ask::{CommitOffsets, GetOffsets};
use longshore_engine::{CommittedOffset, GroupOffset, OffsetToCommit};
use longshore_kafka::message::Topic;
use longshore_kafka::message::commit::{
    CommitPartition, CommitRequest, FetchGroup, FetchRequest, GroupResult, OffsetResult,
    put_commit, put_fetch,
};
use longshore_kafka::message::offsets::{
    EpochRequest, EpochResult, ListPartition, ListRequest, ListResult, put_epochs, put_list,
};
use longshore_kafka::{Reply, codes};
use longshore_streams::{Partition, ReadError};

use crate::access::{CONSUME, LOOK};

use super::codes_of::{of_coordinator, of_offset, of_read};
use super::face::{Face, check_epoch, partition};
use super::metadata::is_topic_name;

/// What stands for a time in `ListOffsets`.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const NEWEST: i64 = -3;

impl Face {
    pub(super) async fn list_offsets(&self, reply: &mut Reply, version: i16, asked: ListRequest) {
        let mut topics = Vec::new();
        for topic in asked.topics {
            let stream = self.stream_as(LOOK, &topic.name);
            let mut partitions = Vec::new();
            for wanted in topic.partitions {
                let found = match &stream {
                    Err(code) => Err(*code),
                    Ok(stream) => match partition(stream, wanted.index) {
                        Err(code) => Err(code),
                        Ok(partition) => {
                            look_up(Arc::clone(partition), &wanted, asked.committed).await
                        }
                    },
                };
                let (offset, timestamp) = found.unwrap_or((-1, -1));
                let error = found.err().unwrap_or_default();
                partitions.push(ListResult { index: wanted.index, error, timestamp, offset });
            }
            topics.push(Topic { name: topic.name, partitions });
        }
        put_list(reply, version, &topics);
    }

    pub(super) fn epochs(&self, reply: &mut Reply, asked: EpochRequest) {
        let topics = asked.topics.into_iter().map(|topic| {
            let stream = self.stream_as(LOOK, &topic.name);
            let result = |asked: &longshore_kafka::message::offsets::EpochPartition| {
                let end = stream.as_ref().map_err(|code| *code).and_then(|stream| {
                    check_epoch(asked.current_epoch)?;
                    Ok(partition(stream, asked.index)?.ends().1)
                });
                // There is one epoch, the first: of a later one nothing is known.
                let known = asked.epoch == 0;
                EpochResult {
                    index: asked.index,
                    error: end.err().unwrap_or_default(),
                    epoch: if known && end.is_ok() { 0 } else { -1 },
                    end_offset: end.ok().filter(|_| known).map_or(-1, u64::cast_signed),
                }
            };
            let partitions = topic.partitions.iter().map(result).collect();
            Topic { name: topic.name, partitions }
        });
        put_epochs(reply, &topics.collect::<Vec<_>>());
    }

    pub(super) async fn commit_offsets(
        &self,
        reply: &mut Reply,
        version: i16,
        request: CommitRequest,
    ) {
        let member = (request.member.as_str(), request.instance.as_deref());
        // Strangers are not told of generations.
        let allowed = if self.has(CONSUME, &request.group) {
            self.groups.may_commit(&request.group, request.generation, member)
        } else {
            codes::GROUP_AUTHORIZATION_FAILED
        };
        let results =
            if allowed == codes::NONE { self.commit(&request).await } else { Err(allowed) };
        let mut results = results.map(Vec::into_iter);
        let topics = request.topics.into_iter().map(|topic| {
            let result = |index| match &mut results {
                Ok(results) => (index, results.next().unwrap_or(codes::UNKNOWN_SERVER_ERROR)),
                Err(code) => (index, *code),
            };
            let indexes = topic.partitions.iter().map(|partition| partition.index);
            Topic { partitions: indexes.map(result).collect(), name: topic.name }
        });
        put_commit(reply, version, &topics.collect::<Vec<_>>());
    }

    /// The code of each partition, in order.
    async fn commit(&self, request: &CommitRequest) -> Result<Vec<i16>, i16> {
        let offsets = to_commit(&request.topics)?;
        let group = request.group.clone();
        let results = self.ask(CommitOffsets { group, offsets }).await.map_err(of_coordinator)?;
        Ok(results.into_iter().map(|it| it.map_or_else(of_offset, |()| 0)).collect())
    }

    pub(super) async fn fetch_offsets(
        &self,
        reply: &mut Reply,
        version: i16,
        request: FetchRequest,
    ) {
        let mut groups = Vec::new();
        for asked in request.groups {
            groups.push(self.offsets_of(asked, request.stable).await);
        }
        put_fetch(reply, version, &groups);
    }

    async fn offsets_of(&self, asked: FetchGroup, stable: bool) -> GroupResult {
        let FetchGroup { group, mut topics } = asked;
        let index = |index: &i32| u32::try_from(*index).unwrap_or(u32::MAX);
        // Of what has no such name nothing was committed, and nothing is told.
        if let Some(topics) = &mut topics {
            topics.retain(|topic| is_topic_name(&topic.name));
        }
        let of = topics.as_ref().map(|topics| {
            let topic = |topic: &Topic<i32>| {
                (topic.name.clone(), topic.partitions.iter().map(index).collect())
            };
            topics.iter().map(topic).collect()
        });
        let answer = self.ask(GetOffsets { group: group.clone(), of }).await;
        let (error, offsets) = match answer {
            Ok(offsets) => (codes::NONE, offsets),
            Err(refused) => (of_coordinator(refused), Vec::new()),
        };
        let mut found: BTreeMap<Arc<str>, Vec<OffsetResult>> = BTreeMap::new();
        for GroupOffset { stream, partition, mut committed, pending } in offsets {
            let error = if pending && stable { codes::UNSTABLE_OFFSET_COMMIT } else { 0 };
            committed = committed.filter(|_| error == codes::NONE);
            let result = OffsetResult {
                index: i32::try_from(partition).unwrap_or(-1),
                error,
                offset: committed.as_ref().map_or(-1, |it| it.offset.cast_signed()),
                leader_epoch: committed
                    .as_ref()
                    .and_then(|it| it.leader_epoch)
                    .map_or(-1, u32::cast_signed),
                metadata: committed.map(|it| it.metadata).unwrap_or_default(),
            };
            found.entry(stream).or_default().push(result);
        }
        let topics = found
            .into_iter()
            .map(|(name, partitions)| Topic { name: name.to_string(), partitions });
        GroupResult { group, error, topics: topics.collect() }
    }
}

/// What is to be remembered of each partition, in order.
pub(super) fn to_commit(topics: &[Topic<CommitPartition>]) -> Result<Vec<OffsetToCommit>, i16> {
    let mut offsets = Vec::new();
    for topic in topics {
        if !is_topic_name(&topic.name) {
            return Err(codes::INVALID_TOPIC_EXCEPTION);
        }
        let stream: Arc<str> = topic.name.as_str().into();
        for partition in &topic.partitions {
            let offset = u64::try_from(partition.offset);
            offsets.push(OffsetToCommit {
                stream: Arc::clone(&stream),
                // What is not there is refused by the engine.
                partition: u32::try_from(partition.index).unwrap_or(u32::MAX),
                committed: CommittedOffset {
                    offset: offset.map_err(|_| codes::INVALID_REQUEST)?,
                    leader_epoch: u32::try_from(partition.leader_epoch).ok(),
                    metadata: partition.metadata.clone().unwrap_or_default(),
                },
            });
        }
    }
    Ok(offsets)
}

/// Offset and time.
async fn look_up(
    partition: Arc<Partition>,
    wanted: &ListPartition,
    committed: bool,
) -> Result<(i64, i64), i16> {
    check_epoch(wanted.leader_epoch)?;
    let (start, end) = partition.ends();
    let end = if committed { partition.stable_end() } else { end };
    let time = match wanted.timestamp {
        LATEST => return Ok((end.cast_signed(), -1)),
        EARLIEST => return Ok((start.cast_signed(), -1)),
        NEWEST => None,
        time if time < 0 => return Err(codes::UNSUPPORTED_VERSION),
        time => Some(time),
    };
    let look = move || match time {
        Some(time) => partition.find_time(time),
        None => partition.newest(),
    };
    let found = tokio::task::spawn_blocking(look).await;
    let found = found.map_err(|_| codes::UNKNOWN_SERVER_ERROR)?;
    let found = found.map_err(|error: ReadError| of_read(&error))?;
    Ok(found.map_or((-1, -1), |(offset, time)| (offset.cast_signed(), time)))
}
