//! Commands with keys: they are carried out once, whatever comes between, and what is kept of them
//! is bounded and forgotten.

use super::*;
use crate::keyed::{
    ANSWER_BYTES_MAX, ANSWER_MS, ANSWERS_OF_OWNER_MAX, CommandKey, KeyedCommand, Render,
};
use crate::message::{DeclareQueue, MessageCommand, MessageSettings, PublishMessage};
use crate::state::keys;

fn keyed(number: u64, content: u8, command: Command) -> Command {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&number.to_be_bytes());
    let key = CommandKey { owner: [1; 16], key, content: [content; 16] };
    let render = Render::new(|answer| match answer {
        Answer::Enqueued(jobs) => Bytes::copy_from_slice(&jobs[0].id.0),
        _ => Bytes::from_static(b"other"),
    });
    Command::Keyed(Box::new(KeyedCommand { key, command, render }))
}

fn enqueue(id: u8) -> Command {
    let jobs = vec![NewJob::new(JobId([id; 16]), "k", "{}")];
    Command::EnqueueJobs(EnqueueJobs { queue: "q".to_owned(), jobs })
}

fn waiting(shard: &mut Shard) -> u64 {
    match shard.call(Command::GetQueue { queue: "q".to_owned() }) {
        Answer::Queue(queue) => queue.ready,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_command_that_comes_again_with_its_key_is_answered_as_the_first_even_after_a_restart() {
    let mut shard = Shard::new();
    let answer = shard.call(keyed(1, 7, enqueue(1)));
    assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
    for restart in [false, true] {
        if restart {
            shard = shard.restart();
        }
        match shard.call(keyed(1, 7, enqueue(2))) {
            Answer::Kept(answer) => assert_eq!(&answer[..], [1; 16]),
            other => panic!("{other:?}"),
        }
        let answer = shard.call(keyed(1, 8, enqueue(3)));
        assert!(matches!(answer, Answer::Rejected(Rejection::KeyUsedOtherwise)), "{answer:?}");
        assert_eq!(waiting(&mut shard), 1);
    }
    let answer = shard.call(keyed(2, 7, enqueue(4)));
    assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
    assert_eq!(waiting(&mut shard), 2);
}

#[test]
fn what_a_key_protects_and_its_answer_are_one_entry() {
    let mut shard = Shard::new();
    let before = shard.turn.position();
    shard.call(keyed(1, 7, enqueue(1)));
    assert_eq!(shard.turn.position().0, before.0 + 1);
}

#[test]
fn what_was_refused_may_be_sent_again_with_its_key() {
    let mut shard = Shard::new();
    let answer = shard.call(keyed(1, 7, Command::CancelJob { id: JobId([9; 16]), force: false }));
    assert!(matches!(answer, Answer::Rejected(_)), "{answer:?}");
    let answer = shard.call(keyed(1, 7, enqueue(1)));
    assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
}

#[test]
fn a_message_is_published_once_for_its_key() {
    let mut shard = Shard::new();
    let settings = MessageSettings { durable: true, ..MessageSettings::default() };
    let declare = DeclareQueue { queue: "m".to_owned(), settings, connection: None };
    shard.call(Command::Messages(MessageCommand::DeclareQueue(Box::new(declare))));
    let message = || PublishMessage { routing_key: "m".to_owned(), ..PublishMessage::default() };
    let publish = |messages| Command::Messages(MessageCommand::Publish(messages));
    let answer = shard.call(keyed(1, 7, publish(vec![message()])));
    assert!(matches!(answer, Answer::Messages(_)), "{answer:?}");
    let answer = shard.call(keyed(1, 7, publish(vec![message()])));
    assert!(matches!(answer, Answer::Kept(_)), "{answer:?}");
    let answer = shard.call(keyed(2, 7, publish(vec![message(), message()])));
    let refused = matches!(answer, Answer::Rejected(Rejection::ValueRefused { .. }));
    assert!(refused, "{answer:?}");
}

#[test]
fn answers_are_forgotten_after_a_day_and_there_are_so_many_of_one_owner() {
    let mut shard = Shard::new();
    for number in 0..ANSWERS_OF_OWNER_MAX {
        shard.call(keyed(number, 7, Command::CreateNamespace));
    }
    let full = |answer| matches!(answer, Answer::Rejected(Rejection::TooManyKeys { .. }));
    assert!(full(shard.call(keyed(ANSWERS_OF_OWNER_MAX, 7, enqueue(2)))));
    shard = shard.restart();
    assert!(full(shard.call(keyed(ANSWERS_OF_OWNER_MAX, 7, enqueue(2)))));
    shard.advance(ANSWER_MS - 1);
    assert!(matches!(shard.call(keyed(0, 7, Command::CreateNamespace)), Answer::Kept(_)));
    shard.advance(1);
    let left = |shard: &Shard, first| shard.turn.state.first(&[first], &[first + 1]).is_some();
    assert!(!left(&shard, keys::ANSWER) && !left(&shard, keys::ANSWER_NOTE));
    let answer = shard.call(keyed(0, 7, enqueue(2)));
    assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
}

#[test]
fn an_answer_that_is_too_large_is_kept_as_nothing() {
    let mut shard = Shard::new();
    let key = CommandKey { owner: [1; 16], key: [2; 32], content: [3; 16] };
    let render = Render::new(|_| Bytes::from(vec![0; ANSWER_BYTES_MAX + 1]));
    let keyed = KeyedCommand { key, command: enqueue(1), render };
    shard.call(Command::Keyed(Box::new(keyed.clone())));
    let answer = shard.call(Command::Keyed(Box::new(keyed)));
    assert!(matches!(&answer, Answer::Kept(answer) if answer.is_empty()), "{answer:?}");
}
