//! Levels of schedules: a success at least so often, and what becomes of one that comes too late.

use super::*;
use crate::schedule::{JobTemplate, NewSchedule, ScheduleCommand, Spec};
use crate::sla::{SlaAnswer, SlaCommand, SlaGoal, SlaSettings, SlaTarget, SlaView};

const MINUTE: u64 = 60_000;

/// A schedule that fires each minute, and shall succeed at least every five.
fn promised() -> Shard {
    let mut shard = Shard::new();
    let template = JobTemplate::of("q".into(), NewJob::new(JobId::default(), "poll", "[]"));
    let settings = Box::new(NewSchedule::new(Spec::Every { period_ms: MINUTE }, template));
    let put = ScheduleCommand::Put { settings, paused: None };
    shard.call(Command::OfSchedule { name: "poll".into(), command: put });
    let alarm = NewJob::new(id(0), "page", "{}");
    let settings = SlaSettings {
        target: SlaTarget::Schedule { name: "poll".into() },
        goal: SlaGoal::AtLeastEvery { within_ms: 5 * MINUTE },
        share: 9_000,
        breach: Some(Box::new(JobTemplate::of("alarms".into(), alarm))),
    };
    let put = SlaCommand::Put { name: "often".into(), settings: Box::new(settings) };
    assert!(matches!(shard.call(Command::Sla(put)), Answer::Sla(_)));
    shard
}

fn view(shard: &mut Shard) -> SlaView {
    match shard.call(Command::Sla(SlaCommand::Get { name: "often".to_owned() })) {
        Answer::Sla(SlaAnswer::Sla(view)) => *view,
        other => panic!("{other:?}"),
    }
}

fn is_breached(shard: &mut Shard) -> bool {
    view(shard).sla.breached_at.is_some()
}

/// Levels are looked at once a second.
fn pass(shard: &mut Shard, seconds: u64) {
    for _ in 0..seconds {
        shard.advance(1_000);
    }
}

fn alarms(shard: &mut Shard) -> Vec<Delivery> {
    let queues = vec![QueuePattern::Exactly("alarms".to_owned())];
    match shard.call(Command::LeaseJobs(Box::new(LeaseJobs { queues, max: 9, ..wish() }))) {
        Answer::Leased { jobs, .. } => jobs,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_schedule_that_does_not_succeed_often_enough_is_a_breach_until_it_does() {
    let mut shard = promised();
    for _ in 0..4 {
        pass(&mut shard, 60);
        let jobs = shard.lease(9);
        assert_eq!((jobs.len(), view(&mut shard).running), (1, 1));
        shard.settle(&jobs[0], ack()).unwrap();
    }
    let kept = view(&mut shard);
    let five = kept.windows[0];
    assert_eq!((five.measured, five.missed, five.worst_ms), (4, 0, MINUTE));
    assert_eq!((kept.late, kept.at_risk, kept.oldest_ms), (0, 0, Some(0)));
    // From here on its jobs fail; another job of the kind is none of the schedule's.
    for n in 1..=5 {
        pass(&mut shard, 60);
        for job in shard.lease(9) {
            shard.settle(&job, fail()).unwrap();
        }
        shard.enqueue(NewJob { kind: "poll".to_owned(), ..job(n) });
        let other = shard.lease(1);
        assert_eq!(ids(&other), [n]);
        shard.settle(&other[0], ack()).unwrap();
    }
    let due = view(&mut shard);
    assert_eq!(
        (due.oldest_ms, due.late, due.at_risk),
        (Some(5 * MINUTE), 0, 1),
        "it is not too late yet"
    );
    assert!(!is_breached(&mut shard));
    pass(&mut shard, 1);
    assert!(is_breached(&mut shard));
    assert_eq!(view(&mut shard).late, 1);
    let mut shard = shard.restart();
    pass(&mut shard, 600);
    assert!(is_breached(&mut shard));
    let alarmed = alarms(&mut shard);
    assert_eq!(alarmed.len(), 1, "once, however long it lasts");
    assert_eq!((&*alarmed[0].kind, &alarmed[0].tags), ("page", &vec!["sla=often".to_owned()]));
    let jobs = shard.lease(1);
    shard.settle(&jobs[0], ack()).unwrap();
    pass(&mut shard, 1);
    let again = view(&mut shard);
    assert_eq!((again.sla.breached_at, again.sla.breaches, again.late), (None, 1, 0));
    let hour = again.windows[1];
    assert_eq!((hour.measured, hour.missed), (5, 1));
    assert_eq!(hour.worst_ms, 15 * MINUTE + 1_000, "since the last success, over a restart");
}

/// One that never succeeds is measured from when the level was set.
#[test]
fn a_schedule_that_never_succeeded_is_a_breach_as_well_and_each_breach_is_one() {
    let mut shard = promised();
    pass(&mut shard, 300);
    assert!(!is_breached(&mut shard));
    for breaches in 1..=2 {
        pass(&mut shard, 301);
        let told = view(&mut shard);
        assert_eq!((told.sla.breached_at.is_some(), told.sla.breaches), (true, breaches));
        let alarmed = alarms(&mut shard);
        assert_eq!(alarmed.len(), 1, "each breach has a job of its own");
        shard.settle(&alarmed[0], ack()).unwrap();
        let jobs = shard.lease(99);
        shard.settle(&jobs[0], ack()).unwrap();
        pass(&mut shard, 1);
        assert!(!is_breached(&mut shard));
    }
}
