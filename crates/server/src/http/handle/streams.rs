//! Streams: list, describe, create, change, remove; append events and read them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use longshore_engine::ask::{
    AddPartitions, AppendBatches, ChangeStream, CreateStream, DeleteStream,
};
use longshore_engine::{
    AppendBatch, AppendRefusal, Appended, Rejection, StreamSettings, TriggerEvent,
};
use longshore_node::wall_now;
use longshore_streams::event::Event;
use longshore_streams::{Partition, StreamEntry, StreamLog};
use tokio::time::Instant;

use super::{ask, ok, removed};
use crate::access::unauthenticated;
use crate::api::{
    AppendAnswer, AppendBulkAnswer, DurationText, EventBody, EventBulk, EventList,
    INSTANT_EXPECTED, InstantText, PartitionRecord, RawJson, StreamBody, StreamList, StreamRecord,
    StreamSummary,
};
use crate::base64::decode_padded;
use crate::http::app::Call;
use crate::http::body::Held;
use crate::http::code::Code;
use crate::http::cursor;
use crate::http::json::{members, read, read_or_default, repeated, text_of};
use crate::http::look::{PAGE_DEFAULT, PAGE_MAX};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::tail::{self, Reading};
use crate::http::text::{check_path_name, quoted};
use crate::key_events::{newest_of, read_key};
use crate::lots::{Lot, ToAppend, lots};

/// Events in one request.
const BULK_MAX: usize = 10_000;
/// Of how much is new of a partition, one is told in percent and the other kept in millionths.
const PPM_PER_PERCENT: u32 = 10_000;
/// How long a request for events may wait.
const WAIT_MS_MAX: u64 = 60_000;
/// Partitions of one live stream: its ids name each of them.
const LIVE_PARTITIONS_MAX: usize = 64;

fn log(call: &Call<'_>) -> Result<Arc<StreamLog>, Refusal> {
    Ok(call.app.node.stream_log(call.namespace)?)
}

/// The stream that the path names.
pub(super) fn named(call: &Call<'_>) -> Result<Arc<StreamEntry>, Refusal> {
    check_path_name("stream", call.name)?;
    let found = log(call)?.stream(call.namespace, call.name);
    found.ok_or_else(|| Rejection::StreamUnknown { stream: call.name.to_owned() }.into())
}

fn settings_body(settings: &StreamSettings, partitions: usize) -> StreamBody {
    StreamBody {
        partitions: Some(partitions as u32),
        retention: Some(DurationText(
            settings.retention_ms.filter(|_| settings.delete).unwrap_or(0),
        )),
        retention_bytes: settings.retention_bytes.filter(|_| settings.delete),
        batch_bytes_max: Some(settings.batch_bytes_max),
        file_bytes: Some(settings.file_bytes),
        compact: Some(settings.compact),
        compaction_dirty_percent: Some(settings.compaction_dirty_ppm / PPM_PER_PERCENT),
        compaction_lag_min: Some(DurationText(settings.compaction_lag_ms_min)),
        compaction_lag_max: settings.compaction_lag_ms_max.map(DurationText),
        tombstone_retention: Some(DurationText(settings.tombstone_ms)),
        file_age: Some(DurationText(settings.file_ms)),
        ordering_header: settings.ordering_header.clone(),
        count_keys: Some(settings.count_keys),
    }
}

fn settings_of(body: &StreamBody) -> StreamSettings {
    let default = StreamSettings::default();
    let compact = body.compact.unwrap_or(false);
    let bounded = body.retention_bytes.is_some() || body.retention.is_some_and(|it| it.0 > 0);
    let ms = |text: Option<DurationText>, default| text.map_or(default, |text| text.0);
    StreamSettings {
        compact,
        delete: !compact || bounded,
        compaction_dirty_ppm: body
            .compaction_dirty_percent
            .map_or(default.compaction_dirty_ppm, |it| it.saturating_mul(PPM_PER_PERCENT)),
        compaction_lag_ms_min: ms(body.compaction_lag_min, default.compaction_lag_ms_min),
        compaction_lag_ms_max: body.compaction_lag_max.map(|text| text.0),
        tombstone_ms: ms(body.tombstone_retention, default.tombstone_ms),
        file_ms: ms(body.file_age, default.file_ms),
        retention_ms: match body.retention {
            None if compact => None,
            None => default.retention_ms,
            Some(DurationText(0)) => None,
            Some(DurationText(kept_ms)) => Some(kept_ms),
        },
        retention_bytes: body.retention_bytes,
        batch_bytes_max: body.batch_bytes_max.unwrap_or(default.batch_bytes_max),
        file_bytes: body.file_bytes.unwrap_or(default.file_bytes),
        triggers: Vec::new(),
        ordering_header: body.ordering_header.clone(),
        count_keys: body.count_keys.unwrap_or(false),
    }
}

fn record(entry: &StreamEntry) -> StreamRecord {
    let partition = |(index, partition): (u32, &Arc<Partition>)| {
        let (start, end) = partition.ends();
        PartitionRecord { partition: index, start, end, bytes: partition.len_bytes() }
    };
    StreamRecord {
        name: entry.name.clone(),
        settings: settings_body(&entry.settings, entry.partitions.len()),
        partitions: (0..).zip(&entry.partitions).map(partition).collect(),
    }
}

pub(super) fn list(call: &Call<'_>) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let scope = cursor::scope("streams", call.namespace, &[]);
    let after = call.query.text("cursor").map(|text| cursor::decode(text, scope)).transpose()?;
    let all = log(call)?.streams(call.namespace);
    let mut rest = all.iter().skip_while(|entry| {
        after.as_ref().is_some_and(|after| entry.name.as_bytes() <= &after[..])
    });
    let summary = |entry: &Arc<StreamEntry>| {
        let ends = entry.partitions.iter().map(|partition| partition.ends());
        StreamSummary {
            name: entry.name.clone(),
            partitions: entry.partitions.len() as u32,
            events: ends.map(|(start, end)| end - start).sum(),
            bytes: entry.partitions.iter().map(|partition| partition.len_bytes()).sum(),
        }
    };
    let streams: Vec<_> = rest.by_ref().take(limit).map(summary).collect();
    let last = streams.last().filter(|_| rest.next().is_some());
    let next = last.map(|last| cursor::encode(last.name.as_bytes(), scope));
    Ok(ok(&StreamList { streams, next }).not_cached())
}

pub(super) fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    Ok(ok(&record(&*named(call)?)).not_cached())
}

/// Creates a stream, or changes the one that is there. Both are one commit each.
pub(super) async fn put(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("stream", call.name)?;
    let mut body: StreamBody = read_or_default(&call.body)?;
    // Who has never heard of it does not mean that the newest events of keys go with the rest.
    let known = log(&call)?.stream(call.namespace, call.name);
    body.compact = body.compact.or_else(|| known.as_ref().map(|known| known.settings.compact));
    body.count_keys = body.count_keys.or_else(|| known.map(|known| known.settings.count_keys));
    let settings = settings_of(&body);
    let stream = || call.name.to_owned();
    let create = CreateStream {
        stream: stream(),
        partitions: body.partitions.unwrap_or(1),
        settings: settings.clone(),
    };
    match ask(&call, create).await {
        Ok(_) => {}
        Err(refusal) if refusal.code() == Code::StreamExists => {
            let has = named(&call)?.partitions.len() as u32;
            let partitions = body.partitions.unwrap_or(has);
            if partitions != has {
                ask(&call, AddPartitions { stream: stream(), partitions }).await?;
            }
            ask(&call, ChangeStream { stream: stream(), settings }).await?;
        }
        Err(refusal) => return Err(refusal),
    }
    get(&call)
}

pub(super) async fn delete(call: Call<'_>) -> Result<Reply, Refusal> {
    check_path_name("stream", call.name)?;
    removed(&call, DeleteStream { stream: call.name.to_owned() }).await
}

/// Bytes that stand in a field as they are or in base64.
fn bytes_of(
    field: &str,
    text: Option<Bytes>,
    base64: Option<&String>,
) -> Result<Option<Bytes>, Refusal> {
    let name = format!("{field}_base64");
    match (text, base64) {
        (Some(_), Some(_)) => Err(repeated(&name, &format!("the {field}"))),
        (text, None) => Ok(text),
        (None, Some(base64)) => match decode_padded(base64) {
            Some(bytes) => Ok(Some(bytes.into())),
            None => Err(Refusal::value(&name, quoted(base64), "base64 with its padding")),
        },
    }
}

fn event_of(body: &EventBody<'_>, now_ms: u64) -> Result<Event, Refusal> {
    let key = body.key.as_ref().map(|key| Bytes::copy_from_slice(key.as_bytes()));
    // A text as it is, any other JSON as its text.
    let value = |raw: &RawJson<'_>| match serde_json::from_str::<String>(raw.get()) {
        Ok(text) => Bytes::from(text),
        Err(_) => Bytes::copy_from_slice(raw.get().as_bytes()),
    };
    let header = |(name, value): (&String, &Option<String>)| {
        (name.clone(), value.as_ref().map(|value| Bytes::copy_from_slice(value.as_bytes())))
    };
    Ok(Event {
        offset: 0,
        time: body.at.map_or(now_ms, |at| at.0).cast_signed(),
        key: bytes_of("key", key, body.key_base64.as_ref())?,
        value: bytes_of("value", body.value.as_ref().map(value), body.value_base64.as_ref())?,
        headers: body.headers.iter().map(header).collect(),
    })
}

/// The partition for what has no key: the next one for each request.
pub(crate) fn any_partition(partitions: u32) -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) % partitions.max(1)
}

pub(super) async fn append(call: Call<'_>, held: Option<Held>) -> Result<Reply, Refusal> {
    let stream = named(&call)?;
    let text = text_of(&call.body)?;
    let is_bulk = members(text).is_some_and(|all| all.iter().any(|(name, _)| name == "events"));
    let bodies = if is_bulk {
        read::<EventBulk<'_>>(text)?.events
    } else {
        vec![read::<EventBody<'_>>(text)?]
    };
    if bodies.is_empty() || bodies.len() > BULK_MAX {
        let value = format!("{} events", bodies.len());
        return Err(Refusal::value("events", value, format!("1 to {BULK_MAX} events")));
    }
    let count = stream.partitions.len() as u32;
    let keyed = call.app.keyed.as_ref().map(|keyed| keyed.number() % count.max(1));
    let (now_ms, any) = (wall_now().0, keyed.unwrap_or_else(|| any_partition(count)));
    let to_append = |body: &EventBody<'_>| -> Result<ToAppend, Refusal> {
        let (partition, expected) = (body.partition, body.expected_events);
        Ok(ToAppend { event: event_of(body, now_ms)?, partition, expected })
    };
    let total = bodies.len();
    let events = bodies.iter().map(to_append).collect::<Result<_, _>>()?;
    let lots = lots(events, &stream, any)?;
    let batch = |(index, lot): (&u32, &Lot)| lot.batch((&stream, *index), None);
    let batches: Vec<AppendBatch> = lots.iter().filter_map(batch).collect();
    let results = ask(&call, AppendBatches(batches)).await?;
    drop(held);
    let mut told = vec![AppendAnswer::default(); total];
    for ((partition, lot), result) in lots.iter().zip(results) {
        tell(&mut told, *partition, lot, result, (is_bulk, call.name))?;
    }
    if is_bulk {
        return Ok(ok(&AppendBulkAnswer { appended: told }));
    }
    Ok(ok(&told.pop().unwrap_or_default()))
}

fn tell(
    told: &mut [AppendAnswer],
    partition: u32,
    lot: &Lot,
    result: Result<Appended, AppendRefusal>,
    (is_bulk, stream): (bool, &str),
) -> Result<(), Refusal> {
    let (first, problem) = match result {
        Ok(appended) => (Some(appended.base_offset), None),
        Err(refusal) if is_bulk => (None, Some(lot.refused(refusal, stream).problem())),
        Err(refusal) => return Err(lot.refused(refusal, stream)),
    };
    for (offset, index) in (0..).zip(&lot.of) {
        if let Some(answer) = told.get_mut(*index) {
            let (offset, error) = (first.map(|first| first + offset), problem.clone());
            *answer = AppendAnswer { partition, offset, error };
        }
    }
    Ok(())
}

/// The partition that is asked for; the only one may be left out.
fn asked_partition(
    call: &Call<'_>,
    stream: &StreamEntry,
) -> Result<(u32, Arc<Partition>), Refusal> {
    let last = stream.partitions.len().saturating_sub(1);
    let allowed = || format!("0 to {last}");
    let text = call.query.text("partition");
    if text.is_none() && last > 0 {
        return Err(Refusal::value("partition", "none", allowed()));
    }
    let index = text.map_or(Some(0), |text| text.parse::<u32>().ok());
    let found = index.and_then(|index| {
        stream.partitions.get(index as usize).map(|partition| (index, Arc::clone(partition)))
    });
    found.ok_or_else(|| Refusal::value("partition", quoted(text.unwrap_or_default()), allowed()))
}

/// From which offset a partition is to be read.
async fn begin(call: &Call<'_>, partition: &Arc<Partition>) -> Result<u64, Refusal> {
    begin_at(call.query.text("from"), partition).await
}

/// The offset of a place in a partition: of its name, or of an instant.
pub(super) async fn begin_at(
    from: Option<&str>,
    partition: &Arc<Partition>,
) -> Result<u64, Refusal> {
    let (start, end) = partition.ends();
    match from {
        None | Some("earliest") => Ok(start),
        // Where a transaction is open, what it commits comes after that.
        Some("latest") => Ok(partition.stable_end()),
        Some(text) => {
            let allowed = format!("earliest, latest, or {INSTANT_EXPECTED}");
            let at = text.parse::<InstantText>();
            let at = at.map_err(|_| Refusal::value("from", quoted(text), allowed))?;
            let partition = Arc::clone(partition);
            let look = move || partition.find_time(at.0.cast_signed());
            let found = tokio::task::spawn_blocking(look).await;
            let found = found.map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
            let found = found.map_err(|error| tail::refusal(&error))?;
            Ok(found.map_or(end, |(offset, _)| offset))
        }
    }
}

pub(super) async fn read_events(call: Call<'_>) -> Result<Reply, Refusal> {
    let stream = named(&call)?;
    if let Some(key) = asked_key(&call)? {
        return read_events_of(&call, &stream, &key).await;
    }
    let newest = call.query.flag("newest")?;
    let (index, partition) = asked_partition(&call, &stream)?;
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let wait_ms = call.query.duration_ms("wait", WAIT_MS_MAX)?.unwrap_or(0);
    let offset = match (call.query.text("offset"), call.query.text("from")) {
        (Some(_), Some(_)) => return Err(repeated("from", "where to begin")),
        (Some(text), None) => text
            .parse::<u64>()
            .map_err(|_| Refusal::value("offset", quoted(text), "a whole number"))?,
        (None, _) => begin(&call, &partition).await?,
    };
    let mut reading = Reading { index, partition, offset };
    if wait_ms > 0 {
        let until = Instant::now() + Duration::from_millis(wait_ms);
        tail::wait_for(std::slice::from_ref(&reading), until).await;
    }
    if !call.app.who.holds() {
        return Err(unauthenticated());
    }
    if reading.partition.is_gone() {
        return Err(Rejection::StreamUnknown { stream: call.name.to_owned() }.into());
    }
    let chunk = reading.read().await?;
    let mut events = reading.told(&chunk, limit);
    if newest {
        // A text may read like the base64 of another key.
        events = newest_of(events, |event| {
            let (text, base64) = (event.key.clone(), event.key_base64.clone());
            (text.is_some() || base64.is_some()).then_some((text, base64))
        });
    }
    let (next, start, end) = (reading.offset, chunk.start, chunk.end);
    Ok(ok(&EventList { events, next, start, end, key_events: None }).not_cached())
}

/// The key whose events are asked for.
fn asked_key(call: &Call<'_>) -> Result<Option<Bytes>, Refusal> {
    let key = call.query.text("key").map(|text| Bytes::copy_from_slice(text.as_bytes()));
    let base64 = call.query.text("key_base64").map(str::to_owned);
    let key = bytes_of("key", key, base64.as_ref())?;
    for other in ["partition", "from", "wait", "newest"] {
        if key.is_some() && call.query.text(other).is_some() {
            return Err(repeated(other, "the key"));
        }
    }
    Ok(key)
}

/// A page of the events of a key.
async fn read_events_of(
    call: &Call<'_>,
    stream: &StreamEntry,
    key: &Bytes,
) -> Result<Reply, Refusal> {
    let limit = call.query.count("limit", PAGE_DEFAULT, PAGE_MAX)?;
    let offset = call.query.text("offset").map(|text| {
        let refused = |_| Refusal::value("offset", quoted(text), "a whole number");
        text.parse::<u64>().map_err(refused)
    });
    let offset = offset.transpose()?.unwrap_or(0);
    let page = read_key(call.app, (call.namespace, stream), key, (offset, limit)).await?;
    if !call.app.who.holds() {
        return Err(unauthenticated());
    }
    let partition = stream.partitions.get(page.partition as usize);
    let start = partition.map_or(0, |partition| partition.ends().0);
    let told = |event: TriggerEvent| {
        let TriggerEvent { offset, key, value, headers, time } = event;
        tail::record(page.partition, &Event { offset, time, key, value, headers })
    };
    let (next, end) = (page.next.unwrap_or(page.until), page.until);
    let events = page.events.into_iter().map(told).collect();
    Ok(ok(&EventList { events, next, start, end, key_events: page.count }).not_cached())
}

pub(super) async fn follow(call: Call<'_>) -> Result<Reply, Refusal> {
    let stream = named(&call)?;
    let wanted: Vec<(u32, Arc<Partition>)> = match call.query.text("partition") {
        Some(_) => vec![asked_partition(&call, &stream)?],
        None => (0..).zip(stream.partitions.iter().map(Arc::clone)).collect(),
    };
    if wanted.len() > LIVE_PARTITIONS_MAX {
        let value = format!("all {}", wanted.len());
        let allowed = format!("one, where there are more than {LIVE_PARTITIONS_MAX}");
        return Err(Refusal::value("partition", value, allowed));
    }
    let left_off = call.last_event_id.map(left_off).transpose()?.unwrap_or_default();
    let mut readings = Vec::with_capacity(wanted.len());
    for (index, partition) in wanted {
        let offset = match left_off.get(&index) {
            // What nobody has written yet was not read: another stream had this name.
            Some(offset) => (*offset).min(partition.ends().1),
            None => begin(&call, &partition).await?,
        };
        readings.push(Reading { index, partition, offset });
    }
    let place = call.app.streams.take(call.namespace).map_err(|max| {
        let detail = format!("{max} streams of events are open already, as many as may");
        Refusal::new(Code::TooManyRequests, detail).retry_after_s(5)
    })?;
    Ok(Reply::events(tail::follow(call.app.clone(), readings, place)))
}

/// Where a reader left off: what the id of its last event says, as in `0:17,1:4`.
fn left_off(id: &str) -> Result<BTreeMap<u32, u64>, Refusal> {
    let part = |part: &str| {
        let (partition, offset) = part.split_once(':')?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    };
    let parts: Option<BTreeMap<u32, u64>> = id.split(',').map(part).collect();
    let allowed = "the id of an event of this stream";
    parts.ok_or_else(|| Refusal::value("Last-Event-ID", quoted(id), allowed))
}
