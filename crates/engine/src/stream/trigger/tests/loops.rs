//! What goes round by itself by way of a stream ends: events become messages, whose letters become
//! events, or jobs of which the stream of their lives tells.

use super::*;
use crate::stream::StreamChange;
use crate::{BindingSpec, JobBinding, MessageCommand, MessageSettings, MonoMs, TimeMs};

const EXCHANGE: &str = "amq.fanout";

/// A queue of which each message is a letter after a while, and what the letters reach.
fn dying(bench: &mut Bench, to: BindingSpec) {
    let dead_letter_exchange = Some(EXCHANGE.to_owned());
    let settings = MessageSettings { ttl_ms: Some(1), dead_letter_exchange, ..Default::default() };
    bench.declare("inbox", settings);
    let spec = BindingSpec { source: EXCHANGE.to_owned(), ..to };
    let bound = bench.tell(Command::Messages(MessageCommand::Bind(Box::new(spec))));
    assert!(matches!(bound, crate::Answer::Messages(_)), "{bound:?}");
}

/// Lets the time of all messages run out.
fn expire(bench: &mut Bench, round: u64) {
    let (wall, mono) = (TimeMs(2_000 + round * 1_000), MonoMs(round * 1_000));
    let clock = crate::Clock { wall, mono, random: 0 };
    while bench.turn.tick(clock) {
        bench.seal();
    }
    bench.seal();
    bench.turn.committed(bench.turn.position());
}

/// Brings the events that were recorded since the last time to the trigger.
fn bring_all(bench: &mut Bench, stream: &str, seen: &mut usize) -> usize {
    let mut brought = 0;
    let changes = bench.changes.split_off(*seen);
    *seen += changes.len();
    for change in &changes {
        let (id, base_offset, headers) = match change {
            StreamChange::Published { partition, base_offset, headers, .. } => {
                (*partition, *base_offset, vec![headers.clone()])
            }
            StreamChange::Told { partition, base_offset, events, .. } => {
                let headers = events.iter().map(|event| event.headers.clone());
                (*partition, *base_offset, headers.collect())
            }
            _ => continue,
        };
        let told = (base_offset..).zip(headers);
        let events: Vec<_> =
            told.map(|(at, headers)| TriggerEvent { headers, ..event(at, None, None) }).collect();
        brought += events.len();
        let next = base_offset + events.len() as u64;
        let fire = FireTrigger {
            stream: stream.to_owned(),
            trigger: to_messages().name,
            partition: 0,
            id,
            expected: Some(base_offset),
            next,
            events,
        };
        let fired = bench.ask(StreamCommand::Trigger(TriggerCommand::Fire(fire)));
        assert!(matches!(fired, Ok(StreamAnswer::Fired(true))), "{fired:?}");
    }
    bench.changes.splice(0..0, changes);
    brought
}

fn put_on(bench: &mut Bench, stream: &str) {
    let (stream, trigger) = (stream.to_owned(), to_messages());
    let put = TriggerCommand::Put { stream, trigger, from_end: false };
    bench.ask(StreamCommand::Trigger(put)).unwrap();
}

#[test]
fn letters_that_become_events_and_messages_again_end() {
    let mut bench = Bench::new();
    bench.create(1).unwrap();
    let to = BindingSpec { destination: "s".to_owned(), to_stream: true, ..Default::default() };
    dying(&mut bench, to);
    put_on(&mut bench, "s");
    let message = crate::PublishMessage { routing_key: "inbox".into(), ..Default::default() };
    bench.tell(Command::Messages(MessageCommand::Publish(vec![message])));
    let (mut seen, mut rounds) = (0, 0);
    loop {
        expire(&mut bench, rounds);
        if bring_all(&mut bench, "s", &mut seen) == 0 {
            break;
        }
        rounds += 1;
        assert!(rounds < 20, "it goes round for ever");
    }
    assert_eq!(rounds, 7);
    assert_eq!(bench.turn.stats(crate::stream::tests::CLOCK, None, 10).events_dropped, 1);
}

#[test]
fn lives_of_jobs_that_become_messages_and_jobs_again_end() {
    let (mut bench, _) = bench();
    let settings = crate::StreamSettings::default();
    let stream = super::super::LIVES_STREAM.to_owned();
    bench.ask(StreamCommand::Create { stream, partitions: 1, settings }).unwrap();
    let job = JobBinding { kind: "Again".to_owned(), ..JobBinding::default() };
    let to = BindingSpec { destination: "mail".to_owned(), job: Some(job), ..Default::default() };
    dying(&mut bench, to);
    put_on(&mut bench, super::super::LIVES_STREAM);
    let new = crate::NewJob::new(crate::JobId([1; 16]), "First", "{}");
    let first = crate::EnqueueJobs { queue: "mail".to_owned(), jobs: vec![new] };
    bench.tell(Command::EnqueueJobs(first));
    let (mut seen, mut rounds) = (0, 0);
    while bring_all(&mut bench, super::super::LIVES_STREAM, &mut seen) > 0 {
        expire(&mut bench, rounds);
        rounds += 1;
        assert!(rounds < 20, "it goes round for ever");
    }
    assert_eq!(jobs(&bench), 2, "the first one, and one of its step");
    let dropped = bench.turn.stats(crate::stream::tests::CLOCK, None, 10).jobs_dropped;
    assert_eq!(dropped, 1);
}
