//! Bytes in memory, counted for as long as they are held, within a bound over all who hold some.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes in memory of one sort, such as bodies of requests that are worked on.
#[derive(Debug)]
pub struct Gauge {
    bytes: AtomicU64,
    bytes_max: u64,
}

/// Bytes that are counted until it is dropped.
#[derive(Debug)]
pub struct Held {
    gauge: Arc<Gauge>,
    bytes: u64,
}

/// No room in a gauge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GaugeFull {
    /// Bytes that it holds.
    pub bytes: u64,
    /// What it may hold.
    pub bytes_max: u64,
}

impl Gauge {
    /// One that holds so many bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self { bytes: AtomicU64::new(0), bytes_max }
    }

    /// What it may hold in all.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Bytes held now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Nothing yet.
    pub fn new(gauge: &Arc<Gauge>) -> Self {
        Self { gauge: Arc::clone(gauge), bytes: 0 }
    }

    /// How many are held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Only so many of them are held any longer.
    pub fn shrink_to(&mut self, bytes: u64) {
        let gone = self.bytes.saturating_sub(bytes);
        self.gauge.bytes.fetch_sub(gone, Ordering::Relaxed);
        self.bytes -= gone;
    }

    /// So many fewer are held.
    pub fn give(&mut self, bytes: u64) {
        self.shrink_to(self.bytes.saturating_sub(bytes));
    }

    /// Counts more, whether or not there is room.
    pub fn add_in_any_case(&mut self, bytes: u64) {
        self.gauge.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }

    /// Counts more, and says whether there was room within `bytes_max`. One of any size has room
    /// where nothing else is there.
    pub fn add_within(&mut self, bytes: u64, bytes_max: u64) -> bool {
        let before = self.gauge.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        let others = (before + bytes).saturating_sub(self.bytes);
        before + bytes <= bytes_max || others == 0
    }

    /// Counts more, if there is room. What was counted in vain goes with this value.
    pub fn add(&mut self, bytes: u64) -> Result<(), GaugeFull> {
        let bytes_max = self.gauge.bytes_max;
        if self.add_within(bytes, bytes_max) {
            return Ok(());
        }
        Err(GaugeFull { bytes: self.gauge.bytes().saturating_sub(bytes), bytes_max })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.gauge.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
