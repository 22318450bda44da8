//! Groups as they are told from a snapshot: their names, and how far each has read.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::offsets::{KeptOffset, LOOKS};
use super::{CommittedOffset, Stream};
use crate::ids::{NamespaceId, StreamId, TimeMs};
use crate::map::Reader;
use crate::state::keys;
use crate::wire::Wire;

/// How far a group has read a partition.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadOffset {
    /// The stream.
    pub stream: String,
    /// The index of the partition.
    pub partition: u32,
    /// When that was committed.
    pub at: TimeMs,
    /// What was committed.
    pub committed: CommittedOffset,
}

/// Names of groups that have committed something, after one of them, and whether there are more.
/// One seek for each, however many partitions it reads.
pub(crate) fn group_names(
    reader: &dyn Reader,
    ns: NamespaceId,
    after: Option<&str>,
    limit: usize,
) -> (Vec<String>, bool) {
    let all = keys::Key::new(keys::GROUP_OFFSET).namespace(ns).done();
    let to = keys::after_prefix(&all);
    let mut from = after.map_or(all, |name| keys::after_prefix(&keys::group_prefix(ns, name)));
    let mut names = Vec::new();
    loop {
        let mut found = None;
        reader.scan(&from, &to, &mut |key, _| {
            found = keys::text_at(key, 5);
            ControlFlow::Break(())
        });
        let Some((name, _)) = found else { return (names, false) };
        if names.len() == limit {
            return (names, true);
        }
        from = keys::after_prefix(&keys::group_prefix(ns, &name));
        names.push(name);
    }
}

/// What a group has committed, `limit` partitions at most. What it committed of a stream that was
/// removed since is not told.
pub(crate) fn read_offsets(
    reader: &dyn Reader,
    ns: NamespaceId,
    group: &str,
    limit: usize,
) -> Vec<ReadOffset> {
    let prefix = keys::group_prefix(ns, group);
    let (mut names, mut found, mut looked) = (BTreeMap::new(), Vec::new(), 0);
    reader.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, value| {
        let at = |at: usize| keys::u32_at(key, prefix.len() + at);
        let (Some(id), Some(partition)) = (at(0), at(4)) else { return ControlFlow::Break(()) };
        let name = names.entry(id).or_insert_with(|| {
            let stream = reader.get(&keys::stream(StreamId(id)))?;
            Some(Stream::from_bytes(&stream).ok()?.name)
        });
        if let (Some(stream), Ok(kept)) = (name, KeptOffset::from_bytes(value)) {
            let stream = stream.clone();
            let KeptOffset { at, committed } = kept;
            found.push(ReadOffset { stream, partition, at, committed });
        }
        looked += 1;
        let goes_on = found.len() < limit && looked < limit.saturating_mul(LOOKS);
        if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    found.sort_by(|a, b| (&a.stream, a.partition).cmp(&(&b.stream, b.partition)));
    found
}
