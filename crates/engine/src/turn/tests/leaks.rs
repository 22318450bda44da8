//! Nothing is left of what jobs had, in whatever way they end: locks of unique keys, slots of
//! limits, places in the lines of tenants, what is held back for tags, numbers of sets of gates.

use super::*;
use crate::limit::{JobLimit, LimitRule, LimitScope, LimitSettings};
use crate::state::keys;
use crate::unique::{NewUnique, OnConflict, UniqueUntil};
use crate::wire::Wire;
use crate::{GateChange, GateClosed, GateCommand, HoldCommand, Holder};

/// Whoever takes jobs, in lives that may end at any time.
const WORKERS: u64 = 4;

struct Run {
    shard: Shard,
    random: u64,
    held: Vec<Delivery>,
    lives: [u64; WORKERS as usize],
}

impl Run {
    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn enqueue(&mut self, n: u64) {
        let untils = [UniqueUntil::Started, UniqueUntil::Ended, UniqueUntil::Forgotten];
        let mut new = NewJob { max_attempts: Some(2), retain_ms: Some(100), ..job(0) };
        new.id = JobId(u128::from(n).to_be_bytes());
        if self.chance(60) {
            new.unique = Some(NewUnique {
                key: [self.below(50) as u8; 16],
                period_ms: self.chance(50).then_some(1_000),
                until: untils[self.below(3) as usize],
                on_conflict: OnConflict::Existing,
                spans_queues: false,
            });
        }
        let name = ["slots", "rate", "unknown"][self.below(3) as usize].to_owned();
        let key = format!("account-{}", self.below(20));
        new.limit = self.chance(50).then_some(JobLimit { name, key });
        if new.limit.is_none() && self.chance(30) {
            let names = ["slots", "rate", "unknown"];
            let key = |run: &mut Self| format!("account-{}", run.below(20));
            let limits = names.map(|name| JobLimit { name: name.to_owned(), key: key(self) });
            let some = 2 + self.below(2) as usize;
            new.limits = limits.into_iter().take(some).collect();
        }
        new.tenant = self.chance(40).then(|| format!("tenant-{}", self.below(10)));
        new.tags =
            self.chance(30).then(|| format!("shard={}", self.below(3))).into_iter().collect();
        if self.chance(30) {
            // Dead jobs need theirs, and are kept: few of them have one of their own.
            let own = (self.below(300) == 0).then(|| format!("g{n}"));
            new.gates = own.into_iter().chain([self.gate()]).collect();
        }
        new.ordering_key = self.chance(20).then(|| format!("o{}", self.below(5)));
        new.timeout_ms = self.chance(20).then(|| 1 + self.below(2_000));
        new.at_most_once = self.chance(10);
        let answer = self.shard.enqueue(new);
        assert!(!matches!(answer, Answer::Rejected(_)), "{answer:?}");
    }

    fn gate(&mut self) -> String {
        format!("gate-{}", self.below(3))
    }

    fn turn_gate(&mut self, name: String, closed: bool) {
        let closed = Some(GateClosed { closed, ..GateClosed::default() });
        let change = GateChange { closed, ..GateChange::default() };
        self.shard.call(Command::Gates(GateCommand::Change { name, change }));
    }

    fn lease(&mut self) {
        let worker = self.below(WORKERS);
        let session = format!("s{}", self.lives[worker as usize]);
        let (worker, max) = (format!("w{worker}"), 1 + self.below(3) as usize);
        let (lease_ms, prefetch) = (Some(1_000 + self.below(2_000)), self.chance(50));
        let wish = LeaseJobs { max, lease_ms, worker, session, prefetch, ..wish() };
        match self.shard.call(Command::LeaseJobs(Box::new(wish))) {
            Answer::Leased { jobs, .. } => {
                let begun: Vec<_> = jobs.iter().map(|job| (job.id, job.token)).collect();
                if self.chance(50) {
                    self.shard.call(Command::StartJobs(begun));
                }
                self.held.extend(jobs);
            }
            other => panic!("{other:?}"),
        }
    }

    /// Ends a run in one of the ways that there are, or leaves it to run out.
    fn end(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let index = self.below(self.held.len() as u64) as usize;
        let job = self.held.swap_remove(index);
        let verdict = match self.below(8) {
            0 | 1 => ack(),
            2 => fail(),
            3 => Verdict::Discard { error: None },
            4 => Verdict::Release,
            5 => return,
            6 => {
                self.shard.call(Command::CancelJob { id: job.id, force: true });
                return;
            }
            _ => Verdict::Snooze { delay_ms: 30 },
        };
        // Its lease may have run out meanwhile.
        let _ = self.shard.settle(&job, verdict);
    }

    /// A worker dies with all that it has.
    fn die(&mut self) {
        let worker = self.below(WORKERS);
        let session = format!("s{}", self.lives[worker as usize]);
        self.lives[worker as usize] += 1;
        let holder = Holder { worker: format!("w{worker}"), session };
        let goodbye = self.chance(50);
        self.shard.call(Command::EndSession { holder, why: "it died".to_owned(), goodbye });
    }

    fn step(&mut self, n: u64) {
        self.enqueue(n);
        if self.chance(70) {
            self.lease();
        }
        if self.chance(60) {
            self.end();
        }
        if self.chance(2) {
            self.die();
        }
        if self.chance(1) {
            let (tag, reason, wait_ms) = (format!("shard={}", self.below(3)), None, 0);
            let hold = if self.chance(40) {
                HoldCommand::Put { tag, reason, wait_ms }
            } else {
                HoldCommand::Delete { tag }
            };
            self.shard.call(Command::Holds(hold));
        }
        if self.chance(2) {
            let (name, closed) = (self.gate(), self.chance(40));
            self.turn_gate(name, closed);
        }
        if self.chance(5) {
            // It may be dead.
            let id = JobId(u128::from(n - self.below(n.min(20) + 1)).to_be_bytes());
            self.shard.call(Command::RetryJob { id, from: RetryFrom::Kept });
        }
        if n.is_multiple_of(500) {
            let rule = LimitRule::Concurrency { max: 1 + self.below(3) };
            let (name, settings) =
                ("slots".to_owned(), LimitSettings { scope: LimitScope::Key, rule });
            self.shard.call(Command::PutLimit { name, settings });
        }
        if self.chance(20) {
            let ms = self.below(400);
            self.shard.advance(ms);
        }
    }
}

/// So many keys begin with each of these bytes.
fn left(shard: &Shard, firsts: &[u8]) -> Vec<(u8, usize)> {
    let count = |first: u8| shard.turn.map().entries().range(vec![first]..vec![first + 1]).count();
    firsts.iter().map(|first| (*first, count(*first))).filter(|(_, count)| *count > 0).collect()
}

fn check_that_nothing_leaks(jobs: u64, restarts_every: u64) {
    let mut shard = Shard::new();
    let by_key = |rule| LimitSettings { scope: LimitScope::Key, rule };
    let slots = by_key(LimitRule::Concurrency { max: 2 });
    let rate = by_key(LimitRule::Window { max: 3, period_ms: 500 });
    for (name, settings) in [("slots", slots), ("rate", rate)] {
        shard.call(Command::PutLimit { name: name.to_owned(), settings });
    }
    let mut run = Run { shard, random: 7, held: Vec::new(), lives: [0; WORKERS as usize] };
    for n in 0..jobs {
        run.step(n);
        run.shard.turn.state.leases.ends();
        if n % restarts_every == restarts_every / 2 {
            run.shard.keep();
        }
        if n % restarts_every == restarts_every - 1 {
            run.shard = run.shard.restart();
        }
    }
    for gate in 0..3 {
        run.turn_gate(format!("gate-{gate}"), false);
    }
    let mut shard = run.shard;
    for tag in 0..3 {
        shard.call(Command::Holds(HoldCommand::Delete { tag: format!("shard={tag}") }));
    }
    let kind = OperationKind::DeleteQueue { queue: "q".to_owned() };
    shard.call(Command::StartOperation(kind));
    // Leases run out, operations and what is remembered go on in slices.
    for _ in 0..40 {
        shard.advance(3_600_000);
    }
    shard.advance(24 * 3_600_000 * 200);
    let firsts = [
        keys::JOB,
        keys::LANE,
        keys::LEASE,
        keys::KEYED,
        keys::KEY_HEAD,
        keys::UNIQUE,
        keys::LIMITED,
        keys::LIMIT_LINE,
        keys::LIMIT_BUDGET,
        keys::LIMIT_REFILL,
        keys::LIMIT_SPENT,
        keys::HELD_BACK,
        keys::HELD_BACK_JOB,
        keys::LOST_RUN,
        keys::LOST_COUNT,
        keys::TENANT,
        keys::TENANT_LINE,
        keys::TENANTED,
        keys::TENANT_FIRST,
        keys::SLA_LEFT,
        keys::LINED,
        keys::LINE,
        keys::LINE_UNDER,
    ];
    assert_eq!(left(&shard, &firsts), [], "keys that are left, by their first byte");
    let sets = shard.turn.map().entries().range(vec![keys::GATE_SET_JOBS]..);
    let sets = sets.take_while(|(key, _)| key.first() == Some(&keys::GATE_SET_JOBS));
    let needed: Vec<_> = sets.map(|(_, jobs)| u64::from_bytes(jobs).unwrap()).collect();
    assert!(needed.iter().all(|jobs| *jobs == 0), "sets of gates are needed: {needed:?}");
    assert!(shard.turn.state.limiting.counts_nothing(), "slots are counted without leases");
    assert!(shard.turn.state.leases.ends().is_empty(), "leases without jobs");
    // A change is known of as long as its limit is there.
    for name in ["slots", "rate"] {
        shard.call(Command::DeleteLimit { name: name.to_owned() });
    }
    shard.advance(1);
    assert_eq!(left(&shard, &[keys::LIMIT_CHANGE]), []);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "it asks for the tier that it runs in")]
fn nothing_is_left_of_many_jobs_with_random_deaths() {
    if std::env::var_os("LONGSHORE_FULL").is_some() {
        return check_that_nothing_leaks(1_000_000, 50_000);
    }
    check_that_nothing_leaks(30_000, 5_000);
}
