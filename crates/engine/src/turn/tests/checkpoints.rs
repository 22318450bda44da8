//! Long jobs: what they save, how they are interrupted and lost, and what the next run gets.

use super::*;
use crate::command::CheckpointJob;
use crate::job::Checkpoint;
use crate::query::{self, Lookup};

fn told(job: &Delivery, seq: u64, cursor: &str) -> CheckpointJob {
    CheckpointJob {
        id: job.id,
        token: job.token,
        seq: Some(seq),
        lease_ms: None,
        cursor: Some(Bytes::copy_from_slice(cursor.as_bytes())),
        progress: None,
        progress_text: None,
        counters: Vec::new(),
        skipped: Vec::new(),
        counters_dropped: 0,
        skipped_dropped: 0,
    }
}

fn interrupt(delay_ms: Option<u64>) -> Verdict {
    Verdict::Interrupt { reason: "deploy".to_owned(), delay_ms }
}

impl Shard {
    fn save(&mut self, told: CheckpointJob) -> Result<Instruction, Rejection> {
        match self.call(Command::CheckpointJobs(vec![told])) {
            Answer::Extended(mut answers) => answers.remove(0),
            other => panic!("{other:?}"),
        }
    }

    fn checkpoint(&self, id: JobId) -> Option<Checkpoint> {
        match query::find_job(self.turn.map(), "default", id, self.clock.wall) {
            Lookup::Found(view) => view.checkpoint,
            other => panic!("{other:?}"),
        }
    }

    fn cursor(&self, id: JobId) -> Option<Bytes> {
        self.checkpoint(id)?.cursor
    }

    /// Keys of how far jobs have come, and of their skipped items.
    fn kept(&self) -> usize {
        self.turn.map().entries().keys().filter(|key| matches!(key.first(), Some(21 | 22))).count()
    }
}

#[test]
fn an_interrupted_run_uses_no_attempt_and_the_next_one_has_its_cursor() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { expiry: Some(Start::After(10)), ..job(1) });
    shard.enqueue(job(2));
    let first = shard.lease(1);
    assert_eq!((&first[0].cursor, first[0].interruptions), (&None, 0));
    let saved = CheckpointJob { counters: vec![("rows".into(), 5)], ..told(&first[0], 1, "[5]") };
    assert_eq!(shard.save(saved), Ok(Instruction::Continue));
    shard.advance(20);
    assert_eq!(shard.settle(&first[0], interrupt(None)), Ok(EndKind::Interrupted));
    assert_eq!(
        shard.settle(&first[0], interrupt(None)),
        Ok(EndKind::Interrupted),
        "the first answer stands"
    );
    shard.advance(1);
    let mut shard = shard.restart();
    let second = shard.lease(1);
    assert_eq!((ids(&second), second[0].attempt), (vec![1], 1), "it kept its place and did start");
    assert_eq!((second[0].cursor.as_deref(), second[0].interruptions), (Some(&b"[5]"[..]), 1));
    assert_eq!(second[0].counters, [("rows".to_owned(), 5)]);
    let kept = shard.checkpoint(id(1)).unwrap();
    assert_eq!(kept.interrupted_for.as_deref(), Some("deploy"));
    shard.settle(&second[0], interrupt(Some(500))).unwrap();
    assert_eq!(shard.state(id(1)), Some(JobState::Scheduled));
    assert_eq!(ids(&shard.lease(9)), [2]);
    shard.advance(500);
    assert_eq!(ids(&shard.lease(9)), [1]);
}

/// Only interrupted runs counted: a job said that it had run for 10 s when it had for 53 s.
#[test]
fn how_long_a_job_ran_counts_every_run_and_the_present_one() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let mut ran_ms = 0;
    let ends = [interrupt(None), fail(), Verdict::Snooze { delay_ms: 0 }, Verdict::Release];
    for (after_ms, verdict) in (1000..).zip(ends) {
        let jobs = shard.lease(1);
        shard.advance(after_ms);
        shard.settle(&jobs[0], verdict).unwrap();
        ran_ms += after_ms;
        assert_eq!(shard.view(id(1)).ran_ms(), ran_ms);
        shard.advance(100);
    }
    let lost = shard.lease(1);
    assert_eq!(ids(&lost), [1]);
    shard.advance(30_001);
    ran_ms += 30_001;
    let mut shard = shard.restart();
    assert_eq!(shard.view(id(1)).ran_ms(), ran_ms);
    let third = shard.lease(1);
    shard.advance(7);
    assert_eq!(shard.view(id(1)).ran_ms(), ran_ms + 7, "with the present run");
    shard.settle(&third[0], ack()).unwrap();
    shard.advance(5000);
    assert_eq!(shard.view(id(1)).ran_ms(), ran_ms + 7);
}

/// What a stream was handed and gave back before it began did not run.
#[test]
fn a_job_that_was_given_back_unstarted_has_not_run() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    for starts in [false, true] {
        let wish = LeaseJobs { prefetch: true, ..wish() };
        let Answer::Leased { jobs, .. } = shard.call(Command::LeaseJobs(Box::new(wish))) else {
            panic!("not leased")
        };
        shard.advance(50);
        if starts {
            shard.call(Command::StartJobs(vec![(jobs[0].id, jobs[0].token)]));
        }
        shard.settle(&jobs[0], Verdict::Release).unwrap();
        assert_eq!(shard.view(id(1)).ran_ms(), if starts { 50 } else { 0 });
    }
}

#[test]
fn a_late_or_repeated_checkpoint_changes_nothing() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    let counted = |seq| CheckpointJob {
        counters: vec![("rows".into(), -3), ("rows".into(), 1)],
        ..told(&jobs[0], seq, &seq.to_string())
    };
    for seq in [1, 2, 2, 1] {
        assert_eq!(shard.save(counted(seq)), Ok(Instruction::Continue));
    }
    let kept = shard.checkpoint(id(1)).unwrap();
    assert_eq!(
        (kept.cursor.as_deref(), kept.counters),
        (Some(&b"2"[..]), vec![("rows".into(), -4)])
    );
    shard.settle(&jobs[0], interrupt(None)).unwrap();
    let again = shard.lease(1);
    assert!(matches!(shard.save(counted(3)), Err(Rejection::LeaseLost { .. })));
    assert_eq!(shard.cursor(id(1)).as_deref(), Some(&b"2"[..]), "a stale token changes nothing");
    assert_eq!(
        shard.save(told(&again[0], 1, "9")),
        Ok(Instruction::Continue),
        "numbers are a run's"
    );
    assert_eq!(shard.cursor(id(1)).as_deref(), Some(&b"9"[..]));
}

#[test]
fn a_lost_run_that_moved_its_cursor_uses_no_attempt() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { max_attempts: Some(2), ..job(1) });
    for n in 1..9 {
        let jobs = shard.lease(1);
        assert_eq!((jobs[0].attempt, jobs[0].max_attempts), (1, 2));
        shard.save(told(&jobs[0], 1, &n.to_string())).unwrap();
        shard.advance(30_001);
        assert!(matches!(shard.settle(&jobs[0], ack()), Err(Rejection::LeaseLost { .. })));
    }
    assert_eq!(query::attempts_of(shard.turn.map(), "default", id(1)).len(), 1);
    let jobs = shard.lease(1);
    shard.save(told(&jobs[0], 1, "8")).unwrap();
    shard.advance(30_001);
    let jobs = shard.lease(1);
    assert_eq!(jobs[0].attempt, 2, "a cursor that stays where it was is no headway");
    shard.advance(30_001);
    assert_eq!(shard.state(id(1)), Some(JobState::Dead));
    assert_eq!(shard.cursor(id(1)).as_deref(), Some(&b"8"[..]), "the dead keep their cursor");
    shard.call(Command::RetryJob { id: id(1), from: RetryFrom::Kept });
    assert_eq!(shard.lease(1)[0].cursor.as_deref(), Some(&b"8"[..]));
}

#[test]
fn an_at_most_once_run_is_not_resumed_after_a_loss() {
    let mut shard = Shard::new();
    shard.enqueue(NewJob { at_most_once: true, ..job(1) });
    let jobs = shard.lease(1);
    shard.save(told(&jobs[0], 1, "1")).unwrap();
    shard.advance(30_001);
    assert_eq!(shard.state(id(1)), Some(JobState::Dead));
}

#[test]
fn a_checkpoint_extends_the_lease_and_hears_of_a_cancel() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    for seq in 1..4 {
        shard.advance(20_000);
        assert_eq!(shard.save(told(&jobs[0], seq, "1")), Ok(Instruction::Continue));
    }
    let nothing = CheckpointJob { seq: None, cursor: None, ..told(&jobs[0], 0, "") };
    let position = shard.turn.position();
    assert_eq!(shard.save(nothing), Ok(Instruction::Continue));
    assert_eq!(shard.turn.position(), position, "one that saves nothing is a heartbeat");
    shard.call(Command::CancelJob { id: id(1), force: false });
    assert_eq!(shard.save(told(&jobs[0], 9, "2")), Ok(Instruction::Cancel));
    assert_eq!(shard.settle(&jobs[0], interrupt(None)), Ok(EndKind::Discarded));
    assert_eq!(shard.state(id(1)), Some(JobState::Cancelled));
    assert_eq!(shard.cursor(id(1)), None, "nothing goes on from it");
}

#[test]
fn skipped_items_are_kept_up_to_a_bound_and_forgotten_with_the_job() {
    let limits = Limits { skipped_items_max: 3, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    let error = JobError { kind: "E".into(), message: "x".repeat(5000), backtrace: "y".into() };
    let skip = |n: u64| (Bytes::from(n.to_string()), error.clone());
    for n in [0, 2] {
        let skipped = vec![skip(n), skip(n + 1)];
        shard.save(CheckpointJob { skipped, ..told(&jobs[0], n + 1, "1") }).unwrap();
    }
    let kept = query::skipped_of(shard.turn.map(), "default", id(1));
    assert_eq!(kept.iter().map(|item| item.cursor.clone()).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert_eq!(kept[0].error.message.len(), 1024);
    let checkpoint = shard.checkpoint(id(1)).unwrap();
    assert_eq!((checkpoint.skipped, checkpoint.skipped_dropped), (3, 1));
    shard.settle(&jobs[0], ack()).unwrap();
    let Answer::Namespace(namespace) = shard.call(Command::GetNamespace) else { panic!() };
    assert!(namespace.outcome_bytes > 3 * 1024, "they count: {namespace:?}");
    assert_eq!((shard.kept(), shard.cursor(id(1))), (4, None));
    shard.advance(25 * 3600 * 1000);
    assert_eq!((shard.state(id(1)), shard.kept()), (None, 0));
}

#[test]
fn what_a_checkpoint_may_hold_is_bounded() {
    let limits = Limits { cursor_bytes_max: 8, counters_max: 2, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    let counters = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), 1)).collect();
    let good = CheckpointJob { counters: counters(&["a", "b", "a"]), ..told(&jobs[0], 1, "1") };
    shard.save(good.clone()).unwrap();
    let long = Bytes::from_static(b"123456789");
    for (bad, field) in [
        (CheckpointJob { cursor: Some(long), ..good.clone() }, "cursor"),
        (CheckpointJob { lease_ms: Some(1), ..good.clone() }, "lease"),
    ] {
        let refused = shard.save(CheckpointJob { seq: Some(2), ..bad });
        let Err(Rejection::ValueRefused { field: named, .. }) = refused else { panic!("{field}") };
        assert_eq!(named, field);
    }
    let late = Verdict::Interrupt { reason: "deploy".into(), delay_ms: Some(u64::MAX) };
    assert!(shard.settle(&jobs[0], late).is_err());
    assert_eq!(shard.state(id(1)), Some(JobState::Running), "a refused settlement ends nothing");
}

/// A counter with an odd name, one too many, or an item with a large cursor refused the whole
/// checkpoint: the lease was not extended, and the cursor was lost.
#[test]
fn counters_and_skipped_items_that_cannot_be_kept_cost_no_checkpoint() {
    let limits = Limits { cursor_bytes_max: 8, counters_max: 2, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    let error = JobError { kind: "E".into(), message: "m".into(), backtrace: String::new() };
    let long = "x".repeat(256);
    let names = ["a", "", "\n", &*long, "b", "c", "a"];
    let told = CheckpointJob {
        counters: names.iter().map(|name| ((*name).to_owned(), 1)).collect(),
        skipped: vec![(Bytes::from_static(b"123456789"), error.clone()), ("1".into(), error)],
        counters_dropped: 1,
        skipped_dropped: 2,
        ..told(&jobs[0], 1, "7")
    };
    shard.save(told).unwrap();
    let kept = shard.checkpoint(id(1)).unwrap();
    assert_eq!(kept.counters, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    assert_eq!((kept.cursor.as_deref(), kept.counters_dropped), (Some(&b"7"[..]), 5));
    assert_eq!((kept.skipped, kept.skipped_dropped), (1, 3));
}

#[test]
fn an_odd_reason_ends_a_run_all_the_same() {
    for (reason, kept) in [("", "interrupt"), (" \n", "interrupt"), ("a\nb", "a b")] {
        let mut shard = Shard::new();
        shard.enqueue(job(1));
        let jobs = shard.lease(1);
        let verdict = Verdict::Interrupt { reason: reason.to_owned(), delay_ms: None };
        assert_eq!(shard.settle(&jobs[0], verdict), Ok(EndKind::Interrupted));
        assert_eq!(shard.checkpoint(id(1)).unwrap().interrupted_for.as_deref(), Some(kept));
    }
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    let verdict = Verdict::Interrupt { reason: "\u{fc}".repeat(200), delay_ms: None };
    assert_eq!(shard.settle(&jobs[0], verdict), Ok(EndKind::Interrupted));
    let kept = shard.checkpoint(id(1)).unwrap().interrupted_for;
    assert_eq!(kept, Some("\u{fc}".repeat(127)));
}

#[test]
fn the_newest_word_on_progress_holds() {
    let mut shard = Shard::new();
    shard.enqueue(job(1));
    let jobs = shard.lease(1);
    let beat = Extension {
        id: id(1),
        token: jobs[0].token,
        lease_ms: None,
        progress: Some(1000),
        progress_text: None,
    };
    let progress = |shard: &mut Shard| match shard.call(Command::AwaitJob { id: id(1), wait_ms: 0 })
    {
        Answer::Job(view) => view.progress(),
        other => panic!("{other:?}"),
    };
    shard.call(Command::ExtendLeases(vec![beat.clone()]));
    shard.save(CheckpointJob { progress: Some(2000), ..told(&jobs[0], 1, "1") }).unwrap();
    assert_eq!(progress(&mut shard), Some(2000));
    shard.call(Command::ExtendLeases(vec![Extension { progress: Some(3000), ..beat }]));
    assert_eq!(progress(&mut shard), Some(3000));
    shard.settle(&jobs[0], interrupt(None)).unwrap();
    assert_eq!(progress(&mut shard), Some(2000), "a heartbeat's word ends with its run");
}
