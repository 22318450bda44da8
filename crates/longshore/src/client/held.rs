//! Connections for calls that the server holds: who waits shall not hold up who hands over.

use std::sync::{Arc, Mutex};

use tonic::transport::{Channel, Endpoint};

use crate::run::lock;

/// Calls on one connection: fewer than the 256 that a server answers at a time.
const CALLS_MAX: usize = 200;

/// Connections that are made as they are needed.
#[derive(Debug)]
pub(super) struct HeldCalls {
    endpoint: Endpoint,
    lines: Mutex<Vec<Line>>,
}

#[derive(Debug)]
struct Line {
    channel: Channel,
    /// One more reference than there are calls.
    calls: Arc<()>,
}

/// The place of a call on its connection, which is free once this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    _call: Arc<()>,
}

impl HeldCalls {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, lines: Mutex::default() }
    }

    /// A connection that answers one more call at once.
    pub(super) fn place(&self) -> (Channel, Place) {
        let mut lines = lock(&self.lines);
        let has_room = |line: &Line| Arc::strong_count(&line.calls) <= CALLS_MAX;
        if let Some(line) = lines.iter().find(|line| has_room(line)) {
            let taken = (line.channel.clone(), Place { _call: Arc::clone(&line.calls) });
            // Calls go to the first with room, so the last ones are those that nobody needs.
            while lines.len() > 1 && lines.last().is_some_and(is_idle) {
                lines.pop();
            }
            return taken;
        }
        let line = Line { channel: self.endpoint.connect_lazy(), calls: Arc::default() };
        let taken = (line.channel.clone(), Place { _call: Arc::clone(&line.calls) });
        lines.push(line);
        taken
    }
}

fn is_idle(line: &Line) -> bool {
    Arc::strong_count(&line.calls) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_connection_holds_more_calls_than_a_server_answers() {
        let held = HeldCalls::new(Endpoint::from_static("http://127.0.0.1:1"));
        let lines = || held.lines.lock().unwrap().len();
        let mut places: Vec<_> = (0..CALLS_MAX).map(|_| held.place().1).collect();
        assert_eq!(lines(), 1);
        places.push(held.place().1);
        assert_eq!(lines(), 2);
        places.clear();
        drop(held.place());
        assert_eq!(lines(), 1);
    }
}
