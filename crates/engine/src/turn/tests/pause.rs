//! Pausing one job, and saying where its next run begins.

use super::*;
use crate::answer::BlockedBy;
use crate::command::CheckpointJob;
use crate::operation::OperationKind;
use crate::query::{Lookup, find_job};

impl Shard {
    fn pause(&mut self, n: u8) -> bool {
        match self.call(Command::PauseJob { id: id(n) }) {
            Answer::Job(view) => view.paused,
            other => panic!("{other:?}"),
        }
    }

    fn resume(&mut self, n: u8) -> bool {
        match self.call(Command::ResumeJob { id: id(n) }) {
            Answer::Job(view) => !view.paused,
            other => panic!("{other:?}"),
        }
    }

    /// What blocks a job, as the shard and a snapshot say.
    fn blockers(&mut self, n: u8) -> Vec<BlockedBy> {
        let view = match self.call(Command::AwaitJob { id: id(n), wait_ms: 0 }) {
            Answer::Job(view) => view,
            other => panic!("{other:?}"),
        };
        let Lookup::Found(found) = find_job(self.turn.map(), "default", id(n), view.now) else {
            panic!("job {n} is not in the snapshot")
        };
        assert_eq!(found.blocked_by, view.blocked_by);
        view.blocked_by
    }

    fn blocked(&mut self) -> (u64, u64) {
        match self.call(Command::GetQueue { queue: "q".into() }) {
            Answer::Queue(queue) => (queue.ready, queue.blocked),
            other => panic!("{other:?}"),
        }
    }
}

fn beat(job: &Delivery) -> Command {
    let (id, token) = (job.id, job.token);
    let (lease_ms, progress, progress_text) = (None, None, None);
    Command::ExtendLeases(vec![Extension { id, token, lease_ms, progress, progress_text }])
}

#[test]
fn a_paused_job_is_passed_over_and_returns_to_its_place() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    shard.enqueue(job(2));
    assert!(shard.pause(1) && shard.pause(1));
    assert_eq!((shard.state(id(1)), shard.blocked()), (Some(JobState::Ready), (1, 1)));
    let mut shard = shard.restart();
    let second = shard.lease(9);
    assert_eq!(ids(&second), [2]);
    shard.settle(&second[0], Verdict::Release).unwrap();
    assert!(shard.resume(1) && shard.resume(1));
    assert_eq!(ids(&shard.lease(9)), [1, 2]);
    assert_eq!(shard.blocked(), (0, 0));
}

#[test]
fn a_running_job_is_interrupted_and_stays_paused() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    shard.pause(1);
    let answer = shard.call(beat(&jobs[0]));
    let told = Instruction::Interrupt { reason: "pause" };
    assert!(matches!(&answer, Answer::Extended(all) if all[..] == [Ok(told)]), "{answer:?}");
    let mut shard = shard.restart();
    let answer = shard.call(beat(&jobs[0]));
    assert!(matches!(&answer, Answer::Extended(all) if all[..] == [Ok(told)]), "{answer:?}");
    shard.settle(&jobs[0], fail()).unwrap();
    shard.advance(1_000);
    assert!(shard.lease(1).is_empty());
    shard.resume(1);
    let jobs = shard.lease(1);
    shard.pause(1);
    shard.settle(&jobs[0], ack()).unwrap();
    assert!(matches!(shard.call(Command::ResumeJob { id: id(1) }), Answer::Rejected(_)));
    assert!(
        !shard.turn.map().entries().keys().any(|key| key.first() == Some(&23)),
        "nothing is left of it"
    );
}

#[test]
fn a_paused_job_holds_its_ordering_key_and_can_be_purged() {
    let mut shard = Shard::new();
    for n in 1..=3 {
        shard.enqueue(NewJob { ordering_key: Some("k".into()), ..job(n) });
    }
    shard.pause(1);
    shard.pause(2);
    assert!(shard.lease(9).is_empty());
    shard.resume(1);
    let first = shard.lease(9);
    assert_eq!(ids(&first), [1]);
    shard.settle(&first[0], ack()).unwrap();
    assert!(shard.lease(9).is_empty(), "the second is the first of its key now, and paused");
    assert_eq!(shard.blocked(), (0, 2));
    let purge = OperationKind::PurgeQueue { queue: "q".into(), kind: None, before: None };
    shard.call(Command::StartOperation(purge));
    shard.advance(1);
    assert_eq!((shard.blocked(), shard.state(id(2))), ((0, 0), None));
}

#[test]
fn a_job_starts_and_starts_again_where_one_says() {
    let mut shard = Shard::new();
    let at = |cursor: &'static str| Some(Bytes::from_static(cursor.as_bytes()));
    shard.enqueue(NewJob { cursor: at("5"), max_attempts: Some(1), ..job(1) });
    let jobs = shard.lease(1);
    assert_eq!((&jobs[0].cursor, jobs[0].interruptions, jobs[0].attempt), (&at("5"), 0, 1));
    let saved = CheckpointJob {
        id: id(1),
        token: jobs[0].token,
        seq: None,
        lease_ms: None,
        cursor: at("9"),
        progress: Some(9000),
        progress_text: None,
        counters: vec![("rows".into(), 4)],
        skipped: Vec::new(),
        counters_dropped: 0,
        skipped_dropped: 0,
    };
    shard.call(Command::CheckpointJobs(vec![saved]));
    shard.settle(&jobs[0], fail()).unwrap();
    for (from, cursor) in [
        (RetryFrom::Kept, at("9")),
        (RetryFrom::Cursor(Bytes::from_static(b"7")), at("7")),
        (RetryFrom::Beginning, None),
    ] {
        assert_eq!(shard.state(id(1)), Some(JobState::Dead));
        shard.call(Command::RetryJob { id: id(1), from });
        let jobs = shard.lease(1);
        assert_eq!((&jobs[0].cursor, jobs[0].counters.len()), (&cursor, 1));
        shard.settle(&jobs[0], fail()).unwrap();
    }
}

/// A cancel that came just after its job had died removed it, with its args and errors; and a
/// removal that came just after a retry called the job off.
#[test]
fn a_cancel_removes_no_dead_job_and_a_removal_cancels_none() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { max_attempts: Some(1), ..job(1) });
    let remove = |shard: &mut Shard| shard.call(Command::RemoveJob { id: id(1) });
    for state in ["waiting", "running"] {
        let refused = remove(&mut shard);
        let as_is = matches!(
            &refused,
            Answer::Rejected(Rejection::JobStateRefused { state: found, .. }) if *found == state
        );
        assert!(as_is, "{refused:?}");
        if state == "waiting" {
            assert_eq!(shard.lease(1).len(), 1);
        }
    }
    let Answer::Job(view) = shard.call(Command::AwaitJob { id: id(1), wait_ms: 0 }) else {
        panic!("it is there")
    };
    let token = view.lease.unwrap().token;
    let failed = Settlement { id: id(1), token, verdict: fail() };
    shard.call(Command::SettleJobs(vec![failed]));
    for force in [false, true] {
        let refused = shard.call(Command::CancelJob { id: id(1), force });
        assert!(matches!(
            refused,
            Answer::Rejected(Rejection::JobStateRefused { state: "dead", .. })
        ));
    }
    assert_eq!(shard.state(id(1)), Some(JobState::Dead));
    assert!(matches!(remove(&mut shard), Answer::JobRemoved));
    assert!(matches!(remove(&mut shard), Answer::Rejected(Rejection::JobUnknown { .. })));
}

#[test]
fn a_run_whose_worker_is_gone_ends_by_force_and_its_token_is_stale() {
    let mut shard = Shard::new();
    for n in 1..=2 {
        shard.enqueue(NewJob { ordering_key: Some("k".into()), ..job(n) });
    }
    let jobs = shard.lease(9);
    shard.call(Command::CancelJob { id: id(1), force: false });
    assert_eq!(shard.state(id(1)), Some(JobState::Running));
    shard.call(Command::CancelJob { id: id(1), force: true });
    assert_eq!(shard.state(id(1)), Some(JobState::Cancelled));
    let refused = shard.settle(&jobs[0], ack());
    assert!(matches!(refused, Err(Rejection::LeaseLost { .. })), "{refused:?}");
    let mut shard = shard.restart();
    assert_eq!(shard.state(id(1)), Some(JobState::Cancelled));
    assert_eq!(ids(&shard.lease(9)), [2], "its ordering key is free");
}

#[test]
fn a_waiting_job_moves_to_another_time_and_back() {
    let mut shard = Shard::new();
    let move_to = |n, start| Command::RescheduleJob { id: id(n), start };
    shard.enqueue(NewJob { start: Some(Start::After(3_600_000)), ..job(1) });
    shard.enqueue(job(2));
    shard.call(move_to(1, Start::After(0)));
    shard.call(move_to(2, Start::After(60_000)));
    assert_eq!(shard.state(id(2)), Some(JobState::Scheduled));
    let first = shard.lease(9);
    assert_eq!(ids(&first), [1]);
    let refused = shard.call(move_to(1, Start::After(5)));
    assert!(matches!(refused, Answer::Rejected(Rejection::JobStateRefused { .. })), "{refused:?}");
    shard.settle(&first[0], ack()).unwrap();
    let refused = shard.call(move_to(1, Start::After(5)));
    assert!(matches!(refused, Answer::Rejected(Rejection::JobStateRefused { .. })), "{refused:?}");
    let mut shard = shard.restart();
    shard.advance(60_000);
    assert_eq!(ids(&shard.lease(9)), [2]);
    shard.enqueue(NewJob { expiry: Some(Start::After(1_000)), ..job(3) });
    let refused = shard.call(move_to(3, Start::After(1_000)));
    assert!(matches!(refused, Answer::Rejected(Rejection::ValueRefused { .. })), "{refused:?}");
}

#[test]
fn a_queue_is_paused_before_its_first_job() {
    let mut shard = Shard::new();
    let pause = |paused| Command::PauseQueue { queue: "q".into(), paused };
    assert!(matches!(shard.call(pause(false)), Answer::Rejected(_)));
    assert!(matches!(shard.call(pause(true)), Answer::Queue(queue) if queue.settings.paused));
    shard.enqueue(job(1));
    assert!(shard.lease(9).is_empty());
    shard.call(pause(false));
    assert_eq!(ids(&shard.lease(9)), [1]);
}

/// A discard, release, snooze or interrupt under the token of a run that was ended by force was
/// answered as a repetition of that end.
#[test]
fn nothing_that_a_run_tells_after_its_forced_end_is_taken() {
    for asked_before in [false, true] {
        let mut shard = Shard::new();
        shard.enqueue(job(1));
        let jobs = shard.lease(1);
        if asked_before {
            shard.call(Command::CancelJob { id: id(1), force: false });
        }
        let ended = shard.call(Command::CancelJob { id: id(1), force: true });
        let Answer::RunEnded { view, lease } = ended else { panic!("{ended:?}") };
        assert_eq!((view.state(), lease.token), (JobState::Cancelled, jobs[0].token));
        let again = shard.call(Command::CancelJob { id: id(1), force: true });
        assert!(matches!(again, Answer::Job(_)), "{again:?}");
        for verdict in [
            ack(),
            fail(),
            Verdict::Discard { error: None },
            Verdict::Release,
            Verdict::Snooze { delay_ms: 5 },
            Verdict::Interrupt { reason: "deploy".into(), delay_ms: None },
        ] {
            let refused = shard.settle(&jobs[0], verdict.clone());
            assert!(matches!(refused, Err(Rejection::LeaseLost { .. })), "{verdict:?} {refused:?}");
        }
    }
}

/// What its worker wanted no longer counts once somebody moved a job, and no end of a run is
/// forgotten for that.
#[test]
fn a_job_that_is_moved_remembers_the_ends_of_its_runs() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let snooze = || Verdict::Snooze { delay_ms: 60_000 };
    let mut runs = Vec::new();
    for _ in 0..4 {
        let jobs = shard.lease(1);
        shard.settle(&jobs[0], snooze()).unwrap();
        runs.extend(jobs);
        for _ in 0..3 {
            let start = Start::After(0);
            shard.call(Command::RescheduleJob { id: id(1), start });
        }
    }
    let Answer::Job(view) = shard.call(Command::AwaitJob { id: id(1), wait_ms: 0 }) else {
        panic!("it is there")
    };
    assert!(view.job.ends.last().is_some_and(|end| end.kind != EndKind::Snoozed));
    let mut shard = shard.restart();
    for run in &runs {
        assert_eq!(shard.settle(run, snooze()), Ok(EndKind::Snoozed));
    }
}

#[test]
fn a_job_says_what_blocks_it_and_whom_it_waits_for() {
    let mut shard = Shard::new();
    for n in 1..=3 {
        shard.enqueue(NewJob { ordering_key: Some("k".into()), ..job(n) });
    }
    let behind = |n| BlockedBy::OrderingKey { ordering_key: "k".to_owned(), job: id(n) };
    assert_eq!(shard.blockers(1), []);
    assert_eq!((shard.blockers(2), shard.blockers(3)), (vec![behind(1)], vec![behind(1)]));
    shard.pause(2);
    shard.call(Command::PauseQueue { queue: "q".into(), paused: true });
    assert_eq!(shard.blockers(1), [BlockedBy::QueuePause]);
    let all = [behind(1), BlockedBy::JobPause, BlockedBy::QueuePause];
    assert_eq!(shard.blockers(2), all);
    let mut shard = shard.restart();
    assert_eq!(shard.blockers(2), all);
    shard.call(Command::PauseQueue { queue: "q".into(), paused: false });
    let first = shard.lease(9);
    assert_eq!(ids(&first), [1]);
    assert_eq!(shard.blockers(1), [], "it runs");
    shard.settle(&first[0], ack()).unwrap();
    assert_eq!(
        (shard.blockers(2), shard.blockers(3)),
        (vec![BlockedBy::JobPause], vec![behind(2)])
    );
    shard.resume(2);
    let second = shard.lease(9);
    assert_eq!(ids(&second), [2]);
    shard.call(Command::CancelJob { id: id(2), force: true });
    assert_eq!((shard.blockers(3), ids(&shard.lease(9))), (vec![], vec![3]));
}
