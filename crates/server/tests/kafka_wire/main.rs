//! Kafka's protocol byte by byte, where clients do not go by themselves: requests far ahead of
//! their answers, what is repeated, too long, or late.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod harness;
mod requests;
mod transactions;
