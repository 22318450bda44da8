//! Brings the events of streams to their triggers: reads what is committed, from where a trigger
//! has come, and has the shard record the jobs or messages with the offset behind their events.
//! Whoever brings the same events twice is told that the trigger has come on meanwhile.

mod room;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_engine::{
    Answer, Command, FireTrigger, PartitionId, Rejection, StreamAnswer, StreamCommand, Trigger,
    TriggerCommand, TriggerEvent,
};
use longshore_node::Node;
use longshore_streams::{Partition, ReadError, StreamEntry};
use tokio::time::Instant;

use crate::http::tail::{Reading, wait_for};
use crate::unread::{EVENTS_MAX, Stumble, Unread, read};
use room::Room;

/// How long new triggers and streams may go unnoticed, and a partition is left alone of which it is
/// not known how far its trigger has come.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long it may go unnoticed that somebody has set how far a trigger has come.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Commits of one partition before another one has its turn.
const SLICES_MAX: usize = 64;
/// How long a partition that cannot be read is left alone.
const UNREADABLE_REST: Duration = Duration::from_secs(30);
/// How long a partition is left alone of which the events made this code panic.
const PANICKED_REST: Duration = Duration::from_secs(3600);

/// Between two rounds of which the first brought nothing, at least: what seems to be there may stay
/// where it is, and others run on this thread.
const PAUSE: Duration = Duration::from_millis(5);

/// Namespace, stream, trigger and partition.
type Of = (String, String, String, u32);

/// Runs triggers for as long as it is polled.
pub(crate) async fn run(node: Node) {
    let (at, aside, full) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut runner = Runner { node, at, aside, full, has_brought: false };
    let mut asked = Instant::now();
    loop {
        if asked.elapsed() > ASK_EVERY {
            runner.at.clear();
            asked = Instant::now();
        }
        let again = Instant::now() + LOOK_EVERY;
        let waiting = runner.round().await;
        let pause = Instant::now() + PAUSE;
        if waiting.is_empty() {
            tokio::time::sleep_until(again).await;
        } else {
            wait_for(&waiting, again).await;
        }
        if std::mem::take(&mut runner.has_brought) {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep_until(pause).await;
        }
    }
}

struct Runner {
    node: Node,
    /// How far each has come, as far as is known: what the shard has committed for it, and from
    /// where on to read.
    at: BTreeMap<Of, Come>,
    /// Which rest, and until when.
    aside: BTreeMap<Of, Instant>,
    /// Queues that had no room lately, each with its namespace.
    full: BTreeMap<(String, String), Room>,
    /// Whether this round brought any trigger on.
    has_brought: bool,
}

/// How far a trigger has come: what is committed for it, if anything is.
#[derive(Clone, Copy)]
struct Come(Option<u64>);

impl Come {
    fn offset(self) -> u64 {
        self.0.unwrap_or(0)
    }
}

/// What became of some events.
enum Brought {
    /// They are jobs, or there are none.
    Done,
    /// The trigger is elsewhere than was thought.
    Elsewhere,
    /// Their queue has no room for all of them.
    Full,
    /// Not now.
    Later,
}

/// Why some events became nothing.
enum Stop {
    /// Their queue has no room for all of them. So far the trigger has come.
    Full(Come),
    /// It is not known how far the trigger has come, or this is not the time.
    Unknown,
    /// They cannot be read: the partition is left alone already.
    Aside,
}

impl Runner {
    /// Goes through all triggers once. What there is to wait for: no partition that is left alone.
    async fn round(&mut self) -> Vec<Reading> {
        let mut waiting = Vec::new();
        let mut there = BTreeMap::new();
        let now = Instant::now();
        self.aside.retain(|_, until| *until > now);
        self.full.retain(|_, room| !room.is_old(now));
        for (queue, line) in self.lines() {
            for place in Room::order(self.full.get(&queue), line.len()) {
                let Some(one) = line.get(place) else { continue };
                let Some((trigger, partition)) = one.at() else { continue };
                let of = one.of(trigger);
                if self.aside.contains_key(&of) {
                    continue;
                }
                let known = self.at.get(&of).copied();
                let id = partition.id();
                let fire = Fire { of: &of, stream: &one.stream, trigger, id, place };
                match self.bring(fire, partition, known).await {
                    Ok(at) => {
                        // At its end a replay waits for other partitions only.
                        if at.offset() < until_of(trigger, one.index) {
                            let offset = at.offset().max(partition.ends().0);
                            let (index, partition) = (one.index, Arc::clone(partition));
                            waiting.push(Reading { index, partition, offset });
                        }
                        there.insert(of, at);
                    }
                    Err(Stop::Full(at)) => drop(there.insert(of, at)),
                    Err(Stop::Unknown) => {
                        self.aside.insert(of, Instant::now() + LOOK_EVERY);
                    }
                    Err(Stop::Aside) => {}
                }
            }
        }
        // What is not there any more is looked up again, should it come back.
        self.at = there;
        waiting
    }

    /// All partitions of all triggers, by the queues that they fill. None is ahead of others there,
    /// whatever streams and triggers are called.
    fn lines(&self) -> BTreeMap<(String, String), Vec<InLine>> {
        let mut lines: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for log in self.node.stream_logs() {
            for stream in log.all() {
                for (number, trigger) in stream.settings.triggers.iter().enumerate() {
                    let queue = (stream.namespace.clone(), trigger.queue.clone());
                    let indexes = 0..stream.partitions.len() as u32;
                    let one = |index| InLine { stream: Arc::clone(&stream), number, index };
                    lines.entry(queue).or_default().extend(indexes.map(one));
                }
            }
        }
        lines
    }

    /// Brings what a partition has, so many commits at most. How far its trigger has come then.
    async fn bring(
        &mut self,
        fire: Fire<'_>,
        partition: &Arc<Partition>,
        known: Option<Come>,
    ) -> Result<Come, Stop> {
        let Fire { of, trigger, .. } = fire;
        let at = match known {
            Some(at) => at,
            None => self.committed(of, trigger).await.ok_or(Stop::Unknown)?,
        };
        let from = at.offset().max(partition.ends().0);
        let until = until_of(trigger, of.3);
        if at.offset() < until && until <= from {
            // What was left of a replay is kept no longer.
            return self.fire_all(fire, at, &[], until).await;
        }
        if partition.stable_end() <= from || until <= from {
            return Ok(at);
        }
        if self.full.get(&fire.queue()).is_some_and(|room| room.rests(Instant::now())) {
            return Err(Stop::Full(at));
        }
        let mut unread = match read(Arc::clone(partition), from).await {
            Ok(chunk) => Unread::new(&chunk, from),
            // It was trimmed meanwhile.
            Err(Stumble::Read(ReadError::OutOfRange { .. })) => return Ok(at),
            Err(error) => return Err(self.set_aside(of, &error)),
        };
        let mut at = at;
        for _ in 0..SLICES_MAX {
            if at.offset() >= until {
                break;
            }
            let (rest, mut events) = match unread.slice().await {
                Ok(slice) => slice,
                Err(error) => return Err(self.set_aside(of, &error)),
            };
            unread = rest;
            if unread.next() <= at.offset().max(from) {
                // Nothing was there, though there should be something: not at once again.
                return if unread.next() > from { Ok(at) } else { Err(Stop::Unknown) };
            }
            // Of a replay the last ones may be among others that came later.
            events.retain(|event| event.offset < until);
            at = self.fire_as_fits(fire, at, events, unread.next().min(until)).await?;
        }
        Ok(at)
    }

    /// Leaves a partition alone for a while, and says so once.
    fn set_aside(&mut self, of: &Of, error: &Stumble) -> Stop {
        let (_, stream, trigger, partition) = of;
        let rest = match error {
            Stumble::Read(_) => UNREADABLE_REST,
            Stumble::Panicked(_) => PANICKED_REST,
        };
        tracing::error!(
            %stream, %trigger, partition, %error, rest_s = rest.as_secs(),
            "events do not become jobs or messages"
        );
        self.aside.insert(of.clone(), Instant::now() + rest);
        Stop::Aside
    }

    /// Has events become jobs or messages, up to an offset: all at once, or, where their queue has
    /// no room, so many at a time. How far the trigger has come then.
    async fn fire_as_fits(
        &mut self,
        of: Fire<'_>,
        mut at: Come,
        events: Vec<TriggerEvent>,
        next: u64,
    ) -> Result<Come, Stop> {
        let (queue, mut events) = (of.queue(), &events[..]);
        loop {
            let known = self.full.get(&queue);
            if known.is_some_and(|room| room.rests(Instant::now())) {
                return Err(Stop::Full(at));
            }
            let most = known.map_or(EVENTS_MAX, Room::most).min(events.len());
            let (some, rest) = events.split_at(most);
            let after = rest.first().map_or(next, |event| event.offset);
            match self.fire_all(of, at, some, after).await {
                Ok(come) => {
                    let room = self.full.get_mut(&queue);
                    if room.is_some_and(|room| room.took(some.len(), of.place, EVENTS_MAX)) {
                        self.full.remove(&queue);
                    }
                    (at, events) = (come, rest);
                    if events.is_empty() {
                        return Ok(at);
                    }
                }
                Err(Stop::Full(come)) => {
                    let now = Instant::now();
                    let room = self.full.entry(queue.clone());
                    room.and_modify(|room| room.refused(some.len(), now))
                        .or_insert_with(|| Room::of_full(some.len(), of.place, now));
                    let left = events.partition_point(|event| event.offset < come.offset());
                    (at, events) = (come, events.get(left..).unwrap_or_default());
                }
                Err(stop) => return Err(stop),
            }
        }
    }

    /// Has events become jobs or messages, up to an offset. How far the trigger has come then.
    async fn fire_all(
        &mut self,
        of: Fire<'_>,
        mut at: Come,
        events: &[TriggerEvent],
        next: u64,
    ) -> Result<Come, Stop> {
        match self.fire(of.of, of.command(events, at, next)).await {
            Ok(Brought::Done) => {
                self.has_brought = true;
                return Ok(Come(Some(next)));
            }
            Ok(Brought::Elsewhere | Brought::Later) => return Err(Stop::Unknown),
            Ok(Brought::Full) => return Err(Stop::Full(at)),
            // One of them is what no job can be: the others become one each.
            Err(_) => {}
        }
        for (index, event) in events.iter().enumerate() {
            let after = events.get(index + 1).map_or(next, |after| after.offset);
            let one = std::slice::from_ref(event);
            let mut fired = self.fire(of.of, of.command(one, at, after)).await;
            if let Err(rejection) = fired {
                let (_, stream, trigger, partition) = of.of;
                tracing::warn!(
                    %stream, %trigger, partition, offset = event.offset, %rejection,
                    "an event is passed over, nothing can be made of it"
                );
                fired = self.fire(of.of, of.command(&[], at, after)).await;
            }
            match fired {
                Ok(Brought::Done) => {
                    self.has_brought = true;
                    at = Come(Some(after));
                }
                Ok(Brought::Full) => return Err(Stop::Full(at)),
                _ => return Err(Stop::Unknown),
            }
        }
        Ok(at)
    }

    /// How far a trigger has come.
    async fn committed(&self, of: &Of, trigger: &Trigger) -> Option<Come> {
        let (namespace, stream, _, index) = of;
        let group = trigger.group();
        let of = Some(vec![(stream.clone(), vec![*index])]);
        let command = StreamCommand::GetOffsets { group, of };
        match self.node.call(namespace, Command::Stream(command)).await {
            Ok(Answer::Stream(StreamAnswer::Offsets(offsets))) => {
                let committed = offsets.into_iter().next().and_then(|it| it.committed);
                Some(Come(committed.map(|committed| committed.offset)))
            }
            _ => None,
        }
    }

    /// Has the shard make jobs or messages; a rejection where none can be made of one of the
    /// events.
    async fn fire(&self, of: &Of, fire: FireTrigger) -> Result<Brought, Rejection> {
        let command = Command::Stream(StreamCommand::Trigger(TriggerCommand::Fire(fire)));
        match self.node.call(&of.0, command).await {
            Ok(Answer::Stream(StreamAnswer::Fired(true))) => Ok(Brought::Done),
            Ok(Answer::Stream(StreamAnswer::Fired(false))) => Ok(Brought::Elsewhere),
            Ok(Answer::Rejected(rejection)) if is_of_event(&rejection) => Err(rejection),
            Ok(Answer::Rejected(rejection)) => {
                let (_, stream, trigger, _) = of;
                tracing::debug!(%stream, %trigger, %rejection, "events wait for their queue");
                let full = matches!(rejection, Rejection::QueueFull { .. });
                Ok(if full { Brought::Full } else { Brought::Later })
            }
            // The server starts, stops, or has no room now.
            Ok(_) | Err(_) => Ok(Brought::Later),
        }
    }
}

/// Before which offset of a partition a trigger ends; it may never.
fn until_of(trigger: &Trigger, partition: u32) -> u64 {
    let until = trigger.until.get(partition as usize).copied();
    if trigger.until.is_empty() { u64::MAX } else { until.unwrap_or(0) }
}

/// Whether it is an event that is refused, and not the queue that has no room now.
fn is_of_event(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::JobsRefused { faults } => faults.iter().any(|(_, fault)| is_of_event(fault)),
        Rejection::ValueRefused { .. } | Rejection::EntryTooLarge { .. } => true,
        _ => false,
    }
}

/// A partition of a trigger, in the line of those that fill the same queue.
struct InLine {
    stream: Arc<StreamEntry>,
    /// Which of the stream's triggers.
    number: usize,
    /// That of the partition.
    index: u32,
}

impl InLine {
    fn at(&self) -> Option<(&Trigger, &Arc<Partition>)> {
        let trigger = self.stream.settings.triggers.get(self.number)?;
        Some((trigger, self.stream.partitions.get(self.index as usize)?))
    }

    fn of(&self, trigger: &Trigger) -> Of {
        let StreamEntry { namespace, name, .. } = &*self.stream;
        (namespace.clone(), name.clone(), trigger.name.clone(), self.index)
    }
}

/// A trigger at a partition of its stream.
#[derive(Clone, Copy)]
struct Fire<'a> {
    of: &'a Of,
    stream: &'a StreamEntry,
    trigger: &'a Trigger,
    id: PartitionId,
    /// Where it stands in the line.
    place: usize,
}

impl Fire<'_> {
    /// The queue that it fills, and its namespace.
    fn queue(&self) -> (String, String) {
        (self.of.0.clone(), self.trigger.queue.clone())
    }

    fn command(&self, events: &[TriggerEvent], at: Come, next: u64) -> FireTrigger {
        FireTrigger {
            stream: self.stream.name.clone(),
            trigger: self.trigger.name.clone(),
            partition: self.of.3,
            id: self.id,
            expected: at.0,
            next,
            events: events.to_vec(),
        }
    }
}
