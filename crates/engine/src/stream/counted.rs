//! Streams that count the events of each key, so that whoever appends may say how many it expects.
//! Who appends there says which keys a batch has: the engine opens none. A count is kept for as
//! long as an event of its key is; a round through all of them now and then removes the others.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{AppendBatch, AppendRefusal, PartitionEnds};
use crate::ids::{MonoMs, PartitionId};
use crate::map::Reader;
use crate::record::{Record, Upkeep};
use crate::state::{State, keys};
use crate::wire::{Wire, wire_struct};

/// How often all counts are looked through.
const ROUND_MS: u64 = 3_600_000;
/// Keys of one batch, each of which is looked up: what fits into a turn.
pub const KEYS_OF_BATCH_MAX: usize = 1000;
/// Bytes of a key that is counted.
pub const COUNTED_KEY_BYTES_MAX: usize = 1024;

wire_struct! {
    /// The events of a key in a batch that is appended.
    #[derive(Eq)]
    pub struct AppendedKey {
        /// The key.
        pub key: Bytes,
        /// How many events it has there, at least one.
        pub events: u32,
        /// The first of them, counted from the first event of the batch.
        pub first: u32,
        /// The last of them.
        pub last: u32,
    }
}

/// The events of a key in a batch to append.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyToAppend {
    /// Which.
    pub appended: AppendedKey,
    /// How many events the key is to have before them; `None` for any number.
    pub expected: Option<u64>,
}

wire_struct! {
    /// What is kept of a key.
    #[derive(Copy, Eq)]
    pub struct KeyEvents {
        /// How many events it has had since the first one that was kept with none before it.
        pub events: u64,
        /// The offset of that one.
        pub first: u64,
        /// The offset of the newest.
        pub last: u64,
    }
}

/// Where a round is. Volatile: the next life begins one.
#[derive(Debug, Default)]
pub(crate) struct CountRound {
    /// When the next look is due.
    at: MonoMs,
    /// The last key that was looked at.
    after: Option<Vec<u8>>,
}

/// What is known of a key of a partition that keeps the events from `start` on. `None` where none
/// of them is the key's.
pub(crate) fn key_events(
    reader: &dyn Reader,
    partition: PartitionId,
    (key, start): (&[u8], u64),
) -> Option<KeyEvents> {
    let kept = reader.get(&keys::key_events(partition, key))?;
    KeyEvents::from_bytes(&kept).ok().filter(|kept| kept.last >= start)
}

impl State {
    fn key_events(&self, partition: PartitionId, key: &[u8], start: u64) -> Option<KeyEvents> {
        let kept = self.value::<KeyEvents>(&keys::key_events(partition, key))?;
        (kept.last >= start).then_some(kept)
    }

    /// Refuses a batch whose keys are not told, or have other numbers of events than is expected.
    pub(super) fn check_keys(
        &self,
        append: &AppendBatch,
        ends: PartitionEnds,
    ) -> Result<(), AppendRefusal> {
        let told: u64 = append.keys.iter().map(|it| u64::from(it.appended.events)).sum();
        let fits = append.keys.iter().all(|it| {
            let AppendedKey { key, events, first, last } = &it.appended;
            let within =
                first <= last && *last < append.events && (1..=last - first + 1).contains(events);
            within && key.len() <= COUNTED_KEY_BYTES_MAX
        });
        if append.transactional || told != u64::from(append.events) || !fits {
            return Err(AppendRefusal::KeysUntold);
        }
        if append.keys.len() > KEYS_OF_BATCH_MAX {
            return Err(AppendRefusal::TooLarge);
        }
        for (index, KeyToAppend { appended, expected }) in append.keys.iter().enumerate() {
            let Some(expected) = *expected else { continue };
            let kept = self.key_events(append.partition, &appended.key, ends.start);
            let actual = kept.map_or(0, |kept| kept.events);
            if actual != expected {
                return Err(AppendRefusal::EventsUnexpected { index, expected, actual });
            }
        }
        Ok(())
    }

    pub(super) fn apply_keys_appended(
        &mut self,
        (partition, base_offset, start): (PartitionId, u64, u64),
        appended: &[AppendedKey],
    ) {
        for AppendedKey { key, events, first, last } in appended {
            let (first, last) = (base_offset + u64::from(*first), base_offset + u64::from(*last));
            let kept = self.key_events(partition, key, start);
            let kept = match kept {
                Some(kept) => KeyEvents { events: kept.events + u64::from(*events), last, ..kept },
                None => KeyEvents { events: u64::from(*events), first, last },
            };
            self.put(&keys::key_events(partition, key), &kept);
            self.streams.has_counts = true;
        }
    }

    /// When the next look at counts is due, if there are some.
    pub(crate) fn next_look_at_counts(&self) -> Option<MonoMs> {
        self.streams.has_counts.then_some(self.streams.count_round.at)
    }

    /// Looks at some counts, if that is due. The record that forgets those of them whose events are
    /// all kept no longer.
    pub(crate) fn look_at_counts(&mut self) -> Option<Record> {
        if self.next_look_at_counts().is_none_or(|at| at > self.mono()) {
            return None;
        }
        let from = self.streams.count_round.after.take();
        let from = from.map_or_else(|| vec![keys::KEY_EVENTS], |key| keys::after(&key));
        let (most, mut looked) = (4 * self.limits.slice_items_max, 0);
        let (mut gone, mut last) = (Vec::new(), None);
        self.scan(&from, &[keys::KEY_EVENTS + 1], &mut |at, value| {
            looked += 1;
            last = Some(at.to_vec());
            let partition = keys::u64_at(at, 1).map(PartitionId);
            if let (Some(partition), Some(key)) = (partition, at.get(9..)) {
                let start = self.streams.partition(partition).map(|it| it.ends.start);
                let old = |start| KeyEvents::from_bytes(value).is_ok_and(|it| it.last < start);
                if start.is_none_or(old) {
                    gone.push((partition, Bytes::copy_from_slice(key)));
                }
            }
            if looked < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if looked < most {
            self.streams.count_round.at = self.mono().plus(ROUND_MS);
            // None is left where one look saw all and forgets all.
            self.streams.has_counts = from.len() > 1 || looked > gone.len();
        } else {
            self.streams.count_round.after = last;
        }
        let any = !gone.is_empty();
        any.then(|| Record::Upkeep { fact: Box::new(Upkeep::KeysForgotten { keys: gone }) })
    }

    pub(crate) fn apply_keys_forgotten(&mut self, gone: &[(PartitionId, Bytes)]) {
        for (partition, key) in gone {
            self.remove(&keys::key_events(*partition, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Bench, CLOCK};
    use super::super::{AppendBatch, Appended, StreamAnswer, StreamCommand, StreamSettings};
    use super::*;
    use crate::Rejection;

    fn counted(bench: &mut Bench) -> PartitionId {
        let settings = StreamSettings { count_keys: true, ..StreamSettings::default() };
        let create = StreamCommand::Create { stream: "s".to_owned(), partitions: 1, settings };
        match bench.ask(create).unwrap() {
            StreamAnswer::Stream(view) => view.partitions[0].0,
            other => panic!("{other:?}"),
        }
    }

    /// Appends an event of each of these keys, with what is expected of it.
    fn append(
        bench: &mut Bench,
        partition: PartitionId,
        keys: &[(&str, Option<u64>)],
    ) -> Result<Appended, AppendRefusal> {
        let key = |(index, (key, expected)): (u32, &(&str, Option<u64>))| KeyToAppend {
            appended: AppendedKey {
                key: Bytes::copy_from_slice(key.as_bytes()),
                events: 1,
                first: index,
                last: index,
            },
            expected: *expected,
        };
        let append = AppendBatch {
            partition,
            events: keys.len() as u32,
            producer: None,
            transactional: false,
            batch: Bytes::from_static(b"any bytes"),
            keys: (0..).zip(keys).map(key).collect(),
        };
        match bench.ask(StreamCommand::Append(vec![append])).unwrap() {
            StreamAnswer::Appended(mut results) => results.pop().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// What is known of the key `a`.
    fn known(bench: &mut Bench, partition: PartitionId, start: u64) -> Option<KeyEvents> {
        key_events(bench.turn.complete_map(), partition, (b"a", start))
    }

    fn kept_keys(bench: &mut Bench) -> usize {
        let is_count = |key: &&Vec<u8>| key.first() == Some(&keys::KEY_EVENTS);
        bench.turn.complete_map().entries().keys().filter(is_count).count()
    }

    #[test]
    fn whoever_expects_another_number_of_events_is_told_the_actual_one() {
        let mut bench = Bench::new();
        let partition = counted(&mut bench);
        append(&mut bench, partition, &[("a", Some(0)), ("b", None)]).unwrap();
        append(&mut bench, partition, &[("a", Some(1))]).unwrap();
        bench.restart();
        let late = append(&mut bench, partition, &[("b", Some(1)), ("a", Some(1))]);
        let refused = AppendRefusal::EventsUnexpected { index: 1, expected: 1, actual: 2 };
        assert_eq!(late, Err(refused), "and nothing of it is appended");
        append(&mut bench, partition, &[("b", Some(1)), ("a", Some(2))]).unwrap();
        let kept = known(&mut bench, partition, 0).unwrap();
        assert_eq!(kept, KeyEvents { events: 3, first: 0, last: 4 });
    }

    #[test]
    fn a_key_whose_events_are_kept_no_longer_begins_anew() {
        let mut bench = Bench::new();
        let partition = counted(&mut bench);
        append(&mut bench, partition, &[("a", Some(0))]).unwrap();
        append(&mut bench, partition, &[("b", Some(0))]).unwrap();
        bench.ask(StreamCommand::Trim { partition, start: Some(1) }).unwrap();
        bench.restart();
        append(&mut bench, partition, &[("a", Some(0)), ("b", Some(1))]).unwrap();
        let kept = known(&mut bench, partition, 1).unwrap();
        assert_eq!((kept.events, kept.first), (1, 2));
        bench.ask(StreamCommand::Trim { partition, start: None }).unwrap();
        assert_eq!(kept_keys(&mut bench), 2);
        bench.turn.tick(CLOCK);
        bench.seal();
        assert_eq!(kept_keys(&mut bench), 0, "the round has forgotten both");
        bench.restart();
        append(&mut bench, partition, &[("a", Some(0))]).unwrap();
    }

    #[test]
    fn who_does_not_say_which_keys_there_are_appends_nothing() {
        let mut bench = Bench::new();
        let partition = counted(&mut bench);
        let batch = Bytes::from_static(b"any bytes");
        let untold = AppendBatch {
            partition,
            events: 1,
            producer: None,
            transactional: false,
            batch,
            keys: Vec::new(),
        };
        let StreamAnswer::Appended(results) =
            bench.ask(StreamCommand::Append(vec![untold])).unwrap()
        else {
            panic!("it is answered otherwise")
        };
        assert_eq!(results, [Err(AppendRefusal::KeysUntold)]);
        let settings = StreamSettings::default();
        let change = StreamCommand::Change { stream: "s".to_owned(), settings };
        let refused = bench.ask(change).unwrap_err();
        assert!(matches!(refused, Rejection::ValueRefused { field: "count_keys", .. }));
        let more = StreamCommand::AddPartitions { stream: "s".to_owned(), partitions: 2 };
        let refused = bench.ask(more).unwrap_err();
        assert!(matches!(refused, Rejection::ValueRefused { field: "partitions", .. }));
    }
}
