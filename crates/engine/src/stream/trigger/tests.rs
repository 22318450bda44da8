//! Each event becomes one job, however often it is brought, and a restart changes nothing of that.

mod loops;

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
        ..Trigger::default()
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
        ..TriggerEvent::default()
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
    let reserved = put(&mut bench, Trigger { name: "replay.mail".to_owned(), ..trigger() }, true);
    assert!(matches!(reserved, Err(Rejection::ValueRefused { field: "trigger", .. })));
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

#[test]
fn a_replay_whose_group_is_set_to_the_end_has_ended() {
    let (mut bench, first) = bench();
    bench.declare("inbox", crate::MessageSettings::default());
    bench.append_some(first, 5);
    let (stream, trigger) = ("s".to_owned(), to_messages());
    let replay = TriggerCommand::Replay { stream, trigger, from: vec![0, 0] };
    bench.ask(StreamCommand::Trigger(replay)).unwrap();
    let commit = |bench: &mut Bench, offset| {
        let (stream, committed) = (std::sync::Arc::from("s"), committed_at(offset));
        let offsets = vec![crate::OffsetToCommit { stream, partition: 0, committed }];
        let group = to_messages().group();
        bench.ask(StreamCommand::CommitOffsets { group, offsets }).unwrap();
    };
    commit(&mut bench, 4);
    assert_eq!(come(&mut bench), Some(4), "one is left");
    commit(&mut bench, 5);
    assert_eq!(come(&mut bench), None, "it has ended");
    bench.restart();
    assert!(matches!(put(&mut bench, to_messages(), true), Ok(StreamAnswer::TriggerPut)));
}

/// All in the turn of the transaction, each of which may be over thousands of partitions.
#[test]
fn replays_of_which_a_transaction_leaves_nothing_end_one_by_one() {
    use crate::{TransactionAnswer, TransactionAsk as Ask, TransactionCommand};
    let (mut bench, first) = bench();
    bench.declare("inbox", crate::MessageSettings::default());
    bench.append_some(first, 5);
    let triggers = ["t", "u"].map(|name| Trigger { name: name.to_owned(), ..to_messages() });
    for trigger in triggers.clone() {
        let (stream, from) = ("s".to_owned(), vec![0, 0]);
        let replay = TriggerCommand::Replay { stream, trigger, from };
        bench.ask(StreamCommand::Trigger(replay)).unwrap();
    }
    let transact = |bench: &mut Bench, ask| {
        let command = TransactionCommand { id: "x".to_owned(), ask };
        match bench.ask(StreamCommand::Transact(command)).unwrap() {
            StreamAnswer::Transacted(answer) => answer.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    let taken = transact(&mut bench, Ask::Take { timeout_ms: 1000, current: None });
    let TransactionAnswer::Taken(stamp) = taken else { panic!("{taken:?}") };
    for (offset, left) in [(4, Some(4)), (5, None)] {
        transact(&mut bench, Ask::AddOffsets { stamp });
        for trigger in &triggers {
            let (stream, committed) = (std::sync::Arc::from("s"), committed_at(offset));
            let offsets = vec![crate::OffsetToCommit { stream, partition: 0, committed }];
            let group = trigger.group();
            transact(&mut bench, Ask::CommitOffsets { stamp, group, offsets });
        }
        bench.restart();
        transact(&mut bench, Ask::End { stamp, commit: true });
        assert_eq!(come(&mut bench), Some(offset));
        bench.restart();
        let clock = crate::stream::tests::CLOCK;
        assert!(bench.turn.tick(clock) || left.is_some(), "the other one ends with the next tick");
        bench.seal();
        assert_eq!(come(&mut bench), left);
        let (group, of) = (triggers[1].group(), None);
        let other = bench.ask(StreamCommand::GetOffsets { group, of }).unwrap();
        assert!(matches!(&other, StreamAnswer::Offsets(all) if !all.is_empty()), "{other:?}");
        bench.turn.tick(clock);
        bench.seal();
    }
    bench.restart();
    for trigger in triggers {
        assert!(matches!(put(&mut bench, trigger, true), Ok(StreamAnswer::TriggerPut)));
    }
}

#[test]
fn how_far_a_replay_came_that_was_deleted_is_kept() {
    let (mut bench, first) = bench();
    bench.declare("inbox", crate::MessageSettings::default());
    bench.append_some(first, 5);
    let replay = |bench: &mut Bench| {
        let (stream, trigger) = ("s".to_owned(), to_messages());
        let replay = TriggerCommand::Replay { stream, trigger, from: vec![1] };
        bench.ask(StreamCommand::Trigger(replay)).unwrap();
    };
    replay(&mut bench);
    let events = |range: std::ops::Range<u64>| range.map(|at| event(at, None, Some("x"))).collect();
    let trigger = to_messages();
    assert_eq!(bring((&mut bench, first), (&trigger, 1), events(1..3)), Ok(true));
    let delete = TriggerCommand::Delete { trigger: "t".to_owned() };
    bench.ask(StreamCommand::Trigger(delete)).unwrap();
    bench.restart();
    assert_eq!(come(&mut bench), Some(3));
    assert_eq!(bring((&mut bench, first), (&trigger, 3), events(3..5)), Ok(false));
    replay(&mut bench);
    assert_eq!(come(&mut bench), Some(1), "another one begins anew");
}

fn to_messages() -> Trigger {
    Trigger { queue: "inbox".to_owned(), kind: String::new(), ..trigger() }
}

fn event(offset: u64, key: Option<&'static str>, value: Option<&'static str>) -> TriggerEvent {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    TriggerEvent {
        offset,
        key: key.map(bytes),
        value: value.map(bytes),
        headers: Vec::new(),
        time: 4_000,
    }
}

fn bring(
    (bench, id): (&mut Bench, PartitionId),
    (trigger, from): (&Trigger, u64),
    events: Vec<TriggerEvent>,
) -> Result<bool, Rejection> {
    let fire = FireTrigger {
        stream: "s".to_owned(),
        trigger: trigger.name.clone(),
        partition: 0,
        id,
        expected: Some(from),
        next: events.last().map_or(from, |last| last.offset + 1),
        events,
    };
    match bench.ask(StreamCommand::Trigger(TriggerCommand::Fire(fire)))? {
        StreamAnswer::Fired(fired) => Ok(fired),
        other => panic!("{other:?}"),
    }
}

fn said(messages: &[crate::Message]) -> Vec<(&str, &str, &str)> {
    let text = |bytes| std::str::from_utf8(bytes).unwrap();
    messages.iter().map(|it| (&*it.exchange, &*it.routing_key, text(&it.body))).collect()
}

#[test]
fn events_become_messages_once_in_their_order() {
    let (mut bench, first) = bench();
    bench.declare("inbox", crate::MessageSettings::default());
    bench.append_some(first, 4);
    put(&mut bench, to_messages(), false).unwrap();
    let header = |name: &str, value: &'static str| {
        (name.to_owned(), Some(Bytes::from_static(value.as_bytes())))
    };
    let headers = vec![header("exchange", "orders"), header("customer", "7")];
    let told = TriggerEvent { headers, ..event(1, Some("order.paid"), Some("2")) };
    let events = || vec![event(0, None, Some("1")), told.clone(), event(2, Some("k"), None)];
    let trigger = to_messages();
    assert_eq!(bring((&mut bench, first), (&trigger, 0), events()), Ok(true));
    assert_eq!(bring((&mut bench, first), (&trigger, 0), events()), Ok(false), "once");
    bench.restart();
    assert_eq!(bring((&mut bench, first), (&trigger, 0), events()), Ok(false), "ever");
    let taken = bench.take("inbox");
    let wanted = [("", "inbox", "1"), ("orders", "order.paid", "2"), ("", "k", "")];
    assert_eq!(said(&taken), wanted);
    assert_eq!(taken[1].header_text("customer").as_deref(), Some("7"));
    assert_eq!(taken[1].header_text("x-stream-offset").as_deref(), Some("1"));
    assert_eq!(taken[2].header_text("x-stream-tombstone").as_deref(), Some("true"));
}

#[test]
fn events_wait_for_a_queue_that_refuses_more_and_push_the_first_out_of_others() {
    let (mut bench, first) = bench();
    let overflow = crate::Overflow::RejectPublish;
    let full = crate::MessageSettings { max_length: Some(2), overflow, ..Default::default() };
    bench.declare("inbox", full);
    bench.append_some(first, 4);
    put(&mut bench, to_messages(), false).unwrap();
    let events = |range: std::ops::Range<u64>| range.map(|at| event(at, None, Some("x"))).collect();
    let trigger = to_messages();
    let refused = bring((&mut bench, first), (&trigger, 0), events(0..3));
    assert!(matches!(refused, Err(Rejection::QueueFull { .. })), "{refused:?}");
    assert_eq!(come(&mut bench), Some(0), "none of them is there");
    assert_eq!(bring((&mut bench, first), (&trigger, 0), events(0..2)), Ok(true));
    bench.declare("short", crate::MessageSettings { max_length: Some(2), ..Default::default() });
    let short = Trigger { queue: "short".to_owned(), ..to_messages() };
    put(&mut bench, short.clone(), false).unwrap();
    assert_eq!(bring((&mut bench, first), (&short, 2), events(2..4)), Ok(true));
    assert_eq!(bench.take("short").len(), 2);
    bench.append_some(first, 3);
    assert_eq!(bring((&mut bench, first), (&short, 4), events(4..7)), Ok(true));
    assert_eq!(bench.take("short").len(), 2, "the first one went");
    bench.restart();
}

#[test]
fn a_replay_ends_with_the_last_event_that_was_there() {
    let (mut bench, first) = bench();
    bench.declare("inbox", crate::MessageSettings::default());
    bench.append_some(first, 5);
    let replay = |bench: &mut Bench, from| {
        let (stream, trigger) = ("s".to_owned(), to_messages());
        let command = TriggerCommand::Replay { stream, trigger, from };
        match bench.ask(StreamCommand::Trigger(command))? {
            StreamAnswer::Replaying(events) => Ok(events),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(replay(&mut bench, vec![u64::MAX, 0]), Ok(0), "nothing is there");
    assert_eq!(come(&mut bench), None);
    assert_eq!(replay(&mut bench, vec![2]), Ok(3));
    let again = replay(&mut bench, vec![0]);
    assert!(matches!(again, Err(Rejection::GroupInUse { .. })), "{again:?}");
    let changed = put(&mut bench, to_messages(), true);
    assert!(matches!(changed, Err(Rejection::GroupInUse { .. })), "{changed:?}");
    bench.append_some(first, 2);
    bench.restart();
    let trigger = to_messages();
    let events = |range: std::ops::Range<u64>| range.map(|at| event(at, None, Some("x"))).collect();
    assert_eq!(bring((&mut bench, first), (&trigger, 2), events(2..4)), Ok(true));
    assert_eq!(bring((&mut bench, first), (&trigger, 4), events(4..6)), Ok(false), "that is new");
    assert_eq!(bring((&mut bench, first), (&trigger, 4), events(4..5)), Ok(true));
    assert_eq!(come(&mut bench), None, "it has ended");
    assert_eq!(bring((&mut bench, first), (&trigger, 5), events(5..6)), Ok(false));
    assert_eq!(bench.take("inbox").len(), 3);
    bench.restart();
    assert_eq!(replay(&mut bench, vec![0]), Ok(7), "and may begin anew");
}

#[test]
fn the_lives_of_jobs_become_no_jobs_without_end() {
    let (mut bench, _) = bench();
    bench.declare("inbox", crate::MessageSettings::default());
    let (stream, settings) =
        (super::super::LIVES_STREAM.to_owned(), super::super::StreamSettings::default());
    bench.ask(StreamCommand::Create { stream: stream.clone(), partitions: 1, settings }).unwrap();
    let put = |bench: &mut Bench, trigger| {
        let stream = stream.clone();
        bench.ask(StreamCommand::Trigger(TriggerCommand::Put { stream, trigger, from_end: true }))
    };
    let refused = put(&mut bench, trigger());
    assert!(matches!(refused, Err(Rejection::ValueRefused { field: "kind", .. })), "{refused:?}");
    put(&mut bench, to_messages()).unwrap();
}

#[test]
fn what_an_event_follows_from_goes_along() {
    let (mut bench, first) = bench();
    bench.declare("inbox", crate::MessageSettings::default());
    bench.append_some(first, 3);
    put(&mut bench, to_messages(), false).unwrap();
    let hops = |text: &'static str| {
        vec![("x-longshore-hops".to_owned(), Some(Bytes::from_static(text.as_bytes())))]
    };
    let told = |offset, text| TriggerEvent { headers: hops(text), ..event(offset, None, None) };
    let events = vec![told(0, "5"), told(1, "200"), told(2, "many")];
    assert_eq!(bring((&mut bench, first), (&to_messages(), 0), events), Ok(true));
    let taken = bench.take("inbox");
    assert_eq!(taken.iter().map(|it| it.hops).collect::<Vec<_>>(), [5, 8, 0]);
    assert_eq!(taken[0].header_text("x-longshore-hops"), None);
    let headers = taken[0].event_headers(None);
    assert!(headers.contains(&hops("5")[0]), "{headers:?}");
}
