//! See the package description.

pub mod api;
