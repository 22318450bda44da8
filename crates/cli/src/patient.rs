//! Asking a server again and again until something is so: once it has answered, a server that is
//! away, or starts again, is waited for. A first request that finds nobody is an error.

use crate::client::{Client, Fault};
use crate::failure::Failure;
use crate::http::Reply;
use crate::output::{note, printable};
use crate::work::Backoff;
use tokio::time::{Instant, sleep};

/// Who asks.
#[derive(Debug)]
pub(crate) struct Patient<'a> {
    client: &'a Client,
    /// The server has answered before.
    met: bool,
    /// It was said that it does not answer.
    away: bool,
}

impl<'a> Patient<'a> {
    /// Somebody who has not heard of the server yet.
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, met: false, away: false }
    }

    /// Gets an answer, at the latest until `until`.
    pub(crate) async fn get(
        &mut self,
        path: &str,
        until: Option<Instant>,
    ) -> Result<Reply, Failure> {
        let mut backoff = Backoff::new();
        loop {
            let fault = match self.client.ask("GET", path, None).await {
                Ok(reply) => {
                    self.met = true;
                    if std::mem::take(&mut self.away) {
                        note("the server answers again");
                    }
                    return Ok(reply);
                }
                Err(fault) => fault,
            };
            let (why, after) = match &fault {
                Fault::Away(error) => (error.to_string(), None),
                Fault::Refused(refusal) => (refusal.message.clone(), refusal.retry_after_s),
            };
            let is_temporary = match &fault {
                Fault::Away(_) => self.met,
                Fault::Refused(refusal) => self.met && refusal.is_temporary(),
            };
            let delay = backoff.delay(after);
            if !is_temporary || until.is_some_and(|until| until < Instant::now() + delay) {
                return Err(self.client.failure(fault));
            }
            if !std::mem::replace(&mut self.away, true) {
                note(&format!("the server does not answer ({}); trying again", printable(&why)));
            }
            sleep(delay).await;
        }
    }
}
