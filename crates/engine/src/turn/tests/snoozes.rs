//! Snoozes are counted, and have an end.

use super::*;
use crate::answer::JobView;
use crate::job::{DeadReason, Phase};

fn snooze() -> Verdict {
    Verdict::Snooze { delay_ms: 10 }
}

impl Shard {
    pub(super) fn view(&mut self, id: JobId) -> JobView {
        match self.call(Command::AwaitJob { id, wait_ms: 0 }) {
            Answer::Job(view) => *view,
            other => panic!("{other:?}"),
        }
    }

    /// Has the job run once more, and be snoozed.
    fn snooze_once(&mut self) -> (Delivery, Result<EndKind, Rejection>) {
        self.advance(10);
        let jobs = self.lease(1);
        let settled = self.settle(&jobs[0], snooze());
        (jobs[0].clone(), settled)
    }
}

fn snoozed_out(view: &JobView) -> bool {
    matches!(view.job.phase, Phase::Dead { reason: DeadReason::TooManySnoozes, .. })
}

/// A job whose worker put it off each time waited and ran for ever, and nothing showed it.
#[test]
fn a_job_that_is_only_ever_snoozed_ends_dead() {
    let limits = Limits { snoozes_max: 3, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    shard.enqueue(NewJob { max_attempts: Some(1), ..job(1) });
    for n in 1..=3 {
        let (run, settled) = shard.snooze_once();
        assert_eq!((run.attempt, settled), (1, Ok(EndKind::Snoozed)));
        assert_eq!(shard.view(id(1)).job.snoozes, n);
    }
    let mut shard = shard.restart();
    let (last, settled) = shard.snooze_once();
    assert_eq!(settled, Ok(EndKind::SnoozedOut));
    assert_eq!(shard.settle(&last, snooze()), Ok(EndKind::SnoozedOut), "the first answer stands");
    assert!(matches!(shard.settle(&last, Verdict::Release), Err(Rejection::LeaseLost { .. })));
    let view = shard.view(id(1));
    assert!(snoozed_out(&view), "{:?}", view.job.phase);
    let error = view.job.last_error.unwrap();
    assert_eq!(error.kind, "too_many_snoozes");
    assert!(error.message.contains("3 times"), "{}", error.message);
}

#[test]
fn snoozes_are_counted_anew_where_a_dead_job_is_retried() {
    let limits = Limits { snoozes_max: 1, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    shard.enqueue(job(1));
    shard.snooze_once().1.unwrap();
    let (last, _) = shard.snooze_once();
    assert_eq!(shard.state(id(1)), Some(JobState::Dead));
    shard.call(Command::RetryJob { id: id(1), from: RetryFrom::Kept });
    assert_eq!(shard.settle(&last, snooze()), Ok(EndKind::SnoozedOut), "the first answer stands");
    assert_eq!(shard.view(id(1)).job.snoozes, 0);
    assert_eq!(shard.snooze_once().1, Ok(EndKind::Snoozed));
    assert_eq!(shard.snooze_once().1, Ok(EndKind::SnoozedOut));
    assert!(snoozed_out(&shard.view(id(1))));
}

#[test]
fn a_job_that_is_to_be_cancelled_is_cancelled_by_its_last_snooze() {
    let limits = Limits { snoozes_max: 0, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    shard.call(Command::CancelJob { id: id(1), force: false });
    assert_eq!(shard.settle(&jobs[0], snooze()), Ok(EndKind::Discarded));
    assert_eq!(shard.state(id(1)), Some(JobState::Cancelled));
}
