//! Server-sent events (HTML Living Standard, section 9.2): a job whenever it changes, until it has
//! ended. The connection serves nothing else meanwhile.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use longshore_engine::{Cap, JobView};
use tokio::sync::mpsc;

use super::app::App;
use super::look::{self, later};
use crate::api::{DurationText, JobEvent};
use crate::pace::Pace;

/// After so much silence a comment shows that the connection lives.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// Over how much of the past the speed is taken at most.
const SPEED_OVER: Duration = Duration::from_secs(60);
/// Events that a slow reader may owe.
pub(super) const UNREAD_MAX: usize = 4;

/// Runs when a stream of events has ended.
type OnEnd = Box<dyn FnOnce() + Send>;

/// The body of an answer that goes on.
pub(crate) struct EventStream {
    events: mpsc::Receiver<Bytes>,
    on_end: Option<OnEnd>,
    _place: Place,
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").finish_non_exhaustive()
    }
}

impl EventStream {
    /// What comes out of a channel, in a place for as long as it goes on.
    pub(super) fn new(events: mpsc::Receiver<Bytes>, place: Place) -> Self {
        Self { events, on_end: None, _place: place }
    }

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
    place: Place,
) -> EventStream {
    let (sender, events) = mpsc::channel(UNREAD_MAX);
    tokio::spawn(async move {
        let mut teller = Teller { sender, pace: Pace::over(SPEED_OVER), last: None };
        // Whoever listens has gone, or the server goes: the stream ends either way.
        let _ = teller.follow(&app, &namespace, first).await;
    });
    EventStream::new(events, place)
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
            if !app.who.holds() {
                return Ok(());
            }
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
const STREAMS_MAX: Cap = Cap { shard: 1024, namespace: 512 };

/// How many streams of events each namespace has.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<BTreeMap<String, usize>>);

/// A place for a stream, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    namespace: String,
}

impl Places {
    /// A place for one more, or how many there are where that is as many as may be.
    pub(crate) fn take(self: &Arc<Self>, namespace: &str) -> Result<Place, usize> {
        self.take_of(namespace, STREAMS_MAX)
    }

    fn take_of(self: &Arc<Self>, namespace: &str, max: Cap) -> Result<Place, usize> {
        let mut streams = self.lock();
        let own = streams.get(namespace).copied().unwrap_or_default();
        if own >= max.namespace {
            return Err(max.namespace);
        }
        if streams.values().sum::<usize>() >= max.shard {
            return Err(max.shard);
        }
        let namespace = namespace.to_owned();
        streams.insert(namespace.clone(), own + 1);
        Ok(Place { places: Arc::clone(self), namespace })
    }

    /// No code between lock and unlock panics half-way through a change.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut streams = self.places.lock();
        if let Some(count) = streams.get_mut(&self.namespace) {
            *count -= 1;
            if *count == 0 {
                streams.remove(&self.namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_many_streams_leaves_room_for_others() {
        let places = Arc::new(Places::default());
        let take = |namespace| places.take_of(namespace, Cap { shard: 3, namespace: 2 });
        let (first, _second) = (take("a").unwrap(), take("a").unwrap());
        assert_eq!(take("a").unwrap_err(), 2);
        let _third = take("b").unwrap();
        assert_eq!(take("c").unwrap_err(), 3);
        drop(first);
        take("c").unwrap();
    }
}
