//! Entries under decision: what goes into one, and when the next one begins. It knows how long an
//! entry may be, and nothing of what a record means.

use super::Turn;
use crate::record::{Entry, Record};
use crate::rejection::Rejection;
use crate::rope::Rope;
use crate::wire::Wire;

/// Bytes that an entry's length takes before it.
const LENGTH_BYTES: usize = 4;

impl Turn {
    /// Records a fact of bounded size. What is decided next sees it.
    pub(super) fn record(&mut self, record: Record) {
        self.record_all([record]);
    }

    /// Records facts that hold together. Whoever calls it knows that they are small.
    pub(super) fn record_all(
        &mut self,
        records: impl AsRef<[Record]> + IntoIterator<Item = Record>,
    ) {
        self.try_record(records).expect("facts of bounded size fit into an entry");
    }

    /// Records facts that hold together, or none of them where they are more than an entry takes.
    /// Where they do not fit behind what the entry has already, they begin the next one.
    pub(super) fn try_record(
        &mut self,
        records: impl AsRef<[Record]> + IntoIterator<Item = Record>,
    ) -> Result<(), Rejection> {
        if records.as_ref().is_empty() {
            return Ok(());
        }
        if self.state.tells_lives() {
            let (lives, untold) = self.state.decide_lives(records.as_ref());
            self.lost.lives_untold += untold;
            if !lives.is_empty() {
                return self.record_with_lives(records.into_iter().collect(), lives);
            }
        }
        self.try_placing(records)
    }

    fn try_placing(
        &mut self,
        records: impl AsRef<[Record]> + IntoIterator<Item = Record>,
    ) -> Result<(), Rejection> {
        if records.as_ref().iter().any(Record::has_events) {
            let mut records: Vec<Record> = records.into_iter().collect();
            self.state.place_events(&mut records);
            return self.try_placed(records);
        }
        self.try_placed(records)
    }

    /// Records facts with what is told of the jobs that they are about, or without that where an
    /// entry does not take both.
    fn record_with_lives(
        &mut self,
        records: Vec<Record>,
        lives: Vec<Record>,
    ) -> Result<(), Rejection> {
        let untold: usize = lives.iter().map(Record::lives).sum();
        let both: Vec<_> = records.iter().cloned().chain(lives).collect();
        if self.try_placing(both).is_ok() {
            return Ok(());
        }
        self.try_placing(records)?;
        self.lost.lives_untold += untold as u64;
        Ok(())
    }

    fn try_placed(
        &mut self,
        records: impl AsRef<[Record]> + IntoIterator<Item = Record>,
    ) -> Result<(), Rejection> {
        if self.state.messages.is_telling() {
            let (told, lost) = self.state.decide_outcomes(records.as_ref(), self.entry);
            self.lost.outcomes_lost += lost;
            if !told.is_empty() {
                return self.record_with_outcomes(records.into_iter().collect(), told);
            }
        }
        self.record_step(records)
    }

    /// Records facts with what is published of them: as much of that as fits.
    fn record_with_outcomes(
        &mut self,
        records: Vec<Record>,
        told: Vec<Record>,
    ) -> Result<(), Rejection> {
        let both: Vec<_> = records.iter().chain(&told).cloned().collect();
        if self.record_step(both).is_ok() {
            return Ok(());
        }
        let mut bytes = Rope::referring();
        for record in &records {
            record.put(&mut bytes);
        }
        let limit = self.state.limits.entry_bytes_max.saturating_sub(self.reserved_bytes);
        let mut left = limit.saturating_sub(Entry::HEAD_BYTES + bytes.len());
        let mut both = records;
        for record in told {
            bytes.clear();
            record.put(&mut bytes);
            if bytes.len() <= left {
                left -= bytes.len();
                both.push(record);
            } else {
                self.lost.outcomes_lost += 1;
            }
        }
        self.record_step(both)
    }

    fn record_step(
        &mut self,
        records: impl AsRef<[Record]> + IntoIterator<Item = Record>,
    ) -> Result<(), Rejection> {
        let limit = self.state.limits.entry_bytes_max.saturating_sub(self.reserved_bytes);
        let before = self.group.end();
        let mut begins = self.entry_start.is_none();
        self.write(records.as_ref(), begins);
        let start = self.entry_start.unwrap_or(before);
        if self.group.len() - start.bytes - LENGTH_BYTES > limit {
            let mut bytes = self.group.len() - before.bytes;
            self.group.cut(before);
            if begins {
                bytes -= LENGTH_BYTES;
            } else {
                bytes += Entry::HEAD_BYTES;
            }
            if bytes > limit {
                return Err(Rejection::EntryTooLarge { bytes, limit });
            }
            self.end_entry();
            begins = true;
            self.write(records.as_ref(), begins);
        }
        if begins {
            self.state.begin_entry(self.position.next(), self.entry.at);
            self.time.recorded(self.entry);
            self.entry_start = Some(before);
        }
        for record in records {
            self.takers.entered += record.entries();
            self.state.apply(record);
        }
        Ok(())
    }

    fn write(&mut self, records: &[Record], begins: bool) {
        if begins {
            self.group.extend_from_slice(&[0; LENGTH_BYTES]);
            Entry::begin(self.entry.at, &mut self.group);
        }
        for record in records {
            record.put(&mut self.group);
        }
    }

    /// Ends the entry that has a record, if one has.
    pub(super) fn end_entry(&mut self) {
        let Some(start) = self.entry_start.take() else { return };
        self.state.end_entry();
        let length = (self.group.len() - start.bytes - LENGTH_BYTES) as u32;
        self.group.write_over(start.copied(), length.to_le_bytes());
        self.group_count += 1;
        self.position = self.position.next();
    }
}
