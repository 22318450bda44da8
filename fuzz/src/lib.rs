//! Fuzz targets: one plain function per parser that reads from a socket or a disk, a mutator with
//! a seed that drives them on stable Rust, and an allocator that shows how much an input costs.
//! `README.md` beside it says how to run them. It knows nothing of threads or sockets.

pub mod allocation;
pub mod corpus;
pub mod drive;
pub mod folder;
pub mod mutate;
pub mod novelty;
pub mod random;
pub mod seeds;
pub mod target;
pub mod targets;
