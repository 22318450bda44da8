//! Fetch: batches from files to the socket, and waiting for some.

use std::sync::{Arc, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use longshore_kafka::fetch_session::Sessions;
use longshore_kafka::message::fetch::{FetchPartition, FetchTopic, PartitionResult, Request, put};
use longshore_kafka::{Header, codes};
use longshore_streams::{AbortedTransaction, Partition, Read, StreamEntry};
use tokio::time::{Instant, sleep_until};

use crate::access::CONSUME;

use super::codes_of::of_read;
use super::face::{Answered, Face, check_epoch, partition};
use super::metadata::stream_id;

/// Bytes of events in one answer, at most; the first batch may be larger.
pub(super) const ANSWER_BYTES_MAX: usize = 8 << 20;
/// How long anybody waits.
const WAIT_MS_MAX: i32 = 120_000;

/// What is asked of one partition.
struct Asked {
    topic: usize,
    index: i32,
    offset: u64,
    max_bytes: usize,
    /// Only committed events.
    committed: bool,
    partition: Result<Arc<Partition>, i16>,
}

impl Asked {
    /// Whether there is something to tell at once: an error, or an event.
    fn is_ready(&self) -> bool {
        let Ok(partition) = &self.partition else { return true };
        let (start, end) = partition.ends();
        let to = if self.committed { partition.stable_end() } else { end };
        partition.is_gone() || !(start..=end).contains(&self.offset) || to > self.offset
    }
}

impl Face {
    pub(super) async fn fetch(&self, header: &Header, mut request: Request) -> Answered {
        let version = header.version;
        let mut reply = header.reply();
        let plan = self.fetch_sessions().begin(self.groups.now_ms(), &mut request);
        let plan = match plan {
            Ok(plan) => plan,
            Err(code) => {
                put(&mut reply, version, (code, 0), &[]);
                return Some((reply.finish(), None));
            }
        };
        let asked = self.asked(&request, &plan.topics, version);
        let wait_ms = u64::try_from(request.max_wait_ms.min(WAIT_MS_MAX)).unwrap_or_default();
        let until = Instant::now() + Duration::from_millis(wait_ms);
        let min_bytes = u64::try_from(request.min_bytes).unwrap_or_default();
        wait_for(&asked, min_bytes, until).await;
        let max_bytes = usize::try_from(request.max_bytes).unwrap_or(0).min(ANSWER_BYTES_MAX);
        let room = (max_bytes >> 10).max(1) as u32;
        let permit = Arc::clone(&self.answer_room).acquire_many_owned(room).await;
        let reading = tokio::task::spawn_blocking(move || read_all(asked, max_bytes));
        let Ok(results) = reading.await else { return None };
        let session = plan.id;
        let topics = self.fetch_sessions().end(&plan, results);
        put(&mut reply, version, (codes::NONE, session), &topics);
        Some((reply.finish(), permit.ok()))
    }

    /// No code between lock and unlock panics half-way through a change.
    fn fetch_sessions(&self) -> MutexGuard<'_, Sessions> {
        self.fetch_sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self, request: &Request, topics: &[FetchTopic], version: i16) -> Vec<Asked> {
        let mut asked = Vec::new();
        for (topic, of) in topics.iter().enumerate() {
            let stream = if version >= 13 {
                self.stream_of_id(of.id)
            } else {
                self.stream_as(CONSUME, &of.name)
            };
            for wanted in &of.partitions {
                asked.push(Asked {
                    topic,
                    index: wanted.index,
                    offset: u64::try_from(wanted.offset).unwrap_or(u64::MAX),
                    max_bytes: usize::try_from(wanted.max_bytes).unwrap_or_default(),
                    committed: request.committed,
                    partition: resolve(stream.as_ref(), wanted),
                });
            }
        }
        asked
    }

    fn stream_of_id(&self, id: [u8; 16]) -> Result<Arc<StreamEntry>, i16> {
        let log = self.log().map_err(|(code, _)| code)?;
        let number = stream_id(&self.cluster_id, id);
        let stream = number.and_then(|number| log.stream_by_id(number));
        let own = stream.filter(|stream| stream.namespace == self.config.namespace);
        let own = own.ok_or(codes::UNKNOWN_TOPIC_ID)?;
        let may = self.has(CONSUME, &own.name);
        if may { Ok(own) } else { Err(codes::TOPIC_AUTHORIZATION_FAILED) }
    }
}

fn resolve(
    stream: Result<&Arc<StreamEntry>, &i16>,
    wanted: &FetchPartition,
) -> Result<Arc<Partition>, i16> {
    let stream = stream.map_err(|code| *code)?;
    let partition = partition(stream, wanted.index)?;
    check_epoch(wanted.leader_epoch)?;
    Ok(Arc::clone(partition))
}

/// Whether there is something to tell at once: an error, or as many events as are asked for at
/// least. How many bytes they have is not known without reading, so any event counts as enough:
/// that is one answer more, and no event later.
fn is_ready(asked: &[Asked], min_bytes: u64) -> bool {
    min_bytes == 0 || asked.iter().any(Asked::is_ready)
}

async fn wait_for(asked: &[Asked], min_bytes: u64, until: Instant) {
    if is_ready(asked, min_bytes) {
        return;
    }
    let waiting: Vec<_> = asked
        .iter()
        .filter_map(|asked| asked.partition.as_ref().ok())
        .map(Partition::wait)
        .collect();
    let ready = std::future::poll_fn(|context| {
        for place in &waiting {
            place.set(context.waker());
        }
        // After that: what came before was not told.
        if is_ready(asked, min_bytes) { Poll::Ready(()) } else { Poll::Pending }
    });
    // Nothing may have come; that is an answer, too.
    tokio::select! {
        biased;
        () = ready => {}
        () = sleep_until(until) => {}
    }
}

fn read_all(asked: Vec<Asked>, max_bytes: usize) -> Vec<(usize, PartitionResult)> {
    let mut left = max_bytes;
    let mut first = true;
    let mut results = Vec::with_capacity(asked.len());
    for asked in asked {
        let (topic, room) = (asked.topic, left.min(asked.max_bytes));
        let result = read_one(&asked, room, first);
        first &= result.records.is_empty();
        left = left.saturating_sub(result.records.len());
        results.push((topic, result));
    }
    results
}

/// Only the first batch of an answer may be larger than what is asked for.
fn read_one(asked: &Asked, room: usize, first: bool) -> PartitionResult {
    let Asked { index, offset, committed, .. } = *asked;
    let empty = |error| PartitionResult {
        index,
        error,
        high_watermark: -1,
        stable: -1,
        aborted: committed.then(Vec::new),
        log_start: -1,
        records: Bytes::new(),
    };
    let partition = match &asked.partition {
        Err(code) => return empty(*code),
        Ok(partition) if partition.is_gone() => return empty(codes::UNKNOWN_TOPIC_OR_PARTITION),
        Ok(partition) => partition,
    };
    let (start, end) = partition.ends();
    if !first && room == 0 && (start..=end).contains(&offset) {
        return PartitionResult {
            high_watermark: end.cast_signed(),
            stable: partition.stable_end().cast_signed(),
            log_start: start.cast_signed(),
            ..empty(codes::NONE)
        };
    }
    let read = Read { offset, bytes_max: room, within: !first, committed };
    match partition.read_as(read) {
        Ok(chunk) => {
            let of = |it: &AbortedTransaction| (it.producer.cast_signed(), it.first.cast_signed());
            PartitionResult {
                high_watermark: chunk.end.cast_signed(),
                stable: chunk.stable.cast_signed(),
                aborted: committed.then(|| chunk.aborted.iter().map(of).collect()),
                log_start: chunk.start.cast_signed(),
                records: chunk.batches,
                ..empty(codes::NONE)
            }
        }
        Err(error) => {
            let (start, end) = partition.ends();
            PartitionResult {
                high_watermark: end.cast_signed(),
                log_start: start.cast_signed(),
                ..empty(of_read(&error))
            }
        }
    }
}
