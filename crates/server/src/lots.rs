//! Events on their way into a stream, whatever face they come over: sorted by partition, with what
//! a stream that counts the events of its keys is told of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_engine::{
    AppendBatch, AppendRefusal, AppendedKey, COUNTED_KEY_BYTES_MAX, KEYS_OF_BATCH_MAX, KeyToAppend,
    ProducerStamp, Rejection,
};
use longshore_streams::StreamEntry;
use longshore_streams::event::{Event, batch_of, partition_of};

use crate::http::code::Code;
use crate::http::refusal::Refusal;
use crate::http::text::quoted;

/// An event to append.
#[derive(Debug)]
pub(crate) struct ToAppend {
    pub(crate) event: Event,
    /// The partition, where the key is not to choose it.
    pub(crate) partition: Option<u32>,
    /// How many events its key is to have before it.
    pub(crate) expected: Option<u64>,
}

/// Events for one partition, and which of the request they are.
#[derive(Debug, Default)]
pub(crate) struct Lot {
    events: Vec<Event>,
    pub(crate) of: Vec<usize>,
    expected: Vec<Option<u64>>,
    keys: Vec<KeyToAppend>,
}

/// There is no such partition.
pub(crate) fn no_partition(partition: u32, stream: &StreamEntry) -> Refusal {
    let last = stream.partitions.len().saturating_sub(1);
    Refusal::value("partition", partition, format!("0 to {last}"))
}

/// Sorts events by their partitions. What has neither a partition nor a key goes to `any`.
pub(crate) fn lots(
    events: Vec<ToAppend>,
    stream: &StreamEntry,
    any: u32,
) -> Result<BTreeMap<u32, Lot>, Refusal> {
    let count = stream.partitions.len() as u32;
    let counts = stream.settings.count_keys;
    let mut lots: BTreeMap<u32, Lot> = BTreeMap::new();
    for (index, ToAppend { event, partition, expected }) in events.into_iter().enumerate() {
        if (stream.settings.compact || counts) && event.key.is_none() {
            let why = if counts { "counts the events" } else { "keeps the newest event" };
            return Err(Refusal::value("key", "none", format!("a key: the stream {why} of each")));
        }
        if let Some(expected) = expected.filter(|_| !counts) {
            let allowed =
                "none in a stream that does not count the events of its keys (count_keys)";
            return Err(Refusal::value("expected_events", expected, allowed));
        }
        let partition = match (partition, &event.key) {
            (Some(partition), _) if partition >= count => {
                return Err(no_partition(partition, stream));
            }
            (Some(partition), Some(key)) if counts && partition != partition_of(key, count) => {
                let of_key = partition_of(key, count);
                let allowed = format!("{of_key}, that of the key, where keys are counted");
                return Err(Refusal::value("partition", partition, allowed));
            }
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_of(key, count),
            (None, None) => any,
        };
        let lot = lots.entry(partition).or_default();
        lot.events.push(event);
        lot.of.push(index);
        lot.expected.push(expected);
    }
    if counts {
        for lot in lots.values_mut() {
            lot.keys = keys_of(&lot.events, &lot.expected)?;
        }
        let keys = lots.values().map(|lot| lot.keys.len()).sum::<usize>();
        if keys > KEYS_OF_BATCH_MAX {
            let allowed = format!("at most {KEYS_OF_BATCH_MAX} where keys are counted");
            return Err(Refusal::value("events", format!("{keys} keys"), allowed));
        }
    }
    Ok(lots)
}

/// What a stream that counts them is told of the events of one partition.
fn keys_of(events: &[Event], expected: &[Option<u64>]) -> Result<Vec<KeyToAppend>, Refusal> {
    let mut keys: Vec<KeyToAppend> = Vec::new();
    let mut known: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (index, (event, expected)) in (0_u32..).zip(events.iter().zip(expected)) {
        let key = event.key.clone().unwrap_or_default();
        if key.len() > COUNTED_KEY_BYTES_MAX {
            let value = format!("{} bytes", key.len());
            let allowed = format!("at most {COUNTED_KEY_BYTES_MAX} bytes where keys are counted");
            return Err(Refusal::value("key", value, allowed));
        }
        let of = event.key.as_deref().unwrap_or_default();
        let at = *known.entry(of).or_insert_with(|| {
            let appended = AppendedKey { key, events: 0, first: index, last: index };
            keys.push(KeyToAppend { appended, expected: None });
            keys.len() - 1
        });
        let Some(of_key) = keys.get_mut(at) else { continue };
        let before = u64::from(of_key.appended.events);
        (of_key.appended.events, of_key.appended.last) = (of_key.appended.events + 1, index);
        let Some(expected) = *expected else { continue };
        // Of several events of a key each comes after those before it.
        let first = expected.checked_sub(before);
        let fits = first.is_some() && (of_key.expected.is_none() || of_key.expected == first);
        if !fits {
            let allowed = "one more with each event of the key in the request";
            return Err(Refusal::value("expected_events", expected, allowed));
        }
        of_key.expected = first;
    }
    Ok(keys)
}

impl Lot {
    /// Whether any of its events expects something.
    pub(crate) fn expects(&self) -> bool {
        self.keys.iter().any(|key| key.expected.is_some())
    }

    /// The batch for a partition of the stream.
    pub(crate) fn batch(
        &self,
        (stream, index): (&StreamEntry, u32),
        producer: Option<ProducerStamp>,
    ) -> Option<AppendBatch> {
        let partition = stream.partitions.get(index as usize)?.id();
        let (events, batch) = (self.events.len() as u32, Bytes::from(batch_of(&self.events)));
        let keys = self.keys.clone();
        Some(AppendBatch { partition, events, producer, transactional: false, batch, keys })
    }

    /// Why it is refused.
    pub(crate) fn refused(&self, refusal: AppendRefusal, stream: &str) -> Refusal {
        match refusal {
            AppendRefusal::PartitionUnknown => {
                Rejection::StreamUnknown { stream: stream.to_owned() }.into()
            }
            AppendRefusal::TooLarge => too_large(),
            AppendRefusal::EventsUnexpected { index, expected, actual } => {
                let key = self.keys.get(index).map(|it| it.appended.key.clone());
                let key = quoted(&String::from_utf8_lossy(&key.unwrap_or_default()));
                let detail = format!("key {key} has {actual} events, and not {expected}");
                let refusal = Refusal::new(Code::EventsUnexpected, detail);
                refusal.about("expected_events", expected.to_string(), actual.to_string())
            }
            // Whoever appends with a number counts what it appends, alone, and outside of
            // transactions.
            AppendRefusal::SequenceOutOfOrder { .. }
            | AppendRefusal::EpochPassed { .. }
            | AppendRefusal::NotInTransaction => {
                Refusal::new(Code::ProducerOutOfOrder, refusal.to_string())
            }
            // All of them are told above.
            AppendRefusal::KeysUntold => Refusal::new(Code::Internal, refusal.to_string()),
        }
    }
}

/// More than one partition takes at a time.
pub(crate) fn too_large() -> Refusal {
    let detail = "the events of one partition are more than a batch of the stream may have";
    Refusal::new(Code::EventsTooLarge, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(events: &[(&str, Option<u64>)]) -> Result<Vec<KeyToAppend>, Refusal> {
        let event = |(key, _): &(&str, Option<u64>)| Event {
            key: Some(Bytes::copy_from_slice(key.as_bytes())),
            ..Event::default()
        };
        let expected: Vec<_> = events.iter().map(|(_, expected)| *expected).collect();
        keys_of(&events.iter().map(event).collect::<Vec<_>>(), &expected)
    }

    #[test]
    fn events_of_a_key_are_expected_one_after_the_other() {
        let told = keys(&[("a", None), ("b", Some(7)), ("a", Some(4)), ("b", None)]).unwrap();
        let told: Vec<_> = told
            .iter()
            .map(|it| (it.appended.events, it.appended.first, it.appended.last, it.expected))
            .collect();
        assert_eq!(told, [(2, 0, 2, Some(3)), (2, 1, 3, Some(7))]);
        assert!(keys(&[("a", Some(1)), ("a", Some(1))]).is_err());
        assert!(keys(&[("a", None), ("a", Some(0))]).is_err());
        assert!(keys(&[(&"x".repeat(1025), None)]).is_err());
    }
}
