//! Calls that wait for their turn, in three classes, each bounded. Which calls are taken up next is
//! decided by what they cost.

use std::collections::VecDeque;

use super::class::Class;
use crate::command::Request;

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
pub struct Call<C> {
    /// What is asked.
    pub request: Request,
    /// Who waits for the answer.
    pub caller: C,
    /// The class that it waits in.
    pub class: Class,
    /// Bytes that it holds.
    pub bytes: u64,
}

/// Why a call was not taken in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// The shard does not serve.
    Closed,
    /// Its class is full.
    Full,
}

/// Which calls are taken up now.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Admit {
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
const SMALL_COST_MAX: usize = 16;

/// What waits for a shard.
#[derive(Debug)]
pub struct Waiting<C> {
    limits: InboxLimits,
    open: bool,
    calls: [VecDeque<Call<C>>; Class::COUNT],
    bytes: [u64; Class::COUNT],
}

impl<C> Waiting<C> {
    /// Nothing waits, and nothing is taken in yet.
    pub fn new(limits: InboxLimits) -> Self {
        let calls = std::array::from_fn(|_| VecDeque::new());
        Self { limits, open: false, calls, bytes: [0; Class::COUNT] }
    }

    /// Takes in calls from now on, or refuses them; those that wait still get their turn.
    pub fn set_open(&mut self, open: bool) {
        self.open = open;
    }

    /// Whether calls are taken in.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Refuses calls from now on and returns those that wait.
    pub fn close(&mut self) -> Vec<Call<C>> {
        self.open = false;
        self.bytes = [0; Class::COUNT];
        self.calls.iter_mut().flat_map(std::mem::take).collect()
    }

    /// Adds a call, unless its class is full. One call of any size always fits.
    pub fn push(&mut self, call: Call<C>) -> Result<(), Refused> {
        self.try_push(call).map_err(|(refused, _)| refused)
    }

    /// The same; a call that is not taken in comes back.
    pub fn try_push(&mut self, call: Call<C>) -> Result<(), (Refused, Box<Call<C>>)> {
        let class = call.class as usize;
        if !self.open {
            return Err((Refused::Closed, Box::new(call)));
        }
        let bytes = self.bytes[class] + call.bytes;
        let fits = self.calls[class].is_empty()
            || (bytes <= self.limits.bytes_max && self.calls[class].len() < self.limits.calls_max);
        if !fits {
            return Err((Refused::Full, Box::new(call)));
        }
        self.bytes[class] = bytes;
        self.calls[class].push_back(call);
        Ok(())
    }

    /// Moves the calls of one round to `round`. Whether more of them wait.
    pub fn take_round(&mut self, round: &mut Vec<Call<C>>, admit: Admit) -> bool {
        let mut more = false;
        for (class, cost_max) in ROUND_COST.into_iter().enumerate().take(admit.classes()) {
            let mut cost = 0;
            while cost < cost_max
                && let Some(call) = self.calls[class].pop_front()
            {
                cost += call.request.command.cost();
                self.bytes[class] -= call.bytes;
                round.push(call);
            }
            more |= !self.calls[class].is_empty();
        }
        more
    }

    /// Whether a call waits that may be taken up.
    pub fn has_any(&self, admit: Admit) -> bool {
        self.calls[..admit.classes()].iter().any(|calls| !calls.is_empty())
    }

    /// Whether one small call waits and nothing else: its caller may take the turn itself. Where
    /// there are more, the shard's thread decides them while their callers read the next ones.
    pub fn is_one_small(&self) -> bool {
        let mut calls = self.calls.iter().flatten();
        let (first, second) = (calls.next(), calls.next());
        second.is_none() && first.is_some_and(|it| it.request.command.cost() <= SMALL_COST_MAX)
    }

    /// Calls that wait, by class.
    pub fn depth(&self) -> [usize; Class::COUNT] {
        std::array::from_fn(|class| self.calls[class].len())
    }
}
