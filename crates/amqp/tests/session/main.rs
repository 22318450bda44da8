//! Sessions from outside: a client's frames go in, and what comes out is looked at. The engine is
//! played by the tests.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod access;
mod attacks;
mod client;
mod consuming;
mod life;
mod publishing;
mod transactions;
