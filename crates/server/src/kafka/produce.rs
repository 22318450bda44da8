//! Produce.

use std::sync::Arc;

use longshore_engine::ask::AppendBatches;
use longshore_engine::{AppendBatch, Appended, PartitionId, ProducerStamp};
use longshore_kafka::message::Topic;
use longshore_kafka::message::produce::{PartitionData, PartitionResult, Request, put};
use longshore_kafka::{Header, codes};
use longshore_streams::all_have_keys;
use longshore_streams::batch::{BatchFault, BatchHeader};
use longshore_streams::codec::CodecError;

use crate::access::PUBLISH;

use super::codes_of::{Refused, of_append};
use super::connection::THROTTLE_MAX;
use super::face::{Face, Pending, partition};

/// Bits of a batch's attributes.
const CODEC: i16 = 0b111;
const CODEC_MAX: i16 = 4;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;

/// What a batch for a compacted topic may have opened, unless it comes as large.
const OPENED_BYTES_MAX: usize = 16 << 20;
/// What all of a request may have: they are looked through by the thread of the connection.
const OPENED_BYTES_OF_REQUEST_MAX: usize = 64 << 20;

/// Why a batch is not sent on.
type BatchRefused = (i16, &'static str);

impl Face {
    /// Sends the batches on at once, in the order of the requests; the answer comes later.
    pub(super) fn produce(self: Arc<Self>, header: Header, request: Request) -> Pending {
        let mut batches = Vec::new();
        let mut places = Vec::new();
        let mut room = OPENED_BYTES_OF_REQUEST_MAX;
        let checked = check_request(&request);
        let transactional = request.transactional_id.is_some();
        for topic in &request.topics {
            let stream = self.stream_as(PUBLISH, &topic.name);
            for data in &topic.partitions {
                let batch = checked.and_then(|()| {
                    let stream = stream.as_ref().map_err(|code| (*code, why_not(*code)))?;
                    let partition = partition(stream, data.index);
                    let partition = partition.map_err(|code| (code, "no such partition"))?;
                    let batch = check_batch(data, transactional, partition.id())?;
                    if stream.settings.compact { check_keys(batch, &mut room) } else { Ok(batch) }
                });
                places.push(batch.map(|batch| batches.push(batch)));
            }
        }
        Box::pin(async move {
            let results = if batches.is_empty() {
                Ok(Vec::new())
            } else {
                self.ask(AppendBatches(batches)).await
            };
            if request.acks == 0 {
                return None;
            }
            let mut results = results.map(Vec::into_iter);
            let mut places = places.into_iter();
            let topics: Vec<_> = request
                .topics
                .into_iter()
                .map(|topic| {
                    let result = |data: PartitionData| {
                        let sent = places.next().unwrap_or(Err((codes::INVALID_REQUEST, "")));
                        result_of(data.index, sent, &mut results)
                    };
                    let partitions = topic.partitions.into_iter().map(result).collect();
                    Topic { name: topic.name, partitions }
                })
                .collect();
            let mut reply = header.reply();
            let throttle_ms = self.who.turn_in().min(THROTTLE_MAX).as_nanos().div_ceil(1_000_000);
            let throttle_ms = i32::try_from(throttle_ms).unwrap_or(i32::MAX);
            put(&mut reply, header.version, &topics, throttle_ms);
            Some((reply.finish(), None))
        })
    }
}

fn why_not(code: i16) -> &'static str {
    match code {
        codes::TOPIC_AUTHORIZATION_FAILED => "the account may not publish to it",
        _ => "no such topic",
    }
}

fn check_request(request: &Request) -> Result<(), BatchRefused> {
    if request.transactional_id.is_some() && request.acks != -1 {
        return Err((codes::INVALID_REQUIRED_ACKS, "within a transaction acks is -1"));
    }
    if !(-1..=1).contains(&request.acks) {
        return Err((codes::INVALID_REQUIRED_ACKS, "acks is -1, 0 or 1"));
    }
    Ok(())
}

/// What the engine is told of a batch.
fn check_batch(
    data: &PartitionData,
    transactional: bool,
    partition: PartitionId,
) -> Result<AppendBatch, BatchRefused> {
    let records = data.records.clone().unwrap_or_default();
    let header = BatchHeader::parse(&records).map_err(fault)?;
    if header.len_bytes != records.len() {
        return Err((codes::INVALID_RECORD, "a partition takes one batch at a time"));
    }
    header.check(&records).map_err(fault)?;
    if header.events <= 0 || header.events != header.last_offset_delta.saturating_add(1) {
        return Err((
            codes::INVALID_RECORD,
            "the offsets of the batch are not those of its events",
        ));
    }
    if header.attributes & CODEC > CODEC_MAX {
        return Err((codes::UNSUPPORTED_COMPRESSION_TYPE, "the codec is not known"));
    }
    if header.is_control() {
        return Err((codes::INVALID_RECORD, "markers are the broker's to write"));
    }
    if header.is_transactional() != transactional {
        let why = "a batch belongs to a transaction where the request does";
        return Err((codes::INVALID_TXN_STATE, why));
    }
    if header.attributes & LOG_APPEND_TIME != 0 {
        return Err((codes::INVALID_RECORD, "the time of append is not the producer's to set"));
    }
    if header.attributes & !(CODEC | TRANSACTIONAL) != 0 {
        return Err((codes::INVALID_RECORD, "attributes of the batch are not a producer's to set"));
    }
    let producer = match u64::try_from(header.producer_id) {
        Err(_) => None,
        Ok(id) => Some(ProducerStamp {
            id,
            epoch: u32::try_from(header.producer_epoch)
                .map_err(|_| (codes::INVALID_RECORD, "a producer has an epoch"))?,
            sequence: u32::try_from(header.base_sequence)
                .map_err(|_| (codes::INVALID_RECORD, "a producer has a sequence"))?,
        }),
    };
    let (events, batch) = (header.events.cast_unsigned(), records);
    // Streams that count the events of keys are not for Kafka clients.
    let keys = Vec::new();
    Ok(AppendBatch { partition, events, producer, transactional, batch, keys })
}

/// In a stream that keeps the newest event of each key, each has one. What the batch has opened
/// is taken from `room`.
fn check_keys(batch: AppendBatch, room: &mut usize) -> Result<AppendBatch, BatchRefused> {
    let header = BatchHeader::parse(&batch.batch).map_err(fault)?;
    let one = OPENED_BYTES_MAX.max(4 * batch.batch.len());
    match all_have_keys(&header, &batch.batch, one.min(*room)) {
        Ok(seen) => {
            *room = room.saturating_sub(seen.opened_bytes);
            let why = "an event of a compacted topic has a key";
            if seen.all { Ok(batch) } else { Err((codes::INVALID_RECORD, why)) }
        }
        Err(CodecError::TooLarge) => {
            *room = room.saturating_sub(one);
            Err((codes::MESSAGE_TOO_LARGE, "the batches have too much opened"))
        }
        Err(_) => Err((codes::INVALID_RECORD, "the batch cannot be opened")),
    }
}

fn fault(fault: BatchFault) -> BatchRefused {
    match fault {
        BatchFault::Checksum => {
            (codes::CORRUPT_MESSAGE, "the checksum of the batch is another one")
        }
        BatchFault::Magic(_) => (codes::INVALID_RECORD, "batches are of version 2"),
        BatchFault::Short | BatchFault::Numbers | BatchFault::Order => {
            (codes::INVALID_RECORD, "the batch is malformed")
        }
    }
}

type Results = std::vec::IntoIter<Result<Appended, longshore_engine::AppendRefusal>>;

fn result_of(
    index: i32,
    sent: Result<(), BatchRefused>,
    results: &mut Result<Results, Refused>,
) -> PartitionResult {
    let refused = |error, message: String| PartitionResult {
        index,
        error,
        message: (!message.is_empty()).then_some(message),
        base_offset: -1,
        log_start: -1,
    };
    if let Err((error, message)) = sent {
        return refused(error, message.to_owned());
    }
    match results {
        Err((error, message)) => refused(*error, message.clone()),
        Ok(results) => match results.next() {
            Some(Ok(appended)) => PartitionResult {
                index,
                error: codes::NONE,
                message: None,
                base_offset: appended.base_offset.cast_signed(),
                log_start: appended.start.cast_signed(),
            },
            Some(Err(refusal)) => refused(of_append(refusal), refusal.to_string()),
            None => refused(codes::UNKNOWN_SERVER_ERROR, String::new()),
        },
    }
}
