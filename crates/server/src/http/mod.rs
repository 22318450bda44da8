//! The HTTP face: bytes of a request to a command, the engine's answer to bytes. It holds no state
//! that must survive, and no rule about jobs that the engine does not have.

mod app;
mod body;
mod code;
mod connection;
mod cursor;
mod descriptors;
mod events;
pub mod fuzz;
mod guard;
mod handle;
mod json;
mod metrics;
mod openapi;
mod parse;
mod prefer;
mod query;
mod rates;
mod refusal;
mod reply;
mod route;
mod routes;
mod serve;
mod text;
mod threads;
mod unparsed;
mod view;
mod words;
mod write;

pub use serve::{ServeError, bind, serve};
