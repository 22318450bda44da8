//! Listens for Kafka clients.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use longshore_kafka::message::metadata::Broker;
use longshore_node::Node;
use tokio::sync::Semaphore;

use super::KafkaConfig;
use super::connection::speak;
use super::face::Face;
use super::groups::Groups;
use crate::listener::{Accepting, ListenError, Listener};

/// The number of the one broker.
const BROKER_ID: i32 = 1;

/// Listens where the configuration says; `None` where it says nothing.
///
/// # Errors
///
/// The address cannot be listened at, or the system has no more threads or files.
pub async fn listen(config: &KafkaConfig, node: &Node) -> Result<Option<Listener>, ListenError> {
    let Some(listen) = &config.listen else { return Ok(None) };
    let config = config.clone();
    let serve = move |node, accepting| serve(config, node, accepting);
    Listener::start(("kafka", "Kafka clients"), listen, node, serve).await.map(Some)
}

fn face(config: KafkaConfig, node: Node, address: SocketAddr) -> Face {
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
        config: Arc::new(config),
    }
}

async fn serve(config: KafkaConfig, node: Node, accepting: Accepting) {
    let face = Arc::new(face(config, node, accepting.address));
    let bytes = face.config.in_flight_bytes_max.max(face.config.request_bytes_max);
    let room = Arc::new(Semaphore::new(((bytes >> 10) + 1) as usize));
    let groups = Arc::clone(&face.groups);
    let time = tokio::spawn(async move { groups.keep_time().await });
    let tells = tokio::spawn(Arc::clone(&face).tell_used_groups());
    let most = face.config.connections_max;
    let connect = |stream| speak(Arc::clone(&face), Arc::clone(&room), stream);
    accepting.serve_each(most, connect).await;
    time.abort();
    tells.abort();
}
