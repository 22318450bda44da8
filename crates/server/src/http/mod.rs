//! The HTTP face: bytes of a request to a command, the engine's answer to bytes. It holds no state
//! that must survive, and no rule about jobs that the engine does not have.

pub(crate) mod account_view;
pub(crate) mod admit;
pub(crate) mod answers;
pub(crate) mod app;
pub(crate) mod body;
pub(crate) mod code;
pub(crate) mod connection;
pub(crate) mod content;
mod copy_metrics;
pub(crate) mod cursor;
mod descriptors;
mod events;
mod figures;
pub mod fuzz;
pub(crate) mod guard;
pub(crate) mod handle;
pub(crate) mod json;
mod keyed;
pub(crate) mod kind_view;
mod level_metrics;
pub(crate) mod look;
mod metrics;
mod openapi;
pub(crate) mod parse;
mod prefer;
mod query;
mod rates;
pub(crate) mod refusal;
pub(crate) mod reply;
mod route;
mod routes;
mod series;
mod serve;
pub(crate) mod sla_view;
mod stream_metrics;
pub(crate) mod tail;
pub(crate) mod text;
mod threads;
mod unparsed;
pub(crate) mod view;
mod words;
mod write;

pub use parse::preview_schedule;
pub(crate) use route::DEFAULT_NAMESPACE;
pub use serve::{Listeners, ServeError, bind, bind_anywhere, serve};
