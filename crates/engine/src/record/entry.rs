//! What the journal calls an entry: the records of one command.

use bytes::Bytes;

use super::Record;
use crate::ids::TimeMs;
use crate::level::LEVEL;
use crate::rope::Rope;
use crate::wire::{Input, Malformed, Wire};

/// The records of one command, at one instant: what the journal calls an entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Engine time; never less than that of the entry before.
    pub at: TimeMs,
    /// What happened, in order.
    pub records: Vec<Record>,
}

impl Entry {
    /// Bytes before its records.
    pub(crate) const HEAD_BYTES: usize = 9;

    /// The instant of an encoded entry, of which nothing else is read.
    pub fn instant_of(bytes: &Bytes) -> Result<TimeMs, Malformed> {
        let mut input = Input::new(bytes);
        if input.byte()? != LEVEL {
            return Err(input.malformed("an entry of the known level"));
        }
        Wire::take(&mut input)
    }

    /// Begins the encoding of an entry; the records follow, one after the other. The first byte is
    /// the level of all that follows.
    pub(crate) fn begin(at: TimeMs, out: &mut Rope) {
        out.push(LEVEL);
        at.put(out);
    }
}

impl Wire for Entry {
    fn put(&self, out: &mut Rope) {
        Self::begin(self.at, out);
        for record in &self.records {
            record.put(out);
        }
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        if input.byte()? != LEVEL {
            return Err(input.malformed("an entry of the known level"));
        }
        let at = Wire::take(input)?;
        let mut records = Vec::new();
        while input.remaining() > 0 {
            records.push(Record::take(input)?);
        }
        Ok(Self { at, records })
    }
}
