//! Turns of tenants while jobs come at random and runs take random times, all workers busy: what a
//! tenant with few jobs waits for, and how those share that always have some.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::autoscale::span_ms;
use super::*;
use crate::tenant::TenantWeight;

const WORKERS: usize = 8;
const RUN_MS: f64 = 1_000.0;
const END_MS: u64 = 600_000;

/// The tenants: whose jobs wait in any number, and how many jobs of the others come in a second.
const BUSY: [&str; 2] = ["big", "bigger"];
const QUIET: [(&str, f64); 3] = [("a", 0.5), ("b", 0.3), ("c", 0.1)];

/// Jobs that come, and workers that take one whenever they are free.
struct Site {
    shard: Shard,
    random: u64,
    next_id: u64,
    /// Jobs of quiet tenants that wait: how many had started when each came, and how many of these
    /// waited then.
    came: BTreeMap<JobId, (usize, usize)>,
    runs: BinaryHeap<Reverse<(u64, JobId)>>,
    taken: BTreeMap<JobId, Delivery>,
    starts: Vec<String>,
    /// Once such a job has started: how many did meanwhile, and how many of these waited before it.
    overtaken: Vec<(usize, usize)>,
}

impl Site {
    fn enqueue(&mut self, tenant: &str) {
        self.next_id += 1;
        let id = JobId(u128::from(self.next_id).to_be_bytes());
        let job = NewJob { tenant: Some(tenant.to_owned()), ..NewJob::new(id, "k", "[]") };
        self.shard.enqueue(NewJob { retain_ms: Some(0), ..job });
        let before = self.came.len();
        if QUIET.iter().any(|(quiet, _)| *quiet == tenant) {
            self.came.insert(id, (self.starts.len(), before));
        }
    }

    /// Whoever is free takes a job.
    fn take(&mut self) {
        let now = self.shard.clock.mono.0;
        while self.taken.len() < WORKERS {
            let wish = LeaseJobs { max: 1, lease_ms: Some(3_600_000), ..wish() };
            let Answer::Leased { jobs, .. } = self.shard.call(Command::LeaseJobs(Box::new(wish)))
            else {
                panic!("no lease")
            };
            let Some(job) = jobs.into_iter().next() else { return };
            if let Some((starts, before)) = self.came.remove(&job.id) {
                self.overtaken.push((self.starts.len() - starts, before));
            }
            let Answer::Job(view) = self.shard.call(Command::AwaitJob { id: job.id, wait_ms: 0 })
            else {
                panic!("it is not there")
            };
            self.starts.push(view.job.options.tenant.clone().unwrap());
            self.runs.push(Reverse((now + span_ms(&mut self.random, RUN_MS), job.id)));
            self.taken.insert(job.id, job);
        }
    }

    fn pass_to(&mut self, at: u64) {
        let ms = at - self.shard.clock.mono.0;
        self.shard.clock.wall = self.shard.clock.wall.plus(ms);
        self.shard.clock.mono = self.shard.clock.mono.plus(ms);
    }
}

fn weights() -> Command {
    let tenants = vec![TenantWeight { tenant: "bigger".to_owned(), weight: 3 }];
    let settings = QueueSettings { tenants, ..QueueSettings::DEFAULT };
    Command::PutQueue { queue: "q".to_owned(), settings }
}

#[test]
fn a_tenant_with_few_jobs_waits_for_one_turn_of_the_others_whatever_they_have() {
    let mut site = Site {
        shard: Shard::new(),
        random: 7,
        next_id: 0,
        came: BTreeMap::new(),
        runs: BinaryHeap::new(),
        taken: BTreeMap::new(),
        starts: Vec::new(),
        overtaken: Vec::new(),
    };
    site.shard.call(weights());
    for _ in 0..6_000 {
        for tenant in BUSY {
            site.enqueue(tenant);
        }
    }
    let mut arrivals: BinaryHeap<_> = QUIET.iter().map(|it| Reverse((0, it.0))).collect();
    site.take();
    loop {
        let Reverse((arrives, tenant)) = *arrivals.peek().unwrap();
        let ends = site.runs.peek().map_or(u64::MAX, |Reverse((at, _))| *at);
        if arrives.min(ends) >= END_MS {
            break;
        }
        site.pass_to(arrives.min(ends));
        if arrives < ends {
            arrivals.pop();
            site.enqueue(tenant);
            let per_second = QUIET.iter().find(|it| it.0 == tenant).unwrap().1;
            arrivals.push(Reverse((arrives + span_ms(&mut site.random, 1e3 / per_second), tenant)));
        } else {
            let Reverse((_, id)) = site.runs.pop().unwrap();
            let job = site.taken.remove(&id).unwrap();
            site.shard.settle(&job, ack()).unwrap();
        }
        site.take();
    }
    assert!(site.overtaken.len() > 400, "{} jobs of quiet tenants", site.overtaken.len());
    // Four jobs of both busy ones in a round, and one of each quiet one that has some.
    let a_round = 4 + QUIET.len();
    let late = site.overtaken.iter().find(|(starts, before)| *starts > a_round * (before + 1));
    assert_eq!(late, None, "it waited for more than a round for each job before it");
    let count = |of: &str| site.starts.iter().filter(|tenant| *tenant == of).count() as f64;
    let share = count("bigger") / (count("big") + count("bigger"));
    assert!((share - 0.75).abs() < 0.01, "{share} of the jobs of busy tenants");
    assert!(site.starts.len() > 4_000, "{} started", site.starts.len());
}
