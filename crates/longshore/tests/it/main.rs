//! The SDK from outside: against a scripted server where faults are put in on purpose, against
//! the real one otherwise.

mod fake;
mod iterations;
mod jobs;
mod retries;
mod streams;
