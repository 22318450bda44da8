//! The Kafka face: connections, and what each request has the streams of one namespace do. Frames
//! and groups are `longshore_kafka`'s.

mod admin;
mod codes_of;
mod configs;
mod connection;
mod consumer_groups;
mod face;
mod faces;
mod fetch;
mod groups;
mod inspect;
mod metadata;
mod offsets;
mod produce;
mod sasl;
mod serve;
mod transactions;

use std::time::Duration;

pub(crate) use metadata::topic_id;
pub use serve::listen;

/// Bounds of the Kafka face, and where it is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KafkaConfig {
    /// The address to listen at, a loopback address unless accounts are required; `None` for
    /// nowhere.
    pub listen: Option<String>,
    /// The address to listen at with TLS; `None` for nowhere.
    pub listen_tls: Option<String>,
    /// Host and port that clients are told; `None` for those listened at.
    pub advertised: Option<(String, u16)>,
    /// Those that clients with TLS are told.
    pub advertised_tls: Option<(String, u16)>,
    /// The namespace of its clients.
    pub namespace: String,
    /// Whether a stream comes into being when somebody first asks for it.
    pub auto_create: bool,
    /// Partitions of a stream where nobody says.
    pub partitions_default: u32,
    /// Connections at the same time.
    pub connections_max: usize,
    /// Bytes of one request.
    pub request_bytes_max: u64,
    /// Bytes of all requests that are not answered, and of all answers with events that are not
    /// taken.
    pub in_flight_bytes_max: u64,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// How often it is looked which events are kept no longer.
    pub retention_look: Duration,
    /// How often it is looked where older events of a key can go.
    pub compaction_look: Duration,
    /// Memory for the keys of one round of that.
    pub compaction_memory_bytes: u64,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            listen: None,
            listen_tls: None,
            advertised: None,
            advertised_tls: None,
            namespace: "default".into(),
            auto_create: true,
            partitions_default: 1,
            connections_max: 1000,
            request_bytes_max: 32 << 20,
            in_flight_bytes_max: 64 << 20,
            idle_timeout: Duration::from_secs(600),
            retention_look: Duration::from_secs(30),
            compaction_look: Duration::from_secs(15),
            compaction_memory_bytes: 32 << 20,
        }
    }
}
