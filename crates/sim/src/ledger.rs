//! Every entry that the journal called durable, kept outside the simulated machine: what a
//! recovered journal is compared with. It knows nothing of what entries mean, but for their time.

use bytes::Bytes;
use longshore_engine::wire::Wire;
use longshore_engine::{Entry, Position, TimeMs};
use longshore_journal::{EntryIterator, Group};

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The entry of position n + 1 at n.
    durable: Vec<Bytes>,
    /// The group whose append was not answered.
    attempted: Vec<Bytes>,
    last_at: TimeMs,
}

impl Ledger {
    pub(crate) fn attempt(&mut self, group: &Group) {
        self.attempted = group.entries().map(|(_, entry)| entry).collect();
    }

    /// All entries that the journal called durable.
    pub(crate) fn durable(&self) -> &[Bytes] {
        &self.durable
    }

    /// Whether the journal ever had anything.
    pub(crate) fn is_used(&self) -> bool {
        !self.durable.is_empty()
    }

    /// The journal answered that the attempted group is durable.
    pub(crate) fn acknowledge(&mut self) {
        self.durable.append(&mut self.attempted);
    }

    /// Checks what a recovered journal holds from `first` to `tail`: everything durable, of the
    /// attempted group all or nothing, and not a byte that was never written.
    pub(crate) fn check(
        &mut self,
        first: Position,
        tail: Position,
        entries: EntryIterator,
    ) -> Result<(), String> {
        let (durable, attempted) = (self.durable.len() as u64, self.attempted.len() as u64);
        if tail.0 < durable {
            return Err(format!("the journal ends at {tail}, but called {durable} durable"));
        }
        if tail.0 != durable && tail.0 != durable + attempted {
            return Err(format!("the journal ends at {tail}, within a group from {durable}"));
        }
        if tail.0 > durable {
            self.acknowledge();
        }
        self.attempted.clear();
        let mut next = first;
        self.last_at = TimeMs(0);
        for entry in entries {
            let (position, entry) = entry.map_err(|error| error.to_string())?;
            if position != next {
                return Err(format!("position {position} follows {next} in the journal"));
            }
            next = next.next();
            if self.durable.get(position.0 as usize - 1) != Some(&entry) {
                return Err(format!("the entry at position {position} is not what was written"));
            }
            let at = Entry::from_bytes(&entry).map_err(|error| error.to_string())?.at;
            if at < self.last_at {
                return Err(format!("time went back from {} to {at} at {position}", self.last_at));
            }
            self.last_at = at;
        }
        if next != tail.next() {
            return Err(format!("the journal gave entries up to {next}, but ends at {tail}"));
        }
        Ok(())
    }
}
