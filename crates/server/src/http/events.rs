//! Server-sent events (HTML Living Standard, section 9.2): a job whenever it changes, until it has
//! ended. The connection serves nothing else meanwhile.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use longshore_engine::JobView;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::app::App;
use super::look::{self, later};
use crate::api::{DurationText, JobEvent};
use crate::pace::Pace;

/// After so much silence a comment shows that the connection lives.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Over how much of the past the speed is taken at most.
const SPEED_OVER: Duration = Duration::from_secs(60);
/// Events that a slow reader may owe.
const UNREAD_MAX: usize = 4;

/// Runs when a stream of events has ended.
type OnEnd = Box<dyn FnOnce() + Send>;

/// The body of an answer that goes on.
pub(crate) struct EventStream {
    events: mpsc::Receiver<Bytes>,
    on_end: Option<OnEnd>,
    _permit: OwnedSemaphorePermit,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

impl EventStream {
    /// Has this done when the stream ends.
    pub(crate) fn on_end(&mut self, end: impl FnOnce() + Send + 'static) {
        self.on_end = Some(Box::new(end));
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if let Some(end) = self.on_end.take() {
            end();
        }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.events.poll_recv(context).map(|event| event.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Tells a job, beginning with how it is now.
pub(crate) fn of_job(
    app: App,
    namespace: String,
    first: Box<JobView>,
    permit: OwnedSemaphorePermit,
) -> EventStream {
    let (sender, events) = mpsc::channel(UNREAD_MAX);
    tokio::spawn(async move {
        let mut teller = Teller { sender, pace: Pace::over(SPEED_OVER), last: None };
        // Whoever listens has gone, or the server goes: the stream ends either way.
        let _ = teller.follow(&app, &namespace, first).await;
    });
    EventStream { events, on_end: None, _permit: permit }
}

/// The stream is over.
struct Over;

struct Teller {
    sender: mpsc::Sender<Bytes>,
    pace: Pace,
    /// The event that was sent last, and when anything was.
    last: Option<(Bytes, Instant)>,
}

impl Teller {
    async fn follow(&mut self, app: &App, ns: &str, first: Box<JobView>) -> Result<(), Over> {
        let mut view = first;
        loop {
            self.tell(app, ns, &view).await?;
            if !view.job.phase.is_unfinished() || app.node.is_stopping() {
                return Ok(());
            }
            // Else its outcome is not kept any longer, or the server is stopping.
            view = later(app, ns, view.job.id).await.map_err(|_| Over)?;
        }
    }

    async fn tell(&mut self, app: &App, ns: &str, view: &JobView) -> Result<(), Over> {
        let job = look::record(app, ns, view);
        let pace = self.pace.at(job.progress, Instant::now());
        let mut event = JobEvent { job, progress_per_second: None, remaining: None };
        let plain = encoded(&event);
        let silent = self.last.as_ref().map(|(_, since)| since.elapsed());
        if self.last.as_ref().is_some_and(|(last, _)| *last == plain) {
            if silent.is_some_and(|silent| silent >= SILENCE_MAX) {
                self.send(app, Bytes::from_static(b": the job is as it was\n\n")).await?;
                self.last = Some((plain, Instant::now()));
            }
            return Ok(());
        }
        if let Some((per_second, left)) = pace {
            event.progress_per_second = Some(per_second);
            event.remaining = Some(DurationText(left.as_millis() as u64));
        }
        self.send(app, encoded(&event)).await?;
        self.last = Some((plain, Instant::now()));
        Ok(())
    }

    /// Whoever cannot be told for want of room may listen again later.
    async fn send(&self, app: &App, bytes: Bytes) -> Result<(), Over> {
        let bytes = app.counted_event(bytes).map_err(|_| Over)?;
        self.sender.send(bytes).await.map_err(|_| Over)
    }
}

fn encoded(event: &JobEvent<'_>) -> Bytes {
    // JSON of serde_json has no line breaks, so one line of data holds it.
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("event: job\ndata: {data}\n\n").into()
}

/// Streams of events at the same time, at most.
pub(crate) const STREAMS_MAX: usize = 1024;

/// A place for one more stream, if there is one.
pub(crate) fn permit(streams: &Arc<tokio::sync::Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(streams).try_acquire_owned().ok()
}
