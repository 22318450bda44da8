//! The listener: accepts connections on a thread of their own, and ends them in order.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use longshore_kafka::message::metadata::Broker;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::KafkaConfig;
use super::connection::speak;
use super::face::Face;
use super::groups::Groups;
use crate::http::{ServeError, bind};
use longshore_node::Node;

/// The number of the one broker.
const BROKER_ID: i32 = 1;

/// After an error of `accept`, before it is tried again.
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Why the Kafka face does not listen.
#[derive(Debug, Error)]
pub enum ListenError {
    /// The address cannot be listened at.
    #[error("for Kafka clients: {0}")]
    Bind(#[from] ServeError),
    /// The system has no more threads, or no more files.
    #[error("for Kafka clients: {0}")]
    Thread(#[from] std::io::Error),
}

/// A Kafka face that listens. Dropping it ends the connections at once.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens where the configuration says; `None` where it says nothing.
    pub async fn start(config: &KafkaConfig, node: &Node) -> Result<Option<Self>, ListenError> {
        let Some(listen) = &config.listen else { return Ok(None) };
        let listener = bind(listen).await?;
        let address = listener.local_addr()?;
        let listener = listener.into_std()?;
        let (stop, stopped) = watch::channel(false);
        let runtime =
            Builder::new_current_thread().enable_all().thread_name("kafka-read").build()?;
        let (node, courier) = node.for_thread();
        let face = Arc::new(face(config, node, address));
        let run = move || {
            runtime.spawn(courier);
            runtime.block_on(accept(face, listener, stopped));
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("kafka".into()).spawn(run)?;
        tracing::info!(%address, "listening for Kafka clients");
        Ok(Some(Self { address, stop, thread: Some(thread) }))
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

fn face(config: &KafkaConfig, node: Node, address: SocketAddr) -> Face {
    let (host, port) =
        config.advertised.clone().unwrap_or_else(|| (address.ip().to_string(), address.port()));
    let cluster_id = node.stats().manifest.store_id.simple().to_string();
    let room = |bytes: u64| Arc::new(Semaphore::new((bytes >> 10).max(1) as usize));
    Face {
        node,
        broker: Broker { id: BROKER_ID, host, port: port.into() },
        cluster_id,
        groups: Arc::new(Groups::new()),
        answer_room: room(config.in_flight_bytes_max.max(super::fetch::ANSWER_BYTES_MAX as u64)),
        fetch_sessions: Mutex::default(),
        config: Arc::new(config.clone()),
    }
}

async fn accept(
    face: Arc<Face>,
    listener: std::net::TcpListener,
    mut stopped: watch::Receiver<bool>,
) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "Kafka clients cannot be listened for"),
    };
    let bytes = face.config.in_flight_bytes_max.max(face.config.request_bytes_max);
    let room = Arc::new(Semaphore::new(((bytes >> 10) + 1) as usize));
    let groups = Arc::clone(&face.groups);
    let time = tokio::spawn(async move { groups.keep_time().await });
    let tells = tokio::spawn(Arc::clone(&face).tell_used_groups());
    let mut connections = JoinSet::new();
    loop {
        let more = connections.len() < face.config.connections_max;
        tokio::select! {
            biased;
            // An error says that whoever stops it is gone.
            _ = stopped.changed() => break,
            accepted = listener.accept(), if more => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(speak(Arc::clone(&face), Arc::clone(&room), stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "a Kafka connection was not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
    time.abort();
    tells.abort();
    connections.shutdown().await;
}
