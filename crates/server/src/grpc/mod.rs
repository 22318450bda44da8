//! The gRPC face: the same commands, limits and refusals as over HTTP, on the same port, and the
//! stream of each worker. What the messages mean is written in `proto/longshore/v1`. It holds no
//! state that must survive, and no rule about jobs that the engine does not have.

mod accounts;
mod admin;
mod answer;
mod arriving;
mod connection;
mod control;
pub mod fuzz;
mod job_in;
mod job_out;
mod jobs;
mod levels;
mod messages;
mod needs;
mod outgoing;
mod refusal;
mod schedules;
mod streams;
mod work;
mod workers;

use std::sync::Arc;

use prost::Message;
use tokio::sync::watch;
use tonic::{Response, Status};

pub(crate) use connection::speak;

use crate::http::answers::Account;
use crate::http::app::App;
use crate::http::refusal::Refusal;

/// What the services need, beside the request: one for each connection.
#[derive(Debug)]
pub(crate) struct Face {
    pub(crate) app: Arc<App>,
    /// Connections that were open when this one was accepted.
    pub(crate) earlier: usize,
    /// Whether the server is about to stop.
    pub(crate) stopping: watch::Receiver<bool>,
    /// What the connection has not taken.
    pub(crate) account: Account,
}

impl Face {
    /// Is ready once the server is about to stop.
    pub(crate) async fn stopped(&self) {
        // The server being gone is a stop as well.
        let _ = self.stopping.clone().wait_for(|stopping| *stopping).await;
    }

    /// Is ready once the server is about to stop, or whoever asks may no longer do what it did.
    pub(crate) async fn ended(&self) {
        tokio::select! {
            () = self.stopped() => {}
            () = self.app.who.ended() => {}
        }
    }

    /// Refuses a question that may be answered with much, where too much is unread.
    fn check_reads(&self) -> Result<(), Refusal> {
        self.app.check_reads_of(&self.account)
    }

    /// The answer to a question, counted until its reader has taken it.
    fn read<M: Message>(&self, message: M) -> Result<Response<M>, Status> {
        Ok(self.app.held_beside(&self.account, message.encoded_len(), message)?)
    }
}

/// The namespace that a request names.
pub(crate) fn namespace_of(named: &str) -> Result<&str, Refusal> {
    if named.is_empty() {
        return Ok("default");
    }
    crate::http::text::check_path_name("namespace", named).map(|()| named)
}
