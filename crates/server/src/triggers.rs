//! Brings the events of streams to their triggers: reads what is committed, from where a trigger
//! has come, and has the shard record the jobs with the offset behind their events. Whoever brings
//! the same events twice is told that the trigger has come on meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_engine::{
    Answer, Command, FireTrigger, Rejection, StreamAnswer, StreamCommand, Trigger, TriggerCommand,
    TriggerEvent,
};
use longshore_node::Node;
use longshore_streams::batch::BatchHeader;
use longshore_streams::event::{Event, open_events};
use longshore_streams::{Chunk, Hidden, Partition, Read, ReadError, StreamEntry};
use tokio::time::Instant;

use crate::http::tail::{Reading, wait_for};

/// How long new triggers and streams may go unnoticed, and a partition rests that was refused.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long it may go unnoticed that somebody has set how far a trigger has come.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Bytes of events that are read at a time; the first batch may be larger.
const READ_BYTES: usize = 256 << 10;
/// Events that become jobs in one commit.
const EVENTS_MAX: usize = 256;

/// Namespace, stream, trigger and partition.
type Of = (String, String, String, u32);

/// Runs triggers for as long as it is polled.
pub(crate) async fn run(node: Node) {
    let mut runner = Runner { node, at: BTreeMap::new() };
    let mut asked = Instant::now();
    loop {
        if asked.elapsed() > ASK_EVERY {
            runner.at.clear();
            asked = Instant::now();
        }
        let again = Instant::now() + LOOK_EVERY;
        let (waiting, rests) = runner.round().await;
        if waiting.is_empty() || rests {
            tokio::time::sleep_until(again).await;
        } else {
            wait_for(&waiting, again).await;
        }
    }
}

struct Runner {
    node: Node,
    /// How far each has come, as far as is known: what the shard has committed for it, and from
    /// where on to read.
    at: BTreeMap<Of, Come>,
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
    /// Not now.
    Later,
}

impl Runner {
    /// Goes through all triggers once. What there is to wait for, and whether something was put
    /// off.
    async fn round(&mut self) -> (Vec<Reading>, bool) {
        let (mut waiting, mut rests) = (Vec::new(), false);
        let mut there = BTreeMap::new();
        for log in self.node.stream_logs() {
            for stream in log.all() {
                for trigger in &stream.settings.triggers {
                    for (index, partition) in (0..).zip(&stream.partitions) {
                        let of = (
                            stream.namespace.clone(),
                            stream.name.clone(),
                            trigger.name.clone(),
                            index,
                        );
                        let known = self.at.get(&of).copied();
                        let gone_on = self.bring(&of, trigger, (&stream, partition), known).await;
                        let Some(at) = gone_on else {
                            rests = true;
                            continue;
                        };
                        there.insert(of, at);
                        let offset = at.offset().max(partition.ends().0);
                        let partition = Arc::clone(partition);
                        waiting.push(Reading { index, partition, offset });
                    }
                }
            }
        }
        // What is not there any more is looked up again, should it come back.
        self.at = there;
        (waiting, rests)
    }

    /// Brings what a partition has, a chunk at most. How far its trigger has come then; `None`
    /// where that is not known or is to be tried again later.
    async fn bring(
        &self,
        of: &Of,
        trigger: &Trigger,
        (stream, partition): (&StreamEntry, &Arc<Partition>),
        known: Option<Come>,
    ) -> Option<Come> {
        let at = match known {
            Some(at) => at,
            None => self.committed(of, trigger).await?,
        };
        let from = at.offset().max(partition.ends().0);
        if partition.stable_end() <= from {
            return Some(at);
        }
        let chunk = match read(Arc::clone(partition), from).await {
            Ok(chunk) => chunk,
            // It was trimmed meanwhile.
            Err(ReadError::OutOfRange { .. }) => return Some(at),
            Err(error) => {
                let (_, stream, trigger, _) = of;
                tracing::error!(%stream, %trigger, %error, "events do not become jobs");
                return None;
            }
        };
        let (events, next) = committed_events(&chunk, from);
        if next <= from {
            return Some(at);
        }
        let fire = |events, expected, next| FireTrigger {
            stream: stream.name.clone(),
            trigger: trigger.name.clone(),
            partition: of.3,
            expected,
            next,
            events,
        };
        match self.fire(of, fire(events.clone(), at.0, next)).await {
            Ok(Brought::Done) => Some(Come(Some(next))),
            Ok(Brought::Elsewhere | Brought::Later) => None,
            // One of them is what no job can be: the others become one each.
            Err(_) => {
                let mut at = at;
                for (index, event) in events.iter().enumerate() {
                    let after = events.get(index + 1).map_or(next, |after| after.offset);
                    let fired = self.fire(of, fire(vec![event.clone()], at.0, after)).await;
                    let fired = match fired {
                        Err(rejection) => {
                            let (_, stream, trigger, partition) = of;
                            let offset = event.offset;
                            tracing::warn!(
                                %stream, %trigger, partition, offset, %rejection,
                                "an event is passed over, no job can be made of it"
                            );
                            self.fire(of, fire(Vec::new(), at.0, after)).await
                        }
                        fired => fired,
                    };
                    match fired {
                        Ok(Brought::Done) => at = Come(Some(after)),
                        _ => return None,
                    }
                }
                Some(at)
            }
        }
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

    /// Has the shard make jobs; a rejection where none can be made of one of the events.
    async fn fire(&self, of: &Of, fire: FireTrigger) -> Result<Brought, Rejection> {
        let command = Command::Stream(StreamCommand::Trigger(TriggerCommand::Fire(fire)));
        match self.node.call(&of.0, command).await {
            Ok(Answer::Stream(StreamAnswer::Fired(true))) => Ok(Brought::Done),
            Ok(Answer::Stream(StreamAnswer::Fired(false))) => Ok(Brought::Elsewhere),
            Ok(Answer::Rejected(rejection)) if is_of_event(&rejection) => Err(rejection),
            Ok(Answer::Rejected(rejection)) => {
                let (_, stream, trigger, _) = of;
                tracing::debug!(%stream, %trigger, %rejection, "events wait to become jobs");
                Ok(Brought::Later)
            }
            // The server starts, stops, or has no room now.
            Ok(_) | Err(_) => Ok(Brought::Later),
        }
    }
}

/// Whether it is an event that is refused, and not the queue that has no room now.
fn is_of_event(rejection: &Rejection) -> bool {
    match rejection {
        Rejection::JobsRefused { faults } => faults.iter().any(|(_, fault)| is_of_event(fault)),
        Rejection::ValueRefused { .. } | Rejection::EntryTooLarge { .. } => true,
        _ => false,
    }
}

async fn read(partition: Arc<Partition>, offset: u64) -> Result<Chunk, ReadError> {
    let read = Read { offset, bytes_max: READ_BYTES, within: false, committed: true };
    let read = tokio::task::spawn_blocking(move || partition.read_as(read)).await;
    read.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Events that are to become jobs, from an offset on, and the offset behind them.
fn committed_events(chunk: &Chunk, from: u64) -> (Vec<TriggerEvent>, u64) {
    let (mut rest, mut found, mut next) = (chunk.batches.clone(), Vec::new(), from);
    let mut hidden = Hidden::new(chunk.aborted.clone());
    while let Ok(header) = BatchHeader::parse(&rest)
        && rest.len() >= header.len_bytes
    {
        let batch = rest.split_to(header.len_bytes);
        if !hidden.hides(&header) {
            let events = open_events(&header, &batch).unwrap_or_else(|error| {
                let offset = header.first_offset();
                tracing::warn!(offset, %error, "a batch is passed over, it cannot be opened");
                Vec::new()
            });
            for event in events.into_iter().filter(|event| event.offset >= from) {
                if found.len() == EVENTS_MAX {
                    return (found, event.offset);
                }
                found.push(event_of(event));
            }
        }
        next = header.end_offset();
    }
    (found, next)
}

fn event_of(event: Event) -> TriggerEvent {
    let traceparent = event.headers.iter().find(|(name, _)| name == "traceparent");
    let traceparent = traceparent.and_then(|(_, value)| value.as_deref());
    let traceparent = traceparent.and_then(|value| std::str::from_utf8(value).ok());
    TriggerEvent {
        offset: event.offset,
        traceparent: traceparent.map(str::to_owned),
        key: event.key,
        value: event.value,
    }
}
