//! Faults that the model test and the simulator found, each by its symptom.

use super::*;
use crate::wire::Wire;
use crate::{Entry, LEVEL, Record, ReplayFault};

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
    // Half speed, until wall time has come after what was recorded.
    shard.advance(1_000);
    assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(500));
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
    let answer = shard.call(Command::ListNamespaces { after: None, limit: 9 });
    assert!(matches!(answer, Answer::Namespaces(all, false) if all.len() == 1));
}

/// After a restart sessions counted as idle since the clock's beginning, so that a repeated turn
/// got other jobs.
#[test]
fn a_restart_on_a_clock_that_has_run_for_long_forgets_no_session() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let turn = || Command::LeaseJobs(Box::new(LeaseJobs { ask: Some(1), ..wish() }));
    let Answer::Leased { jobs: first, .. } = shard.call(turn()) else { panic!() };
    let mut recovery = Recovery::begin(Map::new(), Position::START, Limits::default()).unwrap();
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
    shard.call(Command::CancelJob { id: id(1), force: false });
    shard.advance(24 * 3600 * 1000);
    // The tombstone is due now; nothing ticks before the id is used and forgotten again.
    shard.clock.wall = shard.clock.wall.plus(24 * 3600 * 1000);
    shard.enqueue(NewJob { max_attempts: Some(1), ..named() });
    let jobs = shard.lease(1);
    shard.settle(&jobs[0], fail()).unwrap();
    shard.call(Command::RemoveJob { id: id(1) });
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

fn many(range: std::ops::Range<u32>, template: &NewJob) -> Command {
    let with_id = |n: u32| {
        let mut id = [0xa0; 16];
        id[..4].copy_from_slice(&n.to_be_bytes());
        NewJob { id: JobId(id), ..template.clone() }
    };
    let jobs = range.map(with_id).collect();
    Command::EnqueueJobs(EnqueueJobs { queue: "q".to_owned(), jobs })
}

/// One lease ended every job whose time had run out, in one entry: with millions of them the entry
/// was larger than a journal takes, and the shard stopped.
#[test]
fn a_lease_ends_only_a_turns_worth_of_jobs_whose_time_has_run_out() {
    let mut shard = Shard::new();
    shard.call(many(0..5000, &NewJob { expiry: Some(Start::After(10)), ..job(1) }));
    shard.enqueue(job(2));
    shard.clock.wall = shard.clock.wall.plus(50);
    let before = shard.journal.len();
    let wish = LeaseJobs { wait_ms: 40_000, ..wish() };
    let waiting = shard.send(Command::LeaseJobs(Box::new(wish)));
    let bytes: usize = shard.journal[before..].iter().map(Bytes::len).sum();
    assert!(bytes < 2100 * 32, "{bytes} bytes in one turn");
    assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(0));
    shard.advance(0);
    assert!(matches!(&shard.answers[&waiting], Answer::Leased { jobs, .. } if ids(jobs) == [2]));
}

/// Everybody who waited was served in one turn, however many jobs that took.
#[test]
fn those_who_wait_are_served_over_several_turns() {
    let mut shard = Shard::new();
    let queue = || "q".to_owned();
    shard.call(Command::PutQueue { queue: queue(), settings: QueueSettings::DEFAULT });
    shard.call(Command::PauseQueue { queue: queue(), paused: true });
    shard.call(many(0..5000, &job(1)));
    let wait = |n: u32| {
        let (worker, wait_ms) = (format!("w{n}"), 40_000);
        Command::LeaseJobs(Box::new(LeaseJobs { max: 1000, wait_ms, worker, ..wish() }))
    };
    let waiting: Vec<u64> = (0..5).map(|n| shard.send(wait(n))).collect();
    shard.call(Command::PauseQueue { queue: queue(), paused: false });
    let served = |shard: &Shard| waiting.iter().filter(|it| shard.answers.contains_key(it)).count();
    assert_eq!(served(&shard), 2);
    shard.advance(0);
    assert_eq!(served(&shard), 5);
}

/// The bound on an answer's bytes held for each queue that a request named.
#[test]
fn an_answer_is_bounded_over_all_queues_of_its_request() {
    let mut shard = Shard::new();
    let args = Bytes::from(vec![b' '; 9 << 20]);
    for n in 1..4 {
        let jobs = vec![NewJob { args: args.clone(), ..job(n) }];
        shard.call(Command::EnqueueJobs(EnqueueJobs { queue: format!("q{n}"), jobs }));
    }
    let queues = (1..4).map(|n| QueuePattern::Exactly(format!("q{n}"))).collect();
    let wish = LeaseJobs { queues, max: 9, ..wish() };
    match shard.call(Command::LeaseJobs(Box::new(wish))) {
        Answer::Leased { jobs, .. } => assert_eq!(ids(&jobs), [1, 2]),
        other => panic!("{other:?}"),
    }
}

/// A queue of which memory holds only the beginning was passed over by another one's lower
/// priorities within the same answer.
#[test]
fn a_long_queue_is_not_passed_over_by_less_urgent_jobs_of_another() {
    let mut shard = Shard::new();
    shard.call(many(0..1500, &NewJob { priority: Some(9), ..job(1) }));
    let jobs = vec![NewJob { priority: Some(0), ..job(2) }];
    shard.call(Command::EnqueueJobs(EnqueueJobs { queue: "other".to_owned(), jobs }));
    let queues = vec![QueuePattern::Prefix(String::new())];
    let wish = LeaseJobs { queues, max: 1000, ..wish() };
    match shard.call(Command::LeaseJobs(Box::new(wish))) {
        Answer::Leased { jobs, .. } => {
            assert_eq!(jobs.len(), 1000);
            assert!(jobs.iter().all(|job| job.priority == 9));
        }
        other => panic!("{other:?}"),
    }
}

/// The sum of attempts before and after a retry of a dead job did not fit its number.
#[test]
fn a_budget_of_as_many_attempts_as_there_are_numbers_can_begin_anew() {
    let mut shard = Shard::new();
    let tried = NewJob { at_most_once: true, max_attempts: Some(u32::MAX), ..job(1) };
    shard.enqueue(tried);
    let jobs = shard.lease(1);
    shard.settle(&jobs[0], fail()).unwrap();
    shard.call(Command::RetryJob { id: id(1), from: RetryFrom::Kept });
    assert_eq!(shard.lease(1)[0].max_attempts, u32::MAX);
}

/// Defaults of a queue were not held to the bounds of the jobs that get them.
#[test]
fn defaults_that_no_job_may_have_are_refused() {
    let mut shard = Shard::new();
    let mut settings = QueueSettings::DEFAULT;
    settings.defaults.timeout_ms = Some(0);
    let answer = shard.call(Command::PutQueue { queue: "q".to_owned(), settings });
    let refused = Answer::Rejected(Rejection::ValueRefused {
        field: "timeout",
        value: String::new(),
        allowed: String::new(),
    });
    assert_eq!(std::mem::discriminant(&answer), std::mem::discriminant(&refused), "{answer:?}");
}

/// An ack of a lease that had ended as released was answered with success, though its result was
/// not kept and the job ran again.
#[test]
fn an_ack_of_what_was_given_back_is_refused() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    assert_eq!(shard.settle(&jobs[0], Verdict::Release), Ok(EndKind::Released));
    assert_eq!(shard.settle(&jobs[0], Verdict::Release), Ok(EndKind::Released));
    assert!(matches!(shard.settle(&jobs[0], ack()), Err(Rejection::LeaseLost { .. })));
    let jobs = shard.lease(1);
    shard.settle(&jobs[0], ack()).unwrap();
    assert!(matches!(shard.settle(&jobs[0], fail()), Err(Rejection::LeaseLost { .. })));
}

/// What a namespace had kept of its jobs stayed on the disk for ever once it was deleted.
#[test]
fn nothing_stays_of_a_namespace_that_was_deleted() {
    let mut shard = Shard::new();
    let named = NewJob { fingerprint: Some([7; 16]), max_attempts: Some(2), ..job(1) };
    shard.enqueue(named);
    let jobs = shard.lease(1);
    let error = JobError { kind: "e".into(), message: "m".into(), backtrace: String::new() };
    shard.settle(&jobs[0], Verdict::Fail { error, retry_in_ms: Some(0) }).unwrap();
    let jobs = shard.lease(1);
    let result = Some(vec![b'1'; 40_000].into());
    let ack = Verdict::Ack { result, location: None, follow_ups: Vec::new(), next_tick: None };
    shard.settle(&jobs[0], ack).unwrap();
    let queue = "q".to_owned();
    shard.send(Command::StartOperation(OperationKind::DeleteQueue { queue: queue.clone() }));
    shard.advance(1);
    shard.send(Command::DeleteQueue { queue });
    let deleted = shard.send(Command::DeleteNamespace);
    assert!(matches!(shard.answers[&deleted], Answer::NamespaceDeleted));
    for _ in 0..4 {
        shard.advance(1);
    }
    let map = shard.turn.complete_map().entries();
    let of_jobs = [5, 12, 13, 14, 15, 16, 17, 21];
    let left: Vec<_> = map.keys().filter(|key| of_jobs.contains(&key[0])).collect();
    assert!(left.is_empty(), "{left:02x?}");
    assert!(shard.turn.state.namespaces.all_after(None).next().is_none());
}

/// A worker that waited in a namespace heard nothing of jobs in another one of the same name.
#[test]
fn nobody_waits_in_a_namespace_that_was_deleted() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    let ack =
        Verdict::Ack { result: None, location: None, follow_ups: Vec::new(), next_tick: None };
    shard.settle(&jobs[0], ack).unwrap();
    shard.send(Command::DeleteQueue { queue: "q".to_owned() });
    let wish = LeaseJobs { wait_ms: 40_000, ..wish() };
    let waiting = shard.send(Command::LeaseJobs(Box::new(wish)));
    assert!(!shard.answers.contains_key(&waiting));
    shard.send(Command::DeleteNamespace);
    assert!(matches!(&shard.answers[&waiting], Answer::Leased { jobs, .. } if jobs.is_empty()));
}

/// A thousand kinds and thousands of workers that each ask for another one held the shard up for
/// seconds whenever somebody looked at the queue.
#[test]
fn what_nobody_asks_for_is_told_within_bounds() {
    let mut shard = Shard::new();
    for n in 0..3 {
        shard.enqueue(NewJob { kind: format!("kind-{n}"), ..job(n) });
    }
    let kinds_told = |shard: &mut Shard| {
        let asked = shard.send(Command::GetQueue { queue: "q".to_owned() });
        match &shard.answers[&asked] {
            Answer::Queue(view) => (view.consumers, view.unconsumed_kinds.clone()),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(kinds_told(&mut shard).1, ["kind-0", "kind-1", "kind-2"]);
    let asks = |shard: &mut Shard, n: u32| {
        let (worker, kinds) = (format!("w{n}"), Some(vec![format!("kind-{n}").as_str().into()]));
        shard.send(Command::LeaseJobs(Box::new(LeaseJobs { kinds, worker, ..wish() })));
    };
    asks(&mut shard, 7);
    asks(&mut shard, 8);
    assert_eq!(
        kinds_told(&mut shard),
        (2, vec!["kind-0".into(), "kind-1".into(), "kind-2".into()])
    );
    for n in 10..100 {
        asks(&mut shard, n);
    }
    assert_eq!(kinds_told(&mut shard), (92, Vec::new()), "too many sets to look through");
}

/// However many namespaces were deleted, all of them were found empty within one tick.
#[test]
fn a_tick_finds_a_bounded_number_of_deleted_namespaces_empty() {
    let mut shard = Shard::recover(&[], Limits { slice_items_max: 2, ..Limits::default() });
    for command in [Command::CreateNamespace, Command::DeleteNamespace] {
        for n in 0..5 {
            let (reply_to, command) = (ReplyTo(1_000 + shard.next_reply), command.clone());
            shard.next_reply += 1;
            let request = Request { namespace: format!("ns-{n}"), reply_to, command };
            shard.turn.submit(request, shard.clock);
        }
    }
    shard.flush();
    let mut left = vec![shard.turn.state.namespaces.all_after(None).count()];
    while shard.turn.tick(shard.clock) {
        left.push(shard.turn.state.namespaces.all_after(None).count());
    }
    left.push(shard.turn.state.namespaces.all_after(None).count());
    assert!(left.windows(2).all(|pair| pair[0] - pair[1] <= 2), "{left:?}");
    assert_eq!(left.last(), Some(&1), "the default one is there: {left:?}");
}

/// A job that was put off for longer than its ttl expired without a run.
#[test]
fn a_ttl_counts_from_when_the_job_may_start() {
    let mut shard = Shard::new();
    let later = || NewJob { start: Some(Start::After(2_000)), ..job(1) };
    shard.enqueue(NewJob { expiry: Some(Start::After(1_000)), ..later() });
    shard.enqueue(NewJob { id: id(2), max_age_ms: Some(1_000), ..later() });
    let settings = QueueSettings {
        defaults: crate::queue::JobDefaults {
            ttl_ms: Some(1_000),
            ..QueueSettings::DEFAULT.defaults
        },
        ..QueueSettings::DEFAULT
    };
    shard.call(Command::PutQueue { queue: "q".into(), settings });
    shard.enqueue(NewJob { id: id(3), ..later() });
    let before = shard.clock.wall.plus(1_000);
    let answer = shard.enqueue(NewJob { id: id(4), expiry: Some(Start::At(before)), ..later() });
    assert!(matches!(
        answer,
        Answer::Rejected(Rejection::ValueRefused { field: "expires_at", .. })
    ));
    shard.advance(2_500);
    for n in 1..=3 {
        assert_eq!(shard.state(id(n)), Some(JobState::Ready), "job {n}");
    }
    shard.advance(600);
    assert_eq!(shard.state(id(1)), Some(JobState::Expired));
    assert_eq!(shard.state(id(2)), Some(JobState::Dead));
    assert_eq!(shard.state(id(3)), Some(JobState::Expired));
}

/// A snooze for longer than the ttl was taken, and then the job expired.
#[test]
fn a_job_that_was_snoozed_beyond_its_ttl_runs_again() {
    let mut shard = Shard::new();
    for n in [1, 2] {
        shard.enqueue(NewJob { expiry: Some(Start::After(1_000)), ..job(n) });
    }
    let jobs = shard.lease(2);
    shard.settle(&jobs[0], Verdict::Snooze { delay_ms: 5_000 }).unwrap();
    shard.settle(&jobs[1], Verdict::Release).unwrap();
    shard.advance(1_500);
    assert_eq!(shard.state(id(2)), Some(JobState::Expired), "its worker says that nothing ran");
    let mut shard = shard.restart();
    shard.advance(5_000);
    let jobs = shard.lease(2);
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [id(1)]);
}

/// A job whose args were missing in the state ran with empty ones.
#[test]
#[should_panic(expected = "body 1 is missing in the state")]
fn args_that_are_missing_are_a_fault() {
    let mut shard = Shard::new();
    let large = Bytes::from(format!("\"{}\"", "x".repeat(10_000)));
    shard.enqueue(NewJob { args: large, ..job(1) });
    shard.turn.state.remove(&crate::state::keys::body(crate::ids::BodyId(1)));
    shard.lease(1);
}

/// Whoever looked at such a job was told that it has no args.
#[test]
fn a_read_of_args_that_are_missing_is_a_fault() {
    let missing = crate::ids::BodyId(7);
    let body = crate::job::Body::Stored { id: missing, length: 10_000 };
    let read = std::panic::catch_unwind(|| crate::query::body_of(&Map::new(), &body));
    let fault = read.unwrap_err().downcast::<crate::query::BodyMissing>().unwrap();
    assert_eq!(fault.body, missing);
}

/// The level was written and never read, so an older program would have opened newer data and
/// passed over the keys that it does not know.
#[test]
fn a_state_and_an_entry_of_another_level_are_refused_and_both_levels_named() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let later = u32::from(LEVEL) + 1;
    let names_both = |fault: ReplayFault| {
        let text = fault.to_string();
        let both = [later, u32::from(LEVEL)].map(|level| text.contains(&level.to_string()));
        assert_eq!(both, [true; 2], "{text}");
    };

    let position = shard.turn.position();
    let mut map = shard.turn.complete_map().entries().clone();
    let begin = |map: &Map| Recovery::begin(map.clone(), position, Limits::default()).map(drop);
    begin(&map).unwrap();
    // What stands behind the level may be anything then.
    map.insert(vec![1], Bytes::from(vec![LEVEL + 1, 0xff, 0xff]));
    names_both(begin(&map).unwrap_err());

    let start = || Recovery::begin(Map::new(), Position::START, Limits::default()).unwrap();
    let mut entry = shard.journal.first().unwrap().to_vec();
    entry[0] = LEVEL + 1;
    names_both(start().replay(Position(1), &entry.into()).unwrap_err());
    let raised = Entry { at: TimeMs(1), records: vec![Record::LevelRaised { level: later }] };
    names_both(start().replay(Position(1), &raised.to_bytes()).unwrap_err());
}

/// Starts from the state of a shard with a running job, without the keys that begin so.
fn start_without(first: u8) {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    shard.lease(1);
    let position = shard.turn.position();
    let mut map = shard.turn.complete_map().entries().clone();
    map.retain(|key, _| key.first() != Some(&first));
    drop(Recovery::begin(map, position, Limits::default()).unwrap());
}

/// A queue without counts began at nothing, and took less than nothing for nothing from then on.
#[test]
#[should_panic(expected = "queue 1 has lost its counts")]
fn a_start_misses_the_counts_of_a_queue_that_are_lost() {
    start_without(23);
}

#[test]
#[should_panic(expected = "the count of running jobs of queue 1 is 1, and 0 have a lease")]
fn a_start_compares_the_running_jobs_with_the_leases() {
    start_without(7);
}
