//! Listens for HTTP/1.1, and where each request goes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use longshore_engine::ask::Ask;
use longshore_engine::{AuditedCommand, Command};
use longshore_node::Node;
use serde_json::{Value, json};
use tokio::sync::{Mutex, Semaphore};

use super::ManagementConfig;
use super::clients::Which;
use super::patient::Patient;
use crate::access::{Access, Need, Peer, Principal, needs_of, unauthenticated};
use crate::amqp::AmqpConnections;
use crate::http::admit::authenticate;
use crate::http::code::Code;
use crate::http::guard::{Reached, check_authority};
use crate::http::look::told;
use crate::http::refusal::Refusal;
use crate::http::text::percent_decode;
use crate::listener::{Accepting, ListenError, Listener, Places};
use crate::running::timeout;
use crate::tls::Tls;
use crate::tls::door::Spoken;
use crate::tls::stream::Stream;

/// Connections at the same time.
const CONNECTIONS_MAX: usize = 64;

/// Bytes of a body: definitions are the largest. As JSON values they take many times that.
const BODY_BYTES_MAX: usize = 2 << 20;

/// Requests with a body at the same time.
const BODIES_MAX: usize = 2;

/// How long a client has to send what it asks for.
const READ_TIME_MAX: Duration = Duration::from_secs(30);

/// How long a client has to take some of what it is sent.
const WRITE_TIME_MAX: Duration = Duration::from_secs(30);

/// Bytes of a request that are read ahead, its head among them.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// `guest:guest` in base64: who there is where nobody is asked.
const GUEST: &str = "Basic Z3Vlc3Q6Z3Vlc3Q=";

/// Listens where the configuration says; `None` where it says nothing.
///
/// # Errors
///
/// The address cannot be listened at, or the system has no more threads or files.
pub async fn listen(
    config: &ManagementConfig,
    node: &Node,
    (access, tls): (&Access, Option<&Arc<Tls>>),
    connections: &AmqpConnections,
) -> Result<Option<Listener>, ListenError> {
    let (plain, with_tls) = (config.listen.as_deref(), config.listen_tls.as_deref());
    let places = Places { plain, tls: with_tls, shown: tls, anywhere: access.is_required() };
    let of = (access.clone(), connections.clone());
    let serve = move |node, accepting| serve(node, of, accepting);
    let named = ("management", "management", Spoken::Management);
    Listener::start(named, places, node, serve).await
}

async fn serve(node: Node, (access, connections): (Access, AmqpConnections), accepting: Accepting) {
    let (who, bodies) = (access.anybody(), Arc::new(Semaphore::new(BODIES_MAX)));
    let api = Arc::new(Api { node, access, who, connections, bodies, changing: Arc::default() });
    let bounds = (CONNECTIONS_MAX, READ_TIME_MAX);
    accepting.serve_each(bounds, move |stream| speak(Arc::clone(&api), stream)).await;
}

async fn speak(api: Arc<Api>, stream: Stream) {
    let peer = Arc::new(stream.peer().of_access());
    let respond = service_fn(move |request| answer(Arc::clone(&api), Arc::clone(&peer), request));
    let stream = TokioIo::new(Patient::new(stream, WRITE_TIME_MAX));
    let connection = http1::Builder::new()
        // Whoever has not come in yet is to cost little.
        .max_buf_size(HEAD_BYTES_MAX)
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIME_MAX)
        .serve_connection(stream, respond);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection of management ended early");
    }
}

/// What is asked for cannot be: a status and why.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) status: StatusCode,
    pub(super) reason: String,
}

impl Fault {
    pub(super) fn bad(reason: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: reason.into() }
    }

    pub(super) fn not_found() -> Self {
        Self { status: StatusCode::NOT_FOUND, reason: "Not Found".to_owned() }
    }
}

impl From<Refusal> for Fault {
    /// Conflicts are `RabbitMQ`'s 400.
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.code().status() {
            status if status == StatusCode::NOT_FOUND => status,
            status @ (StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS) => status,
            // As RabbitMQ answers whoever lacks a permission.
            StatusCode::FORBIDDEN if refusal.code() == Code::AccessDenied => {
                StatusCode::UNAUTHORIZED
            }
            status if status.is_server_error() => status,
            _ => StatusCode::BAD_REQUEST,
        };
        Self { status, reason: refusal.problem().detail }
    }
}

/// What handlers need.
#[derive(Clone, Debug)]
pub(super) struct Api {
    pub(super) node: Node,
    pub(super) access: Access,
    /// Who asks.
    pub(super) who: Principal,
    /// The connections of AMQP.
    pub(super) connections: AmqpConnections,
    /// Requests with a body take turns.
    bodies: Arc<Semaphore>,
    /// Held while grants of an account are read and put: two permissions that are put at once both
    /// stand.
    pub(super) changing: Arc<Mutex<()>>,
}

/// What a handler answers: nothing new, something created, or a value.
pub(super) enum Told {
    Done,
    Created,
    Value(Value),
}

impl Api {
    /// Refuses what whoever asks may not do now: it was let in before its body came, and what else
    /// an import has.
    pub(super) fn demand(&self, ns: &str, need: &Need<'_>) -> Result<(), Fault> {
        let who = self.who.now().ok_or_else(unauthenticated)?;
        who.demand(ns, need).map_err(Refusal::from)?;
        Ok(())
    }

    pub(super) async fn ask<C: Ask>(&self, ns: &str, command: C) -> Result<C::Answer, Fault> {
        let command = command.into();
        for need in needs_of(&command) {
            self.demand(ns, &need)?;
        }
        if !self.who.is_in() {
            return Err(unauthenticated().into());
        }
        let by = self.who.name().to_owned();
        let command = if command.is_audited() {
            Command::Audited(Box::new(AuditedCommand { by, command }))
        } else {
            command
        };
        Ok(told::<C>(self.node.call(ns, command).await.map_err(Refusal::from)?)?)
    }

    /// The name of whoever asks, as this API tells it.
    pub(super) fn user(&self) -> &str {
        if self.who.is_local() { "guest" } else { self.who.name() }
    }
}

async fn answer(
    api: Arc<Api>,
    peer: Arc<Peer>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let told = match respond(&api, &peer, request).await {
        Ok(Told::Done) => reply(StatusCode::NO_CONTENT, None),
        Ok(Told::Created) => reply(StatusCode::CREATED, None),
        Ok(Told::Value(value)) => reply(StatusCode::OK, Some(&value)),
        Err(Fault { status, reason }) => {
            let error = match status {
                StatusCode::BAD_REQUEST => "bad_request",
                StatusCode::UNAUTHORIZED => "not_authorised",
                StatusCode::NOT_FOUND => "Object Not Found",
                StatusCode::METHOD_NOT_ALLOWED => "Method Not Allowed",
                StatusCode::NOT_IMPLEMENTED => "not_implemented",
                _ => "error",
            };
            reply(status, Some(&json!({"error": error, "reason": reason})))
        }
    };
    Ok(told)
}

fn reply(status: StatusCode, value: Option<&Value>) -> Response<Full<Bytes>> {
    let body = value.map(Value::to_string).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static("application/json"));
    if status == StatusCode::UNAUTHORIZED {
        let realm = hyper::header::HeaderValue::from_static("Basic realm=\"RabbitMQ Management\"");
        headers.insert(WWW_AUTHENTICATE, realm);
    }
    response
}

fn too_late(reason: &str) -> Fault {
    Fault { status: StatusCode::REQUEST_TIMEOUT, reason: reason.to_owned() }
}

async fn respond(api: &Api, peer: &Peer, request: Request<Incoming>) -> Result<Told, Fault> {
    if api.access.is_required() {
        let reached = Reached { anywhere: true, is_tls: peer.is_tls };
        check_authority(request.uri(), request.headers(), reached)?;
        let who = authenticate(&api.access, peer, request.headers()).await?;
        who.take_turn()?;
        return carry_out(&Api { who, ..api.clone() }, request).await;
    }
    let authorized = request.headers().get(AUTHORIZATION).is_some_and(|it| it == GUEST);
    let reached = Reached { anywhere: false, is_tls: peer.is_tls };
    // The password is no secret: a browser's page that was made to ask us knows it, too.
    let own = check_authority(request.uri(), request.headers(), reached).is_ok();
    if !authorized || !own {
        let reason = "Login failed".to_owned();
        return Err(Fault { status: StatusCode::UNAUTHORIZED, reason });
    }
    carry_out(api, request).await
}

async fn carry_out(api: &Api, request: Request<Incoming>) -> Result<Told, Fault> {
    let (parts, body) = request.into_parts();
    // Held until the request is answered, as what was read of it is.
    let _turn =
        if body.is_end_stream() {
            None
        } else {
            let turn = timeout(READ_TIME_MAX, api.bodies.acquire()).await;
            Some(turn.map_err(|_| {
                too_late("other requests with a body are in progress; try again later")
            })?)
        };
    let body = timeout(READ_TIME_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) => return Err(Fault::bad(error.to_string())),
        Err(_) => return Err(too_late("the body did not come in time")),
    };
    let body = if body.is_empty() {
        json!({})
    } else {
        serde_json::from_slice(&body).map_err(|error| Fault::bad(format!("not_json: {error}")))?
    };
    let path = parts.uri.path().strip_prefix("/api").ok_or_else(Fault::not_found)?;
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let segments = segments.map(|segment| percent_decode(segment, false).map(String::from));
    let segments: Vec<String> = segments.collect::<Option<_>>().ok_or_else(Fault::not_found)?;
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (parts.method.as_str(), segments.as_slice()) {
        ("DELETE", ["connections", name]) => {
            let reason = parts.headers.get("x-reason").and_then(|it| it.to_str().ok());
            api.close_connection(name, reason).await
        }
        (_, segments) => route(api, &parts.method, segments, &body).await,
    }
}

/// The namespace of a virtual host.
pub(super) fn namespace_of(vhost: &str) -> &str {
    if vhost == "/" { "default" } else { vhost }
}

/// The virtual host of a namespace.
pub(super) fn vhost_of(namespace: &str) -> &str {
    if namespace == "default" { "/" } else { namespace }
}

#[expect(clippy::too_many_lines, reason = "it is a table of what can be asked")]
async fn route(api: &Api, method: &Method, path: &[&str], body: &Value) -> Result<Told, Fault> {
    let value = |value| Ok(Told::Value(value));
    match (method.as_str(), path) {
        ("GET", ["overview"]) => value(api.overview().await?),
        ("GET", ["whoami"]) => value(json!({"name": api.user(), "tags": api.tags()})),
        ("GET", ["users"]) => value(api.users().await?),
        ("GET", ["users", name]) => value(api.user_named(name).await?),
        ("PUT", ["users", name]) => api.put_user(name, body, false).await,
        ("DELETE", ["users", name]) => api.delete_user(name).await,
        ("GET", ["users", name, "permissions"]) => value(api.permissions(Some(name), None).await?),
        ("GET", ["permissions"]) => value(api.permissions(None, None).await?),
        ("GET", ["permissions", vhost, name]) => value(api.permission_of(vhost, name).await?),
        ("PUT", ["permissions", vhost, name]) => api.put_permission((vhost, name), body).await,
        ("DELETE", ["permissions", vhost, name]) => api.delete_permission(vhost, name).await,
        ("GET", ["vhosts", vhost, "permissions"]) => {
            value(api.permissions(None, Some(vhost)).await?)
        }
        ("GET", ["nodes"]) => value(json!([Api::this_node()])),
        ("GET", ["vhosts"]) => value(api.vhosts().await?),
        ("GET", ["vhosts", vhost]) => value(api.vhost(vhost).await?),
        ("PUT", ["vhosts", vhost]) => api.put_vhost(vhost).await,
        ("DELETE", ["vhosts", vhost]) => api.delete_vhost(vhost).await,
        ("GET", ["exchanges"]) => value(api.exchanges(None).await?),
        ("GET", ["exchanges", vhost]) => value(api.exchanges(Some(vhost)).await?),
        ("GET", ["exchanges", vhost, name]) => value(api.exchange(vhost, name).await?),
        ("PUT", ["exchanges", vhost, name]) => api.put_exchange(vhost, name, body).await,
        ("DELETE", ["exchanges", vhost, name]) => api.delete_exchange(vhost, name).await,
        ("POST", ["exchanges", vhost, name, "publish"]) => {
            value(api.publish(vhost, name, body).await?)
        }
        ("GET", ["queues"]) => value(api.queues(None).await?),
        ("GET", ["queues", vhost]) => value(api.queues(Some(vhost)).await?),
        ("GET", ["queues", vhost, name]) => value(api.queue(vhost, name).await?),
        ("PUT", ["queues", vhost, name]) => api.put_queue(vhost, name, body).await,
        ("DELETE", ["queues", vhost, name]) => api.delete_queue(vhost, name).await,
        ("DELETE", ["queues", vhost, name, "contents"]) => api.purge(vhost, name).await,
        ("POST", ["queues", vhost, name, "get"]) => value(api.get(vhost, name, body).await?),
        ("GET", ["bindings"]) => value(api.bindings(None, &|_| true).await?),
        ("GET", ["bindings", vhost]) => value(api.bindings(Some(vhost), &|_| true).await?),
        ("GET", ["queues", vhost, name, "bindings"]) => {
            let leads =
                |it: &Value| it["destination_type"] == "queue" && it["destination"] == *name;
            value(api.bindings(Some(vhost), &leads).await?)
        }
        ("GET", ["exchanges", vhost, name, "bindings", "source"]) => {
            value(api.bindings(Some(vhost), &|it| it["source"] == *name).await?)
        }
        ("GET", ["exchanges", vhost, name, "bindings", "destination"]) => {
            let leads =
                |it: &Value| it["destination_type"] == "exchange" && it["destination"] == *name;
            value(api.bindings(Some(vhost), &leads).await?)
        }
        ("GET", ["bindings", vhost, "e", source, kind @ ("q" | "e"), to]) => {
            let of = if *kind == "q" { "queue" } else { "exchange" };
            let leads = |it: &Value| {
                it["source"] == *source && it["destination"] == *to && it["destination_type"] == of
            };
            value(api.bindings(Some(vhost), &leads).await?)
        }
        ("POST", ["bindings", vhost, "e", source, kind @ ("q" | "e"), to]) => {
            api.bind(vhost, (source, *kind == "e", to), body).await
        }
        ("DELETE", ["bindings", vhost, "e", source, kind @ ("q" | "e"), to, key]) => {
            api.unbind(vhost, (source, *kind == "e", to), key).await
        }
        ("GET", ["policies"]) => value(api.policies(None).await?),
        ("GET", ["policies", vhost]) => value(api.policies(Some(vhost)).await?),
        ("GET", ["policies", vhost, name]) => value(api.policy(vhost, name).await?),
        ("PUT", ["policies", vhost, name]) => api.put_policy(vhost, name, body).await,
        ("DELETE", ["policies", vhost, name]) => api.delete_policy(vhost, name).await,
        ("GET", ["definitions"]) => value(api.export(None).await?),
        ("GET", ["definitions", vhost]) => value(api.export(Some(vhost)).await?),
        ("POST" | "PUT", ["definitions"]) => value(api.import(None, body).await?),
        ("POST" | "PUT", ["definitions", vhost]) => value(api.import(Some(vhost), body).await?),
        ("GET", ["connections"]) => value(api.connections(Which::default()).await),
        ("GET", ["connections", name]) => value(api.connection(name).await?),
        ("GET", ["connections", name, "channels"]) => {
            value(api.channels(Which { name: Some(name), ..Which::default() }).await)
        }
        ("GET", ["connections", "username", user]) => {
            value(api.connections(Which { user: Some(user), ..Which::default() }).await)
        }
        ("GET", ["vhosts", vhost, "connections"]) => {
            value(api.connections(Which { vhost: Some(vhost), ..Which::default() }).await)
        }
        ("GET", ["channels"]) => value(api.channels(Which::default()).await),
        ("GET", ["channels", name]) => value(api.channel(name).await?),
        ("GET", ["vhosts", vhost, "channels"]) => {
            value(api.channels(Which { vhost: Some(vhost), ..Which::default() }).await)
        }
        ("GET", ["consumers"]) => value(api.consumers(Which::default()).await),
        ("GET", ["consumers", vhost]) => {
            value(api.consumers(Which { vhost: Some(vhost), ..Which::default() }).await)
        }
        (
            _,
            [
                "connections" | "channels" | "consumers" | "users" | "permissions" | "parameters"
                | "operator-policies" | "vhost-limits" | "topic-permissions" | "global-parameters",
                ..,
            ],
        ) => {
            let reason = format!("{} is not supported by this management API", path.join("/"));
            Err(Fault { status: StatusCode::NOT_IMPLEMENTED, reason })
        }
        _ => Err(Fault::not_found()),
    }
}
