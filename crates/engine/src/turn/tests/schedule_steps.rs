//! What a tick of a schedule costs follows from what is due, not from how many schedules there are.
//! Steps are counted, so that no machine is too slow for it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::map::{OrderedMap, Reader};
use crate::schedule::{JobTemplate, NewSchedule, ScheduleCommand, Spec};

/// A map that counts the entries that it is asked for.
#[derive(Debug, Default)]
struct Counting {
    map: Map,
    looks: Arc<AtomicU64>,
}

impl Reader for Counting {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        Reader::get(&self.map, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        self.looks.fetch_add(1, Ordering::Relaxed);
        self.map.scan(from, to, &mut |key, value| {
            self.looks.fetch_add(1, Ordering::Relaxed);
            visit(key, value)
        });
    }
}

impl OrderedMap for Counting {
    fn put(&mut self, position: Position, key: &[u8], value: Option<&[u8]>) {
        self.map.put(position, key, value);
    }

    fn seal(&mut self, _position: Position) {}
}

/// Looks at the map in which three schedules fire that are due, beside `others` that are not.
fn looks_beside(others: u32) -> u64 {
    let (map, clock) =
        (Counting::default(), Clock { wall: TimeMs(1_000_000), mono: MonoMs(0), random: 0 });
    let looks = Arc::clone(&map.looks);
    let recovery = Recovery::begin(map, Position::START, Limits::default()).unwrap();
    let mut turn = recovery.start(clock, &["default"]);
    let put = |turn: &mut Turn, name: String, period_ms: u64| {
        let job = JobTemplate::of("q".to_owned(), job(1));
        let settings = Box::new(NewSchedule::new(Spec::Every { period_ms }, job));
        let command = ScheduleCommand::Put { settings, paused: None };
        let command = Command::OfSchedule { name, command };
        let request = Request { namespace: "default".to_owned(), reply_to: ReplyTo(1), command };
        turn.submit(request, clock);
        turn.seal();
        let position = turn.position();
        turn.committed(position);
    };
    for n in 0..others {
        put(&mut turn, format!("other-{n}"), 3_600_000 + u64::from(n));
    }
    for n in 0..3 {
        put(&mut turn, format!("due-{n}"), 60_000);
    }
    let due = Clock { wall: clock.wall.plus(60_000), mono: clock.mono.plus(60_000), random: 0 };
    let before = looks.load(Ordering::Relaxed);
    while turn.tick(due) {}
    assert_eq!(turn.state.meta.schedules.enqueued, 3);
    looks.load(Ordering::Relaxed) - before
}

#[test]
fn schedules_that_are_not_due_cost_a_tick_nothing() {
    let (few, many) = (looks_beside(10), looks_beside(5_000));
    assert!(many <= few + 3, "{few} looks beside 10 others, {many} beside 5000");
}
