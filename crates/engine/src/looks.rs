//! How much one answer, or one tick, may look at. Every visit counts, whether it finds anything or
//! not.

/// What it costs to look somewhere else in the tree, in entries that are read one after the other.
const SEEK: usize = 8;

/// What is left of it.
#[derive(Debug)]
pub(crate) struct Looks(usize);

impl Looks {
    pub(crate) const fn new(looks: usize) -> Self {
        Self(looks)
    }

    /// One entry is looked at, where there is room for that.
    pub(crate) fn step(&mut self) -> bool {
        self.take(1)
    }

    /// It is looked somewhere else in the tree, where there is room for that.
    pub(crate) fn seek(&mut self) -> bool {
        self.take(SEEK)
    }

    fn take(&mut self, looks: usize) -> bool {
        let enough = self.0 >= looks;
        self.0 = if enough { self.0 - looks } else { 0 };
        enough
    }

    pub(crate) fn is_used_up(&self) -> bool {
        self.0 == 0
    }

    /// Calls `with` with an equal share of it for the next of so many.
    pub(crate) fn share<T>(&mut self, of: usize, with: impl FnOnce(&mut Self) -> T) -> T {
        let share = self.0 / of.max(1);
        let mut own = Self(share);
        let told = with(&mut own);
        self.0 -= share - own.0;
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_does_not_need_is_left_for_those_after_it() {
        let mut looks = Looks::new(30);
        looks.share(3, |own| assert!(own.step() && own.seek() && !own.seek()));
        assert_eq!(looks.0, 20);
        looks.share(2, |own| assert!(own.step()));
        assert_eq!(looks.0, 19);
        assert!(looks.seek() && looks.seek() && !looks.seek() && looks.is_used_up());
    }
}
