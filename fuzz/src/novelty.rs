//! What a target says of an input beside that it stood it: which answer it gave. An input with an
//! answer not seen before is worth mutating further; that replaces the coverage that stable Rust
//! does not measure. Answers are remembered per thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many answers are remembered.
const SEEN_MAX: usize = 1 << 16;

thread_local! {
    static SEEN: RefCell<BTreeSet<u64>> = const { RefCell::new(BTreeSet::new()) };
    static FRESH: Cell<bool> = const { Cell::new(false) };
}

/// Says what came of an input.
pub fn saw(answer: impl Hash) {
    let mut hasher = DefaultHasher::new();
    answer.hash(&mut hasher);
    SEEN.with_borrow_mut(|seen| {
        if seen.len() < SEEN_MAX && seen.insert(hasher.finish()) {
            FRESH.set(true);
        }
    });
}

/// Whether anything new was seen since it was last asked.
pub fn take() -> bool {
    FRESH.take()
}

/// Forgets everything.
pub fn forget() {
    SEEN.with_borrow_mut(BTreeSet::clear);
    FRESH.set(false);
}
