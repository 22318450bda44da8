//! Jobs that run at most once, and turns that come late: neither makes a second run.

use super::sessions::{checkpoint, named};
use super::*;
use crate::job::{DeadReason, Phase};

fn once(n: u8) -> NewJob {
    NewJob { at_most_once: true, ..job(n) }
}

fn interrupt() -> Verdict {
    Verdict::Interrupt { reason: "deploy".into(), delay_ms: None }
}

fn returns() -> [Verdict; 3] {
    [Verdict::Release, Verdict::Snooze { delay_ms: 0 }, interrupt()]
}

impl Shard {
    fn is_dead_at_most_once(&mut self, id: JobId) -> bool {
        match self.call(Command::AwaitJob { id, wait_ms: 0 }) {
            Answer::Job(view) => {
                matches!(view.job.phase, Phase::Dead { reason: DeadReason::AtMostOnce, .. })
            }
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, turn: u64, seen: Option<u64>) -> Result<Vec<Delivery>, Rejection> {
        let wish = LeaseJobs { ask: Some(turn), seen, ..wish() };
        match self.call(Command::LeaseJobs(Box::new(wish))) {
            Answer::Leased { jobs, .. } => Ok(jobs),
            Answer::Rejected(rejection) => Err(rejection),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_started_at_most_once_run_that_is_given_back_does_not_run_again() {
    for verdict in returns() {
        let mut shard = Shard::new();
        shard.enqueue(once(1));
        let jobs = shard.stream(1);
        shard.start_job(&jobs[0]).unwrap();
        assert_eq!(shard.settle(&jobs[0], verdict.clone()), Ok(EndKind::Failed), "{verdict:?}");
        assert!(shard.is_dead_at_most_once(id(1)));
        assert_eq!(shard.settle(&jobs[0], verdict), Ok(EndKind::Failed), "repeated");
        assert!(shard.lease(1).is_empty());
    }
}

/// It may have come while its worker was about to leave.
#[test]
fn an_at_most_once_job_that_was_not_started_outlives_a_goodbye() {
    for (started, goodbye, state) in [
        (false, true, JobState::Ready),
        (true, true, JobState::Dead),
        (false, false, JobState::Dead),
    ] {
        let mut shard = Shard::new();
        shard.enqueue(once(1));
        let jobs = shard.stream(1);
        if started {
            shard.start_job(&jobs[0]).unwrap();
        }
        shard.end_session_as(goodbye);
        assert_eq!(shard.state(id(1)), Some(state), "{started} {goodbye}");
    }
}

#[test]
fn an_at_most_once_job_that_its_stream_did_not_start_may_be_released() {
    let mut shard = Shard::new();
    shard.enqueue(once(1));
    let jobs = shard.stream(1);
    assert_eq!(shard.settle(&jobs[0], Verdict::Release), Ok(EndKind::Released));
    let again = shard.stream(1);
    assert_eq!((again.len(), again[0].attempt), (1, 1));
}

#[test]
fn what_was_heard_of_an_at_most_once_run_over_http_forbids_to_give_it_back() {
    for heard in ["progress", "checkpoint", "interrupt"] {
        let mut shard = Shard::new();
        shard.enqueue(once(1));
        let jobs = shard.lease(1);
        let verdict = match heard {
            "progress" => {
                let text = Some("half".to_owned());
                let (id, token) = (jobs[0].id, jobs[0].token);
                let extension =
                    Extension { id, token, lease_ms: None, progress: None, progress_text: text };
                shard.call(Command::ExtendLeases(vec![extension]));
                Verdict::Release
            }
            "checkpoint" => {
                shard.call(Command::CheckpointJobs(vec![checkpoint(&jobs[0])]));
                Verdict::Snooze { delay_ms: 0 }
            }
            _ => interrupt(),
        };
        // It is known after a restart, too.
        let mut shard = shard.restart();
        assert_eq!(shard.settle(&jobs[0], verdict), Ok(EndKind::Failed), "{heard}");
        assert!(shard.is_dead_at_most_once(id(1)), "{heard}");
    }
}

#[test]
fn a_bare_heartbeat_over_http_does_not_say_that_an_at_most_once_run_has_begun() {
    let mut shard = Shard::new();
    shard.enqueue(once(1));
    let jobs = shard.lease(1);
    let (id, token) = (jobs[0].id, jobs[0].token);
    let extension = Extension { id, token, lease_ms: None, progress: None, progress_text: None };
    shard.call(Command::ExtendLeases(vec![extension]));
    assert_eq!(shard.settle(&jobs[0], Verdict::Release), Ok(EndKind::Released));
}

#[test]
fn a_reconnect_does_not_forget_that_an_at_most_once_run_has_begun() {
    let mut shard = Shard::new();
    shard.enqueue(once(1));
    shard.enqueue(once(2));
    let jobs = shard.stream(2);
    shard.start_job(&jobs[0]).unwrap();
    shard.start_job(&jobs[1]).unwrap();
    // One is named wrongly, the other not at all.
    shard.resume_session(vec![named(&jobs[0], false)]);
    for job in &jobs {
        assert_eq!(shard.settle(job, Verdict::Release), Ok(EndKind::Failed));
        assert!(shard.is_dead_at_most_once(job.id));
    }
    shard.enqueue(once(3));
    let jobs = shard.stream(1);
    let mut shard = shard.restart();
    shard.resume_session(vec![named(&jobs[0], true)]);
    assert_eq!(shard.settle(&jobs[0], Verdict::Release), Ok(EndKind::Failed));
}

#[test]
fn a_restart_does_not_forget_that_an_at_most_once_run_has_begun() {
    for verdict in returns() {
        let mut shard = Shard::new();
        shard.enqueue(once(1));
        let jobs = shard.stream(1);
        shard.start_job(&jobs[0]).unwrap();
        let mut shard = shard.restart();
        assert_eq!(shard.settle(&jobs[0], verdict.clone()), Ok(EndKind::Failed), "{verdict:?}");
        assert!(shard.is_dead_at_most_once(id(1)));
    }
    // A session that comes back and does not name it does not change that.
    let mut shard = Shard::new();
    shard.enqueue(once(1));
    let jobs = shard.stream(1);
    shard.start_job(&jobs[0]).unwrap();
    let mut shard = shard.restart();
    shard.resume_session(Vec::new());
    assert_eq!(shard.settle(&jobs[0], Verdict::Release), Ok(EndKind::Failed));
}

#[test]
fn after_a_restart_a_worker_gives_back_the_at_most_once_jobs_that_it_says_did_not_start() {
    let mut shard = Shard::new();
    shard.enqueue(once(1));
    let jobs = shard.stream(1);
    let mut shard = shard.restart();
    shard.resume_session(vec![named(&jobs[0], false)]);
    assert_eq!(shard.settle(&jobs[0], Verdict::Release), Ok(EndKind::Released));
    // A worker over HTTP never says that a run begins: its word is all that there is.
    let jobs = shard.ask(1, None).unwrap();
    let mut shard = shard.restart();
    assert_eq!(shard.settle(&jobs[0], Verdict::Release), Ok(EndKind::Released));
}

#[test]
fn an_unseen_turn_takes_no_at_most_once_run_back_of_which_something_was_heard() {
    let mut shard = Shard::new();
    shard.enqueue(once(1));
    let jobs = shard.ask(1, None).unwrap();
    shard.call(Command::CheckpointJobs(vec![checkpoint(&jobs[0])]));
    assert_eq!(shard.ask(2, Some(0)), Ok(vec![]));
    assert!(shard.is_dead_at_most_once(id(1)));
}

#[test]
fn a_pause_does_not_ask_an_at_most_once_run_to_stop_for_good() {
    let mut shard = Shard::new();
    shard.enqueue(once(1));
    let jobs = shard.stream(1);
    shard.call(Command::PauseJob { id: id(1) });
    assert_eq!(shard.start_job(&jobs[0]), Ok(Instruction::Continue));
    assert_eq!(shard.settle(&jobs[0], ack()), Ok(EndKind::Acked));
}

#[test]
fn an_at_most_once_run_that_is_to_be_cancelled_ends_so() {
    let mut shard = Shard::new();
    shard.enqueue(once(1));
    let jobs = shard.stream(1);
    shard.start_job(&jobs[0]).unwrap();
    shard.call(Command::CancelJob { id: id(1), force: false });
    assert_eq!(shard.settle(&jobs[0], interrupt()), Ok(EndKind::Discarded));
    assert_eq!(shard.end_session().lost, []);
    assert_eq!(shard.state(id(1)), Some(JobState::Cancelled));
}

#[test]
fn a_late_lower_turn_is_granted_nothing_after_an_empty_one() {
    let mut shard = Shard::new();
    assert_eq!(shard.ask(6, None), Ok(vec![]));
    shard.enqueue(once(1));
    let late = shard.ask(5, None);
    assert!(matches!(late, Err(Rejection::AskPassed { ask: 5, last_ask: 6, .. })), "{late:?}");
    let jobs = shard.ask(7, Some(6)).unwrap();
    assert_eq!((jobs.len(), jobs[0].attempt), (1, 1));
    // A restart knows of the turns that granted something.
    let mut shard = shard.restart();
    assert!(matches!(shard.ask(6, None), Err(Rejection::AskPassed { last_ask: 7, .. })));
    assert_eq!(shard.ask(7, Some(6)).unwrap(), jobs);
}

#[test]
fn a_late_lower_turn_does_not_take_the_place_of_one_that_waits() {
    let mut shard = Shard::new();
    let wish = LeaseJobs { ask: Some(6), wait_ms: 10_000, ..wish() };
    let waiting = shard.send(Command::LeaseJobs(Box::new(wish)));
    assert!(matches!(shard.ask(5, None), Err(Rejection::AskPassed { .. })));
    shard.enqueue(job(1));
    assert!(matches!(&shard.answers[&waiting], Answer::Leased { jobs, .. } if jobs.len() == 1));
}

/// Sessions that were granted nothing counted as sessions: whoever asked often enough under new
/// names locked new workers out.
#[test]
fn sessions_that_were_granted_nothing_lock_nobody_out() {
    let mut shard = Shard::recover(
        &[],
        Limits { sessions_max: crate::Cap { shard: 2, namespace: 2 }, ..Limits::default() },
    );
    for number in 0..10 {
        let session = format!("s{number}");
        let wish = LeaseJobs { ask: Some(1), session, ..wish() };
        let answer = shard.call(Command::LeaseJobs(Box::new(wish)));
        assert!(matches!(answer, Answer::Leased { .. }), "{number}: {answer:?}");
    }
    // What the latest ones asked is known.
    let late = LeaseJobs { ask: Some(0), session: "s9".to_owned(), ..wish() };
    let answer = shard.call(Command::LeaseJobs(Box::new(late)));
    assert!(matches!(answer, Answer::Rejected(Rejection::AskPassed { .. })), "{answer:?}");
}

/// While the disk was full heartbeats were refused, and when it had space again the runs of all
/// live workers were lost before one of them could be heard.
#[test]
fn leases_outlive_a_while_in_which_nothing_was_taken_in() {
    let mut shard = Shard::new();
    shard.enqueue(once(1));
    shard.enqueue(NewJob { timeout_ms: Some(40_000), ..job(2) });
    let jobs = shard.lease(2);
    shard.shortage(60_000);
    assert_eq!(shard.settle(&jobs[0], ack()), Ok(EndKind::Acked));
    // Its timeout is over all the same.
    assert!(shard.settle(&jobs[1], ack()).is_err());
}

impl Shard {
    /// Takes nothing in for so long.
    fn shortage(&mut self, ms: u64) {
        self.turn.begin_shortage(self.clock);
        self.clock.mono = self.clock.mono.plus(ms);
        self.clock.wall = self.clock.wall.plus(ms);
        self.turn.end_shortage(self.clock);
        self.advance(0);
    }
}

/// Each time the disk was full for a moment every lease began anew, so the jobs of a worker that
/// had died never came back.
#[test]
fn shortages_that_come_again_and_again_keep_no_lease_of_a_dead_worker() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    shard.enqueue(job(2));
    let jobs = shard.lease(2);
    let (of, token) = (jobs[1].id, jobs[1].token);
    let beat = Extension { id: of, token, lease_ms: None, progress: None, progress_text: None };
    for _ in 0..12 {
        shard.shortage(100_000);
        shard.advance(5_000);
        // Of the two workers this one lives.
        shard.call(Command::ExtendLeases(vec![beat.clone()]));
    }
    assert_eq!(shard.state(id(1)), Some(JobState::Ready), "its worker was not heard for long");
    assert_eq!(shard.settle(&jobs[1], ack()), Ok(EndKind::Acked));
}

/// A session's heartbeat did not count as word of its leases after a shortage.
#[test]
fn leases_of_a_session_that_is_heard_outlive_shortages_that_come_again_and_again() {
    let mut shard = Shard::new();
    shard.enqueue(once(1));
    let jobs = shard.stream(1);
    shard.start_job(&jobs[0]).unwrap();
    for _ in 0..12 {
        shard.shortage(100_000);
        shard.advance(5_000);
        assert_eq!(shard.beat(&jobs).lost, []);
    }
    assert_eq!(shard.settle(&jobs[0], ack()), Ok(EndKind::Acked));
}

/// After a restart a heartbeat over HTTP counted as the word that a run has begun, and what its
/// worker had not come to was dead without having run.
#[test]
fn a_heartbeat_after_a_restart_begins_no_run_of_a_worker_that_counts_its_turns() {
    let mut shard = Shard::new();
    shard.enqueue(once(1));
    let jobs = shard.ask(1, None).unwrap();
    let mut shard = shard.restart();
    let (id, token) = (jobs[0].id, jobs[0].token);
    let beat = Extension { id, token, lease_ms: None, progress: None, progress_text: None };
    shard.call(Command::ExtendLeases(vec![beat]));
    assert_eq!(shard.settle(&jobs[0], Verdict::Release), Ok(EndKind::Released));
}
