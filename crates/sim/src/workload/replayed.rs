//! Replays: the events that are there become jobs once more, each of the range once, whatever
//! happens to the server. One goes on at a time; its jobs have a kind of their own and are not run.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::query::{body_of, group_offsets};
use longshore_engine::{
    Answer, Command, FireTrigger, JobView, QueueSettings, REPLAY_PREFIX, Rejection, ReplyTo,
    StreamAnswer, StreamCommand, StreamView, Trigger, TriggerCommand,
};
use longshore_streams::StreamLog;

use super::Check;
use super::fired::{STREAM, number, shown, to_bring};
use super::relay::NAMESPACE;
use crate::map::SimTree;
use crate::random::Random;

/// Numbers of its requests begin here.
const FIRST_REPLY: u64 = 27 << 35;

const QUEUE: &str = "f.again";
/// What kinds of its jobs begin with; the number of the replay follows.
const KIND: &str = "again";
/// Replays of one run, and events that become jobs at a time.
const REPLAYS_MAX: usize = 4;
const EVENTS_MAX: u64 = 3;

/// What was asked about replays.
#[derive(Debug)]
enum Asked {
    PutQueue,
    Begin,
    /// How far it has come in a partition.
    Come(usize, usize),
    /// That events of a partition become jobs, up to an offset.
    Fire(usize, usize, u64),
}

/// One that was asked for.
#[derive(Debug)]
struct Replay {
    from: Vec<u64>,
    /// Where it ends in each partition, once it was seen.
    until: Option<Vec<u64>>,
    /// How far it has come, as whoever brings the events thinks.
    come: BTreeMap<usize, u64>,
    /// Its last events became jobs, as somebody was told.
    has_ended: bool,
}

/// All of a run, and whoever asks for them and brings the events. It asks beside those who
/// publish the events, and by a chance of its own.
#[derive(Debug)]
pub(super) struct Replays {
    chance: Random,
    next_reply: u64,
    waits: Option<(ReplyTo, Asked)>,
    all: Vec<Replay>,
    has_queue: bool,
}

/// Whether a job is one of a replay.
pub(super) fn is_replayed(view: &JobView) -> bool {
    view.job.kind.starts_with(KIND)
}

fn trigger(number: usize) -> Trigger {
    Trigger {
        name: format!("{REPLAY_PREFIX}{QUEUE}"),
        queue: QUEUE.to_owned(),
        kind: format!("{KIND}{number}"),
        ..Trigger::default()
    }
}

/// The replay that goes on, by its number, among the triggers of the stream.
fn current(triggers: &[Trigger]) -> Option<(usize, &Trigger)> {
    let found = triggers.iter().find(|it| it.name == trigger(0).name)?;
    Some((found.kind.strip_prefix(KIND)?.parse().ok()?, found))
}

fn told(trigger: TriggerCommand) -> Command {
    Command::Stream(StreamCommand::Trigger(trigger))
}

impl Replays {
    /// Those of a run.
    pub(super) fn of(seed: u64) -> Self {
        let chance = Random::new(seed.rotate_left(40) ^ 0x6167_6169_6e21);
        Self { chance, next_reply: 0, waits: None, all: Vec::new(), has_queue: false }
    }

    /// Something to ask, if there is something.
    pub(super) fn next(&mut self, log: &StreamLog) -> Option<(ReplyTo, Command)> {
        if self.waits.is_some() || self.chance.percent(40) {
            return None;
        }
        let (asked, command) = self.work(log)?;
        self.next_reply += 1;
        let reply_to = ReplyTo(FIRST_REPLY + self.next_reply);
        self.waits = Some((reply_to, asked));
        Some((reply_to, command))
    }

    fn work(&mut self, log: &StreamLog) -> Option<(Asked, Command)> {
        let random = &mut self.chance;
        if !self.has_queue {
            let (queue, settings) = (QUEUE.to_owned(), QueueSettings::DEFAULT);
            return Some((Asked::PutQueue, Command::PutQueue { queue, settings }));
        }
        let entry = log.stream(NAMESPACE, STREAM)?;
        if let Some((number, found)) = current(&entry.settings.triggers) {
            let replay = self.all.get_mut(number)?;
            replay.until = Some(found.until.clone());
            let index = random.index(found.until.len());
            let (Some(until), Some(partition)) =
                (found.until.get(index), entry.partitions.get(index))
            else {
                return None;
            };
            let Some(come) = replay.come.get(&index).copied() else {
                let of = Some(vec![(STREAM.to_owned(), vec![index as u32])]);
                let command = StreamCommand::GetOffsets { group: found.group(), of };
                return Some((Asked::Come(number, index), Command::Stream(command)));
            };
            let next = (*until).min(come + 1 + random.below(EVENTS_MAX));
            let events = to_bring(partition, (come, next))?;
            let fire = FireTrigger {
                stream: STREAM.to_owned(),
                trigger: found.name.clone(),
                partition: index as u32,
                id: partition.id(),
                expected: Some(come),
                next,
                events,
            };
            return Some((Asked::Fire(number, index, next), told(TriggerCommand::Fire(fire))));
        }
        let events: u64 = entry.partitions.iter().map(|it| it.ends().1).sum();
        if self.all.len() >= REPLAYS_MAX || events < EVENTS_MAX || !random.percent(30) {
            return None;
        }
        // All of it, or what stands behind some of it.
        let whole = random.percent(50);
        let from = entry.partitions.iter().map(|it| it.ends().1);
        let from = from.map(|end| if whole { 0 } else { random.below(end + 1) });
        let (from, number): (Vec<u64>, _) = (from.collect(), self.all.len());
        let (until, come) = (None, BTreeMap::new());
        self.all.push(Replay { from: from.clone(), until, come, has_ended: false });
        let (stream, trigger) = (STREAM.to_owned(), trigger(number));
        let replay = TriggerCommand::Replay { stream, trigger, from };
        Some((Asked::Begin, told(replay)))
    }

    /// An answer that is one of its requests'; it is a promise from here on.
    pub(super) fn told(&mut self, to: ReplyTo, answer: &Answer) -> Option<Check> {
        let (_, asked) = self.waits.take_if(|(reply_to, _)| *reply_to == to)?;
        Some(self.hear(&asked, answer))
    }

    /// The process has ended: what was not answered is in doubt.
    pub(super) fn lost(&mut self) {
        self.waits = None;
    }

    /// Whoever sent this gets no answer; whether it is one of these.
    pub(super) fn dismissed(&mut self, to: ReplyTo) -> bool {
        self.waits.take_if(|(reply_to, _)| *reply_to == to).is_some()
    }

    fn hear(&mut self, asked: &Asked, answer: &Answer) -> Check {
        match (asked, answer) {
            // Nobody used the queue for so long that it has gone.
            (Asked::Begin, Answer::Rejected(Rejection::QueueUnknown { .. })) => {
                self.has_queue = false;
            }
            // One that nobody heard of goes on, or the end of one is not shown yet.
            (
                Asked::Begin,
                Answer::Rejected(Rejection::GroupInUse { .. })
                | Answer::Stream(StreamAnswer::Replaying(_)),
            ) => {}
            (Asked::PutQueue, Answer::Rejected(rejection)) => {
                return Err(format!("the queue of replays was refused: {rejection:?}"));
            }
            (Asked::PutQueue, _) => self.has_queue = true,
            (Asked::Come(number, index), Answer::Stream(StreamAnswer::Offsets(offsets))) => {
                let committed = offsets.first().and_then(|it| it.committed.as_ref());
                if let (Some(replay), Some(committed)) = (self.all.get_mut(*number), committed) {
                    replay.come.insert(*index, committed.offset);
                }
            }
            (Asked::Fire(number, index, next), Answer::Stream(StreamAnswer::Fired(fired))) => {
                let Some(replay) = self.all.get_mut(*number) else { return Ok(()) };
                replay.come.remove(index);
                replay.come.extend(fired.then_some((*index, *next)));
                let until = replay.until.as_deref().unwrap_or_default();
                let has_come =
                    |(index, until): (usize, &u64)| replay.come.get(&index) >= Some(until);
                replay.has_ended |= *fired && until.iter().enumerate().all(has_come);
            }
            _ => return Err(format!("{asked:?} was answered {answer:?}")),
        }
        Ok(())
    }

    /// Checks that each event of a range that a replay has come past is one job of it, and that no
    /// other one is.
    pub(super) fn check(
        &self,
        map: &SimTree,
        (streams, log): (&[StreamView], &StreamLog),
        jobs: &[JobView],
    ) -> Check {
        let mut named = streams.iter().filter(|it| it.namespace == NAMESPACE);
        let stream = named.find(|it| it.name == STREAM).ok_or("the stream is not there")?;
        let current = current(&stream.settings.triggers);
        let entry = log.stream(NAMESPACE, STREAM).ok_or("the stream is not shown")?;
        for (index, replay) in self.all.iter().enumerate() {
            let of = trigger(index);
            let mut made = BTreeSet::new();
            for view in jobs.iter().filter(|view| view.job.kind == of.kind) {
                let args = view.job.args.as_ref().ok_or("a job of a replay has ended")?;
                let number = number(&body_of(map, args))?;
                if !made.insert(number) {
                    return Err(format!("replay {index} made two jobs of event {number}"));
                }
            }
            let goes_on = current.filter(|(number, _)| *number == index);
            let come: BTreeMap<u32, u64> = match (goes_on, &replay.until) {
                (Some(_), _) => group_offsets(map, NAMESPACE, &of.group(), usize::MAX)
                    .into_iter()
                    .map(|it| (it.partition, it.committed.offset))
                    .collect(),
                // It never began, or its end is not known and made nothing.
                (None, None) if made.is_empty() => continue,
                (None, None) => return Err(format!("replay {index} made {made:?} unseen")),
                (None, Some(until)) => (0..).zip(until.iter().copied()).collect(),
            };
            let mut due = BTreeSet::new();
            for ((at, partition), from) in (0..).zip(&entry.partitions).zip(&replay.from) {
                let come = come.get(&at).copied().unwrap_or(0);
                for event in shown(partition, 0)? {
                    if (*from..come).contains(&event.offset) {
                        due.insert(number(&event.value.unwrap_or_default())?);
                    }
                }
            }
            if let Some(odd) = due.symmetric_difference(&made).next() {
                return Err(format!("event {odd} is a job of replay {index} or not due, not both"));
            }
            if replay.has_ended && goes_on.is_some() {
                return Err(format!("replay {index} has ended, and goes on"));
            }
        }
        Ok(())
    }
}
