//! Streams that count the events of each key, so that whoever appends may say how many it expects.
//! Who appends there says which keys a batch has: the engine opens none. A count is kept for as
//! long as an event of its key is; a round through all of them now and then removes the others.

use std::collections::BTreeMap;
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
/// A seek to another partition counts as so many keys that are looked at one after the other: it
/// opens a block of each table that may have the place, and one of an index.
const SEEK_LOOKS: usize = 32;
/// Keys of the batches of one command, each of which is looked up: what fits into a turn.
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

/// Where a round is. Volatile: the next life begins one, through all partitions.
#[derive(Debug, Default)]
pub(crate) struct CountRound {
    /// When the next look is due.
    at: MonoMs,
    /// Where the next look goes on; `None` where it begins a round.
    from: Option<Vec<u8>>,
    /// The partition that it is in, and where that began when it came there.
    within: Option<(PartitionId, Option<u64>)>,
    /// Where partitions began when they were looked through: there is nothing new in those that
    /// still begin there.
    looked: BTreeMap<PartitionId, u64>,
    /// Whether no partition has moved or gone since this round, or the last one, began.
    settled: bool,
}

impl CountRound {
    /// There may be something to look for.
    pub(super) fn unsettle(&mut self) {
        self.settled = false;
    }

    /// Comes to a partition that begins there, or is gone. Whether it is to be looked through.
    fn enter(&mut self, partition: PartitionId, start: Option<u64>) -> bool {
        self.leave();
        let is_new = start.is_none_or(|start| self.looked.get(&partition) != Some(&start));
        self.within = is_new.then_some((partition, start));
        is_new
    }

    /// Is through with the partition that it is in.
    fn leave(&mut self) {
        if let Some((partition, Some(start))) = self.within.take() {
            self.looked.insert(partition, start);
        }
    }
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

    /// When the next look at counts is due, if there may be some to forget.
    pub(crate) fn next_look_at_counts(&self) -> Option<MonoMs> {
        let round = &self.streams.count_round;
        let due = self.streams.has_counts && (!round.settled || round.from.is_some());
        due.then_some(round.at)
    }

    /// Looks at some counts, if that is due. The record that forgets those of them whose events are
    /// all kept no longer.
    pub(crate) fn look_at_counts(&mut self) -> Option<Record> {
        if self.next_look_at_counts().is_none_or(|at| at > self.mono()) {
            return None;
        }
        let mut round = std::mem::take(&mut self.streams.count_round);
        let is_whole = round.from.is_none();
        round.settled |= is_whole;
        let mut from = round.from.take().unwrap_or_else(|| vec![keys::KEY_EVENTS]);
        let most = 4 * self.limits.slice_items_max;
        let (mut gone, mut looked, mut ended) = (Vec::new(), 0, false);
        // The first seek is free, or a round whose looks are few would not come on.
        let mut seeks = 0;
        while (seeks == 0 || looked + SEEK_LOOKS <= most) && !ended {
            looked += if seeks == 0 { 0 } else { SEEK_LOOKS };
            seeks += 1;
            let (mut skipped, mut last) = (None, Vec::new());
            self.scan(&from, &[keys::KEY_EVENTS + 1], &mut |at, value| {
                looked += 1;
                last = at.to_vec();
                let partition = keys::u64_at(at, 1).map(PartitionId);
                if let (Some(partition), Some(key)) = (partition, at.get(9..)) {
                    if round.within.is_none_or(|(within, _)| within != partition) {
                        let start = self.streams.partition(partition).map(|it| it.ends.start);
                        if !round.enter(partition, start) {
                            skipped = Some(partition);
                            return ControlFlow::Break(());
                        }
                    }
                    let start = round.within.and_then(|(_, start)| start);
                    let old = |start| KeyEvents::from_bytes(value).is_ok_and(|it| it.last < start);
                    if start.is_none_or(old) {
                        gone.push((partition, Bytes::copy_from_slice(key)));
                    }
                }
                if looked < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            // Where nothing was there, the seek alone may have been all that a look may cost.
            ended = skipped.is_none() && (looked < most || last.is_empty());
            from = match skipped {
                Some(partition) => keys::after_prefix(&keys::key_events(partition, &[])),
                None => keys::after(&last),
            };
        }
        if ended {
            round.leave();
            round.looked.retain(|id, _| self.streams.partition(*id).is_some());
            round.at = self.mono().plus(ROUND_MS);
            // None is left where one look saw all and forgets all.
            self.streams.has_counts = !is_whole || looked > gone.len();
        } else {
            round.from = Some(from);
        }
        self.streams.count_round = round;
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
    use crate::{Clock, Limits, Rejection};

    fn counted(bench: &mut Bench) -> PartitionId {
        counted_of(bench, 1)[0]
    }

    fn counted_of(bench: &mut Bench, partitions: u32) -> Vec<PartitionId> {
        let settings = StreamSettings { count_keys: true, ..StreamSettings::default() };
        let create = StreamCommand::Create { stream: "s".to_owned(), partitions, settings };
        match bench.ask(create).unwrap() {
            StreamAnswer::Stream(view) => view.partitions.iter().map(|(id, _)| *id).collect(),
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

    /// Counts of keys of a partition.
    fn kept_keys_of(bench: &mut Bench, partition: PartitionId) -> usize {
        let prefix = keys::key_events(partition, &[]);
        let of = |key: &&Vec<u8>| key.starts_with(&prefix);
        bench.turn.complete_map().entries().keys().filter(of).count()
    }

    /// Lets looks go by, an hour after the last ones.
    fn look(bench: &mut Bench, clock: &mut Clock) {
        clock.mono = clock.mono.plus(ROUND_MS);
        for _ in 0..10 {
            bench.turn.tick(*clock);
            bench.seal();
        }
    }

    #[test]
    fn only_partitions_that_have_moved_are_looked_through() {
        let mut bench = Bench::new();
        let partitions = counted_of(&mut bench, 3);
        let many: Vec<String> = (0..40).map(|n| format!("k{n:02}")).collect();
        for partition in &partitions {
            for key in &many {
                append(&mut bench, *partition, &[(key, Some(0))]).unwrap();
            }
        }
        let mut clock = CLOCK;
        look(&mut bench, &mut clock);
        assert_eq!(bench.turn.next_wake_ms(clock), None, "nothing has moved");
        // Of the first half of the keys no event is kept.
        let trim = StreamCommand::Trim { partition: partitions[1], start: Some(20) };
        bench.ask(trim).unwrap();
        assert!(bench.turn.next_wake_ms(clock).is_some());
        bench.turn.tick(Clock { mono: clock.mono.plus(ROUND_MS), ..clock });
        bench.seal();
        // Passing over the others costs seeks, of which one fits into so small a look.
        assert_eq!(kept_keys_of(&mut bench, partitions[1]), 40);
        bench.turn.tick(Clock { mono: clock.mono.plus(ROUND_MS), ..clock });
        bench.seal();
        assert_eq!(kept_keys_of(&mut bench, partitions[1]), 40 - 16);
        look(&mut bench, &mut clock);
        look(&mut bench, &mut clock);
        let kept: Vec<_> = partitions.iter().map(|it| kept_keys_of(&mut bench, *it)).collect();
        assert_eq!(kept, [40, 20, 40]);
        assert_eq!(bench.turn.next_wake_ms(clock), None);
        // The next life looks through all once, and a stream that is gone leaves nothing.
        bench.restart();
        assert!(bench.turn.next_wake_ms(CLOCK).is_some());
        bench.ask(StreamCommand::Delete { stream: "s".to_owned() }).unwrap();
        let mut clock = CLOCK;
        for _ in 0..10 {
            look(&mut bench, &mut clock);
        }
        assert_eq!(kept_keys(&mut bench), 0);
        assert_eq!(bench.turn.next_wake_ms(clock), None);
    }

    /// The seek that found nothing more took the last of what a look may cost, and the round went
    /// on at the first key of all.
    #[test]
    fn a_round_ends_where_its_last_seek_costs_all_that_a_look_may() {
        let limits = Limits { slice_items_max: (1 + 3 * (SEEK_LOOKS + 1)) / 4, ..Limits::tiny() };
        let mut bench = Bench::with(limits);
        let partitions = counted_of(&mut bench, 4);
        for partition in &partitions {
            append(&mut bench, *partition, &[("a", Some(0))]).unwrap();
        }
        append(&mut bench, partitions[0], &[("a", Some(1))]).unwrap();
        let mut clock = CLOCK;
        look(&mut bench, &mut clock);
        bench.ask(StreamCommand::Trim { partition: partitions[0], start: Some(1) }).unwrap();
        bench.turn.tick(Clock { mono: clock.mono.plus(ROUND_MS), ..clock });
        bench.seal();
        assert_eq!(bench.turn.next_wake_ms(clock), None);
        assert_eq!(kept_keys(&mut bench), 4);
    }

    #[test]
    fn the_keys_of_all_batches_of_a_command_are_bounded_together() {
        let mut bench = Bench::new();
        let partitions = counted_of(&mut bench, 2);
        let key = |index: u32| KeyToAppend {
            appended: AppendedKey {
                key: Bytes::from(format!("k{index}")),
                events: 1,
                first: index,
                last: index,
            },
            expected: None,
        };
        let append = |(partition, events): (&PartitionId, u32)| AppendBatch {
            partition: *partition,
            events,
            producer: None,
            transactional: false,
            batch: Bytes::from_static(b"any bytes"),
            keys: (0..events).map(key).collect(),
        };
        let (half, rest) = (KEYS_OF_BATCH_MAX as u32 / 2, KEYS_OF_BATCH_MAX as u32 / 2 + 1);
        let batches = partitions.iter().zip([half, rest]).map(append).collect();
        let answer = bench.ask(StreamCommand::Append(batches)).unwrap();
        let StreamAnswer::Appended(results) = answer else { panic!("{answer:?}") };
        assert!(results[0].is_ok(), "{results:?}");
        assert_eq!(results[1], Err(AppendRefusal::TooLarge));
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
        // It was said to take more than it has, and then as many as it has.
        for partitions in [1, 2] {
            let more = StreamCommand::AddPartitions { stream: "s".to_owned(), partitions };
            let Err(Rejection::ValueRefused { field, allowed, .. }) = bench.ask(more) else {
                panic!("{partitions} are not refused")
            };
            assert!(field == "partitions" && allowed.starts_with("none: "), "{allowed}");
        }
    }
}
