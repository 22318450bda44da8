//! The real binary on temporary folders and free ports, as a person or a script meets it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod admin;
mod autoscale;
mod blocked;
mod demo;
mod dev;
mod gates;
mod harness;
mod logs;
mod schedules;
mod usage;
mod verify;
mod when;
mod work;
mod workers;
