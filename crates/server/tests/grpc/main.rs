//! The gRPC face over real sockets against a real node in this process.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod access;
mod admin;
mod arriving;
mod connections;
mod control;
mod harness;
mod jobs;
mod levels;
mod lying;
mod messages;
mod schedules;
mod sessions;
mod streams;
mod unread;
mod workers;
