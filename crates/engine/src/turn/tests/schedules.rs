//! Schedules: each slot once, by its policy, whatever the clock and the server do.

use super::*;
use crate::schedule::{
    JobTemplate, Missed, NewSchedule, Overlap, ScheduleCommand, ScheduleView, Slot, Spec,
    TickOutcome,
};

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

fn template() -> JobTemplate {
    JobTemplate::of("q".into(), NewJob::new(JobId::default(), "k", "[1]"))
}

fn every(period_ms: u64) -> NewSchedule {
    NewSchedule::new(Spec::Every { period_ms }, template())
}

fn cron(text: &str) -> NewSchedule {
    NewSchedule::new(Spec::Cron { text: text.into() }, template())
}

impl Shard {
    fn of_schedule(&mut self, command: ScheduleCommand) -> Answer {
        self.call(Command::OfSchedule { name: "s".into(), command })
    }

    fn schedule(&mut self, command: ScheduleCommand) -> ScheduleView {
        match self.of_schedule(command) {
            Answer::Schedule(view, _) => *view,
            other => panic!("{other:?}"),
        }
    }

    fn put(&mut self, settings: NewSchedule) -> ScheduleView {
        self.schedule(ScheduleCommand::Put { settings: Box::new(settings), paused: None })
    }

    /// The slots of jobs that wait in `q`, which it runs.
    fn slots(&mut self) -> Vec<u64> {
        let mut slots = Vec::new();
        for job in self.lease(1000) {
            self.settle(&job, ack()).unwrap();
            slots.push(self.view(job.id).job.tick.unwrap().slot.0);
        }
        slots
    }

    fn step(&mut self, ms: u64, times: u64) {
        for _ in 0..times {
            self.advance(ms);
        }
    }
}

#[test]
fn each_slot_enqueues_its_job_once_and_names_the_next() {
    let mut shard = Shard::new();
    let view = shard.put(every(MINUTE));
    assert_eq!(view.state.next.unwrap().at, TimeMs(1_000_000 + MINUTE));
    shard.step(MINUTE / 2, 6);
    let slots: Vec<u64> = (1..=3).map(|n| 1_000_000 + n * MINUTE).collect();
    assert_eq!(shard.slots(), slots);
    let state = shard.schedule(ScheduleCommand::Get).state;
    assert_eq!((state.enqueued_total, state.missed_total), (3, 0));
    let last = state.last.unwrap();
    assert_eq!((last.slot.0, last.outcome), (slots[2], TickOutcome::Enqueued));
    let mut again = shard.restart();
    again.advance(1);
    assert_eq!(again.schedule(ScheduleCommand::Get).state.enqueued_total, 3, "none twice");
    again.advance(MINUTE);
    let state = again.schedule(ScheduleCommand::Get).state;
    assert_eq!((state.enqueued_total, state.last.unwrap().slot.0), (4, slots[2] + MINUTE));
}

#[test]
fn what_was_missed_goes_by_its_policy() {
    let now = 1_000_000 + 10 * HOUR + 5 * MINUTE;
    let slot = |n: u64| 1_000_000 + n * HOUR;
    for (missed, expected, passed) in [
        (Missed::Skip, vec![], 10),
        (Missed::One, vec![slot(10)], 9),
        (Missed::All, (1..=10).map(slot).collect(), 0),
        (Missed::Within { ms: 2 * HOUR }, vec![slot(9), slot(10)], 8),
        (Missed::Within { ms: MINUTE }, vec![], 10),
    ] {
        let mut shard = Shard::new();
        shard.put(NewSchedule { missed, ..every(HOUR) });
        shard.clock.wall = TimeMs(now);
        let mut shard = shard.restart();
        shard.advance(0);
        assert_eq!(shard.slots(), expected, "{missed:?}");
        let state = shard.schedule(ScheduleCommand::Get).state;
        assert_eq!(state.missed_total, passed, "{missed:?}");
        assert_eq!(state.next, Some(Slot { at: TimeMs(slot(11)), due: TimeMs(slot(11)) }));
        shard.advance(HOUR - 5 * MINUTE);
        assert_eq!(shard.slots(), [slot(11)], "{missed:?}");
    }
}

/// They were counted up to a hundred.
#[test]
fn all_missed_slots_of_an_interval_are_counted() {
    let mut shard = Shard::new();
    shard.put(NewSchedule { missed: Missed::One, ..every(MINUTE) });
    shard.clock.wall = shard.clock.wall.plus(100 * HOUR + MINUTE / 2);
    let mut shard = shard.restart();
    shard.advance(0);
    assert_eq!(shard.schedule(ScheduleCommand::Get).state.missed_total, 6000 - 1);
}

/// What comes next stands in the record of the tick: another database of time zones, which would
/// have it at another time, changes nothing of what happened.
#[test]
fn a_start_goes_by_what_was_recorded_and_not_by_what_zones_are_now() {
    use crate::record::{Entry, Record};
    use crate::wire::Wire;
    let mut shard = Shard::new();
    let spec = Spec::Cron { text: "0 3 * * *".to_owned() };
    let job = every(HOUR).job;
    let zoned = NewSchedule { zone: "Europe/Berlin".to_owned(), ..NewSchedule::new(spec, job) };
    shard.put(zoned);
    let first = shard.schedule(ScheduleCommand::Get).state.next.unwrap();
    shard.advance(first.due.since(shard.clock.wall));
    let computed = shard.schedule(ScheduleCommand::Get).state.next.unwrap();
    // Half an hour later, as if by other rules.
    let other = Slot { at: computed.at.plus(1_800_000), due: computed.due.plus(1_800_000) };
    let mut found = 0;
    for bytes in &mut shard.journal {
        let mut entry = Entry::from_bytes(bytes).unwrap();
        for record in &mut entry.records {
            if let Record::ScheduleTicked { next, .. } = record {
                *next = Some(other);
                found += 1;
            }
        }
        *bytes = entry.to_bytes();
    }
    assert_eq!(found, 1);
    let mut shard = shard.restart();
    assert_eq!(shard.schedule(ScheduleCommand::Get).state.next, Some(other));
    shard.advance(other.due.since(shard.clock.wall));
    let state = shard.schedule(ScheduleCommand::Get).state;
    assert_eq!((state.enqueued_total, state.last.unwrap().slot), (2, other.at));
    assert_eq!(state.next.unwrap().at, computed.at.plus(24 * HOUR), "by the rules of now again");
}

/// Both orders: the schedule that has much to make up for must hide none that is due with it.
#[test]
fn making_up_hides_no_other_timer() {
    let mut shard = Shard::new();
    shard.put(NewSchedule { missed: Missed::All, ..every(MINUTE) });
    let other = |command| Command::OfSchedule { name: "t".into(), command };
    let settings = Box::new(every(90_000));
    shard.call(other(ScheduleCommand::Put { settings, paused: None }));
    shard.enqueue(NewJob { expiry: Some(Start::After(100_000)), ..job(1) });
    shard.clock.wall = shard.clock.wall.plus(5 * MINUTE);
    shard.advance(0);
    assert_eq!(shard.schedule(ScheduleCommand::Get).state.enqueued_total, 5);
    assert_eq!(shard.state(id(1)), Some(JobState::Expired));
    let Answer::Schedule(view, _) = shard.call(other(ScheduleCommand::Get)) else { panic!() };
    assert_eq!((view.state.enqueued_total, view.state.missed_total), (1, 2));
    shard.advance(MINUTE);
    assert_eq!(shard.schedule(ScheduleCommand::Get).state.enqueued_total, 6);
}

#[test]
fn more_than_a_thousand_are_not_made_up_for() {
    let mut shard = Shard::new();
    shard.put(NewSchedule { missed: Missed::All, ..every(1000) });
    shard.clock.wall = shard.clock.wall.plus(2 * HOUR);
    shard.advance(0);
    shard.advance(0);
    let state = shard.schedule(ScheduleCommand::Get).state;
    assert_eq!(state.enqueued_total, 1001, "and the last one");
    assert!(state.next.unwrap().due > shard.clock.wall);
}

#[test]
fn jobs_overlap_by_the_policy() {
    for (overlap, running, waiting, skipped) in [
        (Overlap::Allow, 1, 2, 0),
        (Overlap::Skip, 1, 0, 2),
        (Overlap::QueueOne, 1, 1, 1),
        (Overlap::CancelPrevious, 1, 1, 0),
    ] {
        let mut shard = Shard::new();
        shard.put(NewSchedule { overlap, ..every(MINUTE) });
        shard.advance(MINUTE);
        let first = shard.lease(9);
        assert_eq!(first.len(), running, "{overlap:?}");
        shard.step(MINUTE / 4, 8);
        shard.call(Command::ExtendLeases(vec![]));
        let Answer::Queue(queue) = shard.call(Command::GetQueue { queue: "q".into() }) else {
            panic!()
        };
        let waits = queue.ready + queue.blocked;
        let state = shard.schedule(ScheduleCommand::Get).state;
        // The first run was lost meanwhile and waits again, unless it was called off.
        let lost = u64::from(overlap != Overlap::CancelPrevious);
        assert_eq!((waits, state.skipped_total), (waiting + lost, skipped), "{overlap:?}");
    }
}

#[test]
fn a_queued_one_runs_when_the_one_before_has_ended() {
    let mut shard = Shard::new();
    shard.put(NewSchedule { overlap: Overlap::QueueOne, ..every(10_000) });
    shard.step(10_000, 2);
    let jobs = shard.lease(9);
    assert_eq!(jobs.len(), 1);
    shard.settle(&jobs[0], ack()).unwrap();
    assert_eq!(shard.lease(9).len(), 1);
    let settings = cron("* * * * *");
    let job = JobTemplate { ordering_key: Some("k".into()), ..template() };
    let settings = Box::new(NewSchedule { job, overlap: Overlap::QueueOne, ..settings });
    let refused = shard.of_schedule(ScheduleCommand::Put { settings, paused: None });
    let Answer::Rejected(Rejection::ValueRefused { field: "ordering_key", .. }) = refused else {
        panic!("{refused:?}")
    };
}

#[test]
fn a_run_names_when_the_next_one_comes() {
    let mut shard = Shard::new();
    shard.put(every(HOUR));
    shard.advance(HOUR);
    let run = shard.lease(1).remove(0);
    let at = shard.clock.wall;
    let next_tick = Some(Start::After(5000));
    let ack = Verdict::Ack { result: None, location: None, follow_ups: Vec::new(), next_tick };
    shard.settle(&run, ack.clone()).unwrap();
    assert_eq!(shard.schedule(ScheduleCommand::Get).state.next.unwrap().at, at.plus(5000));
    shard.advance(5000);
    let run = shard.lease(1).remove(0);
    let state = shard.schedule(ScheduleCommand::Get).state;
    assert_eq!(state.next.unwrap().at, at.plus(5000 + HOUR), "and goes on from there");
    shard.of_schedule(ScheduleCommand::Delete);
    shard.settle(&run, ack.clone()).unwrap();
    shard.enqueue(job(1));
    let run = shard.lease(1).remove(0);
    let refused = shard.settle(&run, ack);
    assert!(matches!(refused, Err(Rejection::ValueRefused { field: "next_in", .. })));
    assert_eq!(shard.state(id(1)), Some(JobState::Running), "nothing was settled");
}

/// A run that asked for the next one went on for ever.
#[test]
fn no_slot_is_moved_past_the_end_of_its_schedule() {
    let mut shard = Shard::new();
    let ends_at = Some(shard.clock.wall.plus(2 * HOUR));
    shard.put(NewSchedule { ends_at, ..every(HOUR) });
    shard.advance(HOUR);
    let run = shard.lease(1).remove(0);
    let next_tick = Some(Start::After(HOUR + 1));
    let ack = Verdict::Ack { result: None, location: None, follow_ups: Vec::new(), next_tick };
    shard.settle(&run, ack).unwrap();
    assert_eq!(shard.schedule(ScheduleCommand::Get).state.next, None, "it has ended");
    let refused = shard.of_schedule(ScheduleCommand::SetNext(Start::After(HOUR + 1)));
    assert!(matches!(refused, Answer::Rejected(Rejection::ValueRefused { field: "next", .. })));
    let moved = shard.schedule(ScheduleCommand::SetNext(Start::After(HOUR)));
    assert_eq!(moved.state.next.map(|next| Some(next.at)), Some(ends_at), "its end is in it");
}

#[test]
fn schedules_are_paused_resumed_moved_run_and_removed() {
    let mut shard = Shard::new();
    shard.put(every(MINUTE));
    assert_eq!(shard.schedule(ScheduleCommand::Pause).state.next, None);
    shard.advance(HOUR);
    assert!(shard.lease(9).is_empty());
    let moved = shard.of_schedule(ScheduleCommand::SetNext(Start::After(1)));
    assert!(matches!(moved, Answer::Rejected(Rejection::ScheduleStateRefused { .. })));
    let Answer::Schedule(view, Some(job)) = shard.of_schedule(ScheduleCommand::Run) else {
        panic!()
    };
    assert!(view.state.last.as_ref().unwrap().by_hand);
    assert_eq!(view.state.last.unwrap().job, Some(job));
    assert_eq!(shard.slots(), [shard.clock.wall.0]);
    let next = shard.schedule(ScheduleCommand::Resume).state.next.unwrap();
    assert_eq!(next.at, shard.clock.wall.plus(MINUTE), "nothing is made up for");
    let at = shard.clock.wall.plus(7);
    shard.schedule(ScheduleCommand::SetNext(Start::At(at)));
    shard.advance(7);
    assert_eq!(shard.slots(), [at.0]);
    assert!(matches!(shard.of_schedule(ScheduleCommand::Delete), Answer::ScheduleDeleted));
    shard.advance(HOUR);
    assert!(shard.lease(9).is_empty());
    assert!(matches!(
        shard.of_schedule(ScheduleCommand::Get),
        Answer::Rejected(Rejection::ScheduleUnknown { .. })
    ));
}

#[test]
fn putting_the_same_again_changes_nothing_and_another_time_does() {
    let mut shard = Shard::new();
    let first = shard.put(every(MINUTE));
    shard.advance(MINUTE / 2);
    let before = shard.journal.len();
    assert_eq!(shard.put(every(MINUTE)), first);
    assert_eq!(shard.journal.len(), before);
    let described = NewSchedule { description: Some("d".into()), ..every(MINUTE) };
    assert_eq!(shard.put(described).state.next, first.state.next, "its slots stay");
    let next = shard.put(every(HOUR)).state.next.unwrap();
    assert_eq!(next.at, shard.clock.wall.plus(HOUR));
}

#[test]
fn what_names_no_time_is_refused() {
    let mut shard = Shard::new();
    let ended = NewSchedule { ends_at: Some(TimeMs(1)), ..every(MINUTE) };
    let zone = NewSchedule { zone: "Mars/Olympus".into(), ..cron("@daily") };
    for (settings, field) in [
        (cron("0 0 30 2 *"), "cron"),
        (cron("61 * * * *"), "cron"),
        (ended, "every"),
        (every(10), "every"),
        (zone, "time_zone"),
    ] {
        let settings = Box::new(settings);
        match shard.of_schedule(ScheduleCommand::Put { settings, paused: None }) {
            Answer::Rejected(Rejection::ValueRefused { field: found, .. }) => {
                assert_eq!(found, field);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_tick_whose_job_is_refused_is_told_and_the_next_comes() {
    let mut shard = Shard::new();
    let settings = QueueSettings { max_length: Some(1), ..QueueSettings::DEFAULT };
    shard.call(Command::PutQueue { queue: "q".into(), settings });
    shard.put(every(MINUTE));
    shard.step(MINUTE, 2);
    let state = shard.schedule(ScheduleCommand::Get).state;
    let full = TickOutcome::Refused { code: "queue_full".into() };
    assert_eq!(state.last.unwrap().outcome, full);
    assert_eq!((state.enqueued_total, state.refused_total), (1, 1));
    assert!(state.next.is_some());
}

#[test]
fn on_a_full_disk_a_slot_waits() {
    let mut shard = Shard::new();
    shard.put(every(MINUTE));
    shard.turn.set_grants(false);
    shard.advance(MINUTE + 10);
    let state = shard.schedule(ScheduleCommand::Get).state;
    assert_eq!(state.next.unwrap().at, TimeMs(1_000_000 + MINUTE), "it was not passed over");
    shard.turn.set_grants(true);
    shard.advance(10_000);
    assert_eq!(shard.slots(), [1_000_000 + MINUTE]);
}

#[test]
fn a_namespace_with_schedules_is_not_removed() {
    let mut shard = Shard::new();
    shard.put(every(MINUTE));
    let refused = shard.call(Command::DeleteNamespace);
    assert!(matches!(refused, Answer::Rejected(Rejection::NamespaceHasSchedules { .. })));
    shard.of_schedule(ScheduleCommand::Delete);
    assert!(matches!(shard.call(Command::DeleteNamespace), Answer::NamespaceDeleted));
}

#[test]
fn slots_follow_the_wall_clock_of_their_zone() {
    let mut shard = Shard::new();
    // 2026-03-29: Berlin goes from 02:00 to 03:00 at 01:00 UTC.
    shard.clock.wall = TimeMs(1_774_656_000_000);
    let zone = "Europe/Berlin".to_owned();
    shard.put(NewSchedule { zone, ..cron("30 2 * * *") });
    let mut local = Vec::new();
    for _ in 0..3 {
        let next = shard.schedule(ScheduleCommand::Get).state.next.unwrap();
        local.push(crate::local_time(next.at, "Europe/Berlin").unwrap());
        let ahead = next.at.since(shard.clock.wall);
        shard.advance(ahead);
    }
    let expected =
        ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"];
    assert_eq!(local, expected);
}

#[test]
fn a_slot_whose_unique_key_another_job_has_enqueues_nothing() {
    use crate::unique::{OnConflict, TemplateUnique, UniqueUntil};
    let unique = |on_conflict| {
        let (key, until, text) = ([7; 16], UniqueUntil::Ended, "{}".to_owned());
        let (period_ms, spans_queues) = (None, false);
        Some(Box::new(TemplateUnique { key, until, on_conflict, text, period_ms, spans_queues }))
    };
    for (on_conflict, outcome) in [
        (OnConflict::Existing, TickOutcome::Skipped),
        (OnConflict::Reject, TickOutcome::Refused { code: "unique_taken".to_owned() }),
    ] {
        let mut shard = Shard::new();
        let job = JobTemplate { unique: unique(on_conflict), ..template() };
        let settings = NewSchedule { job, ..every(10_000) };
        let put = shard.put(settings.clone());
        assert_eq!(put.schedule.settings, settings, "it is kept as it was put");
        shard.step(10_000, 3);
        let view = shard.schedule(ScheduleCommand::Get);
        let (last, enqueued) = (view.state.last.unwrap(), view.state.enqueued_total);
        assert_eq!((last.outcome, last.job, enqueued), (outcome, None, 1));
        let mut shard = shard.restart();
        let jobs = shard.lease(9);
        assert_eq!(jobs.len(), 1, "the first one stands for all");
        shard.settle(&jobs[0], ack()).unwrap();
        shard.step(10_000, 1);
        assert_eq!(shard.lease(9).len(), 1, "it has ended, and the next one comes");
    }
}
