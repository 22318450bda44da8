//! Messages that become jobs, and jobs whose ends become messages. What is published once is one
//! message and one job, and each end of a job is told once. They have a namespace of their own,
//! since nobody chose the ids of these jobs.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use longshore_engine::query::{body_of, peek_messages};
use longshore_engine::{
    Answer, BindingSpec, Clock, Command, DeclareExchange, DeclareQueue, EndKind, ExchangeKind,
    JobBinding, JobDefaults, JobError, JobId, JobView, LeaseJobs, MessageAnswer, MessageCommand,
    MessageFilter, MessageSettings, PublishMessage, QueuePattern, QueueSettings, ReplyTo,
    Settlement, Token, Verdict,
};

use super::messages::check::ALL;
use super::{Check, invariants};
use crate::map::SimTree;
use crate::random::Random;

/// Where all of it happens.
pub(crate) const NAMESPACE: &str = "relay";

/// Numbers of its requests begin here.
const FIRST_REPLY: u64 = 15 << 36;

const IN: &str = "r.in";
const OUT: &str = "r.out";
const LOG: &str = "r.log";
const WORK: &str = "r.work";
const DONE: &str = "r.done";
const KIND: &str = "made";

/// Jobs that run at a time.
const RUNNING_MAX: usize = 3;

#[derive(Debug)]
enum Asked {
    SetUp,
    Publish(u64),
    Lease,
    Settle(JobId, &'static str),
}

/// Who publishes, and who runs what comes of it.
#[derive(Debug)]
pub(crate) struct Relay {
    random: Random,
    next_reply: u64,
    waits: Option<(ReplyTo, Asked)>,
    /// How much of what has to be declared was.
    set_up: usize,
    /// What was sent, and whether its publisher was told that it is there.
    published: BTreeMap<u64, bool>,
    running: Vec<(JobId, Token)>,
    /// What jobs were handed out, and what they say: ended, most say nothing any more.
    seen: BTreeMap<JobId, String>,
    /// Jobs of which somebody was told that they ended, and how.
    ended: BTreeMap<JobId, &'static str>,
}

impl Relay {
    /// That of a run; one of three runs has some.
    pub(crate) fn of(seed: u64) -> Option<Self> {
        let mut random = Random::new(seed.rotate_left(32) ^ 0x7265_6c61_7921);
        random.percent(33).then(|| Self {
            random,
            next_reply: 0,
            waits: None,
            set_up: 0,
            published: BTreeMap::new(),
            running: Vec::new(),
            seen: BTreeMap::new(),
            ended: BTreeMap::new(),
        })
    }

    /// Something to ask, if there is something.
    pub(crate) fn next(&mut self) -> Option<(ReplyTo, Command)> {
        if self.waits.is_some() || self.random.percent(60) {
            return None;
        }
        let (asked, command) = match setup().into_iter().nth(self.set_up) {
            Some(command) => (Asked::SetUp, command),
            None => self.work(),
        };
        self.next_reply += 1;
        let reply_to = ReplyTo(FIRST_REPLY + self.next_reply);
        self.waits = Some((reply_to, asked));
        Some((reply_to, command))
    }

    fn work(&mut self) -> (Asked, Command) {
        if !self.running.is_empty() && self.random.percent(50) {
            let (id, token) = self.running.swap_remove(self.random.index(self.running.len()));
            let (verdict, state) = if self.random.percent(70) {
                let (result, location) = (Some(Bytes::from_static(b"{}")), None);
                let ack =
                    Verdict::Ack { result, location, follow_ups: Vec::new(), next_tick: None };
                (ack, "succeeded")
            } else {
                let (kind, message, backtrace) =
                    ("Broken".to_owned(), String::new(), String::new());
                let error = JobError { kind, message, backtrace };
                (Verdict::Fail { error, retry_in_ms: None }, "dead")
            };
            let settlement = Settlement { id, token, verdict };
            return (Asked::Settle(id, state), Command::SettleJobs(vec![settlement]));
        }
        if self.running.len() < RUNNING_MAX && self.random.percent(40) {
            return (Asked::Lease, Command::LeaseJobs(Box::new(lease())));
        }
        let number = self.published.len() as u64;
        self.published.insert(number, false);
        let message = PublishMessage {
            exchange: IN.to_owned(),
            persistent: true,
            body: number.to_string().into(),
            ..PublishMessage::default()
        };
        let publish = MessageCommand::Publish(vec![message]);
        (Asked::Publish(number), Command::Messages(publish))
    }

    /// An answer that is one of its requests'; it is a promise from here on.
    pub(crate) fn told(&mut self, to: ReplyTo, answer: &Answer) -> Option<Check> {
        let (_, asked) = self.waits.take_if(|(reply_to, _)| *reply_to == to)?;
        Some(self.hear(&asked, answer))
    }

    fn hear(&mut self, asked: &Asked, answer: &Answer) -> Check {
        match (asked, answer) {
            (Asked::SetUp, Answer::Rejected(_)) => {
                return Err(format!("declaring number {} was refused: {answer:?}", self.set_up));
            }
            (Asked::SetUp, _) => self.set_up += 1,
            (Asked::Publish(number), Answer::Messages(MessageAnswer::Published(came))) => {
                if came.iter().any(Result::is_err) {
                    return Err(format!("message {number} was refused: {came:?}"));
                }
                self.published.insert(*number, true);
            }
            (Asked::Lease, Answer::Leased { jobs, .. }) => {
                self.running.extend(jobs.iter().map(|job| (job.id, job.token)));
                self.seen.extend(jobs.iter().map(|job| (job.id, text(&job.args))));
            }
            (Asked::Settle(id, state), Answer::Settled(ends)) => {
                // Where it took too long it runs elsewhere, or is dead.
                if let [Ok(EndKind::Acked | EndKind::Failed)] = ends[..] {
                    self.ended.insert(*id, state);
                }
            }
            _ => return Err(format!("{asked:?} was answered {answer:?}")),
        }
        Ok(())
    }

    /// The process has ended: what was not answered is in doubt.
    pub(crate) fn lost(&mut self) {
        self.waits = None;
    }

    /// Whoever sent this gets no answer; whether it is one of these.
    pub(crate) fn dismissed(&mut self, to: ReplyTo) -> bool {
        self.waits.take_if(|(reply_to, _)| *reply_to == to).is_some()
    }

    /// Checks a state to which nothing was added since its last group. `all_came` where what was
    /// to be told of ends has been routed.
    pub(crate) fn check(&self, map: &SimTree, clock: Clock, all_came: bool) -> Check {
        let jobs = invariants::jobs_of(map, NAMESPACE, None, clock);
        let says = |view: &JobView| match &view.job.args {
            Some(args) => text(&body_of(map, args)),
            None => self.seen.get(&view.job.id).cloned().unwrap_or_default(),
        };
        let made = numbers(jobs.iter().map(says), WORK)?;
        let log = self.bodies(map, LOG)?;
        let logged = numbers(log.into_iter(), LOG)?;
        if let Some(odd) = made.symmetric_difference(&logged).next() {
            return Err(format!("message {odd} is a message or a job, not both"));
        }
        if let Some(odd) = made.iter().find(|number| !self.published.contains_key(number)) {
            return Err(format!("job {odd} is there, and nobody published it"));
        }
        let mut confirmed = self.published.iter().filter(|(_, confirmed)| **confirmed);
        if let Some((lost, _)) = confirmed.find(|(number, _)| !made.contains(number)) {
            return Err(format!("message {lost} was confirmed, and no job came of it"));
        }
        self.check_ends(map, &jobs, all_came)
    }

    fn check_ends(&self, map: &SimTree, jobs: &[JobView], all_came: bool) -> Check {
        let states: BTreeMap<_, _> =
            jobs.iter().map(|view| (view.job.id.to_string(), view)).collect();
        let mut told = BTreeSet::new();
        for body in self.bodies(map, DONE)? {
            let field = |name: &str| {
                let rest = body.split_once(&format!("\"{name}\":\""))?.1;
                Some(rest.split_once('"')?.0.to_owned())
            };
            let (Some(id), Some(state)) = (field("id"), field("state")) else {
                return Err(format!("an end was told as {body}"));
            };
            let is = states.get(&id).map(|view| view.state().name());
            if is != Some(state.as_str()) {
                return Err(format!("job {id} was told as {state}, and is {is:?}"));
            }
            if !told.insert(id.clone()) {
                return Err(format!("the end of job {id} was told twice"));
            }
        }
        for (id, view) in &states {
            let ended = !view.job.phase.is_unfinished();
            if all_came && ended && !told.contains(id) {
                return Err(format!("job {id} is {}, and nobody was told", view.state().name()));
            }
        }
        for (id, state) in &self.ended {
            let is = states.get(&id.to_string()).map(|view| view.state().name());
            if is != Some(state) {
                return Err(format!("job {id} was answered as {state}, and is {is:?}"));
            }
        }
        Ok(())
    }

    /// What the messages of a queue say; nothing before it was declared.
    fn bodies(&self, map: &SimTree, queue: &str) -> Result<Vec<String>, String> {
        let page =
            match peek_messages(map, (NAMESPACE, queue), &MessageFilter::default(), None, ALL) {
                Ok(page) => page,
                Err(_) if self.set_up < setup().len() => return Ok(Vec::new()),
                Err(other) => return Err(format!("looking at queue {queue}: {other}")),
            };
        Ok(page.messages.iter().map(|it| text(&it.message.body)).collect())
    }
}

fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The numbers that these say, each once.
fn numbers(said: impl Iterator<Item = String>, queue: &str) -> Result<BTreeSet<u64>, String> {
    let mut found = BTreeSet::new();
    for text in said {
        let number = text.parse().map_err(|_| format!("queue {queue} has {text:?}"))?;
        if !found.insert(number) {
            return Err(format!("queue {queue} has number {number} twice"));
        }
    }
    Ok(found)
}

/// What has to be declared, once for all lives.
fn setup() -> Vec<Command> {
    let exchange = |name: &str| {
        Command::Messages(MessageCommand::DeclareExchange(Box::new(DeclareExchange {
            exchange: name.to_owned(),
            kind: ExchangeKind::Fanout,
            durable: true,
            auto_delete: false,
            internal: false,
            alternate: None,
            arguments: Bytes::new(),
        })))
    };
    let queue = |name: &str| {
        let settings = MessageSettings { durable: true, ..MessageSettings::default() };
        let (queue, connection) = (name.to_owned(), None);
        Command::Messages(MessageCommand::DeclareQueue(Box::new(DeclareQueue {
            queue,
            settings,
            connection,
        })))
    };
    let bind = |source: &str, destination: &str, job: Option<JobBinding>| {
        Command::Messages(MessageCommand::Bind(Box::new(BindingSpec {
            source: source.to_owned(),
            destination: destination.to_owned(),
            job,
            ..BindingSpec::default()
        })))
    };
    let defaults = JobDefaults { max_attempts: Some(1), ..QueueSettings::DEFAULT.defaults };
    let settings =
        QueueSettings { defaults, outcomes: Some(OUT.to_owned()), ..QueueSettings::DEFAULT };
    let work = Command::PutQueue { queue: WORK.to_owned(), settings };
    let made = JobBinding { kind: KIND.to_owned(), ..JobBinding::default() };
    vec![
        exchange(IN),
        exchange(OUT),
        queue(LOG),
        queue(DONE),
        work,
        bind(OUT, DONE, None),
        bind(IN, LOG, None),
        bind(IN, WORK, Some(made)),
    ]
}

fn lease() -> LeaseJobs {
    LeaseJobs {
        queues: vec![QueuePattern::Exactly(WORK.to_owned())],
        kinds: None,
        max: 1,
        wait_ms: 0,
        lease_ms: None,
        worker: "relay".to_owned(),
        session: String::new(),
        ask: None,
        seen: None,
        settle: Vec::new(),
        prefetch: false,
    }
}
