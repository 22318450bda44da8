//! Replays: the events that are there become jobs or messages once more. A replay is a trigger that
//! ends by itself, with the event that was the last one when it began, or when its group is set
//! behind that.

use super::{GROUP_PREFIX, Trigger};
use crate::ids::NamespaceId;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;
use crate::stream::{OffsetNote, Stream};

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

    /// The records that end a replay, where offsets that are committed for its group leave nothing
    /// of it: no events are brought any more, with which it would end.
    pub(in crate::stream) fn decide_replay_passed(
        &self,
        ns: NamespaceId,
        group: &str,
        notes: &[OffsetNote],
    ) -> Vec<Record> {
        let Some(name) = group.strip_prefix(GROUP_PREFIX) else { return Vec::new() };
        let Some(stream) = self.stream_of_trigger(ns, name) else { return Vec::new() };
        let mut triggers = stream.settings.triggers.iter();
        let Some(trigger) = triggers.find(|it| it.name == name && !it.until.is_empty()) else {
            return Vec::new();
        };
        let has_come = |(index, until): (usize, &u64)| {
            let index = index as u32;
            // Of a partition that is named again the last one counts.
            let mut noted = notes.iter().rev();
            let noted = noted.find(|it| it.stream == stream.id && it.partition == index);
            let kept = || self.offset_of_trigger(ns, (stream, index), trigger).unwrap_or(0);
            *until <= noted.map_or_else(kept, |it| it.committed.offset)
        };
        let ends = trigger.until.iter().enumerate().all(has_come);
        if ends { self.decide_trigger_ended(ns, name) } else { Vec::new() }
    }

    /// Whether a trigger has nothing left to do once it has come so far in a partition.
    pub(super) fn is_done(
        &self,
        (ns, stream): (NamespaceId, &Stream),
        trigger: &Trigger,
        (partition, next): (u32, u64),
    ) -> bool {
        let has_come = |(index, until): (usize, &u64)| {
            let index = index as u32;
            let kept = || self.offset_of_trigger(ns, (stream, index), trigger).unwrap_or(0);
            *until <= if index == partition { next } else { kept() }
        };
        // They are brought from the first to the last, so the last ones are left the longest.
        let mut partitions = trigger.until.iter().enumerate().rev();
        let ended = trigger.until.get(partition as usize).is_some_and(|until| *until <= next);
        ended && partitions.all(has_come)
    }
}
