//! Triggers: events of a stream that become jobs or messages by themselves. A trigger is a setting
//! of its stream; how far it has come is what a group of its own has committed. Whoever reads the
//! events brings them, and says from where on: what they become and the offset behind them are
//! recorded together, so each event becomes one job or message, however often it is brought.

pub(super) mod replay;
#[cfg(test)]
mod tests;
mod to_messages;

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{CommittedOffset, LIVES_STREAM, OffsetNote, PartitionEnds, Stream};
use crate::bounds::check_name;
use crate::command::{FollowUp, NewJob};
use crate::ids::{NamespaceId, PartitionId, Place};
use crate::message::{EventHeaders, args_of, hops_of, quoted};
use crate::moment::Moment;
use crate::overlay::Overlay;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};
use crate::stream::offsets::KeptOffset;
use crate::wire::wire_struct;

/// What the group of a trigger begins with; its name follows.
const GROUP_PREFIX: &str = "trigger.";

/// What the names of replays begin with, and of no other trigger; the queue follows.
pub const REPLAY_PREFIX: &str = "replay.";

/// Triggers of one stream.
const TRIGGERS_MAX: usize = 16;

/// The header with W3C Trace Context.
const TRACEPARENT: &str = "traceparent";

/// The highest priority of the jobs.
const PRIORITY_MAX: u8 = 9;

wire_struct! {
    /// Makes a job or a message of each event of a stream.
    #[derive(Default, Eq)]
    pub struct Trigger {
        /// Its name, of which there is one in a namespace.
        pub name: String,
        /// The queue of the jobs or messages.
        pub queue: String,
        /// The kind of the jobs; empty where the queue has messages.
        pub kind: String,
        /// Whether jobs of events with the same key run one after the other.
        pub ordered: bool = 1,
        /// Their priority; `None` for the queue's, or what the headers of an event say.
        pub priority: Option<u8> = 2,
        /// It ends once it has come as far in each partition: of a replay. Empty for one that
        /// stays.
        pub until: Vec<u64> = 240,
    }
}

impl Trigger {
    /// The group whose offsets say how far it has come.
    pub fn group(&self) -> String {
        format!("{GROUP_PREFIX}{}", self.name)
    }
}

/// An event as a trigger takes it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TriggerEvent {
    /// Its offset.
    pub offset: u64,
    /// Its key.
    pub key: Option<Bytes>,
    /// What it says; `None` where it says that its key is gone.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: EventHeaders,
    /// Its time, milliseconds since 1970.
    pub time: i64,
}

/// Events that a trigger is to make jobs or messages of.
#[derive(Clone, Debug)]
pub struct FireTrigger {
    /// The stream.
    pub stream: String,
    /// The name of the trigger.
    pub trigger: String,
    /// The index of the partition.
    pub partition: u32,
    /// The partition that was read: another stream may have the name meanwhile.
    pub id: PartitionId,
    /// How far it had come, as whoever brings the events knows.
    pub expected: Option<u64>,
    /// How far it has come with these.
    pub next: u64,
    /// The events, in order; perhaps none.
    pub events: Vec<TriggerEvent>,
}

/// What to do with a trigger.
#[derive(Clone, Debug)]
pub enum TriggerCommand {
    /// Create one, or change it.
    Put {
        /// The stream.
        stream: String,
        /// What is to hold from now on.
        trigger: Trigger,
        /// Whether a new one begins behind the events that are there.
        from_end: bool,
    },
    /// Remove one.
    Delete {
        /// Its name.
        trigger: String,
    },
    /// Have the events that are there become jobs or messages once more, each once.
    Replay {
        /// The stream.
        stream: String,
        /// What they become. Its name tells replays apart.
        trigger: Trigger,
        /// Where to begin in each partition; what is not there is passed over.
        from: Vec<u64>,
    },
    /// Make jobs or messages of events, and note how far their trigger has come with them.
    Fire(FireTrigger),
}

impl TriggerEvent {
    /// What a header of it says, where that is a text.
    fn header(&self, wanted: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(name, _)| name == wanted)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }
}

fn committed_at(offset: u64) -> CommittedOffset {
    CommittedOffset { offset, leader_epoch: None, metadata: String::new() }
}

impl State {
    /// The records that create a trigger or change it. A new one begins where each partition
    /// begins, or behind what is there.
    pub(crate) fn decide_trigger_put(
        &self,
        ns: NamespaceId,
        (stream, trigger): (&str, Trigger),
        from_end: bool,
    ) -> Result<Vec<Record>, Rejection> {
        self.check_trigger(ns, &trigger)?;
        let group = trigger.group();
        let stream = self.stream_named(ns, stream)?;
        if stream.name == LIVES_STREAM && !trigger.kind.is_empty() {
            let allowed = "none, as each job would be told there and become jobs without end: make \
                           messages of the steps, and consume those";
            let (field, value) = ("kind", quoted(&trigger.kind));
            return Err(Rejection::ValueRefused { field, value, allowed: allowed.to_owned() });
        }
        if let Some(other) = self.stream_of_trigger(ns, &trigger.name)
            && other.id != stream.id
        {
            let allowed = format!("\"{}\", whose trigger it is", other.name);
            let (field, value) = ("stream", format!("\"{}\"", stream.name));
            return Err(Rejection::ValueRefused { field, value, allowed });
        }
        let mut settings = stream.settings.clone();
        let known = settings.triggers.iter_mut().find(|known| known.name == trigger.name);
        if let Some(known) = known {
            if !known.until.is_empty() {
                return Err(Rejection::GroupInUse { group });
            }
            *known = trigger;
            let changes = settings != stream.settings;
            return Ok(Vec::from_iter(
                changes.then_some(Record::StreamChanged { id: stream.id, settings }),
            ));
        }
        if trigger.name.starts_with(REPLAY_PREFIX) {
            let (value, allowed) = (quoted(&trigger.name), "no name that begins as replays' do");
            let allowed = format!("{allowed}, with \"{REPLAY_PREFIX}\"");
            return Err(Rejection::ValueRefused { field: "trigger", value, allowed });
        }
        let from = stream.partitions.iter().map(|id| {
            let ends = self.ends_of(*id);
            if from_end { ends.next } else { ends.start }
        });
        let from = from.collect();
        Self::decide_trigger_added(ns, stream, trigger, from)
    }

    /// The records that add a trigger which begins at these offsets.
    fn decide_trigger_added(
        ns: NamespaceId,
        stream: &Stream,
        trigger: Trigger,
        from: Vec<u64>,
    ) -> Result<Vec<Record>, Rejection> {
        let mut settings = stream.settings.clone();
        if settings.triggers.len() >= TRIGGERS_MAX {
            let value = (settings.triggers.len() + 1).to_string();
            let (field, allowed) = ("triggers", format!("at most {TRIGGERS_MAX} of a stream"));
            return Err(Rejection::ValueRefused { field, value, allowed });
        }
        let group = trigger.group();
        settings.triggers.push(trigger);
        let note = |(partition, offset): (u32, u64)| OffsetNote {
            stream: stream.id,
            partition,
            committed: committed_at(offset),
        };
        let offsets = (0..).zip(from).map(note).collect();
        Ok(vec![
            Record::StreamChanged { id: stream.id, settings },
            Record::OffsetsCommitted { namespace: ns, group, offsets },
        ])
    }

    /// Refuses a trigger that cannot be, whatever its stream is.
    fn check_trigger(&self, ns: NamespaceId, trigger: &Trigger) -> Result<(), Rejection> {
        check_name(&self.limits, "trigger", &trigger.name)?;
        check_name(&self.limits, "trigger", &trigger.group())?;
        if trigger.kind.is_empty() {
            self.message_queue(ns, &trigger.queue)?;
            return Ok(());
        }
        check_name(&self.limits, "kind", &trigger.kind)?;
        if self.queues.named(ns, &trigger.queue).is_none() {
            return Err(Rejection::QueueUnknown { queue: trigger.queue.clone() });
        }
        self.check_holds_jobs(ns, &trigger.queue)?;
        if let Some(priority) = trigger.priority.filter(|priority| *priority > PRIORITY_MAX) {
            let (value, allowed) = (priority.to_string(), format!("0 to {PRIORITY_MAX}"));
            return Err(Rejection::ValueRefused { field: "priority", value, allowed });
        }
        Ok(())
    }

    fn ends_of(&self, id: PartitionId) -> PartitionEnds {
        self.streams.partition(id).map(|it| it.ends).unwrap_or_default()
    }

    /// The records that remove a trigger; none where there is none. How far a replay came is kept
    /// like the offsets of any group: whoever waits for it is told that it did not come to its end.
    pub(crate) fn decide_trigger_deleted(&self, ns: NamespaceId, name: &str) -> Vec<Record> {
        let mut records = self.decide_triggers_ended(ns, &[name]);
        let stream = self.stream_of_trigger(ns, name);
        let mut triggers = stream.into_iter().flat_map(|stream| &stream.settings.triggers);
        if triggers.any(|trigger| trigger.name == name && !trigger.until.is_empty()) {
            records.retain(|record| !matches!(record, Record::OffsetsForgotten { .. }));
        }
        records
    }

    /// The records that remove triggers, and how far they have come.
    fn decide_triggers_ended(&self, ns: NamespaceId, names: &[&str]) -> Vec<Record> {
        let (mut changed, mut forgotten) = (BTreeMap::new(), Vec::new());
        for name in names {
            let Some(stream) = self.stream_of_trigger(ns, name) else { continue };
            let settings = changed.entry(stream.id).or_insert_with(|| stream.settings.clone());
            settings.triggers.retain(|trigger| trigger.name != *name);
            let indexes = 0..stream.partitions.len() as u32;
            let offsets = indexes.map(|index| (stream.id, index)).collect();
            let group = format!("{GROUP_PREFIX}{name}");
            forgotten.push(Record::OffsetsForgotten { namespace: ns, group, offsets });
        }
        let changed = changed.into_iter();
        let changed = changed.map(|(id, settings)| Record::StreamChanged { id, settings });
        changed.chain(forgotten).collect()
    }

    pub(crate) fn stream_of_trigger(&self, ns: NamespaceId, name: &str) -> Option<&Stream> {
        let mut streams = self.streams.all().filter(|stream| stream.namespace == ns);
        streams.find(|stream| stream.settings.triggers.iter().any(|it| it.name == name))
    }

    /// Whether a group is that of a trigger of any stream of a namespace.
    pub(super) fn is_group_of_trigger(&self, ns: NamespaceId, group: &str) -> bool {
        let name = group.strip_prefix(GROUP_PREFIX);
        name.is_some_and(|name| self.stream_of_trigger(ns, name).is_some())
    }

    /// Whether a group is that of a trigger of a stream: its offsets are not forgotten by age.
    pub(super) fn is_of_trigger(&self, stream: crate::ids::StreamId, group: &str) -> bool {
        let Some(name) = group.strip_prefix(GROUP_PREFIX) else { return false };
        let stream = self.streams.get(stream);
        stream.is_some_and(|it| it.settings.triggers.iter().any(|trigger| trigger.name == name))
    }

    /// What some events become, and how far their trigger has come with them; `None` where it is
    /// gone or has come elsewhere meanwhile.
    pub(crate) fn decide_fired(
        &self,
        ns: NamespaceId,
        fire: &FireTrigger,
        moment: Moment,
    ) -> Result<Option<Vec<Record>>, Rejection> {
        let Some(stream) = self.streams.named(ns, &fire.stream) else { return Ok(None) };
        let mut triggers = stream.settings.triggers.iter();
        let trigger = triggers.find(|trigger| trigger.name == fire.trigger);
        let id = stream.partitions.get(fire.partition as usize);
        let id = id.filter(|id| **id == fire.id);
        let Some((trigger, id)) = trigger.zip(id) else { return Ok(None) };
        let end = match trigger.until.get(fire.partition as usize) {
            Some(until) => *until,
            None if trigger.until.is_empty() => self.ends_of(*id).next,
            // It came after the replay began.
            None => return Ok(None),
        };
        let kept = self.offset_of_trigger(ns, (stream, fire.partition), trigger);
        if kept != fire.expected || fire.next > end || kept.is_some_and(|it| it > fire.next) {
            return Ok(None);
        }
        let mut records = if fire.events.is_empty() {
            Vec::new()
        } else if trigger.kind.is_empty() {
            self.messages_of_events((ns, moment), (stream, fire.partition), trigger, &fire.events)?
        } else {
            self.jobs_of_events((ns, moment), (stream, fire.partition), trigger, &fire.events)?
        };
        if self.is_done(ns, trigger, (fire.partition, fire.next)) {
            records.extend(self.decide_triggers_ended(ns, &[&trigger.name]));
            return Ok(Some(records));
        }
        let (group, committed) = (trigger.group(), committed_at(fire.next));
        let note = OffsetNote { stream: stream.id, partition: fire.partition, committed };
        records.push(Record::OffsetsCommitted { namespace: ns, group, offsets: vec![note] });
        Ok(Some(records))
    }

    /// How far a trigger has come in a partition.
    fn offset_of_trigger(
        &self,
        ns: NamespaceId,
        (stream, partition): (&Stream, u32),
        trigger: &Trigger,
    ) -> Option<u64> {
        let key = keys::group_offset(ns, &trigger.group(), stream.id, partition);
        self.value::<KeptOffset>(&key).map(|kept| kept.committed.offset)
    }

    fn jobs_of_events(
        &self,
        (ns, moment): (NamespaceId, Moment),
        (stream, partition): (&Stream, u32),
        trigger: &Trigger,
        events: &[TriggerEvent],
    ) -> Result<Vec<Record>, Rejection> {
        let place = self.meta.next_place.0;
        let jobs: Vec<FollowUp> = (place..)
            .zip(events)
            .map(|(place, event)| {
                let id = self.message_job_id(ns, Place(place), moment, 0);
                let job = self.job_of_event((stream, partition), trigger, event);
                FollowUp { queue: trigger.queue.clone(), job: NewJob { id, ..job } }
            })
            .collect();
        Ok(self.decide_follow_ups(Overlay::new(self, ns, moment), &jobs)?.0)
    }

    fn job_of_event(
        &self,
        (stream, partition): (&Stream, u32),
        trigger: &Trigger,
        event: &TriggerEvent,
    ) -> NewJob {
        let fits = |name: &&str| check_name(&self.limits, "ordering_key", name).is_ok();
        let key = event.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).filter(fits);
        let mut metadata = format!(
            "{{\"stream\":{},\"partition\":{partition},\"offset\":{}",
            quoted(&stream.name),
            event.offset
        );
        if let Some(key) = key {
            metadata.push_str(",\"key\":");
            metadata.push_str(&quoted(key));
        }
        metadata.push('}');
        let args = event.value.as_ref().map_or_else(|| Bytes::from_static(b"null"), args_of);
        NewJob {
            priority: trigger.priority,
            ordering_key: key.filter(|_| trigger.ordered).map(str::to_owned),
            metadata: Some(metadata.into()),
            traceparent: event.header(TRACEPARENT).filter(fits).map(str::to_owned),
            hops: hops_of(&event.headers),
            ..NewJob::new(crate::ids::JobId::default(), trigger.kind.clone(), args)
        }
    }
}
