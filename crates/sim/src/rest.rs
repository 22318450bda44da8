//! Coming to rest: everything is healed, what is left is run to its end, and then judged. That it
//! ends at all is the promise of liveness; it is checked here and nowhere else.

use std::collections::BTreeSet;

use longshore_engine::{
    Answer, Command, EndKind, GateChange, GateClosed, GateCommand, HoldCommand, KindRange,
    LeaseJobs, NamespaceView, QueuePattern, RESERVED_KIND_PREFIX, Settlement, Start, Verdict,
};

use crate::network::Call;
use crate::node::{NAMESPACES, Node};
use crate::simulation::Simulation;
use crate::workload::gates::GATES;
use crate::workload::holds::TAGS;
use crate::workload::{Check, QUEUES, changes, invariants, oracle, versions};

/// Who asks here is no client of the run.
const JUDGE: usize = usize::MAX;

/// Rounds of draining, each at a later time, after which something hangs.
const ROUNDS_MAX: u32 = 500;

const HOUR_MS: u64 = 3_600_000;

/// A namespace, and what a worker there runs; `None` for everything.
type Drainer = (usize, Option<Vec<KindRange>>);

impl Simulation {
    pub(crate) fn come_to_rest(&mut self) -> Result<oracle::Verdict, String> {
        self.heal()?;
        for namespace in 0..NAMESPACES.len() {
            for queue in QUEUES {
                let queue = queue.to_owned();
                self.ask(namespace, Command::PauseQueue { queue, paused: false })?;
            }
        }
        self.resume_all()?;
        for namespace in 0..NAMESPACES.len() {
            for tag in TAGS {
                let command = HoldCommand::Delete { tag: tag.to_owned() };
                self.ask(namespace, Command::Holds(command))?;
            }
            for name in GATES {
                self.let_pass(namespace, name)?;
            }
        }
        let mut rounds = 0;
        while self.has_unfinished()? {
            rounds += 1;
            if rounds > ROUNDS_MAX {
                return Err(format!("jobs are unfinished after {ROUNDS_MAX} rounds of draining"));
            }
            self.drain_round()?;
        }
        let clock = self.now();
        if let Some(node) = &self.node {
            self.events.check(&node.streams)?;
        }
        if let (Some(node), Some(relay)) = (&self.node, &self.relay) {
            relay.check(node.tree(), clock, true)?;
        }
        if let (Some(node), Some(fired)) = (&self.node, &self.fired) {
            let streams = node.turn().streams();
            fired.check(node.tree(), clock, (&streams, &node.streams, true))?;
        }
        self.drain_messages()?;
        let verdict = self.judge()?;
        self.check_replay()?;
        Ok(verdict)
    }

    /// Has a gate hold nothing back: it is opened, or its time is over soon, or nobody knows it any
    /// more.
    fn let_pass(&mut self, namespace: usize, name: &str) -> Check {
        let name = name.to_owned();
        let command = if namespace == 0 {
            GateCommand::Delete { name }
        } else {
            let closed = GateClosed { closed: false, ..GateClosed::default() };
            let soon = GateClosed { closed: true, expiry: Some(Start::After(1000)), reason: None };
            let closed = Some(if name == GATES[0] { soon } else { closed });
            let change = GateChange { closed, ..GateChange::default() };
            GateCommand::Change { name, change }
        };
        self.ask(namespace, Command::Gates(command)).map(drop)
    }

    fn heal(&mut self) -> Check {
        self.trace.note(format_args!("all is healed"));
        self.store.disk.fail_nothing();
        self.store.events.fail_nothing();
        self.store.set_capacity_bytes(None);
        self.store.events.set_capacity_bytes(None);
        self.store.refuses_tables = false;
        if self.node.is_some() && self.random.percent(50) {
            self.end("a last crash");
        }
        for _ in 0..3 {
            if self.node.is_none() {
                self.start()?;
            }
        }
        if self.node.is_none() {
            return Err("the shard does not start although nothing is wrong".to_owned());
        }
        self.end_streams()?;
        self.end_peers();
        self.settle_down()
    }

    /// Makes durable what was decided, and does what is due, until nothing is.
    pub(crate) fn settle_down(&mut self) -> Check {
        for _ in 0..10_000 {
            let heard = self.hear_out_peers()?;
            self.turn(1)?;
            self.commit()?;
            let clock = self.now();
            let Some(node) = &mut self.node else { return Err("the shard ended".to_owned()) };
            let quiet = node.is_quiet(clock) && node.waiting.depth() == [0; 3];
            let Ok(released) = node.flush(&mut self.store, clock) else {
                return Err("a flush failed although nothing is wrong".to_owned());
            };
            self.release(released)?;
            self.give_space_back();
            if quiet && heard && self.unreached.is_empty() {
                return Ok(());
            }
        }
        Err("there is no end of what is due".to_owned())
    }

    /// Asks for something and waits for the answer.
    pub(crate) fn ask(&mut self, namespace: usize, command: Command) -> Result<Answer, String> {
        self.shadow.tried(namespace, &command);
        let call = Call { client: JUDGE, namespace, command: command.clone() };
        let reply_to = self.network.send(call);
        let taken = self.node.as_mut().map(|node| node.call(reply_to, namespace, command));
        if !matches!(taken, Some(Ok(()))) {
            return Err(format!("request {} was not taken in: {taken:?}", reply_to.0));
        }
        self.settle_down()?;
        while let Some((client, of, answer)) = self.network.deliver_answer(&mut self.random) {
            if client == JUDGE && of == reply_to {
                return Ok(answer);
            }
        }
        Err(format!("request {} was not answered", reply_to.0))
    }

    fn resume_all(&mut self) -> Check {
        let clock = self.now();
        for (namespace, name) in NAMESPACES.iter().enumerate() {
            let Some(node) = &self.node else { return Err("the shard ended".to_owned()) };
            let jobs = invariants::jobs_of(node.tree(), name, None, clock);
            for view in jobs.iter().filter(|view| view.paused) {
                self.ask(namespace, Command::ResumeJob { id: view.job.id })?;
            }
        }
        Ok(())
    }

    fn has_unfinished(&mut self) -> Result<bool, String> {
        let clock = self.now();
        let Some(node) = &self.node else { return Err("the shard ended".to_owned()) };
        let map = node.tree();
        let all = NAMESPACES.iter().flat_map(|name| invariants::jobs_of(map, name, None, clock));
        // Schedules go on, and their jobs end by their time.
        let mut all = all.into_iter().filter(|view| view.job.tick.is_none());
        Ok(all.any(|view| view.job.phase.is_unfinished()))
    }

    /// Who drains each namespace, by the versions that it runs: where jobs have some, no worker
    /// runs all of them, and none waits for ever all the same.
    fn drainers(&mut self) -> Result<Vec<Drainer>, String> {
        if !self.has_versions {
            return Ok((0..NAMESPACES.len()).map(|namespace| (namespace, None)).collect());
        }
        let clock = self.now();
        let Some(node) = &self.node else { return Err("the shard ended".to_owned()) };
        let mut drainers = Vec::new();
        for (namespace, name) in NAMESPACES.iter().enumerate() {
            let jobs = invariants::jobs_of(node.tree(), name, None, clock);
            let kinds = jobs.iter().filter(|view| view.job.phase.is_unfinished());
            let kinds = kinds.map(|view| view.job.kind.clone());
            let kinds: BTreeSet<_> =
                kinds.filter(|kind| !kind.starts_with(RESERVED_KIND_PREFIX)).collect();
            let kinds: Vec<_> = kinds.into_iter().collect();
            let halves = versions::halves(&kinds).into_iter().filter(|half| !half.is_empty());
            drainers.extend(halves.map(|half| (namespace, Some(half))));
        }
        Ok(drainers)
    }

    /// Runs what can be run now, then lets time pass until something else may be.
    fn drain_round(&mut self) -> Check {
        for (namespace, kinds) in self.drainers()? {
            loop {
                let request = LeaseJobs {
                    queues: vec![QueuePattern::Prefix(String::new())],
                    kinds: kinds.clone(),
                    max: 8,
                    wait_ms: 0,
                    lease_ms: None,
                    worker: "judge".to_owned(),
                    session: String::new(),
                    ask: None,
                    seen: None,
                    settle: Vec::new(),
                    prefetch: false,
                };
                let answer = self.ask(namespace, Command::LeaseJobs(Box::new(request)))?;
                let Answer::Leased { jobs, .. } = answer else {
                    return Err(format!("leasing was answered with {answer:?}"));
                };
                if jobs.is_empty() {
                    break;
                }
                let ack = |job: &longshore_engine::Delivery| Settlement {
                    id: job.id,
                    token: job.token,
                    verdict: Verdict::Ack {
                        result: None,
                        location: None,
                        follow_ups: Vec::new(),
                        next_tick: None,
                    },
                };
                let settlements: Vec<_> = jobs.iter().map(ack).collect();
                let answer = self.ask(namespace, Command::SettleJobs(settlements))?;
                let acked = |result: &Result<EndKind, _>| *result == Ok(EndKind::Acked);
                if !matches!(&answer, Answer::Settled(all) if all.iter().all(acked)) {
                    return Err(format!("a live lease was not settled: {answer:?}"));
                }
            }
        }
        let clock = self.now();
        let wake_ms = self.node.as_ref().and_then(|node| node.turn().next_wake_ms(clock));
        // What becomes due wakes nobody where nobody waits for it.
        self.clock.pass(wake_ms.unwrap_or(HOUR_MS).clamp(1000, 10_000));
        self.settle_down()
    }

    fn judge(&mut self) -> Result<oracle::Verdict, String> {
        let clock = self.now();
        let Some(node) = &self.node else { return Err("the shard ended".to_owned()) };
        self.shadow.order.hear(self.clock.mono());
        invariants::check((node.turn(), node.tree()), &mut self.shadow, clock)?;
        if self.shadow.forgets {
            let over = |it: &NamespaceView| it.outcome_bytes > self.limits.outcome_bytes_max;
            let views = node.turn().stats(clock, None, usize::MAX).namespaces;
            if let Some(over) = views.iter().find(|it| over(it)) {
                return Err(format!(
                    "{} keeps {} bytes of outcomes",
                    over.name, over.outcome_bytes
                ));
            }
        }
        changes::check(self.store.ledger.durable())?;
        oracle::judge(node.tree(), &self.shadow, clock)
    }

    /// A new life finds the very state that the old one had, but for its own beginning.
    fn check_replay(&mut self) -> Check {
        let before = self.node.as_mut().map(Node::complete_entries);
        self.end("one more crash");
        self.start()?;
        let after = self.node.as_mut().map(Node::complete_entries);
        let (Some(mut before), Some(mut after)) = (before, after) else {
            return Err("the shard does not start again".to_owned());
        };
        let own_numbers = [1_u8];
        before.remove(&own_numbers[..]);
        after.remove(&own_numbers[..]);
        if let Some(key) = before.keys().find(|key| before.get(*key) != after.get(*key)) {
            return Err(format!("key {key:02x?} is not what it was after replay"));
        }
        if before.len() != after.len() {
            return Err(format!("{} keys before replay, {} after", before.len(), after.len()));
        }
        Ok(())
    }
}
