//! Events of streams as they are read: a page of one partition, or server-sent events of all of
//! them as they come.

use std::fmt::Write;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use longshore_streams::batch::BatchHeader;
use longshore_streams::event::{Event, events_of};
use longshore_streams::{Chunk, Hidden, Partition, Read, ReadError};
use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::app::App;
use super::code::Code;
use super::events::{EventStream, Place, UNREAD_MAX};
use super::refusal::Refusal;
use crate::api::{EventHeaders, EventRecord, InstantText};
use crate::base64::encode_padded;

/// Bytes of events that are read at a time; the first batch may be larger.
const READ_BYTES: usize = 1 << 20;
/// After so much silence a comment shows that the connection lives.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// How long a server that stops may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The codecs of batches, by their numbers.
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// A partition that is read, and from where on.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) index: u32,
    pub(crate) partition: Arc<Partition>,
    pub(crate) offset: u64,
}

impl Reading {
    /// Whether there is something to read, or never will be.
    fn is_ready(&self) -> bool {
        let (start, end) = self.partition.ends();
        let within = (start..=end).contains(&self.offset);
        self.partition.is_gone() || !within || self.partition.stable_end() > self.offset
    }

    /// What stands from the offset on.
    pub(crate) async fn read(&self) -> Result<Chunk, Refusal> {
        let (partition, offset) = (Arc::clone(&self.partition), self.offset);
        // Events of a transaction are shown once it is committed.
        let read = Read { offset, bytes_max: READ_BYTES, within: false, committed: true };
        let read = tokio::task::spawn_blocking(move || partition.read_as(read));
        let read = read.await.map_err(|error| Refusal::new(Code::Internal, error.to_string()))?;
        read.map_err(|error| refusal(&error))
    }

    /// Up to `limit` events of what was read, and moves the offset behind the last one told.
    pub(crate) fn told(&mut self, chunk: &Chunk, limit: usize) -> Vec<EventRecord> {
        let (mut rest, mut records) = (chunk.batches.clone(), Vec::new());
        let mut hidden = Hidden::new(chunk.aborted.clone());
        while records.len() < limit
            && let Ok(header) = BatchHeader::parse(&rest)
            && rest.len() >= header.len_bytes
        {
            let batch = rest.split_to(header.len_bytes);
            let end = header.end_offset();
            if hidden.hides(&header) {
                self.offset = end;
                continue;
            }
            if header.is_compressed() {
                records.push(compressed(self.index, &header, &batch));
                self.offset = end;
                continue;
            }
            let events = events_of(&header, &batch).into_iter();
            let from = self.offset;
            let mut wanted = events.filter(|event| event.offset >= from);
            let room = limit - records.len();
            let before = records.len();
            records.extend(wanted.by_ref().take(room).map(|event| record(self.index, &event)));
            let last = records.get(before..).and_then(|told| told.last());
            self.offset = match (wanted.next(), last) {
                (Some(_), Some(last)) => last.offset + 1,
                _ => end,
            };
        }
        records
    }
}

/// Why events cannot be read.
pub(crate) fn refusal(error: &ReadError) -> Refusal {
    match error {
        ReadError::OutOfRange { asked, start, end } => Refusal::new(
            Code::OffsetOutOfRange,
            error.to_string(),
        )
        .about("offset", asked.to_string(), format!("{start} to {end}")),
        ReadError::Damaged { .. } | ReadError::Io { .. } => {
            tracing::error!(%error, "events cannot be read");
            Refusal::new(Code::EventsUnreadable, error.to_string())
        }
    }
}

fn text_or_base64(bytes: Option<&Bytes>) -> (Option<String>, Option<String>) {
    let Some(bytes) = bytes else { return (None, None) };
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text.to_owned()), None),
        Err(_) => (None, Some(encode_padded(bytes))),
    }
}

pub(crate) fn record(partition: u32, event: &Event) -> EventRecord {
    let (key, key_base64) = text_or_base64(event.key.as_ref());
    let (value, value_base64) = text_or_base64(event.value.as_ref());
    let header = |(name, value): &(String, Option<Bytes>)| {
        let (text, base64) = text_or_base64(value.as_ref());
        (name.clone(), text.or(base64))
    };
    EventRecord {
        partition,
        offset: event.offset,
        at: InstantText(u64::try_from(event.time).unwrap_or_default()),
        key,
        key_base64,
        value,
        value_base64,
        headers: event.headers.iter().map(header).collect::<EventHeaders>(),
        ..EventRecord::default()
    }
}

fn compressed(partition: u32, header: &BatchHeader, batch: &[u8]) -> EventRecord {
    let codec = usize::from(header.attributes.cast_unsigned() & 0b111);
    EventRecord {
        partition,
        offset: header.first_offset(),
        at: InstantText(u64::try_from(header.base_time).unwrap_or_default()),
        value_base64: Some(encode_padded(batch)),
        compressed_events: Some(u64::try_from(header.events).unwrap_or_default()),
        codec: Some((*CODECS.get(codec).unwrap_or(&"unknown")).to_owned()),
        ..EventRecord::default()
    }
}

/// Waits until one of them has something, at most until then. Whether one has.
pub(crate) async fn wait_for(readings: &[Reading], until: tokio::time::Instant) -> bool {
    let is_ready = || readings.iter().any(Reading::is_ready);
    if is_ready() {
        return true;
    }
    let waiting: Vec<_> = readings.iter().map(|reading| reading.partition.wait()).collect();
    let ready = std::future::poll_fn(|context| {
        for place in &waiting {
            place.set(context.waker());
        }
        // After that: what came before was not told.
        if is_ready() { Poll::Ready(()) } else { Poll::Pending }
    });
    tokio::select! {
        biased;
        () = ready => true,
        () = sleep_until(until) => false,
    }
}

/// Tells events as they come, until the stream is removed or the server stops.
pub(crate) fn follow(app: App, readings: Vec<Reading>, place: Place) -> EventStream {
    let (sender, events) = mpsc::channel(UNREAD_MAX);
    tokio::spawn(async move {
        let mut teller = Teller { app, readings, sender, told_at: Instant::now() };
        // Whoever listens has gone, or the server goes: the stream ends either way.
        let _ = teller.run().await;
    });
    EventStream::new(events, place)
}

/// The stream is over.
struct Over;

struct Teller {
    app: App,
    readings: Vec<Reading>,
    sender: mpsc::Sender<Bytes>,
    told_at: Instant,
}

impl Teller {
    async fn run(&mut self) -> Result<(), Over> {
        loop {
            let until = tokio::time::Instant::now() + LOOK_EVERY;
            let is_ready = wait_for(&self.readings, until).await;
            if self.app.node.is_stopping() || !self.app.who.holds() {
                return Ok(());
            }
            if !is_ready && self.sender.is_closed() {
                return Err(Over);
            }
            let mut any = false;
            for index in 0..self.readings.len() {
                any |= self.tell(index).await?;
            }
            if is_ready && !any {
                // One is gone, or events that were told of are kept no longer.
                sleep_until(until).await;
            }
            if self.told_at.elapsed() >= SILENCE_MAX {
                self.send(Bytes::from_static(b": no event came\n\n")).await?;
            }
        }
    }

    /// Tells what one partition has; whether there was anything.
    async fn tell(&mut self, index: usize) -> Result<bool, Over> {
        let Some(reading) = self.readings.get_mut(index) else { return Ok(false) };
        if reading.partition.is_gone() {
            return Err(Over);
        }
        if !reading.is_ready() {
            return Ok(false);
        }
        let (start, _) = reading.partition.ends();
        reading.offset = reading.offset.max(start);
        let chunk = match reading.read().await {
            Ok(chunk) => chunk,
            // It is kept no longer since: the next round begins where events are kept.
            Err(refusal) if refusal.code() == Code::OffsetOutOfRange => return Ok(false),
            Err(_) => return Err(Over),
        };
        let before = reading.offset;
        let records = reading.told(&chunk, usize::MAX);
        // Batches that nobody is to see count: what stands behind them is to be told at once.
        let moved = reading.offset > before;
        for record in &records {
            let bytes = self.encoded(index, record);
            self.send(bytes).await?;
        }
        Ok(moved)
    }

    /// One event; its id says where all partitions go on, so that whoever comes back with it misses
    /// nothing and gets nothing twice.
    fn encoded(&self, index: usize, event: &EventRecord) -> Bytes {
        let next = event.offset + event.compressed_events.unwrap_or(1);
        let mut text = String::from("id: ");
        for (at, reading) in self.readings.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            // Writing to a string cannot fail.
            let offset = if at == index { next } else { reading.offset };
            let _ = write!(text, "{comma}{}:{offset}", reading.index);
        }
        // JSON of serde_json has no line breaks, so one line of data holds it.
        let data = serde_json::to_string(event).unwrap_or_default();
        let _ = write!(text, "\nevent: event\ndata: {data}\n\n");
        text.into()
    }

    /// Whoever cannot be told for want of room may listen again later.
    async fn send(&mut self, bytes: Bytes) -> Result<(), Over> {
        let bytes = self.app.counted_event(bytes).map_err(|_| Over)?;
        self.told_at = Instant::now();
        self.sender.send(bytes).await.map_err(|_| Over)
    }
}
