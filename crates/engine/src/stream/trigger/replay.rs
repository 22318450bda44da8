//! Replays: the events that are there become jobs or messages once more. A replay is a trigger that
//! ends by itself, with the event that was the last one when it began, or when its group is set
//! behind that.

use std::collections::{BTreeMap, BTreeSet};

use super::{GROUP_PREFIX, Trigger};
use crate::ids::{NamespaceId, StreamId};
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};
use crate::stream::Streams;
use crate::stream::offsets::KeptOffset;

impl State {
    /// The records that begin a replay at these offsets, and how many there are up to its end;
    /// none of either where there is nothing to be done.
    pub(crate) fn decide_replay(
        &self,
        ns: NamespaceId,
        (stream, trigger): (&str, Trigger),
        from: &[u64],
    ) -> Result<(Vec<Record>, u64), Rejection> {
        self.check_trigger(ns, &trigger)?;
        let stream = self.stream_named(ns, stream)?;
        if self.stream_of_trigger(ns, &trigger.name).is_some() {
            return Err(Rejection::GroupInUse { group: trigger.group() });
        }
        let ends = stream.partitions.iter().map(|id| self.ends_of(*id));
        let ends: Vec<_> = ends.collect();
        let from = from.iter().copied().chain(std::iter::repeat(u64::MAX)).zip(&ends);
        let from: Vec<u64> = from.map(|(from, ends)| from.clamp(ends.start, ends.next)).collect();
        let until: Vec<u64> = ends.iter().map(|ends| ends.next).collect();
        let events: u64 = until.iter().zip(&from).map(|(until, from)| until - from).sum();
        if events == 0 {
            return Ok((Vec::new(), 0));
        }
        let records = Self::decide_trigger_added(ns, stream, Trigger { until, ..trigger }, from)?;
        Ok((records, events))
    }

    /// The records that end replays, where offsets that are committed for their groups leave
    /// nothing of them: no events are brought any more, with which they would end.
    pub(in crate::stream) fn decide_replays_passed<'a>(
        &self,
        ns: NamespaceId,
        committed: impl Iterator<Item = (&'a str, StreamId, u32, u64)>,
    ) -> Vec<Record> {
        if self.streams.replays.left.is_empty() {
            return Vec::new();
        }
        // Of a partition that is named again the last one counts.
        let mut offsets: BTreeMap<&str, BTreeMap<u32, u64>> = BTreeMap::new();
        for (group, stream, partition, offset) in committed {
            if self.replay_of(ns, group).is_some_and(|(left, _)| left.stream == stream) {
                offsets.entry(group).or_default().insert(partition, offset);
            }
        }
        let ended = offsets.into_iter().filter_map(|(group, offsets)| {
            let (left, trigger) = self.replay_of(ns, group)?;
            let has_come = |(index, offset): (&u32, &u64)| {
                trigger.until.get(*index as usize).is_none_or(|until| until <= offset)
            };
            let ended = offsets.keys().filter(|index| left.partitions.contains(index)).count();
            let ends = ended == left.partitions.len() && offsets.iter().all(has_come);
            ends.then_some(trigger.name.as_str())
        });
        let ended: Vec<_> = ended.collect();
        self.decide_triggers_ended(ns, &ended)
    }

    /// The records that end a replay of which a transaction, which may set the groups of several,
    /// has left nothing; none where there is none.
    pub(crate) fn decide_replay_over(&self) -> Vec<Record> {
        let Some((ns, group)) = self.streams.replays.over.first() else { return Vec::new() };
        let name = group.strip_prefix(GROUP_PREFIX).unwrap_or(group);
        self.decide_triggers_ended(*ns, &[name])
    }

    /// Whether there is such a replay.
    pub(crate) fn has_replay_over(&self) -> bool {
        !self.streams.replays.over.is_empty()
    }

    /// Whether a trigger has nothing left to do once it has come so far in a partition.
    pub(super) fn is_done(
        &self,
        ns: NamespaceId,
        trigger: &Trigger,
        (partition, next): (u32, u64),
    ) -> bool {
        let ended = trigger.until.get(partition as usize).is_some_and(|until| *until <= next);
        let left = self.streams.replays.left.get(&(ns, trigger.group()));
        ended && left.is_some_and(|left| left.partitions.iter().all(|index| *index == partition))
    }

    /// The replay whose group that is, and what is left of it.
    fn replay_of(&self, ns: NamespaceId, group: &str) -> Option<(&Left, &Trigger)> {
        let name = group.strip_prefix(GROUP_PREFIX)?;
        let left = self.streams.replays.left.get(&(ns, group.to_owned()))?;
        let mut triggers = self.streams.get(left.stream)?.settings.triggers.iter();
        Some((left, triggers.find(|it| it.name == name)?))
    }

    /// A stream has other triggers, or is gone. Of a replay that begins all partitions are left
    /// that have an event, until its first offsets are there, which the same entry has.
    pub(in crate::stream) fn note_replays(&mut self, id: StreamId) {
        let Streams { replays, by_id, .. } = &mut self.streams;
        let Some(stream) = by_id.get(&id) else {
            replays.left.retain(|_, left| left.stream != id);
            return replays.over.retain(|of| replays.left.contains_key(of));
        };
        let triggers = &stream.settings.triggers;
        let names = triggers.iter().filter(|it| !it.until.is_empty());
        let mut there: BTreeMap<_, _> =
            names.map(|it| ((stream.namespace, it.group()), it)).collect();
        replays.left.retain(|of, left| left.stream != id || there.remove(of).is_some());
        replays.over.retain(|of| replays.left.contains_key(of));
        for (of, trigger) in there {
            let ends = (0..).zip(&trigger.until).filter(|(_, until)| **until > 0);
            let partitions = ends.map(|(index, _)| index).collect();
            replays.left.insert(of, Left { stream: id, partitions });
        }
    }

    /// A group has committed offsets of partitions; `None` where it has none any more.
    pub(in crate::stream) fn note_replay_offsets(
        &mut self,
        ns: NamespaceId,
        group: &str,
        offsets: impl Iterator<Item = (StreamId, u32, Option<u64>)>,
    ) {
        let Streams { replays, by_id, .. } = &mut self.streams;
        if replays.left.is_empty() {
            return;
        }
        let of = (ns, group.to_owned());
        let Some(left) = replays.left.get_mut(&of) else { return };
        let triggers = by_id.get(&left.stream).map(|stream| stream.settings.triggers.iter());
        let trigger = triggers.and_then(|mut all| all.find(|it| it.group() == group));
        let Some(trigger) = trigger else { return };
        for (stream, partition, offset) in offsets {
            let until = trigger.until.get(partition as usize);
            match until.filter(|_| stream == left.stream) {
                Some(until) if offset.unwrap_or(0) < *until => {
                    left.partitions.insert(partition);
                }
                Some(_) => drop(left.partitions.remove(&partition)),
                None => {}
            }
        }
        if left.partitions.is_empty() {
            replays.over.insert(of);
        } else {
            replays.over.remove(&of);
        }
    }

    /// Finds what is left of replays when a shard starts.
    pub(in crate::stream) fn load_replays(&mut self) {
        let ids: Vec<_> = self.streams.by_id.keys().copied().collect();
        for id in ids {
            self.note_replays(id);
        }
        let left = self.streams.replays.left.iter();
        let left: Vec<_> =
            left.map(|(of, left)| (of.clone(), left.stream, left.partitions.clone())).collect();
        for ((ns, group), stream, partitions) in left {
            let offset = |index: u32| {
                let key = keys::group_offset(ns, &group, stream, index);
                let kept = self.value::<KeptOffset>(&key);
                (stream, index, kept.map(|kept| kept.committed.offset))
            };
            let offsets: Vec<_> = partitions.into_iter().map(offset).collect();
            self.note_replay_offsets(ns, &group, offsets.into_iter());
        }
    }
}

/// What is left of replays. Volatile: it follows from their triggers and the offsets of their
/// groups, and is kept since a stream may have many partitions.
#[derive(Debug, Default)]
pub(in crate::stream) struct Replays {
    /// By their groups.
    left: BTreeMap<(NamespaceId, String), Left>,
    /// Those of which nothing is left, until they end.
    over: BTreeSet<(NamespaceId, String)>,
}

/// What is left of one.
#[derive(Debug)]
struct Left {
    stream: StreamId,
    /// Partitions of which not all events were brought.
    partitions: BTreeSet<u32>,
}
