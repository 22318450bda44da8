//! The open connections of AMQP, to be shown and closed. Each answers for itself, so that nothing
//! is counted twice and an idle one costs a channel and a place in a map.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use longshore_amqp::SessionView;
use tokio::sync::{mpsc, oneshot};

use crate::running::timeout;

/// How long connections have to tell of themselves.
const LOOK_TIME_MAX: Duration = Duration::from_secs(2);
/// Questions that a connection has not answered yet.
const ASKS_MAX: usize = 4;

/// The open connections of AMQP of a server. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct AmqpConnections(Arc<Mutex<BTreeMap<u64, mpsc::Sender<Ask>>>>);

/// What a connection is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    /// To tell of itself.
    Look(oneshot::Sender<ConnectionView>),
    /// To close, for this reason.
    Close(String),
}

/// A connection as people are shown it.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionView {
    /// Which it is in this server.
    pub(crate) number: u64,
    pub(crate) session: SessionView,
    pub(crate) peer: SocketAddr,
    pub(crate) own: SocketAddr,
    pub(crate) is_tls: bool,
    /// When it was opened, in milliseconds since 1970.
    pub(crate) since_ms: u64,
    /// Bytes that have come and gone.
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl ConnectionView {
    /// Its name, as `RabbitMQ` makes it.
    pub(crate) fn name(&self) -> String {
        format!("{} -> {}", self.peer, self.own)
    }
}

/// The place of an open connection among all; it is given up when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    all: AmqpConnections,
    number: u64,
    asks: mpsc::Receiver<Ask>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.lock().remove(&self.number);
    }
}

impl Place {
    /// What it is asked next.
    pub(super) async fn asked(&mut self) -> Ask {
        match self.asks.recv().await {
            Some(ask) => ask,
            // The sender is in the map for as long as this is there.
            None => std::future::pending().await,
        }
    }
}

impl AmqpConnections {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, mpsc::Sender<Ask>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(&self, number: u64) -> Place {
        let (sender, asks) = mpsc::channel(ASKS_MAX);
        self.lock().insert(number, sender);
        Place { all: self.clone(), number, asks }
    }

    /// All that are open and tell of themselves in time, the oldest first.
    pub(crate) async fn look(&self) -> Vec<ConnectionView> {
        let senders: Vec<_> = self.lock().values().cloned().collect();
        let asked = senders.into_iter().filter_map(|sender| {
            let (tell, told) = oneshot::channel();
            sender.try_send(Ask::Look(tell)).ok().map(|()| told)
        });
        // All are asked before the first is waited for.
        let asked: Vec<_> = asked.collect();
        let mut views = Vec::with_capacity(asked.len());
        let until = Instant::now() + LOOK_TIME_MAX;
        for mut told in asked {
            let left = until.saturating_duration_since(Instant::now());
            // Those that are slow to answer are left out, and nobody with them.
            match timeout(left, &mut told).await {
                Ok(view) => views.extend(view.ok()),
                Err(_) => views.extend(told.try_recv().ok()),
            }
        }
        views
    }

    /// Closes a connection. Whether it is open and heard of it.
    pub(crate) fn close(&self, number: u64, reason: &str) -> bool {
        let sender = self.lock().get(&number).cloned();
        sender.is_some_and(|it| it.try_send(Ask::Close(reason.to_owned())).is_ok())
    }
}
