//! How much is run: a sample in CI, everything with `LONGSHORE_FULL=1`.

/// `quick`, or `full` in the full tier.
pub fn pick<T>(quick: T, full: T) -> T {
    if std::env::var_os("LONGSHORE_FULL").is_some() { full } else { quick }
}
