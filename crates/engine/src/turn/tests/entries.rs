//! What is more than an entry of the journal takes.

use super::*;
use crate::command::FollowUp;
use crate::message::{DeclareQueue, MessageCommand, MessageSettings, PublishMessage};
use crate::rope::REFERRED_BYTES_MIN;

const ENTRY_BYTES_MAX: usize = 4096;

fn shard() -> Shard {
    let limits = Limits { entry_bytes_max: ENTRY_BYTES_MAX, ..Limits::default() };
    Shard::recover(&[], limits)
}

fn text(bytes: usize) -> Bytes {
    Bytes::from(format!("\"{}\"", "x".repeat(bytes - 2)))
}

fn sized(result_bytes: usize, follow_ups: Vec<FollowUp>) -> Verdict {
    Verdict::Ack { result: Some(text(result_bytes)), location: None, follow_ups, next_tick: None }
}

fn settle_all(shard: &mut Shard, verdicts: Vec<Verdict>) -> Vec<Result<EndKind, Rejection>> {
    let jobs = shard.lease(verdicts.len());
    assert_eq!(jobs.len(), verdicts.len());
    let pairs = jobs.iter().zip(verdicts);
    let all = pairs.map(|(job, verdict)| Settlement { id: job.id, token: job.token, verdict });
    match shard.call(Command::SettleJobs(all.collect())) {
        Answer::Settled(settled) => settled,
        other => panic!("{other:?}"),
    }
}

/// The group refers to them: what is copied is what is said of them.
#[test]
fn bodies_are_not_copied_into_the_group() {
    let mut shard = Shard::new();
    let (args, result) = (text(1 << 20), text(REFERRED_BYTES_MIN));
    shard.enqueue(job(1));
    let lease = shard.lease(1).remove(0);
    let queue = "q".to_owned();
    let jobs = vec![NewJob { args: args.clone(), ..job(2) }, NewJob { args: text(99), ..job(3) }];
    let enqueue = Command::EnqueueJobs(EnqueueJobs { queue, jobs });
    let ack = Verdict::Ack {
        result: Some(result.clone()),
        location: None,
        follow_ups: Vec::new(),
        next_tick: None,
    };
    let settle = Settlement { id: lease.id, token: lease.token, verdict: ack };
    let message = PublishMessage { body: args.clone(), ..PublishMessage::default() };
    let publish =
        MessageCommand::Publish(vec![PublishMessage { routing_key: "m".to_owned(), ..message }]);
    shard.call(Command::Messages(MessageCommand::DeclareQueue(Box::new(DeclareQueue {
        queue: "m".to_owned(),
        settings: MessageSettings::default(),
        connection: None,
    }))));
    for command in [enqueue, Command::SettleJobs(vec![settle]), Command::Messages(publish)] {
        let request = Request { namespace: "default".to_owned(), reply_to: ReplyTo(0), command };
        shard.turn.submit(request, shard.clock);
    }
    let group = shard.turn.seal().unwrap();
    let is_there = |body: &Bytes| group.bytes.pieces().any(|it| it.as_ptr() == body.as_ptr());
    assert!(is_there(&args) && is_there(&result));
    let copied = group.bytes.copied_bytes();
    assert!(copied < 1000, "{copied} bytes were copied");
    assert_eq!(group.bytes.len(), copied + 2 * args.len() + result.len());
}

/// 45 acks with results of 1 MB were one entry, and the shard stopped.
#[test]
fn acks_that_are_more_than_an_entry_are_several() {
    let mut shard = shard();
    for n in 1..=5 {
        shard.enqueue(job(n));
    }
    let entries = shard.journal.len() + 1;
    let settled = settle_all(&mut shard, (0..5).map(|_| sized(1500, Vec::new())).collect());
    assert!(settled.iter().all(|settled| *settled == Ok(EndKind::Acked)), "{settled:?}");
    assert_eq!(shard.journal.len(), entries + 3, "two fit into each");
    assert!(shard.journal.iter().all(|entry| entry.len() <= ENTRY_BYTES_MAX));
    let mut shard = shard.restart();
    for n in 1..=5 {
        assert_eq!(shard.state(id(n)), Some(JobState::Succeeded));
    }
}

#[test]
fn an_ack_that_no_entry_takes_is_refused_alone() {
    let mut shard = shard();
    for n in 1..=3 {
        shard.enqueue(job(n));
    }
    let large = NewJob { args: text(3000), ..job(9) };
    let follow_ups = vec![FollowUp { queue: "q".to_owned(), job: large }];
    let verdicts = vec![ack(), sized(2000, follow_ups), ack()];
    let settled = settle_all(&mut shard, verdicts);
    assert_eq!((&settled[0], &settled[2]), (&Ok(EndKind::Acked), &Ok(EndKind::Acked)));
    assert!(matches!(settled[1], Err(Rejection::EntryTooLarge { .. })), "{settled:?}");
    let mut shard = shard.restart();
    assert_eq!((shard.state(id(2)), shard.state(id(9))), (Some(JobState::Running), None));
}

#[test]
fn a_bulk_that_no_entry_takes_is_refused_whole() {
    let mut shard = shard();
    let entries = shard.journal.len();
    let jobs: Vec<_> = (1..=5).map(|n| NewJob { args: text(1000), ..job(n) }).collect();
    let command = EnqueueJobs { queue: "large".to_owned(), jobs };
    let answer = shard.call(Command::EnqueueJobs(command));
    assert!(matches!(answer, Answer::Rejected(Rejection::EntryTooLarge { .. })), "{answer:?}");
    assert_eq!((shard.journal.len(), shard.state(id(1))), (entries, None));
    shard.enqueue(job(1));
    assert_eq!(shard.state(id(1)), Some(JobState::Ready), "it goes on");
}
