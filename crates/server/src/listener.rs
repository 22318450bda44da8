//! A face that listens on a thread of its own: connections are accepted there, and ended when it
//! stops.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_node::Node;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::{ServeError, bind};

/// After an error of `accept`, before it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why a face does not listen.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address cannot be listened at.
    #[error("for {clients}: {error}")]
    Bind {
        /// Whom it was to be listened for.
        clients: &'static str,
        /// Why.
        error: ServeError,
    },
    /// The system has no more threads, or no more files.
    #[error("for {clients}: {error}")]
    Thread {
        /// Whom it was to be listened for.
        clients: &'static str,
        /// Why.
        error: io::Error,
    },
}

/// A face that listens. Dropping it ends the connections at once.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens at an address for `clients`. `serve` runs on a thread called `thread` until the face
    /// is stopped.
    pub(crate) async fn start<S: Future<Output = ()>>(
        (thread, clients): (&'static str, &'static str),
        address: &str,
        node: &Node,
        serve: impl FnOnce(Node, Accepting) -> S + Send + 'static,
    ) -> Result<Self, ListenError> {
        let listener = bind(address).await.map_err(|error| ListenError::Bind { clients, error })?;
        let started = Self::on_a_thread(thread, clients, listener, node, serve);
        let started = started.map_err(|error| ListenError::Thread { clients, error })?;
        tracing::info!(address = %started.address, "listening for {clients}");
        Ok(started)
    }

    fn on_a_thread<S: Future<Output = ()>>(
        thread: &str,
        clients: &'static str,
        listener: TcpListener,
        node: &Node,
        serve: impl FnOnce(Node, Accepting) -> S + Send + 'static,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let listener = listener.into_std()?;
        let (stop, stopped) = watch::channel(false);
        let readers = format!("{thread}-read");
        let runtime = Builder::new_current_thread().enable_all().thread_name(readers).build()?;
        let (node, courier) = node.for_thread();
        let accepting = Accepting { listener, address, stopped, clients };
        let run = move || {
            runtime.spawn(courier);
            runtime.block_on(serve(node, accepting));
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(thread.to_owned()).spawn(run)?;
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections. What was answered is durable; what was not, clients send again.
    pub async fn stop(mut self) {
        let thread = self.end();
        // A panic there was told when it happened.
        drop(tokio::task::spawn_blocking(move || thread.map(JoinHandle::join)).await);
    }

    fn end(&mut self) -> Option<JoinHandle<()>> {
        // Nobody listens where the thread has ended by itself.
        let _ = self.stop.send(true);
        self.thread.take()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// Connections as they come.
#[derive(Debug)]
pub(crate) struct Accepting {
    listener: std::net::TcpListener,
    pub(crate) address: SocketAddr,
    stopped: watch::Receiver<bool>,
    clients: &'static str,
}

impl Accepting {
    /// Has `connect` serve each connection, `most` of them at a time, until the face is stopped.
    /// Further ones wait.
    pub(crate) async fn serve_each<C: Future<Output = ()> + Send + 'static>(
        mut self,
        most: usize,
        mut connect: impl FnMut(TcpStream) -> C,
    ) {
        let clients = self.clients;
        let listener = match TcpListener::from_std(self.listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "cannot listen for {clients}"),
        };
        let mut connections = JoinSet::new();
        loop {
            let more = connections.len() < most;
            tokio::select! {
                biased;
                // An error says that whoever stops it is gone.
                _ = self.stopped.changed() => break,
                accepted = listener.accept(), if more => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connect(stream));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection of {clients} was not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        connections.shutdown().await;
    }
}
