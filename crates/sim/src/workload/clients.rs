//! Producers, workers and administrators, as far as they have a mind of their own: what each
//! sends next, and what it makes of an answer or of a broken connection.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::{
    Answer, CheckpointJob, Command, ConsumerId, Credit, Delivery, EnqueueJobs, HeldLease,
    LeaseJobs, ReplyTo, SessionView, Settlement, Subscribe, Token,
};

use super::expected::Expecting;
use super::ops::checkpoint::Headway;
use super::shadow::Shadow;
use super::{accounts, keyed, ops, versions};
use crate::random::Random;

/// Settlements that a worker goes on telling.
const UNTOLD_MAX: usize = 6;

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) namespace: usize,
    pub(crate) waiting: Option<ReplyTo>,
    sent: Option<Command>,
    role: Role,
    /// The chance by which an administrator changes accounts, where it does.
    accounts: Option<Random>,
    /// Whether its jobs have versions, or it names some.
    versions: bool,
    /// The chance by which an administrator sends commands with keys, where it does.
    keys: Option<Random>,
    /// What an administrator expects, where it does.
    expecting: Option<Expecting>,
}

#[derive(Debug)]
enum Role {
    Producer { again: Option<EnqueueJobs> },
    Worker(Box<Worker>),
    Admin { operates: bool },
}

#[derive(Debug)]
struct Worker {
    name: String,
    session: u64,
    /// Whether it counts its turns.
    turns: bool,
    turn: u64,
    seen: u64,
    held: Vec<Delivery>,
    /// Ends that were not answered yet.
    untold: Vec<Settlement>,
    /// A request whose answer did not arrive.
    again: Option<Box<LeaseJobs>>,
    headway: BTreeMap<Token, Headway>,
    /// A checkpoint that was not answered yet: told again as it is, for it may have counted.
    unsaved: Option<CheckpointJob>,
    /// Where it has a stream, how that is.
    stream: Option<Stream>,
}

/// The stream of a worker, and what the server does for its sessions.
#[derive(Debug, Default)]
struct Stream {
    /// It has said hello and was welcomed.
    open: bool,
    /// Runs of which it said that they have started.
    started: BTreeSet<Token>,
    /// A session of its whose time to come back is over.
    ending: Option<u64>,
    /// As what it takes jobs, where it does.
    consumer: Option<ConsumerId>,
    /// What it took jobs as before.
    gone: Vec<ConsumerId>,
}

impl Stream {
    /// It takes no jobs any more.
    fn unsubscribe(&mut self) {
        self.gone.extend(self.consumer.take());
    }
}

/// A handful of clients; what they do differs from run to run.
pub(crate) fn crowd(random: &mut Random) -> Vec<Client> {
    let operates = random.percent(40);
    let mut clients = Vec::new();
    let mut add = |random: &mut Random, role| {
        let namespace = usize::from(random.percent(20));
        clients.push(Client {
            namespace,
            waiting: None,
            sent: None,
            role,
            accounts: None,
            versions: false,
            keys: None,
            expecting: None,
        });
    };
    for _ in 0..=1 + random.below(2) {
        add(random, Role::Producer { again: None });
    }
    for n in 0..2 + random.below(3) {
        let streams = random.percent(45);
        let worker = Worker {
            name: format!("worker-{n}"),
            session: 1,
            turns: !streams && random.percent(65),
            turn: 1,
            seen: 0,
            held: Vec::new(),
            untold: Vec::new(),
            again: None,
            headway: BTreeMap::new(),
            unsaved: None,
            stream: streams.then(Stream::default),
        };
        add(random, Role::Worker(Box::new(worker)));
    }
    add(random, Role::Admin { operates });
    clients
}

impl Client {
    /// From now on it changes accounts as well, if it is an administrator. The draws of others stay
    /// as they are.
    pub(crate) fn change_accounts(&mut self, seed: u64) {
        self.accounts = Some(Random::new(seed.rotate_left(48) ^ 0x0061_6363_6f75_6e74));
    }

    /// From now on its jobs have versions, and it names those that it runs.
    pub(crate) fn know_versions(&mut self) {
        self.versions = true;
    }

    /// From now on it sends commands with keys as well, if it is an administrator.
    pub(crate) fn send_keys(&mut self, seed: u64) {
        self.keys = Some(Random::new(seed.rotate_left(40) ^ 0x006b_6579_7300_0000));
    }

    /// From now on it enqueues jobs whose outcome it expects as well, if it is an administrator.
    pub(crate) fn expect(&mut self, seed: u64) {
        self.expecting = Some(Expecting::of(seed));
    }

    /// What it sends next.
    pub(crate) fn next(
        &mut self,
        random: &mut Random,
        shadow: &Shadow,
        next_id: &mut u64,
    ) -> Command {
        let mut accounts = self.accounts.as_mut();
        let accounts = accounts.take_if(|chance| chance.percent(10));
        let mut keys = self.keys.as_mut();
        let keys = keys.take_if(|chance| chance.percent(30));
        let expecting = self.expecting.as_mut().filter(|_| matches!(self.role, Role::Admin { .. }));
        if let Some(expected) = expecting.and_then(Expecting::next) {
            self.sent = Some(expected.clone());
            return expected;
        }
        let mut command = match &mut self.role {
            Role::Admin { .. } if let Some(chance) = keys => keyed::sample(chance, shadow.now),
            Role::Admin { .. } if let Some(chance) = accounts => accounts::sample(chance),
            Role::Producer { again } => match again.take().filter(|_| random.percent(75)) {
                Some(again) => Command::EnqueueJobs(again),
                None => Command::EnqueueJobs(ops::enqueue::sample(random, next_id)),
            },
            Role::Worker(worker) => worker.next(random, next_id),
            Role::Admin { operates: true } if random.percent(25) => ops::operation::sample(random),
            Role::Admin { .. } if random.percent(20) => ops::schedule::sample(random),
            Role::Admin { .. } => ops::admin::sample(random, shadow, self.namespace),
        };
        if self.versions {
            versions::amend(&mut command);
        }
        self.sent = Some(command.clone());
        command
    }

    /// Streams that have gone since the last look.
    pub(crate) fn take_gone(&mut self) -> Vec<ConsumerId> {
        match &mut self.role {
            Role::Worker(worker) => {
                worker.stream.as_mut().map(|it| std::mem::take(&mut it.gone)).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// Its stream broke, if it has one.
    pub(crate) fn stream_broke(&mut self) {
        if let Role::Worker(worker) = &mut self.role {
            worker.hang_up();
        }
    }

    /// Jobs arrive over its stream.
    pub(crate) fn delivered(&mut self, id: ConsumerId, jobs: Vec<Delivery>) {
        if let Role::Worker(worker) = &mut self.role
            && worker.stream.as_ref().is_some_and(|stream| stream.consumer == Some(id))
        {
            worker.held.extend(jobs);
        }
    }

    /// Whether it has nothing better to do than to be idle for now.
    pub(crate) fn rests(&self, random: &mut Random) -> bool {
        let chances = match self.role {
            Role::Producer { .. } => 50,
            Role::Worker(_) => 0,
            Role::Admin { .. } => 40,
        };
        random.percent(chances)
    }

    pub(crate) fn arrived(&mut self, answer: Answer) {
        self.waiting = None;
        if let (Role::Worker(worker), Some(sent)) = (&mut self.role, self.sent.take()) {
            worker.arrived(&sent, answer);
        }
    }

    /// The connection broke before the answer arrived.
    pub(crate) fn lost(&mut self) {
        self.waiting = None;
        match (&mut self.role, self.sent.take()) {
            (Role::Producer { again }, Some(Command::EnqueueJobs(sent))) => {
                let named = sent.jobs.iter().all(|new| new.fingerprint.is_some());
                *again = named.then_some(sent);
            }
            (Role::Worker(worker), Some(Command::LeaseJobs(sent))) => {
                worker.again = sent.ask.is_some().then_some(sent);
                worker.hang_up();
            }
            (Role::Worker(worker), Some(_)) => worker.hang_up(),
            _ => {}
        }
    }
}

impl Worker {
    fn next(&mut self, random: &mut Random, next_id: &mut u64) -> Command {
        if random.percent(2) {
            self.die();
        }
        if let Some(command) = self.stream(random) {
            return command;
        }
        // What runs at most once is told of early: from then on it must not be given back.
        let once = self.held.iter().find(|job| job.at_most_once);
        if let Some(job) = once.filter(|_| random.percent(35)) {
            return Command::ExtendLeases(vec![ops::heartbeat::sample(random, job)]);
        }
        let finished = self.held.iter().position(|_| random.percent(35));
        let finished = finished.filter(|_| self.untold.len() < UNTOLD_MAX);
        if let Some(job) = finished.map(|index| self.held.swap_remove(index)) {
            let verdict = ops::settle::sample(random, next_id, &job);
            self.untold.push(Settlement { id: job.id, token: job.token, verdict });
        }
        if let Some(told) = self.checkpoint(random) {
            return Command::CheckpointJobs(vec![told]);
        }
        if !self.held.is_empty() && random.percent(20) {
            let job = random.pick(&self.held);
            let extension = ops::heartbeat::sample(random, job);
            return Command::ExtendLeases(vec![extension]);
        }
        if let Some(command) = self.take_jobs(random, next_id) {
            return command;
        }
        if !self.turns && !self.untold.is_empty() && random.percent(70) {
            return Command::SettleJobs(self.untold.clone());
        }
        if let Some(again) = self.again.take() {
            if random.percent(65) {
                return Command::LeaseJobs(again);
            }
            self.turn += 1;
        }
        let mut request = ops::lease::sample(random);
        request.worker.clone_from(&self.name);
        request.session = format!("session-{}", self.session);
        request.prefetch = self.stream.is_some();
        if self.turns {
            request.ask = Some(self.turn);
            request.seen = random.percent(90).then_some(self.seen);
        }
        request.settle.clone_from(&self.untold);
        Command::LeaseJobs(Box::new(request))
    }

    /// What only a worker with a stream sends, or the server for it.
    fn stream(&mut self, random: &mut Random) -> Option<Command> {
        let stream = self.stream.as_mut()?;
        let holder = |session| ops::session::holder(&self.name, session);
        // Its stream breaks; or it is taken for gone and goes on all the same.
        if random.percent(4) {
            stream.open = false;
            stream.unsubscribe();
        }
        if random.percent(2) {
            stream.ending.get_or_insert(self.session);
        }
        if let Some(session) = stream.ending
            && random.percent(40)
        {
            let (holder, why) = (holder(session), "it left".into());
            return Some(Command::EndSession { holder, why, goodbye: session % 4 == 0 });
        }
        if !stream.open {
            let held = self.held.iter().map(|job| HeldLease {
                id: job.id,
                token: job.token,
                started: stream.started.contains(&job.token),
            });
            // What it has settled and heard no answer to counts as held.
            let ended = self.untold.iter();
            let ended = ended.map(|it| HeldLease { id: it.id, token: it.token, started: true });
            let held = held.chain(ended).collect();
            return Some(Command::ResumeSession { holder: holder(self.session), held });
        }
        let new = self.held.iter().find(|job| !stream.started.contains(&job.token));
        if let Some(job) = new.filter(|_| random.percent(70)) {
            stream.started.insert(job.token);
            // Some jobs end their worker, and others seem to.
            if random.percent(8) {
                stream.ending.get_or_insert(self.session);
            }
            return Some(Command::StartJobs(vec![(job.id, job.token)]));
        }
        random.percent(10).then(|| {
            let known = self.held.iter().map(|job| (job.id, job.token)).collect();
            Command::ExtendSession { holder: holder(self.session), known }
        })
    }

    /// A worker with a stream takes jobs, or more of them than before.
    fn take_jobs(&mut self, random: &mut Random, next_id: &mut u64) -> Option<Command> {
        let stream = self.stream.as_mut()?;
        if random.percent(4) {
            // What it gave is void; it gives anew.
            stream.unsubscribe();
        }
        let credit = Credit { jobs: 1 + random.index(4), bytes: 1 + random.below(4000) };
        if let Some(consumer) = stream.consumer {
            let settle = if random.percent(80) { self.untold.clone() } else { Vec::new() };
            let wanted = !settle.is_empty() || random.percent(30);
            return wanted.then_some(Command::AddCredit { consumer, credit, settle });
        }
        // Some lease for themselves, as nothing keeps them from it.
        if random.percent(15) {
            return None;
        }
        *next_id += 1;
        let consumer = ConsumerId(*next_id);
        stream.consumer = Some(consumer);
        let LeaseJobs { queues, kinds, lease_ms, .. } = ops::lease::sample(random);
        let weighted = random.percent(30);
        let weight = |random: &mut Random| if weighted { 1 + random.below(9) as u32 } else { 0 };
        let queues = queues.into_iter().map(|queue| (queue, weight(random))).collect();
        let holder = ops::session::holder(&self.name, self.session);
        let command = Subscribe { consumer, holder, queues, kinds, lease_ms, credit };
        Some(Command::Subscribe(Box::new(command)))
    }

    /// The stream broke.
    fn hang_up(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.open = false;
            stream.unsubscribe();
        }
    }

    fn heard(&mut self, sent: &Command, view: &SessionView) {
        let Some(stream) = &mut self.stream else { return };
        match sent {
            Command::ResumeSession { .. } => {
                stream.open = true;
                self.held.retain(|job| view.held.iter().any(|held| held.token == job.token));
            }
            // A worker that is taken for gone does not know it.
            Command::EndSession { .. } => stream.ending = None,
            _ => self.held.retain(|job| !view.lost.contains(&(job.id, job.token))),
        }
    }

    fn checkpoint(&mut self, random: &mut Random) -> Option<CheckpointJob> {
        if self.unsaved.is_none() && !self.held.is_empty() && random.percent(30) {
            let job = random.pick(&self.held);
            let headway = self.headway.entry(job.token).or_insert_with(|| Headway::of(job));
            self.unsaved = Some(ops::checkpoint::sample(random, job, headway));
            return self.unsaved.clone();
        }
        self.unsaved.clone().filter(|_| random.percent(50))
    }

    /// The process ends and begins anew.
    fn die(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.unsubscribe();
            let gone = std::mem::take(&mut stream.gone);
            *stream = Stream { ending: Some(self.session), gone, ..Stream::default() };
        }
        self.session += 1;
        (self.turn, self.seen) = (1, 0);
        self.held.clear();
        self.untold.clear();
        self.again = None;
        self.headway.clear();
        self.unsaved = None;
    }

    fn arrived(&mut self, sent: &Command, answer: Answer) {
        match (sent, answer) {
            (_, Answer::Session(view)) => self.heard(sent, &view),
            (Command::StartJobs(jobs), Answer::Extended(results)) => {
                for ((_, token), result) in jobs.iter().zip(results) {
                    if result.is_err() {
                        self.held.retain(|held| held.token != *token);
                    }
                }
            }
            (Command::LeaseJobs(request), Answer::Leased { jobs, .. }) => {
                self.told(&request.settle);
                if let Some(turn) = request.ask {
                    (self.seen, self.turn) = (turn, turn + 1);
                }
                for job in jobs {
                    if !self.held.iter().any(|held| held.token == job.token) {
                        self.held.push(job);
                    }
                }
            }
            (Command::LeaseJobs(_), _) => self.turn += 1,
            (
                Command::SettleJobs(settlements) | Command::AddCredit { settle: settlements, .. },
                Answer::Settled(_),
            ) => self.told(settlements),
            (Command::Subscribe(_), Answer::Subscribed { stands: true }) => {}
            (Command::Subscribe(_), _) => {
                if let Some(stream) = &mut self.stream {
                    stream.unsubscribe();
                }
            }
            (Command::ExtendLeases(extensions), Answer::Extended(results)) => {
                for (extension, result) in extensions.iter().zip(results) {
                    if result.is_err() {
                        self.held.retain(|held| held.token != extension.token);
                    }
                }
            }
            (Command::CheckpointJobs(all), Answer::Extended(results)) => {
                self.unsaved = None;
                for (one, result) in all.iter().zip(results) {
                    if result.is_err() {
                        self.held.retain(|held| held.token != one.token);
                    }
                }
            }
            _ => {}
        }
    }

    fn told(&mut self, settlements: &[Settlement]) {
        self.untold.retain(|untold| !settlements.iter().any(|told| told.token == untold.token));
    }
}
