//! Forgetting offsets that nobody asks for again: those of streams that were removed, and those of
//! groups that have had no members for long. A round through all of them now and then, in slices.
//!
//! Members are known to faces only, which tell every few minutes which groups have some. That is
//! volatile: after a start all groups count as having had members just now.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::offsets::KeptOffset;
use crate::ids::{MonoMs, NamespaceId, StreamId, TimeMs};
use crate::record::Record;
use crate::state::{State, keys};
use crate::wire::Wire;

/// How often all offsets are looked through.
const ROUND_MS: u64 = 600_000;
/// Groups that are known to have or to have had members. Beyond that none is forgotten by age until
/// some of these are.
const GROUPS_MAX: usize = 100_000;

/// Where a round is, and who has members. Volatile.
#[derive(Debug, Default)]
pub(crate) struct OffsetRound {
    /// When the next look is due.
    at: MonoMs,
    /// The last key that was looked at.
    after: Option<Vec<u8>>,
    /// When this life began to look.
    begun: Option<MonoMs>,
    /// Groups, each with when it was last said to have members.
    used: BTreeMap<(NamespaceId, String), MonoMs>,
    /// When a group could not be remembered.
    crowded: Option<MonoMs>,
}

impl OffsetRound {
    /// A stream was removed: its offsets go at the next occasion.
    pub(super) fn hasten(&mut self) {
        (self.at, self.after) = (MonoMs::default(), None);
    }
}

impl State {
    /// When the next look at offsets is due, if there are some.
    pub(crate) fn next_look_at_offsets(&self) -> Option<MonoMs> {
        self.streams.has_offsets.then_some(self.streams.offset_round.at)
    }

    /// These groups have members.
    pub(crate) fn groups_used(&mut self, ns: NamespaceId, groups: Vec<String>) {
        let (now, name_bytes_max) = (self.mono(), self.limits.name_bytes_max);
        let round = &mut self.streams.offset_round;
        // None that is longer can have offsets.
        for group in groups.into_iter().filter(|it| it.len() <= name_bytes_max) {
            let key = (ns, group);
            if round.used.len() < GROUPS_MAX || round.used.contains_key(&key) {
                round.used.insert(key, now);
            } else {
                round.crowded = Some(now);
            }
        }
    }

    /// Looks at some offsets, if that is due. The records that forget those of them that are of no
    /// use any more.
    pub(crate) fn look_at_offsets(&mut self, now: TimeMs) -> Vec<Record> {
        if self.next_look_at_offsets().is_none_or(|at| at > self.mono()) {
            return Vec::new();
        }
        let mono = self.mono();
        let keeps_ms = self.limits.offsets_ms;
        let round = &mut self.streams.offset_round;
        let begun = *round.begun.get_or_insert(mono);
        let long_ago = |at: MonoMs| keeps_ms.is_some_and(|ms| at.plus(ms.max(GRACE_MS)) <= mono);
        if round.after.is_none() {
            round.used.retain(|_, at| !long_ago(*at));
        }
        let from = round.after.take();
        let from = from.map_or_else(|| vec![keys::GROUP_OFFSET], |key| keys::after(&key));
        // A life that is younger than offsets are kept has not seen that a group had no members.
        let by_age = [Some(begun), self.streams.offset_round.crowded];
        let kept_ms = keeps_ms.unwrap_or(u64::MAX).max(GRACE_MS);
        let by_age = by_age.into_iter().flatten().all(|at| at.plus(kept_ms) <= mono);
        let (most, mut looked, mut found) = (4 * self.limits.slice_items_max, 0, 0);
        let (mut records, mut last) = (Vec::new(), None);
        self.scan(&from, &[keys::GROUP_OFFSET + 1], &mut |key, value| {
            looked += 1;
            last = Some(key.to_vec());
            if let Some((ns, group, stream, partition)) = parts(key) {
                let old = |kept: KeptOffset| {
                    keeps_ms.is_some_and(|ms| now.since(kept.at) >= ms)
                        && !self.streams.offset_round.used.contains_key(&(ns, group.clone()))
                };
                let gone = self.streams.get(stream).is_none();
                let old = |kept| old(kept) && !self.is_of_trigger(stream, &group);
                if gone || (by_age && KeptOffset::from_bytes(value).is_ok_and(old)) {
                    found += 1;
                    note(&mut records, (ns, group), (stream, partition));
                }
            }
            if looked < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        if looked < most {
            self.streams.offset_round.at = mono.plus(ROUND_MS);
            // None is left where one look saw all and forgets all.
            self.streams.has_offsets = from.len() > 1 || looked > found;
        } else {
            self.streams.offset_round.after = last;
        }
        records
    }
}

/// The least time for which a group counts as having members after it was said to have some, after
/// a start, or after one could not be remembered: it is told of again within that, however short
/// offsets are kept.
const GRACE_MS: u64 = 2 * 3_600_000;

/// Namespace, group, stream and partition of a key.
fn parts(key: &[u8]) -> Option<(NamespaceId, String, StreamId, u32)> {
    let ns = NamespaceId(keys::u32_at(key, 1)?);
    let (group, end) = keys::text_at(key, 5)?;
    Some((ns, group, StreamId(keys::u32_at(key, end)?), keys::u32_at(key, end + 4)?))
}

/// Adds an offset to the record of its group, which is the last one or a new one.
fn note(records: &mut Vec<Record>, of: (NamespaceId, String), offset: (StreamId, u32)) {
    if let Some(Record::OffsetsForgotten { namespace, group, offsets }) = records.last_mut()
        && (*namespace, &*group) == (of.0, &of.1)
    {
        return offsets.push(offset);
    }
    let (namespace, group) = of;
    records.push(Record::OffsetsForgotten { namespace, group, offsets: vec![offset] });
}
