//! The one entry point for building, testing and checking.
fn main() {}
