//! Counters that `apply` maintains. One that would fall below nothing is a bug: what it counts left
//! twice, or never entered. It stops the shard by the counter's name.

/// What counts.
pub(crate) trait Count: Copy + std::fmt::Display {
    /// Less by so much, where there is so much.
    fn less(self, by: Self) -> Option<Self>;
}

impl Count for u32 {
    fn less(self, by: Self) -> Option<Self> {
        self.checked_sub(by)
    }
}

impl Count for u64 {
    fn less(self, by: Self) -> Option<Self> {
        self.checked_sub(by)
    }
}

impl Count for usize {
    fn less(self, by: Self) -> Option<Self> {
        self.checked_sub(by)
    }
}

/// Takes `by` off a counter.
#[track_caller]
pub(crate) fn take<C: Count>(count: &mut C, by: C, name: &str) {
    match count.less(by) {
        Some(left) => *count = left,
        None => panic!("the count of {name} is {count}, and {by} are taken off it"),
    }
}

/// Adds `by` to a counter, or takes it off where it is negative.
#[track_caller]
pub(crate) fn shift(count: &mut u64, by: i64, name: &str) {
    match count.checked_add_signed(by) {
        Some(shifted) => *count = shifted,
        None => panic!("the count of {name} is {count}, and is changed by {by}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_reaches_nothing_and_not_less() {
        let mut count = 3_u64;
        shift(&mut count, -1, "jobs");
        take(&mut count, 2, "jobs");
        assert_eq!(count, 0);
    }

    #[test]
    #[should_panic(expected = "the count of jobs that run is 1, and 2 are taken off it")]
    fn a_count_below_nothing_names_its_counter() {
        take(&mut 1_u64, 2, "jobs that run");
    }
}
