//! Lines of jobs that name a key of a limit: one line per lane and key. The first of a line stands
//! in its lane unless the key is spent; the others wait behind it, in the order of the lane.

use std::ops::ControlFlow;

use super::{JobLimit, LimitKey, LimitScope};
use crate::ids::{JobId, NamespaceId};
use crate::queueing::{LaneId, Slot};
use crate::state::{State, keys};

/// A line: a lane and a key of a limit.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    ns: NamespaceId,
    lane: LaneId,
    of: LimitKey,
}

impl Line {
    pub(crate) fn of(ns: NamespaceId, lane: LaneId, limit: &JobLimit) -> Self {
        Self { ns, lane, of: LimitKey::new(ns, &limit.name, &limit.key) }
    }

    fn names(&self) -> (&str, &str) {
        (&self.of.name, &self.of.key)
    }

    fn head(&self) -> Vec<u8> {
        keys::limit_line(self.ns, self.names(), self.lane)
    }

    fn entry(&self, slot: Slot) -> Vec<u8> {
        keys::limited(self.ns, self.lane, self.names(), slot)
    }

    fn end(&self) -> Vec<u8> {
        keys::after_prefix(&keys::limited_prefix(self.ns, self.lane, self.names()))
    }
}

impl State {
    /// A job comes into its line.
    pub(crate) fn enter_line(&mut self, line: &Line, slot: Slot, id: JobId) {
        self.settle_asked(&line.of);
        self.put(&line.entry(slot), &id);
        let head: Option<Slot> = self.value(&line.head());
        if head.is_some_and(|head| head < slot) {
            return;
        }
        self.put(&line.head(), &slot);
        if !self.is_spent_key(&line.of) {
            if let Some(head) = head {
                self.remove_from_lane(line.ns, line.lane, head);
            }
            self.put_in_lane(line.ns, line.lane, slot, id);
        }
    }

    /// Whether nothing is left of a key that jobs name. A limit of another scope, of the same name,
    /// counts keys of its own, which hold no line back.
    pub(super) fn is_spent_key(&self, of: &LimitKey) -> bool {
        let scope = self.limiting.scope_of(of.ns, &of.name);
        matches!(scope, Some(LimitScope::Key)) && self.get(&of.spent()).is_some()
    }

    /// A job leaves its line; if it was the first, the next one comes forward.
    pub(crate) fn leave_line(&mut self, line: &Line, slot: Slot) {
        let own = line.entry(slot);
        self.remove(&own);
        let head: Option<Slot> = self.value(&line.head());
        if head != Some(slot) {
            return;
        }
        let open = !self.is_spent_key(&line.of);
        if open {
            self.remove_from_lane(line.ns, line.lane, slot);
        }
        let Some((key, id)) = self.first(&keys::after(&own), &line.end()) else {
            return self.remove(&line.head());
        };
        let next = keys::slot_at_end(&key);
        self.put(&line.head(), &next);
        if open {
            let id = keys::id_at(&id, 0).expect("ids were encoded by this engine");
            self.put_in_lane(line.ns, line.lane, next, id);
        }
    }

    /// The first of each line of a key goes out of its lane, or comes forward to it.
    pub(super) fn turn_lines(&mut self, of: &LimitKey, open: bool) {
        for (line, slot) in self.lines(of) {
            if open {
                let id = self.value(&line.entry(slot)).expect("a line has a first job");
                self.put_in_lane(of.ns, line.lane, slot, id);
                self.note_fresh([line.lane.queue]);
            } else {
                self.remove_from_lane(of.ns, line.lane, slot);
            }
        }
    }

    /// The lanes in which a key has lines.
    pub(super) fn lanes_of_lines(&self, of: &LimitKey) -> Vec<LaneId> {
        self.lines(of).into_iter().map(|(line, _)| line.lane).collect()
    }

    fn lines(&self, of: &LimitKey) -> Vec<(Line, Slot)> {
        let prefix = keys::limit_lines(of.ns, &of.name, &of.key);
        let mut lines = Vec::new();
        self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, value| {
            let at = prefix.len();
            let slot = crate::wire::Wire::from_bytes(value);
            let line = keys::lane_at(key, at).map(|lane| Line { ns: of.ns, lane, of: of.clone() });
            let line = line.zip(slot.ok());
            lines.push(line.unwrap_or_else(|| panic!("key {key:02x?} in the state is no line's")));
            ControlFlow::Continue(())
        });
        lines
    }
}
