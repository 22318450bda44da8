//! A level with a job for its breaches. However often the server ends, as many of these jobs are
//! there as breaches were counted: none comes twice, and none is missing. They have the namespace
//! of the relay, in runs where nobody else has it, since nobody chose their ids.

use longshore_engine::wire::Wire;
use longshore_engine::{
    Answer, Clock, Command, EnqueueJobs, JobId, JobTemplate, LeaseJobs, NewJob, QueuePattern,
    ReplyTo, Settlement, Sla, SlaCommand, SlaGoal, SlaSettings, SlaTarget, Token, Verdict,
};

use super::relay::NAMESPACE;
use super::slas::SLA_KEY_FIRST;
use super::{Check, invariants};
use crate::map::SimTree;
use crate::random::Random;

/// Numbers of its requests begin here.
const FIRST_REPLY: u64 = 11 << 36;

const WORK: &str = "b.work";
const ALARMS: &str = "b.alarms";
const LEVEL: &str = "soon";

#[derive(Debug)]
enum Asked {
    SetUp,
    Enqueue,
    Lease,
    Settle,
}

/// Who enqueues what is late now and then, and who runs it. Nobody runs the alarms.
#[derive(Debug)]
pub(crate) struct Breaches {
    random: Random,
    next_reply: u64,
    waits: Option<(ReplyTo, Asked)>,
    set_up: bool,
    enqueued: u64,
    running: Vec<(JobId, Token)>,
}

impl Breaches {
    /// That of a run; half of the runs that could have some do.
    pub(crate) fn of(seed: u64) -> Option<Self> {
        let mut random = Random::new(seed.rotate_left(16) ^ 0x6272_6561_6368);
        random.percent(50).then_some(Self {
            random,
            next_reply: 0,
            waits: None,
            set_up: false,
            enqueued: 0,
            running: Vec::new(),
        })
    }

    /// Something to ask, if there is something.
    pub(crate) fn next(&mut self) -> Option<(ReplyTo, Command)> {
        if self.waits.is_some() || self.random.percent(70) {
            return None;
        }
        let (asked, command) = if self.set_up { self.work() } else { (Asked::SetUp, level()) };
        self.next_reply += 1;
        let reply_to = ReplyTo(FIRST_REPLY + self.next_reply);
        self.waits = Some((reply_to, asked));
        Some((reply_to, command))
    }

    fn work(&mut self) -> (Asked, Command) {
        if let Some((id, token)) = self.running.pop() {
            let (result, location) = (None, None);
            let verdict =
                Verdict::Ack { result, location, follow_ups: Vec::new(), next_tick: None };
            return (Asked::Settle, Command::SettleJobs(vec![Settlement { id, token, verdict }]));
        }
        if self.random.percent(60) {
            return (Asked::Lease, Command::LeaseJobs(Box::new(lease())));
        }
        self.enqueued += 1;
        let mut id = [0xb; 16];
        id[8..].copy_from_slice(&self.enqueued.to_be_bytes());
        let jobs = vec![NewJob::new(JobId(id), "work", "{}")];
        (Asked::Enqueue, Command::EnqueueJobs(EnqueueJobs { queue: WORK.to_owned(), jobs }))
    }

    /// An answer that is one of its requests'.
    pub(crate) fn told(&mut self, to: ReplyTo, answer: &Answer) -> Option<Check> {
        let (_, asked) = self.waits.take_if(|(reply_to, _)| *reply_to == to)?;
        Some(self.hear(&asked, answer))
    }

    fn hear(&mut self, asked: &Asked, answer: &Answer) -> Check {
        match (asked, answer) {
            (Asked::SetUp, Answer::Sla(_)) => self.set_up = true,
            (Asked::Lease, Answer::Leased { jobs, .. }) => {
                self.running.extend(jobs.iter().map(|job| (job.id, job.token)));
            }
            (Asked::Enqueue, Answer::Enqueued(_)) | (Asked::Settle, Answer::Settled(_)) => {}
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
}

/// Checks a state to which nothing was added since its last group.
pub(crate) fn check(map: &SimTree, clock: Clock) -> Check {
    let mut breaches = 0;
    for (_, value) in map.entries.range(vec![SLA_KEY_FIRST]..vec![SLA_KEY_FIRST + 1]) {
        let level = Sla::from_bytes(value).map_err(|error| format!("a level: {error}"))?;
        if level.settings.breach.is_some() {
            breaches += level.breaches;
        }
    }
    let jobs = invariants::jobs_of(map, NAMESPACE, None, clock);
    let alarms = jobs.iter().filter(|view| view.job.queue == ALARMS).count() as u64;
    if alarms == breaches {
        return Ok(());
    }
    Err(format!("a level was breached {breaches} times, and {alarms} jobs came of it"))
}

/// The level, which is set once for all lives.
fn level() -> Command {
    let alarm = NewJob::new(JobId::default(), "page", "{}");
    let settings = SlaSettings {
        target: SlaTarget::Queue { name: WORK.to_owned() },
        goal: SlaGoal::StartedWithin { within_ms: 3_000 },
        share: 5_000,
        breach: Some(Box::new(JobTemplate::of(ALARMS.to_owned(), alarm))),
    };
    let (name, settings) = (LEVEL.to_owned(), Box::new(settings));
    Command::Sla(SlaCommand::Put { name, settings })
}

fn lease() -> LeaseJobs {
    LeaseJobs {
        queues: vec![QueuePattern::Exactly(WORK.to_owned())],
        kinds: None,
        max: 4,
        wait_ms: 0,
        lease_ms: None,
        worker: "breaches".to_owned(),
        session: String::new(),
        ask: None,
        seen: None,
        settle: Vec::new(),
        prefetch: false,
    }
}
