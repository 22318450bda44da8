//! Streaming workers: what a session holds when it comes, while it is there, when it has gone.

use super::*;
use crate::SessionView;
use crate::command::{CheckpointJob, HeldLease, Holder};

fn holder() -> Holder {
    Holder { worker: "w".into(), session: "s".into() }
}

pub(super) fn named(job: &Delivery, started: bool) -> HeldLease {
    HeldLease { id: job.id, token: job.token, started }
}

pub(super) fn checkpoint(job: &Delivery) -> CheckpointJob {
    CheckpointJob {
        id: job.id,
        token: job.token,
        seq: Some(1),
        lease_ms: None,
        cursor: Some("7".into()),
        progress: None,
        progress_text: None,
        counters: Vec::new(),
        skipped: Vec::new(),
        counters_dropped: 0,
        skipped_dropped: 0,
    }
}

impl Shard {
    pub(super) fn stream(&mut self, max: usize) -> Vec<Delivery> {
        let (worker, session) = ("w".into(), "s".into());
        let wish = LeaseJobs { max, worker, session, prefetch: true, ..wish() };
        match self.call(Command::LeaseJobs(Box::new(wish))) {
            Answer::Leased { jobs, .. } => jobs,
            other => panic!("{other:?}"),
        }
    }

    fn session(&mut self, command: Command) -> SessionView {
        match self.call(command) {
            Answer::Session(view) => *view,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn resume_session(&mut self, held: Vec<HeldLease>) -> SessionView {
        self.session(Command::ResumeSession { holder: holder(), held })
    }

    pub(super) fn beat(&mut self, known: &[Delivery]) -> SessionView {
        let known = known.iter().map(|job| (job.id, job.token)).collect();
        self.session(Command::ExtendSession { holder: holder(), known })
    }

    pub(super) fn end_session(&mut self) -> SessionView {
        self.end_session_as(false)
    }

    pub(super) fn end_session_as(&mut self, goodbye: bool) -> SessionView {
        self.session(Command::EndSession { holder: holder(), why: "it left".into(), goodbye })
    }

    pub(super) fn start_job(&mut self, job: &Delivery) -> Result<Instruction, Rejection> {
        match self.call(Command::StartJobs(vec![(job.id, job.token)])) {
            Answer::Extended(mut all) => all.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn held_and_running(&mut self) -> (u64, u64) {
        match self.call(Command::GetQueue { queue: "q".into() }) {
            Answer::Queue(queue) => (queue.held, queue.running),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn with_jobs(count: u8) -> Self {
        let mut shard = Self::new();
        for n in 1..=count {
            shard.enqueue(job(n));
        }
        shard
    }
}

fn lost(job: &Delivery) -> Vec<(JobId, Token)> {
    vec![(job.id, job.token)]
}

#[test]
fn what_had_not_started_comes_back_free_and_what_had_is_lost() {
    let mut shard = Shard::with_jobs(3);
    let jobs = shard.stream(3);
    shard.start_job(&jobs[0]).unwrap();
    shard.call(Command::CheckpointJobs(vec![checkpoint(&jobs[1])]));
    let view = shard.end_session();
    assert_eq!(view.given_back, lost(&jobs[2]));
    assert_eq!(view.lost, [lost(&jobs[0]), lost(&jobs[1])].concat());
    let again = shard.lease(9);
    let attempts: Vec<_> = again.iter().map(|job| (job.id, job.attempt)).collect();
    // The second one's cursor moved in its run: that uses no attempt.
    assert_eq!(attempts, [(id(1), 2), (id(2), 1), (id(3), 1)]);
    assert_eq!(again[1].cursor.as_deref(), Some(&b"7"[..]));
    for old in &jobs {
        assert!(matches!(shard.settle(old, ack()), Err(Rejection::LeaseLost { .. })));
        assert!(matches!(shard.start_job(old), Err(Rejection::LeaseLost { .. })));
    }
}

#[test]
fn a_session_that_comes_back_keeps_what_it_names() {
    let mut shard = Shard::with_jobs(4);
    let jobs = shard.stream(4);
    shard.start_job(&jobs[0]).unwrap();
    shard.start_job(&jobs[3]).unwrap();
    let strange = HeldLease { token: jobs[0].token, ..named(&jobs[1], false) };
    let view = shard.resume_session(vec![named(&jobs[0], true), named(&jobs[1], false), strange]);
    assert_eq!(view.held.iter().map(|job| job.started).collect::<Vec<_>>(), [true, false]);
    assert_eq!(view.lost, [(jobs[1].id, jobs[0].token)]);
    assert_eq!(view.given_back, lost(&jobs[2]), "it did not arrive");
    assert_eq!((view.leases, shard.state(id(4))), (2, Some(JobState::Running)));
    // What it settled before and does not name can be settled again.
    assert_eq!(shard.settle(&jobs[3], ack()), Ok(EndKind::Acked));
    assert_eq!(shard.end_session().given_back, lost(&jobs[1]));
}

#[test]
fn what_a_session_does_not_name_is_not_kept_alive_by_it() {
    let mut shard = Shard::with_jobs(2);
    let jobs = shard.stream(2);
    shard.start_job(&jobs[0]).unwrap();
    shard.start_job(&jobs[1]).unwrap();
    shard.resume_session(vec![named(&jobs[0], true)]);
    for _ in 0..3 {
        shard.advance(20_000);
        let view = shard.beat(&jobs);
        assert_eq!((view.leases, view.told), (1, vec![]));
    }
    assert_eq!(shard.state(id(1)), Some(JobState::Running));
    assert_eq!(shard.state(id(2)), Some(JobState::Ready));
    assert_eq!(shard.beat(&jobs).lost, lost(&jobs[1]));
}

#[test]
fn one_heartbeat_extends_all_and_tells_what_is_not_to_go_on() {
    let mut shard = Shard::with_jobs(3);
    let jobs = shard.stream(3);
    shard.call(Command::CancelJob { id: id(2), force: false });
    shard.call(Command::PauseJob { id: id(3) });
    shard.advance(25_000);
    let view = shard.beat(&[]);
    let pause = Instruction::Interrupt { reason: "pause" };
    let told = [(id(2), Instruction::Cancel), (id(3), pause)];
    assert_eq!(view.told.iter().map(|(id, _, what)| (*id, *what)).collect::<Vec<_>>(), told);
    shard.advance(25_000);
    assert_eq!(shard.state(id(1)), Some(JobState::Running));
    assert_eq!(shard.start_job(&jobs[1]), Ok(Instruction::Cancel));
    shard.advance(6_000);
    assert_eq!(shard.state(id(1)), Some(JobState::Ready), "its worker is silent");
}

#[test]
fn what_was_on_its_way_when_the_shard_ended_goes_back() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    shard.enqueue(NewJob { at_most_once: true, ..job(2) });
    let jobs = shard.stream(2);
    let mut shard = shard.restart();
    let view = shard.resume_session(Vec::new());
    assert_eq!(view.given_back, lost(&jobs[0]));
    // Nobody can tell whether what runs once has run.
    let again = shard.stream(2);
    assert_eq!(
        again.iter().map(|job| (job.id, job.attempt)).collect::<Vec<_>>(),
        [(jobs[0].id, 1)]
    );
}

#[test]
fn after_a_restart_everything_counts_as_started_until_the_worker_says() {
    let mut shard = Shard::with_jobs(3);
    let jobs = shard.stream(3);
    let mut shard = shard.restart();
    let view = shard.resume_session(vec![named(&jobs[0], true), named(&jobs[1], false)]);
    assert_eq!((view.held.len(), view.leases), (2, 2));
    assert_eq!(view.given_back, lost(&jobs[2]), "it would have named what it has");
    assert_eq!(shard.end_session().given_back, lost(&jobs[1]));

    let mut shard = Shard::with_jobs(1);
    shard.stream(1);
    let mut shard = shard.restart();
    assert_eq!(shard.end_session().lost.len(), 1);
    assert_eq!(shard.lease(1)[0].attempt, 2);
}

#[test]
fn what_is_to_be_cancelled_is_not_given_back() {
    let mut shard = Shard::with_jobs(2);
    shard.stream(2);
    shard.call(Command::CancelJob { id: id(1), force: false });
    shard.call(Command::CancelJob { id: id(2), force: false });
    shard.resume_session(Vec::new());
    assert_eq!(shard.state(id(1)), Some(JobState::Cancelled));
    assert_eq!(shard.state(id(2)), Some(JobState::Cancelled));
}

#[test]
fn what_was_started_once_stays_so() {
    let mut shard = Shard::with_jobs(1);
    let jobs = shard.stream(1);
    shard.start_job(&jobs[0]).unwrap();
    // A hello that is late, or wrong.
    shard.resume_session(vec![named(&jobs[0], false)]);
    assert_eq!(shard.end_session().lost, lost(&jobs[0]));
}

#[test]
fn what_runs_at_most_once_is_never_given_back() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { at_most_once: true, ..job(1) });
    let jobs = shard.stream(1);
    let view = shard.resume_session(vec![named(&jobs[0], false)]);
    assert!(!view.held[0].started);
    assert_eq!(shard.end_session().lost.len(), 1);
    assert_eq!(shard.state(id(1)), Some(JobState::Dead));
}

#[test]
fn a_run_that_is_heard_of_when_its_worker_comes_back_has_its_timeout_since() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { timeout_ms: Some(200), ..job(1) });
    let jobs = shard.stream(1);
    let view = shard.resume_session(vec![named(&jobs[0], true)]);
    assert_eq!((view.held[0].started, view.held[0].timeout_left_ms), (true, Some(200)));
    shard.advance(150);
    let view = shard.resume_session(vec![named(&jobs[0], false)]);
    assert_eq!((view.held[0].started, view.held[0].timeout_left_ms), (true, Some(50)));
}

#[test]
fn what_a_worker_has_not_started_is_held_and_does_not_run() {
    let mut shard = Shard::with_jobs(3);
    shard.enqueue(NewJob { at_most_once: true, ..job(4) });
    let jobs = shard.stream(4);
    assert_eq!(shard.held_and_running(), (4, 0));
    shard.start_job(&jobs[0]).unwrap();
    assert_eq!(shard.held_and_running(), (3, 1));
    shard.call(Command::CheckpointJobs(vec![checkpoint(&jobs[1])]));
    assert_eq!(shard.settle(&jobs[0], ack()), Ok(EndKind::Acked));
    assert_eq!(shard.settle(&jobs[2], Verdict::Release), Ok(EndKind::Released));
    assert_eq!(shard.held_and_running(), (1, 1));
    // Nothing is known of it any more; then it is.
    let mut shard = shard.restart();
    assert_eq!(shard.held_and_running(), (0, 2));
    shard.resume_session(vec![named(&jobs[1], true), named(&jobs[3], false)]);
    assert_eq!(shard.held_and_running(), (1, 1));
    // Now it is no session's, and nobody says that it has not started.
    shard.resume_session(vec![named(&jobs[1], true)]);
    assert_eq!(shard.held_and_running(), (0, 2));
}

#[test]
fn a_session_is_not_confused_with_another_one() {
    let mut shard = Shard::with_jobs(2);
    let jobs = shard.stream(1);
    let over_http = shard.lease(1);
    let other = Holder { worker: "v".into(), ..holder() };
    let held = vec![named(&jobs[0], true), named(&over_http[0], true)];
    let view = shard.session(Command::ResumeSession { holder: other.clone(), held });
    assert_eq!((view.held.len(), view.lost.len()), (0, 2));
    let end = Command::EndSession { holder: other, why: String::new(), goodbye: false };
    assert_eq!(shard.session(end).lost, []);
    assert_eq!(shard.state(id(1)), Some(JobState::Running));
    for holder in
        [Holder { worker: String::new(), ..holder() }, Holder { session: "\n".into(), ..holder() }]
    {
        let refused = shard.call(Command::ResumeSession { holder, held: Vec::new() });
        assert!(matches!(refused, Answer::Rejected(Rejection::ValueRefused { .. })));
    }
}

#[test]
fn what_a_silent_worker_had_not_started_comes_back_free() {
    let mut shard = Shard::with_jobs(3);
    let once = NewJob { at_most_once: true, ..job(4) };
    shard.enqueue(once);
    let jobs = shard.stream(4);
    shard.start_job(&jobs[0]).unwrap();
    shard.call(Command::CheckpointJobs(vec![checkpoint(&jobs[1])]));
    shard.advance(30_001);
    // The one that runs at most once may have run.
    assert_eq!(shard.state(id(4)), Some(JobState::Dead));
    let again = shard.lease(9);
    let attempts: Vec<_> = again.iter().map(|job| (job.id, job.attempt)).collect();
    assert_eq!(attempts, [(id(1), 2), (id(2), 1), (id(3), 1)]);
    assert_eq!(shard.beat(&jobs).lost.len(), 4);
}

#[test]
fn a_run_that_is_lost_with_its_session_says_how_its_worker_went() {
    let mut shard = Shard::with_jobs(1);
    let jobs = shard.stream(1);
    shard.start_job(&jobs[0]).unwrap();
    shard.end_session();
    let Answer::Job(view) = shard.call(Command::AwaitJob { id: id(1), wait_ms: 0 }) else {
        panic!("it is there")
    };
    let error = view.job.last_error.clone().unwrap();
    assert_eq!(
        (error.kind.as_str(), error.message.as_str()),
        ("lost", "the run of worker \"w\" is lost: it left",)
    );
}

#[test]
fn a_stream_has_no_lease_that_is_shorter_than_its_heartbeats_allow_for() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { lease_ms: Some(1_000), ..job(1) });
    shard.enqueue(NewJob { lease_ms: Some(90_000), ..job(2) });
    shard.enqueue(NewJob { lease_ms: Some(1_000), ..job(3) });
    let leases = |jobs: &[Delivery]| jobs.iter().map(|job| job.lease_ms).collect::<Vec<_>>();
    let jobs = shard.stream(2);
    assert_eq!(leases(&jobs), [30_000, 90_000]);
    shard.start_job(&jobs[0]).unwrap();
    shard.advance(10_000);
    assert_eq!(shard.beat(&jobs).lost, []);
    assert_eq!(shard.state(id(1)), Some(JobState::Running));
    // Over HTTP each lease has heartbeats of its own.
    assert_eq!(leases(&shard.lease(1)), [1_000]);
}

#[test]
fn a_timeout_runs_from_the_start_of_the_job() {
    let mut shard = Shard::new();
    for n in 1..=2 {
        shard.enqueue(NewJob { timeout_ms: Some(40_000), at_most_once: n == 2, ..job(n) });
    }
    let jobs = shard.stream(2);
    for _ in 0..3 {
        shard.advance(25_000);
        assert_eq!(shard.beat(&jobs).lost, [], "they wait for their turn");
    }
    for job in &jobs {
        shard.start_job(job).unwrap();
    }
    shard.advance(25_000);
    // What is said again changes nothing.
    shard.start_job(&jobs[0]).unwrap();
    assert_eq!(shard.beat(&jobs).lost, []);
    shard.advance(15_001);
    assert_eq!(shard.state(id(1)), Some(JobState::Retrying));
    assert_eq!(shard.state(id(2)), Some(JobState::Dead));
    let Answer::Job(view) = shard.call(Command::AwaitJob { id: id(1), wait_ms: 0 }) else {
        panic!("it is there")
    };
    assert_eq!(view.job.last_error.as_ref().map(|error| error.kind.as_str()), Some("timeout"));
}

#[test]
fn what_waits_at_a_worker_that_falls_silent_comes_back_free_whatever_its_timeout() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { timeout_ms: Some(5_000), ..job(1) });
    shard.stream(1);
    shard.advance(10_000);
    assert_eq!(shard.state(id(1)), Some(JobState::Running));
    shard.advance(20_001);
    assert_eq!(shard.lease(1)[0].attempt, 1);
}

#[test]
fn what_is_to_be_cancelled_and_is_discarded_was_cancelled_as_asked() {
    let mut shard = Shard::with_jobs(2);
    let jobs = shard.stream(2);
    shard.call(Command::CancelJob { id: id(1), force: false });
    for (job, asked) in jobs.iter().zip([true, false]) {
        assert_eq!(shard.settle(job, Verdict::Discard { error: None }), Ok(EndKind::Discarded));
        let Answer::Job(view) = shard.call(Command::AwaitJob { id: job.id, wait_ms: 0 }) else {
            panic!("it is kept")
        };
        let crate::job::Phase::Cancelled { reason, .. } = &view.job.phase else {
            panic!("{:?}", view.job.phase)
        };
        assert_eq!(*reason == crate::job::CancelReason::Asked, asked);
    }
}

#[test]
fn a_job_that_ends_its_workers_before_they_can_say_that_it_runs_dies() {
    let mut shard = Shard::with_jobs(1);
    for _ in 0..3 {
        let jobs = shard.stream(1);
        assert_eq!(shard.end_session().given_back, lost(&jobs[0]));
    }
    for attempt in 1..=5 {
        let jobs = shard.stream(1);
        assert_eq!(jobs[0].attempt, attempt);
        assert_eq!(shard.end_session().lost, lost(&jobs[0]));
    }
    assert_eq!(shard.state(id(1)), Some(JobState::Dead));
}

#[test]
fn what_was_sent_together_with_such_a_job_is_not_harmed() {
    let mut shard = Shard::with_jobs(3);
    for _ in 0..3 {
        assert_eq!(shard.stream(9).len(), 3);
        assert_eq!(shard.end_session().given_back.len(), 3);
    }
    // Each goes alone now. The first one runs, the second one ends the worker.
    let first = shard.stream(9);
    assert_eq!(first.iter().map(|job| job.id).collect::<Vec<_>>(), [id(1)]);
    shard.start_job(&first[0]).unwrap();
    shard.settle(&first[0], ack()).unwrap();
    for _ in 0..5 {
        let (second, third) = (shard.stream(9), shard.stream(9));
        assert_eq!((second[0].id, third[0].id, third[0].attempt), (id(2), id(3), 1));
        let view = shard.end_session();
        assert_eq!((view.lost, view.given_back), (lost(&second[0]), lost(&third[0])));
    }
    assert_eq!(shard.state(id(2)), Some(JobState::Dead));
    assert_eq!(shard.stream(9)[0].attempt, 1);
}

#[test]
fn a_worker_that_says_goodbye_was_ended_by_no_job() {
    let mut shard = Shard::with_jobs(1);
    for _ in 0..9 {
        let jobs = shard.stream(1);
        assert_eq!(shard.end_session_as(true).given_back, lost(&jobs[0]));
    }
    for _ in 0..9 {
        // One that was started meanwhile is not to blame for what was before.
        let jobs = shard.stream(1);
        assert_eq!(shard.end_session().given_back, lost(&jobs[0]));
        let jobs = shard.stream(1);
        shard.start_job(&jobs[0]).unwrap();
        shard.settle(&jobs[0], Verdict::Release).unwrap();
    }
}

/// Its timeout counted from its grant: one that waited at its worker, or ran for a moment only, was
/// ended as soon as the server was there again.
#[test]
fn a_restart_lets_what_a_stream_had_run_for_its_whole_timeout() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { timeout_ms: Some(40_000), ..job(1) });
    let jobs = shard.stream(1);
    shard.advance(29_000);
    // The journal says how late it is.
    shard.enqueue(job(2));
    let mut shard = shard.restart();
    let view = shard.resume_session(vec![named(&jobs[0], true)]);
    assert_eq!(view.held.iter().map(|job| job.timeout_left_ms).collect::<Vec<_>>(), [Some(40_000)]);
    shard.advance(20_000);
    shard.beat(&jobs);
    shard.advance(19_000);
    assert_eq!(shard.state(id(1)), Some(JobState::Running), "39 s after the restart");
    shard.advance(2000);
    assert_ne!(shard.state(id(1)), Some(JobState::Running), "and not for longer");
}

/// It was forgotten with the turns that it was granted, so that its worker could not ask for their
/// answers again.
#[test]
fn a_session_at_a_long_job_is_not_forgotten() {
    let mut shard = Shard::new();
    let session_ms = Limits::default().session_ms;
    shard.enqueue(NewJob { lease_ms: Some(3 * session_ms), ..job(1) });
    let ask = |shard: &mut Shard| {
        let wish = LeaseJobs { ask: Some(1), session: "s".into(), max: 1, ..wish() };
        match shard.call(Command::LeaseJobs(Box::new(wish))) {
            Answer::Leased { jobs, .. } => jobs,
            other => panic!("{other:?}"),
        }
    };
    let jobs = ask(&mut shard);
    shard.advance(2 * session_ms);
    assert_eq!(shard.turn.state.sessions.len(), 1);
    assert_eq!(ask(&mut shard), jobs, "the same turn gets the same answer");
    shard.settle(&jobs[0], ack()).unwrap();
    shard.advance(20_000);
    assert_eq!(shard.turn.state.sessions.len(), 0, "it holds nothing now");
}
