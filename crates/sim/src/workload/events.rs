//! Producers of events: what they append, what they are told, and that all of it is read back. Each
//! appends one batch after the other to its partition, and the same one again until it is told.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::{
    Answer, AppendBatch, Command, PartitionId, ProducerStamp, ReplyTo, StreamAnswer, StreamCommand,
    StreamSettings,
};
use longshore_streams::batch::{BatchHeader, sample};
use longshore_streams::{Partition, ReadError, StreamEntry, StreamLog};

use super::Check;
use super::counted::Counted;
use super::newest::Newest;
use super::transactions::Transactions;
use crate::canary::Canary;
use crate::random::Random;

/// Numbers of its requests begin here; those of other clients are far below.
const FIRST_REPLY: u64 = 1 << 39;
const STREAM: &str = "events";
const PARTITIONS: u32 = 3;
const PRODUCER: u64 = 7;

/// The streams of a run, as whoever uses them knows them.
#[derive(Debug)]
pub(crate) struct Events {
    next_reply: u64,
    asked: BTreeMap<ReplyTo, Asked>,
    partitions: Vec<Producer>,
    /// Whoever appends in transactions.
    transactions: Transactions,
    /// Whoever writes the stream that keeps the newest event of each key.
    newest: Newest,
    /// Whoever says how many events of a key are expected, in a third of all runs.
    counted: Option<Counted>,
    /// The chance of that one, in a third of all runs; apart, so that the draws of others stay as
    /// they were.
    chance: Option<Random>,
}

#[derive(Debug)]
enum Asked {
    Create,
    Append(usize),
    Trim,
}

/// Who appends to a partition, and what was told of it.
#[derive(Debug)]
struct Producer {
    id: PartitionId,
    /// The sequence number of the next event, which is the time of it, too.
    sequence: u32,
    events: u32,
    /// Offset and sequence number of what was acknowledged.
    acked: Vec<(u64, u32)>,
    /// The highest offset that events were asked to be forgotten before.
    trimmed: u64,
    waits: bool,
    /// What consumers have read: offsets and sequence numbers, up to the one that comes next.
    read: BTreeMap<u64, u32>,
    read_to: u64,
}

impl Events {
    pub(crate) fn new(seed: u64, canary: Option<Canary>) -> Self {
        let forgets_early = canary == Some(Canary::AbortedForgottenEarly);
        Self {
            next_reply: 0,
            asked: BTreeMap::new(),
            partitions: Vec::new(),
            transactions: Transactions::default(),
            newest: Newest::new(forgets_early),
            counted: Counted::of(seed),
            chance: (seed % 3 == 1).then(|| Random::new(seed.rotate_left(16) ^ 0x6e65_7765_7374)),
        }
    }

    /// Something to ask about the stream that keeps the newest event of each key.
    pub(crate) fn next_of_newest(&mut self) -> Option<(ReplyTo, Command)> {
        let chance = self.chance.as_mut()?;
        if chance.percent(80) { None } else { self.newest.next(chance) }
    }

    /// Something to ask about the stream that counts the events of each key.
    pub(crate) fn next_of_counted(&mut self) -> Option<(ReplyTo, Command)> {
        self.counted.as_mut()?.next()
    }

    /// Something to ask of the first namespace, if there is something.
    pub(crate) fn next(&mut self, random: &mut Random) -> Option<(ReplyTo, Command)> {
        if random.percent(25) {
            return self.transactions.next(random);
        }
        if random.percent(67) {
            return None;
        }
        self.next_reply += 1;
        let reply_to = ReplyTo(FIRST_REPLY + self.next_reply);
        let (asked, command) = if self.partitions.is_empty() {
            (Asked::Create, create())
        } else {
            let index = random.index(self.partitions.len());
            let producer = self.partitions.get_mut(index)?;
            if random.percent(8) {
                let start = producer.acked.last().map_or(0, |(offset, _)| random.below(offset + 1));
                producer.trimmed = producer.trimmed.max(start);
                let (partition, start) = (producer.id, Some(start));
                (Asked::Trim, StreamCommand::Trim { partition, start })
            } else if producer.waits {
                return None;
            } else {
                producer.waits = true;
                (Asked::Append(index), StreamCommand::Append(vec![producer.batch(random)]))
            }
        };
        self.asked.insert(reply_to, asked);
        Some((reply_to, Command::Stream(command)))
    }

    /// An answer that is one of its requests'; it is a promise from here on.
    pub(crate) fn told(&mut self, to: ReplyTo, answer: &Answer, log: &StreamLog) -> Option<Check> {
        if let Some(checked) = self.transactions.told(to, answer, log) {
            return Some(checked);
        }
        if let Some(checked) = self.newest.told(to, answer, log) {
            return Some(checked);
        }
        let counted = self.counted.as_mut().and_then(|it| it.told(to, answer, log));
        if counted.is_some() {
            return counted;
        }
        let asked = self.asked.remove(&to)?;
        Some(self.hear(&asked, answer, log))
    }

    fn hear(&mut self, asked: &Asked, answer: &Answer, log: &StreamLog) -> Check {
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
            (Asked::Append(index), Answer::Stream(StreamAnswer::Appended(results))) => {
                let producer = self.partitions.get_mut(*index).ok_or("no such producer")?;
                producer.waits = false;
                let [Ok(appended)] = results[..] else {
                    return Err(format!("a batch was refused: {results:?}"));
                };
                producer.acked.push((appended.base_offset, producer.sequence));
                producer.sequence += producer.events;
                producer.events = 0;
                producer.read_back(log, appended.base_offset)
            }
            (Asked::Trim, Answer::Stream(StreamAnswer::Trimmed(Some(_)))) => Ok(()),
            (asked, answer) => Err(format!("{asked:?} was answered {answer:?}")),
        }
    }

    fn learn(&mut self, partitions: impl Iterator<Item = PartitionId>) {
        if !self.partitions.is_empty() {
            return;
        }
        self.partitions.extend(partitions.map(|id| Producer {
            id,
            sequence: 0,
            events: 0,
            acked: Vec::new(),
            trimmed: 0,
            waits: false,
            read: BTreeMap::new(),
            read_to: 0,
        }));
    }

    /// The process has ended: what was not answered is asked again.
    pub(crate) fn lost(&mut self) {
        self.asked.clear();
        self.transactions.lost();
        self.newest.lost();
        if let Some(counted) = &mut self.counted {
            counted.lost();
        }
        for producer in &mut self.partitions {
            producer.waits = false;
        }
    }

    /// Whoever sent this gets no answer; whether it is one of these.
    pub(crate) fn dismissed(&mut self, to: ReplyTo) -> bool {
        let of_counted = |it: &mut Counted| it.dismissed(to);
        if self.transactions.dismissed(to)
            || self.newest.dismissed(to)
            || self.counted.as_mut().is_some_and(of_counted)
        {
            return true;
        }
        let asked = self.asked.remove(&to);
        if let Some(Asked::Append(index)) = asked
            && let Some(producer) = self.partitions.get_mut(index)
        {
            producer.waits = false;
        }
        asked.is_some()
    }

    /// Consumers read on.
    pub(crate) fn look(&mut self, log: &StreamLog) -> Check {
        self.partitions.iter_mut().try_for_each(|producer| producer.read_on(log))?;
        self.newest.look(log)?;
        self.look_at_counted(log)?;
        self.transactions.look(log)
    }

    fn look_at_counted(&mut self, log: &StreamLog) -> Check {
        self.counted.as_mut().map_or(Ok(()), |counted| counted.look(log))
    }

    /// Everything that was acknowledged or read is read back, in order and once.
    pub(crate) fn check(&mut self, log: &StreamLog) -> Check {
        self.partitions.iter().try_for_each(|producer| producer.check(log))?;
        self.newest.look(log)?;
        self.look_at_counted(log)?;
        self.transactions.look(log)
    }
}

/// The stream of that name, which was created: a full disk may keep it from being shown for a
/// while, since it is in the journal only.
pub(crate) fn known_stream(
    log: &StreamLog,
    name: &str,
) -> Result<Option<Arc<StreamEntry>>, String> {
    match log.stream("default", name) {
        None if log.waits_for_space() => Ok(None),
        None => Err(format!("the stream {name} is not there")),
        entry => Ok(entry),
    }
}

fn create() -> StreamCommand {
    let settings = StreamSettings { file_bytes: 500, ..StreamSettings::default() };
    StreamCommand::Create { stream: STREAM.to_owned(), partitions: PARTITIONS, settings }
}

impl Producer {
    /// The next batch, or the last one again where nothing was heard of it.
    fn batch(&mut self, random: &mut Random) -> AppendBatch {
        if self.events == 0 {
            self.events = 1 + random.below(3) as u32;
        }
        let (events, filler) = (self.events, 10 * (self.sequence as usize % 7));
        let batch = sample::batch(events.cast_signed(), self.sequence.into(), filler);
        let producer = Some(ProducerStamp { id: PRODUCER, epoch: 0, sequence: self.sequence });
        AppendBatch {
            partition: self.id,
            events,
            producer,
            transactional: false,
            batch: Bytes::from(batch),
            keys: Vec::new(),
        }
    }

    fn partition(&self, log: &StreamLog) -> Result<Arc<Partition>, String> {
        let entry = log.stream("default", STREAM).ok_or("the stream is not there")?;
        let found = entry.partitions.iter().find(|partition| partition.id() == self.id);
        found.cloned().ok_or_else(|| format!("partition {} is not there", self.id))
    }

    /// What was just acknowledged can be read at once.
    fn read_back(&self, log: &StreamLog, offset: u64) -> Check {
        let partition = self.partition(log)?;
        match partition.read(offset, 1) {
            Ok(chunk) if !chunk.batches.is_empty() => Ok(()),
            // It was there before, and has gone meanwhile.
            Err(ReadError::OutOfRange { start, .. }) if offset < start => Ok(()),
            // A full disk: it is in the journal, and shown once there is space.
            Ok(_) | Err(ReadError::OutOfRange { .. }) if log.waits_for_space() => Ok(()),
            other => Err(format!("offset {offset} was acknowledged and is not read: {other:?}")),
        }
    }

    /// Reads what is shown, which from then on is a promise as well.
    fn read_on(&mut self, log: &StreamLog) -> Check {
        let partition = self.partition(log)?;
        let (start, end) = partition.ends();
        self.read_to = self.read_to.max(start);
        while self.read_to < end {
            let chunk = partition.read(self.read_to, 1).map_err(|error| error.to_string())?;
            let header = BatchHeader::parse(&chunk.batches).map_err(|error| error.to_string())?;
            let sequence = u32::try_from(header.base_time).map_err(|error| error.to_string())?;
            self.read.insert(header.first_offset(), sequence);
            self.read_to = header.end_offset();
        }
        Ok(())
    }

    fn check(&self, log: &StreamLog) -> Check {
        let partition = self.partition(log)?;
        let (start, end) = partition.ends();
        if start > self.trimmed {
            return Err(format!("partition {} begins at {start}, nobody asked that", self.id));
        }
        let mut found = BTreeMap::new();
        let (mut offset, mut last) = (start, None);
        while offset < end {
            let chunk = partition.read(offset, 1).map_err(|error| error.to_string())?;
            let header = BatchHeader::parse(&chunk.batches).map_err(|error| error.to_string())?;
            if last.is_some_and(|last| header.base_time <= last) {
                return Err(format!("the batch at offset {offset} is twice or out of order"));
            }
            last = Some(header.base_time);
            found.insert(header.first_offset(), header.base_time);
            offset = header.end_offset();
        }
        let acked = self.acked.iter().map(|(offset, sequence)| (offset, sequence, "acknowledged"));
        let read = self.read.iter().map(|(offset, sequence)| (offset, sequence, "read"));
        for (offset, sequence, how) in acked.chain(read).filter(|(offset, ..)| **offset >= start) {
            if found.get(offset) != Some(&i64::from(*sequence)) {
                let id = self.id;
                return Err(format!("offset {offset} of partition {id} was {how}, and is lost"));
            }
        }
        Ok(())
    }
}
