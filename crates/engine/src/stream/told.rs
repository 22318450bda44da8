//! Transactions and producers as they are told from a snapshot.

use std::ops::ControlFlow;

use super::ProducerMark;
use super::transaction::{OpenPartition, Transactional};
use crate::ids::{NamespaceId, PartitionId, TimeMs};
use crate::map::Reader;
use crate::state::keys;
use crate::wire::Wire;

/// A transactional id as it is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TransactionView {
    /// The id.
    pub id: String,
    /// The number of its producer.
    pub producer: u64,
    /// The epoch of that.
    pub epoch: u32,
    /// How long a transaction may be open, in milliseconds.
    pub timeout_ms: u64,
    /// When the open transaction began; `None` where none is open.
    pub open_since: Option<TimeMs>,
    /// Whether the last transaction that ended was committed; `None` where there was none.
    pub committed: Option<bool>,
}

/// A producer that appended to a partition, as it is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ProducerView {
    /// Its number.
    pub producer: u64,
    /// The newest epoch that appended.
    pub epoch: u32,
    /// The sequence number of its last event.
    pub sequence: Option<u32>,
    /// When it appended that.
    pub at: TimeMs,
    /// The offset of the first event of its open transaction.
    pub open_from: Option<u64>,
}

fn view(id: String, kept: &Transactional) -> TransactionView {
    TransactionView {
        id,
        producer: kept.producer,
        epoch: kept.epoch,
        timeout_ms: kept.timeout_ms,
        open_since: kept.open.then_some(kept.at),
        committed: kept.committed,
    }
}

/// All transactional ids of a namespace, which a limit of the shard bounds.
pub(crate) fn transactions(reader: &dyn Reader, ns: NamespaceId) -> Vec<TransactionView> {
    let prefix = keys::Key::new(keys::TRANSACTIONAL).namespace(ns).done();
    let mut found = Vec::new();
    reader.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, value| {
        if let (Some((id, _)), Ok(kept)) = (keys::text_at(key, 5), Transactional::from_bytes(value))
        {
            found.push(view(id, &kept));
        }
        ControlFlow::Continue(())
    });
    found
}

/// One of them, with the partitions to which its open transaction may append.
pub(crate) fn transaction(
    reader: &dyn Reader,
    ns: NamespaceId,
    id: &str,
) -> Option<(TransactionView, Vec<PartitionId>)> {
    let kept = reader.get(&keys::transactional(ns, id))?;
    let kept = Transactional::from_bytes(&kept).ok()?;
    let prefix = keys::Key::new(keys::OPEN_PARTITION).u64(kept.producer).done();
    let mut partitions = Vec::new();
    reader.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, _| {
        partitions.extend(keys::u64_at(key, 9).map(PartitionId));
        ControlFlow::Continue(())
    });
    Some((view(id.to_owned(), &kept), partitions))
}

/// Producers that appended to a partition, `limit` at most, and whether there are more.
pub(crate) fn producers(
    reader: &dyn Reader,
    partition: PartitionId,
    limit: usize,
) -> (Vec<ProducerView>, bool) {
    let prefix = keys::Key::new(keys::PRODUCER).u64(partition.0).done();
    let (mut found, mut more) = (Vec::new(), false);
    reader.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, value| {
        let (Some(producer), Ok(mark)) = (keys::u64_at(key, 9), ProducerMark::from_bytes(value))
        else {
            return ControlFlow::Continue(());
        };
        more = found.len() >= limit;
        if more {
            return ControlFlow::Break(());
        }
        let open = reader.get(&keys::open_partition(producer, partition));
        found.push(ProducerView {
            producer,
            epoch: mark.epoch,
            sequence: mark.recent.last().map(|batch| batch.last),
            at: mark.at,
            open_from: open.and_then(|open| OpenPartition::from_bytes(&open).ok()?.first),
        });
        ControlFlow::Continue(())
    });
    (found, more)
}
