//! Entry points for fuzzers: what comes off a socket, before anything is known about it.

use bytes::Bytes;
use longshore_engine::{JobId, Limits, TimeMs};

use super::parse::{self, Bounds};
use super::refusal::Refusal;
use super::{route, text};

/// Reads `body` as every kind of request. Returns how many took it.
pub fn bodies(body: &[u8]) -> usize {
    let body = Bytes::copy_from_slice(body);
    let bounds = Bounds::of(&Limits::default());
    let id = JobId([7; 16]);
    let now = TimeMs(1_800_000_000_000);
    let taken = [
        is_taken(parse::parse_enqueue("queue", &body, &bounds)),
        is_taken(parse::parse_lease(&body, &bounds)),
        is_taken(parse::parse_settle(&body, &bounds)),
        is_taken(parse::parse_ack(id, &body, &bounds)),
        is_taken(parse::parse_fail(id, &body, &bounds)),
        is_taken(parse::parse_snooze(id, &body, &bounds)),
        is_taken(parse::parse_release(id, &body)),
        is_taken(parse::parse_discard(id, &body)),
        is_taken(parse::parse_interrupt(id, &body, &bounds)),
        is_taken(parse::parse_heartbeat(id, &body, &bounds)),
        is_taken(parse::parse_checkpoint(id, &body, &bounds)),
        is_taken(parse::parse_retry(&body, &bounds)),
        is_taken(parse::parse_settings(&body, &bounds)),
        is_taken(parse::parse_operation(&body, now)),
        is_taken(parse::parse_purge(&body, now)),
        is_taken(parse::parse_retry_dead(&body, now)),
    ];
    taken.into_iter().filter(|taken| *taken).count()
}

/// Drops what was read before the next parser has its turn: a request is read once.
fn is_taken<T>(read: Result<T, Refusal>) -> bool {
    match read {
        Ok(_) => true,
        Err(refusal) => {
            drop(refusal.problem());
            false
        }
    }
}

/// Looks a path up and decodes what stands in it. Returns with how many methods it leads to a
/// route.
pub fn path(path: &str) -> usize {
    let methods = [hyper::Method::GET, hyper::Method::POST, hyper::Method::DELETE];
    let leads = |method: &hyper::Method| {
        let found = route::find(method, path);
        found.is_ok_and(|found| text::check_path_name("name", &found.name).is_ok())
    };
    methods.iter().filter(|method| leads(method)).count()
}
