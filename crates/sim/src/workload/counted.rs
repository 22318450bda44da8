//! Writers who say how many events they expect of a key. What is appended was expected, batch by
//! batch; who was refused was wrong, and nothing of it is there; what was acknowledged is there
//! once. A batch of which nothing was heard is sent again as it was: it is there once all the same.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use longshore_engine::{
    Answer, AppendBatch, AppendRefusal, AppendedKey, Command, KeyToAppend, PartitionId, ReplyTo,
    StreamAnswer, StreamCommand, StreamSettings,
};
use longshore_streams::StreamLog;
use longshore_streams::event::{Event, batch_of};

use super::Check;
use super::events::known_stream;
use super::fired::shown;
use crate::random::Random;

/// Numbers of its requests begin here.
const FIRST_REPLY: u64 = 5 << 37;
const STREAM: &str = "counted";
const PARTITIONS: u32 = 2;
/// Keys of a partition.
const KEYS: usize = 2;
/// How keys of the state begin under which counts stand.
pub(crate) const COUNT_KEY_FIRST: u8 = 251;
const WRITERS: usize = 2;

#[derive(Clone, Copy, Debug)]
enum Asked {
    Create,
    Append(usize),
    Trim,
}

/// The events of a key in a batch.
#[derive(Clone, Copy, Debug)]
struct Part {
    key: usize,
    events: u32,
    /// How many are to be before them; `None` for any number.
    expected: Option<u64>,
}

/// A batch that somebody wants appended.
#[derive(Clone, Debug)]
struct Batch {
    /// The time of its events, by which they are known.
    number: i64,
    partition: usize,
    parts: Vec<Part>,
    /// How many events its keys had, as was known when it was sent last.
    known: [u64; KEYS],
    tries: u32,
}

/// What became of one, as its writer was told.
#[derive(Clone, Copy, Debug)]
enum Told {
    At(u64),
    Refused,
}

/// A partition, as far as it was seen.
#[derive(Debug)]
struct Seen {
    id: PartitionId,
    /// Where it began, and how many events of each key count that stood before.
    start: u64,
    base: [u64; KEYS],
    /// The keys of all events from there on, by their offsets.
    keys: BTreeMap<u64, usize>,
    /// Where batches begin.
    batches: BTreeSet<u64>,
    counts: [u64; KEYS],
}

/// The writers of a run, in a third of all runs.
#[derive(Debug)]
pub(crate) struct Counted {
    chance: Random,
    next_reply: u64,
    asked: BTreeMap<ReplyTo, Asked>,
    partitions: Vec<Seen>,
    writers: [Option<Batch>; WRITERS],
    number: i64,
    /// All that was ever sent, and what was heard of it.
    sent: BTreeMap<i64, Batch>,
    told: BTreeMap<i64, Told>,
    /// What is to go from a partition. Nobody appends before it has.
    trim: Option<(usize, u64)>,
}

impl Counted {
    pub(crate) fn of(seed: u64) -> Option<Self> {
        let chance = Random::new(seed.rotate_left(8) ^ 0x636f_756e_7465_6421);
        (seed % 3 == 2).then(|| Self {
            chance,
            next_reply: 0,
            asked: BTreeMap::new(),
            partitions: Vec::new(),
            writers: [None, None],
            number: 0,
            sent: BTreeMap::new(),
            told: BTreeMap::new(),
            trim: None,
        })
    }

    /// Something to ask of the first namespace, if there is something.
    pub(crate) fn next(&mut self) -> Option<(ReplyTo, Command)> {
        if self.chance.percent(50) {
            return None;
        }
        let (asked, command) = self.work()?;
        self.next_reply += 1;
        let reply_to = ReplyTo(FIRST_REPLY + self.next_reply);
        self.asked.insert(reply_to, asked);
        Some((reply_to, Command::Stream(command)))
    }

    fn work(&mut self) -> Option<(Asked, StreamCommand)> {
        if self.partitions.is_empty() {
            return self.asked.is_empty().then(|| (Asked::Create, create()));
        }
        let idle = self.asked.is_empty() && self.writers.iter().all(Option::is_none);
        if self.trim.is_none() && idle && self.chance.percent(15) {
            let index = self.chance.index(self.partitions.len());
            let seen = self.partitions.get(index)?;
            let (from, last) = (seen.start + 1, seen.keys.keys().next_back().copied()?);
            let at: Vec<u64> = seen.batches.range(from..).copied().chain([last + 1]).collect();
            self.trim = Some((index, *self.chance.pick(&at)));
        }
        if let Some((index, start)) = self.trim {
            let partition = self.partitions.get(index)?.id;
            let trim = StreamCommand::Trim { partition, start: Some(start) };
            return self.asked.is_empty().then_some((Asked::Trim, trim));
        }
        let writer = self.chance.index(WRITERS);
        if self.asked.values().any(|it| matches!(it, Asked::Append(of) if *of == writer)) {
            return None;
        }
        let mut batch = match self.writers[writer].take() {
            Some(batch) => batch,
            None => self.batch(),
        };
        let seen = self.partitions.get(batch.partition)?;
        (batch.known, batch.tries) = (seen.counts, batch.tries + 1);
        let append = append(&batch, seen.id);
        self.sent.insert(batch.number, batch.clone());
        self.writers[writer] = Some(batch);
        Some((Asked::Append(writer), StreamCommand::Append(vec![append])))
    }

    /// A new one. Mostly it expects what is there.
    fn batch(&mut self) -> Batch {
        self.number += 1;
        let partition = self.chance.index(self.partitions.len());
        let counts = self.partitions[partition].counts;
        let first = self.chance.index(KEYS);
        let keys =
            if self.chance.percent(40) { vec![first, (first + 1) % KEYS] } else { vec![first] };
        let part = |key: usize| {
            let events = 1 + self.chance.below(2) as u32;
            let expected = match self.chance.below(10) {
                0 => counts[key] + 1,
                1 => counts[key].saturating_sub(1),
                _ => counts[key],
            };
            Part { key, events, expected: Some(expected) }
        };
        let mut parts: Vec<_> = keys.into_iter().map(part).collect();
        // Of a key beside another one nothing may be expected.
        if let [_, second] = &mut parts[..]
            && self.chance.percent(30)
        {
            second.expected = None;
        }
        Batch { number: self.number, partition, parts, known: counts, tries: 0 }
    }

    /// An answer that is one of its requests'; it is a promise from here on.
    pub(crate) fn told(&mut self, to: ReplyTo, answer: &Answer, log: &StreamLog) -> Option<Check> {
        let asked = self.asked.remove(&to)?;
        Some(self.hear(asked, answer, log))
    }

    fn hear(&mut self, asked: Asked, answer: &Answer, log: &StreamLog) -> Check {
        match (asked, answer) {
            (Asked::Create, Answer::Stream(StreamAnswer::Stream(view))) => {
                self.learn(view.partitions.iter().map(|(id, _)| *id));
                Ok(())
            }
            // It was there: the answer of an earlier life never came.
            (Asked::Create, Answer::Rejected(_)) => {
                let Some(entry) = known_stream(log, STREAM)? else { return Ok(()) };
                self.learn(entry.partitions.iter().map(|partition| partition.id()));
                Ok(())
            }
            (Asked::Trim, Answer::Stream(StreamAnswer::Trimmed(Some(_)))) => self.look(log),
            (Asked::Append(writer), Answer::Stream(StreamAnswer::Appended(results))) => {
                let batch = self.writers[writer].take().ok_or("nothing was to be appended")?;
                self.look(log)?;
                match results[..] {
                    [Ok(appended)] => {
                        self.told.insert(batch.number, Told::At(appended.base_offset));
                        self.look(log)
                    }
                    [Err(AppendRefusal::EventsUnexpected { index, expected, actual })] => {
                        self.refused(&batch, (index, expected, actual), log.waits_for_space())?;
                        self.look(log)
                    }
                    _ => Err(format!("{batch:?} was answered {results:?}")),
                }
            }
            (asked, answer) => Err(format!("{asked:?} was answered {answer:?}")),
        }
    }

    /// A batch was refused, since a key has another number of events.
    fn refused(
        &mut self,
        batch: &Batch,
        (index, expected, actual): (usize, u64, u64),
        hidden: bool,
    ) -> Check {
        let part = batch.parts.get(index).ok_or("the refusal names no key")?;
        let now = self.partitions.get(batch.partition).map_or(0, |seen| seen.counts[part.key]);
        let known = batch.known[part.key];
        let is_right = part.expected == Some(expected) && expected != actual;
        if !is_right || actual < known || (actual > now && !hidden) {
            return Err(format!(
                "{batch:?} was refused for {actual} events of a key that has {known} to {now}"
            ));
        }
        // What was sent twice may have come at first, and have been refused for its own events.
        if batch.tries == 1 {
            self.told.insert(batch.number, Told::Refused);
        }
        Ok(())
    }

    fn learn(&mut self, partitions: impl Iterator<Item = PartitionId>) {
        if !self.partitions.is_empty() {
            return;
        }
        self.partitions.extend(partitions.map(|id| Seen {
            id,
            start: 0,
            base: [0; KEYS],
            keys: BTreeMap::new(),
            batches: BTreeSet::new(),
            counts: [0; KEYS],
        }));
    }

    /// The process has ended: what was not answered is asked again.
    pub(crate) fn lost(&mut self) {
        self.asked.clear();
    }

    /// Whoever sent this gets no answer; whether it is one of these.
    pub(crate) fn dismissed(&mut self, to: ReplyTo) -> bool {
        self.asked.remove(&to).is_some()
    }

    /// Walks over all that is shown.
    pub(crate) fn look(&mut self, log: &StreamLog) -> Check {
        if self.partitions.is_empty() || log.waits_for_space() {
            return Ok(());
        }
        let entry = known_stream(log, STREAM)?.ok_or("the stream of counted keys is not there")?;
        for (index, (seen, partition)) in
            self.partitions.iter_mut().zip(&entry.partitions).enumerate()
        {
            let start = partition.ends().0;
            let events = shown(partition, start)?;
            seen.keys.extend(events.iter().filter_map(|it| Some((it.offset, key_of(it)?))));
            if start != seen.start {
                if self.trim != Some((index, start)) {
                    return Err(format!("partition {index} begins at {start}, nobody asked that"));
                }
                self.trim = None;
                seen.begin_at(start);
            }
            let walk = Walk { index, sent: &self.sent, told: &self.told };
            walk.check(seen, &events)?;
        }
        Ok(())
    }
}

impl Seen {
    /// What stood before is gone. Keys of which nothing is left begin anew.
    fn begin_at(&mut self, start: u64) {
        let rest = self.keys.split_off(&start);
        for (key, base) in self.base.iter_mut().enumerate() {
            let gone = self.keys.values().filter(|it| **it == key).count() as u64;
            let is_left = rest.values().any(|it| *it == key);
            *base = if is_left { *base + gone } else { 0 };
        }
        (self.start, self.keys) = (start, rest);
    }
}

/// What the events of a partition are compared with.
struct Walk<'a> {
    index: usize,
    sent: &'a BTreeMap<i64, Batch>,
    told: &'a BTreeMap<i64, Told>,
}

impl Walk<'_> {
    fn check(&self, seen: &mut Seen, events: &[Event]) -> Check {
        let (mut counts, mut found) = (seen.base, BTreeMap::new());
        seen.batches.clear();
        for events in events.chunk_by(|one, next| one.time == next.time) {
            let [first, ..] = events else { continue };
            let batch = self.sent.get(&first.time).filter(|batch| batch.partition == self.index);
            let batch = batch.ok_or_else(|| format!("nobody appended event {}", first.offset))?;
            if found.insert(batch.number, first.offset).is_some() {
                return Err(format!("{batch:?} is there twice"));
            }
            let keys = batch.parts.iter().flat_map(|it| (0..it.events).map(|_| it.key));
            if !keys.map(Some).eq(events.iter().map(key_of)) {
                return Err(format!("{batch:?} is there in part"));
            }
            for part in &batch.parts {
                let count = counts[part.key];
                if part.expected.is_some_and(|expected| expected != count) {
                    return Err(format!("{batch:?} is there, behind {count} events of its key"));
                }
                counts[part.key] += u64::from(part.events);
            }
            seen.batches.insert(first.offset);
        }
        seen.counts = counts;
        let mut told = self.told.iter().filter(|(number, _)| {
            self.sent.get(*number).is_some_and(|batch| batch.partition == self.index)
        });
        let odd = told.find(|(number, told)| match (told, found.get(*number)) {
            (Told::Refused, at) => at.is_some(),
            (Told::At(offset), at) => *offset >= seen.start && at != Some(offset),
        });
        match odd {
            Some((number, told)) => {
                let at = found.get(number);
                Err(format!("batch {number} was told as {told:?}, and is at {at:?}"))
            }
            None => Ok(()),
        }
    }
}

fn name_of(key: usize) -> Bytes {
    Bytes::from(format!("key {key}"))
}

fn key_of(event: &Event) -> Option<usize> {
    let key = event.key.as_deref()?;
    (0..KEYS).find(|it| name_of(*it) == key)
}

fn create() -> StreamCommand {
    let settings =
        StreamSettings { file_bytes: 500, count_keys: true, ..StreamSettings::default() };
    StreamCommand::Create { stream: STREAM.to_owned(), partitions: PARTITIONS, settings }
}

fn append(batch: &Batch, partition: PartitionId) -> AppendBatch {
    let mut events = Vec::new();
    let mut keys = Vec::new();
    for part in &batch.parts {
        let first = events.len() as u32;
        let (key, last) = (name_of(part.key), first + part.events - 1);
        let event = Event { time: batch.number, key: Some(key.clone()), ..Event::default() };
        events.extend((0..part.events).map(|_| event.clone()));
        let appended = AppendedKey { key, events: part.events, first, last };
        keys.push(KeyToAppend { appended, expected: part.expected });
    }
    AppendBatch {
        partition,
        events: events.len() as u32,
        producer: None,
        transactional: false,
        batch: batch_of(&events).into(),
        keys,
    }
}
