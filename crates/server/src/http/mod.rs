//! The HTTP face: bytes of a request to a command, the engine's answer to bytes. It holds no state
//! that must survive, and no rule about jobs that the engine does not have.

mod app;
mod body;
mod code;
mod connection;
mod cursor;
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
mod view;
mod write;

pub use serve::{ServeError, bind, serve};

/// Entry points for the fuzzers: bodies and heads as they come off a socket.
pub mod fuzz {
    use bytes::Bytes;
    use longshore_engine::{JobId, Limits};

    use super::parse::{self, Bounds};
    use super::{route, text};

    /// Reads `body` as every kind of request. Returns how many took it.
    pub fn bodies(body: &[u8]) -> usize {
        let body = Bytes::copy_from_slice(body);
        let bounds = Bounds::of(&Limits::default());
        let id = JobId([7; 16]);
        let now = longshore_engine::TimeMs(1_800_000_000_000);
        [
            parse::parse_enqueue("queue", &body, &bounds).is_ok(),
            parse::parse_lease(&body, &bounds).is_ok(),
            parse::parse_settle(&body, &bounds).is_ok(),
            parse::parse_ack(id, &body, &bounds).is_ok(),
            parse::parse_fail(id, &body).is_ok(),
            parse::parse_snooze(id, &body).is_ok(),
            parse::parse_release(id, &body).is_ok(),
            parse::parse_discard(id, &body).is_ok(),
            parse::parse_heartbeat(id, &body).is_ok(),
            parse::parse_settings(&body).is_ok(),
            parse::parse_purge(&body, now).is_ok(),
            parse::parse_retry_dead(&body, now).is_ok(),
        ]
        .into_iter()
        .filter(|taken| *taken)
        .count()
    }

    /// Looks a path up and decodes what stands in it.
    pub fn path(path: &str) {
        let methods = [hyper::Method::GET, hyper::Method::POST, hyper::Method::DELETE];
        for method in methods {
            if let Ok(found) = route::find(&method, path) {
                let _ = text::check_path_name("name", &found.name);
            }
        }
    }
}
