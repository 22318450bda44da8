//! The AMQP face: sockets around the sessions of `longshore-amqp`, on the threads of all
//! connections. What a session asks for goes to its namespace's shard; nothing is decided here.

mod access;
mod connection;
mod connections;
mod gate;

pub(crate) use connection::speak;
pub use connections::AmqpConnections;
pub(crate) use connections::ConnectionView;
