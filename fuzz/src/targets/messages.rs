//! Messages of gRPC: those of a worker's stream, and those of producers, up to the commands.

use longshore_server::grpc::fuzz;

use crate::novelty::{saw, sound};

/// Each part is taken or refused.
pub fn target(input: &[u8]) {
    let taken = fuzz::messages(input);
    saw(taken);
    if taken > 0 {
        sound();
    }
}
