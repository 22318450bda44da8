//! Connections of AMQP, their channels and consumers, by `RabbitMQ`'s words.

use hyper::StatusCode;
use longshore_amqp::{ChannelView, ConsumerView};
use serde_json::{Value, json};

use super::arguments::json_of;
use super::objects::NODE;
use super::serve::{Api, Fault, Told, namespace_of};
use crate::access::{ADMIN, Need, READ};
use crate::amqp::ConnectionView;

/// What a client is told whose connection an operator closes, where he gives no reason.
const CLOSED: &str = "Closed via management plugin";
/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 200;

/// What is asked for of all connections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Which<'a> {
    pub(super) vhost: Option<&'a str>,
    pub(super) user: Option<&'a str>,
    pub(super) name: Option<&'a str>,
}

impl Api {
    /// The connections that whoever asks may see.
    async fn views(&self, which: Which<'_>) -> Vec<ConnectionView> {
        let ns = which.vhost.map(namespace_of);
        let mut views = self.connections.look().await;
        views.retain(|it| {
            ns.is_none_or(|ns| it.session.namespace == ns)
                && which.user.is_none_or(|user| it.session.user == user)
                && which.name.is_none_or(|name| it.name() == name)
                && self.who.demand(&it.session.namespace, &Need::everywhere(READ)).is_ok()
        });
        views
    }

    pub(super) async fn connections(&self, which: Which<'_>) -> Value {
        self.views(which).await.iter().map(connection).collect()
    }

    pub(super) async fn connection(&self, name: &str) -> Result<Value, Fault> {
        let which = Which { name: Some(name), ..Which::default() };
        self.views(which).await.first().map(connection).ok_or_else(Fault::not_found)
    }

    /// Closes a connection: the client hears of it as `RabbitMQ` tells it.
    pub(super) async fn close_connection(
        &self,
        name: &str,
        reason: Option<&str>,
    ) -> Result<Told, Fault> {
        let reason = reason.unwrap_or(CLOSED);
        if reason.len() > REASON_BYTES_MAX {
            let text = format!("X-Reason has at most {REASON_BYTES_MAX} bytes");
            return Err(Fault::bad(text));
        }
        let which = Which { name: Some(name), ..Which::default() };
        let view = self.views(which).await.into_iter().next().ok_or_else(Fault::not_found)?;
        if self.who.is_local() || self.who.name() != view.session.user {
            let need = Need::everywhere(ADMIN);
            self.demand(&view.session.namespace, &need)?;
        }
        if self.connections.close(view.number, reason) {
            return Ok(Told::Done);
        }
        let reason = "the connection does not answer; try again".to_owned();
        Err(Fault { status: StatusCode::SERVICE_UNAVAILABLE, reason })
    }

    pub(super) async fn channels(&self, which: Which<'_>) -> Value {
        let views = self.views(which).await;
        let of = |view: &ConnectionView| {
            let all = view.session.channels.iter();
            all.map(|it| channel(view, it)).collect::<Vec<_>>()
        };
        views.iter().flat_map(of).collect()
    }

    /// A channel by its name, which is that of its connection and its number.
    pub(super) async fn channel(&self, name: &str) -> Result<Value, Fault> {
        let (of, _) = name.rsplit_once(" (").ok_or_else(Fault::not_found)?;
        let views = self.views(Which { name: Some(of), ..Which::default() }).await;
        let view = views.first().ok_or_else(Fault::not_found)?;
        let mut channels = view.session.channels.iter();
        let found = channels.find(|it| channel_name(view, it) == name);
        found.map(|it| channel(view, it)).ok_or_else(Fault::not_found)
    }

    pub(super) async fn consumers(&self, which: Which<'_>) -> Value {
        let views = self.views(which).await;
        let of = |view: &ConnectionView| {
            let channels = view.session.channels.iter();
            let all = channels.flat_map(|it| it.consumers.iter().map(move |one| (it, one)));
            all.map(|(it, one)| consumer(view, it, one)).collect::<Vec<_>>()
        };
        views.iter().flat_map(of).collect()
    }
}

fn connection(view: &ConnectionView) -> Value {
    let it = &view.session;
    let named = it.client_name.as_deref();
    json!({
        "name": view.name(), "user_provided_name": named, "user": it.user, "vhost": it.vhost,
        "user_who_performed_action": it.user, "node": NODE, "type": "network",
        "protocol": "AMQP 0-9-1", "auth_mechanism": it.mechanism, "ssl": view.is_tls,
        "peer_host": view.peer.ip().to_string(), "peer_port": view.peer.port(),
        "host": view.own.ip().to_string(), "port": view.own.port(),
        "state": if it.is_blocked { "blocked" } else { "running" },
        "connected_at": view.since_ms, "timeout": it.heartbeat_s, "frame_max": it.frame_max,
        "channel_max": it.channel_max, "channels": it.channels.len(),
        "recv_oct": view.received, "send_oct": view.sent,
        "client_properties": json_of(&it.client_properties),
    })
}

fn channel_name(view: &ConnectionView, it: &ChannelView) -> String {
    format!("{} ({})", view.name(), it.number)
}

fn channel(view: &ConnectionView, it: &ChannelView) -> Value {
    json!({
        "name": channel_name(view, it), "number": it.number, "user": view.session.user,
        "vhost": view.session.vhost, "node": NODE, "state": "running",
        "connection_details": {
            "name": view.name(), "peer_host": view.peer.ip().to_string(),
            "peer_port": view.peer.port(),
        },
        "consumer_count": it.consumers.len(), "confirm": it.confirms,
        "transactional": it.transacts, "prefetch_count": it.prefetch,
        "global_prefetch_count": it.shared_prefetch, "messages_unacknowledged": it.unsettled,
        "messages_unconfirmed": it.unconfirmed,
    })
}

fn consumer(view: &ConnectionView, of: &ChannelView, it: &ConsumerView) -> Value {
    json!({
        "consumer_tag": it.tag, "queue": {"name": it.queue, "vhost": view.session.vhost},
        "ack_required": !it.auto_ack, "exclusive": it.exclusive, "prefetch_count": it.prefetch,
        "arguments": {},
        "channel_details": {
            "name": channel_name(view, of), "number": of.number, "user": view.session.user,
            "connection_name": view.name(), "peer_host": view.peer.ip().to_string(),
            "peer_port": view.peer.port(), "node": NODE,
        },
    })
}
