//! The management HTTP API of `RabbitMQ`, the part that `rabbitmqadmin` and clients' tools use:
//! exchanges, queues, bindings, policies and definitions by `RabbitMQ`'s words. What it asks for is
//! what every face may ask of the engine.

mod arguments;
mod clients;
mod definitions;
mod messages;
mod objects;
mod patient;
mod patterns;
mod serve;
mod users;

pub use serve::listen;

/// Where the management face is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ManagementConfig {
    /// The address to listen at, a loopback address unless accounts are required; `None` for
    /// nowhere.
    pub listen: Option<String>,
    /// The address to listen at with TLS; `None` for nowhere.
    pub listen_tls: Option<String>,
}
