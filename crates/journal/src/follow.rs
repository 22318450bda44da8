//! Following a journal from another thread: its durable groups, one after the other, each frame
//! checked again. It goes on from where it was, and never reads what is not durable.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, Bytes};
use longshore_engine::Position;

use crate::ReadError;
use crate::group::take_entry;
use crate::prepare::Room;
use crate::read::{Cursor, ReadGroup, ReadableSegment};
use crate::segment::SEGMENT_HEADER_BYTES;

/// The segments of an open journal as those who follow it see them.
#[derive(Debug, Default)]
pub(crate) struct Row {
    segments: Mutex<VecDeque<Seen>>,
}

/// A segment with entries, or the one that is appended to.
#[derive(Clone, Debug)]
struct Seen {
    sequence: u64,
    segment: ReadableSegment,
    /// Where its frames end.
    end: u64,
}

impl Row {
    pub(crate) fn push(&self, sequence: u64, segment: ReadableSegment, end: u64) {
        self.lock().push_back(Seen { sequence, segment, end });
    }

    /// The last segment ends there now.
    pub(crate) fn appended(&self, last: Position, end: u64) {
        if let Some(seen) = self.lock().back_mut() {
            (seen.segment.last, seen.end) = (last, end);
        }
    }

    /// To be called before the segment's file is removed.
    pub(crate) fn drop(&self, sequence: u64) {
        self.lock().retain(|seen| seen.sequence != sequence);
    }

    /// The segment that has or will have the entry at `next`, or the first position that is there.
    fn find(&self, next: Position) -> Result<Option<Seen>, Position> {
        let row = self.lock();
        let first = row.front().map_or(next, |seen| seen.segment.first);
        if next < first {
            return Err(first);
        }
        Ok(row.iter().find(|seen| seen.segment.last >= next).cloned())
    }

    fn lag_bytes(&self, next: Position, at: Option<(u64, u64)>) -> u64 {
        let row = self.lock();
        let ahead = row.iter().filter(|seen| seen.segment.last >= next);
        ahead
            .map(|seen| match at {
                Some((sequence, offset)) if sequence == seen.sequence => {
                    seen.end.saturating_sub(offset)
                }
                _ => seen.end.saturating_sub(SEGMENT_HEADER_BYTES),
            })
            .sum()
    }

    /// No code between lock and unlock panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, VecDeque<Seen>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Follows the journal from `from` on. Nothing keeps what it has not read yet from being given
    /// back.
    pub fn follow(&self, from: Position) -> Follow {
        Follow { room: self.clone(), next: from.max(Position(1)), at: None }
    }

    /// The first position that is there, where the journal has entries or had some.
    pub fn first(&self) -> Option<Position> {
        self.row().lock().front().map(|seen| seen.segment.first)
    }
}

/// Somebody who reads an open journal as it grows.
pub struct Follow {
    room: Room,
    next: Position,
    at: Option<(u64, Cursor)>,
}

/// Entries at consecutive positions, each with its length before it as in a `Group`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Followed {
    /// Position of the first.
    pub first: Position,
    /// How many there are, one at least.
    pub count: u32,
    /// The entries.
    pub bytes: Bytes,
}

impl Followed {
    /// Position of the last.
    pub fn last(&self) -> Position {
        Position(self.first.0 + u64::from(self.count) - 1)
    }
}

impl Follow {
    /// Position of the entry that comes next.
    pub fn next(&self) -> Position {
        self.next
    }

    /// Bytes of the journal that were not read, about: what is known of its first segments is their
    /// length.
    pub fn lag_bytes(&self) -> u64 {
        let at = self.at.as_ref().map(|(sequence, cursor)| (*sequence, cursor.offset()));
        self.room.row().lag_bytes(self.next, at)
    }

    /// The next entries, as many as were committed together; `None` where no more are durable.
    /// [`ReadError::Truncated`] where they were given back.
    pub fn read(&mut self) -> Result<Option<Followed>, ReadError> {
        let truncated = |first| ReadError::Truncated { asked: self.next, first };
        let Some(seen) = self.room.row().find(self.next).map_err(truncated)? else {
            return Ok(None);
        };
        let cursor = match &mut self.at {
            Some((sequence, cursor)) if *sequence == seen.sequence => {
                cursor.set_last(seen.segment.last);
                cursor
            }
            at => &mut at.insert((seen.sequence, Cursor::new(seen.segment))).1,
        };
        while !cursor.is_at_end() {
            match cursor.read_group(self.next) {
                Ok(Some(group)) => {
                    let group = cut(group, self.next);
                    self.next = group.last().next();
                    return Ok(Some(group));
                }
                Ok(None) => {}
                Err(error) => {
                    self.at = None;
                    return Err(error);
                }
            }
        }
        Ok(None)
    }
}

impl fmt::Debug for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("next", &self.next).finish_non_exhaustive()
    }
}

/// Leaves out the entries before `from`, of which the group has some at most.
fn cut(group: ReadGroup, from: Position) -> Followed {
    let ReadGroup { mut first, mut count, mut bytes } = group;
    while first < from && count > 1 && bytes.has_remaining() && take_entry(&mut bytes).is_some() {
        (first, count) = (first.next(), count - 1);
    }
    Followed { first, count, bytes }
}
