//! How many events a queue that was full is brought at a time, and when. It is asked with fewer
//! until some fit, and rests the longer the more often it had room for none. Who fills it stands in
//! a line, partitions of streams for their triggers, so that each gets of what little room there
//! is. It knows no queue.

use std::time::Duration;

use tokio::time::Instant;

/// How long a queue is left alone that has no room for a single event: at first, and at most.
const REST_MIN: Duration = Duration::from_millis(250);
const REST_MAX: Duration = Duration::from_secs(2);
/// After so long without an event nothing is known of it any more.
const KEPT: Duration = Duration::from_secs(60);

/// What is known of the room in a queue.
#[derive(Debug)]
pub(super) struct Room {
    /// So many events are brought at a time.
    most: usize,
    rest: Duration,
    until: Instant,
    /// Who is the next in the line: behind who filled it last.
    turn: usize,
}

impl Room {
    /// A queue that did not take so many events of who stands at that place in its line.
    pub(super) fn of_full(events: usize, place: usize, now: Instant) -> Self {
        let mut room = Self { most: events, rest: Duration::ZERO, until: now, turn: place + 1 };
        room.refused(events, now);
        room
    }

    /// So many events are brought at a time.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// The places of a line of `count`, whoever is the next first.
    pub(super) fn order(room: Option<&Self>, count: usize) -> impl Iterator<Item = usize> + use<> {
        let begin = room.map_or(0, |room| room.turn % count.max(1));
        (begin..count).chain(0..begin)
    }

    /// Whether the queue is left alone.
    pub(super) fn rests(&self, now: Instant) -> bool {
        self.until > now
    }

    /// The queue took so many of who stands at that place. Whether it is one like any other again
    /// that takes `max` at a time.
    pub(super) fn took(&mut self, events: usize, place: usize, max: usize) -> bool {
        if events == 0 {
            // It was not asked.
            return false;
        }
        self.turn = place + 1;
        self.most = self.most.max(events.saturating_mul(2)).min(max);
        self.rest = Duration::ZERO;
        self.most == max
    }

    /// The queue did not take so many: fewer come next, or it is left alone for a while.
    pub(super) fn refused(&mut self, events: usize, now: Instant) {
        self.most = (events / 2).max(1);
        if events <= 1 {
            self.rest = (self.rest * 2).clamp(REST_MIN, REST_MAX);
        }
        self.until = if events <= 1 { now + self.rest } else { now };
    }

    /// Whether nobody brought it anything for long.
    pub(super) fn is_old(&self, now: Instant) -> bool {
        now > self.until + KEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 256;
    const LINE: usize = 3;

    /// A queue with so much room, and what is known of it. Three stand in its line.
    struct Queue {
        room: usize,
        /// How many it took of each.
        took: [usize; LINE],
        known: Option<Room>,
        now: Instant,
        asked: usize,
    }

    impl Queue {
        fn new(room: usize) -> Self {
            Self { room, took: [0; LINE], known: None, now: Instant::now(), asked: 0 }
        }

        /// Has each in turn bring it events until it has no room, or is left alone.
        fn round(&mut self) {
            for place in Room::order(self.known.as_ref(), LINE) {
                self.bring(place);
            }
        }

        fn bring(&mut self, place: usize) {
            while !self.known.as_ref().is_some_and(|known| known.rests(self.now)) {
                let events = self.known.as_ref().map_or(MAX, Room::most);
                self.asked += 1;
                if events <= self.room {
                    self.room -= events;
                    self.took[place] += events;
                    if self.known.as_mut().is_none_or(|known| known.took(events, place, MAX)) {
                        self.known = None;
                    }
                } else {
                    match &mut self.known {
                        Some(known) => known.refused(events, self.now),
                        None => self.known = Some(Room::of_full(events, place, self.now)),
                    }
                }
            }
        }

        fn rounds(&mut self, millis: u64) {
            for _ in 0..millis / 50 {
                self.now += Duration::from_millis(50);
                self.round();
            }
        }
    }

    #[test]
    fn a_queue_that_stays_full_is_asked_less_and_less() {
        let mut queue = Queue::new(0);
        queue.rounds(2_000);
        assert!(queue.asked < 15, "{} at first", queue.asked);
        queue.asked = 0;
        queue.rounds(60_000);
        assert!((25..=31).contains(&queue.asked), "{} in a minute", queue.asked);
    }

    #[test]
    fn offsets_without_events_leave_a_full_queue_alone() {
        let mut queue = Queue::new(0);
        for _ in 0..200 {
            queue.rounds(50);
            if let Some(known) = &mut queue.known {
                assert!(!known.took(0, 0, MAX));
            }
        }
        assert!(queue.asked < 20, "{} in ten seconds", queue.asked);
    }

    /// The turn moved on whenever there was no room, so those had all of it who were the next when
    /// there was some again.
    #[test]
    fn each_has_its_turn_at_a_queue_that_stays_full() {
        for refusals in 0..2 * LINE {
            let mut queue = Queue::new(0);
            queue.round();
            for _ in 0..6 * LINE {
                for room in (0..refusals).map(|_| 0).chain([1]) {
                    (queue.now, queue.room) = (queue.now + REST_MAX, room);
                    queue.round();
                }
            }
            assert_eq!(queue.took, [6; LINE], "after {refusals} rounds without room each");
        }
        assert_eq!(Room::order(None, 3).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(Room::order(None, 0).count(), 0);
    }

    #[test]
    fn all_of_its_room_is_filled() {
        let mut queue = Queue::new(100);
        queue.rounds(1_000);
        assert_eq!(queue.room, 0);
        queue.rounds(60_000);
        for room in [1, 7, 1_000] {
            (queue.room, queue.asked) = (room, 0);
            queue.rounds(2_000);
            assert_eq!(queue.room, 0);
            assert!(queue.asked < 40, "{} for {room}", queue.asked);
        }
        queue.room = usize::MAX / 2;
        (queue.now, queue.asked) = (queue.now + REST_MAX, 0);
        while queue.known.is_some() && queue.asked < 100 {
            let events = queue.known.as_ref().map_or(MAX, Room::most);
            queue.asked += 1;
            if queue.known.as_mut().is_some_and(|known| known.took(events, 0, MAX)) {
                queue.known = None;
            }
        }
        assert!(queue.asked < 10, "it is like any other again after {}", queue.asked);
    }
}
