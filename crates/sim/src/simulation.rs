//! One run: chance chooses what happens next, and after it everything that must be true is
//! checked.

mod lives;

use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use longshore_engine::driver::{Action, DiskLevel, Input};
use longshore_engine::query::{Lookup, find_job};
use longshore_engine::{
    Answer, Clock, Command, ConsumerId, Delivery, JobId, JobState, Limits, ReplyTo, Settlement,
    Token,
};

use crate::canary::Canary;
use crate::clock::SimClock;
use crate::folder::Keeper;
use crate::network::{Arrival, Call, Network};
use crate::node::{Exit, NAMESPACES, Node, Released};
use crate::random::Random;
use crate::store::Store;
use crate::trace::Trace;
use crate::workload::breaches::{self, Breaches};
use crate::workload::clients::{Client, crowd};
use crate::workload::events::Events;
use crate::workload::fired::Fired;
use crate::workload::messages::peers::{self, Peers};
use crate::workload::relay::{self, Relay};
use crate::workload::shadow::Shadow;
use crate::workload::{Check, invariants, ops, oracle, versions};

/// How to run.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// How many things happen before all is healed and judged. Default: 500.
    pub steps: u64,
    /// A fault put in on purpose.
    pub canary: Option<Canary>,
    /// What keeps the state. Canaries change images behind its back: they go with those alone.
    pub keeper: Keeper,
}

impl Default for Config {
    fn default() -> Self {
        Self { steps: 500, canary: None, keeper: Keeper::Images }
    }
}

/// What happened in a run that went well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Summary {
    /// What became of the jobs.
    pub verdict: oracle::Verdict,
    /// How often the process began.
    pub lives: u64,
    /// Damage at rest that was refused by name.
    pub refusals: u64,
    /// Everything that happened, in words.
    pub trace: String,
}

/// What went wrong, and all that happened before it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The promise that was broken.
    pub what: String,
    /// Everything that happened, in words.
    pub trace: String,
}

/// Runs one seed.
pub fn run(seed: u64, config: &Config) -> Result<Summary, Failure> {
    let mut simulation = Simulation::new(seed, config);
    let result = catch_unwind(AssertUnwindSafe(|| simulation.run(config.steps)));
    let (lives, refusals) = (simulation.lives, simulation.refusals);
    let trace = simulation.trace.into_text();
    match result {
        Ok(Ok(verdict)) => Ok(Summary { verdict, lives, refusals, trace }),
        Ok(Err(what)) => Err(Failure { what, trace }),
        Err(panic) => Err(Failure { what: panic_text(&*panic), trace }),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("without a text"))
}

pub(crate) struct Simulation {
    pub(crate) random: Random,
    pub(crate) clock: SimClock,
    pub(crate) trace: Trace,
    pub(crate) store: Store,
    pub(crate) node: Option<Node>,
    pub(crate) network: Network,
    clients: Vec<Client>,
    pub(crate) shadow: Shadow,
    /// Jobs have versions, and workers name those that they run.
    pub(crate) has_versions: bool,
    pub(crate) events: Events,
    /// Who publishes and consumes messages, in the runs that have them.
    pub(crate) peers: Option<Peers>,
    /// Whose messages become jobs, in the runs that have some.
    pub(crate) relay: Option<Relay>,
    /// Whose messages are events and become jobs, in other runs.
    pub(crate) fired: Option<Fired>,
    /// Who brings about breaches of a level, in runs without both.
    pub(crate) breaches: Option<Breaches>,
    canary: Option<Canary>,
    pub(crate) limits: Limits,
    next_id: u64,
    /// Leases whose worker went away before the answer, to be given back.
    give_back: Vec<(usize, Vec<Settlement>)>,
    /// What was leased and came to nobody, since the shard's last turn.
    pub(crate) unreached: Vec<(usize, JobId, Token)>,
    /// Streams and callers that have gone and of which the shard was not told.
    gone: Vec<ConsumerId>,
    gone_callers: Vec<ReplyTo>,
    /// The shard takes nothing in for want of space.
    refusing: bool,
    /// A file of the journal, and where one of its bits is flipped.
    flipped: Option<(String, u64, u8)>,
    lives: u64,
    refusals: u64,
}

impl Simulation {
    fn new(seed: u64, config: &Config) -> Self {
        let mut random = Random::new(seed);
        let store = Store::new(random.next(), config.keeper);
        store.disk.ignore_syncs(config.canary == Some(Canary::NoFsync));
        let mut clients = crowd(&mut random);
        if seed % 10 == 7 {
            for client in &mut clients {
                client.change_accounts(seed);
            }
        }
        let relay = Relay::of(seed);
        let fired = if relay.is_none() { Fired::of(seed) } else { None };
        let alone = relay.is_none() && fired.is_none();
        let breaches = if alone { Breaches::of(seed) } else { None };
        if versions::has_some(seed) {
            clients.iter_mut().for_each(Client::know_versions);
        }
        if seed % 10 == 8 {
            for client in &mut clients {
                client.send_keys(seed);
            }
        }
        if seed % 10 == 4 {
            for client in &mut clients {
                client.expect(seed);
            }
        }
        let mut limits = crate::bounds::limits(seed, &mut random);
        let forgets = alone && breaches.is_none() && seed % 3 == 1;
        if forgets {
            limits.outcome_bytes_max = crate::bounds::OUTCOME_BYTES_MAX;
        }
        Self {
            random,
            clock: SimClock::new(),
            trace: Trace::default(),
            store,
            node: None,
            network: Network::default(),
            clients,
            shadow: Shadow::of(forgets),
            has_versions: versions::has_some(seed),
            events: Events::new(seed, config.canary),
            peers: Peers::of(seed),
            relay,
            fired,
            breaches,
            canary: config.canary,
            limits,
            next_id: 0,
            give_back: Vec::new(),
            unreached: Vec::new(),
            gone: Vec::new(),
            gone_callers: Vec::new(),
            refusing: false,
            flipped: None,
            lives: 0,
            refusals: 0,
        }
    }

    fn run(&mut self, steps: u64) -> Result<oracle::Verdict, String> {
        for step in 1..=steps {
            self.trace.step = step;
            self.step()?;
        }
        self.come_to_rest()
    }

    pub(crate) fn now(&mut self) -> Clock {
        let steps = self.canary == Some(Canary::WallLeases);
        self.clock.read(&mut self.random, steps)
    }

    fn step(&mut self) -> Check {
        self.step_peers()?;
        match self.random.below(200) {
            0..56 => self.send(),
            56..100 => return self.take_turn(),
            100..132 => return self.commit(),
            132..168 => self.deliver(),
            168..180 => self.pass_time(),
            180..189 => return self.keep_house(),
            189..191 => self.cut(),
            191 => self.step_wall(),
            192..195 => self.break_disk(),
            195..198 => self.crash(),
            198 => return self.stop(),
            _ => self.mark(),
        }
        Ok(())
    }

    fn step_wall(&mut self) {
        self.clock.step_wall(&mut self.random);
        self.trace.note(format_args!("wall time is {}", self.clock.wall()));
    }

    fn send(&mut self) {
        let index = self.random.index(self.clients.len());
        let client = &mut self.clients[index];
        if client.waiting.is_some() || client.rests(&mut self.random) {
            return;
        }
        let command = client.next(&mut self.random, &self.shadow, &mut self.next_id);
        let namespace = client.namespace;
        self.hear_client(index);
        if let Command::Subscribe(command) = &command {
            self.network.stand(command.consumer);
        }
        self.shadow.tried(namespace, &command);
        let call = Call { client: index, namespace, command: command.clone() };
        let reply_to = self.network.send(call);
        self.clients[index].waiting = Some(reply_to);
        self.trace.note(format_args!("client {index} sends {}: {command:?}", reply_to.0));
    }

    /// The shard's thread hears of what has arrived, takes up some of it, and ends its turn.
    fn take_turn(&mut self) -> Check {
        if self.node.is_none() {
            return self.start();
        }
        for _ in 0..self.random.below(4) {
            let Some((reply_to, call)) = self.network.arrive(&mut self.random) else { break };
            let command = call.command.clone();
            let Some(node) = &mut self.node else { break };
            if node.call(reply_to, call.namespace, command).is_err() {
                self.dismiss(reply_to);
            } else {
                self.network.credited(Some(call.client), call.namespace, &call.command);
            }
        }
        self.send_events();
        self.send_relayed();
        self.send_fired();
        self.send_breaches();
        let rounds = self.random.below(3);
        self.turn(rounds)
    }

    /// Somebody appends to a stream, or wants that something of it is kept no longer.
    fn send_events(&mut self) {
        let Some(node) = &mut self.node else { return };
        let one = self.events.next(&mut self.random);
        let (newest, counted) = (self.events.next_of_newest(), self.events.next_of_counted());
        for (reply_to, command) in [one, newest, counted].into_iter().flatten() {
            self.trace.note(format_args!("events send {}: {command:?}", reply_to.0));
            if node.call(reply_to, 0, command).is_err() {
                self.events.dismissed(reply_to);
            }
        }
    }

    /// Somebody publishes what becomes a job, or runs such a job.
    fn send_relayed(&mut self) {
        let (Some(node), Some(relay)) = (&mut self.node, &mut self.relay) else { return };
        let Some((reply_to, command)) = relay.next() else { return };
        self.trace.note(format_args!("relay sends {}: {command:?}", reply_to.0));
        if node.call_in(relay::NAMESPACE, reply_to, command).is_err() {
            relay.dismissed(reply_to);
        }
    }

    /// Somebody publishes what becomes an event and then a job, brings it there, or runs the job.
    fn send_fired(&mut self) {
        let (Some(node), Some(fired)) = (&mut self.node, &mut self.fired) else { return };
        let (one, again) = (fired.next(&node.streams), fired.next_of_replays(&node.streams));
        for (reply_to, command) in one.into_iter().chain(again) {
            self.trace.note(format_args!("fired sends {}: {command:?}", reply_to.0));
            if node.call_in(relay::NAMESPACE, reply_to, command).is_err() {
                fired.dismissed(reply_to);
            }
        }
    }

    /// Somebody enqueues what may be late, or runs it.
    fn send_breaches(&mut self) {
        let (Some(node), Some(breaches)) = (&mut self.node, &mut self.breaches) else { return };
        let Some((reply_to, command)) = breaches.next() else { return };
        self.trace.note(format_args!("breaches send {}: {command:?}", reply_to.0));
        if node.call_in(relay::NAMESPACE, reply_to, command).is_err() {
            breaches.dismissed(reply_to);
        }
    }

    /// One turn, after which everything that must be true is checked.
    pub(crate) fn turn(&mut self, rounds: u64) -> Check {
        self.tell_gone()?;
        let unreached = std::mem::take(&mut self.unreached);
        let messages = self.messages_unreached();
        let clock = self.now();
        let Some(node) = &mut self.node else { return Ok(()) };
        let level = node.look_at_disk(&mut self.store, clock);
        let before = (level == DiskLevel::SettleOnly).then(|| leases(node, clock));
        let network = &self.network;
        let (released, kept) = node.take_turn(rounds, clock, |id| network.stands(id));
        self.trace.note(format_args!("turn at {} {}, {level:?}", clock.wall, clock.mono));
        self.events.look(&node.streams)?;
        self.release(released)?;
        kept?;
        if let (Some(before), Some(node)) = (before, &self.node)
            && let Some(new) = leases(node, clock).difference(&before).next()
        {
            return Err(format!("lease {new} was granted on a full disk"));
        }
        if self.refusing {
            self.unreached.extend(unreached);
        } else {
            self.check_unreached(&unreached)?;
            self.check_messages_unreached(&messages)?;
        }
        self.check_state()
    }

    /// Streams that a client has given up since it was heard last.
    fn hear_client(&mut self, index: usize) {
        let client = &mut self.clients[index];
        let namespace = client.namespace;
        for id in client.take_gone() {
            let lost = self.network.hang_up(id);
            self.trace.note(format_args!("stream {} of client {index} has gone", id.0));
            self.gone.push(id);
            // It was in the server still, or on the wire: there it is known to the session alone.
            if self.random.percent(60) {
                self.return_unreached(namespace, &lost, false);
            }
        }
    }

    /// Tells the shard who has gone, and what came to nobody.
    pub(crate) fn tell_gone(&mut self) -> Check {
        let gone = std::mem::take(&mut self.gone).into_iter().map(Input::ConsumerGone);
        let callers = std::mem::take(&mut self.gone_callers).into_iter().map(Input::CallerGone);
        let back = std::mem::take(&mut self.give_back).into_iter();
        let back = back.map(|(namespace, settlements)| {
            let namespace = NAMESPACES[namespace].to_owned();
            let command = Command::SettleJobs(settlements);
            Input::GiveBack { namespace, command }
        });
        let all: Vec<_> = gone.chain(callers).chain(back).collect();
        all.into_iter().try_for_each(|input| self.tell(input))
    }

    pub(crate) fn tell(&mut self, input: Input<ReplyTo>) -> Check {
        let clock = self.now();
        let Some(node) = &mut self.node else { return Ok(()) };
        let released = node.step(input, clock);
        self.release(released)
    }

    /// All streams end: who takes jobs from here on is the judge.
    pub(crate) fn end_streams(&mut self) -> Check {
        for id in self.network.standing() {
            self.network.hang_up(id);
            self.gone.push(id);
        }
        self.tell_gone()
    }

    /// Nobody has what came to nobody, once the shard has heard of it.
    fn check_unreached(&mut self, unreached: &[(usize, JobId, Token)]) -> Check {
        let clock = self.now();
        let Some(node) = &self.node else { return Ok(()) };
        for (namespace, id, token) in unreached {
            let found = find_job(node.tree(), NAMESPACES[*namespace], *id, clock.wall);
            if let Lookup::Found(view) = found
                && view.lease.is_some_and(|lease| lease.token == *token)
            {
                return Err(format!("lease {token} of job {id} is nobody's, and stands"));
            }
        }
        Ok(())
    }

    /// These came to nobody: the server gives them back, or `driver` has done so by itself.
    fn return_unreached(&mut self, namespace: usize, jobs: &[Delivery], driver: bool) {
        if jobs.is_empty() {
            return;
        }
        ops::lease::given_back(&mut self.shadow, namespace, jobs);
        self.unreached.extend(jobs.iter().map(|job| (namespace, job.id, job.token)));
        let settlements: Vec<_> = jobs.iter().map(Delivery::released).collect();
        self.shadow.tried(namespace, &Command::SettleJobs(settlements.clone()));
        if !driver {
            self.give_back.push((namespace, settlements));
        }
    }

    /// The caller hears that it gets no answer.
    fn dismiss(&mut self, reply_to: ReplyTo) {
        self.trace.note(format_args!("dismiss {}", reply_to.0));
        let is_relay = |relay: &mut Relay| relay.dismissed(reply_to);
        let is_fired = |fired: &mut Fired| fired.dismissed(reply_to);
        if self.events.dismissed(reply_to)
            || self.relay.as_mut().is_some_and(is_relay)
            || self.fired.as_mut().is_some_and(is_fired)
            || self.breaches.as_mut().is_some_and(|it| it.dismissed(reply_to))
        {
            return;
        }
        let client = self.network.listener(reply_to);
        self.network.cut(reply_to, true);
        if let Some(index) = client.filter(|index| *index < self.clients.len()) {
            self.clients[index].lost();
            self.hear_client(index);
        }
    }

    /// Answers and deliveries leave the shard: from here on they are promises.
    pub(crate) fn release(&mut self, released: Released) -> Check {
        self.note_mono();
        for action in released {
            match action {
                Action::Reply { reply_to, answer, .. } if peers::asked(reply_to) => {
                    self.release_to_peers(reply_to, answer, true)?;
                }
                Action::Unheard { reply_to, answer } if peers::asked(reply_to) => {
                    self.release_to_peers(reply_to, answer, false)?;
                }
                Action::Dismiss { caller } if peers::asked(caller) => self.dismiss_peers(caller),
                Action::Reply { reply_to, answer, .. } => {
                    self.release_answer(reply_to, answer, true)?;
                }
                Action::Unheard { reply_to, answer } => {
                    self.release_answer(reply_to, answer, false)?;
                }
                Action::Dismiss { caller } => self.dismiss(caller),
                Action::Deliver { consumer, jobs } => self.release_jobs(consumer, jobs, true)?,
                Action::DeliverMessages { consumer, messages } => {
                    self.release_messages(consumer, messages)?;
                }
                Action::Undelivered { consumer, jobs } => {
                    self.release_jobs(consumer, jobs, false)?;
                }
                Action::Close { consumer, reason } => {
                    self.trace.note(format_args!("close {}: {reason:?}", consumer.0));
                }
                Action::Left { consumer } => {
                    self.network.left(consumer);
                    self.consumer_left(consumer);
                }
                Action::Shortage { begins } => {
                    self.trace.note(format_args!("the shard is full: {begins}"));
                    self.refusing = begins;
                }
                Action::Commit { .. }
                | Action::Flush { .. }
                | Action::Truncate { .. }
                | Action::Mark => {}
            }
        }
        Ok(())
    }

    fn release_answer(&mut self, reply_to: ReplyTo, answer: Answer, heard: bool) -> Check {
        self.trace.note(format_args!("answer {}: {}", reply_to.0, brief(&answer)));
        if let Some(node) = &self.node
            && let Some(checked) = self.events.told(reply_to, &answer, &node.streams)
        {
            return checked;
        }
        let relayed = self.relay.as_mut().and_then(|relay| relay.told(reply_to, &answer));
        let fired = || self.fired.as_mut().and_then(|fired| fired.told(reply_to, &answer));
        let relayed = relayed.or_else(fired);
        let breaches = || self.breaches.as_mut().and_then(|it| it.told(reply_to, &answer));
        if let Some(checked) = relayed.or_else(breaches) {
            return checked;
        }
        let answered = self.network.answered(reply_to, answer.clone());
        let Some((call, listened)) = answered else { return Ok(()) };
        self.note_time();
        self.shadow.told(call.namespace, &call.command, &answer)?;
        if let (Command::LeaseJobs(request), Answer::Leased { jobs, .. }) = (&call.command, answer)
            && !(listened && heard)
            && request.ask.is_none()
        {
            self.return_unreached(call.namespace, &jobs, !heard);
        }
        Ok(())
    }

    fn release_jobs(&mut self, consumer: ConsumerId, jobs: Vec<Delivery>, heard: bool) -> Check {
        let text: Vec<_> = jobs.iter().map(|job| format!("{} {}", job.id, job.token)).collect();
        self.trace.note(format_args!("deliver {}: {}", consumer.0, text.join(", ")));
        let Some(stream) = self.network.stream(consumer) else {
            return Err(format!("consumer {} never subscribed, or has left", consumer.0));
        };
        let Some(left) = stream.credit.checked_sub(jobs.len()) else {
            return Err(format!("{} jobs were delivered for {}", jobs.len(), stream.credit));
        };
        stream.credit = left;
        let (namespace, command) = (stream.namespace, stream.command.clone());
        self.note_time();
        ops::lease::delivered(&mut self.shadow, namespace, &command, &jobs)?;
        if !heard {
            self.return_unreached(namespace, &jobs, true);
        } else if let Err(jobs) = self.network.delivered(consumer, jobs) {
            self.return_unreached(namespace, &jobs, false);
        }
        Ok(())
    }

    /// What is told now was decided by now.
    fn note_time(&mut self) {
        if let Some(node) = &self.node {
            self.shadow.now = node.turn().engine_time();
        }
    }

    fn check_state(&mut self) -> Check {
        let clock = self.now();
        match self.node.as_ref().filter(|node| node.turn().group_bytes() == 0) {
            Some(node) => {
                self.shadow.order.hear(self.clock.mono());
                invariants::check((node.turn(), node.tree()), &mut self.shadow, clock)?;
                if let Some(relay) = &self.relay {
                    relay.check(node.tree(), clock, false)?;
                }
                if let Some(fired) = &self.fired {
                    let streams = node.turn().streams();
                    fired.check(node.tree(), clock, (&streams, &node.streams, false))?;
                }
                if self.breaches.is_some() {
                    breaches::check(node.tree(), clock)?;
                }
                self.check_messages(node, clock)
            }
            None => Ok(()),
        }
    }

    pub(crate) fn commit(&mut self) -> Check {
        let clock = self.now();
        let Some(node) = &mut self.node else { return self.start() };
        let Ok(released) = node.commit(&mut self.store, clock) else {
            self.end("the journal failed");
            return Ok(());
        };
        self.trace.note(format_args!("durable up to {}", node.turn().durable()));
        self.release(released)?;
        let Some(node) = self.node.as_ref().filter(|node| node.is_starved()) else {
            return Ok(());
        };
        match self.network.awaited().find(|reply_to| node.is_awaited(*reply_to)) {
            Some(of) => Err(format!("request {} waits for space, and nobody says so", of.0)),
            None => Ok(()),
        }
    }

    fn deliver(&mut self) {
        for _ in 0..=self.random.below(2) {
            let Some((client, arrival)) = self.network.deliver(&mut self.random) else { continue };
            self.arrive(client, arrival);
        }
    }

    fn arrive(&mut self, client: usize, arrival: Arrival) {
        match arrival {
            Arrival::Answer(reply_to, answer) => {
                self.trace.note(format_args!("client {client} gets answer {}", reply_to.0));
                self.clients[client].arrived(answer);
                self.hear_client(client);
            }
            Arrival::Jobs(id, jobs) => {
                self.trace.note(format_args!("client {client} gets jobs over {}", id.0));
                self.clients[client].delivered(id, jobs);
            }
        }
    }

    fn pass_time(&mut self) {
        let ms = match self.random.below(20) {
            0..12 => self.random.below(500),
            12..18 => self.random.below(8_000),
            18 => self.random.below(60_000),
            _ => self.random.below(1_800_000),
        };
        self.clock.pass(ms);
    }

    /// What threads of the server do meanwhile.
    fn keep_house(&mut self) -> Check {
        let (choice, clock) = (self.random.below(6), self.now());
        let Some(node) = &mut self.node else { return Ok(()) };
        let flushed = if self.store.refuses_tables {
            Ok(node.fail_flush(clock))
        } else if choice < 5 {
            node.flush(&mut self.store, clock)
        } else {
            Ok(Vec::new())
        };
        let Ok(released) = flushed else {
            self.end("a flush failed");
            return Ok(());
        };
        self.release(released)?;
        if choice >= 4 {
            self.give_space_back();
        }
        Ok(())
    }

    pub(crate) fn give_space_back(&mut self) {
        let truncated = self.node.as_mut().map(|node| node.truncate(&mut self.store));
        if let Some(Err(Exit)) = truncated {
            self.end("in the middle of giving back");
        }
    }

    fn mark(&mut self) {
        if let Some(Err(Exit)) = self.node.as_mut().map(|node| node.mark(&mut self.store)) {
            self.end("marking the journal failed");
        }
    }

    /// A client gives up, or its connection breaks.
    fn cut(&mut self) {
        let index = self.random.index(self.clients.len());
        let Some(reply_to) = self.clients[index].waiting else { return };
        self.trace.note(format_args!("client {index} hears nothing of {}", reply_to.0));
        self.network.cut(reply_to, self.random.percent(60));
        self.gone_callers.push(reply_to);
        self.clients[index].lost();
        self.hear_client(index);
    }

    fn break_disk(&mut self) {
        let disk = self.store.disk.clone();
        match self.random.below(8) {
            6 | 7 => {
                self.store.refuses_tables = true;
                self.shadow.disk_was_full = true;
                self.trace.note(format_args!("the disk has no room for a flush"));
            }
            0 => disk.fail_write_after(self.random.below(4)),
            1 => disk.fail_sync_after(self.random.below(4)),
            2 | 3 => {
                let bytes = disk.used_bytes() + self.random.below(6 << 10);
                self.store.set_capacity_bytes(Some(bytes));
                self.shadow.disk_was_full = true;
                if self.random.percent(50) {
                    let bytes = self.store.events.used_bytes() + self.random.below(1 << 10);
                    self.store.events.set_capacity_bytes(Some(bytes));
                }
                self.trace.note(format_args!("the disk has room for {bytes} bytes"));
            }
            _ => {
                self.store.set_capacity_bytes(None);
                self.store.events.set_capacity_bytes(None);
                self.store.refuses_tables = false;
                self.trace.note(format_args!("the disk has room"));
            }
        }
    }
}

/// The tokens of all leases.
fn leases(node: &Node, clock: Clock) -> BTreeSet<Token> {
    let running = Some(JobState::Running);
    let of = |name: &&str| invariants::jobs_of(node.tree(), name, running, clock);
    let jobs = NAMESPACES.iter().flat_map(of);
    jobs.filter_map(|view| view.lease).map(|lease| lease.token).collect()
}

/// An answer in few words.
fn brief(answer: &Answer) -> String {
    match answer {
        Answer::Leased { jobs, settled } => {
            let jobs: Vec<_> = jobs.iter().map(|job| format!("{} {}", job.id, job.token)).collect();
            format!("leased {}; settled {settled:?}", jobs.join(", "))
        }
        Answer::Job(view) => format!("job {} is {}", view.job.id, view.state().name()),
        other => format!("{other:?}"),
    }
}
