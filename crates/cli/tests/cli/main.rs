//! The real binary on temporary folders and free ports, as a person or a script meets it.

mod admin;
mod demo;
mod dev;
mod harness;
mod usage;
mod verify;
mod work;
