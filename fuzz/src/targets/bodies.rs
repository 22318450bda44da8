//! Bodies of HTTP requests. Every parser reads every body: what is no lease request has to be
//! refused as one, too.

use longshore_server::http::fuzz;

use crate::novelty::{saw, sound};

/// Each parser takes the body or refuses it.
pub fn target(input: &[u8]) {
    let taken = fuzz::bodies(input);
    saw(taken);
    if taken > 0 {
        sound();
    }
}
