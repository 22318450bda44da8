//! The HTTP face over real sockets against a real node in this process.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod access;
mod admin;
mod bad_input;
mod connections;
mod expect;
mod gates;
mod harness;
mod jobs;
mod keyed;
mod kinds;
mod levels;
mod long_jobs;
mod messages;
mod schedules;
mod streams;
mod unread;
