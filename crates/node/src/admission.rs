//! What the node takes in: publishing closes where the disk or memory is low, and opens again.
//! Settlements, heartbeats and administration always get through here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};

use crate::unavailable::Cause;
use longshore_engine::driver::DiskLevel;

/// Whether jobs are taken in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Publishing {
    /// They are.
    Open,
    /// They are not.
    Refused {
        /// Why.
        cause: Cause,
        /// Why, in words.
        reason: String,
        /// When to try again, in seconds, where that helps.
        retry_after_s: Option<u64>,
    },
}

/// Decides whether the node takes in more. Shared by everything in it.
#[derive(Debug)]
pub(crate) struct Admission {
    /// A [`DiskLevel`].
    disk: AtomicU8,
    /// How many writers have met a full disk and wait.
    starved: AtomicUsize,
    free_bytes: AtomicU64,
    /// Bytes of bodies between their acceptance and their answer.
    in_flight_bytes: AtomicU64,
    in_flight_bytes_max: u64,
    stopping: AtomicBool,
}

/// Bytes of bodies that are counted as in flight until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    admission: Arc<Admission>,
    bytes: u64,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.admission.in_flight_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Admission {
    pub(crate) fn new(in_flight_bytes_max: u64) -> Self {
        Self {
            disk: AtomicU8::new(0),
            starved: AtomicUsize::new(0),
            free_bytes: AtomicU64::new(u64::MAX),
            in_flight_bytes: AtomicU64::new(0),
            in_flight_bytes_max,
            stopping: AtomicBool::new(false),
        }
    }

    /// What the disk allows now.
    pub(crate) fn disk(&self) -> DiskLevel {
        if self.is_starved() {
            return DiskLevel::SettleOnly;
        }
        DiskLevel::of(self.disk.load(Ordering::Relaxed))
    }

    /// Takes note of the disk's room and returns what it allowed before.
    pub(crate) fn set_disk(&self, level: DiskLevel, free_bytes: u64) -> DiskLevel {
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
        DiskLevel::of(self.disk.swap(level as u8, Ordering::Relaxed))
    }

    /// Free bytes when last looked at.
    pub(crate) fn disk_free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Whether a writer waits for space.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.load(Ordering::Relaxed) > 0
    }

    /// A writer has met a full disk; to be undone with [`Admission::clear_starved`].
    pub(crate) fn set_starved(&self) {
        self.starved.fetch_add(1, Ordering::Relaxed);
    }

    /// That writer has got its space.
    pub(crate) fn clear_starved(&self) {
        self.starved.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn in_flight_bytes(&self) -> u64 {
        self.in_flight_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Counts `bytes` as in flight, above the bound as well: for what must get through.
    pub(crate) fn count(self: &Arc<Self>, bytes: u64) -> InFlight {
        self.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        InFlight { admission: Arc::clone(self), bytes }
    }

    /// Whether `bytes` more are in bounds. One body of any size is, where nothing else is there.
    pub(crate) fn has_memory_for(&self, bytes: u64) -> bool {
        let in_flight = self.in_flight_bytes();
        in_flight == 0 || in_flight.saturating_add(bytes) <= self.in_flight_bytes_max
    }

    /// Whether jobs are taken in.
    pub(crate) fn publishing(&self) -> Publishing {
        match self.refusal(1) {
            None => Publishing::Open,
            Some((cause, reason)) => {
                Publishing::Refused { cause, reason, retry_after_s: cause.retry_after_s() }
            }
        }
    }

    /// Why `bytes` of new jobs would be refused.
    pub(crate) fn refusal(&self, bytes: u64) -> Option<(Cause, String)> {
        if self.is_stopping() {
            return Some((Cause::Stopping, "the server is stopping".into()));
        }
        if self.disk() >= DiskLevel::Refuse {
            return Some((Cause::DiskLow, self.disk_reason()));
        }
        if !self.has_memory_for(bytes) {
            let in_flight = self.in_flight_bytes();
            let max = self.in_flight_bytes_max;
            let reason = format!("{in_flight} bytes of bodies are in flight, at most {max} may be");
            return Some((Cause::MemoryLow, reason));
        }
        None
    }

    /// What is wrong with the disk, in words.
    pub(crate) fn disk_reason(&self) -> String {
        if self.is_starved() {
            return "the disk is full".into();
        }
        format!("the disk has {} bytes free", self.disk_free_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishing_closes_and_opens_with_the_disk() {
        let admission = Admission::new(100);
        assert_eq!(admission.publishing(), Publishing::Open);
        admission.set_disk(DiskLevel::Warn, 50);
        assert_eq!(admission.publishing(), Publishing::Open);
        admission.set_disk(DiskLevel::Refuse, 20);
        let refused = admission.refusal(0);
        assert_eq!(refused, Some((Cause::DiskLow, "the disk has 20 bytes free".into())));
        assert_eq!(admission.set_disk(DiskLevel::Ample, 90), DiskLevel::Refuse);
        admission.set_starved();
        assert_eq!(admission.disk(), DiskLevel::SettleOnly);
        admission.clear_starved();
        assert_eq!(admission.publishing(), Publishing::Open);
    }

    #[test]
    fn bodies_in_flight_are_bounded_but_one_always_fits() {
        let admission = Arc::new(Admission::new(100));
        assert!(admission.has_memory_for(1000));
        let first = admission.count(90);
        assert!(admission.has_memory_for(10) && !admission.has_memory_for(11));
        assert_eq!(admission.refusal(11).map(|refusal| refusal.0), Some(Cause::MemoryLow));
        drop(first);
        assert_eq!(admission.in_flight_bytes(), 0);
    }
}
