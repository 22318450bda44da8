//! Workers that follow what a level needs, as `longshore work --autoscale` has them, against the
//! queueing model M/M/c: with arrivals at random and runs of random length, the level is kept with
//! few more workers than the model's optimum for the true rates.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::*;
use crate::sla::{
    SlaAnswer, SlaCommand, SlaGoal, SlaSettings, SlaTarget, WorkerPatience, workers_needed,
};

/// A run takes 5 s, and shall start within 30 s, 99 times of 100.
const RUN_MS: f64 = 5_000.0;
const WITHIN_MS: u64 = 30_000;
const SHARE: f64 = 0.99;

/// How often it is looked how many are needed, and breaches are.
const LOOK_MS: u64 = 10_000;
const HOUR_MS: u64 = 3_600_000;

/// Jobs in a second, hour by hour.
const RATES: [f64; 6] = [2.0, 2.0, 4.0, 4.0, 1.0, 1.0];

/// `SplitMix64`, as a span of this mean with an exponential distribution.
#[expect(clippy::cast_sign_loss, reason = "a logarithm of less than one is negative")]
pub(super) fn span_ms(state: &mut u64, mean_ms: f64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let uniform = ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
    (-mean_ms * (1.0 - uniform).ln()).round() as u64
}

/// Jobs that come, workers that take them, and what became of the level.
struct Site {
    shard: Shard,
    random: u64,
    next_id: u64,
    came_at: BTreeMap<JobId, u64>,
    runs: BinaryHeap<Reverse<(u64, JobId)>>,
    taken: BTreeMap<JobId, Delivery>,
    workers: usize,
    kept: u64,
    started: u64,
}

impl Site {
    fn new() -> Self {
        let mut shard = Shard::new();
        let settings = SlaSettings {
            target: SlaTarget::Queue { name: "q".to_owned() },
            goal: SlaGoal::StartedWithin { within_ms: WITHIN_MS },
            share: 9_900,
            breach: None,
        };
        let put = SlaCommand::Put { name: "mail".to_owned(), settings: Box::new(settings) };
        shard.call(Command::Sla(put));
        Self {
            shard,
            random: 7,
            next_id: 0,
            came_at: BTreeMap::new(),
            runs: BinaryHeap::new(),
            taken: BTreeMap::new(),
            workers: 1,
            kept: 0,
            started: 0,
        }
    }

    fn pass_to(&mut self, at: u64) {
        let ms = at - self.shard.clock.mono.0;
        self.shard.clock.wall = self.shard.clock.wall.plus(ms);
        self.shard.clock.mono = self.shard.clock.mono.plus(ms);
    }

    fn enqueue(&mut self) {
        self.next_id += 1;
        let id = JobId(u128::from(self.next_id).to_be_bytes());
        self.came_at.insert(id, self.shard.clock.mono.0);
        self.shard.enqueue(NewJob { retain_ms: Some(0), ..NewJob::new(id, "k", "[]") });
    }

    /// Whoever is free takes a job.
    fn take(&mut self) {
        let now = self.shard.clock.mono.0;
        let free = self.workers.saturating_sub(self.taken.len());
        if free == 0 || self.came_at.is_empty() {
            return;
        }
        let wish = LeaseJobs { max: free, lease_ms: Some(HOUR_MS), ..wish() };
        let Answer::Leased { jobs, .. } = self.shard.call(Command::LeaseJobs(Box::new(wish)))
        else {
            panic!("no lease")
        };
        for job in jobs {
            let came_at = self.came_at.remove(&job.id).unwrap();
            self.started += 1;
            self.kept += u64::from(now - came_at <= WITHIN_MS);
            self.runs.push(Reverse((now + span_ms(&mut self.random, RUN_MS), job.id)));
            self.taken.insert(job.id, job);
        }
    }

    fn end_run(&mut self) {
        let Reverse((_, id)) = self.runs.pop().unwrap();
        let job = self.taken.remove(&id).unwrap();
        self.shard.settle(&job, ack()).unwrap();
    }

    fn needed(&mut self) -> Option<usize> {
        let get = SlaCommand::Get { name: "mail".to_owned() };
        match self.shard.call(Command::Sla(get)) {
            Answer::Sla(SlaAnswer::Sla(view)) => view.workers_needed.map(|needed| needed as usize),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_autoscaler_keeps_the_level_with_few_more_workers_than_the_optimum() {
    let (mut site, mut patience) = (Site::new(), WorkerPatience::default());
    let (mut worker_ms, mut optimum_ms) = (0_u64, 0_u64);
    let (mut next_arrival, mut next_look) = (0, LOOK_MS);
    for (hour, rate) in (1_u64..).zip(RATES) {
        let end = hour * HOUR_MS;
        let optimum = workers_needed(rate, RUN_MS / 1e3, WITHIN_MS as f64 / 1e3, 1.0 - SHARE, 0);
        optimum_ms += optimum * HOUR_MS;
        loop {
            let ends = site.runs.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
            let next = next_arrival.min(next_look).min(ends);
            let before = site.shard.clock.mono.0;
            worker_ms += site.workers as u64 * (next.min(end) - before);
            site.pass_to(next.min(end));
            if next >= end {
                break;
            }
            if next == ends {
                site.end_run();
            } else if next == next_look {
                site.shard.advance(0);
                next_look += LOOK_MS;
                if let Some(wanted) = site.needed() {
                    let wanted = wanted.clamp(1, 100);
                    site.workers = patience.next(site.workers, wanted).unwrap_or(site.workers);
                }
            } else {
                site.enqueue();
                next_arrival = next + span_ms(&mut site.random, 1e3 / rate);
            }
            site.take();
        }
    }
    let share = site.kept as f64 / site.started as f64;
    let more = worker_ms as f64 / optimum_ms as f64;
    assert!(site.started > 45_000, "{} jobs started", site.started);
    assert!(share >= SHARE, "{share} of the jobs started in time");
    assert!(more <= 1.2, "{more} times as many workers as the optimum");
}
