//! The gRPC face: the same commands, limits and refusals as over HTTP, on the same port, and the
//! stream of each worker. What the messages mean is written in `proto/longshore/v1`. It holds no
//! state that must survive, and no rule about jobs that the engine does not have.

mod admin;
mod answer;
mod arriving;
mod connection;
pub mod fuzz;
mod job_in;
mod job_out;
mod jobs;
mod outgoing;
mod refusal;
mod work;
mod workers;

use std::sync::Arc;

use tokio::sync::watch;

pub(crate) use connection::speak;

use crate::http::app::App;

/// What the services need, beside the request: one for each connection.
#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) app: Arc<App>,
    /// Connections that were open when this one was accepted.
    pub(crate) earlier: usize,
    /// Whether the server is about to stop.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Face {
    /// Is ready once the server is about to stop.
    pub(crate) async fn stopped(&self) {
        // The server being gone is a stop as well.
        let _ = self.stopping.clone().wait_for(|stopping| *stopping).await;
    }
}

/// The namespace that a request names.
pub(crate) fn namespace_of(named: &str) -> Result<&str, crate::http::refusal::Refusal> {
    if named.is_empty() {
        return Ok("default");
    }
    crate::http::text::check_path_name("namespace", named).map(|()| named)
}
