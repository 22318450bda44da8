//! Listens for Kafka clients.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use longshore_kafka::message::metadata::Broker;
use longshore_node::Node;
use tokio::sync::Semaphore;

use super::KafkaConfig;
use super::connection::{LOGIN_TIME_MAX, speak};
use super::face::Face;
use super::faces::Faces;
use crate::access::{Access, Principal};
use crate::groups::ConsumerGroups;
use crate::listener::{Accepting, ListenError, Listener, Places};
use crate::tls::Tls;
use crate::tls::door::Spoken;

/// The number of the one broker.
const BROKER_ID: i32 = 1;

/// Listens where the configuration says; `None` where it says nothing. Groups are those that
/// whoever serves HTTP is given.
///
/// # Errors
///
/// The address cannot be listened at, or the system has no more threads or files.
pub async fn listen(
    config: &KafkaConfig,
    node: &Node,
    (access, tls): (&Access, Option<&Arc<Tls>>),
    groups: &ConsumerGroups,
) -> Result<Option<Listener>, ListenError> {
    let (plain, with_tls) = (config.listen.as_deref(), config.listen_tls.as_deref());
    let places = Places { plain, tls: with_tls, shown: tls, anywhere: access.is_required() };
    let config = config.clone();
    let shared = (access.clone(), groups.clone());
    let serve = move |node, accepting| serve(config, (node, shared), accepting);
    Listener::start(("kafka", "Kafka clients", Spoken::Kafka), places, node, serve).await
}

/// What clients are told who came in at an address.
fn broker(advertised: Option<&(String, u16)>, address: Option<SocketAddr>) -> Broker {
    let listened_at = || address.map(|address| (address.ip().to_string(), address.port()));
    // Nobody comes in where nobody listens.
    let (host, port) = advertised.cloned().or_else(listened_at).unwrap_or_default();
    Broker { id: BROKER_ID, host, port: port.into() }
}

fn face(config: KafkaConfig, (node, groups): (Node, &ConsumerGroups), broker: Broker) -> Face {
    let cluster_id = node.stats().manifest.store_id.simple().to_string();
    let room = |bytes: u64| Arc::new(Semaphore::new((bytes >> 10).max(1) as usize));
    Face {
        node,
        broker,
        cluster_id,
        groups: groups.of(&config.namespace),
        answer_room: room(config.in_flight_bytes_max.max(super::fetch::ANSWER_BYTES_MAX as u64)),
        fetch_sessions: Arc::new(Mutex::default()),
        config: Arc::new(config),
        who: Principal::Local,
    }
}

async fn serve(
    config: KafkaConfig,
    (node, (access, groups)): (Node, (Access, ConsumerGroups)),
    accepting: Accepting,
) {
    let asks = access.is_required();
    let by_tls = broker(config.advertised_tls.as_ref(), accepting.tls);
    let by_plain = broker(config.advertised.as_ref(), accepting.plain);
    let face = Arc::new(face(config, (node.clone(), &groups), by_plain));
    let faces = Arc::new(Faces::new(Arc::clone(&face), by_tls, (access, groups.clone())));
    let bytes = face.config.in_flight_bytes_max.max(face.config.request_bytes_max);
    let room = Arc::new(Semaphore::new(((bytes >> 10) + 1) as usize));
    let keeping = tokio::spawn(groups.keep(node));
    let patience = face.config.idle_timeout;
    // Who is to log in is not waited for as long as those that are let in.
    let patience = if asks { patience.min(LOGIN_TIME_MAX) } else { patience };
    let bounds = (face.config.connections_max, patience);
    let connect = move |stream| speak(Arc::clone(&faces), Arc::clone(&room), stream);
    accepting.serve_each(bounds, connect).await;
    keeping.abort();
}
