//! What waits for a shard: calls in three classes, each bounded, and signals, which are taken in
//! always. Here lies the shard itself while it rests, for whoever takes the next turn with it. The
//! inbox wakes the shard's thread and decides nothing.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use longshore_engine::{
    ConsumerId, Position, ReplyTo, Request, Settlement, ShardStats, StatsCursor,
};
use tokio::sync::oneshot;

use crate::admission::InFlight;
use crate::class::Class;
use crate::courier::{Caller, Subscriber};

/// What may wait in each class.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InboxLimits {
    /// Calls of one class that may wait for their turn. Default: 65,536.
    pub calls_max: usize,
    /// Bytes that the waiting calls of one class may hold. Default: 64 MiB.
    pub bytes_max: u64,
}

impl Default for InboxLimits {
    fn default() -> Self {
        Self { calls_max: 65_536, bytes_max: 64 << 20 }
    }
}

/// A call on its way to the shard.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) request: Request,
    pub(crate) caller: Caller,
    pub(crate) class: Class,
    pub(crate) bytes: u64,
    pub(crate) in_flight: InFlight,
    /// Who gets what is delivered, where the call subscribes.
    pub(crate) subscriber: Option<Subscriber>,
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
    /// These leases could not be handed over, by namespace.
    pub(crate) give_back: Vec<(String, Vec<Settlement>)>,
    /// These want to know how the shard is, and what follows after that.
    pub(crate) stats: Vec<(Option<StatsCursor>, oneshot::Sender<ShardStats>)>,
    /// The state on disk has moved, so there is room in memory.
    pub(crate) flushed: bool,
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
            && !self.flushed
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

/// How a shard is to end, the stronger one last.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Ending {
    /// Nobody shall wait any more: the server is about to stop.
    Begin,
    /// Finish what is there and end.
    Finish,
    /// End at once, as in a crash.
    Abandon,
}

/// Why a call was not taken in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Refused {
    /// The shard does not serve.
    Closed,
    /// Its class is full.
    Full,
}

/// What waits for a shard, and while it rests the shard itself, which is a `T`.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
    /// Calls were left here that the thread has not been told of.
    left: AtomicBool,
    limits: InboxLimits,
}

#[derive(Debug)]
struct State<T> {
    open: bool,
    /// The shard while it rests.
    resting: Option<(T, Rest)>,
    /// The thread waits and has to be woken, at the latest when told here.
    sleeping: Option<Sleep>,
    calls: [VecDeque<Call>; Class::COUNT],
    bytes: [u64; Class::COUNT],
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

/// Which calls the shard's thread takes up now.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Admit {
    /// None: what is there has to be written first.
    Nothing,
    /// All but new jobs.
    NoJobs,
    /// All.
    All,
}

impl Admit {
    const fn classes(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::NoJobs => Class::Publish as usize,
            Self::All => Class::COUNT,
        }
    }
}

/// What the calls of each class may cost in one round. A call is never split, so a bulk fills a
/// round, and the next round begins with settlements.
const ROUND_COST: [usize; Class::COUNT] = [256, 128, 64];
/// A lone call that costs so much at most is a turn that its caller may take: other connections of
/// that thread wait meanwhile.
const GUEST_COST_MAX: usize = 16;

impl<T> Inbox<T> {
    pub(crate) fn new(limits: InboxLimits) -> Self {
        let state = State {
            open: false,
            resting: None,
            sleeping: None,
            calls: Default::default(),
            bytes: Default::default(),
            signals: Signals::default(),
        };
        let (wake, left) = (Condvar::new(), AtomicBool::new(false));
        Self { state: Mutex::new(state), wake, left, limits }
    }

    /// Takes in calls from now on.
    pub(crate) fn open(&self) {
        self.state().open = true;
    }

    /// Refuses calls from now on; those that wait still get their turn.
    pub(crate) fn refuse_more(&self) {
        self.state().open = false;
    }

    /// Whether the shard takes in no more: it is about to end, once it has begun.
    pub(crate) fn refuses_more(&self) -> bool {
        !self.state().open
    }

    /// Whether the thread was told to end.
    pub(crate) fn is_ending(&self) -> bool {
        self.state().signals.ending >= Some(Ending::Finish)
    }

    /// Refuses calls from now on and returns those that wait, whose callers learn it by the drop.
    pub(crate) fn close(&self) -> Vec<Call> {
        let mut state = self.state();
        state.open = false;
        state.bytes = [0; Class::COUNT];
        state.calls.iter_mut().flat_map(std::mem::take).collect()
    }

    /// Adds a call. Where a courier brings its answer, the thread hears of it by
    /// [`Inbox::hand_over`].
    pub(crate) fn push(&self, call: Call) -> Result<(), Refused> {
        self.try_push(call).map_err(|(refused, _)| refused)
    }

    /// The same; a call that is not taken in comes back.
    pub(crate) fn try_push(&self, call: Call) -> Result<(), (Refused, Box<Call>)> {
        let is_left = call.caller.courier.is_some();
        let class = call.class as usize;
        let mut state = self.state();
        if !state.open {
            return Err((Refused::Closed, Box::new(call)));
        }
        let bytes = state.bytes[class] + call.bytes;
        let fits = state.calls[class].is_empty()
            || (bytes <= self.limits.bytes_max && state.calls[class].len() < self.limits.calls_max);
        if !fits {
            return Err((Refused::Full, Box::new(call)));
        }
        state.bytes[class] = bytes;
        state.calls[class].push_back(call);
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

    /// Whether there are signals that were not taken.
    pub(crate) fn is_signalled(&self) -> bool {
        !self.state().signals.is_empty()
    }

    /// The signals since the last call.
    pub(crate) fn take_signals(&self) -> Signals {
        std::mem::take(&mut self.state().signals)
    }

    /// Moves the calls of one round to `round`. Whether more of them wait.
    pub(crate) fn take_round(&self, round: &mut Vec<Call>, admit: Admit) -> bool {
        let mut state = self.state();
        let state = &mut *state;
        let mut more = false;
        for (class, cost_max) in ROUND_COST.into_iter().enumerate().take(admit.classes()) {
            let mut cost = 0;
            while cost < cost_max
                && let Some(call) = state.calls[class].pop_front()
            {
                cost += call.request.command.cost();
                state.bytes[class] -= call.bytes;
                round.push(call);
            }
            more |= !state.calls[class].is_empty();
        }
        more
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
        let state = self.state();
        std::array::from_fn(|class| state.calls[class].len())
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
        let calls = &self.calls[..admit.classes()];
        !self.signals.is_empty() || calls.iter().any(|calls| !calls.is_empty())
    }

    /// Whether one small call waits, and nothing that is the thread's. Where there are more, the
    /// thread decides them while their callers read the next ones.
    fn is_for_guest(&self) -> bool {
        let mut calls = self.calls.iter().flatten();
        let (first, second) = (calls.next(), calls.next());
        self.resting.as_ref().is_some_and(|(_, rest)| rest.takes_guests)
            && self.signals.is_empty()
            && first.is_some_and(|call| call.request.command.cost() <= GUEST_COST_MAX)
            && second.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longshore_engine::{Command, EnqueueJobs, Holder, JobId, NewJob};

    use super::*;
    use crate::admission::Admission;
    use crate::courier::Reply;

    fn call(command: Command) -> Call {
        let (reply, _) = oneshot::channel();
        let caller = Caller { reply: Reply::Once(reply), courier: None, give_back_in: None };
        let class = Class::of(&command);
        let in_flight = Arc::new(Admission::new(1)).count(0);
        let request = Request { namespace: "n".into(), reply_to: ReplyTo(1), command };
        Call { request, caller, class, bytes: 100, in_flight, subscriber: None }
    }

    fn rest(admit: Admit) -> Rest {
        Rest { until: None, admit, takes_guests: true }
    }

    fn bulk(jobs: usize) -> Command {
        let job = NewJob::new(JobId::default(), "k", "{}");
        Command::EnqueueJobs(EnqueueJobs { queue: "q".into(), jobs: vec![job; jobs] })
    }

    fn take(inbox: &Inbox<()>) -> Vec<Class> {
        let mut round = Vec::new();
        inbox.take_round(&mut round, Admit::All);
        round.iter().map(|call| call.class).collect()
    }

    #[test]
    fn settlements_come_between_two_bulks() {
        let inbox = Inbox::<()>::new(InboxLimits::default());
        inbox.open();
        for command in [bulk(10_000), bulk(10_000), Command::SettleJobs(Vec::new())] {
            inbox.push(call(command)).unwrap();
        }
        assert_eq!(take(&inbox), [Class::Settle, Class::Publish]);
        inbox.push(call(Command::SettleJobs(Vec::new()))).unwrap();
        assert_eq!(take(&inbox), [Class::Settle, Class::Publish]);
        assert_eq!(take(&inbox), []);
    }

    #[test]
    fn a_full_class_does_not_close_the_others() {
        let limits = InboxLimits { calls_max: 2, bytes_max: 1000 };
        let inbox = Inbox::<()>::new(limits);
        assert_eq!(inbox.push(call(bulk(1))), Err(Refused::Closed));
        inbox.open();
        inbox.push(call(bulk(1))).unwrap();
        inbox.push(call(bulk(1))).unwrap();
        assert_eq!(inbox.push(call(bulk(1))), Err(Refused::Full));
        inbox.push(call(Command::ListOperations)).unwrap();
        assert_eq!(inbox.depth(), [1, 0, 2]);
        assert_eq!(inbox.close().len(), 3);
    }

    #[test]
    fn bytes_are_bounded_but_one_call_always_fits() {
        let limits = InboxLimits { calls_max: 10, bytes_max: 150 };
        let inbox = Inbox::<()>::new(limits);
        inbox.open();
        inbox.push(Call { bytes: 500, ..call(bulk(1)) }).unwrap();
        assert_eq!(inbox.push(call(bulk(1))), Err(Refused::Full));
        assert_eq!(take(&inbox), [Class::Publish]);
        inbox.push(call(bulk(1))).unwrap();
    }

    #[test]
    fn new_jobs_can_be_left_waiting() {
        let inbox = Inbox::<()>::new(InboxLimits::default());
        inbox.open();
        inbox.push(call(bulk(1))).unwrap();
        let mut round = Vec::new();
        assert!(!inbox.take_round(&mut round, Admit::NoJobs));
        assert!(round.is_empty());
        inbox.rest((), Rest { until: Some(Instant::now()), ..rest(Admit::NoJobs) });
        inbox.rest((), rest(Admit::All));
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
