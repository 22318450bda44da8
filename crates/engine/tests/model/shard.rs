//! The engine under test, with a journal that is a list and a disk that is instant.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_engine::wire::Wire;
use longshore_engine::{
    Answer, Clock, ConsumerId, Delivery, Effect, Entry, Limits, OrderedMap, Position, Recovery,
    ReplyTo, Request, StreamChange, TimeMs, Turn, appends_of,
};

/// Who was answered what, and which consumer was handed what.
pub(crate) type Answered = Vec<(ReplyTo, Answer)>;
pub(crate) type Delivered = Vec<(ConsumerId, Vec<Delivery>)>;

pub(crate) type Map = BTreeMap<Vec<u8>, Bytes>;

/// The entries of the map that a shard has here.
pub(crate) fn entries(map: &dyn OrderedMap) -> &Map {
    map.downcast_ref().expect("the map that it began with")
}

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) turn: Turn,
    journal: Vec<Bytes>,
    /// What the entries changed of streams, with the position of the last entry of their group.
    changes: Vec<(Position, StreamChange)>,
    /// The state at an earlier position, as a flush would have left it.
    image: (Position, Map),
    limits: Limits,
}

impl Shard {
    pub(crate) fn new(limits: Limits, clock: Clock) -> Self {
        let image = (Position::START, Map::new());
        let recovery = Recovery::begin(Map::new(), Position::START, limits.clone())
            .expect("an empty state has no level");
        let turn = recovery.start(clock, &["default"]);
        let mut shard = Self { turn, journal: Vec::new(), changes: Vec::new(), image, limits };
        shard.seal();
        shard
    }

    pub(crate) fn submit(&mut self, request: Request, clock: Clock) {
        self.turn.submit(request, clock);
        self.seal();
    }

    pub(crate) fn tick(&mut self, clock: Clock) -> bool {
        let more = self.turn.tick(clock);
        self.seal();
        more
    }

    pub(crate) fn seal(&mut self) {
        let Some(group) = self.turn.seal() else { return };
        assert_eq!(group.first.0, self.journal.len() as u64 + 1, "groups follow one another");
        let bytes = group.bytes.to_bytes();
        let mut rest = &bytes[..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (entry, after) = after.split_at(u32::from_le_bytes(*length) as usize);
            self.journal.push(Bytes::copy_from_slice(entry));
            rest = after;
        }
        let last = group.last();
        assert_eq!(self.journal.len() as u64, last.0);
        self.changes.extend(group.stream_changes.into_iter().map(|change| (last, change)));
    }

    /// What was answered, and what was delivered.
    pub(crate) fn effects(&mut self) -> (Answered, Delivered) {
        let (mut answers, mut deliveries) = (Vec::new(), Vec::new());
        for effect in self.turn.committed(self.turn.position()) {
            match effect {
                Effect::Reply { reply_to, answer } => answers.push((reply_to, answer)),
                Effect::Deliver { consumer, jobs } => deliveries.push((consumer, jobs)),
                // Messages have a model of their own: `tests/messages`.
                Effect::DeliverMessages { .. } | Effect::Close { .. } => {}
            }
        }
        (answers, deliveries)
    }

    /// The time of the last entry.
    pub(crate) fn engine_time(&self) -> TimeMs {
        let last = self.journal.last().expect("a life begins with an entry");
        Entry::from_bytes(last).expect("the engine wrote it").at
    }

    /// Leaves an image of the state as it is now.
    pub(crate) fn flush(&mut self) {
        self.image = (self.turn.position(), entries(self.turn.complete_map()).clone());
    }

    fn replay(&self, map: Map, from: Position) -> Recovery {
        let mut recovery =
            Recovery::begin(map, from, self.limits.clone()).expect("the engine wrote it");
        for (index, entry) in self.journal.iter().enumerate().skip(from.0 as usize) {
            recovery.replay(Position(index as u64 + 1), entry).expect("the engine wrote it");
        }
        recovery
    }

    /// A new life from the image and the journal after it, or from the journal alone.
    pub(crate) fn restart(&mut self, whole: bool, clock: Clock) {
        let (persisted, map) =
            if whole { (Position::START, Map::new()) } else { self.image.clone() };
        let mut recovery = self.replay(map, persisted);
        assert_eq!(recovery.position(), self.turn.position());
        // Whoever keeps the events is told the same by a replay, and by the entries alone.
        let after = |(position, _): &&(Position, StreamChange)| *position > persisted;
        let changes: Vec<_> = self.changes.iter().filter(after).map(|(_, it)| it).collect();
        let again = recovery.take_stream_changes();
        assert_eq!(format!("{again:?}"), format!("{changes:?}"), "changes of streams");
        let appends = self.changes.iter().map(|(_, change)| change);
        let appends: Vec<_> =
            appends.filter(|it| matches!(it, StreamChange::Appended { .. })).collect();
        let journal = self.journal.iter();
        let found: Vec<_> = journal.flat_map(|it| appends_of(it).expect("it decodes")).collect();
        assert_eq!(format!("{found:?}"), format!("{appends:?}"), "batches in the journal");
        let (alive, replayed) = (self.turn.complete_map(), recovery.complete_map());
        let (alive, replayed) = (entries(alive), entries(replayed));
        for (key, value) in alive {
            assert_eq!(replayed.get(key), Some(value), "key {key:02x?} after replay");
        }
        assert_eq!(replayed.len(), alive.len(), "replay gives the same state");
        self.turn = recovery.start(clock, &["default"]);
        self.seal();
    }
}
