//! Each step of a job is an event in the entry of the step itself, where somebody wants to know.

use bytes::Bytes;

use super::*;
use crate::command::{LeaseJobs, NewJob, Settlement, Verdict};
use crate::job::JobError;
use crate::queue::QueueSettings;
use crate::stream::tests::{Bench, CLOCK};
use crate::stream::{StreamCommand, StreamSettings};
use crate::{Answer, Command, EnqueueJobs, JobId, Limits, QueuePattern, Token};

fn bench() -> Bench {
    let mut bench = Bench::new();
    let (queue, settings) = ("mail".to_owned(), QueueSettings::default());
    bench.tell(Command::PutQueue { queue, settings });
    bench
}

fn tell_lives(bench: &mut Bench, partitions: u32) {
    let (stream, settings) = (LIVES_STREAM.to_owned(), StreamSettings::default());
    bench.ask(StreamCommand::Create { stream, partitions, settings }).unwrap();
}

fn enqueue(bench: &mut Bench, ids: std::ops::Range<u8>) {
    let jobs = ids.map(|id| NewJob::new(JobId([id; 16]), "Send", "{}")).collect();
    let answer = bench.tell(Command::EnqueueJobs(EnqueueJobs { queue: "mail".into(), jobs }));
    assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
}

fn lease(bench: &mut Bench) -> (JobId, Token) {
    let lease = LeaseJobs {
        queues: vec![QueuePattern::Exactly("mail".into())],
        kinds: None,
        max: 1,
        wait_ms: 0,
        lease_ms: None,
        worker: "w".to_owned(),
        session: String::new(),
        ask: None,
        seen: None,
        settle: Vec::new(),
        prefetch: false,
    };
    match bench.tell(Command::LeaseJobs(Box::new(lease))) {
        Answer::Leased { jobs, .. } => (jobs[0].id, jobs[0].token),
        other => panic!("{other:?}"),
    }
}

fn settle(bench: &mut Bench, (id, token): (JobId, Token), verdict: Verdict) {
    bench.tell(Command::SettleJobs(vec![Settlement { id, token, verdict }]));
}

fn ack() -> Verdict {
    Verdict::Ack { result: None, location: None, follow_ups: Vec::new(), next_tick: None }
}

/// What was told, as far as the type and what follows the kind of each event.
fn told(bench: &Bench) -> Vec<String> {
    let mut found = Vec::new();
    for change in &bench.changes {
        let StreamChange::Told { events, .. } = change else { continue };
        for crate::stream::ToldEvent { key, value, .. } in events {
            let text = String::from_utf8(value.to_vec()).unwrap();
            let (_, rest) = text.split_once("longshore.job.").unwrap();
            let (step, rest) = rest.split_once('"').unwrap();
            let (_, more) = rest.split_once("\"kind\":\"Send\"").unwrap();
            let more = more.split(",\"available_at\"").next().unwrap();
            assert!(text.contains(&format!("\"subject\":{:?}", &*String::from_utf8_lossy(key))));
            found.push(format!("{step}{}", more.trim_end_matches('}')));
        }
    }
    found
}

#[test]
fn steps_are_told_in_the_entry_that_they_are() {
    let mut bench = bench();
    enqueue(&mut bench, 9..10);
    assert!(told(&bench).is_empty(), "nobody wants to know");
    tell_lives(&mut bench, 2);
    enqueue(&mut bench, 1..3);
    let held = lease(&mut bench);
    assert_eq!(held.0, JobId([9; 16]));
    settle(&mut bench, held, ack());
    let held = lease(&mut bench);
    let error = JobError {
        kind: "Broken".to_owned(),
        message: "\"x\"".to_owned(),
        backtrace: "long".to_owned(),
    };
    settle(&mut bench, held, Verdict::Fail { error, retry_in_ms: Some(50) });
    bench.tell(Command::CancelJob { id: JobId([2; 16]), force: false });
    bench.restart();
    let wanted = [
        "enqueued",
        "enqueued",
        "started,\"attempt\":1,\"worker\":\"w\"",
        "succeeded,\"attempt\":1,\"worker\":\"w\"",
        "started,\"attempt\":1,\"worker\":\"w\"",
        "failed,\"attempt\":1,\"worker\":\"w\",\"reason\":\"failed\",\"error\":\"Broken\",\
         \"message\":\"\\\"x\\\"\"",
        "cancelled,\"reason\":\"asked\"",
    ];
    assert_eq!(told(&bench), wanted);
    // Deleted, it is told of no more; offsets go on in another one.
    bench.ask(StreamCommand::Delete { stream: LIVES_STREAM.to_owned() }).unwrap();
    enqueue(&mut bench, 20..21);
    assert_eq!(told(&bench).len(), wanted.len());
    bench.restart();
}

#[test]
fn steps_stand_behind_what_else_is_an_event_of_their_stream() {
    let mut bench = bench();
    tell_lives(&mut bench, 1);
    enqueue(&mut bench, 1..4);
    let view = bench.turn.streams().into_iter().find(|it| it.name == LIVES_STREAM).unwrap();
    let (partition, ends) = view.partitions[0];
    assert_eq!(ends.next, 3);
    bench.append_some(partition, 2);
    settle_all(&mut bench);
    let places: Vec<_> = bench
        .changes
        .iter()
        .filter_map(|change| match change {
            StreamChange::Told { base_offset, events, .. } => Some((*base_offset, events.len())),
            _ => None,
        })
        .collect();
    assert_eq!(places, [(0, 3), (5, 1), (6, 1)]);
    bench.restart();
}

fn settle_all(bench: &mut Bench) {
    let held = lease(bench);
    settle(bench, held, ack());
}

#[test]
fn a_job_that_enters_and_is_replaced_at_once_is_told_of_twice() {
    let mut bench = bench();
    tell_lives(&mut bench, 1);
    let unique = crate::NewUnique {
        key: [1; 16],
        period_ms: None,
        until: crate::UniqueUntil::Started,
        on_conflict: crate::OnConflict::Replace { args: true, time: false },
        spans_queues: false,
    };
    let of = |id: u8| NewJob {
        unique: Some(unique.clone()),
        ..NewJob::new(JobId([id; 16]), "Send", "{}")
    };
    let queue = "mail".to_owned();
    let bulk = EnqueueJobs { queue: queue.clone(), jobs: vec![of(1), of(2)] };
    let answer = bench.tell(Command::EnqueueJobs(bulk));
    assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
    let answer = bench.tell(Command::WithdrawJob { id: JobId([1; 16]) });
    assert!(matches!(answer, Answer::JobWithdrawn), "{answer:?}");
    assert_eq!(told(&bench), ["enqueued", "replaced", "removed,\"reason\":\"withdrawn\""]);
    assert_eq!(bench.turn.stats(CLOCK, None, 10).lives_untold, 0);
    bench.restart();
}

#[test]
fn a_run_that_ends_as_it_was_asked_to_is_told_so() {
    let mut bench = bench();
    tell_lives(&mut bench, 1);
    enqueue(&mut bench, 1..2);
    let held = lease(&mut bench);
    bench.tell(Command::CancelJob { id: held.0, force: false });
    let error =
        JobError { kind: "Broken".to_owned(), message: String::new(), backtrace: String::new() };
    settle(&mut bench, held, Verdict::Fail { error, retry_in_ms: None });
    let found = told(&bench);
    let last = found.last().map(String::as_str);
    let wanted = "cancelled,\"attempt\":1,\"worker\":\"w\",\"reason\":\"asked\",\
                  \"error\":\"Broken\"";
    assert_eq!(last, Some(wanted), "{found:?}");
    bench.restart();
}

#[test]
fn a_job_that_is_moved_is_told_of_with_where_to() {
    let mut bench = bench();
    tell_lives(&mut bench, 1);
    enqueue(&mut bench, 7..8);
    let (filter, action) =
        (crate::JobFilter::default(), crate::JobAction::SetPriority { priority: 7 });
    let change = Box::new(crate::JobsChange { filter, action, limit: None });
    bench.tell(Command::StartOperation(crate::OperationKind::ChangeJobs { change }));
    for _ in 0..100 {
        bench.turn.tick(CLOCK);
        bench.seal();
        bench.turn.committed(bench.turn.position());
    }
    assert_eq!(told(&bench), ["enqueued", "moved,\"priority\":7"]);
    bench.restart();
}

#[test]
fn what_an_entry_does_not_take_is_counted() {
    let mut bench = Bench::with(Limits { entry_bytes_max: 600, ..Limits::tiny() });
    tell_lives(&mut bench, 1);
    let queue = "q".repeat(60);
    let enqueue = |bench: &mut Bench, id: u8, bytes: usize| {
        let args = Bytes::from(format!("\"{}\"", "x".repeat(bytes)));
        let jobs = vec![NewJob::new(JobId([id; 16]), "Send", args)];
        bench.tell(Command::EnqueueJobs(EnqueueJobs { queue: queue.clone(), jobs }))
    };
    let untold = |bench: &Bench| bench.turn.stats(CLOCK, None, 10).lives_untold;
    assert!(matches!(enqueue(&mut bench, 1, 10), Answer::Enqueued(_)));
    assert_eq!((told(&bench).len(), untold(&bench)), (1, 0));
    let bytes = (10..600).rev();
    let fits =
        { bytes }.find(|bytes| matches!(enqueue(&mut bench, 2, *bytes), Answer::Enqueued(_)));
    assert!(fits.is_some(), "the job itself fits");
    assert_eq!((told(&bench).len(), untold(&bench)), (1, 1));
}
