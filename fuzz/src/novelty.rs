//! What a target says of an input beside that it stood it: which answer it gave. An input with an
//! answer not seen before is worth mutating further; that replaces the coverage that stable Rust
//! does not measure. And whether it was read as something sound, so that a test can tell that a
//! target gets that far at all. Both are remembered per thread.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// How many answers are remembered.
const SEEN_MAX: usize = 1 << 16;

thread_local! {
    static SEEN: RefCell<BTreeSet<u64>> = const { RefCell::new(BTreeSet::new()) };
    static FRESH: Cell<bool> = const { Cell::new(false) };
    static SOUND_COUNT: Cell<u64> = const { Cell::new(0) };
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

/// Says that an input was read as something sound.
pub fn sound() {
    SOUND_COUNT.set(SOUND_COUNT.get() + 1);
}

/// How often something sound was read by this thread.
pub fn sound_count() -> u64 {
    SOUND_COUNT.get()
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
