//! The allocator of this crate: the system's, with a count per thread of the bytes that live, so
//! that a parser which reserves what a length field promises is caught. It judges nothing.
#![expect(unsafe_code, reason = "only a global allocator sees every allocation")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread allocated and nobody freed. Below 0 where it frees what others made.
    static LIVE_BYTES: Cell<isize> = const { Cell::new(0) };
    static PEAK_BYTES: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every method hands its arguments unchanged to `System`, which keeps the contract of the
// trait, and returns what it answers. What is done besides, arithmetic on two cells, allocates
// nothing and does not unwind: the cells are initialized by a constant and have no destructor, so
// they can be reached at any time in the life of a thread, and the arithmetic wraps.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: all memory that this allocator hands out is the system's.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, layout.size());
        // SAFETY: as in `dealloc`, and the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(more: usize, less: usize) {
    let live = LIVE_BYTES.get().wrapping_add_unsigned(more).wrapping_sub_unsigned(less);
    LIVE_BYTES.set(live);
    PEAK_BYTES.set(PEAK_BYTES.get().max(live));
}

/// Runs `run` and says by how many bytes the memory that this thread has allocated grew meanwhile,
/// at its highest.
pub fn peak_during<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = LIVE_BYTES.get();
    let peak_before = PEAK_BYTES.replace(before);
    let value = run();
    let peak = PEAK_BYTES.replace(peak_before.max(PEAK_BYTES.get()));
    (value, peak.wrapping_sub(before).max(0).unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_counts_and_not_the_sum() {
        let ((), none) = peak_during(|| ());
        assert_eq!(none, 0);
        let (kept, peak) = peak_during(|| {
            for _ in 0..10 {
                drop(std::hint::black_box(vec![0_u8; 1000]));
            }
            vec![0_u8; 500]
        });
        assert_eq!((kept.len(), peak), (500, 1000));
        let ((), peak) =
            peak_during(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 20))));
        assert_eq!(peak, 1 << 20);
    }
}
