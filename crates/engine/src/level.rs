//! The level of what is written on disk. One number for all of it: the manifest, the journal's
//! segments and entries, the state's marker, tables' keys and values.

/// The level that this program writes, and the only one that it reads. Every change of a byte on
/// disk, or of what one means, raises it by one, and leaves a folder of the new level in
/// `tests/fixtures` (see there). A field behind a tag is such a change, too: an older program
/// refuses what has it, and is to say so before it opens anything.
///
/// | level | since then |
/// | --- | --- |
/// | 1, 2 | before, each place had a number of its own |
/// | 3 | fields behind tags; one number everywhere |
/// | 4 | schedules, unique keys, limits, gates, holds, tenants, service levels, messages, streams |
/// | 5 | transactions, policies, bindings to jobs, triggers, compaction, accounts, versions |
/// | 6 | several limits of a job, limits in slices, moves and ordering keys of messages |
/// | 7 | changes of all jobs that a filter means, withdrawn jobs, replays, lives of jobs |
/// | 8 | events counted by their keys, lost runs of holds counted, progress of operations |
/// | 9 | jobs counted by the gates that they name, whose numbers are given anew |
pub const LEVEL: u8 = 9;

/// Says which levels are at odds, and what to do about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OtherLevel {
    /// The level that was found.
    pub found: u32,
}

impl OtherLevel {
    /// Refuses every level but [`LEVEL`].
    pub fn check(found: u32) -> Result<(), Self> {
        if found == u32::from(LEVEL) { Ok(()) } else { Err(Self { found }) }
    }

    /// What whoever finds it may do.
    pub fn way_out(self) -> &'static str {
        if self.found > u32::from(LEVEL) {
            "a later version of Longshore wrote it: start that one, or a newer one"
        } else {
            "an earlier version of Longshore wrote it: start that one, or begin in an empty folder"
        }
    }
}

impl std::fmt::Display for OtherLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "its level is {}, this version of Longshore knows level {LEVEL}", self.found)
    }
}

impl std::error::Error for OtherLevel {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_other_level_is_refused_and_both_are_named() {
        assert_eq!(OtherLevel::check(LEVEL.into()), Ok(()));
        for (found, way_out) in [(LEVEL - 1, "earlier"), (LEVEL + 1, "later")] {
            let other = OtherLevel::check(found.into()).unwrap_err();
            let text = other.to_string();
            assert!(text.contains(&found.to_string()) && text.contains(&LEVEL.to_string()));
            assert!(other.way_out().contains(way_out));
        }
    }
}
