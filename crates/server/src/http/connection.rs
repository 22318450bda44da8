//! One connection: hyper over a socket whose progress is watched, so that a peer that stops in the
//! middle of something does not hold its memory for long. HTTP/2, which gRPC speaks, is told by its
//! preface.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Either;
use hyper::Request;
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::AbortHandle;

use super::app::{App, Counts};
use super::reply::closing_answer;
use super::unparsed::answer_instead;
use crate::config::HttpConfig;
use crate::running::{Ticks, timeout};
use crate::tls::stream::Stream;

/// A peer's connection waits for the next request.
const IDLE: u8 = 0;
/// A request's head is arriving.
const HEAD: u8 = 1;
/// A request is being answered; its body and its handler have bounds of their own.
const BUSY: u8 = 2;

/// A connection of HTTP/2 on which nothing is asked; it may be that only frames of its own go by.
const QUIET: u8 = 3;

/// Bytes of an answer that a peer has to take in each second, or it falls behind, by as much as is
/// missing.
pub(crate) const TAKEN_PER_SECOND_MIN: u64 = 16 << 10;

/// What a client of HTTP/2 sends first (RFC 9113 3.4).
pub(crate) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How far a connection is, in ticks of the watch.
#[derive(Debug)]
pub(crate) struct Progress {
    phase: AtomicU8,
    /// When that phase began.
    since: AtomicU64,
    /// Since when the peer is behind with what is written; 0 while it is not.
    behind_since: AtomicU64,
    /// Bytes that it has taken since.
    taken: AtomicU64,
    /// Streams of HTTP/2 that are open.
    streams: AtomicUsize,
    /// The connection is to end before its next request.
    leave: Notify,
}

impl Progress {
    /// A new connection owes the head of its first request.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            phase: AtomicU8::new(HEAD),
            since: AtomicU64::new(now),
            behind_since: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            streams: AtomicUsize::new(0),
            leave: Notify::new(),
        }
    }

    fn enter(&self, phase: u8, now: u64) {
        self.since.store(now, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }

    /// The peer is let in, and says and hears what it likes for as long as it likes.
    pub(crate) fn serve_for_long(&self, now: u64) {
        self.enter(BUSY, now);
    }

    /// HTTP/2 is spoken from now on.
    pub(crate) fn be_quiet(&self, now: u64) {
        self.enter(QUIET, now);
    }

    /// A stream of HTTP/2 opened.
    pub(crate) fn open_stream(&self, now: u64) {
        self.streams.fetch_add(1, Ordering::Relaxed);
        self.enter(BUSY, now);
    }

    /// A stream of HTTP/2 has ended.
    pub(crate) fn close_stream(&self, now: u64) {
        if self.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.enter(QUIET, now);
        }
    }

    /// Nothing of what is written fits into the socket any more.
    pub(crate) fn fall_behind(&self, now: u64) {
        if self.behind_since.load(Ordering::Relaxed) == 0 {
            self.taken.store(0, Ordering::Relaxed);
            self.behind_since.store(now, Ordering::Relaxed);
        }
    }

    /// The socket has taken more. A peer that is behind has made up for it once that is as much
    /// as it had to take meanwhile: a byte now and then is not.
    pub(crate) fn take(&self, bytes: usize, now: u64) {
        let since = self.behind_since.load(Ordering::Relaxed);
        if since == 0 {
            return;
        }
        let taken = self.taken.fetch_add(bytes as u64, Ordering::Relaxed) + bytes as u64;
        if since + taken / TAKEN_PER_SECOND_MIN >= now {
            self.catch_up();
        }
    }

    /// The socket has taken all that there was.
    pub(crate) fn catch_up(&self) {
        self.behind_since.store(0, Ordering::Relaxed);
    }

    /// For how long it owes a request, if for so long that it may be ended where room is short.
    pub(crate) fn owing_for(&self, now: u64, config: &HttpConfig) -> Option<u64> {
        let owing = now.saturating_sub(self.since.load(Ordering::Relaxed));
        let owes = self.phase.load(Ordering::Relaxed) != BUSY;
        (owes && owing > config.idle_spared.as_secs()).then_some(owing)
    }

    /// Ends the connection, which owes a request: in the middle of a head at once, else as soon as
    /// it is sure that no request is under way.
    pub(crate) fn let_go(&self, abort: &AbortHandle) {
        if self.phase.load(Ordering::Relaxed) == HEAD {
            abort.abort();
        } else {
            self.leave.notify_one();
        }
    }

    /// Whether the peer has taken too long.
    pub(crate) fn is_overdue(&self, now: u64, config: &HttpConfig) -> bool {
        let over = |since: u64, bound: Duration| now.saturating_sub(since) > bound.as_secs();
        let behind_since = self.behind_since.load(Ordering::Relaxed);
        let made_up = self.taken.load(Ordering::Relaxed) / TAKEN_PER_SECOND_MIN;
        if behind_since > 0 && over(behind_since + made_up, config.write_timeout) {
            return true;
        }
        let since = self.since.load(Ordering::Relaxed);
        match self.phase.load(Ordering::Relaxed) {
            IDLE | QUIET => over(since, config.idle_timeout),
            HEAD => over(since, config.header_timeout),
            _ => false,
        }
    }
}

/// Connections that are closed slowly at the same time; more are closed at once.
const LINGERING_MAX: usize = 64;
static LINGERING: Semaphore = Semaphore::const_new(LINGERING_MAX);

/// A socket that notes its progress.
#[derive(Debug)]
pub(crate) struct Watched {
    /// There until it is dropped.
    io: Option<TokioIo<Stream>>,
    progress: Arc<Progress>,
    ticks: Arc<Ticks>,
    header_bytes_max: usize,
    /// What was read to tell which protocol it is.
    first: Bytes,
    is_http2: bool,
    counts: Arc<Counts>,
    /// What is written in place of an answer of hyper's own, and how much of it was.
    instead: Option<(Vec<u8>, usize)>,
}

impl Drop for Watched {
    /// A socket that is closed over bytes that nobody read, or before the peer has sent the rest of
    /// them, takes the answer back, so a peer that has not closed its end gets a moment to hear it.
    fn drop(&mut self) {
        let Some(mut stream) = self.io.take().map(TokioIo::into_inner) else { return };
        let mut dropped = [0_u8; 4096];
        let mut unread = ReadBuf::new(&mut dropped);
        let mut context = Context::from_waker(Waker::noop());
        let may_send = match Pin::new(&mut stream).poll_read(&mut context, &mut unread) {
            Poll::Ready(Ok(())) => !unread.filled().is_empty(),
            Poll::Ready(Err(_)) => false,
            Poll::Pending => true,
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Some(permit) = LINGERING.try_acquire().ok().filter(|_| may_send) else { return };
        runtime.spawn(async move {
            let lingering = async {
                stream.shutdown().await?;
                while stream.read(&mut dropped).await? > 0 {}
                io::Result::Ok(())
            };
            let _ = timeout(Duration::from_secs(1), lingering).await;
            drop(permit);
        });
    }
}

impl Watched {
    fn io(&mut self) -> io::Result<Pin<&mut TokioIo<Stream>>> {
        self.io.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Writes `bytes`, or a document in place of a bare refusal, which is told from its first bytes
    /// in all other cases.
    fn write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.instead.is_none() && !self.is_http2 {
            self.instead = answer_instead(bytes, self.header_bytes_max).map(|refusal| {
                self.counts.answered(refusal.code().status());
                (closing_answer(&refusal), 0)
            });
        }
        let Some((answer, mut written)) = self.instead.take() else {
            let polled = self.io()?.poll_write(context, bytes);
            return self.written(polled);
        };
        while let Some(rest) = answer.get(written..).filter(|rest| !rest.is_empty()) {
            let polled = self.io()?.poll_write(context, rest);
            match self.written(polled) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.instead = Some((answer, written));
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn written(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Ready(Ok(bytes)) => self.progress.take(*bytes, self.ticks.now()),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.progress.fall_behind(self.ticks.now()),
        }
        polled
    }
}

impl Read for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let count = self.first.len().min(buffer.remaining());
            let bytes = self.first.split_to(count);
            buffer.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        let polled = self.io()?.poll_read(context, buffer);
        if polled.is_ready() && self.progress.phase.load(Ordering::Relaxed) == IDLE {
            self.progress.enter(HEAD, self.ticks.now());
        }
        polled
    }
}

impl Write for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = self.io()?.poll_flush(context);
        match &flushed {
            // It is asked for once all that there was to write is written.
            Poll::Ready(_) => self.progress.catch_up(),
            // TLS keeps something back that the peer does not take.
            Poll::Pending => self.progress.fall_behind(self.ticks.now()),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io()?.poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(TokioIo::is_write_vectored)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [bytes] = parts {
            return self.write(context, bytes);
        }
        let polled = self.io()?.poll_write_vectored(context, parts);
        self.written(polled)
    }
}

/// Speaks HTTP on one connection until it ends, or it is let go, or `stopping` says so; then the
/// request under way is answered first. `earlier` connections were open when it was accepted.
pub(crate) async fn speak(
    app: Arc<App>,
    mut stream: Stream,
    earlier: usize,
    progress: Arc<Progress>,
    ticks: Arc<Ticks>,
    mut stopping: watch::Receiver<bool>,
) {
    let app = app.seen_from(|| stream.peer().of_access());
    let header_bytes_max = app.config.header_bytes_max;
    let first = tokio::select! {
        biased;
        first = first_bytes(&mut stream) => first,
        () = told(&mut stopping, &progress) => return,
    };
    let Ok(first) = first else { return };
    let is_http2 = first.starts_with(PREFACE);
    let watched = Watched {
        io: Some(TokioIo::new(stream)),
        progress: Arc::clone(&progress),
        ticks: Arc::clone(&ticks),
        header_bytes_max,
        first,
        is_http2,
        counts: Arc::clone(&app.counts),
        instead: None,
    };
    if is_http2 {
        progress.be_quiet(ticks.now());
        let seen = Seen { earlier, progress, ticks };
        return crate::grpc::speak(app, watched, seen, stopping).await;
    }
    let seen = Arc::clone(&progress);
    let service = service_fn(move |request: Request<Incoming>| {
        let (app, progress, ticks) = (Arc::clone(&app), Arc::clone(&seen), Arc::clone(&ticks));
        progress.enter(BUSY, ticks.now());
        async move {
            let mut response = app.answer(request, earlier).await;
            match response.body_mut() {
                Either::Left(_) => progress.enter(IDLE, ticks.now()),
                Either::Right(events) => events.on_end(move || progress.enter(IDLE, ticks.now())),
            }
            Ok::<_, Infallible>(response)
        }
    });
    // Without `pipeline_flush`: it keeps an answer back for as long as half of a further request
    // is there, and all of them without bound while that is so.
    let connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_buf_size(header_bytes_max)
        .max_header_size(header_bytes_max)
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

/// How far a connection of HTTP/2 is, and when it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Connections that were open when it was accepted.
    pub(crate) earlier: usize,
    pub(crate) progress: Arc<Progress>,
    pub(crate) ticks: Arc<Ticks>,
}

/// So many bytes that it is clear which protocol they are of, or all where the peer sends no more.
async fn first_bytes(stream: &mut Stream) -> io::Result<Bytes> {
    let mut first = Vec::with_capacity(PREFACE.len());
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        let mut more = [0; PREFACE.len()];
        let room = more.get_mut(first.len()..).unwrap_or_default();
        match stream.read(room).await? {
            0 => break,
            count => first.extend_from_slice(room.get(..count).unwrap_or_default()),
        }
    }
    Ok(first.into())
}

/// Is ready once the connection is let go or the server is about to stop.
pub(crate) async fn told(stopping: &mut watch::Receiver<bool>, progress: &Progress) {
    // The server being gone is a stop as well.
    let stopped = stopping.wait_for(|stopping| *stopping);
    tokio::select! {
        _ = stopped => {}
        () = progress.leave.notified() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_stops_in_the_middle_is_overdue() {
        let config = HttpConfig {
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(20),
            ..HttpConfig::default()
        };
        let progress = Progress::new(1);
        assert!(!progress.is_overdue(11, &config) && progress.is_overdue(12, &config));
        progress.enter(BUSY, 5);
        assert!(!progress.is_overdue(10_000, &config), "the handler has its own bounds");
        progress.enter(IDLE, 100);
        assert!(!progress.is_overdue(160, &config) && progress.is_overdue(161, &config));
        progress.enter(BUSY, 200);
        progress.fall_behind(200);
        assert!(!progress.is_overdue(220, &config) && progress.is_overdue(221, &config));
        progress.catch_up();
        assert!(!progress.is_overdue(1000, &config));
    }

    #[test]
    fn a_peer_that_takes_a_byte_now_and_then_is_overdue() {
        let write_timeout = Duration::from_secs(20);
        let config = HttpConfig { write_timeout, ..HttpConfig::default() };
        let late_at = |bytes: usize, every: u64| {
            let progress = Progress::new(1);
            progress.enter(BUSY, 1);
            (1..10_000).find(|now| {
                if now % every == 0 {
                    progress.take(bytes, *now);
                }
                progress.fall_behind(*now);
                progress.is_overdue(*now, &config)
            })
        };
        assert_eq!(late_at(1, 1), Some(22));
        assert_eq!(late_at(8 << 10, 1), Some(42), "half of the least rate: twice the time");
        assert_eq!(late_at(64 << 10, 15), Some(26), "in bits that are far too few");
        assert_eq!(late_at(16 << 10, 1), None);
        assert_eq!(late_at(256 << 10, 15), None, "seldom, and enough");
    }
}
