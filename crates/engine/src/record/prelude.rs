//! What records are made of, from the modules that own it.

pub(super) use bytes::Bytes;

pub(super) use crate::account::{Account, AuditEntry};
pub(super) use crate::gate::Gate;
pub(super) use crate::hold::Hold;
pub(super) use crate::ids::{
    BodyId, Epoch, ExchangeId, JobId, KindId, NamespaceId, OperationId, PartitionId, Place,
    QueueId, ScheduleId, StreamId, TimeMs, Token,
};
pub(super) use crate::job::{CancelReason, Cause, DeadReason, Job, JobError, Saved};
pub(super) use crate::keyed::KeptAnswer;
pub(super) use crate::kind::KindSettings;
pub(super) use crate::limit::{LimitRefill, LimitSettings};
pub(super) use crate::message::{
    Binding, Destination, Exchange, HeaderValue, Message, MessageEnd, NewEntry, Policy,
};
pub(super) use crate::operation::Operation;
pub(super) use crate::queue::QueueSettings;
pub(super) use crate::schedule::{Schedule, Slot, TickOutcome};
pub(super) use crate::sla::Sla;
pub(super) use crate::stream::{AppendedKey, EventPlace, OffsetNote, StreamSettings};
pub(super) use crate::timer::Subject;
pub(super) use crate::wire::wire_enum;
