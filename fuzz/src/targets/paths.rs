//! Paths of HTTP requests, with what is percent-encoded in them.

use longshore_server::http::fuzz;

use crate::novelty::{saw, sound};

/// A path leads to a route or nowhere.
pub fn target(input: &[u8]) {
    let Ok(path) = str::from_utf8(input) else { return };
    let found = fuzz::path(path);
    saw((found, path.bytes().filter(|byte| *byte == b'/').count().min(8)));
    if found > 0 {
        sound();
    }
}
