//! The service of streams: events are appended and read as over HTTP, with the bytes that they are.

mod groups;

use std::sync::Arc;
use std::time::Duration;

use longshore_engine::ask::{AppendBatches, CreateStream, TakeProducerId};
use longshore_engine::driver::Class;
use longshore_engine::{AppendBatch, ProducerStamp, Rejection, Role, StreamSettings, TriggerEvent};
use longshore_node::wall_now;
use longshore_proto::v1;
use longshore_proto::v1::streams_server::Streams;
use longshore_streams::event::Event;
use longshore_streams::{ReadError, StreamEntry};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{Face, namespace_of};
use crate::access::{LOOK, Need, PROGRESS, PUBLISH, unauthenticated};
use crate::http::code::Code;
use crate::http::handle::any_partition;
use crate::http::look::ask;
use crate::http::refusal::Refusal;
use crate::http::tail::{Reading, refusal, wait_for};
use crate::http::text::check_path_name;
use crate::key_events::{len_bytes as opened_bytes, newest_of, read_key, unreadable};
use crate::lots::{Lot, ToAppend, lots, no_partition, too_large};
use crate::unread::{Stumble, Unread, read};

/// Events in one request.
const EVENTS_MAX: usize = 10_000;
/// The last number of an event of a producer; 0 follows it.
const SEQUENCE_MAX: u32 = i32::MAX as u32;
/// Partitions that one request reads.
const PARTITIONS_MAX: usize = 1000;
/// How long a request for events may wait.
const WAIT_MS_MAX: u64 = 60_000;
/// Bytes of events in one answer; the last lot may reach beyond.
const ANSWER_BYTES: usize = 1 << 20;
/// Bytes of a partition that are looked through for the newest events of keys, opened.
const LOOKED_BYTES_MAX: usize = 4 << 20;
/// Bytes of all partitions that are looked through for one answer; the last may reach beyond.
const ALL_LOOKED_BYTES_MAX: usize = 16 << 20;
/// Events of a key in one answer.
const KEY_EVENTS_MAX: usize = 1000;

/// The service on one connection.
pub(super) struct StreamsFace(pub(super) Arc<Face>);

type Answered<T> = Result<Response<T>, Status>;

fn described(entry: &StreamEntry) -> v1::Stream {
    let ends = entry.partitions.iter().map(|partition| partition.ends());
    let partitions = ends.map(|(start, end)| v1::StreamPartition { start, end }).collect();
    v1::Stream { name: entry.name.clone(), partitions }
}

fn to_append(of: v1::NewEvent, now_ms: u64) -> ToAppend {
    let header = |it: v1::EventHeader| (it.name, it.value);
    let (partition, expected) = (of.partition, of.expected_events);
    let event = Event {
        offset: 0,
        time: of.at_unix_ms.unwrap_or(now_ms).cast_signed(),
        key: of.key,
        value: of.value,
        headers: of.headers.into_iter().map(header).collect(),
    };
    ToAppend { event, partition, expected }
}

fn told(event: TriggerEvent) -> v1::Event {
    let TriggerEvent { offset, key, value, headers, time } = event;
    let header = |(name, value)| v1::EventHeader { name, value };
    let headers = headers.into_iter().map(header).collect();
    v1::Event { offset, key, value, headers, at_unix_ms: time }
}

impl StreamsFace {
    /// A stream, for who has one of these roles for it.
    fn stream(
        &self,
        namespace: &str,
        name: &str,
        roles: &'static [Role],
    ) -> Result<Arc<StreamEntry>, Refusal> {
        check_path_name("stream", name)?;
        let Some(who) = self.0.app.who.now() else { return Err(unauthenticated()) };
        who.demand(namespace, &Need::named(roles, name))?;
        let found = self.0.app.node.stream_log(namespace)?.stream(namespace, name);
        found.ok_or_else(|| Rejection::StreamUnknown { stream: name.to_owned() }.into())
    }

    async fn create(&self, request: v1::CreateStreamRequest) -> Result<v1::Stream, Refusal> {
        let namespace = namespace_of(&request.namespace)?;
        check_path_name("stream", &request.stream)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let default = StreamSettings::default();
        let settings = StreamSettings {
            compact: request.compact,
            count_keys: request.count_keys,
            delete: !request.compact || request.retention_ms.is_some(),
            retention_ms: match request.retention_ms {
                None if request.compact => None,
                None => default.retention_ms,
                Some(kept_ms) => Some(kept_ms).filter(|kept_ms| *kept_ms > 0),
            },
            ..default
        };
        let (stream, partitions) = (request.stream.clone(), request.partitions.max(1));
        let create = CreateStream { stream, partitions, settings };
        match ask(&self.0.app, namespace, create).await {
            Ok(_) => {}
            Err(refusal) if refusal.code() == Code::StreamExists => {}
            Err(refusal) => return Err(refusal),
        }
        let entry = self.stream(namespace, &request.stream, LOOK)?;
        Ok(described(&entry))
    }

    async fn append(
        &self,
        request: v1::AppendEventsRequest,
    ) -> Result<v1::AppendEventsResponse, Refusal> {
        let namespace = namespace_of(&request.namespace)?;
        let stream = self.stream(namespace, &request.stream, PUBLISH)?;
        let _admitted = self.0.app.enter(Class::Publish, self.0.earlier)?;
        let total = request.events.len();
        if total == 0 || total > EVENTS_MAX {
            let value = format!("{total} events");
            return Err(Refusal::value("events", value, format!("1 to {EVENTS_MAX} events")));
        }
        let is_named = request.producer.is_some();
        if is_named && request.events.iter().any(|event| event.partition.is_none()) {
            let allowed = "the partition of each event of a producer with a number";
            return Err(Refusal::value("partition", "none", allowed));
        }
        if let Some(beyond) = request.sequences.values().find(|it| **it > SEQUENCE_MAX) {
            return Err(Refusal::value("sequences", beyond, format!("at most {SEQUENCE_MAX}")));
        }
        let now_ms = wall_now().0;
        let events = request.events.into_iter().map(|event| to_append(event, now_ms)).collect();
        let lots = lots(events, &stream, any_partition(stream.partitions.len() as u32))?;
        if lots.len() > 1 && lots.values().any(Lot::expects) {
            let (value, allowed) = (format!("of {} partitions", lots.len()), "events of one");
            return Err(Refusal::value("expected_events", value, allowed));
        }
        let batch = |(index, lot): (&u32, &Lot)| -> Option<AppendBatch> {
            let sequence = request.sequences.get(index).copied().unwrap_or(0);
            let producer = request.producer.map(|id| ProducerStamp { id, epoch: 0, sequence });
            lot.batch((&stream, *index), producer)
        };
        let batches: Vec<_> = lots.iter().filter_map(batch).collect();
        // Each partition takes its events by itself: that one does not is noticed before.
        let bytes_max = stream.settings.batch_bytes_max as usize;
        if batches.iter().any(|it| it.batch.len() > bytes_max) {
            return Err(too_large());
        }
        let results = ask(&self.0.app, namespace, AppendBatches(batches)).await?;
        let mut places = vec![v1::EventPlace::default(); total];
        for ((partition, lot), result) in lots.iter().zip(results) {
            let appended = result.map_err(|why| lot.refused(why, &request.stream))?;
            for (offset, index) in (appended.base_offset..).zip(&lot.of) {
                if let Some(place) = places.get_mut(*index) {
                    *place = v1::EventPlace { partition: *partition, offset };
                }
            }
        }
        Ok(v1::AppendEventsResponse { places })
    }

    async fn read_all(
        &self,
        request: v1::ReadEventsRequest,
    ) -> Result<v1::ReadEventsResponse, Refusal> {
        let namespace = namespace_of(&request.namespace)?;
        let stream = self.stream(namespace, &request.stream, PROGRESS)?;
        let _admitted = self.0.app.enter(Class::Lease, self.0.earlier)?;
        self.0.check_reads()?;
        if request.from.is_empty() || request.from.len() > PARTITIONS_MAX {
            let value = format!("{} partitions", request.from.len());
            return Err(Refusal::value("from", value, format!("1 to {PARTITIONS_MAX} partitions")));
        }
        let mut readings = Vec::with_capacity(request.from.len());
        for v1::EventPlace { partition: index, offset } in request.from {
            let Some(partition) = stream.partitions.get(index as usize) else {
                return Err(no_partition(index, &stream));
            };
            let (start, end) = partition.ends();
            if offset > end {
                return Err(refusal(&ReadError::OutOfRange { asked: offset, start, end }));
            }
            let offset = offset.max(start);
            readings.push(Reading { index, partition: Arc::clone(partition), offset });
        }
        if request.wait_ms > 0 {
            let wait = Duration::from_millis(request.wait_ms.min(WAIT_MS_MAX));
            tokio::select! {
                _ = wait_for(&readings, Instant::now() + wait) => {}
                () = self.0.ended() => {}
            }
        }
        if !self.0.app.who.holds() {
            return Err(unauthenticated());
        }
        let (mut partitions, mut bytes, mut all_looked) = (Vec::new(), 0, 0);
        // Each has its turn to be the first.
        let begin = any_partition(readings.len() as u32) as usize;
        for reading in readings.iter().cycle().skip(begin).take(readings.len()) {
            if reading.partition.is_gone() {
                return Err(Rejection::StreamUnknown { stream: request.stream }.into());
            }
            let is_full = bytes >= ANSWER_BYTES || all_looked >= ALL_LOOKED_BYTES_MAX;
            if is_full || reading.partition.stable_end() <= reading.offset {
                continue;
            }
            let (lot, looked) = read_lot(reading, request.newest_per_key).await?;
            all_looked += looked;
            bytes += lot.events.iter().map(len_bytes).sum::<usize>();
            if lot.next > reading.offset {
                partitions.push(lot);
            }
        }
        Ok(v1::ReadEventsResponse { partitions })
    }

    async fn key(&self, request: v1::ReadKeyRequest) -> Result<v1::ReadKeyResponse, Refusal> {
        let namespace = namespace_of(&request.namespace)?;
        let stream = self.stream(namespace, &request.stream, PROGRESS)?;
        let _admitted = self.0.app.enter(Class::Lease, self.0.earlier)?;
        self.0.check_reads()?;
        let at = (request.offset, KEY_EVENTS_MAX);
        let page = read_key(&self.0.app, (namespace, &stream), &request.key, at).await?;
        if !self.0.app.who.holds() {
            return Err(unauthenticated());
        }
        Ok(v1::ReadKeyResponse {
            partition: page.partition,
            events: page.events.into_iter().map(told).collect(),
            next: page.next,
            key_events: page.count,
        })
    }
}

fn len_bytes(event: &v1::Event) -> usize {
    let of = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers = event.headers.iter().map(|it| it.name.len() + of(&it.value));
    of(&event.key) + of(&event.value) + headers.sum::<usize>() + 32
}

/// Some events of a partition, and how many bytes were looked through; where that is asked for, of
/// each key only the newest of them.
async fn read_lot(
    reading: &Reading,
    newest: bool,
) -> Result<(v1::PartitionEvents, usize), Refusal> {
    let (partition, mut next) = (reading.index, reading.offset);
    let (mut events, mut looked) = (Vec::new(), 0);
    loop {
        let chunk = match read(Arc::clone(&reading.partition), next).await {
            Ok(chunk) => chunk,
            // It was trimmed meanwhile: the next request begins where it does by then.
            Err(Stumble::Read(ReadError::OutOfRange { .. })) => break,
            Err(error) => return Err(unreadable(&error)),
        };
        let mut opened = 0;
        let mut unread = Unread::new(&chunk, next);
        loop {
            let (rest, mut slice) = unread.slice().await.map_err(|error| unreadable(&error))?;
            unread = rest;
            let moved = unread.next() > next;
            next = unread.next();
            opened += slice.iter().map(opened_bytes).sum::<usize>();
            if newest {
                slice = newest_of(slice, |event| event.key.clone());
            }
            events.extend(slice.into_iter().map(told));
            // A small batch may be a large one once it is opened.
            if !newest || !moved || looked + opened >= LOOKED_BYTES_MAX {
                break;
            }
        }
        looked += opened.max(chunk.batches.len());
        if newest {
            events = newest_of(events, |event| event.key.clone());
        }
        let bytes = events.iter().map(len_bytes).sum::<usize>();
        let is_full = looked >= LOOKED_BYTES_MAX || bytes >= ANSWER_BYTES;
        if !newest || is_full || chunk.batches.is_empty() || next >= reading.partition.stable_end()
        {
            break;
        }
    }
    Ok((v1::PartitionEvents { partition, events, next }, looked))
}

#[tonic::async_trait]
impl Streams for StreamsFace {
    async fn create_stream(
        &self,
        request: Request<v1::CreateStreamRequest>,
    ) -> Answered<v1::Stream> {
        let answer = self.create(request.into_inner()).await?;
        Ok(self.0.read(answer)?)
    }

    async fn get_stream(&self, request: Request<v1::StreamRequest>) -> Answered<v1::Stream> {
        let request = request.into_inner();
        let namespace = namespace_of(&request.namespace)?;
        let stream = self.stream(namespace, &request.stream, LOOK)?;
        Ok(self.0.read(described(&stream))?)
    }

    async fn take_producer(
        &self,
        request: Request<v1::TakeProducerRequest>,
    ) -> Answered<v1::TakeProducerResponse> {
        let request = request.into_inner();
        let namespace = namespace_of(&request.namespace)?;
        let _admitted = self.0.app.enter(Class::Settle, self.0.earlier)?;
        let producer = ask(&self.0.app, namespace, TakeProducerId {}).await?;
        Ok(self.0.read(v1::TakeProducerResponse { producer })?)
    }

    async fn append_events(
        &self,
        request: Request<v1::AppendEventsRequest>,
    ) -> Answered<v1::AppendEventsResponse> {
        let answer = self.append(request.into_inner()).await?;
        Ok(self.0.read(answer)?)
    }

    async fn read_events(
        &self,
        request: Request<v1::ReadEventsRequest>,
    ) -> Answered<v1::ReadEventsResponse> {
        let answer = self.read_all(request.into_inner()).await?;
        Ok(self.0.read(answer)?)
    }

    async fn read_key(
        &self,
        request: Request<v1::ReadKeyRequest>,
    ) -> Answered<v1::ReadKeyResponse> {
        let answer = self.key(request.into_inner()).await?;
        Ok(self.0.read(answer)?)
    }

    async fn get_offsets(
        &self,
        request: Request<v1::GetOffsetsRequest>,
    ) -> Answered<v1::GroupOffsets> {
        let answer = self.offsets(request.into_inner()).await?;
        Ok(self.0.read(answer)?)
    }

    async fn commit_offsets(
        &self,
        request: Request<v1::CommitOffsetsRequest>,
    ) -> Answered<v1::CommitOffsetsResponse> {
        let answer = self.commit(request.into_inner()).await?;
        Ok(self.0.read(answer)?)
    }

    async fn heartbeat_group(
        &self,
        request: Request<v1::HeartbeatGroupRequest>,
    ) -> Answered<v1::HeartbeatGroupResponse> {
        let answer = self.hear(request.into_inner())?;
        Ok(self.0.read(answer)?)
    }
}
