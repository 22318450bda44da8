//! Longshore's gRPC messages and services, generated from `proto/longshore/v1`, which documents
//! them. `cargo xtask proto` writes `generated/` anew; continuous integration checks that it has.

pub mod codec;

/// Messages, clients and servers of the package `longshore.v1`.
#[allow(
    clippy::all,
    clippy::pedantic,
    missing_docs,
    unreachable_pub,
    reason = "generated; the .proto files hold the documentation"
)]
pub mod v1 {
    include!("generated/longshore.v1.rs");
}

/// The descriptors of all messages and services, as gRPC's server reflection needs them.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!("generated/longshore.v1.bin");
