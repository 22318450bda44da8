//! Every body of the HTTP API as a type, for the server, the command line and `OpenAPI` alike. It
//! knows how values look in JSON, not what the engine makes of them.

mod access;
mod admin;
mod backup;
mod counters;
mod duration;
mod enqueue;
mod gate;
mod hold;
mod id;
mod instant;
mod kind;
mod limit;
mod messages;
mod moving;
mod number;
mod object;
mod operation;
mod policy;
mod problem;
mod raw;
mod record;
mod retry;
mod schedule;
mod shown;
mod skipped;
mod sla;
mod streams;
mod transaction;
mod trigger;
mod unique;
mod word;
mod work;
mod worker;

pub use access::{
    AccountBody, AccountList, AccountRecord, AuditList, AuditRecord, GrantBody, RoleText,
    TokenAnswer, TokenRecord, TokenRequest,
};
pub use admin::{
    HealthAnswer, JobDefaultsBody, NamespaceList, NamespaceRecord, OperationList, OperationRecord,
    OperationStateText, PurgeRequest, QueueList, QueueRecord, QueueSettingsBody, RetryDeadRequest,
    ShardHealth, ShardState, UnreachableShard,
};
pub use backup::{
    BackupList, BackupRecord, BackupRequest, BackupState, BaseProgressRecord, BaseRecord,
    ShippedShard, ShippingRecord,
};
pub use counters::{Counters, CountersTold};
pub use duration::{DURATION_EXPECTED, DurationText};
pub use enqueue::{EnqueueAnswer, EnqueueBulk, EnqueueBulkAnswer, NewJob};
pub use gate::{CloseGateRequest, GateBody, GateList, GateRecord};
pub use hold::{HeldRunRecord, HoldList, HoldRecord, HoldRequest, UnaccountedRunRecord};
pub use id::{JobIdText, TokenText};
pub use instant::{INSTANT_EXPECTED, InstantText, write_instant};
pub use kind::{KindList, KindRecord, KindSettingsBody, KindVersions, KindWholeRecord};
pub use limit::{
    BucketText, JobLimitRecord, JobLimitText, LimitKeyRecord, LimitList, LimitRecord,
    LimitScopeText, LimitSettingsBody, WindowText,
};
pub use messages::{
    BindingBody, BindingList, BindingRecord, ChangedAnswer, ConsumeAnswer, ConsumeRequest,
    DeathRecord, ExchangeBody, ExchangeList, ExchangeRecord, ExchangeTypeText,
    ExtendMessagesRequest, HeadersBody, JobBindingBody, MatchText, MessageList, MessageQueueRecord,
    MessageRecord, MessageSettingsBody, MessageSettlementBody, MessageVerdictText, OverflowText,
    PublishAnswer, PublishBody, PublishBulk, PublishBulkAnswer, RemovedAnswer,
    SettleMessagesAnswer, SettleMessagesRequest, SettledMessage, TakenMessageBody,
};
pub use moving::{MessageFilterBody, RedriveRequest};
pub(crate) use object::{NoFields, Object, OwnFault};
pub use operation::{JobActionText, JobFilterBody, OperationRequest};
pub use policy::{PolicyBody, PolicyList, PolicyRecord, PolicyTargetText};
pub use problem::{JobFault, Problem};
pub use raw::RawJson;
pub use record::{
    AttemptOutcomeText, AttemptRecord, BlockedByRecord, CheckpointRecord, ErrorText, JobEvent,
    JobList, JobRecord, LeaseRecord, RescheduleRequest, RetryRequest, SkippedRecord, StateText,
    StatusRecord,
};
pub use retry::RetryText;
pub use schedule::{
    JobTickRecord, MISSED_EXPECTED, MissedText, NextRequest, OverlapText, ScheduleBody,
    ScheduleList, ScheduleRecord, SlotList, SlotRecord, TickRecord,
};
pub(crate) use shown::progress_in_words;
pub use skipped::{SkipText, Skips};
pub use sla::{SlaBody, SlaList, SlaRecord, SlaTargetText, SlaWindowRecord};
pub use streams::{
    AppendAnswer, AppendBulkAnswer, EventBody, EventBulk, EventHeaders, EventList, EventRecord,
    GroupList, GroupMember, GroupOffsetRecord, GroupRecord, GroupSummary, MemberPartitions,
    OffsetBody, OffsetsBody, PartitionRecord, StreamBody, StreamList, StreamRecord, StreamSummary,
};
pub use transaction::{
    TransactionAnswer, TransactionPublish, TransactionRequest, TransactionSettlement,
};
pub use trigger::{ReplayBody, ReplayRecord, TriggerBody, TriggerList, TriggerRecord};
pub use unique::{
    OnConflictText, UniqueMetText, UniqueOutcome, UniqueRecord, UniqueText, UniqueUntilText,
};
pub use work::{
    AckRequest, CheckpointRequest, DiscardRequest, FailRequest, HeartbeatAnswer, HeartbeatRequest,
    InstructionText, InterruptRequest, LeaseAnswer, LeaseRequest, LeasedJob, ReleaseRequest,
    SettleAnswer, SettleRequest, SettledText, SettlementText, SnoozeRequest, VerdictText,
};
pub use worker::{WorkerList, WorkerQueue, WorkerRecord, WorkerRunRecord, WorkerStateText};
