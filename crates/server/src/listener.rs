//! A face that listens on a thread of its own: connections are accepted there, and ended when it
//! stops.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use longshore_node::Node;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::{ServeError, bind, bind_anywhere};
use crate::sparse::Sparse;
use crate::tls::Tls;
use crate::tls::door::{Door, Spoken};
use crate::tls::stream::Stream;

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
    /// It was to be listened with TLS, and there is no certificate.
    #[error("for {clients}: to listen with TLS a certificate is needed: set tls.certificate")]
    NoCertificate {
        /// Whom it was to be listened for.
        clients: &'static str,
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

/// Where a face is to listen: in plain text, and with TLS and what is shown there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places<'a> {
    pub(crate) plain: Option<&'a str>,
    pub(crate) tls: Option<&'a str>,
    pub(crate) shown: Option<&'a Arc<Tls>>,
    /// Who comes in is asked who it is, so others than this machine may.
    pub(crate) anywhere: bool,
}

/// A face that listens. Dropping it ends the connections at once.
#[derive(Debug)]
pub struct Listener {
    plain: Option<SocketAddr>,
    tls: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens for `clients`, who speak `spoken`; `None` where no place is named. `serve` runs on a
    /// thread called `thread` until the face is stopped.
    pub(crate) async fn start<S: Future<Output = ()>>(
        (thread, clients, spoken): (&'static str, &'static str, Spoken),
        places: Places<'_>,
        node: &Node,
        serve: impl FnOnce(Node, Accepting) -> S + Send + 'static,
    ) -> Result<Option<Self>, ListenError> {
        let mut entrances = Vec::new();
        for (address, is_tls) in [(places.plain, false), (places.tls, true)] {
            let Some(address) = address else { continue };
            let tls = places.shown.filter(|_| is_tls).cloned();
            if is_tls && tls.is_none() {
                return Err(ListenError::NoCertificate { clients });
            }
            let listener =
                if places.anywhere { bind_anywhere(address).await } else { bind(address).await };
            let listener = listener.map_err(|error| ListenError::Bind { clients, error })?;
            entrances.push((listener, Door::new(spoken, tls)));
        }
        if entrances.is_empty() {
            return Ok(None);
        }
        let started = Self::on_a_thread(thread, clients, entrances, node, serve);
        let started = started.map_err(|error| ListenError::Thread { clients, error })?;
        for (address, how) in [(started.plain, "in plain text"), (started.tls, "with TLS")] {
            if let Some(address) = address {
                tracing::info!(%address, "listening for {clients} {how}");
            }
        }
        Ok(Some(started))
    }

    fn on_a_thread<S: Future<Output = ()>>(
        thread: &str,
        clients: &'static str,
        entrances: Vec<(TcpListener, Door)>,
        node: &Node,
        serve: impl FnOnce(Node, Accepting) -> S + Send + 'static,
    ) -> io::Result<Self> {
        let (mut plain, mut tls, mut taken) = (None, None, Vec::new());
        for (listener, door) in entrances {
            let address = Some(listener.local_addr()?);
            *(if door.is_tls() { &mut tls } else { &mut plain }) = address;
            taken.push((listener.into_std()?, Arc::new(door)));
        }
        let (stop, stopped) = watch::channel(false);
        let readers = format!("{thread}-read");
        let runtime = Builder::new_current_thread().enable_all().thread_name(readers).build()?;
        let (node, courier) = node.for_thread();
        let accepting = Accepting { entrances: taken, plain, tls, stopped, clients };
        let run = move || {
            runtime.spawn(courier);
            runtime.block_on(serve(node, accepting));
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name(thread.to_owned()).spawn(run)?;
        Ok(Self { plain, tls, stop, thread: Some(thread) })
    }

    /// Where it listens for plain text.
    pub fn plain(&self) -> Option<SocketAddr> {
        self.plain
    }

    /// Where it listens for TLS.
    pub fn tls(&self) -> Option<SocketAddr> {
        self.tls
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
    entrances: Vec<(std::net::TcpListener, Arc<Door>)>,
    pub(crate) plain: Option<SocketAddr>,
    pub(crate) tls: Option<SocketAddr>,
    stopped: watch::Receiver<bool>,
    clients: &'static str,
}

impl Accepting {
    /// Has `connect` serve each connection, `most` of them at a time, until the face is stopped.
    /// Further ones wait. One that says nothing within `patience` ends.
    pub(crate) async fn serve_each<C: Future<Output = ()> + Send + 'static>(
        mut self,
        (most, patience): (usize, Duration),
        connect: impl Fn(Stream) -> C + Send + Sync + 'static,
    ) {
        let (clients, connect) = (self.clients, Arc::new(connect));
        let mut entrances = Vec::new();
        for (listener, door) in self.entrances {
            match TcpListener::from_std(listener) {
                Ok(listener) => entrances.push((listener, door)),
                Err(error) => return tracing::error!(%error, "cannot listen for {clients}"),
            }
        }
        let (mut connections, mut next, failures) = (JoinSet::new(), 0, Sparse::default());
        loop {
            let more = connections.len() < most;
            tokio::select! {
                biased;
                // An error says that whoever stops it is gone.
                _ = self.stopped.changed() => break,
                (door, accepted) = accept(&entrances, &mut next), if more => match accepted {
                    Ok((stream, address)) => {
                        let connect = Arc::clone(&connect);
                        connections.spawn(async move {
                            if let Some(stream) = door.open(stream, address, patience).await {
                                connect(stream).await;
                            }
                        });
                    }
                    Err(error) => {
                        if let Some(times) = failures.happens() {
                            tracing::warn!(
                                %error, times, "a connection of {clients} was not accepted"
                            );
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
            }
        }
        connections.shutdown().await;
    }
}

/// The next connection, and the door that it comes to. The one at `next` is looked at first: where
/// connections come all the time at one, others are not kept waiting.
async fn accept(
    entrances: &[(TcpListener, Arc<Door>)],
    next: &mut usize,
) -> (Arc<Door>, io::Result<(TcpStream, SocketAddr)>) {
    poll_fn(|context| {
        let first = *next % entrances.len().max(1);
        for index in (first..entrances.len()).chain(0..first) {
            let Some((listener, door)) = entrances.get(index) else { continue };
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                *next = index + 1;
                return Poll::Ready((Arc::clone(door), accepted));
            }
        }
        Poll::Pending
    })
    .await
}
