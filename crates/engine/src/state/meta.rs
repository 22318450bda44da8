//! The numbers that a shard counts on: its level, its life, its time, and what it names next.

use std::ops::Deref;

use crate::ids::{
    BodyId, Epoch, ExchangeId, GateId, KindId, NamespaceId, OperationId, PartitionId, Place,
    QueueId, ScheduleId, StreamId, TimeMs,
};
use crate::level::LEVEL;
use crate::message::FIRST_EXCHANGE;
use crate::queue::GoneTotals;
use crate::schedule::ScheduleTotals;
use crate::tenant::TenantTotals;
use crate::wire::wire_struct;

const FIRST_STREAM: StreamId = StreamId(1);
const FIRST_PARTITION: PartitionId = PartitionId(1);

wire_struct! {
    /// Numbers that the shard counts on.
    pub(crate) struct Meta {
        /// The level of all that it holds. It stands first at every level.
        pub(crate) level: u32,
        /// Its present life.
        pub(crate) epoch: Epoch,
        /// Engine time.
        pub(crate) at: TimeMs,
        /// The next namespace's number.
        pub(crate) next_namespace: NamespaceId,
        /// The next queue's number.
        pub(crate) next_queue: QueueId,
        /// The next kind's number.
        pub(crate) next_kind: KindId,
        /// The next order of entry.
        pub(crate) next_place: Place,
        /// The counter of the next token.
        pub(crate) next_token: u64,
        /// The next body's number.
        pub(crate) next_body: BodyId,
        /// The next operation's number.
        pub(crate) next_operation: OperationId,
        /// What is gone had counted.
        pub(crate) gone: GoneTotals = 1,
        /// What schedules did.
        pub(crate) schedules: ScheduleTotals = 40,
        /// The last schedule's number.
        pub(crate) last_schedule: ScheduleId = 41,
        /// The last gate's number.
        pub(crate) last_gate: GateId = 50,
        /// The last hold's epoch.
        pub(crate) last_hold: u64 = 51,
        /// The next exchange's number.
        pub(crate) next_exchange: ExchangeId = 60 default FIRST_EXCHANGE,
        /// The number of the last entry of the trail of changes.
        pub(crate) last_audit: u64 = 90,
        /// Its entries up to this one are kept no longer.
        pub(crate) audit_forgotten: u64 = 91,
        /// The number of the last answer that was kept for a key.
        pub(crate) last_answer: u64 = 92,
        /// Answers up to this one are kept no longer.
        pub(crate) answers_forgotten: u64 = 93,
        /// Its tenants.
        pub(crate) tenants: TenantTotals = 170,
        /// The next stream's number.
        pub(crate) next_stream: StreamId = 200 default FIRST_STREAM,
        /// The next partition's number.
        pub(crate) next_partition: PartitionId = 201 default FIRST_PARTITION,
        /// The next producer's number.
        pub(crate) next_producer: u64 = 202 default 1,
    }
}

impl Meta {
    const NEW: Self = Self {
        level: LEVEL as u32,
        epoch: Epoch(0),
        at: TimeMs(0),
        next_namespace: NamespaceId(1),
        next_queue: QueueId(1),
        next_kind: KindId(1),
        next_place: Place(1),
        next_token: 1,
        next_body: BodyId(1),
        next_operation: OperationId(1),
        gone: GoneTotals::NONE,
        schedules: ScheduleTotals::NONE,
        last_schedule: ScheduleId(0),
        last_gate: GateId(0),
        last_hold: 0,
        next_exchange: FIRST_EXCHANGE,
        last_audit: 0,
        audit_forgotten: 0,
        last_answer: 0,
        answers_forgotten: 0,
        tenants: TenantTotals::NONE,
        next_stream: FIRST_STREAM,
        next_partition: FIRST_PARTITION,
        next_producer: 1,
    };
}

/// [`Meta`] as memory has it.
#[derive(Debug)]
pub(crate) struct Numbers {
    meta: Meta,
    /// The map has it otherwise.
    changed: bool,
}

impl Deref for Numbers {
    type Target = Meta;

    fn deref(&self) -> &Meta {
        &self.meta
    }
}

impl Numbers {
    /// What is kept, or those of a shard that is new.
    pub(super) fn load(kept: Option<Meta>) -> Self {
        Self { meta: kept.unwrap_or(Meta::NEW), changed: false }
    }

    /// The numbers, to be written before the map is kept.
    pub(super) fn change(&mut self) -> &mut Meta {
        self.changed = true;
        &mut self.meta
    }

    /// The numbers, where they are to be written.
    pub(super) fn take_changed(&mut self) -> Option<&Meta> {
        std::mem::take(&mut self.changed).then_some(&self.meta)
    }
}
