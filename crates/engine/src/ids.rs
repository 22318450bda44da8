//! Newtypes for every identity and instant, so that none is taken for another.

use std::fmt;

use crate::rope::Rope;
use crate::wire::{Input, Malformed, Wire};

macro_rules! number {
    ($(#[$meta:meta])* $name:ident($type:ty)) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub $type);

        impl Wire for $name {
            fn put(&self, out: &mut Rope) {
                self.0.put(out);
            }

            fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
                <$type>::take(input).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(
    /// A namespace within its shard. Never reused.
    NamespaceId(u32)
);
number!(
    /// A queue within its shard. Never reused.
    QueueId(u32)
);
number!(
    /// A kind within its shard. Never reused.
    KindId(u32)
);
number!(
    /// The order of entry into a shard: what is released, requeued or lost keeps it.
    Place(u64)
);
number!(
    /// A body that is stored apart from what holds it.
    BodyId(u64)
);
number!(
    /// An exchange within its shard. Never reused; those that always exist have the same numbers in
    /// every namespace.
    ExchangeId(u32)
);
number!(
    /// A connection: a number that the face chose. Never used again.
    ConnectionId(u64)
);
number!(
    /// An operation within its shard.
    OperationId(u64)
);
number!(
    /// A schedule within its shard. Never reused.
    ScheduleId(u64)
);
number!(
    /// A gate within its shard. Never reused.
    GateId(u32)
);
number!(
    /// A life of a shard: one more at every start, so tokens of an earlier life are older.
    Epoch(u32)
);
number!(
    /// An instant: milliseconds since 1970 in UTC.
    TimeMs(u64)
);
number!(
    /// An instant of the clock that never steps: milliseconds since any fixed point.
    MonoMs(u64)
);
number!(
    /// A stream within its shard. Never reused.
    StreamId(u32)
);
number!(
    /// A partition of a stream within its shard. Never reused.
    PartitionId(u64)
);

impl TimeMs {
    /// The instant `ms` milliseconds later, at most the end of time.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant, 0 where that lies ahead.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The second that this instant lies in.
    pub const fn second(self) -> u64 {
        self.0 / 1000
    }
}

impl MonoMs {
    /// The instant `ms` milliseconds later, at most the end of time.
    #[must_use]
    pub const fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// Identity of a job: a UUID, version 7 where the server made it (RFC 9562).
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct JobId(pub [u8; 16]);

impl JobId {
    /// When a version 7 id was made; `None` for other versions.
    pub fn made_at(self) -> Option<TimeMs> {
        let (time, rest) = self.0.split_first_chunk::<6>()?;
        let time = time.iter().fold(0, |ms, byte| ms << 8 | u64::from(*byte));
        (rest.first()? >> 4 == 7).then_some(TimeMs(time))
    }
}

impl Wire for JobId {
    fn put(&self, out: &mut Rope) {
        self.0.put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Wire::take(input).map(Self)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The right to settle one run of one job. Tokens of a shard only grow.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Token {
    /// The life of the shard that granted it.
    pub epoch: Epoch,
    /// Which grant of the shard it was.
    pub counter: u64,
}

impl Wire for Token {
    fn put(&self, out: &mut Rope) {
        self.epoch.put(out);
        self.counter.put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Malformed> {
        Ok(Self { epoch: Wire::take(input)?, counter: Wire::take(input)? })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_7_id_tells_its_time() {
        let mut bytes = [0_u8; 16];
        bytes[..6].copy_from_slice(&1_700_000_000_000_u64.to_be_bytes()[2..]);
        bytes[6] = 0x7a;
        let id = JobId(bytes);
        assert_eq!(id.made_at(), Some(TimeMs(1_700_000_000_000)));
        assert_eq!(id.to_string(), "018bcfe5-6800-7a00-0000-000000000000");
        assert_eq!(JobId([0x44; 16]).made_at(), None);
    }
}
