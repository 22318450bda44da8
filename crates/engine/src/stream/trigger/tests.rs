//! Each event becomes one job, however often it is brought, and a restart changes nothing of that.

use bytes::Bytes;

use super::*;
use crate::queue::QueueSettings;
use crate::stream::tests::Bench;
use crate::stream::{GroupOffset, StreamAnswer, StreamCommand};
use crate::{Command, PartitionId, ReplyTo, Request};

fn trigger() -> Trigger {
    Trigger {
        name: "t".to_owned(),
        queue: "mail".to_owned(),
        kind: "Send".to_owned(),
        ordered: true,
        priority: None,
    }
}

fn bench() -> (Bench, PartitionId) {
    let mut bench = Bench::new();
    let first = bench.create(2).unwrap()[0];
    let (namespace, queue) = ("default".to_owned(), "mail".to_owned());
    let command = Command::PutQueue { queue, settings: QueueSettings::default() };
    let request = Request { namespace, reply_to: ReplyTo(9), command };
    bench.turn.submit(request, crate::stream::tests::CLOCK);
    bench.seal();
    bench.turn.committed(bench.turn.position());
    (bench, first)
}

fn put(bench: &mut Bench, trigger: Trigger, from_end: bool) -> Result<StreamAnswer, Rejection> {
    let stream = "s".to_owned();
    bench.ask(StreamCommand::Trigger(TriggerCommand::Put { stream, trigger, from_end }))
}

fn fire(
    (bench, id): (&mut Bench, PartitionId),
    (from, next): (u64, u64),
    texts: &[&'static str],
) -> bool {
    let event = |(offset, text): (u64, &&'static str)| TriggerEvent {
        offset,
        key: Some(Bytes::from(format!("k{offset}"))),
        value: Some(Bytes::from_static(text.as_bytes())),
        traceparent: None,
    };
    let fire = FireTrigger {
        stream: "s".to_owned(),
        trigger: "t".to_owned(),
        partition: 0,
        id,
        expected: Some(from),
        next,
        events: (from..).zip(texts).map(event).collect(),
    };
    match bench.ask(StreamCommand::Trigger(TriggerCommand::Fire(fire))).unwrap() {
        StreamAnswer::Fired(fired) => fired,
        other => panic!("{other:?}"),
    }
}

fn come(bench: &mut Bench) -> Option<u64> {
    let (group, of) = (trigger().group(), Some(vec![("s".to_owned(), vec![0])]));
    match bench.ask(StreamCommand::GetOffsets { group, of }).unwrap() {
        StreamAnswer::Offsets(offsets) => {
            let of = |it: GroupOffset| it.committed.map(|it| it.offset);
            offsets.into_iter().next().and_then(of)
        }
        other => panic!("{other:?}"),
    }
}

fn jobs(bench: &Bench) -> u64 {
    let stats = bench.turn.stats(crate::stream::tests::CLOCK, None, 10);
    stats.queues.iter().map(|it| it.queue.ready).sum()
}

#[test]
fn events_become_jobs_once_and_a_trigger_stays_where_it_is() {
    let (mut bench, first) = bench();
    bench.append_some(first, 5);
    put(&mut bench, trigger(), false).unwrap();
    assert_eq!(come(&mut bench), Some(0));
    assert!(fire((&mut bench, first), (0, 2), &["{\"a\":1}", "not json"]));
    assert!(
        !fire((&mut bench, first), (0, 2), &["{\"a\":1}", "not json"]),
        "it was brought before"
    );
    assert!(!fire((&mut bench, first), (2, 6), &["1"]), "there is no event that far");
    assert_eq!((come(&mut bench), jobs(&bench)), (Some(2), 2));
    bench.restart();
    assert!(fire((&mut bench, first), (2, 5), &[]), "what nothing is to come of is passed over");
    assert_eq!((come(&mut bench), jobs(&bench)), (Some(5), 2));
    // Settings of the stream leave it as it is.
    let (stream, settings) = ("s".to_owned(), super::super::StreamSettings::default());
    bench.ask(StreamCommand::Change { stream, settings }).unwrap();
    put(&mut bench, Trigger { kind: "Other".to_owned(), ..trigger() }, false).unwrap();
    assert_eq!(come(&mut bench), Some(5), "a changed one goes on");
    bench.restart();
    let delete = TriggerCommand::Delete { trigger: "t".to_owned() };
    let deleted = bench.ask(StreamCommand::Trigger(delete)).unwrap();
    assert!(matches!(deleted, StreamAnswer::TriggerDeleted(true)));
    assert_eq!(come(&mut bench), None);
    assert!(!fire((&mut bench, first), (5, 5), &[]));
    put(&mut bench, trigger(), true).unwrap();
    assert_eq!(come(&mut bench), Some(5), "a new one begins behind what is there");
}

#[test]
fn events_of_a_stream_that_was_made_again_are_its_own() {
    let (mut bench, first) = bench();
    bench.append_some(first, 2);
    bench.ask(StreamCommand::Delete { stream: "s".to_owned() }).unwrap();
    let again = bench.create(2).unwrap()[0];
    bench.append_some(again, 2);
    put(&mut bench, trigger(), false).unwrap();
    assert!(!fire((&mut bench, first), (0, 2), &["1", "2"]), "they were read of the one before");
    assert!(fire((&mut bench, again), (0, 2), &["3", "4"]));
    assert_eq!(jobs(&bench), 2);
}

#[test]
fn a_trigger_that_leads_nowhere_is_refused() {
    let (mut bench, _) = bench();
    let nowhere = put(&mut bench, Trigger { queue: "none".to_owned(), ..trigger() }, true);
    assert!(matches!(nowhere, Err(Rejection::QueueUnknown { .. })));
    let urgent = put(&mut bench, Trigger { priority: Some(10), ..trigger() }, true);
    assert!(matches!(urgent, Err(Rejection::ValueRefused { field: "priority", .. })));
    let unnamed = put(&mut bench, Trigger { name: String::new(), ..trigger() }, true);
    assert!(matches!(unnamed, Err(Rejection::ValueRefused { field: "trigger", .. })));
}

#[test]
fn how_far_a_trigger_has_come_is_not_deleted_while_it_is_there() {
    let (mut bench, first) = bench();
    bench.append_some(first, 2);
    put(&mut bench, trigger(), false).unwrap();
    assert!(fire((&mut bench, first), (0, 2), &["1", "2"]));
    let forget = || StreamCommand::ForgetGroup { group: trigger().group() };
    let refused = bench.ask(forget());
    assert!(matches!(refused, Err(Rejection::GroupInUse { .. })), "{refused:?}");
    assert_eq!(come(&mut bench), Some(2), "or all would become jobs again");
    let delete = TriggerCommand::Delete { trigger: "t".to_owned() };
    bench.ask(StreamCommand::Trigger(delete)).unwrap();
    assert!(bench.ask(forget()).is_ok());
}
