//! Where a stream begins and ends: the hello, who has the session, and what becomes of the session
//! when its stream has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use longshore_engine::Holder;
use longshore_engine::ask::EndSession;
use longshore_engine::driver::Class;
use longshore_proto::v1;
use tonic::{Code as Grpc, Response, Status, Streaming};

use super::hello::{Wish, read as read_hello};
use super::session::Session;
use crate::access::{Need, WORK, of_pattern};
use crate::api::DurationText;
use crate::grpc::Face;
use crate::grpc::jobs::stopping;
use crate::grpc::outgoing::{self, Incoming};
use crate::grpc::refusal::{CODE_KEY, status_of};
use crate::http::app::App;
use crate::http::code::Code;
use crate::http::look::ask;
use crate::http::refusal::Refusal;
use crate::running::{pass, timeout};
use crate::workers::{Facts, Unopened, Worker, WorkerKey};

/// What goes to a worker.
pub(super) type Outgoing = outgoing::Outgoing<v1::ServerMessage>;

/// Why a stream ended.
#[derive(Debug)]
pub(super) enum End {
    /// The worker closed it, or the connection broke.
    Broken,
    /// The worker said that it leaves.
    Goodbye,
    /// A newer stream has the session.
    Superseded,
    /// The server is about to stop.
    Stopping,
    /// The worker did what may not be, or the server cannot go on.
    Refused(Refusal),
    /// What the worker sent was refused while it arrived, as the status says.
    Unread(Box<Status>),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl End {
    /// What the worker hears.
    fn status(&self) -> Option<Status> {
        match self {
            Self::Broken | Self::Goodbye => None,
            Self::Superseded => {
                let detail = "a newer stream of this session has taken this one's place";
                Some(status_of(&Refusal::new(Code::RequestSuperseded, detail)))
            }
            Self::Stopping => Some(status_of(&stopping())),
            Self::Refused(refusal) => Some(status_of(refusal)),
            Self::Unread(status) => Some(Status::clone(status)),
        }
    }
}

/// Serves a worker's stream, on a task of its own.
pub(in crate::grpc) fn begin(
    face: Arc<Face>,
    incoming: Streaming<v1::WorkerMessage>,
) -> Response<Incoming<v1::ServerMessage>> {
    // One that takes nothing hears no more than that its call was cut: to wait until it may hear
    // why would keep for it what it is owed.
    let (outgoing, told) = outgoing::begin(&face, face.app.config.write_timeout);
    tokio::spawn(Box::pin(serve(face, incoming, outgoing)));
    told
}

async fn serve(face: Arc<Face>, mut incoming: Streaming<v1::WorkerMessage>, outgoing: Outgoing) {
    let end = match opened(&face, &mut incoming).await {
        Ok((wish, worker, number)) => {
            let worker = Arc::clone(&worker);
            converse(&face, &mut incoming, &outgoing, (wish, worker, number)).await
        }
        Err(end) => end,
    };
    if let Some(status) = end.status() {
        // A peer that takes nothing is not waited for.
        let _ = timeout(face.app.config.write_timeout, outgoing.end(status)).await;
    }
}

/// Reads the hello.
async fn opened(
    face: &Face,
    incoming: &mut Streaming<v1::WorkerMessage>,
) -> Result<(Wish, Arc<Worker>, u64), End> {
    let first = tokio::select! {
        biased;
        () = face.stopped() => return Err(End::Stopping),
        first = timeout(face.app.config.header_timeout, incoming.message()) => first,
    };
    let message = match first {
        Ok(Ok(Some(message))) => message.message,
        Ok(Ok(None)) => return Err(End::Broken),
        Ok(Err(status)) => return Err(unread(status)),
        Err(_) => return Err(protocol("no hello arrived in time").into()),
    };
    let Some(v1::worker_message::Message::Hello(hello)) = message else {
        return Err(protocol("the first message of a stream has to be hello").into());
    };
    let (wish, facts) = read_hello(hello, &face.app.limits, &face.app.bounds)?;
    // Let in like a request for jobs; it does not count as one for as long as it stands.
    drop(face.app.enter(Class::Lease, face.earlier)?);
    // Before the session is taken over from the stream that may have it.
    let who = &face.app.who;
    let queues = wish.queues.iter().map(|(queue, _)| of_pattern(WORK, queue));
    for need in std::iter::once(Need::any(WORK)).chain(queues) {
        who.demand(&wish.namespace, &need).map_err(Refusal::from)?;
    }
    let facts = Facts { account: (!who.is_local()).then(|| who.name().to_owned()), ..facts };
    let key = WorkerKey {
        namespace: wish.namespace.clone(),
        name: wish.holder.worker.clone(),
        session: wish.holder.session.clone(),
    };
    let (worker, number) = face.app.workers.open(key, facts).map_err(|why| match why {
        Unopened::TooMany { of_namespace, max } => {
            let of = if of_namespace { " of the namespace" } else { "" };
            let detail = format!("{max} workers{of} are connected, as many as may be");
            Refusal::new(Code::TooManyWorkers, detail).retry_after_s(10)
        }
        Unopened::OfAnother => {
            let detail = "a worker of another account has this name and session; take another \
                          session (a new one for each process)";
            Refusal::new(Code::AccessDenied, detail)
        }
    })?;
    Ok((wish, worker, number))
}

/// Serves a worker that has said hello, and does what is to be done when its stream has ended.
async fn converse(
    face: &Arc<Face>,
    incoming: &mut Streaming<v1::WorkerMessage>,
    outgoing: &Outgoing,
    (wish, worker, number): (Wish, Arc<Worker>, u64),
) -> End {
    let holder = wish.holder.clone();
    let end = {
        // The stream before has this until it has seen that it is superseded.
        let _taken = tokio::select! {
            taken = worker.taken.lock() => taken,
            () = worker.superseded(number) => return End::Superseded,
        };
        let session = Session::new(Arc::clone(face), outgoing.clone(), &worker, number, wish);
        let end = session.run(incoming).await;
        if matches!(end, End::Goodbye) {
            let why = "it said goodbye before the run had ended";
            end_session(&face.app, &worker, &holder, (why, true)).await;
            face.app.workers.forget(&worker, number);
        }
        end
    };
    if matches!(end, End::Broken | End::Refused(_) | End::Unread(_)) {
        worker.disconnected(number);
        tokio::spawn(wait_for_return(Arc::clone(&face.app), worker, number, holder));
    }
    end
}

/// Ends the session unless the worker comes back in time. A server that stops meanwhile leaves its
/// leases as they are.
async fn wait_for_return(app: Arc<App>, worker: Arc<Worker>, number: u64, holder: Holder) {
    tokio::select! {
        // While the server did not run, no worker could come back.
        () = pass(app.config.worker_reconnect) => {}
        () = worker.superseded(number) => return,
    }
    let _taken = worker.taken.lock().await;
    if !worker.is_of(number) {
        return;
    }
    app.workers.lost_total.fetch_add(1, Ordering::Relaxed);
    let within = DurationText(app.config.worker_reconnect.as_millis() as u64);
    let why = format!("its stream ended and it did not come back within {within}");
    end_session(&app, &worker, &holder, (&why, false)).await;
    app.workers.forget(&worker, number);
}

async fn end_session(app: &App, worker: &Worker, holder: &Holder, (why, goodbye): (&str, bool)) {
    let (namespace, holder) = (&worker.key.namespace, holder.clone());
    let command = EndSession { holder, why: why.to_owned(), goodbye };
    // Where the shard does not answer, the leases end by their time.
    if let Err(refusal) = ask(&app.for_itself(), namespace, command).await {
        let why = refusal.problem().detail;
        tracing::debug!(worker = worker.key.name, why, "a session could not be ended");
    }
    worker.set_runs(std::collections::BTreeMap::new());
}

/// Why no message could be read: what was sent is none, or was refused while it arrived; or the
/// connection broke.
pub(super) fn unread(status: Status) -> End {
    match status.code() {
        Grpc::InvalidArgument | Grpc::Internal | Grpc::OutOfRange | Grpc::Unimplemented => {
            protocol(status.message()).into()
        }
        _ if status.metadata().contains_key(CODE_KEY) => End::Unread(Box::new(status)),
        _ => End::Broken,
    }
}

/// The worker did what the protocol does not allow.
pub(super) fn protocol(what: &str) -> Refusal {
    let detail = format!("{}; see docs/grpc.md", crate::http::text::shorten(what));
    Refusal::new(Code::ValueRefused, detail)
}
