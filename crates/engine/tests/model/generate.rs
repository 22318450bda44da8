//! Commands drawn from a seed, most of them about things that exist.

use bytes::Bytes;
use longshore_engine::{AccountChange, AccountCommand, NewToken};
use longshore_engine::{
    CheckpointJob, Command, ConsumerId, Credit, Delivery, EnqueueJobs, Epoch, Extension, FollowUp,
    GateChange, GateClosed, GateCommand, HoldCommand, Holder, JobAction, JobDefaults, JobError,
    JobFilter, JobId, JobLimit, JobState, JobTemplate, JobsChange, KindCommand, KindInQueue,
    KindRange, KindSettings, LeaseJobs, LimitRule, LimitScope, LimitSettings, Missed, NewJob,
    NewSchedule, NewUnique, OnConflict, OperationId, OperationKind, Overlap, QueuePattern,
    QueueSettings, RetryFrom, RetryPolicy, ScheduleCommand, Settlement, Spec, Start, Subscribe,
    TimeMs, Token, UniqueUntil, Verdict,
};
use longshore_engine::{SlaCommand, SlaGoal, SlaSettings, SlaTarget, TenantWeight};

use crate::random::Random;
use crate::reference::{KNOWN, Reference};

const QUEUES: [&str; 5] = ["q", "q2", "low", "x.y", "other"];
const KINDS: [&str; 5] = ["k1", "k2", "k3", "k4", "longshore.shell"];
const KEYS: [&str; 2] = ["key", "lock"];
const LIMITS: [&str; 3] = ["l1", "l2", "l3"];
const GATES: [&str; 8] = ["g", "g2", "g3", "g4", "g5", "g6", "g7", "gate"];
const TENANTS: [&str; 3] = ["acme", "big", "small"];
const TAGS: [&str; 3] = ["shard=1", "shard=2", "x"];
const WORKERS: [&str; 3] = ["w1", "w2", "w3"];
const NAMESPACES: [&str; 6] = ["default", "default", "default", "default", "a", "b"];

/// What commands are drawn from.
#[derive(Debug)]
pub(crate) struct Generator {
    pub(crate) random: Random,
    /// Whether requests may wait for jobs.
    pub(crate) waits: bool,
    /// What workers were handed, with the namespace; old ones are forgotten at random.
    pub(crate) handed: Vec<(String, Delivery)>,
    asks: Vec<u64>,
    /// The last stream of each session that has some.
    streams: [Option<ConsumerId>; 3],
    next_id: u64,
}

impl Generator {
    pub(crate) fn new(random: Random, waits: bool) -> Self {
        let asks = vec![1; WORKERS.len() * 2];
        let streams = [None; 3];
        Self { random, waits, handed: Vec::new(), asks, streams, next_id: 1000 }
    }

    /// A worker was handed jobs.
    pub(crate) fn learn(&mut self, namespace: &str, jobs: &[Delivery]) {
        self.handed.extend(jobs.iter().map(|job| (namespace.to_owned(), job.clone())));
        while self.handed.len() > 24 {
            let index = self.random.below(self.handed.len() as u64);
            self.handed.remove(index as usize);
        }
    }

    pub(crate) fn command(&mut self, known: &Reference, now: TimeMs) -> (String, Command) {
        let namespace = (*self.random.pick(&NAMESPACES)).to_owned();
        let command = match self.random.below(110) {
            100.. => Command::Stream(crate::events::command(&mut self.random, known)),
            0..25 => self.enqueue(now),
            25..51 if self.waits && self.random.percent(35) => return self.stream(),
            25..51 => return self.lease(),
            51..66 => return self.settle(),
            66..69 => return self.extend(),
            69..75 => return self.save(),
            75..78 => {
                let waits = self.waits && self.random.percent(50);
                let wait_ms = if waits { self.random.below(70_000) } else { 0 };
                Command::AwaitJob { id: self.job_id(known), wait_ms }
            }
            78 if self.random.percent(50) => Command::WithdrawJob { id: self.job_id(known) },
            78 => Command::RemoveJob { id: self.job_id(known) },
            79 | 80 => {
                let force = self.random.percent(30);
                Command::CancelJob { id: self.job_id(known), force }
            }
            81 | 82 => {
                let (id, span) = (self.job_id(known), self.span());
                let past = self.random.percent(20);
                let start = if past { Start::At(TimeMs(now.0 / 2)) } else { Start::After(span) };
                Command::RescheduleJob { id, start }
            }
            83 | 84 => Command::RetryJob { id: self.job_id(known), from: self.retry_from() },
            85..87 => Command::PauseJob { id: self.job_id(known) },
            87 | 88 => Command::ResumeJob { id: self.job_id(known) },
            90 if self.random.percent(50) => self.sla_command(),
            89 if self.random.percent(50) => self.queue_command(now),
            89 | 96 => Command::Gates(self.gate_command(now)),
            91..95 => self.operation(now),
            95 if self.waits => self.of_schedule(now),
            90 => self.limit_command(),
            95 => Command::Holds(self.hold_command()),
            98 if self.random.percent(60) => {
                Command::Accounts(account_command(&mut self.random, now))
            }
            97 => Command::ListQueues { after: None, limit: self.random.below(4) as usize },
            _ => match self.random.below(5) {
                0 => Command::CreateNamespace,
                1 => Command::DeleteNamespace,
                2 => {
                    let after = self.random.percent(50).then(|| namespace.clone());
                    Command::ListNamespaces { after, limit: self.random.below(4) as usize }
                }
                3 => Command::ListOperations,
                _ => Command::GetNamespace,
            },
        };
        (namespace, command)
    }

    fn job_id(&mut self, known: &Reference) -> JobId {
        let ids = known.ids();
        if ids.is_empty() || self.random.percent(10) {
            return client_id(self.random.below(12));
        }
        self.random.pick(&ids).1
    }

    fn cursor(&mut self) -> Bytes {
        let long = self.random.percent(3);
        if long {
            Bytes::from(vec![b'9'; 70])
        } else {
            Bytes::from(self.random.below(9).to_string())
        }
    }

    fn retry_from(&mut self) -> RetryFrom {
        match self.random.below(5) {
            0 => RetryFrom::Beginning,
            1 => RetryFrom::Cursor(self.cursor()),
            _ => RetryFrom::Kept,
        }
    }

    fn queue(&mut self) -> String {
        (*self.random.pick(&QUEUES)).to_owned()
    }

    fn span(&mut self) -> u64 {
        match self.random.below(6) {
            0 => self.random.below(3),
            1 => self.random.below(1500),
            2 => 1000 * self.random.below(10),
            3 => self.random.below(60_000),
            4 => self.random.below(3_600_000),
            _ => 1 + self.random.below(20_000),
        }
    }

    fn start(&mut self, now: TimeMs) -> Start {
        match self.random.below(5) {
            0 => Start::At(TimeMs(now.0.saturating_sub(self.random.below(5000)))),
            1 => Start::At(now.plus(self.span())),
            _ => Start::After(self.span()),
        }
    }

    fn policy(&mut self) -> RetryPolicy {
        // In small slices the order of ends, and with it the chance of each, is another.
        let exact = self.waits;
        match self.random.below(4) {
            0 if exact => RetryPolicy::Sidekiq,
            1 => RetryPolicy::Constant { delay_ms: 0 },
            0 | 2 => RetryPolicy::Constant { delay_ms: self.span() },
            _ => RetryPolicy::Exponential {
                base_ms: 100,
                factor_percent: 200,
                cap_ms: 10_000,
                jitter_percent: if exact { 30 } else { 0 },
            },
        }
    }

    fn args(&mut self) -> Bytes {
        let length = match self.random.below(20) {
            0 => 5000,
            1 => 9000,
            _ => self.random.below(40),
        };
        Bytes::from(vec![b'0' + self.random.below(10) as u8; length as usize])
    }

    fn new_job(&mut self, now: TimeMs) -> NewJob {
        self.next_id += 1;
        let named = self.random.percent(40);
        let id = if named { client_id(self.random.below(12)) } else { server_id(self.next_id) };
        let kind = if self.random.percent(1) { "" } else { *self.random.pick(&KINDS) };
        let args = self.args();
        let random = &mut self.random;
        let mut new = NewJob::new(id, kind, args);
        new.fingerprint = named.then(|| [random.below(8).min(1) as u8; 16]);
        new.priority = random.maybe(40, |r| r.below(3) as u8);
        new.ordering_key = random.maybe(30, |r| (*r.pick(&KEYS)).to_owned());
        new.at_most_once = random.percent(15);
        new.max_attempts = random.maybe(40, |r| (r.below(5) as u32).max(u32::from(r.percent(95))));
        new.lease_ms = random.maybe(20, |r| 900 + r.below(40_000));
        new.start = self.random.percent(35).then(|| self.start(now));
        new.expiry = self.random.percent(15).then(|| self.start(now));
        new.timeout_ms = self.random.percent(15).then(|| self.span());
        new.max_age_ms = self.random.percent(15).then(|| self.span());
        new.retain_ms = self.random.percent(25).then(|| self.span());
        new.retry = Some(self.policy());
        new.cursor = self.random.percent(8).then(|| self.cursor());
        new.unique = self.random.maybe(25, unique);
        new.limit = self.random.maybe(30, |random| JobLimit {
            name: (*random.pick(&LIMITS)).to_owned(),
            key: (*random.pick(&KEYS)).to_owned(),
        });
        if let Some(first) = &new.limit {
            let others = LIMITS.iter().filter(|name| **name != first.name);
            let others: Vec<&str> = others.copied().collect();
            let further = self.random.maybe(40, |random| JobLimit {
                name: (*random.pick(&others)).to_owned(),
                key: (*random.pick(&KEYS)).to_owned(),
            });
            new.limits = further.into_iter().collect();
        }
        new.version = self.random.maybe(40, |random| random.below(4) as u32).unwrap_or(0);
        new.tenant = self.random.maybe(30, |random| (*random.pick(&TENANTS)).to_owned());
        new.tags = self.random.maybe(25, tags).unwrap_or_default();
        new.gates = self.random.maybe(25, gates).unwrap_or_default();
        new
    }

    fn enqueue(&mut self, now: TimeMs) -> Command {
        let count = if self.random.percent(60) { 1 } else { self.random.below(10) };
        let jobs = (0..count).map(|_| self.new_job(now)).collect();
        Command::EnqueueJobs(EnqueueJobs { queue: self.queue(), jobs })
    }

    fn of_schedule(&mut self, now: TimeMs) -> Command {
        let name = (*self.random.pick(&["s1", "s2"])).to_owned();
        let command = match self.random.below(14) {
            0 => ScheduleCommand::Delete,
            1 => ScheduleCommand::Pause,
            2 | 3 => ScheduleCommand::Resume,
            4 | 5 => ScheduleCommand::Run,
            6 => ScheduleCommand::SetNext(self.start(now)),
            7 => ScheduleCommand::Get,
            _ => {
                let paused = self.random.maybe(10, |random| random.percent(50));
                let settings = Box::new(self.schedule(now));
                ScheduleCommand::Put { settings, paused }
            }
        };
        Command::OfSchedule { name, command }
    }

    fn schedule(&mut self, now: TimeMs) -> NewSchedule {
        let job = JobTemplate::of(self.queue(), self.new_job(now));
        let random = &mut self.random;
        let often = random.percent(50);
        let missed = match random.below(if often { 2 } else { 4 }) {
            0 => Missed::Skip,
            1 => Missed::One,
            2 => Missed::All,
            _ => Missed::Within { ms: 3_600_000 * random.below(9) + 1 },
        };
        let spec = match random.below(4) {
            0 => Spec::Cron { text: KNOWN[usize::from(!often)].0.to_owned() },
            _ if often => Spec::Every { period_ms: 900 + random.below(600_000) },
            _ => Spec::Every { period_ms: 7_200_000 + random.below(9_000_000) },
        };
        let overlaps = [Overlap::Allow, Overlap::Skip, Overlap::QueueOne, Overlap::CancelPrevious];
        let overlap = *random.pick(&overlaps);
        let starts_at = random.maybe(15, |random| TimeMs(now.0 - 50_000 + random.below(100_000)));
        let ends_at = random.maybe(15, |random| TimeMs(now.0 + random.below(90_000_000)));
        NewSchedule { missed, overlap, starts_at, ends_at, ..NewSchedule::new(spec, job) }
    }

    fn lease(&mut self) -> (String, Command) {
        let who = self.random.below(self.asks.len() as u64) as usize;
        let settle = if self.random.percent(30) { self.settlements(None).1 } else { Vec::new() };
        let asks = self.random.percent(60).then(|| self.ask(who));
        let random = &mut self.random;
        let pattern = |random: &mut Random| match random.below(6) {
            0 => QueuePattern::Prefix(String::new()),
            1 => QueuePattern::Prefix("q".to_owned()),
            _ => QueuePattern::Exactly((*random.pick(&QUEUES)).to_owned()),
        };
        let queues = (0..=random.below(3)).map(|_| pattern(random)).collect();
        let kinds =
            random.maybe(25, |random| (0..random.below(3)).map(|_| kind_range(random)).collect());
        let waits = self.waits && random.percent(50);
        let request = LeaseJobs {
            queues,
            kinds,
            max: random.below(5).max(u64::from(random.percent(90))) as usize,
            wait_ms: if waits { random.below(50_000) } else { 0 },
            lease_ms: random.maybe(30, |random| 900 + random.below(60_000)),
            worker: WORKERS[who / 2].to_owned(),
            session: ["s1", "s2"][who % 2].to_owned(),
            ask: asks.map(|(ask, _)| ask),
            seen: asks.and_then(|(_, seen)| seen),
            settle,
            prefetch: false,
        };
        // Workers stay in a namespace, or their asks would mean nothing.
        let namespace = ["default", "default", "default", "a"][who % 4].to_owned();
        (namespace, Command::LeaseJobs(Box::new(request)))
    }

    /// A stream gives credit, or there is a new one.
    fn stream(&mut self) -> (String, Command) {
        let who = self.random.below(self.streams.len() as u64) as usize;
        let namespace = ["default", "default", "a"][who].to_owned();
        let random = &mut self.random;
        let bytes = if random.percent(70) { 1 << 20 } else { random.below(9000) };
        let credit = Credit { jobs: random.below(4) as usize, bytes };
        let consumer = self.streams[who].filter(|_| random.percent(75));
        if let Some(consumer) = consumer {
            let settle =
                if self.random.percent(60) { self.settlements(None).1 } else { Vec::new() };
            return (namespace, Command::AddCredit { consumer, credit, settle });
        }
        let (_, Command::LeaseJobs(wish)) = self.lease() else { unreachable!() };
        self.next_id += 1;
        let consumer = ConsumerId(self.next_id);
        self.streams[who] = Some(consumer);
        let command = Subscribe {
            consumer,
            holder: Holder { worker: "streaming".to_owned(), session: format!("t{who}") },
            queues: wish.queues.into_iter().map(|queue| (queue, 0)).collect(),
            kinds: wish.kinds,
            lease_ms: wish.lease_ms,
            credit,
        };
        (namespace, Command::Subscribe(Box::new(command)))
    }

    fn ask(&mut self, who: usize) -> (u64, Option<u64>) {
        let last = self.asks[who];
        let ask = match self.random.below(10) {
            0 => last,
            1 => last.saturating_sub(1),
            _ => last + 1,
        };
        self.asks[who] = last.max(ask);
        let seen = match self.random.below(6) {
            0 => None,
            1 => Some(ask.saturating_sub(2)),
            2 => Some(ask.saturating_sub(3)),
            _ => Some(ask.saturating_sub(1)),
        };
        (ask, seen)
    }

    fn settlements(&mut self, namespace: Option<&str>) -> (String, Vec<Settlement>) {
        let fallback = namespace.unwrap_or("default").to_owned();
        if self.handed.is_empty() {
            return (fallback, Vec::new());
        }
        let mut settlements = Vec::new();
        let mut chosen = fallback;
        for index in 0..=self.random.below(3) {
            let (namespace, job) = self.random.pick(&self.handed).clone();
            if index == 0 {
                chosen = namespace;
            }
            let mut token = job.token;
            if self.random.percent(5) {
                token = Token { epoch: Epoch(1), counter: self.random.below(token.counter + 2) };
            }
            settlements.push(Settlement { id: job.id, token, verdict: self.verdict() });
        }
        (chosen, settlements)
    }

    fn verdict(&mut self) -> Verdict {
        match self.random.below(12) {
            0..4 => Verdict::Ack {
                result: self.random.percent(50).then(|| self.args()),
                location: self.random.maybe(20, |_| "/thing/1".to_owned()),
                follow_ups: self.follow_ups(),
                next_tick: self.random.percent(4).then(|| Start::After(self.span())),
            },
            4..7 => Verdict::Fail {
                error: oops(),
                retry_in_ms: self.random.percent(40).then(|| self.span()),
            },
            7 => Verdict::Snooze { delay_ms: self.span() },
            8 => Verdict::Release,
            9 | 10 => Verdict::Interrupt {
                reason: if self.random.percent(5) { "" } else { "deploy" }.to_owned(),
                delay_ms: self.random.percent(40).then(|| self.span()),
            },
            _ => Verdict::Discard { error: self.random.percent(50).then(oops) },
        }
    }

    fn follow_ups(&mut self) -> Vec<FollowUp> {
        let count = if self.random.percent(75) { 0 } else { self.random.below(4) };
        let now = TimeMs(1_700_000_000_000);
        (0..count).map(|_| FollowUp { queue: self.queue(), job: self.new_job(now) }).collect()
    }

    fn settle(&mut self) -> (String, Command) {
        let (namespace, settlements) = self.settlements(None);
        (namespace, Command::SettleJobs(settlements))
    }

    fn extend(&mut self) -> (String, Command) {
        let handed = &self.handed;
        if handed.is_empty() {
            return ("default".to_owned(), Command::ExtendLeases(Vec::new()));
        }
        let (namespace, job) = self.random.pick(handed).clone();
        let random = &mut self.random;
        let extension = Extension {
            id: job.id,
            token: job.token,
            lease_ms: random.maybe(30, |random| 900 + random.below(60_000)),
            progress: random.maybe(40, |random| random.below(12_000) as u16),
            progress_text: random.maybe(20, |_| "half of it".to_owned()),
        };
        (namespace, Command::ExtendLeases(vec![extension]))
    }

    fn save(&mut self) -> (String, Command) {
        if self.handed.is_empty() {
            return ("default".to_owned(), Command::CheckpointJobs(Vec::new()));
        }
        let mut told = Vec::new();
        let (namespace, _) = self.random.pick(&self.handed).clone();
        for _ in 0..=self.random.below(2) {
            let (_, job) = self.random.pick(&self.handed).clone();
            let random = &mut self.random;
            let text = |random: &mut Random| {
                Bytes::from(vec![b'1' + random.below(4) as u8; 1 + random.below(66) as usize])
            };
            let names = ["rows", "errors", "bytes", "other", ""];
            let counters = random.below(3);
            let skipped = random.below(3).saturating_sub(1);
            told.push(CheckpointJob {
                id: job.id,
                token: job.token,
                seq: random.maybe(60, |random| random.below(5)),
                lease_ms: random.maybe(20, |random| 900 + random.below(60_000)),
                cursor: random.maybe(70, |random| Bytes::from(random.below(9).to_string())),
                progress: random.maybe(30, |random| random.below(12_000) as u16),
                progress_text: random.maybe(20, |_| "a third of it".to_owned()),
                counters: (0..counters)
                    .map(|_| {
                        let name = names[random.below(5).min(random.below(6)) as usize];
                        (name.to_owned(), random.next().cast_signed() >> random.below(64))
                    })
                    .collect(),
                skipped: (0..skipped).map(|_| (text(random), oops())).collect(),
                counters_dropped: skipped,
                skipped_dropped: counters / 2,
            });
        }
        (namespace, Command::CheckpointJobs(told))
    }

    fn queue_command(&mut self, now: TimeMs) -> Command {
        let queue = self.queue();
        match self.random.below(6) {
            0 => Command::DeleteQueue { queue },
            1 if self.random.percent(40) => Command::Kinds(kind_command(&mut self.random, &queue)),
            1 if self.random.percent(40) => Command::Kinds(self.put_kind(now)),
            1 => Command::GetQueue { queue },
            2 | 3 => Command::PauseQueue { queue, paused: self.random.percent(40) },
            _ => {
                let defaults = self.job_defaults(now);
                let max_length = self.random.maybe(30, |random| random.below(12));
                let paused = self.random.percent(10);
                let weights = self.random.below(4) as usize;
                let weighed = TENANTS.iter().take(weights);
                let tenants = weighed.map(|tenant| TenantWeight {
                    tenant: (*tenant).to_owned(),
                    weight: 1 + self.random.below(3) as u32,
                });
                let tenants = tenants.collect();
                let settings = QueueSettings {
                    paused,
                    max_length,
                    defaults,
                    tenants,
                    ..QueueSettings::DEFAULT
                };
                Command::PutQueue { queue, settings }
            }
        }
    }

    fn job_defaults(&mut self, now: TimeMs) -> JobDefaults {
        let policy = self.policy();
        let template = self.new_job(now);
        let ttl_ms = self.random.percent(20).then(|| self.span());
        JobDefaults {
            priority: template.priority,
            lease_ms: template.lease_ms,
            timeout_ms: template.timeout_ms.filter(|ms| *ms > 0),
            retry: Some(policy),
            max_attempts: template.max_attempts,
            max_age_ms: template.max_age_ms.filter(|ms| *ms > 0),
            ttl_ms: ttl_ms.filter(|ms| *ms > 0),
            retain_ms: template.retain_ms,
        }
    }

    fn put_kind(&mut self, now: TimeMs) -> KindCommand {
        let name = (*self.random.pick(&KINDS)).to_owned();
        let reset = self.random.percent(30);
        let defaults = if reset { JobDefaults::default() } else { self.job_defaults(now) };
        KindCommand::Put { name, settings: Box::new(KindSettings { defaults }) }
    }

    fn sla_command(&mut self) -> Command {
        let (queue, random) = (self.queue(), &mut self.random);
        let name = (*random.pick(&LIMITS)).to_owned();
        let target = if random.percent(60) {
            SlaTarget::Queue { name: queue }
        } else {
            SlaTarget::Kind { name: (*random.pick(&KINDS)).to_owned() }
        };
        let within_ms = [1, 1_000, 60_000, 7_200_000][random.below(4) as usize];
        let goal = if random.percent(50) {
            SlaGoal::StartedWithin { within_ms }
        } else {
            SlaGoal::DoneWithin { within_ms }
        };
        let settings = Box::new(SlaSettings { target, goal, share: 9_900, breach: None });
        Command::Sla(match random.below(6) {
            0 => SlaCommand::Delete { name },
            1 => SlaCommand::Get { name },
            2 => SlaCommand::List,
            _ => SlaCommand::Put { name, settings },
        })
    }

    fn limit_command(&mut self) -> Command {
        let (queue, random) = (self.queue(), &mut self.random);
        let name = (*random.pick(&LIMITS)).to_owned();
        let scope = match random.below(7) {
            0 => LimitScope::Namespace,
            1 => LimitScope::Queue { name: random.percent(50).then_some(queue) },
            2 => {
                let name = random.maybe(50, |random| (*random.pick(&KINDS)).to_owned());
                LimitScope::Kind { name }
            }
            _ => LimitScope::Key,
        };
        let period_ms = [1_000, 20_000, 600_000][random.below(3) as usize];
        let max = 1 + random.below(3);
        let rule = match random.below(5) {
            0 => LimitRule::Window { max, period_ms },
            1 => LimitRule::Bucket { burst: max, count: 1 + random.below(3), period_ms },
            _ => LimitRule::Concurrency { max },
        };
        match random.below(10) {
            0 => Command::GetLimit { name },
            1 => Command::ListLimits,
            2..4 => Command::DeleteLimit { name },
            _ => Command::PutLimit { name, settings: LimitSettings { scope, rule } },
        }
    }

    fn gate_command(&mut self, now: TimeMs) -> GateCommand {
        let name = (*self.random.pick(&GATES)).to_owned();
        match self.random.below(12) {
            0 => return GateCommand::Get { name },
            1 => return GateCommand::List,
            2 => return GateCommand::Delete { name },
            _ => {}
        }
        let closed = self.random.percent(50);
        let expiry = (closed && self.random.percent(40)).then(|| self.start(now));
        let queue = self.queue();
        let random = &mut self.random;
        let reason = random.maybe(30, |random| format!("reason {}", random.below(3)));
        let reason = reason.filter(|_| closed || random.percent(5));
        let closed = GateClosed { closed, reason, expiry };
        let closed = (!random.percent(10)).then_some(closed);
        let queues = random.maybe(20, |random| Vec::from_iter(random.percent(60).then_some(queue)));
        let kinds = random.maybe(20, |random| {
            (0..random.below(3)).map(|_| (*random.pick(&KINDS)).to_owned()).collect()
        });
        GateCommand::Change { name, change: GateChange { closed, queues, kinds } }
    }

    fn hold_command(&mut self) -> HoldCommand {
        let random = &mut self.random;
        let tag = (*random.pick(&TAGS)).to_owned();
        let wait_ms = if self.waits && random.percent(50) { random.below(70_000) } else { 0 };
        match random.below(12) {
            0 => HoldCommand::List,
            1 | 2 => HoldCommand::Get { tag, wait_ms },
            3..8 => HoldCommand::Delete { tag },
            _ => {
                let reason = random.maybe(30, |random| format!("reason {}", random.below(3)));
                HoldCommand::Put { tag, reason, wait_ms }
            }
        }
    }

    fn jobs_change(&mut self, now: TimeMs) -> JobsChange {
        let queue = self.queue();
        let random = &mut self.random;
        let action = match random.below(6) {
            0 => JobAction::Retry,
            1 => JobAction::Cancel { force: random.percent(30) },
            2 | 3 => JobAction::Move { queue: (*random.pick(&QUEUES)).to_owned() },
            4 => JobAction::Remove,
            _ => JobAction::SetPriority { priority: random.below(3) as u8 },
        };
        let state = random.maybe(50, |random| {
            let any = random.percent(10);
            *random.pick(if any { &JobState::ALL[..] } else { action.states() })
        });
        let filter = JobFilter {
            queue: random.maybe(40, |_| queue),
            state,
            kind: random.maybe(20, |random| (*random.pick(&KINDS)).to_owned()),
            tag: random.maybe(10, |random| (*random.pick(&TAGS)).to_owned()),
            ordering_key: random.maybe(10, |random| (*random.pick(&KEYS)).to_owned()),
            tenant: random.maybe(10, |random| (*random.pick(&TENANTS)).to_owned()),
            error: random.maybe(10, |_| "Oops".to_owned()),
            text: random.maybe(10, |random| random.below(10).to_string()),
            before: random.maybe(15, |random| TimeMs(now.0 - random.below(30_000))),
            since: random.maybe(15, |random| TimeMs(now.0 - random.below(30_000))),
        };
        let limit = random.maybe(30, |random| 1 + random.below(5));
        JobsChange { filter, action, limit }.normal()
    }

    fn operation(&mut self, now: TimeMs) -> Command {
        let id = OperationId(1 + self.random.below(20));
        let queue = self.queue();
        let some_queue = self.random.maybe(50, |_| queue.clone());
        let kind = self.random.maybe(25, |random| (*random.pick(&KINDS)).to_owned());
        let before = self.random.percent(25).then(|| TimeMs(now.0 - self.random.below(30_000)));
        let limit = self.random.maybe(40, |random| random.below(6));
        if self.random.percent(55) {
            let change = Box::new(self.jobs_change(now));
            return Command::StartOperation(OperationKind::ChangeJobs { change });
        }
        match self.random.below(12) {
            0..3 => Command::StartOperation(OperationKind::PurgeQueue { queue, kind, before }),
            3..7 => {
                let queue = some_queue;
                Command::StartOperation(OperationKind::RetryDead { queue, kind, before, limit })
            }
            7 => {
                let queue = some_queue;
                Command::StartOperation(OperationKind::PurgeDead { queue, kind, before, limit })
            }
            8..10 => Command::StartOperation(OperationKind::DeleteQueue { queue }),
            10 => Command::CancelOperation { id },
            _ => Command::GetOperation { id },
        }
    }
}

fn unique(random: &mut Random) -> NewUnique {
    let until = [UniqueUntil::Started, UniqueUntil::Ended, UniqueUntil::Forgotten];
    let on_conflict = match random.below(7) {
        0 => OnConflict::Reject,
        1 | 2 => OnConflict::Existing,
        3 | 4 => OnConflict::Replace { args: random.percent(70), time: random.percent(50) },
        5 => OnConflict::Debounce,
        _ => OnConflict::Throttle,
    };
    NewUnique {
        key: [random.below(3) as u8; 16],
        period_ms: random.maybe(50, |random| [0, 1, 10_000, 3_600_000][random.below(4) as usize]),
        until: until[random.below(3) as usize],
        on_conflict,
        spans_queues: true,
    }
}

fn tags(random: &mut Random) -> Vec<String> {
    (0..=random.below(2)).map(|_| (*random.pick(&TAGS)).to_owned()).collect()
}

fn gates(random: &mut Random) -> Vec<String> {
    (0..=random.below(2)).map(|_| (*random.pick(&GATES)).to_owned()).collect()
}

fn oops() -> JobError {
    JobError { kind: "Oops".to_owned(), message: "no".to_owned(), backtrace: "here".to_owned() }
}

fn client_id(n: u64) -> JobId {
    JobId([n as u8 + 1; 16])
}

fn server_id(n: u64) -> JobId {
    let mut id = [0; 16];
    id[0] = 0xf0;
    id[8..].copy_from_slice(&n.to_be_bytes());
    JobId(id)
}

fn account_command(random: &mut Random, now: TimeMs) -> AccountCommand {
    let (name, by) = (format!("account-{}", random.below(3)), "somebody".to_owned());
    let token = |random: &mut Random| format!("t{}", random.below(2));
    match random.below(10) {
        0 => AccountCommand::Get { name },
        1 => {
            let after = random.percent(50).then_some(name);
            AccountCommand::List { after, limit: random.below(4) as usize }
        }
        2 | 3 => AccountCommand::Delete { name, by },
        _ => {
            let mut change = AccountChange::default();
            match random.below(5) {
                0 => {
                    change.requests_per_second =
                        Some(random.maybe(70, |it| it.below(9) as u32 + 1));
                }
                1 => change.certificates = Some(vec![format!("CN={}", random.below(3))]),
                2 => change.revoke_token = Some(token(random)),
                _ => {
                    let (id, byte) = (token(random), random.below(2) as u8);
                    let expires_at = random.maybe(50, |it| now.plus(it.below(20_000)));
                    let hash = Bytes::from(vec![byte; 32]);
                    change.add_token = Some(NewToken { id, hash, expires_at });
                }
            }
            let create = random.percent(80);
            AccountCommand::Change { name, create, change: Box::new(change), by }
        }
    }
}

/// Versions of a kind that a worker runs; now and then none.
fn kind_range(random: &mut Random) -> KindRange {
    let kind = (*random.pick(&KINDS)).to_owned();
    let from = if random.percent(40) { 0 } else { random.below(4) as u32 };
    let to = if random.percent(5) { from.saturating_sub(1) } else { from + random.below(3) as u32 };
    KindRange { kind, from, to }
}

fn kind_command(random: &mut Random, queue: &str) -> KindCommand {
    let kind = |random: &mut Random| (*random.pick(&KINDS)).to_owned();
    match random.below(3) {
        0 => {
            let after = random.maybe(30, |random| (kind(random), random.below(4) as u32));
            KindCommand::List { after, limit: 1 + random.below(6) as usize }
        }
        1 => KindCommand::Get { name: kind(random) },
        _ => {
            let of = |random: &mut Random| {
                let version = random.below(4) as u32;
                KindInQueue { queue: queue.to_owned(), kind: kind(random), version }
            };
            KindCommand::Unserved { of: (0..3).map(|_| of(random)).collect() }
        }
    }
}
