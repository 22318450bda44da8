//! The deterministic core of one shard: namespaces, queues and jobs.
//!
//! The engine decides and applies. It does no I/O, reads no clock, draws no randomness, starts no
//! thread and knows no protocol: time, entropy and commands come in as arguments, records and
//! effects go out as values. The same records give the same state on any machine.
//!
//! Where to begin: [`Turn`] drives everything; [`Command`] is what can be asked, [`Record`] what
//! can happen, [`Rejection`] what can be refused; `job/` has one file per thing that happens to a
//! job.

mod answer;
mod apply;
mod bounds;
mod command;
mod cost;
mod effect;
mod ids;
mod job;
mod level;
mod limits;
mod map;
mod moment;
mod operation;
mod overlay;
mod position;
pub mod query;
mod queue;
mod queueing;
mod record;
mod rejection;
mod state;
mod stream;
mod timer;
mod turn;
mod views;
pub mod wire;

pub use answer::{
    Answer, BlockedBy, Delivery, Enqueued, HeldJob, Instruction, JobState, JobView, NamespaceView,
    QueueView, SessionView,
};
pub use command::{
    CheckpointJob, Command, ConsumerId, Credit, EnqueueJobs, Extension, FollowUp, HeldLease,
    Holder, JobFilter, LeaseJobs, NewJob, QueuePattern, ReplyTo, Request, RetryFrom, Settlement,
    Start, Subscribe, Verdict,
};
pub use effect::{CloseReason, Effect};
pub use ids::{
    BodyId, Epoch, JobId, KindId, MonoMs, NamespaceId, OperationId, PartitionId, Place, QueueId,
    StreamId, TimeMs, Token,
};
pub use job::{
    AttemptNote, Body, CancelReason, Cause, Checkpoint, DeadReason, End, EndKind, FinalRun, Job,
    JobError, JobOptions, Lease, Phase, RESERVED_KIND_PREFIX, RetryPolicy, Saved, SkippedItem,
};
pub use level::{LEVEL, OtherLevel};
pub use limits::{Cap, ENTRY_BYTES_MAX, Limits, Scope};
pub use map::{OrderedMap, Reader};
pub use moment::Clock;
pub use operation::{Operation, OperationKind, OperationState};
pub use position::Position;
pub use queue::{GoneTotals, JobDefaults, Queue, QueueCounts, QueueSettings};
pub use record::{Entry, Grant, Next, Record};
pub use rejection::Rejection;
pub use stream::{
    AppendBatch, AppendRefusal, Appended, BATCH_BYTES_MAX_DEFAULT, CommittedOffset, GroupOffset,
    OffsetNote, OffsetRefusal, OffsetToCommit, PartitionEnds, ProducerStamp, RETENTION_MS_DEFAULT,
    StreamAnswer, StreamChange, StreamCommand, StreamSettings, StreamView, appends_of,
};
pub use timer::Subject;
pub use turn::{QueueStats, Recovery, ReplayFault, SealedGroup, ShardStats, StatsCursor, Turn};
