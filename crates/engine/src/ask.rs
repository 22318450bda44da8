//! Commands as faces ask them: each a type of its own, with the type of its answer. Here alone it
//! stands which answer belongs to which command.

use bytes::Bytes;

use crate::account::{Account, AccountAnswer, AccountChange, AccountCommand, AuditEntry};
use crate::answer::{
    Answer, Delivery, Enqueued, Instruction, JobView, NamespaceView, QueueView, SessionView,
};
use crate::command::{
    CheckpointJob, Command, ConsumerId, Credit, EnqueueJobs, Extension, HeldLease, Holder,
    LeaseJobs, RetryFrom, Settlement, Start, Subscribe,
};
use crate::gate::{GateAnswer, GateChange, GateCommand, GateView};
use crate::hold::{HoldAnswer, HoldCommand, HoldView};
use crate::ids::{ConnectionId, JobId, OperationId, PartitionId, Place, Token};
use crate::job::EndKind;
use crate::kind::{KindAnswer, KindCommand, KindDetail, KindInQueue, KindSettings, KindView};
use crate::limit::{LimitSettings, LimitView};
use crate::message::{
    BindingSpec, BindingView, DeclareExchange, DeclareQueue, Declared, ExchangeView, LeaseMessages,
    MessageAnswer, MessageCommand, MessageDelivery, MessageName, MessageQueueView,
    MessageSettlement, MessageTransaction, Policy, PublishMessage, Published,
};
use crate::operation::{Operation, OperationKind};
use crate::queue::QueueSettings;
use crate::rejection::Rejection;
use crate::schedule::{ScheduleCommand, ScheduleView};
use crate::sla::{SlaAnswer, SlaCommand, SlaSettings, SlaView};
use crate::stream::{
    AppendBatch, AppendRefusal, Appended, FireTrigger, GroupOffset, OffsetRefusal, OffsetToCommit,
    StreamAnswer, StreamCommand, StreamSettings, StreamView, TransactionAnswer, TransactionCommand,
    TransactionRefusal, Trigger, TriggerCommand,
};

/// A command that has one sort of answer, beside [`Answer::Rejected`].
pub trait Ask: Into<Command> {
    /// What it is answered with.
    type Answer;

    /// The answer by its type. One that does not belong to the command comes back: a bug of the
    /// engine.
    fn told(answer: Answer) -> Result<Self::Answer, Answer>;
}

/// What became of each settlement, in order.
type Settled = Vec<Result<EndKind, Rejection>>;

/// Whoever does not know which command it is gets whatever is answered.
impl Ask for Command {
    type Answer = Answer;

    fn told(answer: Answer) -> Result<Answer, Answer> {
        Ok(answer)
    }
}

/// How what holds more of a command becomes one.
macro_rules! commands {
    ($($of:ident($it:ident) $command:expr;)*) => {$(
        impl From<$of> for Command {
            fn from($it: $of) -> Self {
                $command
            }
        }
    )*};
}

commands! {
    AccountCommand(it) Self::Accounts(it);
    GateCommand(it) Self::Gates(it);
    HoldCommand(it) Self::Holds(it);
    KindCommand(it) Self::Kinds(it);
    MessageCommand(it) Self::Messages(it);
    SlaCommand(it) Self::Sla(it);
    StreamCommand(it) Self::Stream(it);
    TriggerCommand(it) Self::Stream(StreamCommand::Trigger(it));
    TransactionCommand(it) Self::Stream(StreamCommand::Transact(it));
    FireTrigger(it) TriggerCommand::Fire(it).into();
    EnqueueJobs(it) Self::EnqueueJobs(it);
    LeaseJobs(it) Self::LeaseJobs(Box::new(it));
    Subscribe(it) Self::Subscribe(Box::new(it));
    DeleteSchedule(it) Self::OfSchedule { name: it.name, command: ScheduleCommand::Delete };
    DeclareQueue(it) MessageCommand::DeclareQueue(Box::new(it)).into();
    DeclareExchange(it) MessageCommand::DeclareExchange(Box::new(it)).into();
    LeaseMessages(it) MessageCommand::Lease(Box::new(it)).into();
    MessageTransaction(it) MessageCommand::Transact(Box::new(it)).into();
}

/// Removes a schedule.
#[derive(Clone, Debug)]
pub struct DeleteSchedule {
    /// Its name.
    pub name: String,
}

/// Of each answer its type, its pattern and what is taken of it, and the commands that have it.
/// With fields a command is a type that is made here, else one that is there already.
macro_rules! asks {
    ($([$answer:ty] $pattern:pat => $told:expr;
        $($name:ident $({ $($fields:tt)* })? $(($($of:tt)*))? $(= $path:path)?;)*
    )*) => {$($(
        asks!(@type $name $({ $($fields)* })? $(($($of)*))? $(= $path)?);

        impl Ask for $name {
            type Answer = $answer;

            fn told(answer: Answer) -> Result<$answer, Answer> {
                match answer {
                    $pattern => Ok($told),
                    other => Err(other),
                }
            }
        }
    )*)*};
    (@type $name:ident) => {};
    (@type $name:ident { $($field:ident: $of:ty),* } = $path:path) => {
        #[doc = concat!("The command `", stringify!($path), "` with the type of its answer.")]
        #[derive(Clone, Debug)]
        pub struct $name {
            $(#[expect(missing_docs, reason = "it is the command's")] pub $field: $of),*
        }

        impl From<$name> for Command {
            fn from($name { $($field),* }: $name) -> Self {
                $path { $($field),* }.into()
            }
        }
    };
    (@type $name:ident ($of:ty) = $path:path) => {
        #[doc = concat!("The command `", stringify!($path), "` with the type of its answer.")]
        #[derive(Clone, Debug)]
        pub struct $name(pub $of);

        impl From<$name> for Command {
            fn from($name(it): $name) -> Self {
                $path(it).into()
            }
        }
    };
}

asks! {
    [Vec<Enqueued>] Answer::Enqueued(it) => it;
    EnqueueJobs;
    [(Vec<Delivery>, Settled)] Answer::Leased { jobs, settled } => (jobs, settled);
    LeaseJobs;
    [bool] Answer::Subscribed { stands } => stands;
    Subscribe;
    [Settled] Answer::Settled(it) => it;
    SettleJobs(Vec<Settlement>) = Command::SettleJobs;
    AddCredit { consumer: ConsumerId, credit: Credit, settle: Vec<Settlement> } =
        Command::AddCredit;
    [Vec<Result<Instruction, Rejection>>] Answer::Extended(it) => it;
    ExtendLeases(Vec<Extension>) = Command::ExtendLeases;
    CheckpointJobs(Vec<CheckpointJob>) = Command::CheckpointJobs;
    StartJobs(Vec<(JobId, Token)>) = Command::StartJobs;
    [Box<SessionView>] Answer::Session(it) => it;
    ResumeSession { holder: Holder, held: Vec<HeldLease> } = Command::ResumeSession;
    ExtendSession { holder: Holder, known: Vec<(JobId, Token)> } = Command::ExtendSession;
    EndSession { holder: Holder, why: String, goodbye: bool } = Command::EndSession;
    [Box<JobView>] Answer::Job(it) | Answer::RunEnded { view: it, .. } => it;
    AwaitJob { id: JobId, wait_ms: u64 } = Command::AwaitJob;
    CancelJob { id: JobId, force: bool } = Command::CancelJob;
    RescheduleJob { id: JobId, start: Start } = Command::RescheduleJob;
    RetryJob { id: JobId, from: RetryFrom } = Command::RetryJob;
    PauseJob { id: JobId } = Command::PauseJob;
    ResumeJob { id: JobId } = Command::ResumeJob;
    [Option<Box<JobView>>] it @ (Answer::JobWithdrawn | Answer::Job(_)) => match it {
        Answer::Job(it) => Some(it),
        _ => None,
    };
    WithdrawJob { id: JobId } = Command::WithdrawJob;
    [()] Answer::JobRemoved => ();
    RemoveJob { id: JobId } = Command::RemoveJob;
    [Box<QueueView>] Answer::Queue(it) => it;
    GetQueue { queue: String } = Command::GetQueue;
    PutQueue { queue: String, settings: QueueSettings } = Command::PutQueue;
    PauseQueue { queue: String, paused: bool } = Command::PauseQueue;
    [()] Answer::QueueDeleted => ();
    DeleteQueue { queue: String } = Command::DeleteQueue;
    [(Vec<QueueView>, bool)] Answer::Queues(page, more) => (page, more);
    ListQueues { after: Option<String>, limit: usize } = Command::ListQueues;
    [Box<Operation>] Answer::Operation(it) => it;
    StartOperation(OperationKind) = Command::StartOperation;
    GetOperation { id: OperationId } = Command::GetOperation;
    CancelOperation { id: OperationId } = Command::CancelOperation;
    [Vec<Operation>] Answer::Operations(it) => it;
    ListOperations {} = Command::ListOperations;
    [(Box<ScheduleView>, Option<JobId>)] Answer::Schedule(view, job) => (view, job);
    OfSchedule { name: String, command: ScheduleCommand } = Command::OfSchedule;
    [()] Answer::ScheduleDeleted => ();
    DeleteSchedule;
    [NamespaceView] Answer::Namespace(it) => it;
    CreateNamespace {} = Command::CreateNamespace;
    GetNamespace {} = Command::GetNamespace;
    [()] Answer::NamespaceDeleted => ();
    DeleteNamespace {} = Command::DeleteNamespace;
    [(Vec<NamespaceView>, bool)] Answer::Namespaces(page, more) => (page, more);
    ListNamespaces { after: Option<String>, limit: usize } = Command::ListNamespaces;
    [Box<LimitView>] Answer::Limit(it) => it;
    PutLimit { name: String, settings: LimitSettings } = Command::PutLimit;
    GetLimit { name: String } = Command::GetLimit;
    [()] Answer::LimitDeleted => ();
    DeleteLimit { name: String } = Command::DeleteLimit;
    [Vec<LimitView>] Answer::Limits(it) => it;
    ListLimits {} = Command::ListLimits;
    [Box<GateView>] Answer::Gates(GateAnswer::Gate(it)) => it;
    ChangeGate { name: String, change: GateChange } = GateCommand::Change;
    GetGate { name: String } = GateCommand::Get;
    [()] Answer::Gates(GateAnswer::Deleted) => ();
    DeleteGate { name: String } = GateCommand::Delete;
    [Vec<GateView>] Answer::Gates(GateAnswer::Gates(it)) => it;
    ListGates {} = GateCommand::List;
    [Box<HoldView>] Answer::Holds(HoldAnswer::Hold(it)) => it;
    PutHold { tag: String, reason: Option<String>, wait_ms: u64 } = HoldCommand::Put;
    GetHold { tag: String, wait_ms: u64 } = HoldCommand::Get;
    [()] Answer::Holds(HoldAnswer::Deleted) => ();
    DeleteHold { tag: String } = HoldCommand::Delete;
    [Vec<HoldView>] Answer::Holds(HoldAnswer::Holds(it)) => it;
    ListHolds {} = HoldCommand::List;
    [Box<SlaView>] Answer::Sla(SlaAnswer::Sla(it)) => it;
    PutSla { name: String, settings: Box<SlaSettings> } = SlaCommand::Put;
    GetSla { name: String } = SlaCommand::Get;
    [()] Answer::Sla(SlaAnswer::Deleted) => ();
    DeleteSla { name: String } = SlaCommand::Delete;
    [Vec<SlaView>] Answer::Sla(SlaAnswer::Slas(it)) => it;
    ListSlas {} = SlaCommand::List;
    [Box<KindDetail>] Answer::Kinds(KindAnswer::Kind(it)) => it;
    PutKind { name: String, settings: Box<KindSettings> } = KindCommand::Put;
    GetKind { name: String } = KindCommand::Get;
    [(Vec<KindView>, bool)] Answer::Kinds(KindAnswer::Kinds(page, more)) => (page, more);
    ListKinds { after: Option<(String, u32)>, limit: usize } = KindCommand::List;
    [Vec<bool>] Answer::Kinds(KindAnswer::Unserved(it)) => it;
    UnservedKinds { of: Vec<KindInQueue> } = KindCommand::Unserved;
    [Box<Account>] Answer::Accounts(AccountAnswer::Account(it)) => it;
    ChangeAccount { name: String, create: bool, change: Box<AccountChange>, by: String } =
        AccountCommand::Change;
    GetAccount { name: String } = AccountCommand::Get;
    [()] Answer::Accounts(AccountAnswer::Deleted) => ();
    DeleteAccount { name: String, by: String } = AccountCommand::Delete;
    [()] Answer::Accounts(AccountAnswer::Noted) => ();
    NoteDeed { action: &'static str, object: String, after: Option<String>, by: String }
        = AccountCommand::Note;
    [(Vec<Account>, bool)] Answer::Accounts(AccountAnswer::Accounts(page, more)) => (page, more);
    ListAccounts { after: Option<String>, limit: usize } = AccountCommand::List;
    [Vec<AuditEntry>] Answer::Accounts(AccountAnswer::Entries(it, _)) => it;
    ListAudit { after: Option<u64>, limit: usize } = AccountCommand::Audit;
    [(Box<MessageQueueView>, Declared)]
    Answer::Messages(MessageAnswer::Queue(view, came)) => (view, came);
    DeclareQueue;
    GetMessageQueue { queue: String, connection: Option<ConnectionId> } = MessageCommand::GetQueue;
    [u64] Answer::Messages(MessageAnswer::QueueDeleted { messages }) => messages;
    DeleteMessages {
        queue: String, connection: Option<ConnectionId>, if_unused: bool, if_empty: bool
    } = MessageCommand::DeleteQueue;
    [u64] Answer::Messages(MessageAnswer::Purged { messages }) => messages;
    PurgeMessages { queue: String, connection: Option<ConnectionId> } = MessageCommand::PurgeQueue;
    [(Box<ExchangeView>, Declared)]
    Answer::Messages(MessageAnswer::Exchange(view, came)) => (view, came);
    DeclareExchange;
    GetExchange { exchange: String } = MessageCommand::GetExchange;
    [(Vec<ExchangeView>, bool)]
    Answer::Messages(MessageAnswer::Exchanges(page, more)) => (page, more);
    ListExchanges { after: Option<String>, limit: usize } = MessageCommand::ListExchanges;
    [Vec<(String, Policy)>] Answer::Messages(MessageAnswer::Policies(it)) => it;
    ListPolicies {} = MessageCommand::ListPolicies;
    [bool] Answer::Messages(MessageAnswer::Changed(it)) => it;
    DeleteExchange { exchange: String, if_unused: bool } = MessageCommand::DeleteExchange;
    Bind(Box<BindingSpec>) = MessageCommand::Bind;
    Unbind(Box<BindingSpec>) = MessageCommand::Unbind;
    PutPolicy { name: String, policy: Box<Policy> } = MessageCommand::PutPolicy;
    DeletePolicy { name: String } = MessageCommand::DeletePolicy;
    [(Vec<BindingView>, Option<Bytes>)]
    Answer::Messages(MessageAnswer::Bindings(page, next)) => (page, next);
    ListBindings { source: Option<String>, after: Option<Bytes>, limit: usize } =
        MessageCommand::ListBindings;
    [Vec<Result<Published, Rejection>>] Answer::Messages(MessageAnswer::Published(it)) => it;
    PublishMessages(Vec<PublishMessage>) = MessageCommand::Publish;
    [Vec<MessageDelivery>] Answer::Messages(MessageAnswer::Leased(it)) => it;
    LeaseMessages;
    [Vec<Result<(), Rejection>>] Answer::Messages(MessageAnswer::Settled(it)) => it;
    SettleMessages(Vec<MessageSettlement>) = MessageCommand::SettleLeased;
    ReturnMessages(Vec<(MessageName, Token)>) = MessageCommand::ReturnLeased;
    ExtendMessages { messages: Vec<(MessageName, Token)>, lease_ms: Option<u64> } =
        MessageCommand::ExtendLeased;
    [Vec<bool>] Answer::Messages(MessageAnswer::Blocked(it)) => it;
    BlockedMessages { queue: String, messages: Vec<(u8, Place)> } = MessageCommand::Blocked;
    [(Vec<Published>, Vec<Enqueued>)]
    Answer::Messages(MessageAnswer::Transacted(came, jobs)) => (came, jobs);
    MessageTransaction;
    [Box<StreamView>] Answer::Stream(StreamAnswer::Stream(it)) => it;
    CreateStream { stream: String, partitions: u32, settings: StreamSettings } =
        StreamCommand::Create;
    ChangeStream { stream: String, settings: StreamSettings } = StreamCommand::Change;
    AddPartitions { stream: String, partitions: u32 } = StreamCommand::AddPartitions;
    [()] Answer::Stream(StreamAnswer::Deleted) => ();
    DeleteStream { stream: String } = StreamCommand::Delete;
    [Vec<Result<Appended, AppendRefusal>>] Answer::Stream(StreamAnswer::Appended(it)) => it;
    AppendBatches(Vec<AppendBatch>) = StreamCommand::Append;
    [Option<u64>] Answer::Stream(StreamAnswer::Trimmed(it)) => it;
    TrimPartition { partition: PartitionId, start: Option<u64> } = StreamCommand::Trim;
    [()] Answer::Stream(StreamAnswer::TriggerPut) => ();
    PutTrigger { stream: String, trigger: Trigger, from_end: bool } = TriggerCommand::Put;
    [u64] Answer::Stream(StreamAnswer::Replaying(it)) => it;
    ReplayStream { stream: String, trigger: Trigger, from: Vec<u64> } = TriggerCommand::Replay;
    [bool] Answer::Stream(StreamAnswer::TriggerDeleted(it)) => it;
    DeleteTrigger { trigger: String } = TriggerCommand::Delete;
    [bool] Answer::Stream(StreamAnswer::Fired(it)) => it;
    FireTrigger;
    [u64] Answer::Stream(StreamAnswer::ProducerId(it)) => it;
    TakeProducerId {} = StreamCommand::TakeProducerId;
    [Vec<Result<(), OffsetRefusal>>] Answer::Stream(StreamAnswer::Committed(it)) => it;
    CommitOffsets { group: String, offsets: Vec<OffsetToCommit> } = StreamCommand::CommitOffsets;
    [Vec<GroupOffset>] Answer::Stream(StreamAnswer::Offsets(it)) => it;
    GetOffsets { group: String, of: Option<Vec<(String, Vec<u32>)>> } = StreamCommand::GetOffsets;
    [(usize, bool)]
    Answer::Stream(StreamAnswer::GroupForgotten { offsets, more }) => (offsets, more);
    ForgetGroup { group: String } = StreamCommand::ForgetGroup;
    [()] Answer::Stream(StreamAnswer::GroupsNoted) => ();
    NoteGroups { groups: Vec<String> } = StreamCommand::GroupsUsed;
    [Result<TransactionAnswer, TransactionRefusal>]
    Answer::Stream(StreamAnswer::Transacted(it)) => it;
    TransactionCommand;
}
