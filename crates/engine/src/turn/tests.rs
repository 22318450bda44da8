//! Whole lives of jobs, on plain values: no disk, no clock but the test's.

mod accounts;
mod autoscale;
mod bounded;
mod busy_keys;
mod caps;
mod checkpoints;
mod consumers;
mod costs;
mod entries;
mod fairness;
mod follow_ups;
mod gates;
mod holds;
mod idle_queues;
mod job_changes;
mod keyed;
mod kinds;
mod leaks;
mod limit_changes;
mod limits;
mod messages;
mod offering;
mod once;
mod pause;
mod queueing;
mod regressions;
mod schedule_steps;
mod schedules;
mod sessions;
mod several;
mod slas;
mod slas_of_schedules;
mod snoozes;
mod spent;
mod stats;
mod tenants;
mod uniques;
mod versions;
mod withdrawals;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Recovery, Turn};
use crate::answer::{Answer, Delivery, JobState};
use crate::command::{
    Command, EnqueueJobs, Extension, LeaseJobs, NewJob, QueuePattern, ReplyTo, Request, RetryFrom,
    Settlement, Start, Verdict,
};
use crate::ids::{JobId, MonoMs, TimeMs, Token};
use crate::job::{EndKind, JobError, RetryPolicy};
use crate::limits::Limits;
use crate::map::OrderedMap;
use crate::moment::Clock;
use crate::operation::{OperationKind, OperationState};
use crate::queue::QueueSettings;
use crate::rejection::Rejection;
use crate::{CloseReason, Effect, Instruction, Position};

type Map = BTreeMap<Vec<u8>, Bytes>;

/// A shard whose journal is a list and whose disk is instant.
struct Shard {
    turn: Turn,
    /// The state that a restart begins with, and at which position it is.
    kept: (Map, Position),
    /// What came after it.
    journal: Vec<Bytes>,
    answers: BTreeMap<u64, Answer>,
    /// To which consumer, in order.
    delivered: Vec<(u64, Vec<Delivery>)>,
    closed: Vec<(u64, CloseReason)>,
    /// Messages, to which consumer, in order.
    messages: Vec<(u64, crate::MessageDelivery)>,
    clock: Clock,
    next_reply: u64,
}

impl Shard {
    fn new() -> Self {
        Self::recover(&[], Limits { lease_ms_default: 30_000, ..Limits::default() })
    }

    fn recover(journal: &[Bytes], limits: Limits) -> Self {
        Self::recover_from((Map::new(), Position::START), journal, limits)
    }

    fn recover_from(kept: (Map, Position), journal: &[Bytes], limits: Limits) -> Self {
        Self::recover_on(kept.0.clone(), kept, journal, limits)
    }

    fn recover_on(
        map: impl OrderedMap,
        kept: (Map, Position),
        journal: &[Bytes],
        limits: Limits,
    ) -> Self {
        let mut recovery = Recovery::begin(map, kept.1, limits).unwrap();
        for (index, entry) in journal.iter().enumerate() {
            recovery.replay(Position(kept.1.0 + index as u64 + 1), entry).unwrap();
        }
        let clock = Clock { wall: TimeMs(1_000_000), mono: MonoMs(0), random: 0 };
        let turn = recovery.start(clock, &["default"]);
        let journal = journal.to_vec();
        let answers = BTreeMap::new();
        let (delivered, closed) = (Vec::new(), Vec::new());
        let (next_reply, messages) = (1, Vec::new());
        let mut shard =
            Self { turn, kept, journal, answers, delivered, closed, messages, clock, next_reply };
        shard.flush();
        shard
    }

    fn restart(&self) -> Self {
        let (kept, limits) = (self.kept.clone(), self.turn.state.limits.clone());
        let mut shard = Self::recover_from(kept, &self.journal, limits);
        shard.clock.wall = self.clock.wall;
        shard.next_reply = 1_000_000;
        shard
    }

    /// Keeps the state as it is now: a restart begins with that.
    fn keep(&mut self) {
        self.turn.complete_map();
        self.kept = (self.turn.map().entries().clone(), self.turn.position());
        self.journal.clear();
    }

    fn flush(&mut self) {
        if let Some(group) = self.turn.seal() {
            let bytes = group.bytes.to_bytes();
            let mut rest = &bytes[..];
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let (entry, after) = after.split_at(u32::from_le_bytes(*length) as usize);
                self.journal.push(Bytes::copy_from_slice(entry));
                rest = after;
            }
            assert_eq!(self.kept.1.0 + self.journal.len() as u64, group.last().0);
        }
        let position = self.turn.position();
        for effect in self.turn.committed(position) {
            match effect {
                Effect::Reply { reply_to, answer } => {
                    let before = self.answers.insert(reply_to.0, answer);
                    assert!(before.is_none(), "answered twice");
                }
                Effect::Deliver { consumer, jobs } => self.delivered.push((consumer.0, jobs)),
                Effect::DeliverMessages { consumer, messages } => {
                    self.messages.extend(messages.into_iter().map(|it| (consumer.0, it)));
                }
                Effect::Close { consumer, reason } => self.closed.push((consumer.0, reason)),
            }
        }
    }

    fn send(&mut self, command: Command) -> u64 {
        let reply_to = ReplyTo(self.next_reply);
        self.next_reply += 1;
        let request = Request { namespace: "default".to_owned(), reply_to, command };
        self.turn.submit(request, self.clock);
        self.flush();
        reply_to.0
    }

    fn call(&mut self, command: Command) -> Answer {
        let reply = self.send(command);
        self.answers.remove(&reply).expect("answered at once")
    }

    fn advance(&mut self, ms: u64) {
        self.clock.wall = self.clock.wall.plus(ms);
        self.clock.mono = self.clock.mono.plus(ms);
        for _ in 0..1000 {
            if !self.turn.tick(self.clock) {
                break;
            }
        }
        self.flush();
    }

    fn enqueue(&mut self, job: NewJob) -> Answer {
        let queue = "q".to_owned();
        self.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs: vec![job] }))
    }

    fn lease(&mut self, max: usize) -> Vec<Delivery> {
        match self.call(Command::LeaseJobs(Box::new(LeaseJobs { max, ..wish() }))) {
            Answer::Leased { jobs, .. } => jobs,
            other => panic!("{other:?}"),
        }
    }

    fn settle(&mut self, job: &Delivery, verdict: Verdict) -> Result<EndKind, Rejection> {
        let settlement = Settlement { id: job.id, token: job.token, verdict };
        match self.call(Command::SettleJobs(vec![settlement])) {
            Answer::Settled(mut settled) => settled.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self, id: JobId) -> Option<JobState> {
        match self.call(Command::AwaitJob { id, wait_ms: 0 }) {
            Answer::Job(view) => Some(view.state()),
            Answer::Rejected(Rejection::JobUnknown { .. }) => None,
            other => panic!("{other:?}"),
        }
    }
}

fn wish() -> LeaseJobs {
    LeaseJobs {
        queues: vec![QueuePattern::Exactly("q".to_owned())],
        kinds: None,
        max: 1,
        wait_ms: 0,
        lease_ms: None,
        worker: "w".to_owned(),
        session: "s".to_owned(),
        ask: None,
        seen: None,
        settle: Vec::new(),
        prefetch: false,
    }
}

fn id(n: u8) -> JobId {
    JobId([n; 16])
}

fn job(n: u8) -> NewJob {
    NewJob { retry: Some(RetryPolicy::Constant { delay_ms: 100 }), ..NewJob::new(id(n), "k", "[]") }
}

fn ack() -> Verdict {
    let result = Some(Bytes::from_static(b"7"));
    Verdict::Ack { result, location: None, follow_ups: Vec::new(), next_tick: None }
}

fn fail() -> Verdict {
    let error = JobError { kind: "E".into(), message: "no".into(), backtrace: String::new() };
    Verdict::Fail { error, retry_in_ms: None }
}

fn ids(jobs: &[Delivery]) -> Vec<u8> {
    jobs.iter().map(|job| job.id.0[0]).collect()
}

#[test]
fn a_job_is_handed_over_once_and_its_ack_is_repeatable() {
    let mut shard = Shard::new();
    assert!(matches!(shard.enqueue(job(1)), Answer::Enqueued(_)));
    let jobs = shard.lease(9);
    assert_eq!((ids(&jobs), jobs[0].attempt), (vec![1], 1));
    assert_eq!(shard.state(id(1)), Some(JobState::Running));
    assert!(shard.lease(9).is_empty());
    assert_eq!(shard.settle(&jobs[0], ack()), Ok(EndKind::Acked));
    assert_eq!(shard.settle(&jobs[0], ack()), Ok(EndKind::Acked), "the first answer stands");
    assert_eq!(shard.state(id(1)), Some(JobState::Succeeded));
    shard.advance(24 * 3600 * 1000 + 1);
    assert_eq!(shard.state(id(1)), None);
}

#[test]
fn failures_wait_then_end_in_the_dead_set_and_start_over_when_retried() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { max_attempts: Some(2), ..job(1) });
    let jobs = shard.lease(1);
    assert_eq!(shard.settle(&jobs[0], fail()), Ok(EndKind::Failed));
    assert_eq!(shard.state(id(1)), Some(JobState::Retrying));
    assert!(shard.lease(1).is_empty());
    shard.advance(100);
    let jobs = shard.lease(1);
    assert_eq!(jobs[0].attempt, 2);
    assert_eq!(shard.settle(&jobs[0], fail()), Ok(EndKind::Failed));
    assert_eq!(shard.state(id(1)), Some(JobState::Dead));
    assert!(matches!(
        shard.call(Command::RetryJob { id: id(1), from: RetryFrom::Kept }),
        Answer::Job(_)
    ));
    let jobs = shard.lease(1);
    assert_eq!((jobs[0].attempt, jobs[0].max_attempts), (3, 4));
}

#[test]
fn a_lost_run_keeps_its_place_and_its_token_is_powerless() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    shard.enqueue(job(2));
    let lost = shard.lease(1);
    shard.advance(30_001);
    let again = shard.lease(1);
    assert_eq!((ids(&again), again[0].attempt), (vec![1], 2));
    assert!(matches!(shard.settle(&lost[0], ack()), Err(Rejection::LeaseLost { .. })));
    for _ in 0..4 {
        shard.advance(30_001);
        shard.lease(1);
    }
    assert_eq!(shard.state(id(1)), Some(JobState::Dead), "five losses in a row");
}

#[test]
fn heartbeats_keep_a_lease_but_not_past_the_timeout() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { timeout_ms: Some(50_000), ..job(1) });
    let jobs = shard.lease(1);
    let beat = Extension {
        id: id(1),
        token: jobs[0].token,
        lease_ms: None,
        progress: Some(5000),
        progress_text: None,
    };
    for _ in 0..2 {
        shard.advance(20_000);
        let answer = shard.call(Command::ExtendLeases(vec![beat.clone()]));
        assert!(matches!(&answer, Answer::Extended(a) if a[..] == [Ok(Instruction::Continue)]));
    }
    shard.advance(10_000);
    assert_eq!(shard.state(id(1)), Some(JobState::Running));
    shard.advance(1);
    assert_eq!(shard.state(id(1)), Some(JobState::Retrying));
}

#[test]
fn an_ordering_key_runs_one_at_a_time_in_order() {
    let mut shard = Shard::new();
    for n in 1..=3 {
        shard.enqueue(NewJob { ordering_key: Some("k".into()), ..job(n) });
    }
    shard.enqueue(job(4));
    let first = shard.lease(9);
    assert_eq!(ids(&first), [1, 4]);
    shard.settle(&first[0], fail()).unwrap();
    assert!(shard.lease(9).is_empty(), "the head's retry holds back its followers");
    shard.call(Command::CancelJob { id: id(1), force: false });
    assert_eq!(ids(&shard.lease(9)), [2]);
}

#[test]
fn order_is_priority_then_time_then_place() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    shard.enqueue(NewJob { priority: Some(9), ..job(2) });
    shard.enqueue(NewJob { start: Some(Start::After(500)), ..job(3) });
    assert_eq!(ids(&shard.lease(1)), [2]);
    let plain = shard.lease(2);
    assert_eq!(ids(&plain), [1]);
    shard.advance(500);
    shard.settle(&plain[0], Verdict::Release).unwrap();
    assert_eq!(ids(&shard.lease(2)), [1, 3], "what is released keeps its place");
}

#[test]
fn a_waiting_worker_gets_the_next_job() {
    let mut shard = Shard::new();
    let wish = LeaseJobs { wait_ms: 5_000, ..wish() };
    let waiting = shard.send(Command::LeaseJobs(Box::new(wish.clone())));
    assert!(!shard.answers.contains_key(&waiting));
    shard.enqueue(NewJob { start: Some(Start::After(1_000)), ..job(1) });
    shard.advance(999);
    assert!(!shard.answers.contains_key(&waiting));
    assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(1));
    shard.advance(1);
    assert!(matches!(&shard.answers[&waiting], Answer::Leased { jobs, .. } if jobs.len() == 1));
    let waiting = shard.send(Command::LeaseJobs(Box::new(wish)));
    shard.advance(5_000);
    assert!(matches!(&shard.answers[&waiting], Answer::Leased { jobs, .. } if jobs.is_empty()));
}

#[test]
fn a_turn_repeated_gets_the_same_jobs_and_an_unseen_one_gives_them_back() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let turn =
        |turn, seen| Command::LeaseJobs(Box::new(LeaseJobs { ask: Some(turn), seen, ..wish() }));
    let leased = |answer| match answer {
        Answer::Leased { jobs, .. } => jobs,
        other => panic!("{other:?}"),
    };
    let first = leased(shard.call(turn(1, None)));
    assert_eq!(leased(shard.call(turn(1, None))), first);
    let mut shard = shard.restart();
    assert_eq!(leased(shard.call(turn(1, None))), first, "also after a restart");
    let second = leased(shard.call(turn(2, Some(0))));
    assert_eq!((ids(&second), second[0].attempt), (vec![1], 1));
    assert_ne!(second[0].token, first[0].token);
    assert!(matches!(shard.call(turn(1, None)), Answer::Rejected(Rejection::AskPassed { .. })));
}

#[test]
fn client_ids_are_idempotency_keys() {
    let mut shard = Shard::new();
    let named = |fingerprint| NewJob { fingerprint: Some([fingerprint; 16]), ..job(1) };
    let replayed = |answer| match answer {
        Answer::Enqueued(jobs) => jobs[0].replayed,
        other => panic!("{other:?}"),
    };
    assert!(!replayed(shard.enqueue(named(1))));
    assert!(replayed(shard.enqueue(named(1))));
    assert!(matches!(shard.enqueue(named(2)), Answer::Rejected(Rejection::JobIdTaken { .. })));
    let jobs = shard.lease(1);
    shard.settle(&jobs[0], ack()).unwrap();
    shard.advance(25 * 3600 * 1000);
    assert_eq!(shard.state(id(1)), None);
    assert!(replayed(shard.enqueue(named(1))), "a tombstone is left");
    shard.advance(25 * 3600 * 1000);
    assert!(!replayed(shard.enqueue(named(1))));
}

#[test]
fn a_bulk_is_refused_whole_with_its_faults() {
    let mut shard = Shard::new();
    let jobs = vec![job(1), NewJob { kind: String::new(), ..job(2) }, job(3)];
    let answer = shard.call(Command::EnqueueJobs(EnqueueJobs { queue: "q".into(), jobs }));
    let Answer::Rejected(Rejection::JobsRefused { faults }) = answer else { panic!("{answer:?}") };
    assert_eq!(faults.iter().map(|fault| fault.0).collect::<Vec<_>>(), [1]);
    assert_eq!(shard.state(id(1)), None);
}

#[test]
fn a_restart_keeps_leases_waiting_jobs_and_counts() {
    let mut shard = Shard::new();
    for n in 1..=5 {
        shard.enqueue(job(n));
    }
    let jobs = shard.lease(2);
    shard.settle(&jobs[0], ack()).unwrap();
    let mut shard = shard.restart();
    assert_eq!(shard.settle(&jobs[1], ack()), Ok(EndKind::Acked));
    let Answer::Queue(queue) = shard.call(Command::GetQueue { queue: "q".into() }) else {
        panic!()
    };
    assert_eq!((queue.ready, queue.running, queue.succeeded_total), (3, 0, 2));
    let later = shard.lease(9);
    assert_eq!(ids(&later), [3, 4, 5]);
    assert!(later[0].token > jobs[1].token);
}

#[test]
fn operations_purge_and_retry_in_slices() {
    let mut shard = Shard::new();
    for n in 1..=200 {
        shard.enqueue(NewJob { at_most_once: n % 2 == 0, ..job(n) });
    }
    let jobs = shard.lease(20);
    for job in &jobs {
        shard.settle(job, fail()).unwrap();
    }
    let retry = OperationKind::RetryDead { queue: None, kind: None, before: None, limit: None };
    let purge = OperationKind::PurgeQueue { queue: "q".into(), kind: None, before: None };
    for (kind, changed) in [(retry, 10), (purge, 200)] {
        let answer = shard.call(Command::StartOperation(kind));
        let Answer::Operation(operation) = answer else { panic!("{answer:?}") };
        shard.advance(1);
        let answer = shard.call(Command::GetOperation { id: operation.id });
        let Answer::Operation(operation) = answer else { panic!("{answer:?}") };
        assert_eq!((operation.state, operation.changed), (OperationState::Finished, changed));
    }
    assert!(matches!(shard.call(Command::DeleteQueue { queue: "q".into() }), Answer::QueueDeleted));
}

/// An operation touched all that matched: nobody could try ten of the dead jobs first.
#[test]
fn an_operation_stops_at_its_limit_and_takes_the_oldest_first() {
    let mut shard = Shard::new();
    for n in 1..=9 {
        shard.enqueue(NewJob { at_most_once: true, ..job(n) });
    }
    let jobs = shard.lease(6);
    for job in jobs.iter().rev() {
        shard.advance(1);
        shard.settle(job, fail()).unwrap();
    }
    shard.turn.state.limits.slice_items_max = 2;
    let run = |shard: &mut Shard, kind| {
        let answer = shard.call(Command::StartOperation(kind));
        let Answer::Operation(operation) = answer else { panic!("{answer:?}") };
        shard.advance(1);
        let answer = shard.call(Command::GetOperation { id: operation.id });
        let Answer::Operation(operation) = answer else { panic!("{answer:?}") };
        assert_eq!(operation.state, OperationState::Finished);
        (operation.candidates, operation.changed)
    };
    let queue = || Some("q".to_owned());
    let purge =
        OperationKind::PurgeDead { queue: queue(), kind: None, before: None, limit: Some(1) };
    assert_eq!(run(&mut shard, purge), (1, 1));
    assert_eq!((shard.state(id(6)), shard.state(id(5))), (None, Some(JobState::Dead)));
    let retry =
        |limit| OperationKind::RetryDead { queue: queue(), kind: None, before: None, limit };
    assert_eq!(run(&mut shard, retry(Some(3))), (3, 3));
    let states = [1, 2, 3, 4, 5].map(|n| shard.state(id(n)));
    let (dead, ready) = (Some(JobState::Dead), Some(JobState::Ready));
    assert_eq!(states, [dead, dead, ready, ready, ready], "what died first starts first");
    assert_eq!(run(&mut shard, retry(Some(9))), (2, 2));
    let refused = shard.call(Command::StartOperation(retry(Some(0))));
    assert!(matches!(refused, Answer::Rejected(Rejection::ValueRefused { field: "limit", .. })));
}

#[test]
fn cancelling_a_running_job_is_a_request() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    shard.enqueue(job(2));
    let jobs = shard.lease(2);
    shard.call(Command::CancelJob { id: id(1), force: false });
    shard.call(Command::CancelJob { id: id(2), force: false });
    let token: Token = jobs[0].token;
    let beat = Extension { id: id(1), token, lease_ms: None, progress: None, progress_text: None };
    let answer = shard.call(Command::ExtendLeases(vec![beat]));
    assert!(matches!(&answer, Answer::Extended(a) if a[..] == [Ok(Instruction::Cancel)]));
    shard.settle(&jobs[0], ack()).unwrap();
    shard.settle(&jobs[1], fail()).unwrap();
    assert_eq!(shard.state(id(1)), Some(JobState::Succeeded), "its ack still wins");
    assert_eq!(shard.state(id(2)), Some(JobState::Cancelled));
}

#[test]
fn kinds_are_handed_only_to_those_who_run_them() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob::new(id(1), "longshore.shell", "[]"));
    shard.enqueue(NewJob::new(id(2), "other", "[]"));
    assert_eq!(ids(&shard.lease(9)), [2], "reserved kinds only by name");
    let mut wish = wish();
    wish.kinds = Some(vec!["longshore.shell".into(), "unheard".into()]);
    let answer = shard.call(Command::LeaseJobs(Box::new(wish)));
    assert!(matches!(&answer, Answer::Leased { jobs, .. } if ids(jobs) == [1]));
}

#[test]
fn expired_jobs_are_not_started() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { expiry: Some(Start::After(10)), ..job(1) });
    shard.enqueue(NewJob { max_age_ms: Some(10), ..job(2) });
    shard.advance(10);
    assert_eq!(shard.state(id(1)), Some(JobState::Expired));
    assert_eq!(shard.state(id(2)), Some(JobState::Dead));
    assert!(shard.lease(9).is_empty());
}

#[test]
fn an_at_most_once_job_is_granted_again_only_on_its_workers_word_that_it_did_not_run() {
    let mut shard = Shard::new();
    let enqueue = |shard: &mut Shard, n| shard.enqueue(NewJob { at_most_once: true, ..job(n) });
    enqueue(&mut shard, 1);
    for verdict in [Verdict::Release, Verdict::Snooze { delay_ms: 0 }] {
        let jobs = shard.lease(1);
        assert!(jobs[0].at_most_once && jobs[0].attempt == 1);
        shard.settle(&jobs[0], verdict).unwrap();
    }
    let turn = |shard: &mut Shard, turn, seen| {
        let wish = LeaseJobs { ask: Some(turn), seen, ..wish() };
        match shard.call(Command::LeaseJobs(Box::new(wish))) {
            Answer::Leased { jobs, .. } => jobs,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ids(&turn(&mut shard, 1, None)), [1]);
    assert_eq!(ids(&turn(&mut shard, 2, Some(0))), [1], "the answer to turn 1 did not arrive");
    assert!(turn(&mut shard, 3, Some(2)).is_empty());
    enqueue(&mut shard, 2);
    let failed = shard.lease(1);
    shard.settle(&failed[0], fail()).unwrap();
    assert_eq!(shard.state(id(2)), Some(JobState::Dead), "a run that failed");
    shard.advance(30_001);
    assert_eq!(shard.state(id(1)), Some(JobState::Dead), "a run of which nothing was heard");
}
