//! Service levels: measured by minutes, breached once and kept again, and merged by deadline.

use super::*;
use crate::sla::{SlaAnswer, SlaCommand, SlaGoal, SlaSettings, SlaTarget, SlaView};

fn put(shard: &mut Shard, name: &str, settings: SlaSettings) -> Answer {
    let settings = Box::new(settings);
    shard.call(Command::Sla(SlaCommand::Put { name: name.to_owned(), settings }))
}

fn of_queue(queue: &str, goal: SlaGoal) -> SlaSettings {
    let target = SlaTarget::Queue { name: queue.to_owned() };
    SlaSettings { target, goal, share: 9_900, breach: None }
}

fn started(within_ms: u64) -> SlaGoal {
    SlaGoal::StartedWithin { within_ms }
}

fn view(shard: &mut Shard, name: &str) -> SlaView {
    match shard.call(Command::Sla(SlaCommand::Get { name: name.to_owned() })) {
        Answer::Sla(SlaAnswer::Sla(view)) => *view,
        other => panic!("{other:?}"),
    }
}

fn lease_all(shard: &mut Shard, max: usize) -> Vec<Delivery> {
    let queues = vec![QueuePattern::Prefix(String::new())];
    match shard.call(Command::LeaseJobs(Box::new(LeaseJobs { queues, max, ..wish() }))) {
        Answer::Leased { jobs, .. } => jobs,
        other => panic!("{other:?}"),
    }
}

fn enqueue_in(shard: &mut Shard, queue: &str, n: u8) {
    let jobs = vec![job(n)];
    shard.call(Command::EnqueueJobs(EnqueueJobs { queue: queue.to_owned(), jobs }));
}

/// Lets time pass in steps in which levels are looked at.
fn pass(shard: &mut Shard, seconds: u64) {
    for _ in 0..seconds {
        shard.advance(1_000);
    }
}

#[test]
fn what_started_late_is_counted_in_every_window_and_survives_a_restart() {
    let mut shard = Shard::new();
    put(&mut shard, "mail", of_queue("q", started(20_000)));
    for n in 1..=4 {
        shard.enqueue(job(n));
    }
    let jobs = shard.lease(3);
    pass(&mut shard, 21);
    shard.settle(&jobs[0], ack()).unwrap();
    let now = view(&mut shard, "mail");
    assert_eq!((now.late, now.at_risk, now.running), (1, 1, 2), "the one that waits");
    shard.lease(1);
    let now = view(&mut shard, "mail");
    for window in now.windows {
        assert_eq!((window.measured, window.missed, window.worst_ms), (4, 1, 21_000));
        assert_eq!((window.arrived, window.started, window.runs), (4, 4, 1));
    }
    let mut shard = shard.restart();
    assert_eq!(view(&mut shard, "mail").windows, now.windows);
    shard.advance(400_000);
    let [five, hour, _] = view(&mut shard, "mail").windows;
    assert_eq!((five.measured, hour.measured), (0, 4));
    shard.advance(25 * 3_600_000);
    shard.enqueue(job(5));
    shard.lease(1);
    let minutes = || shard.turn.map().entries().range(vec![195]..vec![196]).count();
    assert!(minutes() <= 2, "what is older than a day is gone: {}", minutes());
}

#[test]
fn done_counts_from_when_a_job_could_first_start_and_the_dead_missed() {
    let mut shard = Shard::new();
    let goal = SlaGoal::DoneWithin { within_ms: 60_000 };
    put(&mut shard, "done", of_queue("q", goal));
    shard.enqueue(NewJob { start: Some(Start::After(100_000)), ..job(1) });
    shard.enqueue(NewJob { max_attempts: Some(1), ..job(2) });
    let dead = shard.lease(1);
    shard.settle(&dead[0], fail()).unwrap();
    shard.advance(100_000);
    let first = shard.lease(1);
    shard.advance(10_000);
    shard.settle(&first[0], ack()).unwrap();
    let [_, hour, _] = view(&mut shard, "done").windows;
    assert_eq!((hour.measured, hour.missed, hour.worst_ms), (2, 1, 10_000));
}

#[test]
fn a_breach_enqueues_one_job_and_ends_when_the_level_is_kept_again() {
    let mut shard = Shard::new();
    let alarm = NewJob::new(id(0), "page", "{\"who\":7}");
    let breach = crate::schedule::JobTemplate::of("alarms".to_owned(), alarm);
    let settings = SlaSettings { breach: Some(Box::new(breach)), ..of_queue("q", started(5_000)) };
    put(&mut shard, "mail", settings);
    shard.enqueue(job(1));
    pass(&mut shard, 5);
    assert_eq!(view(&mut shard, "mail").sla.breached_at, None);
    pass(&mut shard, 20);
    let breached = view(&mut shard, "mail").sla;
    assert!(breached.breached_at.is_some());
    let queues = vec![QueuePattern::Exactly("alarms".to_owned())];
    let asks = LeaseJobs { queues, max: 9, ..wish() };
    let Answer::Leased { jobs, .. } = shard.call(Command::LeaseJobs(Box::new(asks))) else {
        panic!("no answer")
    };
    assert_eq!(jobs.len(), 1, "once, however long it lasts");
    assert_eq!((&*jobs[0].kind, &jobs[0].tags), ("page", &vec!["sla=mail".to_owned()]));
    let mut shard = shard.restart();
    let late = shard.lease(1);
    shard.settle(&late[0], ack()).unwrap();
    pass(&mut shard, 2);
    assert_eq!(view(&mut shard, "mail").sla.breached_at, breached.breached_at, "it is fresh");
    pass(&mut shard, 400);
    let kept = view(&mut shard, "mail").sla;
    assert_eq!((kept.breached_at, kept.breaches), (None, 1));
}

#[test]
fn the_earliest_deadline_is_first_among_equal_priorities() {
    let mut shard = Shard::new();
    for (queue, n) in [("slow", 1), ("none", 2), ("fast", 3), ("fast", 4)] {
        enqueue_in(&mut shard, queue, n);
    }
    put(&mut shard, "slow", of_queue("slow", started(60_000)));
    put(&mut shard, "fast", of_queue("fast", started(5_000)));
    let fast = lease_all(&mut shard, 2);
    assert_eq!(ids(&fast), [3, 4], "those who wait already, too");
    for job in fast {
        shard.settle(&job, ack()).unwrap();
    }
    shard.advance(56_000);
    enqueue_in(&mut shard, "fast", 5);
    let mut shard = shard.restart();
    assert_eq!(ids(&lease_all(&mut shard, 9)), [1, 5, 2], "by deadline, the rest has an hour");
    for (queue, n) in [("slow", 6), ("fast", 7)] {
        enqueue_in(&mut shard, queue, n);
    }
    shard.call(Command::Sla(SlaCommand::Delete { name: "fast".to_owned() }));
    assert_eq!(ids(&lease_all(&mut shard, 9)), [6, 7]);
    assert!(matches!(
        shard.call(Command::Sla(SlaCommand::Delete { name: "fast".to_owned() })),
        Answer::Rejected(_)
    ));
}

#[test]
fn workers_are_told_from_what_comes_and_how_long_it_takes() {
    let mut shard = Shard::new();
    put(&mut shard, "mail", of_queue("q", started(30_000)));
    // One job a second, of five seconds each: five run at a time.
    let mut running: std::collections::VecDeque<Delivery> = std::collections::VecDeque::new();
    for n in 0..200_u8 {
        shard.enqueue(job(n));
        running.extend(shard.lease(1));
        if running.len() > 5 {
            let first = running.pop_front().unwrap();
            shard.settle(&first, ack()).unwrap();
        }
        shard.advance(1_000);
    }
    let told = view(&mut shard, "mail");
    assert!((told.arrivals_per_second - 1.0).abs() < 0.05, "{told:?}");
    assert!((told.run_ms.unwrap() - 5_000.0).abs() < 50.0, "{told:?}");
    assert_eq!(told.workers_needed, Some(6));
}

#[test]
fn a_level_that_makes_no_sense_is_refused() {
    let mut shard = Shard::new();
    let every = SlaGoal::AtLeastEvery { within_ms: 1_000 };
    for settings in [
        SlaSettings { share: 0, ..of_queue("q", started(1)) },
        SlaSettings { share: 10_000, ..of_queue("q", started(1)) },
        of_queue("q", started(0)),
        of_queue("q", every),
        of_queue("", started(1)),
    ] {
        assert!(matches!(put(&mut shard, "x", settings), Answer::Rejected(_)));
    }
    let all = shard.call(Command::Sla(SlaCommand::List));
    assert!(matches!(all, Answer::Sla(SlaAnswer::Slas(all)) if all.is_empty()));
}

fn set_paused(shard: &mut Shard, paused: bool) {
    let settings = QueueSettings { paused, ..QueueSettings::DEFAULT };
    shard.call(Command::PutQueue { queue: "q".to_owned(), settings });
}

/// Puts a level whose breach enqueues a job with so many bytes of arguments.
fn put_breach(shard: &mut Shard, name: &str, bytes: usize) -> Answer {
    let args = format!("{{}}{}", " ".repeat(bytes - 2));
    let alarm = NewJob::new(id(0), "page", args);
    let breach = crate::schedule::JobTemplate::of("alarms".to_owned(), alarm);
    let breach = Some(Box::new(breach));
    put(shard, name, SlaSettings { breach, ..of_queue("q", started(5_000)) })
}

#[test]
fn a_breach_that_could_not_be_enqueued_is_refused_with_its_level() {
    let mut shard = Shard::new();
    assert!(matches!(put_breach(&mut shard, "big", (128 << 10) + 1), Answer::Rejected(_)));
    assert!(matches!(put_breach(&mut shard, "big", 128 << 10), Answer::Sla(_)));
    let longest = shard.turn.state.limits.name_bytes_max;
    let too_long = put_breach(&mut shard, &"n".repeat(longest), 2);
    assert!(matches!(too_long, Answer::Rejected(_)), "its tag is too long");
    assert!(matches!(put_breach(&mut shard, &"n".repeat(longest - 4), 2), Answer::Sla(_)));
}

#[test]
fn as_many_late_jobs_are_counted_as_break_a_level_of_a_low_share() {
    let mut shard = Shard::new();
    put(&mut shard, "mail", SlaSettings { share: 5_000, ..of_queue("q", started(5_000)) });
    for n in 0..120 {
        shard.enqueue(job(n));
    }
    assert_eq!(shard.lease(120).len(), 120);
    for n in 120..250 {
        shard.enqueue(job(n));
    }
    pass(&mut shard, 20);
    assert!(view(&mut shard, "mail").sla.breached_at.is_some(), "130 of 250 are late");
}

#[test]
fn what_is_paused_or_scheduled_for_later_needs_no_workers_yet() {
    let mut shard = Shard::new();
    put(&mut shard, "mail", of_queue("q", started(30_000)));
    shard.enqueue(job(1));
    let first = shard.lease(1);
    shard.advance(5_000);
    shard.settle(&first[0], ack()).unwrap();
    shard.enqueue(NewJob { start: Some(Start::After(3_600_000)), ..job(2) });
    assert_eq!(view(&mut shard, "mail").windows[0].arrived, 1);
    for n in 10..70 {
        shard.enqueue(job(n));
    }
    shard.advance(400_000);
    assert_eq!(view(&mut shard, "mail").workers_needed, Some(10));
    set_paused(&mut shard, true);
    assert_eq!(view(&mut shard, "mail").workers_needed, Some(0));
    set_paused(&mut shard, false);
    shard.advance(3_600_000);
    assert_eq!(shard.lease(99).len(), 61);
    assert_eq!(view(&mut shard, "mail").windows[0].arrived, 1, "it comes when it starts");
}

/// Sixty jobs of 5 s that could start: within 30 s each worker does six of them.
fn with_a_backlog(of: &NewJob) -> Shard {
    let mut shard = Shard::new();
    put(&mut shard, "mail", of_queue("q", started(30_000)));
    shard.enqueue(job(1));
    let first = shard.lease(1);
    shard.advance(5_000);
    shard.settle(&first[0], ack()).unwrap();
    for n in 10..70 {
        shard.enqueue(NewJob { id: JobId([n; 16]), ..of.clone() });
    }
    shard.advance(400_000);
    shard
}

fn close_gate(shard: &mut Shard, kinds: Option<Vec<String>>) {
    let closed = Some(crate::GateClosed { closed: true, ..crate::GateClosed::default() });
    let change = crate::GateChange { closed, queues: None, kinds };
    shard.call(Command::Gates(crate::GateCommand::Change { name: "g".to_owned(), change }));
}

fn limit(shard: &mut Shard, scope: crate::LimitScope, max: u64) {
    let settings = crate::LimitSettings { scope, rule: crate::LimitRule::Concurrency { max } };
    shard.call(Command::PutLimit { name: "l".to_owned(), settings });
}

#[test]
fn what_a_closed_gate_holds_back_needs_no_workers() {
    let mut shard = with_a_backlog(&NewJob { gates: vec!["g".to_owned()], ..job(0) });
    assert_eq!(view(&mut shard, "mail").workers_needed, Some(10));
    close_gate(&mut shard, None);
    assert_eq!(view(&mut shard, "mail").workers_needed, Some(0));
    for n in 70..76 {
        shard.enqueue(job(n));
    }
    shard.advance(400_000);
    assert_eq!(view(&mut shard, "mail").workers_needed, Some(1), "those without the gate do");
    let mut shard = with_a_backlog(&NewJob { tenant: Some("acme".to_owned()), ..job(0) });
    close_gate(&mut shard, Some(vec!["other".to_owned()]));
    assert_eq!(view(&mut shard, "mail").workers_needed, Some(10), "another kind's");
    close_gate(&mut shard, Some(vec!["k".to_owned()]));
    assert_eq!(view(&mut shard, "mail").workers_needed, Some(0));
}

#[test]
fn no_more_workers_are_needed_than_limits_let_run() {
    let mut shard = with_a_backlog(&job(0));
    limit(&mut shard, crate::LimitScope::Queue { name: None }, 3);
    assert_eq!(view(&mut shard, "mail").workers_needed, Some(3));
    let key = crate::JobLimit { name: "l".to_owned(), key: "api".to_owned() };
    let mut shard = with_a_backlog(&NewJob { limit: Some(key), ..job(0) });
    limit(&mut shard, crate::LimitScope::Key, 1);
    assert_eq!(view(&mut shard, "mail").workers_needed, Some(1), "one of them can start");
    shard.lease(1);
    shard.advance(1000);
    assert_eq!(view(&mut shard, "mail").workers_needed, Some(0), "and now none can");
}

/// Removing a level removed all that a day had measured of it in one turn, and removing a namespace
/// that of a hundred levels.
#[test]
fn what_was_measured_of_a_level_goes_in_slices_and_is_not_what_a_new_one_measures() {
    let limits = Limits { slice_items_max: 4, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    put(&mut shard, "mail", of_queue("q", started(30_000)));
    for n in 1..=50 {
        shard.enqueue(job(n));
        let jobs = shard.lease(1);
        shard.settle(&jobs[0], ack()).unwrap();
        shard.advance(60_000);
    }
    let minutes = |shard: &Shard| {
        shard.turn.map().entries().keys().filter(|key| key.first() == Some(&195)).count()
    };
    assert_eq!(minutes(&shard), 50);
    shard.enqueue(job(60));
    shard.call(Command::Sla(SlaCommand::Delete { name: "mail".to_owned() }));
    assert_eq!(minutes(&shard), 50, "but that of the present minute");
    put(&mut shard, "mail", of_queue("q", started(9_000)));
    shard.enqueue(job(61));
    let tick = |shard: &mut Shard| {
        let more = shard.turn.tick(shard.clock);
        shard.flush();
        more
    };
    assert!(tick(&mut shard), "there is more to do");
    assert_eq!(minutes(&shard), 50 + 1 - 4);
    let mut shard = shard.restart();
    assert_eq!(view(&mut shard, "mail").windows[2].arrived, 1, "of the new one");
    while tick(&mut shard) {}
    assert_eq!(minutes(&shard), 1);
    let shard = shard.restart();
    assert_eq!(minutes(&shard), 1);
    let left = shard.turn.map().entries().keys().filter(|key| key.first() == Some(&219)).count();
    assert_eq!(left, 0);
}

/// A level of a kind looked through all lanes of the shard in the turn that put it.
#[test]
fn deadlines_of_many_lanes_change_in_slices() {
    let mut shard = Shard::new();
    for n in 0..3000_u32 {
        let id = JobId(u128::from(n + 1000).to_be_bytes());
        let kind = if n % 1000 == 999 { "late" } else { "k" }.to_owned();
        let jobs = vec![NewJob { id, kind, ..job(1) }];
        shard.call(Command::EnqueueJobs(EnqueueJobs { queue: format!("q{n:04}"), jobs }));
    }
    put(
        &mut shard,
        "late",
        SlaSettings {
            target: SlaTarget::Kind { name: "late".to_owned() },
            ..of_queue("", started(1_000))
        },
    );
    assert!(shard.turn.next_wake_ms(shard.clock) == Some(0), "the rest follows");
    let (mut shard, mut ticks) = (shard, 0);
    while shard.turn.next_wake_ms(shard.clock) == Some(0) {
        shard.turn.tick(shard.clock);
        ticks += 1;
        assert!(ticks < 100, "it comes to an end");
    }
    shard.flush();
    assert!(ticks >= 2, "{ticks}");
    let kinds: Vec<_> = lease_all(&mut shard, 4).into_iter().map(|job| job.kind).collect();
    assert_eq!(kinds, ["late", "late", "late", "k"]);
}

#[test]
fn a_level_is_told_of_within_what_may_be_looked_at() {
    let mut shard = Shard::new();
    put(&mut shard, "mail", of_queue("q", started(1_000)));
    for n in 1..=50 {
        shard.enqueue(NewJob { priority: Some(n), ..job(n) });
    }
    shard.advance(60_000);
    let state = &shard.turn.state;
    let ns = state.namespaces.named("default").unwrap();
    let late = |looks: usize| {
        let looks = &mut crate::looks::Looks::new(looks);
        state.sla_views(ns, 9, shard.clock.wall, (0, looks))[0].late
    };
    assert_eq!((late(10_000), late(0)), (50, 0));
    assert!((1..=10).contains(&late(100)), "each lane is a look elsewhere");
}

#[test]
fn a_level_of_which_too_little_was_looked_at_is_judged_by_the_next_tick() {
    let mut shard = Shard::new();
    for queue in ["a", "b"] {
        put(&mut shard, queue, of_queue(queue, started(1_000)));
        enqueue_in(&mut shard, queue, 1 + u8::from(queue == "b"));
    }
    pass(&mut shard, 10);
    let breached =
        |shard: &mut Shard| ["a", "b"].map(|name| view(shard, name).sla.breached_at.is_some());
    assert_eq!(breached(&mut shard), [true, true]);
    let moment = shard.turn.begin(shard.clock);
    shard.turn.sla_round = None;
    // Enough for one lane and its job, and not for another.
    shard.turn.look_at_some_slas(moment, &mut crate::looks::Looks::new(12));
    let after = shard.turn.sla_round.clone().and_then(|(_, after)| after);
    assert_eq!(after.as_deref(), Some("a"), "it goes on with the second one");
    shard.turn.finish();
    shard.flush();
    assert_eq!(breached(&mut shard), [true, true], "nobody knows that the second is kept");
    shard.advance(1_000);
    assert!(shard.turn.sla_round.is_none(), "the round comes to its end");
    assert_eq!(breached(&mut shard), [true, true]);
}

#[test]
fn what_levels_are_told_of_shares_what_may_be_looked_at() {
    let mut shard = Shard::new();
    put(&mut shard, "mail", of_queue("q", started(1_000)));
    for n in 1..=100 {
        shard.enqueue(job(n));
    }
    shard.advance(60_000);
    let state = &shard.turn.state;
    let ns = state.namespaces.named("default").unwrap();
    let told = |of: usize| {
        let looks = &mut crate::looks::Looks::new(240);
        let view = state.sla_views(ns, 9, shard.clock.wall, (of, looks)).remove(0);
        (view.late, view.at_risk)
    };
    let (late, at_risk) = told(0);
    assert!((40..100).contains(&late) && at_risk >= late, "{late}, {at_risk}");
    let (late, at_risk) = told(4);
    assert!((1..20).contains(&late) && at_risk >= late, "others are told, too: {late}, {at_risk}");
}
