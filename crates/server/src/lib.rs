//! See the package description.

pub mod api;

mod admission;
pub mod disk;
mod disk_watch;
pub mod manifest;
mod routing;
pub mod store_dir;
mod unavailable;
