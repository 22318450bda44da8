//! Accepts connections, bounds and watches them, and ends them in order.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use longshore_node::Node;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::app::App;
use super::code::Code;
use super::connection::{PREFACE, Progress, speak, told as telling};
use super::descriptors::fit;
use super::refusal::Refusal;
use super::reply::{closing_answer, going_away};
use super::threads::{Place, Threads};
use crate::access::Access;
use crate::amqp::AmqpConnections;
use crate::config::ServerConfig;
use crate::copies::Copies;
use crate::groups::ConsumerGroups;
use crate::running::{Ticks, timeout};
use crate::tls::Tls;
use crate::tls::door::{Door, Spoken};

/// Connections beyond the bound that hear why at the same time; further ones wait to be accepted.
const REFUSING_MAX: usize = 64;
/// How long, and for how many bytes, such a peer may go on sending: what it has sent is taken, or
/// the answer would be lost with it.
const REFUSING_TIME_MAX: Duration = Duration::from_secs(2);
const REFUSING_BYTES_MAX: usize = 32 << 20;
/// How long its first bytes are waited for, which tell what it speaks.
const PREFACE_TIME_MAX: Duration = Duration::from_millis(250);
/// After an error of `accept` (no more files, mostly), before it is tried again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often such an error is told.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Why the server does not listen.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The address is no address.
    #[error(
        "\"{address}\" is no address to listen at; allowed: a loopback address and a port, \
             as in \"127.0.0.1:7077\" or \"[::1]:7077\""
    )]
    AddressMalformed {
        /// What was given.
        address: String,
    },
    /// Others than this machine could reach it.
    #[error(
        "{address} can be reached from other machines, and this server asks nobody who it is, so \
             anybody there could run jobs; set `access` to `required` (--access required) so that \
             only accounts come in, or listen at a loopback address such as 127.0.0.1:{port} or \
             [::1]:{port}"
    )]
    NotLoopback {
        /// What was given.
        address: SocketAddr,
        /// Its port.
        port: u16,
    },
    /// The system refuses.
    #[error("cannot listen at {address}: {error}")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
}

/// Listens at a loopback address; any other is refused. Port 0 takes a free one.
///
/// # Errors
///
/// The address is none or another one, or the system refuses.
pub async fn bind(address: &str) -> Result<TcpListener, ServeError> {
    bind_within(address, false).await
}

/// Listens at any address, of a server that asks who comes in.
///
/// # Errors
///
/// The address is none, or the system refuses.
pub async fn bind_anywhere(address: &str) -> Result<TcpListener, ServeError> {
    bind_within(address, true).await
}

async fn bind_within(address: &str, anywhere: bool) -> Result<TcpListener, ServeError> {
    let malformed = || ServeError::AddressMalformed { address: address.to_owned() };
    let resolved = address.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    let address: SocketAddr =
        resolved.as_deref().unwrap_or(address).parse().map_err(|_| malformed())?;
    if !anywhere && !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback { address, port: address.port() });
    }
    TcpListener::bind(address).await.map_err(|error| ServeError::Bind { address, error })
}

/// Serves HTTP until `shutdown` is ready; then stops in order: no more connections, requests that
/// wait for jobs are answered, what is under way ends, the node's state is flushed.
pub async fn serve(
    config: &ServerConfig,
    node: Node,
    listeners: impl Into<Listeners>,
    shutdown: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let Listeners { http, amqp, https, amqps, tls, access, amqp_connections, groups } =
        listeners.into();
    let bounds = fit(config.http.clone(), node.shards());
    let of = (node.clone(), access, amqp_connections);
    let copies = Copies::start(&config.ship, &node)?;
    let app = App::new(of, bounds, config.amqp.clone(), config.node.limits.clone());
    let app = Arc::new(app.copied_by(copies.clone()).with_groups(groups.clone()));
    let server =
        Server { app, watched: Arc::default(), refusing: Arc::new(Semaphore::new(REFUSING_MAX)) };
    let threads = Threads::start(&server.app)?;
    let (stop, stopping) = watch::channel(false);
    let watch = tokio::spawn(server.clone().watch());
    let retention =
        tokio::spawn(crate::stream_retention::keep(node.clone(), config.kafka.retention_look));
    let keeping = tls.clone().map(|tls| tokio::spawn(tls.keep()));
    let entrances = [
        Entrance::new(Spoken::Http, Some(http), None),
        Entrance::new(Spoken::Http, https, tls.clone()),
        Entrance::new(Spoken::Amqp, amqp, None),
        Entrance::new(Spoken::Amqp, amqps, tls),
    ];
    let entrances: Vec<_> = entrances.into_iter().flatten().collect();
    let compaction = tokio::spawn(crate::stream_compaction::keep(node.clone(), config));
    let triggers = tokio::spawn(crate::triggers::run(node.clone()));
    let keeping_groups = tokio::spawn(groups.keep(node.clone()));
    let (mut connections, mut told, mut next) = (JoinSet::new(), None, 0);
    tokio::pin!(shutdown);
    loop {
        let may_refuse =
            server.refusing.available_permits() > 0 || connections.len() < server.connections_max();
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            // A refusal that has ended is a connection that has ended, and this is looked at again.
            (door, accepted) = accept(&entrances, may_refuse, &mut next) => match accepted {
                Ok(accepted) => {
                    let place = threads.place();
                    server.take(accepted, (door, place), &mut connections, &stopping);
                }
                Err(error) => server.not_accepted(&error, &mut told).await,
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    drop(entrances);
    node.begin_stop();
    // Every connection holds a receiver or has ended; nobody being left is no failure.
    let _ = stop.send(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if timeout(config.http.stop_timeout, all_ended).await.is_err() {
        tracing::warn!(open = connections.len(), "connections were cut, as they did not end");
    }
    connections.shutdown().await;
    watch.abort();
    retention.abort();
    if let Some(keeping) = keeping {
        keeping.abort();
    }
    compaction.abort();
    crate::stream_compaction::end(&node).await;
    triggers.abort();
    keeping_groups.abort();
    node.stop().await;
    if let Some(copies) = copies {
        copies.end().await;
    }
    Ok(())
}

/// Where is listened.
#[derive(Debug)]
pub struct Listeners {
    /// For HTTP and gRPC.
    pub http: TcpListener,
    /// For AMQP.
    pub amqp: Option<TcpListener>,
    /// For HTTP and gRPC over TLS.
    pub https: Option<TcpListener>,
    /// For AMQP over TLS.
    pub amqps: Option<TcpListener>,
    /// The certificates of those two; without them nobody listens there.
    pub tls: Option<Arc<Tls>>,
    /// Who comes in.
    pub access: Access,
    /// Where the connections of AMQP are shown.
    pub amqp_connections: AmqpConnections,
    /// Groups of consumers, those of the Kafka clients among them.
    pub groups: ConsumerGroups,
}

impl From<TcpListener> for Listeners {
    fn from(http: TcpListener) -> Self {
        Self {
            http,
            amqp: None,
            https: None,
            amqps: None,
            tls: None,
            access: Access::off(),
            amqp_connections: AmqpConnections::default(),
            groups: ConsumerGroups::default(),
        }
    }
}

/// Where connections come from, and the door that they go through.
struct Entrance {
    listener: TcpListener,
    door: Arc<Door>,
}

impl Entrance {
    /// `None` where nobody listens.
    fn new(spoken: Spoken, listener: Option<TcpListener>, tls: Option<Arc<Tls>>) -> Option<Self> {
        Some(Self { listener: listener?, door: Arc::new(Door::new(spoken, tls)) })
    }
}

type Accepted = (TcpStream, SocketAddr);

/// The next connection at any of the entrances, at those for HTTP only where some may be refused.
/// The one at `next` is looked at first: where connections come all the time at one, others are not
/// kept waiting.
async fn accept(
    entrances: &[Entrance],
    may_refuse: bool,
    next: &mut usize,
) -> (Arc<Door>, std::io::Result<Accepted>) {
    poll_fn(|context| {
        let first = *next % entrances.len().max(1);
        for index in (first..entrances.len()).chain(0..first) {
            let Some(Entrance { listener, door }) = entrances.get(index) else { continue };
            if door.spoken() == Spoken::Http && !may_refuse {
                continue;
            }
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                *next = index + 1;
                return Poll::Ready((Arc::clone(door), accepted));
            }
        }
        Poll::Pending
    })
    .await
}

/// Connections by number.
type WatchedConnections = HashMap<u64, WatchedConnection>;

/// How far a connection is, the clock of its thread, and how to end it.
#[derive(Debug)]
struct WatchedConnection {
    progress: Arc<Progress>,
    ticks: Arc<Ticks>,
    abort: AbortHandle,
}

/// What the connections share.
#[derive(Clone, Debug)]
struct Server {
    app: Arc<App>,
    watched: Arc<Mutex<WatchedConnections>>,
    refusing: Arc<Semaphore>,
}

/// A connection that is counted and watched until it is dropped.
struct Counted {
    server: Server,
    number: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.server.app.counts.connections.fetch_sub(1, Ordering::Relaxed);
        self.server.lock().remove(&self.number);
    }
}

impl Server {
    fn lock(&self) -> MutexGuard<'_, WatchedConnections> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(
        &self,
        (stream, address): Accepted,
        (door, place): (Arc<Door>, Place),
        connections: &mut JoinSet<()>,
        stopping: &watch::Receiver<bool>,
    ) {
        let counts = &self.app.counts;
        let number = counts.connections_total.fetch_add(1, Ordering::Relaxed);
        let earlier = counts.connections.load(Ordering::Relaxed);
        if earlier >= self.connections_max() {
            counts.connections_refused_total.fetch_add(1, Ordering::Relaxed);
            // A client of AMQP is told nothing before it has spoken: it tries again. A handshake
            // would cost what there is too little of.
            if door.spoken() == Spoken::Http && !door.is_tls() {
                self.refuse(stream, connections);
            }
            return;
        }
        counts.connections.fetch_add(1, Ordering::Relaxed);
        let counted = Counted { server: self.clone(), number };
        let ticks = Arc::clone(&place.ticks);
        let progress = Arc::new(Progress::new(ticks.now()));
        let (app, clock) = (Arc::clone(&place.app), Arc::clone(&ticks));
        let (seen, mut stopping) = (Arc::clone(&progress), stopping.clone());
        let handle = place.handle.clone();
        let connection = async move {
            let _held = (counted, place);
            // What the accepting thread watches, this one has to watch from now on.
            let stream = match stream.into_std().and_then(TcpStream::from_std) {
                Ok(stream) => stream,
                Err(error) => return tracing::warn!(%error, "a connection could not be watched"),
            };
            // Who says nothing is ended by the watch.
            let stream = tokio::select! {
                biased;
                stream = door.open(stream, address, Duration::MAX) => stream,
                () = telling(&mut stopping, &seen) => None,
            };
            let Some(stream) = stream else { return };
            if door.spoken() == Spoken::Amqp {
                crate::amqp::speak(app, stream, number, seen, clock, stopping).await;
            } else {
                speak(app, stream, earlier, seen, clock, stopping).await;
            }
        };
        // The lock is held until the entry is there, so that an early end does not leave it.
        let mut watched = self.lock();
        let abort = connections.spawn_on(connection, &handle);
        watched.insert(number, WatchedConnection { progress, ticks, abort });
    }

    /// Connections that may be open in all.
    fn connections_max(&self) -> usize {
        self.app.config.connections_max + self.app.config.connections_reserved
    }

    /// Ends the connections of peers that have taken too long, looking once a second, and others
    /// where room is short.
    async fn watch(self) {
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            seconds.tick().await;
            let mut overdue = Vec::new();
            for WatchedConnection { progress, ticks, abort } in self.lock().values() {
                if progress.is_overdue(ticks.now(), &self.app.config) {
                    overdue.push(abort.clone());
                }
            }
            let count = overdue.len() as u64;
            self.app.counts.connections_timed_out_total.fetch_add(count, Ordering::Relaxed);
            for abort in overdue {
                abort.abort();
            }
            self.make_room();
        }
    }

    /// Lets connections go that owe a request for longest, so many that the next ones find as much
    /// room for everything as is reserved.
    fn make_room(&self) {
        let config = &self.app.config;
        let (max, reserved) = (config.connections_max, config.connections_reserved);
        let open = self.app.counts.connections.load(Ordering::Relaxed);
        if open >= max {
            self.let_go((open - max + reserved).max(1));
        }
    }

    /// Lets so many connections go that owe a request for longest, as far as there are any.
    fn let_go(&self, count: usize) {
        let config = &self.app.config;
        let watched = self.lock();
        let mut owing: Vec<_> = watched
            .values()
            .filter_map(|one| Some((one.progress.owing_for(one.ticks.now(), config)?, one)))
            .collect();
        owing.sort_unstable_by_key(|(owing, _)| std::cmp::Reverse(*owing));
        owing.truncate(count);
        let count = owing.len() as u64;
        self.app.counts.connections_let_go_total.fetch_add(count, Ordering::Relaxed);
        for (_, one) in owing {
            one.progress.let_go(&one.abort);
        }
    }

    /// What comes of an error of `accept`: of a connection that was gone before it was accepted,
    /// nothing. Else something is used up, descriptors mostly: a connection that owes a request
    /// makes room, and then it is tried again. Such an error is told once in a while.
    async fn not_accepted(&self, error: &std::io::Error, told: &mut Option<Instant>) {
        if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) {
            return;
        }
        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(%error, "no connection could be accepted");
        }
        self.let_go(1);
        sleep(ACCEPT_PAUSE).await;
    }

    /// Tells a peer that there are too many connections.
    fn refuse(&self, mut stream: TcpStream, connections: &mut JoinSet<()>) {
        let Ok(permit) = Arc::clone(&self.refusing).try_acquire_owned() else { return };
        let detail = format!("{} connections are open, as many as may", self.connections_max());
        let refusal = Refusal::new(Code::TooManyConnections, detail).retry_after_s(1);
        self.app.counts.answered(refusal.code().status());
        connections.spawn(async move {
            let telling = async {
                // Who says nothing yet is told in HTTP/1.1.
                let speaks_http2 = timeout(PREFACE_TIME_MAX, begins_http2(&mut stream)).await;
                let answer = match speaks_http2 {
                    Ok(true) => going_away(&refusal),
                    Ok(false) | Err(_) => closing_answer(&refusal),
                };
                stream.write_all(&answer).await?;
                stream.shutdown().await?;
                let (mut dropped, mut bytes) = ([0_u8; 4096], 0);
                while bytes < REFUSING_BYTES_MAX {
                    match stream.read(&mut dropped).await? {
                        0 => break,
                        count => bytes += count,
                    }
                }
                std::io::Result::Ok(())
            };
            // The peer may have gone, or send for ever.
            let _ = timeout(REFUSING_TIME_MAX, telling).await;
            drop(permit);
        });
    }
}

/// Whether a peer begins as one of HTTP/2 does.
async fn begins_http2(stream: &mut TcpStream) -> bool {
    let (mut first, mut length) = ([0; PREFACE.len()], 0);
    while let Some(room @ [_, ..]) = first.get_mut(length..) {
        match stream.read(room).await {
            Ok(count) if count > 0 => length += count,
            _ => return false,
        }
        if first.get(..length) != PREFACE.get(..length) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_is_listened_at() {
        for address in ["127.0.0.1:0", "localhost:0", "127.9.9.9:0"] {
            let listener = bind(address).await.unwrap();
            assert!(listener.local_addr().unwrap().ip().is_loopback(), "{address}");
        }
        for address in ["0.0.0.0:0", "[::]:0", "192.168.1.1:4200", "[2001:db8::1]:4200"] {
            let refused = bind(address).await.unwrap_err();
            assert!(matches!(refused, ServeError::NotLoopback { .. }), "{address}");
            assert!(refused.to_string().contains("--access required"));
        }
        for address in ["", "4200", "127.0.0.1", "example.com:80", "127.0.0.1:99999"] {
            let refused = bind(address).await.unwrap_err();
            assert!(matches!(refused, ServeError::AddressMalformed { .. }), "{address}");
        }
    }
}
