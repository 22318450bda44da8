//! The service of streams: events are appended and read as over HTTP, with the bytes that they are.

mod groups;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_engine::ask::{AppendBatches, CreateStream, TakeProducerId};
use longshore_engine::driver::Class;
use longshore_engine::{
    AppendBatch, AppendRefusal, ProducerStamp, Rejection, Role, StreamSettings, TriggerEvent,
};
use longshore_node::wall_now;
use longshore_proto::v1;
use longshore_proto::v1::streams_server::Streams;
use longshore_streams::event::{Event, batch_of, partition_of};
use longshore_streams::{ReadError, StreamEntry};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::{Face, namespace_of};
use crate::access::{LOOK, Need, PROGRESS, PUBLISH, unauthenticated};
use crate::http::code::Code;
use crate::http::handle::{any_partition, append_refused};
use crate::http::look::ask;
use crate::http::refusal::Refusal;
use crate::http::tail::{Reading, refusal, wait_for};
use crate::http::text::check_path_name;
use crate::unread::{Stumble, Unread, read};

/// Events in one request.
const EVENTS_MAX: usize = 10_000;
/// Partitions that one request reads.
const PARTITIONS_MAX: usize = 1000;
/// How long a request for events may wait.
const WAIT_MS_MAX: u64 = 60_000;
/// Bytes of events in one answer; the last lot may reach beyond.
const ANSWER_BYTES: usize = 1 << 20;

/// The service on one connection.
pub(super) struct StreamsFace(pub(super) Arc<Face>);

type Answered<T> = Result<Response<T>, Status>;

fn described(entry: &StreamEntry) -> v1::Stream {
    let ends = entry.partitions.iter().map(|partition| partition.ends());
    let partitions = ends.map(|(start, end)| v1::StreamPartition { start, end }).collect();
    v1::Stream { name: entry.name.clone(), partitions }
}

fn event_of(of: v1::NewEvent, now_ms: u64) -> Event {
    let header = |it: v1::EventHeader| (it.name, it.value);
    Event {
        offset: 0,
        time: of.at_unix_ms.unwrap_or(now_ms).cast_signed(),
        key: of.key,
        value: of.value,
        headers: of.headers.into_iter().map(header).collect(),
    }
}

fn told(event: TriggerEvent) -> v1::Event {
    let TriggerEvent { offset, key, value, headers, time } = event;
    let header = |(name, value)| v1::EventHeader { name, value };
    let headers = headers.into_iter().map(header).collect();
    v1::Event { offset, key, value, headers, at_unix_ms: time }
}

fn no_partition(partition: u32, stream: &StreamEntry) -> Refusal {
    let last = stream.partitions.len().saturating_sub(1);
    Refusal::value("partition", partition, format!("0 to {last}"))
}

/// Events for one partition, and which of the request they are.
#[derive(Default)]
struct Lot {
    events: Vec<Event>,
    of: Vec<usize>,
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
        let lots = lots(request.events, request.producer.is_some(), &stream)?;
        let batch = |(index, lot): (&u32, &Lot)| -> Option<AppendBatch> {
            let partition = stream.partitions.get(*index as usize)?.id();
            let sequence = request.sequences.get(index).copied().unwrap_or(0);
            let producer = request.producer.map(|id| ProducerStamp { id, epoch: 0, sequence });
            let (events, batch) = (lot.events.len() as u32, batch_of(&lot.events).into());
            Some(AppendBatch { partition, events, producer, transactional: false, batch })
        };
        let batches: Vec<_> = lots.iter().filter_map(batch).collect();
        // Each partition takes its events by itself: that one does not is noticed before.
        let bytes_max = stream.settings.batch_bytes_max as usize;
        if batches.iter().any(|it| it.batch.len() > bytes_max) {
            return Err(append_refused(AppendRefusal::TooLarge, &request.stream));
        }
        let results = ask(&self.0.app, namespace, AppendBatches(batches)).await?;
        let mut places = vec![v1::EventPlace::default(); total];
        for ((partition, lot), result) in lots.iter().zip(results) {
            let appended = result.map_err(|refusal| append_refused(refusal, &request.stream))?;
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
            let offset = offset.max(partition.ends().0);
            readings.push(Reading { index, partition: Arc::clone(partition), offset });
        }
        if request.wait_ms > 0 {
            let wait = Duration::from_millis(request.wait_ms.min(WAIT_MS_MAX));
            wait_for(&readings, Instant::now() + wait).await;
        }
        if !self.0.app.who.holds() {
            return Err(unauthenticated());
        }
        let (mut partitions, mut bytes) = (Vec::new(), 0);
        // Each has its turn to be the first.
        let begin = any_partition(readings.len() as u32) as usize;
        for reading in readings.iter().cycle().skip(begin).take(readings.len()) {
            if reading.partition.is_gone() {
                return Err(Rejection::StreamUnknown { stream: request.stream }.into());
            }
            if bytes >= ANSWER_BYTES || reading.partition.stable_end() <= reading.offset {
                continue;
            }
            let lot = read_lot(reading).await?;
            bytes += lot.events.iter().map(len_bytes).sum::<usize>();
            if lot.next > reading.offset {
                partitions.push(lot);
            }
        }
        Ok(v1::ReadEventsResponse { partitions })
    }
}

fn len_bytes(event: &v1::Event) -> usize {
    let of = |bytes: &Option<bytes::Bytes>| bytes.as_ref().map_or(0, bytes::Bytes::len);
    let headers = event.headers.iter().map(|it| it.name.len() + of(&it.value));
    of(&event.key) + of(&event.value) + headers.sum::<usize>() + 32
}

/// Sorts events by their partitions.
fn lots(
    events: Vec<v1::NewEvent>,
    named: bool,
    stream: &StreamEntry,
) -> Result<BTreeMap<u32, Lot>, Refusal> {
    let count = stream.partitions.len() as u32;
    let (now_ms, any) = (wall_now().0, any_partition(count));
    let mut lots: BTreeMap<u32, Lot> = BTreeMap::new();
    for (index, event) in events.into_iter().enumerate() {
        if stream.settings.compact && event.key.is_none() {
            let allowed = "a key: the stream keeps the newest event of each";
            return Err(Refusal::value("key", "none", allowed));
        }
        let partition = match (event.partition, &event.key) {
            (Some(partition), _) if partition >= count => {
                return Err(no_partition(partition, stream));
            }
            (Some(partition), _) => partition,
            (None, _) if named => {
                let allowed = "the partition of each event of a producer with a number";
                return Err(Refusal::value("partition", "none", allowed));
            }
            (None, Some(key)) => partition_of(key, count),
            (None, None) => any,
        };
        let lot = lots.entry(partition).or_default();
        lot.events.push(event_of(event, now_ms));
        lot.of.push(index);
    }
    Ok(lots)
}

/// Some events of a partition.
async fn read_lot(reading: &Reading) -> Result<v1::PartitionEvents, Refusal> {
    let (partition, offset) = (reading.index, reading.offset);
    let none = v1::PartitionEvents { partition, events: Vec::new(), next: offset };
    let chunk = match read(Arc::clone(&reading.partition), offset).await {
        Ok(chunk) => chunk,
        // It was trimmed meanwhile: the next request begins where it does by then.
        Err(Stumble::Read(ReadError::OutOfRange { .. })) => return Ok(none),
        Err(Stumble::Read(error)) => return Err(refusal(&error)),
        Err(error) => return Err(Refusal::new(Code::Internal, error.to_string())),
    };
    let slice = Unread::new(&chunk, offset).slice().await;
    let (unread, events) =
        slice.map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
    let events = events.into_iter().map(told).collect();
    Ok(v1::PartitionEvents { partition, events, next: unread.next() })
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
