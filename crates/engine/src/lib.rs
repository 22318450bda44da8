//! The deterministic core of one shard: namespaces, queues and jobs.
//!
//! The engine decides and applies. It does no I/O, reads no clock, draws no randomness, starts no
//! thread and knows no protocol: time, entropy and commands come in as arguments, records and
//! effects go out as values. The same records give the same state on any machine.
//!
//! Where to begin: [`Turn`] drives everything; [`Command`] is what can be asked, [`Record`] what
//! can happen, [`Rejection`] what can be refused; `job/` has one file per thing that happens to a
//! job.

mod account;
mod answer;
mod apply;
pub mod ask;
mod bounds;
mod circle;
mod command;
mod cost;
pub mod driver;
mod effect;
mod gate;
mod hold;
mod ids;
mod job;
mod keyed;
mod kind;
mod level;
mod limit;
mod limits;
mod looks;
mod map;
mod message;
mod moment;
mod operation;
mod overlay;
mod position;
pub mod query;
mod queue;
mod queueing;
mod record;
mod rejection;
mod rope;
mod schedule;
mod sla;
mod state;
mod stream;
mod tenant;
mod timer;
mod turn;
mod unique;
mod views;
pub mod wire;

pub use account::{
    Account, AccountAnswer, AccountChange, AccountCommand, AccountGrant, AccountToken, AuditEntry,
    AuditedCommand, CERTIFICATES_MAX, GRANTS_MAX, NewToken, PasswordKeys, Role, SYSTEM_NAMESPACE,
    ScramKeys, TOKENS_MAX, matches_pattern,
};
pub use answer::{
    Answer, BlockedBy, Delivery, Enqueued, HeldJob, Instruction, JobState, JobView, NamespaceView,
    QueueView, SessionView,
};
pub use command::{
    CheckpointJob, Command, ConsumerId, Credit, EnqueueJobs, Extension, FollowUp, HeldLease,
    Holder, LeaseJobs, NewJob, QueuePattern, ReplyTo, Request, RetryFrom, Settlement, Start,
    Subscribe, Verdict,
};
pub use effect::{CloseReason, Effect};
pub use gate::{Gate, GateAnswer, GateChange, GateClosed, GateCommand, GateView};
pub use hold::{Hold, HoldAnswer, HoldCommand, HoldView, LostRun};
pub use ids::{
    BodyId, ConnectionId, Epoch, ExchangeId, GateId, JobId, KindId, MonoMs, NamespaceId,
    OperationId, PartitionId, Place, QueueId, ScheduleId, StreamId, TimeMs, Token,
};
pub use job::{
    AttemptNote, Body, CancelReason, Cause, Checkpoint, DeadReason, End, EndKind, FinalRun, Job,
    JobError, JobFilter, JobLife, JobOptions, Lease, LifeStep, Phase, RESERVED_KIND_PREFIX,
    RetryPolicy, Saved, SkippedItem,
};
pub use keyed::{
    ANSWER_BYTES_MAX, ANSWER_MS, ANSWERS_OF_OWNER_MAX, CommandKey, KeptAnswer, KeyedCommand, Render,
};
pub use kind::{
    KindAnswer, KindCommand, KindDetail, KindInQueue, KindRange, KindSettings, KindView,
};
pub use level::{LEVEL, OtherLevel};
pub use limit::{
    JobLimit, LimitKeyView, LimitRefill, LimitRule, LimitScope, LimitSettings, LimitView,
};
pub use limits::{Cap, ENTRY_BYTES_MAX, Limits, Scope};
pub use map::{OrderedMap, Reader};
pub use message::{
    Binding, BindingSpec, BindingView, ConsumeMessages, DELIVERY_LIMIT_DEFAULT, Death,
    DeclareExchange, DeclareQueue, Declared, Destination, EventHeaders, Exchange, ExchangeKind,
    ExchangeView, HeaderValue, JobBinding, LeaseMessages, Matching, Message, MessageAnswer,
    MessageCommand, MessageCredit, MessageDelivery, MessageEnd, MessageFilter, MessageMove,
    MessageName, MessagePage, MessageQueueView, MessageSettings, MessageSettlement, MessageTag,
    MessageTransaction, MessageVerdict, MoveTo, NewEntry, Overflow, PeekedMessage, Policy,
    PolicyTarget, PublishMessage, Published, ShareCredit,
};
pub use moment::Clock;
pub use operation::{JobAction, JobsChange, Operation, OperationKind, OperationState};
pub use position::Position;
pub use queue::{GoneTotals, JobDefaults, Queue, QueueCounts, QueueSettings};
pub use record::{Entry, Grant, Next, Record, Upkeep};
pub use rejection::Rejection;
pub use rope::{REFERRED_BYTES_MIN, Rope};
pub use schedule::{
    JobTemplate, LastTick, Missed, NewSchedule, Overlap, PlanFault, Schedule, ScheduleCommand,
    ScheduleState, ScheduleTotals, ScheduleView, Slot, Spec, Tick, TickOutcome, local_time,
    next_slots, slot_job_id,
};
pub use sla::{
    Sla, SlaAnswer, SlaCommand, SlaCount, SlaGoal, SlaSettings, SlaTarget, SlaView, WorkerPatience,
    workers_needed,
};
pub use stream::{
    AppendBatch, AppendRefusal, Appended, AppendedKey, BATCH_BYTES_MAX_DEFAULT,
    COUNTED_KEY_BYTES_MAX, CommittedOffset, EventPlace, FireTrigger, GroupOffset,
    KEYS_OF_BATCH_MAX, KeyEvents, KeyToAppend, LIVES_STREAM, LivesLot, OffsetNote, OffsetRefusal,
    OffsetToCommit, PartitionEnds, ProducerStamp, ProducerView, REPLAY_PREFIX,
    RETENTION_MS_DEFAULT, ReadOffset, StreamAnswer, StreamChange, StreamCommand, StreamSettings,
    StreamView, ToldEvent, TransactionAnswer, TransactionAsk, TransactionCommand, TransactionMark,
    TransactionRefusal, TransactionStamp, TransactionView, Trigger, TriggerCommand, TriggerEvent,
    appends_of, partition_of,
};
pub use tenant::{TenantTotals, TenantWeight};
pub use timer::Subject;
pub use turn::{QueueStats, Recovery, ReplayFault, SealedGroup, ShardStats, StatsCursor, Turn};
pub use unique::{
    NewUnique, OnConflict, TemplateUnique, UniqueConflicts, UniqueLock, UniqueMet, UniqueUntil,
};
