//! How much room the disk has and what that means: three marks, and a reserve that is given back
//! where the disk is full all the same.

use super::class::enqueues;
use crate::command::Command;

/// The room on a disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Space {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// Free bytes below which something changes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DiskMarks {
    /// A warning is logged and shown. Default: 15 % of the disk, at most 8 GiB.
    pub warn_bytes: Option<u64>,
    /// Publishing is refused. Default: 8 % of the disk, at most 2 GiB.
    pub refuse_bytes: Option<u64>,
    /// Only settlements, administration and reads go on. Default: 4 % of the disk, at most 512 MiB.
    pub settle_only_bytes: Option<u64>,
}

/// What is to be done with the reserve.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReserveMove {
    /// Take its space.
    Take,
    /// Give its space to whoever is starved.
    GiveUp,
}

impl DiskMarks {
    /// The defaults, which depend on the size of the disk.
    pub const DEFAULT: Self =
        Self { warn_bytes: None, refuse_bytes: None, settle_only_bytes: None };

    /// What `space` means.
    pub fn level(&self, space: Space) -> DiskLevel {
        let share = |percent: u64, bytes_max: u64| {
            (space.total_bytes / 100).saturating_mul(percent).min(bytes_max)
        };
        let below = |mark: Option<u64>, percent, bytes_max| {
            space.free_bytes < mark.unwrap_or_else(|| share(percent, bytes_max))
        };
        if below(self.settle_only_bytes, 4, 512 << 20) {
            DiskLevel::SettleOnly
        } else if below(self.refuse_bytes, 8, 2 << 30) {
            DiskLevel::Refuse
        } else if below(self.warn_bytes, 15, 8 << 30) {
            DiskLevel::Warn
        } else {
            DiskLevel::Ample
        }
    }

    /// What to do with a reserve of that many bytes. It is there for settlements and flushes that
    /// found no space at all, and taken again when it leaves enough for everything else.
    pub fn reserve(
        &self,
        space: Space,
        bytes: u64,
        is_held: bool,
        is_starved: bool,
    ) -> Option<ReserveMove> {
        if is_starved {
            return is_held.then_some(ReserveMove::GiveUp);
        }
        let left = Space { free_bytes: space.free_bytes.saturating_sub(bytes), ..space };
        (!is_held && self.level(left) < DiskLevel::Refuse).then_some(ReserveMove::Take)
    }
}

impl Default for DiskMarks {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How far the disk has filled.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
#[repr(u8)]
pub enum DiskLevel {
    /// There is room.
    #[default]
    Ample = 0,
    /// Somebody should look.
    Warn = 1,
    /// Publishing is refused.
    Refuse = 2,
    /// Nothing new is started: settlements, administration and reads go on.
    SettleOnly = 3,
}

impl DiskLevel {
    /// The level of that number.
    pub const fn of(number: u8) -> Self {
        match number {
            0 => Self::Ample,
            1 => Self::Warn,
            2 => Self::Refuse,
            _ => Self::SettleOnly,
        }
    }

    /// Whether there is room for what a command records. What it settles gets through; where it
    /// asks for jobs besides, it is granted none.
    pub fn admits(self, command: &Command) -> bool {
        match command {
            Command::LeaseJobs(lease) if lease.settle.is_empty() => self < Self::SettleOnly,
            command => self < Self::Refuse || !enqueues(command),
        }
    }

    /// A word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ample => "ample",
            Self::Warn => "warn",
            Self::Refuse => "refuse",
            Self::SettleOnly => "settle_only",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_follow_the_size_of_the_disk_unless_set() {
        const GIB: u64 = 1 << 30;
        let level = |marks: DiskMarks, free_bytes, total_bytes| {
            marks.level(Space { free_bytes, total_bytes })
        };
        let small = |free| level(DiskMarks::DEFAULT, free, 1000 << 20);
        assert_eq!(small(200 << 20), DiskLevel::Ample);
        assert_eq!(small(100 << 20), DiskLevel::Warn);
        assert_eq!(small(60 << 20), DiskLevel::Refuse);
        assert_eq!(small(10 << 20), DiskLevel::SettleOnly);
        let large = |free| level(DiskMarks::DEFAULT, free, 10_000 * GIB);
        assert_eq!(large(9 * GIB), DiskLevel::Ample);
        assert_eq!(large(7 * GIB), DiskLevel::Warn);
        assert_eq!(large(GIB), DiskLevel::Refuse);
        assert_eq!(large(0), DiskLevel::SettleOnly);
        let marks =
            DiskMarks { warn_bytes: Some(30), refuse_bytes: Some(20), settle_only_bytes: Some(10) };
        let set = |free| level(marks, free, GIB);
        assert_eq!(
            [set(30), set(29), set(19), set(9)],
            [DiskLevel::Ample, DiskLevel::Warn, DiskLevel::Refuse, DiskLevel::SettleOnly]
        );
    }

    #[test]
    fn the_reserve_goes_to_who_is_starved_and_is_taken_where_it_leaves_enough() {
        let marks =
            DiskMarks { warn_bytes: Some(30), refuse_bytes: Some(20), settle_only_bytes: Some(10) };
        let moves = |free_bytes, is_held, is_starved| {
            marks.reserve(Space { free_bytes, total_bytes: 1000 }, 5, is_held, is_starved)
        };
        assert_eq!(moves(0, true, true), Some(ReserveMove::GiveUp));
        assert_eq!(moves(100, false, true), None, "there is none to give");
        assert_eq!(moves(100, true, false), None);
        assert_eq!(moves(25, false, false), Some(ReserveMove::Take));
        assert_eq!(moves(24, false, false), None, "publishing would be refused for its sake");
    }

    #[test]
    fn a_full_disk_takes_settlements_and_no_jobs() {
        use crate::command::{EnqueueJobs, Settlement, Verdict};
        use crate::ids::{Epoch, JobId, Token};

        let enqueue = Command::EnqueueJobs(EnqueueJobs { queue: "q".into(), jobs: Vec::new() });
        let (id, token) = (JobId::default(), Token { epoch: Epoch(1), counter: 1 });
        let release = Settlement { id, token, verdict: Verdict::Release };
        let settle = Command::SettleJobs(vec![release]);
        for (level, enqueues) in [
            (DiskLevel::Ample, true),
            (DiskLevel::Warn, true),
            (DiskLevel::Refuse, false),
            (DiskLevel::SettleOnly, false),
        ] {
            assert_eq!(level.admits(&enqueue), enqueues, "{level:?}");
            assert!(level.admits(&settle), "{level:?}");
        }
    }
}
