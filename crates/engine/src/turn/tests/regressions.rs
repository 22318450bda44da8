//! Faults that the model test and the simulator found, each by its symptom.

use super::*;

/// The time up to which jobs were offered stayed ahead after wall time had stepped back, so what
/// became due meanwhile was offered to nobody who waited.
#[test]
fn a_step_back_of_wall_time_hides_no_job_from_those_who_wait() {
    let mut shard = Shard::new();
    shard.advance(50_000);
    shard.clock.wall = TimeMs(1_000_000);
    let wish = LeaseJobs { wait_ms: 40_000, ..wish() };
    let waiting = shard.send(Command::LeaseJobs(Box::new(wish)));
    shard.enqueue(NewJob { start: Some(Start::After(1_000)), ..job(1) });
    assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(1_000));
    shard.advance(1_000);
    assert!(matches!(&shard.answers[&waiting], Answer::Leased { jobs, .. } if ids(jobs) == [1]));
}

/// The timer of a deadline passes once; a job that ran at that moment and was given back later
/// stayed ready for ever where nobody asked for it.
#[test]
fn a_deadline_that_passes_during_a_run_holds_when_the_job_is_given_back() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { expiry: Some(Start::After(10)), ..job(1) });
    shard.enqueue(NewJob { max_age_ms: Some(10), ..job(2) });
    let jobs = shard.lease(2);
    shard.advance(20);
    shard.settle(&jobs[0], Verdict::Release).unwrap();
    shard.settle(&jobs[1], Verdict::Snooze { delay_ms: 5 }).unwrap();
    shard.advance(0);
    assert_eq!(shard.state(id(1)), Some(JobState::Expired));
    assert_eq!(shard.state(id(2)), Some(JobState::Dead));
}

/// A lease request that was refused had already created its namespace.
#[test]
fn a_refused_lease_makes_no_namespace() {
    let limits = Limits { namespaces_on_first_use: true, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    let wish = LeaseJobs { max: 1_000_000, ..wish() };
    let request = Request {
        namespace: "new".to_owned(),
        reply_to: ReplyTo(7),
        command: Command::LeaseJobs(Box::new(wish)),
    };
    shard.turn.submit(request, shard.clock);
    shard.flush();
    assert!(matches!(shard.answers[&7], Answer::Rejected(Rejection::ValueRefused { .. })));
    let answer = shard.call(Command::ListNamespaces);
    assert!(matches!(answer, Answer::Namespaces(all) if all.len() == 1));
}

/// After a restart sessions counted as idle since the clock's beginning, so that a repeated turn
/// got other jobs.
#[test]
fn a_restart_on_a_clock_that_has_run_for_long_forgets_no_session() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let turn = || Command::LeaseJobs(Box::new(LeaseJobs { turn: Some(1), ..wish() }));
    let Answer::Leased { jobs: first, .. } = shard.call(turn()) else { panic!() };
    let mut recovery = Recovery::begin(Map::new(), Position::START, Limits::default());
    for (index, entry) in shard.journal.iter().enumerate() {
        recovery.replay(Position(index as u64 + 1), entry).unwrap();
    }
    shard.clock.mono = MonoMs(1_000_000_000);
    shard.turn = recovery.start(shard.clock, &[]);
    shard.advance(1);
    let Answer::Leased { jobs: second, .. } = shard.call(turn()) else { panic!() };
    assert_eq!(first, second);
}

/// Where several queues got jobs at once, they were served one after the other, so that a worker
/// could be passed over by one that had come later and waits for both.
#[test]
fn who_waits_longest_is_served_first_across_queues() {
    let mut shard = Shard::new();
    let exactly = |name: &str| QueuePattern::Exactly(name.to_owned());
    let enqueue = |shard: &mut Shard, queue: &str, n| {
        let job = NewJob { start: Some(Start::After(100)), ..job(n) };
        shard.call(Command::EnqueueJobs(EnqueueJobs { queue: queue.into(), jobs: vec![job] }));
    };
    enqueue(&mut shard, "first", 1);
    enqueue(&mut shard, "second", 2);
    let ask = |session: &str, queues| {
        let session = session.to_owned();
        Command::LeaseJobs(Box::new(LeaseJobs { wait_ms: 5_000, session, queues, ..wish() }))
    };
    let early = shard.send(ask("a", vec![exactly("second")]));
    let late = shard.send(ask("b", vec![exactly("second"), exactly("first")]));
    shard.advance(100);
    assert!(matches!(&shard.answers[&early], Answer::Leased { jobs, .. } if ids(jobs) == [2]));
    assert!(matches!(&shard.answers[&late], Answer::Leased { jobs, .. } if ids(jobs) == [1]));
}

/// A tombstone past its time that was not yet swept took that of the next job of its id with it.
#[test]
fn an_id_used_anew_keeps_its_own_tombstone() {
    let mut shard = Shard::new();
    let named = || NewJob { fingerprint: Some([1; 16]), ..job(1) };
    shard.enqueue(named());
    shard.call(Command::CancelJob { id: id(1) });
    shard.advance(24 * 3600 * 1000);
    // The tombstone is due now; nothing ticks before the id is used and forgotten again.
    shard.clock.wall = shard.clock.wall.plus(24 * 3600 * 1000);
    shard.enqueue(NewJob { max_attempts: Some(1), ..named() });
    let jobs = shard.lease(1);
    shard.settle(&jobs[0], fail()).unwrap();
    shard.call(Command::CancelJob { id: id(1) });
    shard.advance(1);
    let Answer::Enqueued(jobs) = shard.enqueue(named()) else { panic!() };
    assert!(jobs[0].replayed, "a tombstone of a minute ago stands");
    let Answer::Namespace(namespace) = shard.call(Command::GetNamespace) else { panic!() };
    assert_eq!(namespace.tombstones, 1);
}

/// Clocks are read in whole milliseconds, cut off: a lease granted late in one ended early in the
/// last of its own, up to a millisecond before its time.
#[test]
fn a_lease_never_ends_before_its_time() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(jobs[0].lease_ms + 1));
    shard.advance(jobs[0].lease_ms);
    assert_eq!(shard.state(id(1)), Some(JobState::Running));
    assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(1));
    shard.advance(1);
    assert_eq!(shard.state(id(1)), Some(JobState::Ready));
}
