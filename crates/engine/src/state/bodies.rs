//! Bodies: opaque bytes that entries carry, such as a job's args or what a message says. A body is
//! stored once, however many entries hold it, and goes with the last of them.
//!
//! | bytes              | where they stand                                                        |
//! | ------------------ | ----------------------------------------------------------------------- |
//! | small, few holders | in each holder's own value ([`Body::Inline`])                           |
//! | otherwise          | under a key of their own ([`Body::Stored`]), which is written once:     |
//! |                    | from 32 KiB on the store keeps it in a body file                        |
//!
//! Beside a stored body stands how many hold it, where that is more than one: a body with one
//! holder, as those of nearly all jobs, costs no count. Counts are durable and changed by `apply`
//! alone, so they are exact at every position; a body that is let go more often than it was held
//! is a bug and says so.
//!
//! For a new kind of entry: `apply` of what brings entries in calls [`State::store_body`] with the
//! number of those that will hold it and gives each of them a clone of the [`Body`] that it
//! answers; `apply` of what ends an entry calls [`State::release_body`], once for each, inline or
//! not. An entry that moves (to another queue, to a dead set) still holds it and calls neither. The
//! bytes are read with [`State::body`].

use bytes::Bytes;

use super::{State, keys};
use crate::ids::BodyId;
use crate::job::{Body, INLINE_BODY_BYTES_MAX};

/// Bytes that copies of one body may take beside the first: below that a key and a count of its own
/// cost more than they save.
const COPIES_BYTES_MAX: usize = 1024;

impl State {
    /// The bytes of a body. A body that is not there means damage: nothing is handed out with
    /// other bytes than its own.
    pub(crate) fn body(&self, body: &Body) -> Bytes {
        match body {
            Body::Inline { bytes } => bytes.clone(),
            Body::Stored { id, .. } => {
                let found = self.get(&keys::body(*id));
                found.unwrap_or_else(|| panic!("body {id} is missing in the state"))
            }
        }
    }

    /// Keeps a body that so many entries hold, one at least.
    pub(crate) fn store_body(&mut self, bytes: Bytes, holders: u32) -> Body {
        assert!(holders > 0, "a body that nobody holds");
        let copies_bytes = bytes.len().saturating_mul(holders as usize - 1);
        if bytes.len() <= INLINE_BODY_BYTES_MAX && copies_bytes <= COPIES_BYTES_MAX {
            return Body::Inline { bytes };
        }
        let id = self.meta.next_body;
        self.meta_mut().next_body.0 += 1;
        let length = bytes.len() as u64;
        self.put_bytes(&keys::body(id), &bytes);
        self.set_holders(id, holders);
        Body::Stored { id, length }
    }

    /// An entry that held the body has ended.
    pub(crate) fn release_body(&mut self, body: &Body) {
        let Body::Stored { id, .. } = body else { return };
        let holders = self.holders(*id);
        if holders > 1 {
            return self.set_holders(*id, holders - 1);
        }
        let key = keys::body(*id);
        assert!(self.get(&key).is_some(), "body {id} is let go by more than hold it");
        self.remove(&key);
    }

    fn holders(&self, id: BodyId) -> u32 {
        let shared = || self.value(&keys::body_holders(id));
        self.has_had(keys::BODY_HOLDERS).then(shared).flatten().unwrap_or(1)
    }

    fn set_holders(&mut self, id: BodyId, holders: u32) {
        let key = keys::body_holders(id);
        if holders > 1 {
            self.note_rare(keys::BODY_HOLDERS);
            self.put(&key, &holders);
        } else if self.has_had(keys::BODY_HOLDERS) && self.get(&key).is_some() {
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::Position;
    use crate::limits::Limits;

    type Map = BTreeMap<Vec<u8>, Bytes>;

    fn state(map: Map) -> State {
        State::load(Box::new(map), Position::START, Limits::default()).unwrap()
    }

    /// The keys of bodies and of their counts.
    fn kept(state: &State) -> Vec<u8> {
        let first = state.map().entries().keys().filter_map(|key| key.first().copied());
        first.filter(|first| [keys::BODY, keys::BODY_HOLDERS].contains(first)).collect()
    }

    #[test]
    fn a_body_stands_once_and_goes_with_the_last_who_holds_it() {
        let mut state = state(Map::new());
        let bytes = Bytes::from(vec![7; 5000]);
        let body = state.store_body(bytes.clone(), 4);
        assert_eq!(kept(&state), [keys::BODY, keys::BODY_HOLDERS]);
        state.release_body(&body);
        // Counts outlast a start.
        let mut state = self::state(state.map().entries().clone());
        for _ in 0..2 {
            assert_eq!(state.body(&body), bytes);
            state.release_body(&body);
        }
        assert_eq!(kept(&state), [keys::BODY], "one holder needs no count");
        assert_eq!(state.body(&body), bytes);
        state.release_body(&body);
        assert_eq!(kept(&state), []);
    }

    #[test]
    fn a_body_stands_apart_where_it_is_large_or_its_copies_would_be() {
        let mut state = state(Map::new());
        let mut is_apart = |length: usize, holders| {
            let body = state.store_body(vec![7; length].into(), holders);
            matches!(body, Body::Stored { .. })
        };
        let cases = [(4096, 1), (4097, 1), (100, 11), (100, 12), (0, 1000), (1024, 2), (1025, 2)];
        let apart = cases.map(|(length, holders)| is_apart(length, holders));
        assert_eq!(apart, [false, true, false, true, false, false, true]);
    }

    #[test]
    #[should_panic(expected = "body 1 is let go by more than hold it")]
    fn a_body_let_go_too_often_is_a_fault() {
        let mut state = state(Map::new());
        let body = state.store_body(vec![7; 5000].into(), 2);
        (0..3).for_each(|_| state.release_body(&body));
    }
}
