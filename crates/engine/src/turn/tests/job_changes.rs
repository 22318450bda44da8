//! Changing all jobs that a filter means: each that matches when it is met is changed once, across
//! slices and restarts, and nothing else is.

use super::*;
use crate::ids::OperationId;
use crate::job::JobFilter;
use crate::operation::{JobAction, JobsChange, Operation};

fn shard() -> Shard {
    Shard::recover(&[], Limits { slice_items_max: 4, ..Limits::default() })
}

fn change(filter: JobFilter, action: JobAction) -> OperationKind {
    OperationKind::ChangeJobs { change: Box::new(JobsChange { filter, action, limit: None }) }
}

fn dead() -> JobFilter {
    JobFilter { state: Some(JobState::Dead), ..JobFilter::default() }
}

fn start(shard: &mut Shard, kind: OperationKind) -> Operation {
    operation(shard.call(Command::StartOperation(kind)))
}

fn operation(answer: Answer) -> Operation {
    match answer {
        Answer::Operation(operation) => *operation,
        other => panic!("{other:?}"),
    }
}

/// Runs it to its end.
fn done(shard: &mut Shard, id: OperationId) -> Operation {
    for _ in 0..1000 {
        shard.turn.tick(shard.clock);
        shard.flush();
        let now = operation(shard.call(Command::GetOperation { id }));
        if now.state != OperationState::Running {
            return now;
        }
    }
    panic!("operation {id} does not end")
}

/// Runs a job once and fails it for good.
fn kill(shard: &mut Shard, error: &str) {
    let jobs = shard.lease(1);
    let error =
        JobError { kind: error.to_owned(), message: String::new(), backtrace: String::new() };
    shard.settle(&jobs[0], Verdict::Fail { error, retry_in_ms: None }).unwrap();
}

fn once(n: u8) -> NewJob {
    NewJob { max_attempts: Some(1), ..job(n) }
}

#[test]
fn only_what_died_of_one_error_is_retried_and_each_of_them_once() {
    let mut shard = shard();
    for n in 1..=10 {
        shard.enqueue(once(n));
        kill(&mut shard, if n % 2 == 0 { "Timeout" } else { "Broken" });
    }
    let filter = JobFilter { error: Some("Timeout".to_owned()), ..dead() };
    let started = start(&mut shard, change(filter, JobAction::Retry));
    assert_eq!(started.candidates, 10);
    shard.turn.tick(shard.clock);
    shard.flush();
    // One of them dies again before the operation is through: it is met no second time.
    kill(&mut shard, "Timeout");
    let mut shard = shard.restart();
    let ended = done(&mut shard, started.id);
    assert_eq!((ended.changed, ended.kept), (5, 0));
    let states: Vec<_> = (1..=10).map(|n| shard.state(id(n)).unwrap()).collect();
    let of = |state| states.iter().filter(|it| **it == state).count();
    assert_eq!((of(JobState::Ready), of(JobState::Dead)), (4, 6));
}

#[test]
fn what_comes_later_is_not_meant() {
    let mut shard = shard();
    (1..=6).for_each(|n| drop(shard.enqueue(job(n))));
    let started =
        start(&mut shard, change(JobFilter::default(), JobAction::Cancel { force: false }));
    (7..=9).for_each(|n| drop(shard.enqueue(job(n))));
    assert_eq!(done(&mut shard, started.id).changed, 6);
    assert_eq!(shard.state(id(6)), Some(JobState::Cancelled));
    assert_eq!(shard.state(id(7)), Some(JobState::Ready));
}

#[test]
fn a_running_job_is_asked_to_stop_or_ended_by_force() {
    let mut shard = shard();
    (1..=3).for_each(|n| drop(shard.enqueue(job(n))));
    let running = shard.lease(1);
    let all = JobFilter::default;
    let started = start(&mut shard, change(all(), JobAction::Cancel { force: false }));
    assert_eq!(done(&mut shard, started.id).changed, 3);
    assert_eq!(shard.state(id(1)), Some(JobState::Running));
    // It was asked already: there is nothing left to do.
    let again = start(&mut shard, change(all(), JobAction::Cancel { force: false }));
    assert_eq!(done(&mut shard, again.id).changed, 0);
    let runs = JobFilter { state: Some(JobState::Running), ..JobFilter::default() };
    let forced = start(&mut shard, change(runs, JobAction::Cancel { force: true }));
    assert_eq!(done(&mut shard, forced.id).changed, 1);
    assert_eq!(shard.state(id(1)), Some(JobState::Cancelled));
    assert!(matches!(shard.settle(&running[0], ack()), Err(Rejection::LeaseLost { .. })));
}

#[test]
fn jobs_go_to_another_queue_in_their_order_while_it_has_room() {
    let mut shard = shard();
    let settings = QueueSettings { max_length: Some(5), ..QueueSettings::DEFAULT };
    shard.call(Command::PutQueue { queue: "slow".to_owned(), settings });
    for n in 1..=8 {
        let ordering_key = (n % 2 == 0).then(|| "key".to_owned());
        let tenant = (n > 4).then(|| "acme".to_owned());
        shard.enqueue(NewJob { ordering_key, tenant, ..job(n) });
    }
    let to = JobAction::Move { queue: "slow".to_owned() };
    let started = start(&mut shard, change(JobFilter::default(), to));
    let ended = done(&mut shard, started.id);
    assert_eq!((ended.changed, ended.kept), (5, 3));
    assert_eq!(ended.kept_why.unwrap(), "queue \"slow\" holds 5 jobs of at most 5");
    let mut shard = shard.restart();
    let slow =
        LeaseJobs { queues: vec![QueuePattern::Exactly("slow".to_owned())], max: 10, ..wish() };
    let taken = |shard: &mut Shard, wish: &LeaseJobs| {
        let mut ids = Vec::new();
        loop {
            let answer = shard.call(Command::LeaseJobs(Box::new(wish.clone())));
            let Answer::Leased { jobs, .. } = answer else { panic!("{answer:?}") };
            if jobs.is_empty() {
                return ids;
            }
            for job in jobs {
                ids.push(job.id.0[0]);
                shard.settle(&job, ack()).unwrap();
            }
        }
    };
    // Of the key only one at a time, in the order of entry, whatever queue each is in.
    assert_eq!(taken(&mut shard, &slow), [1, 2, 3, 5, 4]);
    assert_eq!(taken(&mut shard, &LeaseJobs { max: 10, ..wish() }), [6, 7, 8]);
    let totals = shard.turn.stats(shard.clock, None, usize::MAX).tenants;
    assert_eq!((totals.tenants, totals.jobs), (0, 0));
}

#[test]
fn priority_holds_for_what_waits_and_for_tenants() {
    let mut shard = shard();
    for n in 1..=6 {
        let kind = if n > 3 { "urgent" } else { "k" };
        let mut new = NewJob { tenant: Some("acme".to_owned()), ..job(n) };
        new.kind = kind.to_owned();
        shard.enqueue(new);
    }
    let filter = JobFilter { kind: Some("urgent".to_owned()), ..JobFilter::default() };
    let started = start(&mut shard, change(filter, JobAction::SetPriority { priority: 7 }));
    assert_eq!(done(&mut shard, started.id).changed, 3);
    let mut shard = shard.restart();
    let order: Vec<_> = shard.lease(10).iter().map(|job| (job.id.0[0], job.priority)).collect();
    assert_eq!(order, [(4, 7), (5, 7), (6, 7), (1, 0), (2, 0), (3, 0)]);
}

#[test]
fn what_waits_is_removed_only_by_whoever_names_its_state() {
    let mut shard = shard();
    shard.enqueue(once(1));
    kill(&mut shard, "Broken");
    (2..=4).for_each(|n| drop(shard.enqueue(job(n))));
    let all = JobsChange { filter: JobFilter::default(), action: JobAction::Remove, limit: None };
    let all = OperationKind::ChangeJobs { change: Box::new(all.normal()) };
    let started = start(&mut shard, all);
    assert_eq!(done(&mut shard, started.id).changed, 1);
    assert_eq!((shard.state(id(1)), shard.state(id(2))), (None, Some(JobState::Ready)));
    let ready = JobFilter { state: Some(JobState::Ready), ..JobFilter::default() };
    let few = JobsChange { filter: ready, action: JobAction::Remove, limit: Some(2) };
    let started = start(&mut shard, OperationKind::ChangeJobs { change: Box::new(few) });
    assert_eq!((started.candidates, done(&mut shard, started.id).changed), (2, 2));
    assert_eq!((shard.state(id(3)), shard.state(id(4))), (None, Some(JobState::Ready)));
}

#[test]
fn args_are_searched_bit_by_bit_however_large_they_are() {
    let mut shard = shard();
    for n in 1..=12 {
        let word = if n % 3 == 0 { "acme" } else { "else" };
        let args = format!("[\"{}{word}\"]", "x".repeat(20_000));
        shard.enqueue(NewJob { args: args.into(), ..job(n) });
    }
    let filter = JobFilter { text: Some("acme\"".to_owned()), ..JobFilter::default() };
    let started = start(&mut shard, change(filter, JobAction::Cancel { force: false }));
    shard.turn.tick(shard.clock);
    shard.flush();
    // 20 KB cost as much as five jobs: more than a slice of four.
    let after = operation(shard.call(Command::GetOperation { id: started.id }));
    assert_eq!((after.examined, after.state), (1, OperationState::Running));
    assert_eq!(done(&mut shard, started.id).changed, 4);
}

#[test]
fn a_change_that_is_called_off_goes_no_further() {
    let mut shard = shard();
    (1..=12).for_each(|n| drop(shard.enqueue(job(n))));
    let started =
        start(&mut shard, change(JobFilter::default(), JobAction::Cancel { force: false }));
    shard.turn.tick(shard.clock);
    shard.flush();
    let stopped = operation(shard.call(Command::CancelOperation { id: started.id }));
    assert_eq!((stopped.changed, stopped.state), (4, OperationState::Cancelled));
    shard.advance(1000);
    let mut shard = shard.restart();
    shard.advance(1000);
    let ready = (1..=12).filter(|n| shard.state(id(*n)) == Some(JobState::Ready)).count();
    assert_eq!(ready, 8);
}

#[test]
fn what_no_job_can_be_meant_by_is_refused() {
    let mut shard = shard();
    shard.enqueue(job(1));
    let mut refused = |filter: JobFilter, action| {
        let kind = change(filter, action);
        match shard.call(Command::StartOperation(kind)) {
            Answer::Rejected(rejection) => rejection,
            other => panic!("{other:?}"),
        }
    };
    let allowed = |rejection| match rejection {
        Rejection::ValueRefused { field, allowed, .. } => (field, allowed),
        other => panic!("{other:?}"),
    };
    let ended = JobFilter { state: Some(JobState::Succeeded), ..JobFilter::default() };
    assert_eq!(allowed(refused(ended, JobAction::Retry)), ("state", "retrying, dead".to_owned()));
    let of_q = || JobFilter { queue: Some("q".to_owned()), ..JobFilter::default() };
    let to = |queue: &str| JobAction::Move { queue: queue.to_owned() };
    assert_eq!(allowed(refused(of_q(), to("q"))).0, "to_queue");
    let nowhere = refused(of_q(), to("nowhere"));
    assert_eq!(nowhere, Rejection::QueueUnknown { queue: "nowhere".to_owned() });
    let long = JobFilter { text: Some("x".repeat(1025)), ..JobFilter::default() };
    assert_eq!(allowed(refused(long, JobAction::Retry)).0, "text");
}

/// A purge that had begun removed what was moved into its queue since.
#[test]
fn a_purge_leaves_what_is_moved_into_its_queue_later() {
    for is_deletion in [false, true] {
        let mut shard = shard();
        for (n, queue) in [(1, "a"), (2, "a"), (3, "b"), (4, "b")] {
            let (queue, jobs) = (queue.to_owned(), vec![job(n)]);
            shard.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs }));
        }
        let moved = JobFilter { queue: Some("a".to_owned()), ..JobFilter::default() };
        let moves = change(moved, JobAction::Move { queue: "b".to_owned() });
        let moves = start(&mut shard, moves);
        let queue = "b".to_owned();
        let purge = if is_deletion {
            OperationKind::DeleteQueue { queue }
        } else {
            OperationKind::PurgeQueue { queue, kind: None, before: None }
        };
        let purge = start(&mut shard, purge);
        assert_eq!(done(&mut shard, moves.id).changed, 2);
        let mut shard = shard.restart();
        assert_eq!(done(&mut shard, purge.id).changed, 2);
        let there = [1, 2, 3, 4].map(|n| shard.state(id(n)).is_some());
        assert_eq!(there, [true, true, false, false]);
        // One that begins now means them, too.
        let queue = "b".to_owned();
        let purge = OperationKind::PurgeQueue { queue, kind: None, before: None };
        let purge = start(&mut shard, purge);
        assert_eq!(done(&mut shard, purge.id).changed, 2);
    }
}

/// Nothing was shown of it as long as it walked what has ended, or jobs of other queues.
#[test]
fn how_far_it_is_shows_before_anything_may_match() {
    let mut shard = shard();
    let since = shard.clock.wall.0 - 1000;
    let made = |n: u64| {
        let mut id = [0x70; 16];
        id[..6].copy_from_slice(&(since + 10 * n).to_be_bytes()[2..]);
        NewJob::new(JobId(id), "k", "[]")
    };
    for (queue, jobs) in [("q", 0..90), ("other", 90..100)] {
        let jobs = jobs.map(made).collect();
        let command = EnqueueJobs { queue: queue.to_owned(), jobs };
        assert!(matches!(shard.call(Command::EnqueueJobs(command)), Answer::Enqueued(_)));
    }
    let filter = JobFilter { queue: Some("other".to_owned()), ..JobFilter::default() };
    let started = start(&mut shard, change(filter, JobAction::SetPriority { priority: 7 }));
    let mut before = started.progress();
    for _ in 0..12 {
        shard.turn.tick(shard.clock);
        shard.flush();
        let now = operation(shard.call(Command::GetOperation { id: started.id }));
        assert!(now.examined == 0 && now.progress() > before, "{now:?}");
        before = now.progress();
    }
    assert!((0.4..0.6).contains(&before), "{before}");
    let mut shard = shard.restart();
    let ended = done(&mut shard, started.id);
    assert_eq!((ended.changed, ended.progress()), (10, 1.0));
}
