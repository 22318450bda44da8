//! A producer whose transactions write keys of a stream that keeps the newest event of each, and
//! now and then say that a key is gone. What was committed last is read back for every key, nothing
//! that was taken back is, and no event is at another offset than it was.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_engine::{
    Answer, AppendBatch, Command, PartitionId, ProducerStamp, ReplyTo, StreamAnswer, StreamCommand,
    StreamSettings, TransactionAnswer, TransactionAsk, TransactionCommand, TransactionRefusal,
    TransactionStamp,
};
use longshore_streams::batch::{BatchHeader, sample};
use longshore_streams::event::{Event, events_of};
use longshore_streams::{Hidden, Read, StreamLog};

use super::Check;
use super::events::known_stream;
use crate::random::Random;

/// Numbers of its requests begin here.
const FIRST_REPLY: u64 = 7 << 37;
const STREAM: &str = "newest";
const ID: &str = "newest";
const KEYS: u64 = 6;
const TOMBSTONE_MS: u64 = 20_000;

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Step {
    #[default]
    Create,
    Take,
    Begin,
    Append,
    End {
        commit: bool,
    },
    Forget,
}

/// A transaction.
#[derive(Clone, Debug, Default)]
struct Made {
    /// Its keys, each with whether it has a value.
    keys: BTreeMap<u64, bool>,
    /// It was asked to be committed.
    asked: bool,
    /// And that is known to have been done.
    done: bool,
}

/// The stream of a run that keeps the newest event of each key.
#[derive(Debug, Default)]
pub(crate) struct Newest {
    /// The canary: transactions are forgotten before compaction has taken out their events.
    forgets_early: bool,
    next_reply: u64,
    waits: Option<(ReplyTo, Step)>,
    step: Step,
    partition: Option<PartitionId>,
    stamp: Option<TransactionStamp>,
    sequence: u32,
    /// The number of the present transaction, which is the time of its events.
    number: u64,
    made: BTreeMap<u64, Made>,
    /// Where events were seen: offsets with numbers of transactions.
    seen: BTreeMap<u64, u64>,
    /// Markers of aborted transactions that can be forgotten.
    spent: Vec<u64>,
}

impl Newest {
    pub(crate) fn new(forgets_early: bool) -> Self {
        Self { forgets_early, ..Self::default() }
    }

    /// Something to ask of the first namespace, if there is something.
    pub(crate) fn next(&mut self, random: &mut Random) -> Option<(ReplyTo, Command)> {
        if self.waits.is_some() {
            return None;
        }
        let forgets = !self.spent.is_empty() && random.percent(20);
        let (step, command) = match (forgets, self.partition) {
            (true, Some(partition)) => {
                let markers = std::mem::take(&mut self.spent);
                (Step::Forget, StreamCommand::ForgetAborted { partition, markers })
            }
            _ => self.command(random),
        };
        self.next_reply += 1;
        let reply_to = ReplyTo(FIRST_REPLY + self.next_reply);
        self.waits = Some((reply_to, step));
        Some((reply_to, Command::Stream(command)))
    }

    fn command(&mut self, random: &mut Random) -> (Step, StreamCommand) {
        let transact = |ask| StreamCommand::Transact(TransactionCommand { id: ID.to_owned(), ask });
        let (Some(partition), Step::Begin | Step::Append | Step::End { .. }, Some(stamp)) =
            (self.partition, self.step, self.stamp)
        else {
            if self.partition.is_none() {
                return (Step::Create, create());
            }
            let ask = TransactionAsk::Take { timeout_ms: 900_000, current: None };
            return (Step::Take, transact(ask));
        };
        match self.step {
            Step::Append => {
                let batch = self.batch(partition, stamp, random);
                (Step::Append, StreamCommand::Append(vec![batch]))
            }
            Step::End { .. } => {
                let commit = random.percent(65);
                if let Some(made) = self.made.get_mut(&self.number).filter(|_| commit) {
                    made.asked = true;
                }
                (Step::End { commit }, transact(TransactionAsk::End { stamp, commit }))
            }
            _ => {
                self.number += 1;
                let partitions = vec![partition];
                (Step::Begin, transact(TransactionAsk::AddPartitions { stamp, partitions }))
            }
        }
    }

    fn batch(
        &mut self,
        partition: PartitionId,
        stamp: TransactionStamp,
        random: &mut Random,
    ) -> AppendBatch {
        let mut keys = BTreeMap::new();
        for _ in 0..=random.below(2) {
            keys.insert(random.below(KEYS), random.percent(80));
        }
        let event = |(key, has_value): (&u64, &bool)| Event {
            time: self.number.cast_signed(),
            key: Some(Bytes::from(key.to_string())),
            value: has_value.then(|| Bytes::from_static(b"some value")),
            ..Event::default()
        };
        let events: Vec<Event> = keys.iter().map(event).collect();
        let (id, epoch, sequence) = (stamp.producer, stamp.epoch, self.sequence);
        let of = (id.cast_signed(), epoch as i16, sequence.cast_signed());
        let batch = sample::keyed(of, true, &events).into();
        self.made.insert(self.number, Made { keys, ..Made::default() });
        let producer = Some(ProducerStamp { id, epoch, sequence });
        let events = events.len() as u32;
        AppendBatch { partition, events, producer, transactional: true, batch, keys: Vec::new() }
    }

    /// An answer that is one of its requests'.
    pub(crate) fn told(&mut self, to: ReplyTo, answer: &Answer, log: &StreamLog) -> Option<Check> {
        let (_, step) = self.waits.take_if(|(reply_to, _)| *reply_to == to)?;
        Some(self.hear(step, answer, log))
    }

    fn hear(&mut self, step: Step, answer: &Answer, log: &StreamLog) -> Check {
        match (step, answer) {
            (Step::Create, Answer::Stream(StreamAnswer::Stream(view))) => {
                self.partition = view.partitions.first().map(|(id, _)| *id);
                self.step = Step::Take;
            }
            // It was there: the answer of an earlier life never came.
            (Step::Create, Answer::Rejected(_)) => {
                let Some(entry) = known_stream(log, STREAM)? else { return Ok(()) };
                self.partition = entry.partitions.first().map(|it| it.id());
                self.step = Step::Take;
            }
            (Step::Append, Answer::Stream(StreamAnswer::Appended(results))) => {
                let events = self.made.get(&self.number).map_or(0, |made| made.keys.len());
                self.sequence += events as u32;
                let all = results.iter().all(Result::is_ok);
                self.step = if all { Step::End { commit: true } } else { Step::Take };
            }
            (Step::Forget, Answer::Stream(StreamAnswer::AbortedForgotten)) => {}
            (step, Answer::Stream(StreamAnswer::Transacted(Ok(done)))) => match (step, done) {
                (Step::Take, TransactionAnswer::Taken(stamp)) => {
                    (self.stamp, self.sequence, self.step) = (Some(*stamp), 0, Step::Begin);
                }
                (Step::Begin, TransactionAnswer::Done) => self.step = Step::Append,
                (Step::End { commit }, TransactionAnswer::Done) => {
                    self.step = Step::Begin;
                    if let Some(made) = self.made.get_mut(&self.number) {
                        made.done = commit;
                    }
                    return self.look(log);
                }
                other => return Err(format!("{other:?} do not fit")),
            },
            // It took too long, and was aborted.
            (
                _,
                Answer::Stream(StreamAnswer::Transacted(Err(TransactionRefusal::Fenced {
                    ..
                }))),
            ) => {
                self.step = Step::Take;
            }
            (step, answer) => return Err(format!("{step:?} was answered {answer:?}")),
        }
        Ok(())
    }

    /// The process has ended.
    pub(crate) fn lost(&mut self) {
        if self.waits.take().is_some() {
            self.step = Step::Take;
        }
    }

    /// Whoever sent this gets no answer; whether it is its.
    pub(crate) fn dismissed(&mut self, to: ReplyTo) -> bool {
        let own = self.waits.is_some_and(|(reply_to, _)| reply_to == to);
        if own {
            self.lost();
        }
        own
    }

    /// A reader of committed events goes through the stream.
    pub(crate) fn look(&mut self, log: &StreamLog) -> Check {
        if self.partition.is_none() || log.waits_for_space() {
            return Ok(());
        }
        let (mut newest, mut aborted) = (BTreeMap::new(), Vec::new());
        for Shown { offset, number, key } in shown(log, &mut aborted)? {
            let asked = self.made.get(&number).is_some_and(|made| made.asked);
            if !asked {
                return Err(format!("{key} of transaction {number} is seen, nobody committed it"));
            }
            let at = *self.seen.entry(offset).or_insert(number);
            if at != number {
                return Err(format!("offset {offset} was of transaction {at}, and is of {number}"));
            }
            newest.insert(key, number);
        }
        for (number, made) in self.made.iter().filter(|(_, made)| made.done) {
            for (key, has_value) in &made.keys {
                match newest.get(key) {
                    Some(seen) if seen >= number => {}
                    // What says that it is gone has gone, and nothing before it came back.
                    None if !has_value || self.gone_since(*key, *number) => {}
                    seen => {
                        return Err(format!(
                            "{key} is of transaction {number}, and {seen:?} is seen"
                        ));
                    }
                }
            }
        }
        if self.forgets_early {
            self.spent = aborted;
        } else {
            self.spent = log.spent().into_iter().flat_map(|spent| spent.markers).collect();
        }
        Ok(())
    }

    /// Whether a transaction that may have been committed said that a key is gone.
    fn gone_since(&self, key: u64, number: u64) -> bool {
        let mut later = self.made.range(number..).filter(|(_, made)| made.asked);
        later.any(|(_, made)| made.keys.get(&key) == Some(&false))
    }
}

fn create() -> StreamCommand {
    let settings = StreamSettings {
        file_bytes: 700,
        compact: true,
        delete: false,
        compaction_dirty_ppm: 200_000,
        tombstone_ms: TOMBSTONE_MS,
        ..StreamSettings::default()
    };
    StreamCommand::Create { stream: STREAM.to_owned(), partitions: 1, settings }
}

/// An event that a reader of committed ones sees.
struct Shown {
    offset: u64,
    number: u64,
    key: u64,
}

/// All that is shown, in order, up to the end; notes markers of transactions that it is told of.
fn shown(log: &StreamLog, aborted: &mut Vec<u64>) -> Result<Vec<Shown>, String> {
    let entry = log.stream("default", STREAM).ok_or("the stream is not there")?;
    let partition = entry.partitions.first().ok_or("a stream without partitions")?;
    let (mut offset, mut shown) = (partition.ends().0, Vec::new());
    loop {
        let read = Read { offset, bytes_max: 400, within: false, committed: true };
        let chunk = partition.read_as(read).map_err(|error| error.to_string())?;
        aborted.extend(chunk.aborted.iter().map(|it| it.last));
        let (mut hidden, mut rest) = (Hidden::new(chunk.aborted), chunk.batches);
        if rest.is_empty() {
            if offset < chunk.stable {
                return Err(format!(
                    "nothing is read from {offset}, all up to {} is",
                    chunk.stable
                ));
            }
            return Ok(shown);
        }
        while !rest.is_empty() {
            let header = BatchHeader::parse(&rest).map_err(|error| error.to_string())?;
            let batch = rest.split_to(header.len_bytes);
            if header.first_offset() < offset && header.end_offset() <= offset {
                return Err(format!("offsets go back to {} from {offset}", header.first_offset()));
            }
            offset = header.end_offset();
            if hidden.hides(&header) {
                continue;
            }
            for event in events_of(&header, &batch) {
                let text = event.key.as_deref().map(String::from_utf8_lossy);
                let key = text.and_then(|text| text.parse().ok()).ok_or("an odd key")?;
                let number = event.time.cast_unsigned();
                shown.push(Shown { offset: event.offset, number, key });
            }
        }
    }
}
