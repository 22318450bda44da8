//! Paths of HTTP requests, with what is percent-encoded in them.

use longshore_server::http::fuzz;

/// A path leads to a route or nowhere.
pub fn target(input: &[u8]) {
    if let Ok(path) = str::from_utf8(input) {
        fuzz::path(path);
    }
}
