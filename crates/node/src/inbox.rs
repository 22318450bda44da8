//! What waits for a shard: calls in three classes, each bounded, and signals, which are taken in
//! always. Here lies the shard itself while it rests, for whoever takes the next turn with it. The
//! inbox wakes the shard's thread and decides nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use longshore_engine::driver::{self, Admit, Class, Ending, InboxLimits, Refused, Waiting};
use longshore_engine::{Command, ConsumerId, Position, ReplyTo, ShardStats, StatsCursor};
use tokio::sync::oneshot;

use crate::courier::Place;

/// A call on its way to the shard.
pub(crate) type Call = driver::Call<Place>;

/// What gives back what came to nobody, by namespace.
pub(crate) type GiveBacks = Vec<(String, Command)>;

/// What is durable beside the journal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flushed {
    /// The position of the state.
    pub(crate) persisted: Position,
    /// The position up to which events are in the files of their streams.
    pub(crate) events: Option<Position>,
}

/// What other threads tell the shard's.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// The journal is durable up to here.
    pub(crate) committed: Option<Position>,
    /// These callers have gone.
    pub(crate) disconnected: Vec<ReplyTo>,
    /// These consumers have gone.
    pub(crate) unsubscribed: Vec<ConsumerId>,
    /// What could not be handed over goes back so, by namespace.
    pub(crate) give_back: GiveBacks,
    /// These want to know how the shard is, and what follows after that.
    pub(crate) stats: Vec<(Option<StatsCursor>, oneshot::Sender<ShardStats>)>,
    /// The state on disk has moved to here, so there is room in memory.
    pub(crate) flushed: Option<Flushed>,
    /// A flush waits for space, or does so no more.
    pub(crate) flush_waits: Option<bool>,
    /// The group in flight has waited for space for so long that its callers shall know.
    pub(crate) starved: bool,
    /// The shard is to end.
    ending: Option<Ending>,
    /// End with this fault.
    pub(crate) fault: Option<String>,
}

impl Signals {
    fn is_empty(&self) -> bool {
        self.committed.is_none()
            && self.disconnected.is_empty()
            && self.unsubscribed.is_empty()
            && self.give_back.is_empty()
            && self.stats.is_empty()
            && self.flushed.is_none()
            && self.flush_waits.is_none()
            && !self.starved
            && self.ending.is_none()
            && self.fault.is_none()
    }

    /// Has the shard end so, unless it was told something stronger.
    pub(crate) fn end(&mut self, ending: Ending) {
        self.ending = self.ending.max(Some(ending));
    }

    /// How the shard is to end.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending
    }
}

/// What waits for a shard, and while it rests the shard itself, which is a `T`.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    /// Calls were left here that the thread has not been told of.
    left: AtomicBool,
}

#[derive(Debug)]
struct State<T> {
    /// The shard while it rests.
    resting: Option<(T, Rest)>,
    /// The thread waits and has to be woken, at the latest when told here.
    sleeping: Option<Sleep>,
    waiting: Waiting<Place>,
    signals: Signals,
}

/// Until when a thread sleeps.
type Sleep = Option<Instant>;

/// How a shard rests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rest {
    /// When its thread has to take a turn at the latest.
    pub(crate) until: Option<Instant>,
    /// What it takes up now.
    pub(crate) admit: Admit,
    /// Whether a caller may take a turn with it.
    pub(crate) takes_guests: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new(limits: InboxLimits) -> Self {
        let waiting = Waiting::new(limits);
        let state = State { resting: None, sleeping: None, waiting, signals: Signals::default() };
        let (wake, left) = (Condvar::new(), AtomicBool::new(false));
        Self { state: Mutex::new(state), wake, left }
    }

    /// Takes in calls from now on.
    pub(crate) fn open(&self) {
        self.state().waiting.set_open(true);
    }

    /// Refuses calls from now on; those that wait still get their turn.
    pub(crate) fn refuse_more(&self) {
        self.state().waiting.set_open(false);
    }

    /// Whether the shard takes in no more: it is about to end, once it has begun.
    pub(crate) fn refuses_more(&self) -> bool {
        !self.state().waiting.is_open()
    }

    /// Whether the thread was told to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.state().signals.ending >= Some(Ending::Finish)
    }

    /// Refuses calls from now on and returns those that wait, whose callers learn it by the drop.
    pub(crate) fn close(&self) -> Vec<Call> {
        self.state().waiting.close()
    }

    /// Adds a call. Where a courier brings its answer, the thread hears of it by
    /// [`Inbox::hand_over`].
    pub(crate) fn push(&self, call: Call) -> Result<(), Refused> {
        self.try_push(call).map_err(|(refused, _)| refused)
    }

    /// The same; a call that is not taken in comes back.
    pub(crate) fn try_push(&self, call: Call) -> Result<(), (Refused, Box<Call>)> {
        let is_left = call.caller.courier.is_some();
        let mut state = self.state();
        state.waiting.try_push(call)?;
        if is_left {
            self.left.store(true, Ordering::Relaxed);
        } else {
            self.wake(state);
        }
        Ok(())
    }

    /// Tells the thread of the calls that were left, whoever left them; or returns the shard, where
    /// it rests and the caller may as well take the turn. It has to come back by
    /// [`Inbox::put_back`].
    pub(crate) fn hand_over(&self) -> Option<T> {
        if !self.left.load(Ordering::Relaxed) || !self.left.swap(false, Ordering::Relaxed) {
            return None;
        }
        let mut state = self.state();
        if state.is_for_guest() {
            return state.resting.take().map(|(shard, _)| shard);
        }
        // The thread may have been awake and have them.
        if state.has_work(Admit::All) {
            self.wake(state);
        }
        None
    }

    /// Lets the shard rest again after a guest's turn, and wakes its thread if there is more to do
    /// or to do earlier.
    pub(crate) fn put_back(&self, shard: T, rest: Rest) {
        let mut state = self.state();
        state.resting = Some((shard, rest));
        let earlier = match (state.sleeping, rest.until) {
            (Some(Some(sleeps_until)), Some(until)) => until < sleeps_until,
            (Some(None), Some(_)) => true,
            _ => false,
        };
        if earlier || state.has_work(rest.admit) {
            self.wake(state);
        }
    }

    /// Tells the thread something.
    pub(crate) fn signal(&self, tell: impl FnOnce(&mut Signals)) {
        let mut state = self.state();
        tell(&mut state.signals);
        self.wake(state);
    }

    /// Whether there are signals, or calls that may be taken up and were not.
    pub(crate) fn has_work(&self, admit: Admit) -> bool {
        self.state().has_work(admit)
    }

    /// Whether there are signals that were not taken.
    #[cfg(test)]
    pub(crate) fn is_signalled(&self) -> bool {
        !self.state().signals.is_empty()
    }

    /// The signals since the last call.
    pub(crate) fn take_signals(&self) -> Signals {
        std::mem::take(&mut self.state().signals)
    }

    /// Moves the calls of one round to `round`. Whether more of them wait, and what was to be given
    /// back before they came: whoever makes a call after that finds those jobs free.
    pub(crate) fn take_round(&self, round: &mut Vec<Call>, admit: Admit) -> (bool, GiveBacks) {
        let mut state = self.state();
        let more = state.waiting.take_round(round, admit);
        (more, std::mem::take(&mut state.signals.give_back))
    }

    /// Lets the shard rest until there is a signal or a call that may be taken up, or until its
    /// time. Whoever has it by then gives it back first.
    pub(crate) fn rest(&self, shard: T, rest: Rest) -> T {
        let mut state = self.state();
        state.resting = Some((shard, rest));
        loop {
            let rest = state.resting.as_ref().map(|(_, rest)| *rest);
            let until = rest.and_then(|rest| rest.until);
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let due = left.is_some_and(|left| left.is_zero());
            if let Some(rest) = rest
                && (due || state.has_work(rest.admit))
                && let Some((shard, _)) = state.resting.take()
            {
                state.sleeping = None;
                return shard;
            }
            state.sleeping = Some(until);
            state = match left {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let waited = self.wake.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Calls that wait, by class.
    pub(crate) fn depth(&self) -> [usize; Class::COUNT] {
        self.state().waiting.depth()
    }

    /// Wakes the thread if it waits, after the lock is free.
    fn wake(&self, mut state: MutexGuard<'_, State<T>>) {
        let sleeping = state.sleeping.take().is_some();
        drop(state);
        if sleeping {
            self.wake.notify_one();
        }
    }

    /// No code between lock and unlock panics half-way through a change.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn has_work(&self, admit: Admit) -> bool {
        !self.signals.is_empty() || self.waiting.has_any(admit)
    }

    /// Whether one small call waits, and nothing that is the thread's. Where there are more, the
    /// thread decides them while their callers read the next ones.
    fn is_for_guest(&self) -> bool {
        self.resting.as_ref().is_some_and(|(_, rest)| rest.takes_guests)
            && self.signals.is_empty()
            && self.waiting.is_one_small()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longshore_engine::{Command, Holder, Request};
    use tokio::sync::oneshot;

    use super::*;
    use crate::admission::Admission;
    use crate::courier::Reply;

    fn call(command: Command) -> Call {
        let (reply, _) = oneshot::channel();
        let class = Class::of(&command);
        let in_flight = Arc::new(Admission::new(1)).count(0);
        let reply = Reply::Once(reply);
        let caller = Place { reply, courier: None, in_flight, subscriber: None };
        let request = Request { namespace: "n".into(), reply_to: ReplyTo(1), command };
        Call { request, caller, class, bytes: 100 }
    }

    fn rest(admit: Admit) -> Rest {
        Rest { until: None, admit, takes_guests: true }
    }

    fn take(inbox: &Inbox<()>) -> Vec<Class> {
        let mut round = Vec::new();
        inbox.take_round(&mut round, Admit::All);
        round.iter().map(|call| call.class).collect()
    }

    #[test]
    fn a_signal_wakes_the_thread() {
        let inbox = Arc::new(Inbox::<()>::new(InboxLimits::default()));
        let waiter = Arc::clone(&inbox);
        let thread = std::thread::spawn(move || waiter.rest((), rest(Admit::Nothing)));
        inbox.signal(|signals| signals.committed = Some(Position(3)));
        thread.join().unwrap();
        assert_eq!(inbox.take_signals().committed, Some(Position(3)));
    }

    /// What no flush had room for held up the end of a shard.
    #[test]
    fn what_may_not_be_taken_up_is_no_work() {
        let inbox = Inbox::<()>::new(InboxLimits::default());
        inbox.open();
        let jobs = longshore_engine::EnqueueJobs { queue: "q".into(), jobs: Vec::new() };
        inbox.push(call(Command::EnqueueJobs(jobs))).unwrap();
        assert!(inbox.has_work(Admit::All));
        assert!(!inbox.has_work(Admit::NoJobs));
        inbox.signal(|signals| signals.committed = Some(Position(3)));
        assert!(inbox.has_work(Admit::NoJobs), "signals are always heard");
    }

    /// The end of a session of ten thousand leases counted as one job, so that a connection's
    /// thread took it, and all of its other connections waited.
    #[test]
    fn what_costs_much_is_decided_by_no_callers_thread() {
        let inbox = Inbox::<()>::new(InboxLimits::default());
        inbox.open();
        inbox.put_back((), rest(Admit::All));
        let holder = Holder { worker: "w".into(), session: "s".into() };
        let end = Command::EndSession { holder, why: String::new(), goodbye: false };
        for (command, is_for_guest) in [(Command::GetNamespace, true), (end, false)] {
            let mut call = call(command);
            call.caller.courier = Some(Arc::default());
            inbox.push(call).unwrap();
            assert_eq!(inbox.hand_over().is_some(), is_for_guest);
            assert_eq!(take(&inbox).len(), 1);
            if is_for_guest {
                inbox.put_back((), rest(Admit::All));
            }
        }
    }
}
