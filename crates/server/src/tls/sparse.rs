//! What strangers bring about is told once in a while, however often they do it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often it is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// When something was told, and how often it happened since.
#[derive(Debug, Default)]
pub(crate) struct Sparse(Mutex<(Option<Instant>, u64)>);

impl Sparse {
    /// Notes that it happened. How often it did since it was told, where it is to be told again.
    pub(crate) fn happens(&self) -> Option<u64> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (told, count) = &mut *noted;
        *count += 1;
        if told.is_some_and(|told| told.elapsed() < TOLD_EVERY) {
            return None;
        }
        *told = Some(Instant::now());
        Some(std::mem::take(count))
    }
}
