//! The events of one key, read out of its partition, and the newest events of keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::{Reader, TriggerEvent, query};
use longshore_streams::event::partition_of;
use longshore_streams::{ReadError, StreamEntry};

use crate::http::app::App;
use crate::http::code::Code;
use crate::http::refusal::Refusal;
use crate::http::tail::refusal;
use crate::unread::{Stumble, Unread, read};

/// Bytes of events that are looked through for one answer, opened; a batch that was begun is looked
/// through to its end, or each answer would have to open it again.
const LOOKED_BYTES_MAX: usize = 16 << 20;
/// Bytes of events in one answer; the last may reach beyond.
const TOLD_BYTES_MAX: usize = 1 << 20;

/// What an event takes beside its bytes, about.
const EVENT_BYTES: usize = 32;

/// Some of the events of a key.
#[derive(Debug)]
pub(crate) struct KeyPage {
    pub(crate) partition: u32,
    pub(crate) events: Vec<TriggerEvent>,
    /// Where to go on; `None` where these were the last ones.
    pub(crate) next: Option<u64>,
    /// Up to where it was looked for them: what comes meanwhile is behind that.
    pub(crate) until: u64,
    /// How many the key has had, where that is counted.
    pub(crate) count: Option<u64>,
}

/// What cannot be read, to whoever asks.
pub(crate) fn unreadable(stumble: &Stumble) -> Refusal {
    match stumble {
        Stumble::Read(error) => refusal(error),
        Stumble::Panicked(_) => Refusal::new(Code::Internal, stumble.to_string()),
    }
}

fn is_trimmed(stumble: &Stumble) -> bool {
    matches!(stumble, Stumble::Read(ReadError::OutOfRange { .. }))
}

/// Reads events of a key, from an offset on: those that are kept.
pub(crate) async fn read_key(
    app: &App,
    (namespace, stream): (&str, &StreamEntry),
    key: &Bytes,
    (offset, limit): (u64, usize),
) -> Result<KeyPage, Refusal> {
    let index = partition_of(key, stream.partitions.len() as u32);
    let Some(partition) = stream.partitions.get(index as usize) else {
        return Err(Refusal::new(Code::Internal, "the stream has no partitions"));
    };
    let start = partition.ends().0;
    let (mut next, mut until) = (offset.max(start), partition.stable_end());
    let mut page = KeyPage { partition: index, events: Vec::new(), next: None, until, count: None };
    if stream.settings.count_keys {
        let (id, wanted) = (partition.id(), key.clone());
        let look = move |reader: &dyn Reader, _| query::key_events(reader, id, (&wanted, start));
        let known = app.node.read(namespace, look).await?;
        page.count = Some(known.map_or(0, |known| known.events));
        let Some(known) = known else { return Ok(page) };
        (next, until) = (next.max(known.first), known.last + 1);
        // The key had no others by then.
        page.until = page.until.max(until);
    }
    let (mut told, mut looked, mut enough) = (0, 0, Enough::default());
    while next < until {
        if looked >= LOOKED_BYTES_MAX || told >= TOLD_BYTES_MAX || page.events.len() >= limit {
            page.next = Some(next);
            break;
        }
        let chunk = match read(Arc::clone(partition), next).await {
            Ok(chunk) => chunk,
            // It was trimmed meanwhile.
            Err(stumble) if is_trimmed(&stumble) && next < partition.ends().0 => {
                next = partition.ends().0;
                continue;
            }
            Err(stumble) => return Err(unreadable(&stumble)),
        };
        let (before, mut opened) = (next, 0);
        let mut unread = Unread::new(&chunk, next);
        loop {
            let (rest, events) = unread.slice().await.map_err(|it| unreadable(&it))?;
            unread = rest;
            if unread.next() <= next {
                break;
            }
            next = unread.next();
            opened += events.iter().map(len_bytes).sum::<usize>();
            let of_key = |event: &TriggerEvent| event.key.as_ref() == Some(key);
            let wanted = |event: &TriggerEvent| event.offset < until && of_key(event);
            for event in events.into_iter().filter(wanted) {
                if page.events.len() >= limit {
                    page.next = page.events.last().map(|last| last.offset + 1);
                    return Ok(page);
                }
                told += len_bytes(&event);
                page.events.push(event);
            }
            // A small batch may be a large one once it is opened.
            if told >= TOLD_BYTES_MAX || enough.is_at(looked + opened, &unread) {
                break;
            }
        }
        looked += opened.max(chunk.batches.len());
        if next == before {
            // What is committed is in the files a moment later.
            page.next = (next < until).then_some(next);
            break;
        }
    }
    Ok(page)
}

/// When enough was looked through for one answer.
#[derive(Debug, Default)]
struct Enough {
    /// Behind the batch that was open when there was enough.
    from: Option<u64>,
}

impl Enough {
    fn is_at(&mut self, looked: usize, unread: &Unread) -> bool {
        let open_until = || unread.open_until().unwrap_or_else(|| unread.next());
        looked >= LOOKED_BYTES_MAX && *self.from.get_or_insert_with(open_until) <= unread.next()
    }
}

/// Bytes of an event that is opened, about.
pub(crate) fn len_bytes(event: &TriggerEvent) -> usize {
    let of = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers = event.headers.iter().map(|(name, value)| name.len() + of(value) + 32);
    of(&event.key) + of(&event.value) + headers.sum::<usize>() + EVENT_BYTES
}

/// Of the events of each key the newest, in order. Events without a key all stay.
pub(crate) fn newest_of<E, K: Ord>(events: Vec<E>, key: impl Fn(&E) -> Option<K>) -> Vec<E> {
    let mut newest: BTreeMap<K, usize> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        if let Some(key) = key(event) {
            newest.insert(key, index);
        }
    }
    let is_newest =
        |(index, event): &(usize, E)| key(event).is_none_or(|key| newest.get(&key) == Some(index));
    events.into_iter().enumerate().filter(is_newest).map(|(_, event)| event).collect()
}

#[cfg(test)]
mod tests {
    use longshore_streams::Chunk;
    use longshore_streams::event::{Event, batch_of};

    use super::*;

    #[tokio::test]
    async fn a_batch_that_is_open_is_looked_through_to_its_end() {
        let event = |offset| Event {
            offset,
            time: 0,
            key: None,
            value: Some(vec![b'x'; 100].into()),
            headers: Vec::new(),
        };
        let batch = |from: u64| {
            let mut batch = batch_of(&(from..from + 300).map(event).collect::<Vec<_>>());
            // Whoever stores it says where it stands.
            batch[..8].copy_from_slice(&from.to_be_bytes());
            batch
        };
        let batches = [batch(0), batch(300)].concat().into();
        let chunk = Chunk { batches, start: 0, end: 600, stable: 600, aborted: Vec::new() };
        let (unread, some) = Unread::new(&chunk, 0).slice().await.unwrap();
        assert_eq!(some.len(), 256);
        let mut enough = Enough::default();
        assert!(!enough.is_at(LOOKED_BYTES_MAX, &unread));
        // It may end within the next one, which is not looked through as well.
        let (unread, _) = unread.slice().await.unwrap();
        assert_eq!(unread.next(), 512);
        assert!(enough.is_at(LOOKED_BYTES_MAX, &unread));
        assert!(!Enough::default().is_at(LOOKED_BYTES_MAX - 1, &unread));
    }

    #[test]
    fn of_each_key_the_newest_stays_and_what_has_none_too() {
        let events = vec![("a", 0), ("", 1), ("b", 2), ("a", 3), ("", 4)];
        let key = |(key, _): &(&'static str, u32)| {
            (!key.is_empty()).then(|| Bytes::from_static(key.as_bytes()))
        };
        assert_eq!(newest_of(events, key), [("", 1), ("b", 2), ("a", 3), ("", 4)]);
    }
}
