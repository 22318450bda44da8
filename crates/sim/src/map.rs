//! The ordered map under the engine: in memory, with the position that it is at, so that a flush
//! can leave an image of it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use bytes::Bytes;
use longshore_engine::{OrderedMap, Position, Reader};

pub(crate) type Entries = BTreeMap<Vec<u8>, Bytes>;

/// The state at one position. As the state tree on disk it outlives the process.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SimMap {
    /// Of the last group that ended.
    pub(crate) position: Position,
    pub(crate) entries: Entries,
}

impl Reader for SimMap {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        Reader::get(&self.entries, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        self.entries.scan(from, to, visit);
    }
}

impl OrderedMap for SimMap {
    fn put(&mut self, position: Position, key: &[u8], value: Option<&[u8]>) {
        assert!(position >= self.position, "put at {position} after {}", self.position);
        self.entries.put(position, key, value);
    }

    fn seal(&mut self, position: Position) {
        assert!(position >= self.position, "sealed at {position} after {}", self.position);
        self.position = position;
    }
}
