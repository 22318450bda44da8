//! What a turn costs follows what it does, not what there is.

use super::sessions::named;
use super::*;

impl Shard {
    fn call_in(&mut self, namespace: &str, command: Command) -> Answer {
        let reply_to = ReplyTo(self.next_reply);
        self.next_reply += 1;
        let request = Request { namespace: namespace.to_owned(), reply_to, command };
        self.turn.submit(request, self.clock);
        self.flush();
        self.answers.remove(&reply_to.0).expect("answered at once")
    }

    /// Leaves a request that waits.
    fn send_in(&mut self, namespace: &str, command: Command) -> u64 {
        let reply_to = ReplyTo(self.next_reply);
        self.next_reply += 1;
        let request = Request { namespace: namespace.to_owned(), reply_to, command };
        self.turn.submit(request, self.clock);
        self.flush();
        reply_to.0
    }

    /// Runs a job in that namespace to its end.
    fn run_one(&mut self, namespace: &str, job: NewJob) {
        let (queue, jobs) = ("q".to_owned(), vec![job]);
        self.call_in(namespace, Command::EnqueueJobs(EnqueueJobs { queue, jobs }));
        let answer = self.call_in(namespace, Command::LeaseJobs(Box::new(wish())));
        let Answer::Leased { jobs, .. } = answer else { panic!("{answer:?}") };
        let settle = vec![Settlement { id: jobs[0].id, token: jobs[0].token, verdict: ack() }];
        self.call_in(namespace, Command::SettleJobs(settle));
    }

    /// Namespaces that were looked at for something to forget.
    fn looks(&self) -> u64 {
        self.turn.state.namespaces.looks()
    }

    fn outcome_bytes(&mut self, namespace: &str) -> u64 {
        match self.call_in(namespace, Command::GetNamespace) {
            Answer::Namespace(view) => view.outcome_bytes,
            other => panic!("{other:?}"),
        }
    }
}

const HOUR_MS: u64 = 3_600_000;

/// Every turn walked all namespaces several times, for the next instant at which something was to
/// be forgotten.
#[test]
fn a_turn_looks_at_no_namespace_that_nothing_happened_in() {
    let mut shard = Shard::new();
    let names: Vec<_> = (0..300).map(|n| format!("n{n}")).collect();
    for name in &names {
        shard.call_in(name, Command::CreateNamespace);
        shard.run_one(name, NewJob { retain_ms: Some(HOUR_MS), ..job(1) });
    }
    shard.advance(1);
    let before = shard.looks();
    for _ in 0..10 {
        shard.advance(1);
        shard.turn.next_wake_ms(shard.clock);
    }
    assert_eq!(shard.looks(), before, "nothing happened");
    shard.run_one("n7", NewJob { retain_ms: Some(HOUR_MS), ..job(2) });
    shard.advance(1);
    assert!(shard.looks() <= before + 4, "it happened in one");
    assert_eq!(shard.turn.next_wake_ms(shard.clock).map(|ms| ms < HOUR_MS), Some(true));

    let before = shard.looks();
    shard.advance(HOUR_MS);
    for name in &names {
        assert_eq!(shard.outcome_bytes(name), 0, "{name}");
    }
    assert!(shard.looks() <= before + 3 * 301, "each was looked at when it forgot something");
}

/// With one slice for all, those that have most to forget must not keep the others from it.
#[test]
fn who_was_served_last_forgets_after_those_who_waited() {
    let limits = Limits { slice_items_max: 1, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    for name in ["a", "b"] {
        shard.call_in(name, Command::CreateNamespace);
    }
    for n in 1..=5 {
        shard.run_one("a", NewJob { retain_ms: Some(10), ..job(n) });
    }
    shard.run_one("b", NewJob { retain_ms: Some(10), ..job(1) });
    shard.clock.wall = shard.clock.wall.plus(20);
    shard.clock.mono = shard.clock.mono.plus(20);
    for _ in 0..2 {
        shard.turn.tick(shard.clock);
        shard.flush();
    }
    assert_eq!(shard.outcome_bytes("b"), 0, "it waited for one turn");
    assert_ne!(shard.outcome_bytes("a"), 0);
    shard.advance(1);
    assert_eq!(shard.outcome_bytes("a"), 0);
}

/// Each heartbeat filed every lease of its session anew: 15 ms for ten thousand.
#[test]
fn a_heartbeat_touches_no_lease_and_all_of_them_hold() {
    let mut shard = Shard::with_jobs(40);
    let jobs = shard.stream(40);
    shard.start_job(&jobs[0]).unwrap();
    for _ in 0..3 {
        shard.advance(29_000);
        let filed = shard.turn.state.leases.ends();
        assert_eq!(shard.beat(&[]).leases, 40);
        assert_eq!(shard.turn.state.leases.ends(), filed);
    }
    shard.advance(30_000);
    assert_eq!(shard.beat(&jobs).lost, [], "in that very millisecond they stand");
    shard.advance(30_001);
    let lost = shard.beat(&jobs).lost;
    assert_eq!(lost.len(), 40, "its worker was silent");
    assert_eq!(shard.lease(99).iter().map(|job| job.attempt).max(), Some(2));
}

#[test]
fn a_lease_that_leaves_its_session_stands_for_what_was_heard_before() {
    let mut shard = Shard::with_jobs(2);
    let jobs = shard.stream(2);
    for job in &jobs {
        shard.start_job(job).unwrap();
    }
    shard.advance(20_000);
    shard.beat(&[]);
    shard.advance(20_000);
    shard.resume_session(vec![named(&jobs[0], true)]);
    shard.advance(10_000);
    assert_eq!(shard.state(id(2)), Some(JobState::Running));
    shard.advance(1);
    assert_eq!(shard.state(id(2)), Some(JobState::Ready));
    assert_eq!(shard.state(id(1)), Some(JobState::Running));
}

/// A session that streams so many jobs, where a slice is about four.
fn with_session(jobs: u8) -> (Shard, Vec<Delivery>) {
    let limits = Limits { lease_ms_default: 30_000, slice_items_max: 4, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    for n in 1..=jobs {
        shard.enqueue(job(n));
    }
    let jobs = shard.stream(jobs.into());
    (shard, jobs)
}

fn end_of_session() -> Command {
    let holder = crate::command::Holder { worker: "w".into(), session: "s".into() };
    Command::EndSession { holder, why: "it left".into(), goodbye: false }
}

/// The end of a session was one turn, however much it held.
#[test]
fn the_end_of_a_session_goes_on_slice_by_slice_and_others_are_served_between() {
    let (mut shard, jobs) = with_session(10);
    shard.start_job(&jobs[9]).unwrap();
    let reply = shard.send(end_of_session());
    assert!(!shard.answers.contains_key(&reply));
    let left = |shard: &Shard| shard.turn.state.leases.len();
    assert_eq!(left(&shard), 6);
    assert_eq!(ids(&shard.lease(1)), [1], "what came back is handed out");
    for expected in [3, 1] {
        assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(0));
        shard.turn.tick(shard.clock);
        assert_eq!(left(&shard), expected);
    }
    shard.flush();
    let Some(Answer::Session(view)) = shard.answers.remove(&reply) else { panic!("not answered") };
    let given_back = view.given_back.iter().map(|(id, _)| *id);
    assert_eq!(given_back.collect::<Vec<_>>(), (1..=9).map(id).collect::<Vec<_>>());
    assert_eq!(view.lost, [(jobs[9].id, jobs[9].token)]);
}

#[test]
fn a_session_that_comes_back_while_it_ends_keeps_what_had_not_ended() {
    let (mut shard, jobs) = with_session(10);
    let reply = shard.send(end_of_session());
    let holder = crate::command::Holder { worker: "w".into(), session: "s".into() };
    let held = jobs.iter().map(|job| named(job, false)).collect();
    let resumed = shard.send(Command::ResumeSession { holder, held });
    let Some(Answer::Session(ended)) = shard.answers.remove(&reply) else { panic!("not answered") };
    shard.advance(1);
    let Some(Answer::Session(view)) = shard.answers.remove(&resumed) else { panic!("no answer") };
    assert_eq!((ended.given_back.len(), view.held.len(), view.lost), (4, 6, ended.given_back));
    assert_eq!(shard.beat(&[]).leases, 6);
}

#[test]
fn what_a_session_is_granted_while_its_end_is_under_way_does_not_end_with_it() {
    let (mut shard, _) = with_session(10);
    let reply = shard.send(end_of_session());
    let new = shard.stream(1);
    shard.advance(1);
    let Some(Answer::Session(view)) = shard.answers.remove(&reply) else { panic!("not answered") };
    assert_eq!(view.given_back.len(), 10);
    assert_eq!(shard.beat(&new).lost, []);
}

#[test]
fn where_the_shard_ends_before_a_sessions_end_has_leases_end_by_their_time() {
    let (mut shard, jobs) = with_session(10);
    for job in &jobs {
        shard.start_job(job).unwrap();
    }
    shard.send(end_of_session());
    let mut shard = shard.restart();
    assert_eq!(shard.turn.state.leases.len(), 6);
    shard.advance(30_001);
    assert_eq!(shard.turn.state.leases.len(), 0);
    assert!(shard.lease(10).iter().all(|job| job.attempt == 2));
}

#[test]
fn what_a_session_has_lost_is_looked_for_in_slices() {
    let (mut shard, jobs) = with_session(10);
    for job in &jobs[5..] {
        shard.settle(job, ack()).unwrap();
    }
    let holder = crate::command::Holder { worker: "w".into(), session: "s".into() };
    let known = jobs.iter().map(|job| (job.id, job.token)).collect();
    let reply = shard.send(Command::ExtendSession { holder, known });
    assert!(!shard.answers.contains_key(&reply));
    // It is told as it is when all is known.
    shard.call(Command::CancelJob { id: id(1), force: false });
    shard.advance(0);
    let Some(Answer::Session(view)) = shard.answers.remove(&reply) else { panic!("not answered") };
    assert_eq!((view.lost.len(), view.leases), (5, 5));
    assert_eq!(view.told, [(id(1), jobs[0].token, Instruction::Cancel)]);
}

/// A stop answered everybody who waited in one turn.
#[test]
fn a_stop_answers_those_who_wait_turn_by_turn() {
    let (mut shard, _) = with_session(0);
    let wait = |n: u64| LeaseJobs { wait_ms: 60_000, session: format!("s{n}"), ..wish() };
    for n in 0..10 {
        shard.send(Command::LeaseJobs(Box::new(wait(n))));
    }
    shard.turn.begin_stop(shard.clock);
    shard.flush();
    assert_eq!(shard.answers.len(), 4);
    assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(0));
    shard.advance(0);
    assert_eq!(shard.answers.len(), 10);
    assert_ne!(shard.turn.next_wake_ms(shard.clock), Some(0));
}

/// All sessions were looked through in one turn, every ten seconds.
#[test]
fn sessions_that_ask_no_more_are_forgotten_in_several_turns() {
    let limits = Limits { session_ms: 1_000, slice_items_max: 1, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    for n in 1..=40 {
        shard.enqueue(job(n));
        let session = format!("s{n:02}");
        let wish = LeaseJobs { ask: Some(1), session, ..wish() };
        let Answer::Leased { jobs, .. } = shard.call(Command::LeaseJobs(Box::new(wish))) else {
            panic!("no jobs");
        };
        shard.settle(&jobs[0], ack()).unwrap();
    }
    shard.clock.mono = shard.clock.mono.plus(20_000);
    for left in [24, 8, 0, 0] {
        shard.turn.tick(shard.clock);
        assert_eq!(shard.turn.state.sessions.len(), left);
    }
}

/// A page of queues, or of figures, took as long as there was to tell of them.
#[test]
fn figures_are_told_in_pages_that_leave_nothing_out() {
    let mut shard = Shard::new();
    for n in 0..7 {
        shard.call_in(&format!("n{n}"), Command::CreateNamespace);
    }
    for n in 1..=9 {
        let (queue, jobs) = (format!("q{n}"), vec![job(n)]);
        shard.call(Command::EnqueueJobs(EnqueueJobs { queue, jobs }));
    }
    let whole = shard.turn.stats(shard.clock, None, usize::MAX);
    assert_eq!((whole.namespaces.len(), whole.queues.len(), whole.more_after), (8, 9, None));
    for limit in 1..=9 {
        let (mut namespaces, mut queues, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let page = shard.turn.stats(shard.clock, after, limit);
            assert!(page.namespaces.len() + page.queues.len() <= limit);
            namespaces.extend(page.namespaces);
            queues.extend(page.queues);
            after = page.more_after;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((namespaces, queues), (whole.namespaces.clone(), whole.queues.clone()));
    }
}

#[test]
fn namespaces_are_listed_by_name_page_by_page() {
    let mut shard = Shard::new();
    for name in ["b", "c", "a"] {
        shard.call_in(name, Command::CreateNamespace);
    }
    let mut names = Vec::new();
    loop {
        let list = Command::ListNamespaces { after: names.last().cloned(), limit: 2 };
        let Answer::Namespaces(page, more) = shard.call(list) else { panic!("no list") };
        names.extend(page.into_iter().map(|it| it.name));
        if !more {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c", "default"]);
}

/// What was said of retrying all dead jobs was summed up over all queues of the namespace.
#[test]
fn dead_jobs_are_counted_as_they_come_and_go() {
    let mut shard = Shard::new();
    let retry = |shard: &mut Shard| {
        let kind = OperationKind::RetryDead { queue: None, kind: None, before: None, limit: None };
        match shard.call(Command::StartOperation(kind)) {
            Answer::Operation(operation) => operation.candidates,
            other => panic!("{other:?}"),
        }
    };
    for n in 1..=3 {
        shard.enqueue(NewJob { max_attempts: Some(1), ..job(n) });
        let run = shard.lease(1);
        shard.settle(&run[0], fail()).unwrap();
    }
    shard.call(Command::RemoveJob { id: id(3) });
    assert_eq!(shard.turn.state.jobs.dead_of(crate::ids::NamespaceId(1)), 2);
    let mut shard = shard.restart();
    assert_eq!(retry(&mut shard), 2);
    shard.advance(1);
    assert_eq!(retry(&mut shard), 0);
}

/// The end of a job answered everybody who had waited for it in one turn.
#[test]
fn those_who_wait_for_one_job_are_told_turn_by_turn() {
    let (mut shard, jobs) = with_session(1);
    let wait = Command::AwaitJob { id: id(1), wait_ms: 60_000 };
    let waiting: Vec<_> = (0..40).map(|_| shard.send(wait.clone())).collect();
    shard.settle(&jobs[0], ack()).unwrap();
    for told in [16, 32] {
        assert_eq!(shard.answers.len(), told);
        assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(0));
        shard.turn.tick(shard.clock);
        shard.flush();
    }
    for reply in waiting {
        let Some(Answer::Job(view)) = shard.answers.remove(&reply) else { panic!("not told") };
        assert_eq!(view.state(), JobState::Succeeded);
    }
}

/// All that a session named and had was compared in one turn when it came back.
#[test]
fn a_session_that_comes_back_is_compared_in_slices() {
    let (mut shard, jobs) = with_session(10);
    for job in &jobs {
        shard.start_job(job).unwrap();
    }
    let mut shard = shard.restart();
    let holder = crate::command::Holder { worker: "w".into(), session: "s".into() };
    let held = |of: &[Delivery]| of.iter().map(|job| named(job, true)).collect();
    let resume = Command::ResumeSession { holder: holder.clone(), held: held(&jobs[1..7]) };
    let reply = shard.send(resume);
    assert!(!shard.answers.contains_key(&reply));
    shard.advance(0);
    let Some(Answer::Session(view)) = shard.answers.remove(&reply) else { panic!("not answered") };
    let back: Vec<_> = [&jobs[..1], &jobs[7..]].concat().iter().map(|job| job.id).collect();
    assert_eq!(view.given_back.iter().map(|(id, _)| *id).collect::<Vec<_>>(), back);
    assert_eq!((view.held.len(), view.leases, view.lost.len()), (6, 6, 0));
    // A newer stream says what it has before the older one's is compared.
    let resume = |of| Command::ResumeSession { holder: holder.clone(), held: held(of) };
    let older = shard.send(resume(&jobs[1..7]));
    let newer = shard.send(resume(&jobs[1..3]));
    assert!(shard.answers.contains_key(&older));
    shard.advance(0);
    let Some(Answer::Session(view)) = shard.answers.remove(&newer) else { panic!("not answered") };
    assert_eq!((view.held.len(), view.leases), (2, 2));
}

/// A shard in which so many wait for jobs, in a namespace of their own, and as many take them over
/// streams; a slice is four.
fn with_waiting(namespace: &str, each: u64) -> (Shard, Vec<u64>) {
    let (mut shard, _) = with_session(0);
    shard.call_in(namespace, Command::CreateNamespace);
    let mut waiting = Vec::new();
    for n in 0..each {
        let session = format!("s{n}");
        let holder = crate::command::Holder { worker: "stream".into(), session: session.clone() };
        let subscribe = crate::command::Subscribe {
            consumer: crate::command::ConsumerId(n),
            holder,
            queues: vec![(QueuePattern::Prefix(String::new()), 0)],
            kinds: None,
            lease_ms: None,
            credit: crate::command::Credit { jobs: 1, bytes: 1 },
        };
        shard.call_in(namespace, Command::Subscribe(Box::new(subscribe)));
        let wish = LeaseJobs { wait_ms: 60_000, session, ..wish() };
        waiting.push(shard.send_in(namespace, Command::LeaseJobs(Box::new(wish))));
    }
    (shard, waiting)
}

/// All who waited in a namespace were answered, and all of its streams closed, in the turn that
/// deleted it.
#[test]
fn who_waits_in_a_namespace_that_is_deleted_is_sent_away_turn_by_turn() {
    let (mut shard, waiting) = with_waiting("gone", 10);
    let elsewhere =
        shard.send(Command::LeaseJobs(Box::new(LeaseJobs { wait_ms: 60_000, ..wish() })));
    let deleted = shard.call_in("gone", Command::DeleteNamespace);
    assert!(matches!(deleted, Answer::NamespaceDeleted), "{deleted:?}");
    assert_eq!((shard.answers.len(), shard.closed.len()), (4, 0));
    for expected in [(8, 0), (10, 2), (10, 6), (10, 10)] {
        assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(0));
        shard.turn.tick(shard.clock);
        shard.flush();
        assert_eq!((shard.answers.len(), shard.closed.len()), expected);
    }
    shard.advance(0);
    assert_ne!(shard.turn.next_wake_ms(shard.clock), Some(0));
    assert!(waiting.iter().all(|reply| shard.answers.contains_key(reply)));
    assert!(!shard.answers.contains_key(&elsewhere));
    assert!(shard.closed.iter().all(|(_, why)| *why == CloseReason::NamespaceDeleted));
}

/// All streams were closed in the turn in which the stop began.
#[test]
fn a_stop_closes_streams_turn_by_turn() {
    let (mut shard, _) = with_waiting("default", 10);
    shard.turn.begin_stop(shard.clock);
    shard.flush();
    assert_eq!((shard.answers.len(), shard.closed.len()), (4, 4));
    for expected in [(8, 8), (10, 10)] {
        assert_eq!(shard.turn.next_wake_ms(shard.clock), Some(0));
        shard.turn.tick(shard.clock);
        shard.flush();
        assert_eq!((shard.answers.len(), shard.closed.len()), expected);
    }
    assert_ne!(shard.turn.next_wake_ms(shard.clock), Some(0));
    assert!(shard.closed.iter().all(|(_, why)| *why == CloseReason::Stopping));
}
