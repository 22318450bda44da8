//! Unique jobs: the lock of a key lives exactly as long as its job counts, whichever way that ends.

use super::*;
use crate::command::FollowUp;
use crate::unique::{NewUnique, OnConflict, UniqueMet, UniqueUntil};

fn unique(n: u8, until: UniqueUntil, on_conflict: OnConflict) -> NewJob {
    let unique =
        NewUnique { key: [1; 16], period_ms: None, until, on_conflict, spans_queues: false };
    NewJob { unique: Some(unique), ..job(n) }
}

fn plain(n: u8) -> NewJob {
    unique(n, UniqueUntil::Ended, OnConflict::Reject)
}

fn locks(shard: &Shard) -> usize {
    shard
        .turn
        .map()
        .entries()
        .keys()
        .filter(|key| key.first() == Some(&crate::state::keys::UNIQUE))
        .count()
}

/// What the answer says of one job.
fn told(answer: Answer) -> Result<(u8, Option<UniqueMet>), Rejection> {
    match answer {
        Answer::Enqueued(jobs) => Ok((jobs[0].id.0[0], jobs[0].met)),
        Answer::Rejected(rejection) => Err(rejection),
        other => panic!("{other:?}"),
    }
}

fn taken(holder: u8) -> Result<(u8, Option<UniqueMet>), Rejection> {
    Err(Rejection::UniqueTaken { holder: id(holder) })
}

/// One way in which a job ends.
type End = (&'static str, fn(&mut Shard));

#[test]
fn a_lock_goes_with_its_job_in_every_way_that_one_can_end() {
    let ends: [End; 9] = [
        ("succeeded", |shard| {
            let jobs = shard.lease(1);
            shard.settle(&jobs[0], ack()).unwrap();
        }),
        ("dead", |shard| {
            let jobs = shard.lease(1);
            shard.settle(&jobs[0], fail()).unwrap();
        }),
        ("discarded", |shard| {
            let jobs = shard.lease(1);
            shard.settle(&jobs[0], Verdict::Discard { error: None }).unwrap();
        }),
        ("lost", |shard| {
            shard.lease(1);
            shard.advance(31_000);
        }),
        ("ended by force", |shard| {
            shard.lease(1);
            shard.call(Command::CancelJob { id: id(1), force: true });
        }),
        ("cancelled", |shard| drop(shard.call(Command::CancelJob { id: id(1), force: false }))),
        ("expired", |shard| shard.advance(600_001)),
        ("purged", |shard| {
            let (queue, kind, before) = ("q".to_owned(), None, None);
            let kind = OperationKind::PurgeQueue { queue, kind, before };
            shard.call(Command::StartOperation(kind));
            shard.advance(1);
        }),
        ("gone with its queue", |shard| {
            let kind = OperationKind::DeleteQueue { queue: "q".to_owned() };
            shard.call(Command::StartOperation(kind));
            shard.advance(1);
        }),
    ];
    for (how, end) in ends {
        let mut shard = Shard::new();
        let expiry = Some(Start::After(600_000));
        let first = || NewJob { max_attempts: Some(1), expiry, ..plain(1) };
        assert_eq!(told(shard.enqueue(first())), Ok((1, None)));
        assert_eq!(told(shard.enqueue(plain(2))), taken(1), "{how}");
        end(&mut shard);
        assert_eq!(locks(&shard), 0, "{how}");
        let mut shard = shard.restart();
        assert_eq!(told(shard.enqueue(plain(2))), Ok((2, None)), "{how}");
    }
}

#[test]
fn until_it_is_started_and_until_it_is_forgotten() {
    let mut shard = Shard::new();
    let started = |n| unique(n, UniqueUntil::Started, OnConflict::Reject);
    shard.enqueue(started(1));
    let jobs = shard.lease(1);
    assert_eq!(told(shard.enqueue(started(2))), Ok((2, None)), "the first one runs");
    shard.settle(&jobs[0], ack()).unwrap();
    assert_eq!(told(shard.enqueue(started(3))), taken(2), "the end of the first one frees nothing");

    let mut shard = Shard::new();
    let forgotten = |n| unique(n, UniqueUntil::Forgotten, OnConflict::Existing);
    shard.enqueue(NewJob { retain_ms: Some(5_000), ..forgotten(1) });
    let jobs = shard.lease(1);
    shard.settle(&jobs[0], ack()).unwrap();
    let existing = Ok((1, Some(UniqueMet::Existing)));
    assert_eq!(told(shard.enqueue(forgotten(2))), existing);
    shard.advance(5_001);
    assert_eq!(told(shard.enqueue(forgotten(2))), Ok((2, None)));
}

#[test]
fn what_waits_is_replaced_and_debounced_and_what_runs_is_not() {
    let mut shard = Shard::new();
    let of = |n, args: &'static str, delay_ms, on_conflict| NewJob {
        args: Bytes::from_static(args.as_bytes()),
        start: Some(Start::After(delay_ms)),
        ..unique(n, UniqueUntil::Ended, on_conflict)
    };
    let both = OnConflict::Replace { args: true, time: true };
    shard.enqueue(of(1, "[1]", 1_000, both));
    assert_eq!(told(shard.enqueue(of(2, "[2]", 5_000, both))), Ok((1, Some(UniqueMet::Replaced))));
    shard.advance(2_000);
    assert!(shard.lease(1).is_empty(), "its time is another one");
    let debounced = Ok((1, Some(UniqueMet::Debounced)));
    assert_eq!(told(shard.enqueue(of(3, "[3]", 9_000, OnConflict::Debounce))), debounced);
    shard.advance(4_000);
    assert!(shard.lease(1).is_empty());
    let mut shard = shard.restart();
    shard.advance(9_000);
    let jobs = shard.lease(9);
    assert_eq!((ids(&jobs), &*jobs[0].args), (vec![1], &b"[2]"[..]));
    assert_eq!(told(shard.enqueue(of(4, "[4]", 0, both))), taken(1), "its args would be lost");
    assert_eq!(told(shard.enqueue(of(4, "[4]", 0, OnConflict::Debounce))), taken(1));
}

#[test]
fn one_a_period_and_the_rest_is_dropped() {
    let mut shard = Shard::new();
    let of = |n| {
        let period_ms = Some(60_000);
        let (until, on_conflict) = (UniqueUntil::Forgotten, OnConflict::Throttle);
        let unique = NewUnique { key: [1; 16], period_ms, until, on_conflict, spans_queues: false };
        NewJob { retain_ms: Some(0), unique: Some(unique), ..job(n) }
    };
    shard.enqueue(of(1));
    let jobs = shard.lease(1);
    shard.settle(&jobs[0], ack()).unwrap();
    shard.advance(10_000);
    assert_eq!(told(shard.enqueue(of(2))), Ok((1, Some(UniqueMet::Throttled))));
    shard.advance(50_000);
    assert_eq!(told(shard.enqueue(of(3))), Ok((3, None)));
    shard.advance(60_000);
    let bare = NewUnique { period_ms: None, ..of(4).unique.unwrap() };
    let answer = shard.enqueue(NewJob { unique: Some(bare), ..job(4) });
    assert!(matches!(told(answer), Err(Rejection::ValueRefused { .. })));
}

#[test]
fn equal_keys_of_one_bulk_are_decided_one_after_the_other() {
    let mut shard = Shard::new();
    let bulk = |jobs| Command::EnqueueJobs(EnqueueJobs { queue: "q".to_owned(), jobs });
    let replace = OnConflict::Replace { args: true, time: false };
    let second =
        NewJob { args: Bytes::from(vec![b'7'; 9_000]), ..unique(2, UniqueUntil::Ended, replace) };
    let third = unique(3, UniqueUntil::Ended, OnConflict::Existing);
    let Answer::Enqueued(jobs) = shard.call(bulk(vec![plain(1), second, third, job(4)])) else {
        panic!("refused")
    };
    let met: Vec<_> = jobs.iter().map(|job| (job.id.0[0], job.met)).collect();
    let (replaced, existing) = (Some(UniqueMet::Replaced), Some(UniqueMet::Existing));
    assert_eq!(met, [(1, None), (1, replaced), (1, existing), (4, None)]);
    let jobs = shard.lease(9);
    assert_eq!((ids(&jobs), jobs[0].args.len()), (vec![1, 4], 9_000));
    let mut other = Shard::new();
    let answer = other.call(bulk(vec![plain(1), job(2), plain(3)]));
    let Answer::Rejected(Rejection::JobsRefused { faults }) = answer else { panic!("{answer:?}") };
    assert_eq!(faults, [(2, Rejection::UniqueTaken { holder: id(1) })]);
    assert_eq!(locks(&other), 0, "all or none");
}

#[test]
fn a_job_may_enqueue_its_own_successor_with_its_ack() {
    let mut shard = Shard::new();
    shard.enqueue(plain(1));
    let jobs = shard.lease(1);
    let next = vec![FollowUp { queue: "q".to_owned(), job: plain(2) }];
    let ack = Verdict::Ack { result: None, location: None, follow_ups: next, next_tick: None };
    assert_eq!(shard.settle(&jobs[0], ack), Ok(EndKind::Acked));
    assert_eq!(told(shard.enqueue(plain(3))), taken(2));
}

#[test]
fn a_dead_job_whose_key_is_taken_stays_dead() {
    let mut shard = Shard::new();
    for n in [1, 2] {
        shard.enqueue(NewJob { max_attempts: Some(1), ..plain(n) });
        let jobs = shard.lease(1);
        shard.settle(&jobs[0], fail()).unwrap();
    }
    shard.enqueue(plain(3));
    let retry = |n| Command::RetryJob { id: id(n), from: RetryFrom::Kept };
    let refused = |answer| matches!(answer, Answer::Rejected(Rejection::UniqueTaken { .. }));
    assert!(refused(shard.call(retry(1))));
    let all = OperationKind::RetryDead { queue: None, kind: None, before: None, limit: None };
    shard.call(Command::StartOperation(all.clone()));
    shard.advance(1);
    assert_eq!(shard.state(id(1)), Some(JobState::Dead));
    shard.call(Command::CancelJob { id: id(3), force: false });
    shard.call(Command::StartOperation(all));
    shard.advance(1);
    let states = [1, 2].map(|n| shard.state(id(n)));
    assert_eq!(states, [Some(JobState::Ready), Some(JobState::Dead)], "one of a key");
    assert!(refused(shard.call(retry(2))));
    assert_eq!(locks(&shard), 1);
}

#[test]
fn no_lock_is_left_after_many_jobs_with_random_ends() {
    let mut shard = Shard::new();
    let mut random = 7_u64;
    let mut below = |end: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % end
    };
    let untils = [UniqueUntil::Started, UniqueUntil::Ended, UniqueUntil::Forgotten];
    for n in 0..20_000_u64 {
        let unique = NewUnique {
            key: [below(50) as u8; 16],
            period_ms: (below(2) == 0).then_some(1_000),
            until: untils[below(3) as usize],
            on_conflict: OnConflict::Existing,
            spans_queues: false,
        };
        let mut of = NewJob { unique: Some(unique), max_attempts: Some(1), ..job(0) };
        (of.id, of.retain_ms) = (JobId(u128::from(n).to_be_bytes()), Some(100));
        shard.enqueue(of);
        for job in shard.lease(below(2) as usize) {
            let verdict = match below(4) {
                0 => ack(),
                1 => fail(),
                2 => Verdict::Discard { error: None },
                _ => Verdict::Release,
            };
            shard.settle(&job, verdict).unwrap();
        }
        if n % 100 == 0 {
            shard.advance(below(500));
        }
    }
    let kind = OperationKind::DeleteQueue { queue: "q".to_owned() };
    shard.call(Command::StartOperation(kind));
    shard.advance(24 * 3600 * 1000 * 200);
    assert_eq!(locks(&shard), 0);
}
