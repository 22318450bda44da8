//! What this process occupies.

/// Resident bytes, where the system tells.
pub(super) fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    // The size of a page on every Linux that this is built for by default.
    pages.checked_mul(4096)
}
