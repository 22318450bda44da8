//! What becomes of a command about a transaction.

use std::collections::BTreeMap;

use super::{
    Aborted, EPOCH_LAST, Known, TransactionAnswer, TransactionAsk, TransactionRefusal,
    TransactionStamp, offset_bytes,
};
use crate::bounds::check_name;
use crate::ids::{NamespaceId, PartitionId, TimeMs};
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};
use crate::stream::{AppendRefusal, OffsetToCommit, ProducerStamp};

/// Records that hold together, and what is answered.
type Decided = Result<(Vec<Record>, TransactionAnswer), TransactionRefusal>;

impl State {
    pub(crate) fn decide_transact(
        &self,
        ns: NamespaceId,
        id: &str,
        ask: TransactionAsk,
    ) -> Result<Decided, Rejection> {
        check_name(&self.limits, "transactional_id", id)?;
        Ok(match ask {
            TransactionAsk::Take { timeout_ms, current } => {
                self.decide_taken(ns, id, timeout_ms, current)
            }
            TransactionAsk::AddPartitions { stamp, partitions } => {
                self.decide_extended(ns, id, stamp, partitions)
            }
            TransactionAsk::AddOffsets { stamp } => self.decide_extended(ns, id, stamp, Vec::new()),
            TransactionAsk::CommitOffsets { stamp, group, offsets } => {
                check_name(&self.limits, "group", &group)?;
                self.decide_pending(ns, id, stamp, (group, &offsets))
            }
            TransactionAsk::End { stamp, commit } => self.decide_ended(ns, id, stamp, commit),
        })
    }

    /// The transactional id, if it is this producer who may use it.
    fn transactional(
        &self,
        ns: NamespaceId,
        id: &str,
        stamp: TransactionStamp,
    ) -> Result<&Known, TransactionRefusal> {
        let transactions = &self.streams.transactions;
        let producer = transactions.by_id.get(&(ns, id.to_owned()));
        let known = producer.filter(|it| **it == stamp.producer);
        let known = known.and_then(|it| transactions.all.get(it));
        let known = known.ok_or(TransactionRefusal::NotTheProducer)?;
        if known.kept.epoch != stamp.epoch {
            let (found, current) = (stamp.epoch, known.kept.epoch);
            return Err(TransactionRefusal::Fenced { found, current });
        }
        Ok(known)
    }

    fn decide_taken(
        &self,
        ns: NamespaceId,
        id: &str,
        timeout_ms: u64,
        current: Option<TransactionStamp>,
    ) -> Decided {
        let max = self.limits.transaction_ms_max;
        if !(1..=max).contains(&timeout_ms) {
            return Err(TransactionRefusal::TimeoutRefused { max });
        }
        let transactions = &self.streams.transactions;
        let producer = transactions.by_id.get(&(ns, id.to_owned()));
        let taken = |producer, epoch| Record::TransactionalIdTaken {
            namespace: ns,
            id: id.to_owned(),
            producer,
            epoch,
            timeout_ms,
            previous: current.map(|stamp| stamp.epoch),
        };
        let Some(known) = producer.and_then(|it| transactions.all.get(it)) else {
            let limit = self.limits.transactional_ids_max;
            if transactions.all.len() >= limit {
                return Err(TransactionRefusal::TooMany { what: "transactional ids", limit });
            }
            let stamp = TransactionStamp { producer: self.meta.next_producer, epoch: 0 };
            return Ok((vec![taken(stamp.producer, 0)], TransactionAnswer::Taken(stamp)));
        };
        let kept = &known.kept;
        let mut stamp = TransactionStamp { producer: kept.producer, epoch: kept.epoch };
        if let Some(current) = current {
            let same = current.producer == kept.producer;
            if same && kept.previous == Some(current.epoch) && !kept.open {
                // It asks again: the answer was lost.
                return Ok((Vec::new(), TransactionAnswer::Taken(stamp)));
            }
            if !same || current.epoch != kept.epoch {
                let (found, current) = (current.epoch, kept.epoch);
                return Err(TransactionRefusal::Fenced { found, current });
            }
        }
        let mut records = Vec::new();
        if kept.open {
            records.push(self.ending(known, kept.epoch + 1, false));
        }
        if kept.epoch + 1 > EPOCH_LAST {
            stamp = TransactionStamp { producer: self.meta.next_producer, epoch: 0 };
        } else {
            stamp.epoch += 1;
        }
        records.push(taken(stamp.producer, stamp.epoch));
        Ok((records, TransactionAnswer::Taken(stamp)))
    }

    fn decide_extended(
        &self,
        ns: NamespaceId,
        id: &str,
        stamp: TransactionStamp,
        partitions: Vec<PartitionId>,
    ) -> Decided {
        let known = self.transactional(ns, id, stamp)?;
        let exists = |id: &PartitionId| {
            let partition = self.streams.partition(*id);
            let stream = partition.and_then(|it| self.streams.get(it.stream));
            stream.is_some_and(|stream| stream.namespace == ns)
        };
        if !partitions.iter().all(exists) {
            return Err(TransactionRefusal::PartitionUnknown);
        }
        let mut new = partitions;
        new.retain(|partition| !known.partitions.contains_key(partition));
        new.sort_unstable();
        new.dedup();
        let limit = self.limits.transaction_partitions_max;
        if known.partitions.len() + new.len() > limit {
            let what = "partitions of one transaction";
            return Err(TransactionRefusal::TooMany { what, limit });
        }
        let changes = !new.is_empty() || !known.kept.open;
        let producer = stamp.producer;
        let record = changes.then_some(Record::TransactionExtended { producer, partitions: new });
        Ok((Vec::from_iter(record), TransactionAnswer::Done))
    }

    fn decide_pending(
        &self,
        ns: NamespaceId,
        id: &str,
        stamp: TransactionStamp,
        (group, offsets): (String, &[OffsetToCommit]),
    ) -> Decided {
        let known = self.transactional(ns, id, stamp)?;
        if !known.kept.open {
            return Err(TransactionRefusal::NotOpen);
        }
        let limit = self.limits.offsets_bulk_max;
        let what = "offsets of one transaction";
        if offsets.len() > limit {
            return Err(TransactionRefusal::TooMany { what, limit });
        }
        let (results, notes) = self.offset_notes(ns, offsets);
        // Of those that are named again the last one counts.
        let last: BTreeMap<_, _> =
            notes.iter().map(|it| ((it.stream, it.partition), &it.committed)).collect();
        let (mut new, mut added, mut replaced) = (0, 0, 0);
        for ((stream, partition), committed) in last {
            added += offset_bytes(&group, committed);
            match known.offsets.get(&(group.clone(), stream, partition)) {
                Some(before) => replaced += offset_bytes(&group, before),
                None => new += 1,
            }
        }
        if known.offsets.len() + new > limit {
            return Err(TransactionRefusal::TooMany { what, limit });
        }
        let taken = self.streams.transactions.offset_bytes;
        let limit = self.limits.transaction_offset_bytes_max;
        if added > replaced && taken + (added - replaced) > limit {
            let what = "bytes of offsets of open transactions";
            return Err(TransactionRefusal::TooMany { what, limit });
        }
        let producer = stamp.producer;
        let record = (!notes.is_empty()).then_some(Record::TransactionOffsets {
            producer,
            group,
            offsets: notes,
        });
        Ok((Vec::from_iter(record), TransactionAnswer::Offsets(results)))
    }

    fn decide_ended(
        &self,
        ns: NamespaceId,
        id: &str,
        stamp: TransactionStamp,
        commit: bool,
    ) -> Decided {
        let known = self.transactional(ns, id, stamp)?;
        if known.kept.open {
            // Replays of which its offsets leave nothing end one by one with the ticks that follow.
            let records = vec![self.ending(known, stamp.epoch, commit)];
            return Ok((records, TransactionAnswer::Done));
        }
        // It asks again: the answer was lost.
        if known.kept.committed == Some(commit) {
            return Ok((Vec::new(), TransactionAnswer::Done));
        }
        Err(TransactionRefusal::NotOpen)
    }

    /// The record that ends an open transaction: markers in all of its partitions that are left.
    pub(super) fn ending(&self, known: &Known, epoch: u32, committed: bool) -> Record {
        let marker = |partition: &PartitionId| {
            let ends = self.streams.partition(*partition)?.ends;
            Some((*partition, ends.next))
        };
        let markers = known.partitions.keys().filter_map(marker).collect();
        Record::TransactionEnded { producer: known.kept.producer, epoch, committed, markers }
    }

    /// The record that forgets aborted transactions of a partition by their markers, as far as they
    /// are known.
    pub(crate) fn decide_aborted_forgotten(
        &self,
        ns: NamespaceId,
        id: PartitionId,
        markers: &[u64],
    ) -> Option<Record> {
        let partition = self.streams.partition(id)?;
        self.streams.get(partition.stream).filter(|stream| stream.namespace == ns)?;
        let known = |marker: &&u64| self.value::<Aborted>(&keys::aborted(id, **marker)).is_some();
        let aborted: Vec<_> = markers.iter().filter(known).map(|marker| (id, *marker)).collect();
        (!aborted.is_empty()).then_some(Record::AbortedForgotten { aborted })
    }

    /// The record that aborts the transaction that has been open for too long, if one has, and of
    /// how many partitions and offsets that is.
    pub(crate) fn decide_transaction_overdue(&self) -> Option<(Record, usize)> {
        let transactions = &self.streams.transactions;
        let (deadline, producer) = transactions.deadlines.first()?;
        let known = transactions.all.get(producer).filter(|_| *deadline <= self.mono())?;
        // Whoever it belongs to finds out by its epoch.
        let items = known.partitions.len() + known.offsets.len();
        Some((self.ending(known, known.kept.epoch + 1, false), items))
    }

    /// Whether a batch may be appended as far as transactions go.
    pub(crate) fn check_transaction(
        &self,
        ns: NamespaceId,
        partition: PartitionId,
        producer: Option<ProducerStamp>,
        transactional: bool,
    ) -> Result<(), AppendRefusal> {
        let known = producer.and_then(|stamp| self.streams.transactions.get(stamp.id));
        let (Some(known), Some(stamp)) = (known, producer) else {
            return if transactional { Err(AppendRefusal::NotInTransaction) } else { Ok(()) };
        };
        if stamp.epoch != known.kept.epoch {
            let (found, current) = (stamp.epoch, known.kept.epoch);
            return Err(AppendRefusal::EpochPassed { found, current });
        }
        let within = known.namespace == ns && known.kept.open;
        if transactional && within && known.partitions.contains_key(&partition) {
            return Ok(());
        }
        Err(AppendRefusal::NotInTransaction)
    }

    /// When the first open transaction has been so for too long.
    pub(crate) fn next_transaction_end(&self) -> Option<crate::ids::MonoMs> {
        self.streams.transactions.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Whether a transactional id was not used for so long that it is forgotten.
    pub(super) fn is_idle(&self, known: &Known, now: TimeMs) -> bool {
        let gone = self.namespaces.get(known.namespace).is_none();
        let idle = now.since(known.kept.at) >= self.limits.transactional_id_ms;
        !known.kept.open && (gone || idle)
    }
}
