//! The lives of jobs as a stream: where a namespace has one of that name, each step of a job is an
//! event of it, recorded with the step itself. The record says what is told and where; how it reads
//! follows from that, so that the journal has no JSON.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::{StreamChange, ToldEvent, partition_of};
use crate::ids::{NamespaceId, PartitionId, TimeMs};
use crate::job::{JobLife, Lives};
use crate::message::hops_of_life;
use crate::record::{Record, Upkeep};
use crate::state::State;
use crate::wire::wire_struct;

/// The stream of a namespace that tells of the lives of its jobs, where it is there.
pub const LIVES_STREAM: &str = "_jobs";

/// Steps that stand in one batch at most.
const LOT_MAX: usize = 256;

wire_struct! {
    /// Steps that are told one after the other in one partition.
    pub struct LivesLot {
        /// Which.
        pub partition: PartitionId,
        /// The offset of the first.
        pub base_offset: u64,
        /// The steps.
        pub lives: Vec<JobLife>,
    }
}

impl LivesLot {
    /// What whoever keeps the events is told of it.
    pub(super) fn change(self, namespace: &str, at: TimeMs) -> StreamChange {
        let Self { partition, base_offset, lives } = self;
        let event = |(offset, life): (u64, JobLife)| {
            let text = life.to_cloud_event(namespace, &format!("{partition}-{offset}"), at);
            let (key, headers) = (life.job.to_string().into(), hops_of_life(life.hops));
            ToldEvent { key, value: text.into(), headers }
        };
        let events = (base_offset..).zip(lives).map(event).collect();
        StreamChange::Told { partition, base_offset, at, events }
    }
}

impl Record {
    /// The steps of jobs that it tells of, in lots whose places are given with it.
    pub(crate) fn lots_mut(&mut self) -> &mut [LivesLot] {
        match self {
            Self::Upkeep { fact } => match &mut **fact {
                Upkeep::LivesTold { lots, .. } => lots,
                _ => &mut [],
            },
            _ => &mut [],
        }
    }

    /// How many steps of jobs it tells of.
    pub(crate) fn lives(&self) -> usize {
        match self {
            Self::Upkeep { fact } => match &**fact {
                Upkeep::LivesTold { lots, .. } => lots.iter().map(|lot| lot.lives.len()).sum(),
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Whether it tells of steps of jobs.
    pub(crate) fn tells_lives(&self) -> bool {
        matches!(self, Self::Upkeep { fact } if matches!(**fact, Upkeep::LivesTold { .. }))
    }
}

impl State {
    /// Whether any namespace wants to know of the lives of its jobs.
    pub(crate) fn tells_lives(&self) -> bool {
        !self.streams.telling.is_empty()
    }

    /// Whether a namespace wants to know of the lives of its jobs.
    pub(crate) fn tells_lives_of(&self, namespace: NamespaceId) -> bool {
        self.streams.telling.contains_key(&namespace)
    }

    /// What is told of the jobs that records are about, and how many steps are not. Offsets are
    /// given with the record.
    pub(crate) fn decide_lives(&self, records: &[Record]) -> (Vec<Record>, u64) {
        let Lives { told: lives, untold, .. } = self.lives_of(records);
        let mut found: BTreeMap<(NamespaceId, PartitionId), Vec<JobLife>> = BTreeMap::new();
        for (namespace, life) in lives {
            let stream = self.streams.telling.get(&namespace);
            let Some(stream) = stream.and_then(|id| self.streams.get(*id)) else { continue };
            let index =
                partition_of(life.job.to_string().as_bytes(), stream.partitions.len() as u32);
            if let Some(partition) = stream.partitions.get(index as usize) {
                found.entry((namespace, *partition)).or_default().push(life);
            }
        }
        let mut told: BTreeMap<NamespaceId, Vec<LivesLot>> = BTreeMap::new();
        for ((namespace, partition), mut lives) in found {
            let lots = told.entry(namespace).or_default();
            while !lives.is_empty() {
                let rest = lives.split_off(lives.len().min(LOT_MAX));
                lots.push(LivesLot { partition, base_offset: 0, lives });
                lives = rest;
            }
        }
        let record = |(namespace, lots)| {
            let name = self.namespaces.name(namespace);
            Record::Upkeep { fact: Box::new(Upkeep::LivesTold { namespace: name, lots }) }
        };
        (told.into_iter().map(record).collect(), untold)
    }

    pub(crate) fn apply_lives_told(&mut self, namespace: &str, lots: Vec<LivesLot>) {
        let at = self.now();
        for lot in lots {
            let ends = self.streams.ends_mut(lot.partition);
            let (partition, next) = (lot.partition, ends.next);
            assert!(
                next == lot.base_offset,
                "what is told in partition {partition} stands at {}, not at {next}",
                lot.base_offset
            );
            ends.next += lot.lives.len() as u64;
            self.streams.changes.push(lot.change(namespace, at));
        }
    }
}
