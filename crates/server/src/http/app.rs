//! What one request goes through: guard, route, admission, body, handler. Shared by all
//! connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::header::HeaderMap;
use hyper::{Request, Response, StatusCode};
use longshore_engine::Limits;
use longshore_engine::driver::Class;
use longshore_node::{Node, Publishing};

use super::admit;
use super::body::{self, Gauge, Held};
use super::code::Code;
use super::events::Places;
use super::expect;
use super::figures::Figures;
use super::guard::{self, Reached};
use super::handle;
use super::json::check_empty;
use super::keyed::{Keyed, UnderWay};
use super::parse::Bounds;
use super::prefer::Preferences;
use super::query::Query;
use super::rates::Rates;
use super::refusal::{Refusal, code_of};
use super::reply::{AnswerBody, Reply};
use super::route::{Found, NotFound, Op, Route, find};
use super::text::{check_path_name, percent_encode, quoted};
use crate::access::{Access, Peer, Principal};
use crate::amqp::AmqpConnections;
use crate::config::{AmqpConfig, HttpConfig};
use crate::copies::Copies;
use crate::groups::ConsumerGroups;
use crate::workers::Registry;

/// Bytes of a body that administration may send.
const ADMIN_BODY_BYTES_MAX: u64 = 256 << 10;

/// What handlers need, beside the request. Clones share all but the node's handle.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) node: Node,
    pub(crate) config: Arc<HttpConfig>,
    pub(crate) amqp: Arc<AmqpConfig>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) bounds: Arc<Bounds>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) counts: Arc<Counts>,
    /// Places for streams of events.
    pub(crate) streams: Arc<Places>,
    pub(crate) workers: Arc<Registry>,
    pub(crate) amqp_connections: AmqpConnections,
    /// Groups of consumers with members.
    pub(crate) groups: ConsumerGroups,
    /// Who makes second copies.
    pub(crate) copies: Option<Arc<Copies>>,
    /// Who comes in.
    pub(crate) access: Access,
    /// Who asks, as far as it is known here.
    pub(crate) who: Principal,
    /// Where the connection comes from, in a server that asks who comes in.
    pub(crate) peer: Arc<Peer>,
    /// Held while the shards are asked, so that what is heard later is also told later.
    pub(crate) figures: Arc<tokio::sync::Mutex<Figures>>,
    /// Keys of requests that are under way.
    pub(super) under_way: UnderWay,
    /// The key of the request, where it has one.
    pub(crate) keyed: Option<Arc<Keyed>>,
    /// Answers that their readers have not taken.
    pub(super) answers: Arc<Gauge>,
    lanes: Arc<[ClassBounds; Class::COUNT]>,
}

/// The requests of one class that are under way. Each class has its own bounds, so that none
/// keeps another out.
#[derive(Debug)]
struct ClassBounds {
    requests: Arc<AtomicUsize>,
    requests_max: usize,
    bodies: Arc<Gauge>,
}

/// Numbers for metrics.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections open now.
    pub(crate) connections: AtomicUsize,
    /// Connections ever accepted.
    pub(crate) connections_total: AtomicU64,
    /// Connections closed at once because there were too many.
    pub(crate) connections_refused_total: AtomicU64,
    /// Connections ended because their peer was too slow.
    pub(crate) connections_timed_out_total: AtomicU64,
    /// Connections ended that waited for a request, to make room.
    pub(crate) connections_let_go_total: AtomicU64,
    /// Answers by the first digit of their status.
    pub(crate) answers_total: [AtomicU64; 6],
}

impl Counts {
    /// Counts an answer.
    pub(crate) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100);
        if let Some(count) = self.answers_total.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<AtomicUsize>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request that is ready for its handler.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) app: &'a App,
    pub(crate) namespace: &'a str,
    /// What the path's variable segment says.
    pub(crate) name: &'a str,
    pub(crate) query: Query<'a>,
    pub(crate) preferences: Preferences,
    /// The last event that whoever comes back to server-sent events has.
    pub(crate) last_event_id: Option<&'a str>,
    pub(crate) body: Bytes,
    /// Its place among the requests of its class.
    pub(crate) place: Option<Admitted>,
}

impl Call<'_> {
    /// What the request was let in for is done, and it waits from here on: it changes to a place
    /// among those that wait, as a lease that waits has one. Where there is none it keeps its own.
    pub(crate) fn wait_from_here(&mut self) -> Result<(), Refusal> {
        self.place = Some(self.app.admit(Class::Lease)?);
        Ok(())
    }

    /// The path of something in the request's namespace, such as `status`.
    pub(crate) fn path(&self, folder: &str, name: &str) -> String {
        let mut path = String::with_capacity(64);
        path.push_str("/v1/");
        if self.namespace != super::route::DEFAULT_NAMESPACE {
            path.push_str("namespaces/");
            percent_encode(&mut path, self.namespace);
            path.push('/');
        }
        path.push_str(folder);
        path.push('/');
        percent_encode(&mut path, name);
        path
    }
}

impl App {
    pub(crate) fn new(
        (node, access, amqp_connections): (Node, Access, AmqpConnections),
        config: HttpConfig,
        amqp: AmqpConfig,
        limits: Limits,
    ) -> Self {
        let lane = |class: Class| {
            let (requests_max, bytes_max) = match class {
                Class::Publish => (config.publishes_max, config.publish_bytes_max),
                Class::Lease => (config.waits_max, config.reserved_bytes_max),
                Class::Settle => (config.settlements_max, config.reserved_bytes_max),
            };
            ClassBounds {
                requests: Arc::default(),
                requests_max,
                bodies: Arc::new(Gauge::new(bytes_max)),
            }
        };
        let figures = Figures::open(node.dir(), config.metrics_queues_max);
        Self {
            node,
            bounds: Arc::new(Bounds::of(&limits)),
            limits: Arc::new(limits),
            rates: Arc::default(),
            counts: Arc::default(),
            streams: Arc::default(),
            workers: Arc::default(),
            amqp_connections,
            groups: ConsumerGroups::default(),
            copies: None,
            who: access.anybody(),
            access,
            peer: Arc::default(),
            figures: Arc::new(figures.into()),
            under_way: UnderWay::default(),
            keyed: None,
            answers: Arc::new(Gauge::new(config.answer_bytes_max)),
            lanes: Arc::new([lane(Class::Settle), lane(Class::Lease), lane(Class::Publish)]),
            config: Arc::new(config),
            amqp: Arc::new(amqp),
        }
    }

    /// The same with what makes second copies.
    pub(crate) fn copied_by(self, copies: Option<Arc<Copies>>) -> Self {
        Self { copies, ..self }
    }

    /// The same with the groups that other faces have as well.
    pub(crate) fn with_groups(self, groups: ConsumerGroups) -> Self {
        Self { groups, ..self }
    }

    /// The same for connections that call through `node`.
    pub(crate) fn through(&self, node: Node) -> Self {
        Self { node, ..self.clone() }
    }

    /// The same for a connection from there, in a server that asks who comes in.
    pub(crate) fn seen_from(self: Arc<Self>, peer: impl FnOnce() -> Peer) -> Arc<Self> {
        let peer = peer();
        if !self.access.is_required() && !peer.is_tls {
            return self;
        }
        Arc::new(Self { peer: Arc::new(peer), ..(*self).clone() })
    }

    /// The same as somebody asks.
    pub(crate) fn asked_by(&self, who: Principal) -> Self {
        Self { who, ..self.clone() }
    }

    /// The same for a request with a key.
    pub(super) fn with_key(&self, keyed: Option<Arc<Keyed>>) -> Self {
        Self { keyed, ..self.clone() }
    }

    /// For what the server does on its own, such as giving back what nobody takes.
    pub(crate) fn for_itself(&self) -> Self {
        self.asked_by(Principal::Local)
    }

    /// Answers one request. `earlier` connections were open when its own was accepted.
    pub(crate) async fn answer(
        &self,
        request: Request<Incoming>,
        earlier: usize,
    ) -> Response<AnswerBody> {
        let (reply, only_asks) = match self.handle(request, earlier).await {
            Ok((reply, op)) => (reply, only_asks(op)),
            Err(refusal) => (Reply::from(refusal), false),
        };
        let (parts, body) = reply.into_response().into_parts();
        let response = match self.counted(body, !only_asks) {
            Ok(body) => Response::from_parts(parts, body),
            Err(refusal) => Reply::from(refusal).into_response(),
        };
        self.counts.answered(response.status());
        response
    }

    async fn handle(
        &self,
        request: Request<Incoming>,
        earlier: usize,
    ) -> Result<(Reply, Op), Refusal> {
        let (parts, incoming) = request.into_parts();
        let has_body = !incoming.is_end_stream();
        let anywhere = self.access.is_required();
        let reached = Reached { anywhere, is_tls: self.peer.is_tls };
        guard::check(&parts.method, &parts.uri, &parts.headers, has_body, reached)?;
        let path = parts.uri.path();
        let found = find(&parts.method, path).map_err(|why| not_found(why, path))?;
        let asked = admit::let_in(self, &found, &parts.headers).await?;
        let app = asked.as_ref().unwrap_or(self);
        expect::expected(found.route.op, &parts.headers)?;
        let query = Query::parse(found.route, parts.uri.query())?;
        admit::check_route(app, &found, &query)?;
        self.check_room(found.route.class, earlier)?;
        let admitted = self.admit(found.route.class)?;
        self.check_publishing(found.route.class)?;
        match found.route.op {
            op if only_asks(op) => self.check_reads()?,
            Op::Settle | Op::Lease | Op::Metrics => self.check_memory()?,
            _ => {}
        }
        let (body, held) = self.body(found.route, incoming).await?;
        let at = (&found, parts.uri.query());
        let reply = app.call_once(at, query, &parts.headers, (body, held, admitted)).await?;
        Ok((reply, found.route.op))
    }

    pub(super) async fn call(
        &self,
        found: &Found<'_>,
        query: Query<'_>,
        headers: &HeaderMap,
        (body, held, admitted): (Bytes, Option<Held>, Admitted),
    ) -> Result<Reply, Refusal> {
        check_path_name("namespace", &found.namespace)?;
        if found.route.bodies.is_empty() {
            check_empty(&body)?;
        }
        let preferences = match found.route.op {
            op @ Op::Enqueue => {
                let expected = expect::expected(op, headers)?;
                Preferences { expected, ..Preferences::of(headers) }
            }
            _ => Preferences::default(),
        };
        let (namespace, name) = (&*found.namespace, &*found.name);
        let last_event_id = headers.get("last-event-id").and_then(|id| id.to_str().ok());
        let place = Some(admitted);
        let call =
            Call { app: self, namespace, name, query, preferences, last_event_id, body, place };
        handle::dispatch(found.route.op, call, held).await
    }

    fn lane(&self, class: Class) -> &ClassBounds {
        &self.lanes[class as usize]
    }

    /// Lets a request of another face in, or refuses it as one of this face would be.
    pub(crate) fn enter(&self, class: Class, earlier: usize) -> Result<Admitted, Refusal> {
        self.check_room(class, earlier)?;
        let admitted = self.admit(class)?;
        self.check_publishing(class)?;
        Ok(admitted)
    }

    /// Counts bytes of another face with the bodies of a class.
    pub(crate) fn holds_nothing_yet(&self, class: Class) -> Held {
        Held::new(&self.lane(class).bodies)
    }

    fn admit(&self, class: Class) -> Result<Admitted, Refusal> {
        let lane = self.lane(class);
        let before = lane.requests.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted(Arc::clone(&lane.requests));
        if before >= lane.requests_max {
            let (name, max) = (class.name(), lane.requests_max);
            let detail =
                format!("{max} requests of class \"{name}\" are in flight, as many as may");
            return Err(Refusal::new(Code::TooManyRequests, detail).retry_after_s(1));
        }
        Ok(admitted)
    }

    /// Refuses what a connection of the reserve is not kept for, while the others are all taken.
    fn check_room(&self, class: Class, earlier: usize) -> Result<(), Refusal> {
        let (max, reserved) = (self.config.connections_max, self.config.connections_reserved);
        let max = match class {
            Class::Publish => max,
            Class::Lease => max + reserved / 2,
            Class::Settle => return Ok(()),
        };
        if earlier < max || self.counts.connections.load(Ordering::Relaxed) <= max {
            return Ok(());
        }
        let name = class.name();
        let detail = format!("{max} connections are open; further ones are not for \"{name}\"");
        Err(Refusal::new(Code::TooManyConnections, detail).retry_after_s(1).closing())
    }

    /// Refuses new jobs before their bodies are read, where the node would refuse them.
    fn check_publishing(&self, class: Class) -> Result<(), Refusal> {
        if class != Class::Publish {
            return Ok(());
        }
        match self.node.publishing() {
            Publishing::Open => Ok(()),
            Publishing::Refused { cause, reason, retry_after_s } => {
                Err(Refusal::new(code_of(cause), reason).retrying(retry_after_s))
            }
        }
    }

    async fn body(
        &self,
        route: &Route,
        incoming: Incoming,
    ) -> Result<(Bytes, Option<Held>), Refusal> {
        // A worker's texts are cut, not refused: that would cost the run.
        let takes_much =
            matches!(route.op, Op::Enqueue | Op::AppendEvents) || route.op.is_of_worker();
        let bytes_max = if takes_much { self.config.body_bytes_max } else { ADMIN_BODY_BYTES_MAX };
        let bodies = &self.lane(route.class).bodies;
        body::read(incoming, bytes_max, self.config.body_timeout, bodies).await
    }

    /// Requests under way and bytes of their bodies, by class.
    pub(crate) fn in_flight(&self) -> [(&'static str, usize, u64); Class::COUNT] {
        Class::ALL.map(|class| {
            let lane = self.lane(class);
            (class.name(), lane.requests.load(Ordering::Relaxed), lane.bodies.bytes())
        })
    }
}

fn not_found(why: NotFound, path: &str) -> Refusal {
    match why {
        NotFound::Path => {
            let detail = format!("there is nothing at {}; see /openapi.json", quoted(path));
            Refusal::new(Code::RouteUnknown, detail)
        }
        NotFound::Method(allowed) => {
            let detail = format!("{} answers {allowed} only", quoted(path));
            Refusal::new(Code::MethodRefused, detail).allowed(allowed.clone()).allow(allowed)
        }
        NotFound::Encoding => Refusal::value("the path", quoted(path), "percent-encoded UTF-8"),
    }
}

/// Whether it may be answered with much and changes nothing, so that it can be refused for want of
/// room for its answer.
fn only_asks(op: Op) -> bool {
    matches!(
        op,
        Op::GetJob
            | Op::GetResult
            | Op::ListJobs
            | Op::ListNamespaces
            | Op::ListOperations
            | Op::ListQueues
            | Op::ListBindings
            | Op::ListExchanges
            | Op::PeekMessages
            | Op::ReadEvents
            | Op::ListGroups
            | Op::GetGroup
            | Op::ListStreams
            | Op::GetStream
            | Op::FollowStream
            | Op::ListWorkers
            | Op::WatchJob
    )
}
