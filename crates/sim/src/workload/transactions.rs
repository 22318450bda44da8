//! A producer whose transactions append to two partitions and commit an offset: all of it is seen,
//! or nothing. It loses answers, takes its id anew, and sometimes takes too long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use longshore_engine::{
    Answer, AppendBatch, Command, CommittedOffset, OffsetToCommit, PartitionId, ProducerStamp,
    ReplyTo, StreamAnswer, StreamCommand, StreamSettings, TransactionAnswer, TransactionAsk,
    TransactionCommand, TransactionRefusal, TransactionStamp,
};
use longshore_streams::batch::{BatchHeader, sample};
use longshore_streams::{Hidden, Partition, Read, StreamLog};

use super::Check;
use super::events::known_stream;
use crate::random::Random;

/// Numbers of its requests begin here.
const FIRST_REPLY: u64 = 3 << 38;
const STREAM: &str = "moved";
const GROUP: &str = "mover";
const ID: &str = "moving";
const PARTITIONS: u32 = 2;

/// What the producer does next.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Step {
    #[default]
    Create,
    Take,
    Begin,
    Append,
    Offset,
    End,
}

/// The transactions of a run, as whoever makes and reads them knows them.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    next_reply: u64,
    waits: Option<(ReplyTo, Asked)>,
    step: Step,
    partitions: Vec<PartitionId>,
    stamp: Option<TransactionStamp>,
    /// Events of this epoch.
    sequence: u32,
    /// The number of the present transaction, which is the time of its events.
    number: u64,
    /// Those that were asked to be committed: whether that is known to have been done.
    asked: BTreeMap<u64, bool>,
    /// Those that were seen.
    seen: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Step(Step, bool),
    Offsets,
}

impl Transactions {
    /// Something to ask of the first namespace, if there is something.
    pub(crate) fn next(&mut self, random: &mut Random) -> Option<(ReplyTo, Command)> {
        if self.waits.is_some() {
            return None;
        }
        let commit = random.percent(70);
        let (asked, command) = if self.step == Step::Begin && random.percent(30) {
            let of = Some(vec![(STREAM.to_owned(), vec![0])]);
            (Asked::Offsets, StreamCommand::GetOffsets { group: GROUP.to_owned(), of })
        } else if self.step == Step::Create {
            let settings = StreamSettings { file_bytes: 500, ..StreamSettings::default() };
            let (stream, partitions) = (STREAM.to_owned(), PARTITIONS);
            let create = StreamCommand::Create { stream, partitions, settings };
            (Asked::Step(Step::Create, false), create)
        } else {
            (Asked::Step(self.step, commit), self.command(commit, random))
        };
        self.next_reply += 1;
        let reply_to = ReplyTo(FIRST_REPLY + self.next_reply);
        self.waits = Some((reply_to, asked));
        Some((reply_to, Command::Stream(command)))
    }

    fn command(&mut self, commit: bool, random: &mut Random) -> StreamCommand {
        let transact = |ask| StreamCommand::Transact(TransactionCommand { id: ID.to_owned(), ask });
        let Some(stamp) = self.stamp.filter(|_| self.step != Step::Take) else {
            let timeout_ms = if random.percent(80) { 900_000 } else { 1 + random.below(5000) };
            return transact(TransactionAsk::Take { timeout_ms, current: None });
        };
        match self.step {
            Step::Append => {
                StreamCommand::Append(self.partitions.iter().map(|id| self.batch(*id)).collect())
            }
            Step::Offset => {
                let offset = self.number;
                let committed =
                    CommittedOffset { offset, leader_epoch: None, metadata: String::new() };
                let offsets =
                    vec![OffsetToCommit { stream: STREAM.into(), partition: 0, committed }];
                let group = GROUP.to_owned();
                transact(TransactionAsk::CommitOffsets { stamp, group, offsets })
            }
            Step::End => {
                if commit {
                    self.asked.entry(self.number).or_insert(false);
                }
                transact(TransactionAsk::End { stamp, commit })
            }
            Step::Create | Step::Take | Step::Begin => {
                self.number += 1;
                let partitions = self.partitions.clone();
                transact(TransactionAsk::AddPartitions { stamp, partitions })
            }
        }
    }

    fn batch(&self, partition: PartitionId) -> AppendBatch {
        let stamp = self.stamp.unwrap_or(TransactionStamp { producer: 0, epoch: 0 });
        let (id, epoch, sequence) = (stamp.producer, stamp.epoch, self.sequence);
        let of = (id.cast_signed(), epoch as i16, sequence.cast_signed());
        let batch = sample::batch_of(of, true, (1, self.number.cast_signed(), 20));
        let producer = Some(ProducerStamp { id, epoch, sequence });
        let batch = Bytes::from(batch);
        AppendBatch { partition, events: 1, producer, transactional: true, batch, keys: Vec::new() }
    }

    /// An answer that is one of its requests'.
    pub(crate) fn told(&mut self, to: ReplyTo, answer: &Answer, log: &StreamLog) -> Option<Check> {
        let (_, asked) = self.waits.take_if(|(reply_to, _)| *reply_to == to)?;
        Some(self.hear(asked, answer, log))
    }

    fn hear(&mut self, asked: Asked, answer: &Answer, log: &StreamLog) -> Check {
        let unexpected = || Err(format!("{asked:?} was answered {answer:?}"));
        let step = match asked {
            Asked::Step(step, _) => step,
            Asked::Offsets => return self.hear_offset(answer, log),
        };
        match (step, answer) {
            (Step::Create, Answer::Stream(StreamAnswer::Stream(_)) | Answer::Rejected(_)) => {
                let Some(entry) = known_stream(log, STREAM)? else { return Ok(()) };
                self.partitions = entry.partitions.iter().map(|it| it.id()).collect();
                self.step = Step::Take;
                Ok(())
            }
            (Step::Append, Answer::Stream(StreamAnswer::Appended(results))) => {
                if results.iter().all(Result::is_ok) {
                    (self.sequence, self.step) = (self.sequence + 1, Step::Offset);
                } else {
                    // It took too long.
                    self.step = Step::Take;
                }
                Ok(())
            }
            (_, Answer::Stream(StreamAnswer::Transacted(Ok(done)))) => {
                self.went_on(asked, done, log)
            }
            // It took too long, and was aborted.
            (_, Answer::Stream(StreamAnswer::Transacted(Err(refusal)))) => {
                self.step = Step::Take;
                let fenced = matches!(refusal, TransactionRefusal::Fenced { .. });
                if fenced { Ok(()) } else { unexpected() }
            }
            _ => unexpected(),
        }
    }

    fn went_on(&mut self, asked: Asked, done: &TransactionAnswer, log: &StreamLog) -> Check {
        match (asked, done) {
            (Asked::Step(Step::Take, _), TransactionAnswer::Taken(stamp)) => {
                (self.stamp, self.sequence, self.step) = (Some(*stamp), 0, Step::Begin);
            }
            (Asked::Step(Step::Begin, _), TransactionAnswer::Done) => self.step = Step::Append,
            (Asked::Step(Step::Offset, _), TransactionAnswer::Offsets(_)) => self.step = Step::End,
            (Asked::Step(Step::End, commit), TransactionAnswer::Done) => {
                self.step = Step::Begin;
                if commit {
                    self.asked.insert(self.number, true);
                }
                return self.look(log);
            }
            other => return Err(format!("{other:?} do not fit")),
        }
        Ok(())
    }

    fn hear_offset(&mut self, answer: &Answer, log: &StreamLog) -> Check {
        let Answer::Stream(StreamAnswer::Offsets(offsets)) = answer else {
            return Err(format!("offsets were answered {answer:?}"));
        };
        self.look(log)?;
        let told = offsets.first().and_then(|it| it.committed.as_ref()).map(|it| it.offset);
        let last = self.seen.last().copied();
        if told == last || log.waits_for_space() {
            return Ok(());
        }
        Err(format!("the offset of transaction {told:?} holds, the last one seen is {last:?}"))
    }

    /// The process has ended.
    pub(crate) fn lost(&mut self) {
        if self.waits.take().is_some() && self.step != Step::Create {
            self.step = Step::Take;
        }
    }

    /// Whoever sent this gets no answer; whether it is one of these.
    pub(crate) fn dismissed(&mut self, to: ReplyTo) -> bool {
        let own = self.waits.is_some_and(|(reply_to, _)| reply_to == to);
        if own {
            self.lost();
        }
        own
    }

    /// Readers of committed events look at both partitions.
    pub(crate) fn look(&mut self, log: &StreamLog) -> Check {
        if self.partitions.is_empty() || log.waits_for_space() {
            return Ok(());
        }
        let entry = log.stream("default", STREAM).ok_or("the stream is not there")?;
        let mut shown = entry.partitions.iter().map(committed);
        let first = shown.next().ok_or("a stream without partitions")??;
        for other in shown {
            let other = other?;
            if other != first {
                return Err(format!("transactions are half seen: {first:?} and {other:?}"));
            }
        }
        let all: BTreeSet<u64> = first.iter().copied().collect();
        if all.len() != first.len() {
            return Err(format!("a transaction is seen twice: {first:?}"));
        }
        if let Some(lost) = self.seen.difference(&all).next() {
            return Err(format!("transaction {lost} was seen, and is lost"));
        }
        if let Some(odd) = all.iter().find(|number| !self.asked.contains_key(number)) {
            return Err(format!("transaction {odd} is seen, nobody committed it"));
        }
        let mut known = self.asked.iter().filter(|(_, done)| **done).map(|(number, _)| number);
        if let Some(lost) = known.find(|number| !all.contains(number)) {
            return Err(format!("transaction {lost} was committed, and is not seen"));
        }
        self.seen = all;
        Ok(())
    }
}

/// The numbers of the transactions that a reader of committed events sees in a partition.
fn committed(partition: &Arc<Partition>) -> Result<Vec<u64>, String> {
    let (mut offset, mut found) = (partition.ends().0, Vec::new());
    loop {
        let read = Read { offset, bytes_max: 300, within: false, committed: true };
        let chunk = partition.read_as(read).map_err(|error| error.to_string())?;
        let (mut hidden, mut rest) = (Hidden::new(chunk.aborted), chunk.batches);
        if rest.is_empty() {
            return Ok(found);
        }
        while !rest.is_empty() {
            let header = BatchHeader::parse(&rest).map_err(|error| error.to_string())?;
            if !hidden.hides(&header) {
                found.push(header.base_time.cast_unsigned());
            }
            drop(rest.split_to(header.len_bytes));
            offset = header.end_offset();
        }
    }
}
