//! One run of a job: what was delivered, what it is told from outside, and what it leaves for the
//! session that delivered it. It knows neither the job's type nor the wire.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use longshore_proto::v1;
use tokio_util::sync::CancellationToken;

use crate::Start;
use crate::delivery::Delivery;
use crate::mailbox::Mailbox;
use crate::outbox::Outbox;
use crate::outcome::FollowUp;

/// Why a run shall stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// Somebody called the job off.
    Cancelled,
    /// Its lease is lost: somebody else may run it by now, and what it settles is refused.
    LeaseLost,
    /// It took longer than it may.
    TimedOut,
    /// The worker ends, and its grace is over.
    Shutdown,
    /// The server does not take its cursor or its counters; the job's error tells why.
    CheckpointRefused,
}

const STOP: u8 = 1;
const INTERRUPT: u8 = 2;
const SLOW: u8 = 4;
const TIMED_OUT: u8 = 8;

/// One run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) delivery: Delivery,
    /// When it was delivered.
    pub(crate) delivered: Instant,
    /// Whether its code has begun to run.
    started: AtomicBool,
    /// Whether it has ended, or was given back without having begun.
    ended: AtomicBool,
    /// What a run asks before each item: one load where nothing is the matter.
    flags: AtomicU8,
    told: Mutex<Told>,
    /// Asks the run to end soon.
    pub(crate) stop: Signal,
    /// Asks the run to end where another one can go on.
    pub(crate) interrupt: Signal,
    /// Its future is dropped.
    pub(crate) kill: Signal,
    pub(crate) mailbox: Mailbox,
    pub(crate) outbox: Arc<Outbox>,
    follow_ups: Mutex<Vec<FollowUp>>,
    /// When its schedule is to fire next.
    next_slot: Mutex<Option<Start>>,
    /// Whether what follows would be lost or doubled now: this run may be one of several that go
    /// through the same items.
    follows_nothing: AtomicBool,
    /// The span that what follows belongs below, where a layer opened one.
    trace: Mutex<Option<String>>,
    /// What was counted since the last item ended.
    counted: Mutex<HashMap<String, i64>>,
    /// Whether a layer has logged its failure.
    logged: AtomicBool,
    /// For tests: interrupts itself after so many items; 0 for never.
    pub(crate) items_left: AtomicU64,
}

/// Something that a run is told once. Who waits for it gets a token; most runs end before anybody
/// does, so it is made when it is asked for.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    given: AtomicBool,
    token: OnceLock<CancellationToken>,
}

impl Signal {
    fn give(&self) {
        self.given.store(true, Ordering::SeqCst);
        // Of a token that is made meanwhile, one of the two sees the other's part.
        fence(Ordering::SeqCst);
        if let Some(token) = self.token.get() {
            token.cancel();
        }
    }

    pub(crate) fn is_given(&self) -> bool {
        self.given.load(Ordering::SeqCst)
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        let token = self.token.get_or_init(CancellationToken::new);
        fence(Ordering::SeqCst);
        if self.is_given() {
            token.cancel();
        }
        token
    }

    /// Waits until it is given.
    pub(crate) async fn given(&self) {
        self.token().cancelled().await;
    }
}

#[derive(Debug, Default)]
struct Told {
    stop: Option<StopReason>,
    interrupt: Option<String>,
    slow_down: Option<Duration>,
}

impl Run {
    pub(crate) fn new(delivery: Delivery, outbox: Arc<Outbox>) -> Arc<Self> {
        Arc::new(Self {
            delivery,
            delivered: Instant::now(),
            started: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            flags: AtomicU8::new(0),
            told: Mutex::default(),
            stop: Signal::default(),
            interrupt: Signal::default(),
            kill: Signal::default(),
            mailbox: Mailbox::default(),
            outbox,
            follow_ups: Mutex::default(),
            next_slot: Mutex::default(),
            follows_nothing: AtomicBool::new(false),
            trace: Mutex::default(),
            counted: Mutex::default(),
            logged: AtomicBool::new(false),
            items_left: AtomicU64::new(0),
        })
    }

    pub(crate) fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    pub(crate) fn has_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    pub(crate) fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Its failure is in the log: nobody else has to say it.
    pub(crate) fn set_logged(&self) {
        self.logged.store(true, Ordering::Release);
    }

    pub(crate) fn is_logged(&self) -> bool {
        self.logged.load(Ordering::Acquire)
    }

    /// Does what the server says.
    pub(crate) fn instruct(&self, instruction: Option<v1::Instruction>) {
        use v1::instruction::What;
        match instruction.map(|it| it.what) {
            None => self.stop(StopReason::LeaseLost),
            Some(Some(What::Cancel(_))) => self.stop(StopReason::Cancelled),
            Some(Some(What::Interrupt(it))) => self.interrupt(&it.reason),
            Some(Some(What::SlowDown(it))) => {
                lock(&self.told).slow_down = Some(Duration::from_millis(it.wait_ms));
                self.flags.fetch_or(SLOW, Ordering::Release);
            }
            Some(Some(What::Continue(_)) | None) => {}
        }
    }

    /// Tells it to stop. The first reason stands; that of a lost lease always does.
    pub(crate) fn stop(&self, reason: StopReason) {
        let mut told = lock(&self.told);
        if told.stop.is_none() || reason == StopReason::LeaseLost {
            told.stop = Some(reason);
        }
        drop(told);
        self.flags.fetch_or(STOP, Ordering::Release);
        self.stop.give();
    }

    /// Tells it to stop, and drops it.
    pub(crate) fn kill(&self, reason: StopReason) {
        self.stop(reason);
        self.kill.give();
    }

    /// Its time is over: it is dropped, which is a failure whatever else it was told.
    pub(crate) fn time_out(&self) {
        self.flags.fetch_or(TIMED_OUT, Ordering::Release);
        self.kill(StopReason::TimedOut);
    }

    pub(crate) fn has_timed_out(&self) -> bool {
        self.flags.load(Ordering::Acquire) & TIMED_OUT != 0
    }

    /// Tells it to end where another run can go on. After one that is the last nothing goes on.
    pub(crate) fn interrupt(&self, reason: &str) {
        if self.delivery.at_most_once {
            return;
        }
        lock(&self.told).interrupt.get_or_insert_with(|| reason.to_owned());
        self.flags.fetch_or(INTERRUPT, Ordering::Release);
        self.interrupt.give();
    }

    pub(crate) fn stop_reason(&self) -> Option<StopReason> {
        lock(&self.told).stop
    }

    pub(crate) fn interrupt_reason(&self) -> Option<String> {
        lock(&self.told).interrupt.clone()
    }

    /// Whether it was told anything at all.
    pub(crate) fn is_told(&self) -> bool {
        self.flags.load(Ordering::Acquire) != 0
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.flags.load(Ordering::Acquire) & STOP != 0
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.flags.load(Ordering::Acquire) & INTERRUPT != 0
    }

    /// How long it shall wait, once per time that it was told so.
    pub(crate) fn take_slow_down(&self) -> Option<Duration> {
        if self.flags.load(Ordering::Acquire) & SLOW == 0 {
            return None;
        }
        self.flags.fetch_and(!SLOW, Ordering::AcqRel);
        lock(&self.told).slow_down.take()
    }

    #[cfg(feature = "opentelemetry")]
    pub(crate) fn set_traceparent(&self, traceparent: String) {
        *lock(&self.trace) = Some(traceparent);
    }

    /// The trace that what follows belongs to.
    pub(crate) fn traceparent(&self) -> Option<String> {
        let below = lock(&self.trace).clone();
        below.or_else(|| Some(self.delivery.traceparent.clone()).filter(|it| !it.is_empty()))
    }

    pub(crate) fn follow_up(&self, job: FollowUp) {
        lock(&self.follow_ups).push(job);
    }

    pub(crate) fn set_follows_nothing(&self, nothing: bool) {
        self.follows_nothing.store(nothing, Ordering::Release);
    }

    pub(crate) fn follows_nothing(&self) -> bool {
        self.follows_nothing.load(Ordering::Acquire)
    }

    pub(crate) fn take_follow_ups(&self) -> Vec<FollowUp> {
        std::mem::take(&mut lock(&self.follow_ups))
    }

    pub(crate) fn set_next_slot(&self, start: Start) {
        *lock(&self.next_slot) = Some(start);
    }

    pub(crate) fn take_next_slot(&self) -> Option<Start> {
        lock(&self.next_slot).take()
    }

    pub(crate) fn count(&self, name: &str, by: i64) {
        let mut counted = lock(&self.counted);
        match counted.get_mut(name) {
            Some(count) => *count += by,
            None => drop(counted.insert(name.to_owned(), by)),
        }
    }

    pub(crate) fn take_counted(&self) -> HashMap<String, i64> {
        let mut counted = lock(&self.counted);
        if counted.is_empty() { HashMap::new() } else { std::mem::take(&mut counted) }
    }

    pub(crate) fn lease(&self) -> v1::LeaseRef {
        v1::LeaseRef { id: self.delivery.id.clone(), token: self.delivery.token.clone() }
    }
}

/// Locks, whatever became of who held it before: what these mutexes guard is whole at any time.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
