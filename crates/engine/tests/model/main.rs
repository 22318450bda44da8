//! The engine against a naive reference: the same generated commands for both, and after every
//! step the same answers, jobs, counts and order of delivery.
//!
//! `LONGSHORE_SEED=7 cargo test -p longshore-engine --test model` runs one seed and says what it
//! does; `LONGSHORE_SEEDS=10000` runs so many.

mod compare;
mod events;
mod generate;
mod random;
mod reference;
mod shard;

use std::fmt::Write as _;

use generate::Generator;
use longshore_engine::{
    Answer, Clock, Command, ConsumerId, Limits, MonoMs, OperationState, ReplyTo, Request, TimeMs,
};
use random::Random;
use reference::{Reference, Target};
use shard::Shard;

const SEEDS: u64 = 100;
const STEPS: usize = 300;

/// Says how to run the seed again, where it fails.
struct Trace {
    seed: u64,
    steps: Vec<String>,
}

impl Drop for Trace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut text = String::new();
            for step in self.steps.iter().rev().take(12).rev() {
                let _ = writeln!(text, "{step}");
            }
            let seed = self.seed;
            let command = "cargo test -p longshore-engine --test model generated";
            eprintln!("{text}seed {seed} failed: LONGSHORE_SEED={seed} {command}");
        }
    }
}

struct Run {
    trace: Trace,
    reference: Reference,
    shard: Shard,
    generator: Generator,
    wall: u64,
    mono: u64,
    next_reply: u64,
    /// Who asked in which namespace, to know what workers of which were handed.
    asked: Vec<(ReplyTo, String)>,
    /// Who subscribed in which namespace.
    streams: Vec<(ConsumerId, String)>,
    /// Slices are small, so that order between them is not compared.
    sliced: bool,
}

fn limits(sliced: bool, random: &mut Random) -> Limits {
    // Whether a queue is empty when it is looked at is a matter of the order of slices.
    let idles = random.percent(40) && !sliced;
    let queue_idle_ms = idles.then(|| 1000 * (1 + random.below(300)));
    let (dead_retain_ms, session_ms) = (2 * 3600 * 1000, 600_000);
    let tiny = Limits { dead_retain_ms, session_ms, queue_idle_ms, ..Limits::tiny() };
    if sliced {
        let (outcome_bytes_max, tombstones_max) = (u64::MAX, u64::MAX);
        return Limits { slice_items_max: 3, outcome_bytes_max, tombstones_max, ..tiny };
    }
    let namespaces_on_first_use = random.percent(50);
    Limits { slice_items_max: 1000, namespaces_on_first_use, ..tiny }
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let sliced = random.percent(30);
        let limits = limits(sliced, &mut random);
        let (wall, mono) = (1_700_000_000_000, random.below(2) * 10_000_000);
        let mut reference = Reference::new(limits.clone());
        let clock = Clock { wall: TimeMs(wall), mono: MonoMs(mono), random: 0 };
        let shard = Shard::new(limits, clock);
        reference.recorded = (shard.engine_time(), mono);
        reference.start(clock);
        let generator = Generator::new(random, !sliced);
        let trace = Trace { seed, steps: Vec::new() };
        let (next_reply, asked, streams) = (1, Vec::new(), Vec::new());
        Self { trace, reference, shard, generator, wall, mono, next_reply, asked, streams, sliced }
    }

    fn clock(&mut self) -> Clock {
        let random = self.generator.random.next();
        Clock { wall: TimeMs(self.wall), mono: MonoMs(self.mono), random }
    }

    fn run(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
        self.settle_down();
    }

    fn step(&mut self) {
        match self.generator.random.below(100) {
            0..66 => {
                let now = self.reference.time_at(TimeMs(self.wall));
                let (namespace, command) = self.generator.command(&self.reference, now);
                self.submit(namespace, command);
            }
            66..92 => self.pass_time(),
            92..94 => self.step_back(),
            94..96 => self.shard.flush(),
            96..98 => self.restart(),
            98 => self.disconnect(),
            _ => drop(self.tick()),
        }
    }

    fn note(&mut self, mut text: String) {
        text.truncate(1500);
        self.trace.steps.push(text);
    }

    fn submit(&mut self, namespace: String, command: Command) {
        let clock = self.clock();
        self.note(format!("at {} {} {namespace}: {command:?}", clock.wall, clock.mono));
        let reply_to = ReplyTo(self.next_reply);
        self.next_reply += 1;
        self.asked.push((reply_to, namespace.clone()));
        if let Command::Subscribe(command) = &command {
            self.streams.push((command.consumer, namespace.clone()));
        }
        let request = Request { namespace, reply_to, command };
        self.shard.submit(request.clone(), clock);
        self.reference.submit(request, clock);
        self.compare(clock);
    }

    fn compare(&mut self, clock: Clock) {
        self.reference.learn_recorded(self.shard.engine_time());
        let (found, deliveries) = self.shard.effects();
        for (consumer, jobs) in &deliveries {
            let stream = self.streams.iter().find(|(of, _)| of == consumer);
            let namespace = &stream.expect("it was subscribed").1;
            self.generator.learn(&namespace.clone(), jobs);
        }
        compare::deliveries(&std::mem::take(&mut self.reference.deliveries), &deliveries);
        for (reply_to, answer) in &found {
            let asked = self.asked.iter().find(|(of, _)| of == reply_to);
            if let (Answer::Leased { jobs, .. }, Some((_, namespace))) = (answer, asked) {
                self.generator.learn(&namespace.clone(), jobs);
            }
        }
        compare::answers(std::mem::take(&mut self.reference.answers), found);
        compare::states(&self.reference, &self.shard, clock);
    }

    fn tick(&mut self) -> bool {
        let clock = self.clock();
        self.note(format!("at {} {} tick", clock.wall, clock.mono));
        let more = self.shard.tick(clock);
        self.reference.tick(clock);
        if !self.sliced || !more {
            self.compare(clock);
        }
        more
    }

    fn operation_runs(&self) -> bool {
        let operations = &self.reference.operations;
        operations.iter().any(|o| o.operation.state == OperationState::Running)
    }

    /// Ticks until nothing is due any more.
    fn settle_down(&mut self) {
        let mut ticks = 0;
        while self.tick() {
            ticks += 1;
            assert!(ticks < 1000, "there is no end of ticks");
        }
        let clock = self.clock();
        let next = self.shard.turn.next_wake_ms(clock);
        let due = self.reference.next_event_ms();
        let late = due.is_some_and(|due| next.is_none_or(|next| next > due));
        assert!(!late, "wakes in {next:?} ms, something is due in {due:?} ms");
    }

    fn pass_time(&mut self) {
        if self.sliced && self.operation_runs() {
            self.settle_down();
        }
        let random = &mut self.generator.random;
        let ms = match random.below(12) {
            0..5 => random.below(100),
            5..8 => random.below(3000),
            8..10 => random.below(40_000),
            10 => random.below(600_000),
            _ => random.below(30) * 3_600_000,
        };
        (self.wall, self.mono) = (self.wall + ms, self.mono + ms);
        let waiting = self.reference.waiters.iter();
        let mut workers = waiting.filter(|w| !matches!(w.target, Target::End(_)));
        if workers.next().is_none() && !self.sliced && self.generator.random.percent(25) {
            return;
        }
        self.settle_down();
    }

    /// The wall clock steps back; what was recorded holds it.
    fn step_back(&mut self) {
        self.wall -= self.generator.random.below(100_000);
    }

    fn restart(&mut self) {
        let (whole, stop) = (self.generator.random.percent(50), self.generator.random.percent(50));
        self.settle_down();
        if stop {
            let clock = self.clock();
            self.note("begin to stop".to_owned());
            self.shard.turn.begin_stop(clock);
            while self.shard.turn.tick(clock) {}
            self.shard.seal();
            self.reference.begin_stop(clock);
            self.compare(clock);
        }
        self.mono = self.generator.random.below(3) * 20_000_000;
        let clock = self.clock();
        self.note(format!("restart at {} {}, whole: {whole}", clock.wall, clock.mono));
        self.reference.now = self.shard.engine_time();
        self.reference.recorded = (self.shard.engine_time(), self.mono);
        self.shard.restart(whole, clock);
        self.reference.start(clock);
        self.compare(clock);
    }

    fn disconnect(&mut self) {
        let waiters = &self.reference.waiters;
        if waiters.is_empty() {
            return;
        }
        let waiter = self.generator.random.pick(waiters);
        if let Target::Stream { id, .. } = waiter.target {
            self.note(format!("{id:?} goes away"));
            self.shard.turn.unsubscribe(id);
            return self.reference.unsubscribe(id);
        }
        let reply_to = waiter.reply_to;
        self.note(format!("{reply_to:?} goes away"));
        self.shard.turn.disconnect(reply_to);
        self.reference.disconnect(reply_to);
    }
}

#[expect(clippy::disallowed_methods, reason = "a test is configured by its environment")]
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn generated_commands_have_the_same_outcome_as_in_the_reference() {
    let steps = number("LONGSHORE_STEPS").map_or(STEPS, |steps| steps as usize);
    if let Some(seed) = number("LONGSHORE_SEED") {
        return Run::new(seed).run(steps);
    }
    for seed in 0..number("LONGSHORE_SEEDS").unwrap_or(SEEDS) {
        Run::new(seed).run(steps);
    }
}
