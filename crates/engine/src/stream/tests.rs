//! Lives of streams on plain values: what is appended where, what is refused, what a restart finds.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::*;
use crate::{
    Answer, Clock, Command, DeclareQueue, Effect, LeaseMessages, Limits, Message, MessageAnswer,
    MessageCommand, MessageSettings, MonoMs, Position, Recovery, Rejection, ReplyTo, Request, Turn,
    appends_of,
};

type Map = BTreeMap<Vec<u8>, Bytes>;

pub(super) struct Bench {
    pub(super) turn: Turn,
    journal: Vec<Bytes>,
    pub(super) changes: Vec<StreamChange>,
}

pub(super) const CLOCK: Clock = Clock { mono: MonoMs(5), wall: TimeMs(1_000), random: 0 };

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(Limits::tiny())
    }

    pub(super) fn with(limits: Limits) -> Self {
        let recovery = Recovery::begin(Map::new(), Position::START, limits).unwrap();
        let turn = recovery.start(CLOCK, &["default"]);
        let mut bench = Self { turn, journal: Vec::new(), changes: Vec::new() };
        bench.seal();
        bench
    }

    pub(super) fn seal(&mut self) {
        let Some(group) = self.turn.seal() else { return };
        let mut rest = Bytes::from(group.bytes);
        while !rest.is_empty() {
            let length = u32::from_le_bytes(rest.split_to(4)[..].try_into().unwrap());
            self.journal.push(rest.split_to(length as usize));
        }
        self.changes.extend(group.stream_changes);
    }

    pub(super) fn ask(&mut self, command: StreamCommand) -> Result<StreamAnswer, Rejection> {
        match self.tell(Command::Stream(command)) {
            Answer::Stream(answer) => Ok(answer),
            Answer::Rejected(rejection) => Err(rejection),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn tell(&mut self, command: Command) -> Answer {
        let namespace = "default".to_owned();
        self.turn.submit(Request { namespace, reply_to: ReplyTo(1), command }, CLOCK);
        self.seal();
        let effects = self.turn.committed(self.turn.position());
        let answer = |effect| match effect {
            Effect::Reply { reply_to: ReplyTo(1), answer } => Some(answer),
            _ => None,
        };
        effects.into_iter().find_map(answer).expect("it is answered at once")
    }

    /// Declares a queue of messages.
    pub(super) fn declare(&mut self, queue: &str, settings: MessageSettings) {
        let settings = MessageSettings { durable: true, ..settings };
        let declare = DeclareQueue { queue: queue.to_owned(), settings, connection: None };
        let command = MessageCommand::DeclareQueue(Box::new(declare));
        let answer = self.tell(Command::Messages(command));
        assert!(matches!(answer, Answer::Messages(MessageAnswer::Queue(..))), "{answer:?}");
    }

    /// The messages of a queue, each of which is taken.
    pub(super) fn take(&mut self, queue: &str) -> Vec<Message> {
        let (queue, lease_ms) = (queue.to_owned(), None);
        let lease = LeaseMessages { queue, max: 100, wait_ms: 0, lease_ms, auto_ack: true };
        match self.tell(Command::Messages(MessageCommand::Lease(Box::new(lease)))) {
            Answer::Messages(MessageAnswer::Leased(taken)) => {
                taken.into_iter().map(|it| Message::clone(&it.message)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn create(&mut self, partitions: u32) -> Result<Vec<PartitionId>, Rejection> {
        let (stream, settings) = ("s".to_owned(), StreamSettings::default());
        match self.ask(StreamCommand::Create { stream, partitions, settings })? {
            StreamAnswer::Stream(view) => Ok(view.partitions.iter().map(|(id, _)| *id).collect()),
            other => panic!("{other:?}"),
        }
    }

    fn append(
        &mut self,
        partition: PartitionId,
        events: u32,
        producer: Option<(u64, u32, u32)>,
    ) -> Result<Appended, AppendRefusal> {
        let producer = producer.map(|(id, epoch, sequence)| ProducerStamp { id, epoch, sequence });
        let batch = Bytes::from_static(b"any bytes");
        let batches = vec![AppendBatch {
            partition,
            events,
            producer,
            transactional: false,
            batch,
            keys: Vec::new(),
        }];
        match self.ask(StreamCommand::Append(batches)).unwrap() {
            StreamAnswer::Appended(mut results) => results.pop().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Appends so many events to a partition of the stream.
    pub(super) fn append_some(&mut self, partition: PartitionId, events: u32) {
        self.append(partition, events, None).unwrap();
    }

    fn base(&mut self, partition: PartitionId, producer: (u64, u32, u32)) -> (u64, bool) {
        let appended = self.append(partition, 2, Some(producer)).unwrap();
        (appended.base_offset, appended.replayed)
    }

    /// A new life from the journal, which finds the state that the last one left.
    pub(super) fn restart(&mut self) {
        let mut recovery = Recovery::begin(Map::new(), Position::START, Limits::tiny()).unwrap();
        for (position, entry) in (1..).zip(&self.journal) {
            recovery.replay(Position(position), entry).unwrap();
        }
        let replayed = recovery.take_stream_changes();
        assert_eq!(format!("{replayed:?}"), format!("{:?}", self.changes));
        let (replayed, alive) = (recovery.complete_map(), self.turn.complete_map());
        assert_eq!(replayed.entries(), alive.entries());
        self.turn = recovery.start(CLOCK, &["default"]);
        self.seal();
    }
}

#[test]
fn batches_of_a_partition_stand_one_after_the_other_across_restarts() {
    let mut bench = Bench::new();
    let partitions = bench.create(2).unwrap();
    for (partition, events, base) in [(0, 3, 0), (1, 1, 0), (0, 2, 3), (1, 5, 1)] {
        let appended = bench.append(partitions[partition], events, None).unwrap();
        assert_eq!((appended.base_offset, appended.start), (base, 0));
    }
    bench.restart();
    assert_eq!(bench.append(partitions[0], 1, None).unwrap().base_offset, 5);
    let entry = bench.journal.last().unwrap();
    let found = appends_of(entry).unwrap();
    assert!(
        matches!(&found[..], [StreamChange::Appended { base_offset: 5, batch, .. }]
            if batch[..] == *b"any bytes"),
        "{found:?}"
    );
}

#[test]
fn a_producers_batch_is_appended_once_and_in_its_order() {
    let mut bench = Bench::new();
    let partition = bench.create(1).unwrap()[0];
    assert_eq!(bench.base(partition, (7, 0, 0)), (0, false));
    assert_eq!(bench.base(partition, (7, 0, 2)), (2, false));
    assert_eq!(bench.base(partition, (7, 0, 0)), (0, true), "as it had been");
    bench.restart();
    assert_eq!(bench.base(partition, (7, 0, 2)), (2, true), "in the next life, too");
    let refused = bench.append(partition, 2, Some((7, 0, 6)));
    assert_eq!(refused, Err(AppendRefusal::SequenceOutOfOrder { found: 6 }));
    assert_eq!(bench.base(partition, (7, 1, 0)), (4, false), "a new epoch begins at 0");
    let refused = bench.append(partition, 2, Some((7, 0, 4)));
    assert_eq!(refused, Err(AppendRefusal::EpochPassed { found: 0, current: 1 }));
    assert_eq!(bench.base(partition, (8, 0, 2_147_483_646)), (6, false));
    assert_eq!(bench.base(partition, (8, 0, 0)), (8, false), "0 follows the last number");
}

#[test]
fn bounds_and_what_is_not_there_are_refused_by_name() {
    let mut bench = Bench::new();
    assert!(matches!(bench.create(5), Err(Rejection::ValueRefused { field: "partitions", .. })));
    let first = bench.create(3).unwrap();
    assert!(matches!(bench.create(1), Err(Rejection::StreamExists { .. })));
    let missing = bench.append(PartitionId(99), 1, None);
    assert_eq!(missing, Err(AppendRefusal::PartitionUnknown));
    let more = StreamCommand::AddPartitions { stream: "s".into(), partitions: 4 };
    let StreamAnswer::Stream(view) = bench.ask(more).unwrap() else { panic!() };
    assert_eq!(view.partitions.len(), 4);
    let delete = || StreamCommand::Delete { stream: "s".into() };
    assert!(matches!(bench.ask(delete()), Ok(StreamAnswer::Deleted)));
    assert!(matches!(bench.ask(delete()), Err(Rejection::StreamUnknown { .. })));
    assert_eq!(bench.append(first[0], 1, None), Err(AppendRefusal::PartitionUnknown));
    let again = bench.create(1).unwrap();
    assert!(again[0] > first[2], "the number of a partition is not used again");
    bench.restart();
}

#[test]
fn trimming_moves_the_beginning_forward_only() {
    let mut bench = Bench::new();
    let partition = bench.create(1).unwrap()[0];
    bench.append(partition, 10, None).unwrap();
    let mut trim = |start| match bench.ask(StreamCommand::Trim { partition, start }).unwrap() {
        StreamAnswer::Trimmed(start) => start,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        [trim(Some(4)), trim(Some(2)), trim(Some(11)), trim(None)],
        [Some(4), Some(4), None, Some(10)]
    );
    bench.restart();
    assert_eq!(bench.append(partition, 1, None).unwrap().start, 10);
}

#[test]
fn a_groups_offsets_outlive_a_restart_and_end_with_their_stream() {
    let mut bench = Bench::new();
    bench.create(2).unwrap();
    let committed = CommittedOffset { offset: 5, leader_epoch: Some(0), metadata: "m".into() };
    let of = |partition: u32, committed: &CommittedOffset| OffsetToCommit {
        stream: "s".into(),
        partition,
        committed: committed.clone(),
    };
    let long = CommittedOffset { metadata: "123456789".into(), ..committed.clone() };
    let offsets = vec![of(1, &committed), of(2, &committed), of(0, &long)];
    let commit = StreamCommand::CommitOffsets { group: "g".into(), offsets };
    let StreamAnswer::Committed(results) = bench.ask(commit).unwrap() else { panic!() };
    let refused = [OffsetRefusal::PartitionUnknown, OffsetRefusal::MetadataTooLarge].map(Err);
    assert_eq!(results, [&[Ok(())][..], &refused[..]].concat());
    bench.restart();
    let kept = |bench: &mut Bench, of| match bench
        .ask(StreamCommand::GetOffsets { group: "g".into(), of })
        .unwrap()
    {
        StreamAnswer::Offsets(offsets) => {
            offsets.into_iter().map(|it| (it.partition, it.committed)).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(kept(&mut bench, None), [(1, Some(committed.clone()))]);
    let asked = Some(vec![("s".to_owned(), vec![0, 1])]);
    assert_eq!(kept(&mut bench, asked), [(0, None), (1, Some(committed))]);
    bench.ask(StreamCommand::Delete { stream: "s".into() }).unwrap();
    bench.create(2).unwrap();
    assert_eq!(kept(&mut bench, Some(vec![("s".to_owned(), vec![1])])), [(1, None)]);
    let forget = StreamCommand::ForgetGroup { group: "g".into() };
    let answer = bench.ask(forget).unwrap();
    assert!(matches!(answer, StreamAnswer::GroupForgotten { offsets: 0, more: false }));
    bench.restart();
}

fn commit(bench: &mut Bench, group: &str, stream: &str, partitions: u32) {
    let committed = CommittedOffset { offset: 5, leader_epoch: None, metadata: String::new() };
    let stream: std::sync::Arc<str> = stream.into();
    let offset = |partition| OffsetToCommit {
        stream: stream.clone(),
        partition,
        committed: committed.clone(),
    };
    let offsets = (0..partitions).map(offset).collect();
    bench.ask(StreamCommand::CommitOffsets { group: group.into(), offsets }).unwrap();
}

fn kept_offsets(bench: &Bench) -> usize {
    let map = bench.turn.map().entries();
    map.keys().filter(|key| key.first() == Some(&crate::state::keys::GROUP_OFFSET)).count()
}

#[test]
fn a_name_of_a_group_that_is_too_long_is_refused_whatever_is_asked() {
    let mut bench = Bench::new();
    let long = || "g".repeat(70_000);
    let asks = [
        StreamCommand::GetOffsets { group: long(), of: None },
        StreamCommand::GetOffsets { group: long(), of: Some(Vec::new()) },
        StreamCommand::ForgetGroup { group: long() },
        StreamCommand::CommitOffsets { group: long(), offsets: Vec::new() },
    ];
    for ask in asks {
        let refused = bench.ask(ask);
        assert!(matches!(refused, Err(Rejection::ValueRefused { field: "group", .. })));
    }
}

#[test]
fn offsets_of_a_removed_stream_are_forgotten_in_slices() {
    let mut bench = Bench::new();
    bench.create(4).unwrap();
    for group in 0..6 {
        commit(&mut bench, &format!("g{group}"), "s", 4);
    }
    assert_eq!(kept_offsets(&bench), 24);
    bench.turn.tick(CLOCK);
    assert_eq!(kept_offsets(&bench), 24, "it is there");
    bench.ask(StreamCommand::Delete { stream: "s".into() }).unwrap();
    let mut left = vec![kept_offsets(&bench)];
    while left.last() != Some(&0) && left.len() < 10 {
        bench.turn.tick(CLOCK);
        bench.seal();
        left.push(kept_offsets(&bench));
    }
    assert_eq!(left, [24, 8, 0], "16 in one look");
    bench.restart();
}

const HOUR: u64 = 3_600_000;

/// So many hours after a start.
fn at(hours: u64) -> Clock {
    Clock { mono: MonoMs(5 + hours * HOUR), wall: TimeMs(1_000 + (100 + hours) * HOUR), random: 0 }
}

/// Offsets of the groups "old" and "used" from long before a start, kept for so long.
fn kept_for(offsets_ms: u64) -> Bench {
    let mut bench = Bench::new();
    bench.create(1).unwrap();
    for group in ["old", "used"] {
        commit(&mut bench, group, "s", 1);
    }
    let limits = Limits { offsets_ms: Some(offsets_ms), ..Limits::tiny() };
    let mut recovery = Recovery::begin(Map::new(), Position::START, limits).unwrap();
    for (position, entry) in (1..).zip(&bench.journal) {
        recovery.replay(Position(position), entry).unwrap();
    }
    recovery.take_stream_changes();
    bench.turn = recovery.start(at(0), &["default"]);
    bench.turn.tick(at(0));
    bench.seal();
    bench
}

/// The group has members.
fn used(bench: &mut Bench, hours: u64) {
    let command = Command::Stream(StreamCommand::GroupsUsed { groups: vec!["used".into()] });
    let namespace = "default".to_owned();
    bench.turn.submit(Request { namespace, reply_to: ReplyTo(1), command }, at(hours));
}

#[test]
fn offsets_of_groups_without_members_are_forgotten_by_age() {
    let mut bench = kept_for(24 * HOUR);
    used(&mut bench, 0);
    bench.turn.tick(at(23));
    assert_eq!(kept_offsets(&bench), 2, "it may have had members until the start");
    used(&mut bench, 23);
    bench.turn.tick(at(24));
    assert_eq!(kept_offsets(&bench), 1, "one has none");
    bench.turn.tick(at(46));
    assert_eq!(kept_offsets(&bench), 1, "it had members within a day");
    bench.turn.tick(at(47));
    assert_eq!(kept_offsets(&bench), 0);
}

/// Those of groups with members went where they are kept for less than it takes to be told again.
#[test]
fn offsets_that_are_kept_for_a_minute_stay_while_their_group_has_members() {
    let mut bench = kept_for(60_000);
    bench.turn.tick(at(1));
    assert_eq!(kept_offsets(&bench), 2);
    used(&mut bench, 2);
    bench.turn.tick(at(3));
    assert_eq!(kept_offsets(&bench), 1, "one has none");
    bench.turn.tick(at(4));
    assert_eq!(kept_offsets(&bench), 0, "it has none any more");
}

/// The content header of a message with this header.
fn with_header(name: &str, value: &str) -> Bytes {
    let mut table = vec![name.len() as u8];
    table.extend_from_slice(name.as_bytes());
    table.push(b'S');
    table.extend_from_slice(&(value.len() as u32).to_be_bytes());
    table.extend_from_slice(value.as_bytes());
    let mut header = b"\xa0\x00\x08text/csv".to_vec();
    header.extend_from_slice(&(table.len() as u32).to_be_bytes());
    header.extend(table);
    header.into()
}

fn publish(bench: &mut Bench, queue: &str, properties: Bytes) -> Answer {
    let message = crate::PublishMessage {
        routing_key: queue.to_owned(),
        properties,
        body: Bytes::from_static(b"1,2"),
        ..crate::PublishMessage::default()
    };
    bench.tell(Command::Messages(MessageCommand::Publish(vec![message])))
}

#[test]
fn what_is_published_to_a_queue_with_a_stream_is_an_event_with_its_headers() {
    let mut bench = Bench::new();
    let partitions = bench.create(2).unwrap();
    let settings =
        StreamSettings { ordering_header: Some("customer".into()), ..StreamSettings::default() };
    bench.ask(StreamCommand::Change { stream: "s".into(), settings }).unwrap();
    let stream = Some("s".to_owned());
    bench.declare("inbox", MessageSettings { stream, ..MessageSettings::default() });
    publish(&mut bench, "inbox", with_header("customer", "7"));
    publish(&mut bench, "inbox", with_header("other", "7"));
    let events = |bench: &Bench| -> Vec<_> {
        let event = |change: &StreamChange| match change {
            StreamChange::Published { partition, base_offset, headers, key, .. } => {
                let header = |(name, value): &(String, Option<Bytes>)| {
                    let value = value.as_deref().unwrap_or_default();
                    format!("{name}={}", String::from_utf8_lossy(value))
                };
                let headers: Vec<_> = headers.iter().map(header).collect();
                let key = String::from_utf8_lossy(key).into_owned();
                Some((*partition, *base_offset, key, headers.join(" ")))
            }
            _ => None,
        };
        bench.changes.iter().filter_map(event).collect()
    };
    let place = |key: &str| partitions[partition_of(key.as_bytes(), 2) as usize];
    let keyed = "exchange= routing-key=inbox content-type=text/csv customer=7".to_owned();
    let plain = "exchange= content-type=text/csv other=7".to_owned();
    let second = u64::from(place("7") == place("inbox"));
    let wanted = [
        (place("7"), 0, "7".to_owned(), keyed),
        (place("inbox"), second, "inbox".to_owned(), plain),
    ];
    assert_eq!(events(&bench), wanted);
    bench.restart();
    assert_eq!(bench.take("inbox").len(), 2);
    let entry = bench.journal.iter().rev().find(|entry| {
        appends_of(entry).is_ok_and(|found| matches!(found[..], [StreamChange::Published { .. }]))
    });
    assert!(entry.is_some(), "whoever reads the journal alone finds it as well");
    // What goes from queue to queue is no event once more, and without the stream nothing is.
    bench.ask(StreamCommand::Delete { stream: "s".into() }).unwrap();
    let published = publish(&mut bench, "inbox", Bytes::new());
    assert!(matches!(published, Answer::Messages(MessageAnswer::Published(_))));
    assert_eq!(events(&bench).len(), 2);
    let unknown = DeclareQueue {
        queue: "other".into(),
        settings: MessageSettings { stream: Some("none".into()), ..MessageSettings::default() },
        connection: None,
    };
    let refused = bench.tell(Command::Messages(MessageCommand::DeclareQueue(Box::new(unknown))));
    assert!(matches!(refused, Answer::Rejected(Rejection::StreamUnknown { .. })), "{refused:?}");
}
