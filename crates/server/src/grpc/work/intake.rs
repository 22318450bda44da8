//! How a stream takes jobs: as a consumer of its shard. The credit that its worker gave is kept
//! here and told there, mostly together with what the worker settles.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use longshore_engine::{Command, ConsumerId, Credit, Delivery, Subscribe};
use longshore_node::{HandedJobs, News, Subscription};

use super::End;
use super::hello::Wish;
use crate::http::app::App;
use crate::http::body::Gauge;
use crate::http::code::Code;
use crate::http::look::{check, told};
use crate::http::refusal::Refusal;
use crate::running::timeout;

/// Bytes of args that the shard may have sent here before they are in the worker's connection.
const WINDOW_BYTES: u64 = 8 << 20;
/// After how long it is tried again, where the shard could not have it stand among its consumers.
const PAUSE: Duration = Duration::from_secs(1);
/// How long the end of a consumer is waited for: a shard may wait for its disk.
const LEAVE_MAX: Duration = Duration::from_secs(2);

type Opening = Pin<Box<dyn Future<Output = Result<bool, Refusal>> + Send>>;

/// The intake of one stream: its credit, and the consumer that it is while it has any.
pub(super) struct Intake {
    app: Arc<App>,
    wish: Arc<Wish>,
    /// Jobs that the worker can take: what it gave, without what it was sent.
    credit: usize,
    /// How much of that the shard was not told of.
    untold: usize,
    /// Bytes that were sent and that the shard was not told of.
    untold_bytes: u64,
    /// Bytes that the shard sent and that are not in the worker's connection.
    arriving: Arc<Gauge>,
    consumer: Option<Standing>,
    /// Not before then it is tried again to become one.
    pauses_until: Option<Instant>,
}

/// A consumer of the shard, or one that is about to be.
struct Standing {
    subscription: Subscription,
    opening: Option<Opening>,
    /// The shard has no place for it: it gets what lies here already and nothing more.
    leaves: bool,
    told: Arc<Told>,
}

/// What became of the commands that told credit.
#[derive(Debug, Default)]
struct Told {
    under_way: AtomicUsize,
    /// One of them had no answer: nobody knows what credit the shard has.
    failed: AtomicBool,
}

/// Credit on its way to the shard. It counts as lost where it is dropped before it has arrived.
pub(super) struct Telling {
    pub(super) consumer: ConsumerId,
    pub(super) credit: Credit,
    told: Arc<Told>,
    arrived: bool,
}

impl Telling {
    pub(super) fn arrived(mut self) {
        self.arrived = true;
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        if !self.arrived {
            self.told.failed.store(true, Ordering::Relaxed);
        }
        self.told.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the shard sent.
pub(super) enum Came {
    /// Jobs for the worker.
    Jobs(HandedJobs),
    /// Nothing that the worker hears of.
    Nothing,
}

/// Bytes of a delivery as the shard counts them.
fn bytes_of(job: &Delivery) -> usize {
    job.args.len() + job.cursor.as_ref().map_or(0, bytes::Bytes::len)
}

impl Intake {
    pub(super) fn new(app: Arc<App>, wish: Arc<Wish>) -> Self {
        let (credit, untold, untold_bytes) = (0, 0, 0);
        let (consumer, pauses_until) = (None, None);
        let arriving = Arc::new(Gauge::new(WINDOW_BYTES));
        Self { app, wish, credit, untold, untold_bytes, arriving, consumer, pauses_until }
    }

    /// Jobs that the worker can take.
    pub(super) fn credit(&self) -> usize {
        self.credit
    }

    /// The worker can take so many more.
    pub(super) fn add_credit(&mut self, jobs: usize) {
        self.credit = self.credit.saturating_add(jobs);
        self.untold = self.untold.saturating_add(jobs);
    }

    /// What the worker gave before is void. What is on its way from the shard goes back.
    pub(super) fn withdraw(&mut self) {
        (self.credit, self.consumer) = (0, None);
    }

    /// Whether the shard may send something.
    pub(super) fn is_open(&self) -> bool {
        self.consumer.is_some()
    }

    /// Becomes a consumer where there is credit, or is one no longer where nothing is to be sent.
    pub(super) fn look(&mut self, takes: bool) {
        let failed = |of: &Standing| of.told.failed.load(Ordering::Relaxed);
        let is_over = |of: &Standing| of.leaves && of.subscription.is_empty();
        if self.consumer.as_ref().is_some_and(|of| failed(of) || is_over(of)) {
            self.pause();
        }
        if takes && self.app.check_answers_beside(&self.arriving).is_err() {
            // What is granted is told in any case, so nothing is taken where much is unread.
            return self.pause();
        }
        if !takes {
            self.consumer = None;
        } else if self.consumer.is_none() && self.credit > 0 && !self.pauses() {
            self.open();
        }
    }

    fn pause(&mut self) {
        self.consumer = None;
        self.pauses_until = Some(Instant::now() + PAUSE);
    }

    fn pauses(&self) -> bool {
        self.pauses_until.is_some_and(|until| Instant::now() < until)
    }

    /// When it is to be looked at again.
    pub(super) fn looks_at(&self) -> Option<Instant> {
        self.pauses_until.filter(|_| self.consumer.is_none() && self.credit > 0)
    }

    fn open(&mut self) {
        let mut subscription = self.app.node.consumer(&self.wish.namespace);
        let Some(mut subscriber) = subscription.subscriber() else { return };
        subscriber.gauges = vec![Arc::clone(self.app.answers_gauge()), Arc::clone(&self.arriving)];
        let command = Subscribe {
            consumer: subscription.id,
            holder: self.wish.holder.clone(),
            queues: self.wish.queues.clone(),
            kinds: self.wish.kinds.clone(),
            lease_ms: self.wish.lease_ms,
            credit: Credit { jobs: self.credit, bytes: WINDOW_BYTES },
        };
        (self.untold, self.untold_bytes, self.pauses_until) = (0, 0, None);
        let (app, namespace) = (Arc::clone(&self.app), self.wish.namespace.clone());
        let opening: Opening = Box::pin(async move {
            let command = Command::Subscribe(Box::new(command));
            let Command::Subscribe(command) = check(&app, &namespace, command).await? else {
                return Err(Refusal::new(Code::Internal, "a subscription became something else"));
            };
            told::<Subscribe>(app.node.subscribe(subscriber, command).await?)
        });
        let (opening, leaves, told) = (Some(opening), false, Arc::default());
        self.consumer = Some(Standing { subscription, opening, leaves, told });
    }

    /// Whether the shard is to be told of more credit, or has something `beside` that it is told in
    /// any case.
    pub(super) fn has_to_tell(&self, beside: bool) -> bool {
        let of = self.consumer.as_ref().filter(|of| of.opening.is_none() && !of.leaves);
        // While some is on its way, more is gathered.
        let may = of.is_some_and(|of| beside || of.told.under_way.load(Ordering::Relaxed) == 0);
        may && (self.untold > 0 || self.untold_bytes >= WINDOW_BYTES / 2)
    }

    /// Takes what the shard is to be told of.
    pub(super) fn take_untold(&mut self, beside: bool) -> Option<Telling> {
        let of = self.consumer.as_ref().filter(|_| self.has_to_tell(beside))?;
        let credit = Credit { jobs: self.untold, bytes: self.untold_bytes };
        (self.untold, self.untold_bytes) = (0, 0);
        of.told.under_way.fetch_add(1, Ordering::Relaxed);
        let (consumer, told) = (of.subscription.id, Arc::clone(&of.told));
        Some(Telling { consumer, credit, told, arrived: false })
    }

    /// Waits for what the shard sends, for ever where it sends nothing.
    pub(super) async fn next(&mut self) -> Result<Came, End> {
        let Some(of) = &mut self.consumer else { return std::future::pending().await };
        let news = tokio::select! {
            biased;
            news = of.subscription.next() => Ok(news),
            opened = opening(of.opening.as_mut()) => Err(opened),
        };
        match news {
            Ok(Some(News::Jobs(jobs))) => return Ok(Came::Jobs(jobs)),
            Ok(Some(News::Closed(_, why))) => {
                // Whether it can be one again is seen when it is tried.
                let worker = &self.wish.holder.worker;
                tracing::debug!(worker, ?why, "a stream is no consumer any more");
                self.pause();
            }
            // The others go to connections, never to a worker's stream.
            Ok(
                Some(
                    News::Left | News::Messages(_) | News::Answer { .. } | News::Unanswered { .. },
                )
                | None,
            ) => self.pause(),
            Err(Ok(stands)) => {
                of.opening = None;
                of.leaves = !stands;
            }
            // It passes; the worker is there meanwhile.
            Err(Err(refusal)) if passes(&refusal) => self.pause(),
            Err(Err(refusal)) => return Err(refusal.into()),
        }
        Ok(Came::Nothing)
    }

    /// This job is in the worker's connection.
    pub(super) fn sent(&mut self, job: &Delivery) {
        self.credit = self.credit.saturating_sub(1);
        self.untold_bytes += bytes_of(job) as u64;
    }

    /// Is no consumer any more, and has everything given back that did not reach the worker.
    pub(super) async fn leave(&mut self) {
        if let Some(Standing { subscription, opening, .. }) = self.consumer.take() {
            // A call that was not taken up is none any more.
            drop(opening);
            // Where the shard does not answer in time, what it sends later is given back as well.
            let _ = timeout(LEAVE_MAX, subscription.leave()).await;
        }
    }
}

fn passes(refusal: &Refusal) -> bool {
    refusal.retry_after().is_some() || refusal.code() == Code::RequestSuperseded
}

async fn opening(of: Option<&mut Opening>) -> Result<bool, Refusal> {
    match of {
        Some(opening) => opening.await,
        None => std::future::pending().await,
    }
}
