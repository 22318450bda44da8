//! The SDK from outside: against a scripted server where faults are put in on purpose, against
//! the real one otherwise.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod app;
mod application;
mod clock;
mod edges;
mod events;
mod examples;
mod fake;
mod iterations;
mod jobs;
mod keyset;
mod layers;
mod logs;
mod operations;
mod real;
mod recorded;
mod refusals;
mod retries;
mod streams;
mod web;
mod web_real;
mod when;
