//! The engine under test, with a journal of which the end may be lost.

use std::collections::BTreeMap;

use bytes::Bytes;
use longshore_engine::wire::Wire;
use longshore_engine::{
    Clock, Command, Effect, Entry, Limits, MessageCommand, MonoMs, OrderedMap, Position, Recovery,
    ReplyTo, Request, TimeMs, Turn,
};

type Map = BTreeMap<Vec<u8>, Bytes>;

/// The entries of the map that a shard has here.
fn entries(map: &dyn OrderedMap) -> &Map {
    map.downcast_ref().expect("the map that it began with")
}

pub(crate) struct Shard {
    turn: Turn,
    journal: Vec<Bytes>,
    /// The state at an earlier position that was durable.
    image: (Position, Map),
    limits: Limits,
    pub(crate) clock: Clock,
    next_reply: u64,
}

impl Shard {
    pub(crate) fn new() -> Self {
        let limits = Limits { slice_items_max: 3, ..Limits::default() };
        let clock = Clock { wall: TimeMs(1_000_000), mono: MonoMs(0), random: 0 };
        let image = (Position::START, Map::new());
        let recovery = Recovery::begin(Map::new(), Position::START, limits.clone()).unwrap();
        let turn = recovery.start(clock, &["default"]);
        let mut shard = Self { turn, journal: Vec::new(), image, limits, clock, next_reply: 1 };
        shard.seal();
        shard
    }

    pub(crate) fn submit(&mut self, command: MessageCommand) -> ReplyTo {
        let reply_to = ReplyTo(self.next_reply);
        self.next_reply += 1;
        let (namespace, command) = ("default".to_owned(), Command::Messages(command));
        self.turn.submit(Request { namespace, reply_to, command }, self.clock);
        self.seal();
        reply_to
    }

    pub(crate) fn tick(&mut self) -> bool {
        let more = self.turn.tick(self.clock);
        self.seal();
        more
    }

    pub(crate) fn advance(&mut self, ms: u64) {
        self.clock.wall = self.clock.wall.plus(ms);
        self.clock.mono = self.clock.mono.plus(ms);
    }

    fn seal(&mut self) {
        let Some(group) = self.turn.seal() else { return };
        let bytes = group.bytes.to_bytes();
        let mut rest = &bytes[..];
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (entry, after) = after.split_at(u32::from_le_bytes(*length) as usize);
            self.journal.push(Bytes::copy_from_slice(entry));
            rest = after;
        }
        assert_eq!(self.journal.len() as u64, group.last().0);
    }

    pub(crate) fn durable(&self) -> u64 {
        self.turn.durable().0
    }

    pub(crate) fn decided(&self) -> u64 {
        self.turn.position().0
    }

    /// All up to there is on disk.
    pub(crate) fn commit(&mut self, durable: u64) -> Vec<Effect> {
        self.turn.committed(Position(durable))
    }

    /// Leaves an image of the state, where all of it is durable.
    pub(crate) fn flush(&mut self) {
        if self.turn.durable() == self.turn.position() {
            self.image = (self.turn.position(), entries(self.turn.complete_map()).clone());
        }
    }

    /// Keys of messages, of bodies and of how many hold these.
    pub(crate) fn message_keys(&mut self) -> usize {
        let firsts = [100, 101, 102, 108, 15, 170];
        let keys = entries(self.turn.complete_map()).keys();
        keys.filter(|key| key.first().is_some_and(|first| firsts.contains(first))).count()
    }

    /// A new life with what was durable, from the image and from the journal alone. `skips` entries
    /// of the journal's end are lost on top.
    pub(crate) fn crash(&mut self, skips: usize) {
        let kept = (self.durable() as usize).saturating_sub(skips);
        let kept = kept.max(self.image.0.0 as usize);
        self.journal.truncate(kept);
        let mut whole = self.replay(Map::new(), Position::START);
        let mut recovery = self.replay(self.image.1.clone(), self.image.0);
        let (replayed, from_image) = (whole.complete_map(), recovery.complete_map());
        assert!(entries(replayed) == entries(from_image), "an image gives the same state");
        self.turn = recovery.start(self.clock, &["default"]);
        self.seal();
    }

    fn replay(&self, map: Map, from: Position) -> Recovery {
        let mut recovery = Recovery::begin(map, from, self.limits.clone()).unwrap();
        for (index, entry) in self.journal.iter().enumerate().skip(from.0 as usize) {
            let decoded = Entry::from_bytes(entry).unwrap();
            assert_eq!(decoded.to_bytes(), *entry, "an entry has one encoding");
            recovery.replay(Position(index as u64 + 1), entry).unwrap();
        }
        recovery
    }
}
