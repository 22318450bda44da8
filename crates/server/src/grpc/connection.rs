//! A connection of HTTP/2. Its buffers and windows are small: thousands of workers do nothing but
//! be there.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioTimer;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};
use tonic::body::Body;

use super::{Face, answer};
use crate::http::answers::{Account, Debt, Owing};
use crate::http::app::App;
use crate::http::connection::{Seen, Watched, told};
use crate::running;

/// Calls of one connection that may be under way.
const STREAMS_MAX: u32 = 256;
/// Bytes of a request's headers.
const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// Bytes that a peer may send ahead of what is read, on a stream and on the connection.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// Bytes of one stream's answers that wait for the peer.
const SENT_BYTES_MAX: usize = 64 << 10;
/// A peer of which nothing is heard is asked so often, and has so long to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Speaks gRPC on one connection until it ends, or it is let go, or `stopping` says so; then the
/// calls under way end first.
pub(crate) async fn speak(
    app: Arc<App>,
    watched: Watched,
    seen: Seen,
    mut stopping: watch::Receiver<bool>,
) {
    let progress = Arc::clone(&seen.progress);
    let (earlier, account) = (seen.earlier, Account::default());
    let face = Arc::new(Face { app, earlier, stopping: stopping.clone(), account });
    let service = service_fn(move |request: Request<Incoming>| {
        let (face, open) = (Arc::clone(&face), Open::new(&seen));
        async move {
            let mut response = answer::answer(face, request).await;
            let owing = response.extensions_mut().remove::<Owing>();
            let unread = owing.map(Unread::new);
            Ok::<Response<Body>, Infallible>(
                response
                    .map(|inner| Body::new(Counted { inner, part: Bytes::new(), unread, open })),
            )
        }
    });
    let connection = http2::Builder::new(Calls)
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_BYTES_MAX)
        .max_send_buf_size(SENT_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(watched, service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = told(&mut stopping, &progress) => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// A stream that is counted as open until it is dropped.
struct Open(Seen);

impl Open {
    fn new(seen: &Seen) -> Self {
        seen.progress.open_stream(seen.ticks.now());
        Self(seen.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.progress.close_stream(self.0.ticks.now());
    }
}

tokio::task_local! {
    /// Ends the call that the task is for.
    static CALL: Arc<OnceLock<AbortHandle>>;
}

/// Spawns a task for each call, which it can end: its stream is reset then, and what is queued for
/// it is dropped.
#[derive(Clone, Copy)]
struct Calls;

impl<F> Executor<F> for Calls
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, call: F) {
        let end = Arc::new(OnceLock::new());
        let task = tokio::spawn(CALL.scope(Arc::clone(&end), call));
        // It is set once, here.
        let _ = end.set(task.abort_handle());
    }
}

/// Answers that their reader may owe. One that owes some and falls behind for too long loses its
/// stream: with a window of 0 it would hold them for ever, and nothing else would tell. The other
/// calls of its connection go on; of a connection that takes nothing, the socket tells.
struct Unread {
    owing: Owing,
    watch: AbortHandle,
}

impl Unread {
    fn new(owing: Owing) -> Self {
        let call = CALL.try_with(Arc::clone).ok();
        let (debt, patience) = (Arc::clone(&owing.debt), owing.patience);
        let watch = end_unread(debt, patience, owing.taken_per_second_min, call);
        let watch = tokio::spawn(watch);
        Self { owing, watch: watch.abort_handle() }
    }
}

/// Ends a call whose reader is behind for too long.
async fn end_unread(
    debt: Arc<Debt>,
    patience: Duration,
    taken_per_second_min: u64,
    call: Option<Arc<OnceLock<AbortHandle>>>,
) {
    // Looked at often: whatever is taken early must not buy as much time again.
    let every = (patience / 8).max(Duration::from_millis(50));
    let (mut before, mut behind) = (0, Duration::ZERO);
    while behind < patience {
        let begun = Instant::now();
        sleep(every).await;
        let Some(taken) = debt.taken() else {
            behind = Duration::ZERO;
            continue;
        };
        let made_up = Duration::from_millis((taken - before) * 1000 / taken_per_second_min);
        behind += running::counted(begun.elapsed(), every);
        (before, behind) = (taken, behind.saturating_sub(made_up));
    }
    if let Some(call) = call.as_deref().and_then(OnceLock::get) {
        tracing::debug!("a call ended, as its answer is not taken");
        call.abort();
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// An answer whose stream counts as open until all of it is sent.
struct Counted {
    inner: Body,
    /// What is left of a large part, which goes out bit by bit as the peer takes it.
    part: Bytes,
    unread: Option<Unread>,
    #[expect(dead_code, reason = "it counts until it is dropped")]
    open: Open,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        if self.part.is_empty() {
            if let Some(unread) = &self.unread {
                unread.owing.all_taken();
            }
            let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.part = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let count = self.part.len().min(SENT_BYTES_MAX);
        if let Some(unread) = &self.unread {
            unread.owing.debt.take(count);
        }
        Poll::Ready(Some(Ok(Frame::data(self.part.split_to(count)))))
    }

    fn is_end_stream(&self) -> bool {
        self.part.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.part.is_empty() { self.inner.size_hint() } else { SizeHint::default() }
    }
}
