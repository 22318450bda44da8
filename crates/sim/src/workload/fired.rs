//! Messages that are events, and events that become jobs and messages. What is published once is
//! one message, one event, one job and one more message, in the order of its key, whatever happens
//! to the server; and the steps of the jobs are told. They have the namespace of the relay, in runs
//! without one, since nobody chose the ids of these jobs.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use longshore_engine::query::{body_of, group_offsets, peek_messages};
use longshore_engine::{
    Answer, BindingSpec, Clock, Command, DeclareExchange, DeclareQueue, Delivery, EndKind,
    ExchangeKind, FireTrigger, JobId, JobView, LIVES_STREAM, LeaseJobs, MessageAnswer,
    MessageCommand, MessageFilter, MessageSettings, PublishMessage, QueuePattern, QueueSettings,
    Rejection, ReplyTo, Settlement, StreamAnswer, StreamCommand, StreamSettings, StreamView, Token,
    Trigger, TriggerCommand, TriggerEvent, Verdict,
};
use longshore_streams::batch::BatchHeader;
use longshore_streams::event::{Event, events_of};
use longshore_streams::{Partition, StreamLog};

use super::messages::check::ALL;
use super::relay::NAMESPACE;
use super::replayed::{Replays, is_replayed};
use super::{Check, invariants, told};
use crate::map::SimTree;
use crate::random::Random;

/// Numbers of its requests begin here.
const FIRST_REPLY: u64 = 13 << 36;

const IN: &str = "f.in";
const LOG: &str = "f.log";
/// A queue of which the messages are events as well.
const OWN: &str = "f.own";
/// A queue that the stream is bound to.
const BOX: &str = "f.box";
const WORK: &str = "f.work";
pub(super) const STREAM: &str = "fired";
/// What makes jobs, and what makes messages.
const TRIGGERS: [&str; 2] = ["t", "m"];
const KEYS: [&str; 3] = ["a", "b", "c"];
const PARTITIONS: u32 = 2;

/// Jobs that run at a time.
const RUNNING_MAX: usize = 3;
/// Events that become jobs at a time.
const EVENTS_MAX: u64 = 3;

/// A trigger and a partition, by their indexes.
type Place = (usize, usize);

#[derive(Debug)]
enum Asked {
    SetUp,
    Publish(u64),
    /// How far a trigger has come in a partition.
    Come(Place),
    /// That events of a partition become jobs or messages, up to an offset.
    Fire(Place, u64),
    Lease,
    Settle(JobId),
}

/// Who publishes, who brings events to their trigger, and who runs what comes of them.
#[derive(Debug)]
pub(crate) struct Fired {
    random: Random,
    next_reply: u64,
    waits: Option<(ReplyTo, Asked)>,
    /// How much of what has to be declared was.
    set_up: usize,
    /// What was sent, and whether its publisher was told that it is there.
    published: BTreeMap<u64, bool>,
    /// How far each trigger has come in each partition, as whoever brings the events thinks.
    come: BTreeMap<Place, u64>,
    running: Vec<(JobId, Token)>,
    /// What jobs were handed out, and what they say: ended, they say nothing any more.
    seen: BTreeMap<JobId, u64>,
    /// The newest message of each key of which a job was handed out.
    newest: BTreeMap<String, u64>,
    /// Jobs of which somebody was told that they ended.
    ended: BTreeSet<JobId>,
    replays: Replays,
}

impl Fired {
    /// That of a run; one of three runs has some.
    pub(crate) fn of(seed: u64) -> Option<Self> {
        let mut random = Random::new(seed.rotate_left(24) ^ 0x6669_7265_6421);
        random.percent(33).then(|| Self {
            random,
            next_reply: 0,
            waits: None,
            set_up: 0,
            published: BTreeMap::new(),
            come: BTreeMap::new(),
            running: Vec::new(),
            seen: BTreeMap::new(),
            newest: BTreeMap::new(),
            ended: BTreeSet::new(),
            replays: Replays::of(seed),
        })
    }

    /// Something to ask, if there is something.
    pub(crate) fn next(&mut self, log: &StreamLog) -> Option<(ReplyTo, Command)> {
        if self.waits.is_some() || self.random.percent(50) {
            return None;
        }
        let (asked, command) = match setup().into_iter().nth(self.set_up) {
            Some(command) => (Asked::SetUp, command),
            None => self.work(log)?,
        };
        self.next_reply += 1;
        let reply_to = ReplyTo(FIRST_REPLY + self.next_reply);
        self.waits = Some((reply_to, asked));
        Some((reply_to, command))
    }

    /// Something to ask about replays, if there is something.
    pub(crate) fn next_of_replays(&mut self, log: &StreamLog) -> Option<(ReplyTo, Command)> {
        if self.set_up < setup().len() { None } else { self.replays.next(log) }
    }

    fn work(&mut self, log: &StreamLog) -> Option<(Asked, Command)> {
        if self.random.percent(50) {
            return self.bring(log);
        }
        if !self.running.is_empty() && self.random.percent(50) {
            let (id, token) = self.running.swap_remove(self.random.index(self.running.len()));
            let (result, location, follow_ups) = (None, None, Vec::new());
            let verdict = Verdict::Ack { result, location, follow_ups, next_tick: None };
            let settlements = vec![Settlement { id, token, verdict }];
            return Some((Asked::Settle(id), Command::SettleJobs(settlements)));
        }
        if self.running.len() < RUNNING_MAX && self.random.percent(40) {
            return Some((Asked::Lease, Command::LeaseJobs(Box::new(lease()))));
        }
        let number = self.published.len() as u64;
        self.published.insert(number, false);
        let (exchange, key) =
            if self.random.percent(25) { ("", OWN) } else { (IN, *self.random.pick(&KEYS)) };
        let message = PublishMessage {
            exchange: exchange.to_owned(),
            routing_key: key.to_owned(),
            persistent: true,
            body: number.to_string().into(),
            ..PublishMessage::default()
        };
        let publish = MessageCommand::Publish(vec![message]);
        Some((Asked::Publish(number), Command::Messages(publish)))
    }

    /// What whoever brings events to their trigger asks next.
    fn bring(&mut self, log: &StreamLog) -> Option<(Asked, Command)> {
        let (of, index) = (self.random.index(2), self.random.index(PARTITIONS as usize));
        // On a full disk it may not be shown yet.
        let entry = log.stream(NAMESPACE, STREAM)?;
        let partition = entry.partitions.get(index)?;
        let Some(mut come) = self.come.get(&(of, index)).copied() else {
            let partition = Some(vec![(STREAM.to_owned(), vec![index as u32])]);
            let group = trigger(of).group();
            let command = StreamCommand::GetOffsets { group, of: partition };
            return Some((Asked::Come((of, index)), Command::Stream(command)));
        };
        // Somebody who is behind the times.
        if come > 0 && self.random.percent(15) {
            come = self.random.below(come);
        }
        let next = partition.ends().1.min(come + 1 + self.random.below(EVENTS_MAX));
        let events = to_bring(partition, (come, next))?;
        let fire = FireTrigger {
            stream: STREAM.to_owned(),
            trigger: trigger(of).name,
            partition: index as u32,
            id: partition.id(),
            expected: Some(come),
            next,
            events,
        };
        let command = StreamCommand::Trigger(TriggerCommand::Fire(fire));
        Some((Asked::Fire((of, index), next), Command::Stream(command)))
    }

    /// An answer that is one of its requests'; it is a promise from here on.
    pub(crate) fn told(&mut self, to: ReplyTo, answer: &Answer) -> Option<Check> {
        if let Some(checked) = self.replays.told(to, answer) {
            return Some(checked);
        }
        let (_, asked) = self.waits.take_if(|(reply_to, _)| *reply_to == to)?;
        Some(self.hear(&asked, answer))
    }

    fn hear(&mut self, asked: &Asked, answer: &Answer) -> Check {
        match (asked, answer) {
            // Nobody used the queue for so long that it has gone.
            (Asked::SetUp, Answer::Rejected(Rejection::QueueUnknown { .. })) => {
                self.set_up = PUTS_QUEUE;
            }
            // The stream was there: the answer of an earlier life never came.
            (Asked::SetUp, Answer::Rejected(rejection))
                if !matches!(rejection, Rejection::StreamExists { .. }) =>
            {
                return Err(format!("declaring number {} was refused: {answer:?}", self.set_up));
            }
            (Asked::SetUp, _) => self.set_up += 1,
            (Asked::Publish(number), Answer::Messages(MessageAnswer::Published(came))) => {
                if came.iter().any(Result::is_err) {
                    return Err(format!("message {number} was refused: {came:?}"));
                }
                self.published.insert(*number, true);
            }
            (Asked::Come(place), Answer::Stream(StreamAnswer::Offsets(offsets))) => {
                let committed = offsets.first().and_then(|it| it.committed.as_ref());
                self.come.extend(committed.map(|it| (*place, it.offset)));
            }
            (Asked::Fire(place, next), Answer::Stream(StreamAnswer::Fired(fired))) => {
                self.come.remove(place);
                self.come.extend(fired.then_some((*place, *next)));
            }
            (Asked::Lease, Answer::Leased { jobs, .. }) => {
                self.running.extend(jobs.iter().map(|job| (job.id, job.token)));
                return jobs.iter().try_for_each(|job| self.handed_out(job));
            }
            (Asked::Settle(id), Answer::Settled(ends)) => {
                // Where it took too long it runs elsewhere.
                if let [Ok(EndKind::Acked)] = ends[..] {
                    self.ended.insert(*id);
                }
            }
            _ => return Err(format!("{asked:?} was answered {answer:?}")),
        }
        Ok(())
    }

    /// Jobs of events with the same key come one after the other, in the order of the events.
    fn handed_out(&mut self, job: &Delivery) -> Check {
        let number = number(&job.args)?;
        self.seen.insert(job.id, number);
        let key = job.ordering_key.clone().ok_or("a job without the key of its event")?;
        if self.ended.contains(&job.id) {
            return Err(format!("job {number} has ended, and comes again"));
        }
        if let Some(before) = self.newest.insert(key, number).filter(|before| *before > number) {
            return Err(format!("job {number} comes behind job {before} of its key"));
        }
        Ok(())
    }

    /// The process has ended: what was not answered is in doubt.
    pub(crate) fn lost(&mut self) {
        self.waits = None;
        self.replays.lost();
    }

    /// Whoever sent this gets no answer; whether it is one of these.
    pub(crate) fn dismissed(&mut self, to: ReplyTo) -> bool {
        self.replays.dismissed(to) || self.waits.take_if(|(reply_to, _)| *reply_to == to).is_some()
    }

    /// Checks a state to which nothing was added since its last group. `all_shown` where all of its
    /// events are in their files.
    pub(crate) fn check(
        &self,
        map: &SimTree,
        clock: Clock,
        (streams, log, all_shown): (&[StreamView], &StreamLog, bool),
    ) -> Check {
        if self.set_up < setup().len() || log.waits_for_space() {
            return Ok(());
        }
        let mut logged = self.messages(map, LOG)?;
        logged.extend(self.messages(map, OWN)?);
        let entry = log.stream(NAMESPACE, STREAM).ok_or("the stream of a trigger is not there")?;
        let come = [0, 1]
            .map(|of| group_offsets(map, NAMESPACE, &trigger(of).group(), PARTITIONS as usize));
        let (mut events, mut due) = (BTreeSet::new(), [BTreeSet::new(), BTreeSet::new()]);
        for (index, partition) in (0..).zip(&entry.partitions) {
            let come = come.each_ref().map(|come| {
                come.iter().find(|it| it.partition == index).map_or(0, |it| it.committed.offset)
            });
            for event in shown(partition, 0)? {
                let number = number(&event.value.unwrap_or_default())?;
                if !events.insert(number) {
                    return Err(format!("message {number} is two events"));
                }
                for (due, come) in due.iter_mut().zip(come) {
                    due.extend((event.offset < come).then_some(number));
                }
            }
        }
        if let Some(odd) = events.difference(&logged).next() {
            return Err(format!("message {odd} is an event and no message"));
        }
        if let Some(odd) = logged.difference(&events).next().filter(|_| all_shown) {
            return Err(format!("message {odd} is no event"));
        }
        let mut confirmed = self.published.iter().filter(|(_, confirmed)| **confirmed);
        if let Some((lost, _)) = confirmed.find(|(number, _)| !logged.contains(number)) {
            return Err(format!("message {lost} was confirmed, and is not there"));
        }
        let jobs = invariants::jobs_of(map, NAMESPACE, None, clock);
        let [of_jobs, of_messages] = &due;
        let (replayed, made): (Vec<_>, Vec<_>) = jobs.iter().cloned().partition(is_replayed);
        self.replays.check(map, (streams, log), &replayed)?;
        self.check_jobs(map, &made, of_jobs)?;
        told::check(log, &jobs, all_shown)?;
        match self.messages(map, BOX)?.symmetric_difference(of_messages).next() {
            Some(odd) => Err(format!("event {odd} is a message or was passed, not both")),
            None => Ok(()),
        }
    }

    /// Each event that the trigger has come past is one job, and no other one is.
    fn check_jobs(&self, map: &SimTree, jobs: &[JobView], due: &BTreeSet<u64>) -> Check {
        let says = |view: &JobView| match &view.job.args {
            Some(args) => number(&body_of(map, args)),
            None => self.seen.get(&view.job.id).copied().ok_or_else(|| "an odd job".to_owned()),
        };
        let mut made = BTreeSet::new();
        for view in jobs {
            let number = says(view)?;
            if !made.insert(number) {
                return Err(format!("event {number} is two jobs"));
            }
            if self.ended.contains(&view.job.id) && view.job.phase.is_unfinished() {
                return Err(format!("job {number} has ended, and is {}", view.state().name()));
            }
        }
        match due.symmetric_difference(&made).next() {
            Some(odd) => Err(format!("event {odd} is a job or was passed, not both")),
            None => Ok(()),
        }
    }

    /// The numbers of all messages of a queue, each once and in the order of its key.
    fn messages(&self, map: &SimTree, queue: &str) -> Result<BTreeSet<u64>, String> {
        let page = peek_messages(map, (NAMESPACE, queue), &MessageFilter::default(), None, ALL);
        let page = page.map_err(|error| format!("looking at queue {queue}: {error}"))?;
        let (mut found, mut newest) = (BTreeSet::new(), BTreeMap::new());
        for it in page.messages {
            let number = number(&it.message.body)?;
            let before = newest.insert(it.message.routing_key.clone(), number);
            if let Some(before) = before.filter(|before| *before > number) {
                return Err(format!("message {number} of {queue} stands behind {before}"));
            }
            if !found.insert(number) || !self.published.contains_key(&number) {
                return Err(format!("message {number} is there twice, or nobody published it"));
            }
        }
        Ok(found)
    }
}

/// The number that a message, an event or a job says.
pub(super) fn number(bytes: &Bytes) -> Result<u64, String> {
    let text = String::from_utf8_lossy(bytes);
    text.parse().map_err(|_| format!("{text:?} is no number of a message"))
}

/// The events of a partition that are shown, from an offset on.
pub(super) fn shown(partition: &Partition, mut offset: u64) -> Result<Vec<Event>, String> {
    let (mut found, end) = (Vec::new(), partition.ends().1);
    while offset < end {
        let chunk = partition.read(offset, 1).map_err(|error| error.to_string())?;
        let header = BatchHeader::parse(&chunk.batches).map_err(|error| error.to_string())?;
        found.extend(events_of(&header, &chunk.batches));
        if header.end_offset() <= offset {
            return Err(format!("reading from {offset} finds nothing of it"));
        }
        offset = header.end_offset();
    }
    Ok(found)
}

/// The events of a partition from one offset to another, as they are brought to a trigger; `None`
/// where there are none.
pub(super) fn to_bring(partition: &Partition, (from, to): (u64, u64)) -> Option<Vec<TriggerEvent>> {
    let events = shown(partition, from).ok()?.into_iter();
    let event = |Event { offset, time, key, value, headers }| TriggerEvent {
        offset,
        key,
        value,
        headers,
        time,
    };
    let events: Vec<_> = events.filter(|event| event.offset < to).map(event).collect();
    (!events.is_empty()).then_some(events)
}

/// Which of what has to be declared is the queue of the jobs.
const PUTS_QUEUE: usize = 2;

fn trigger(of: usize) -> Trigger {
    let (queue, kind) = if of == 0 { (WORK, "made") } else { (BOX, "") };
    Trigger {
        name: TRIGGERS[of % 2].to_owned(),
        queue: queue.to_owned(),
        kind: kind.to_owned(),
        ordered: true,
        ..Trigger::default()
    }
}

/// What has to be declared, once for all lives.
fn setup() -> Vec<Command> {
    let exchange = DeclareExchange {
        exchange: IN.to_owned(),
        kind: ExchangeKind::Fanout,
        durable: true,
        auto_delete: false,
        internal: false,
        alternate: None,
        arguments: Bytes::new(),
    };
    let queue = |queue: &str, stream: Option<&str>| {
        let stream = stream.map(str::to_owned);
        let settings = MessageSettings { durable: true, stream, ..MessageSettings::default() };
        let declare = DeclareQueue { queue: queue.to_owned(), settings, connection: None };
        Command::Messages(MessageCommand::DeclareQueue(Box::new(declare)))
    };
    let bind = |destination: &str, to_stream: bool| {
        Command::Messages(MessageCommand::Bind(Box::new(BindingSpec {
            source: IN.to_owned(),
            destination: destination.to_owned(),
            to_stream,
            ..BindingSpec::default()
        })))
    };
    let settings = StreamSettings { file_bytes: 500, ..StreamSettings::default() };
    let create = |stream: &str| {
        let (stream, settings) = (stream.to_owned(), settings.clone());
        Command::Stream(StreamCommand::Create { stream, partitions: PARTITIONS, settings })
    };
    let put = |of| {
        let (stream, trigger) = (STREAM.to_owned(), trigger(of));
        let put = TriggerCommand::Put { stream, trigger, from_end: false };
        Command::Stream(StreamCommand::Trigger(put))
    };
    vec![
        Command::Messages(MessageCommand::DeclareExchange(Box::new(exchange))),
        queue(LOG, None),
        Command::PutQueue { queue: WORK.to_owned(), settings: QueueSettings::DEFAULT },
        create(STREAM),
        create(LIVES_STREAM),
        put(0),
        queue(BOX, None),
        put(1),
        queue(OWN, Some(STREAM)),
        bind(STREAM, true),
        bind(LOG, false),
    ]
}

fn lease() -> LeaseJobs {
    LeaseJobs {
        queues: vec![QueuePattern::Exactly(WORK.to_owned())],
        kinds: None,
        max: 1,
        wait_ms: 0,
        lease_ms: None,
        worker: "fired".to_owned(),
        session: String::new(),
        ask: None,
        seen: None,
        settle: Vec::new(),
        prefetch: false,
    }
}
