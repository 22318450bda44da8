//! Why a command is refused. Each has a permanent code; faces map it to their own words.

use crate::ids::{JobId, OperationId, Token};
use crate::limits::Scope;

/// A refusal. Nothing changed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Rejection {
    /// The namespace does not exist.
    #[error("namespace \"{name}\" does not exist")]
    NamespaceUnknown {
        /// Its name.
        name: String,
    },
    /// The namespace still has queues.
    #[error("namespace \"{name}\" still has {queues} queues")]
    NamespaceNotEmpty {
        /// Its name.
        name: String,
        /// How many.
        queues: u64,
    },
    /// Too many namespaces.
    #[error("the shard has {limit} namespaces, as many as it may")]
    TooManyNamespaces {
        /// How many there may be.
        limit: usize,
    },
    /// The queue does not exist.
    #[error("queue \"{queue}\" does not exist")]
    QueueUnknown {
        /// Its name.
        queue: String,
    },
    /// The queue is as long as it may get.
    #[error("queue \"{queue}\" holds {length} jobs of at most {max_length}")]
    QueueFull {
        /// Its name.
        queue: String,
        /// How many jobs it holds.
        length: u64,
        /// How many it may hold.
        max_length: u64,
    },
    /// The queue still holds jobs.
    #[error("queue \"{queue}\" still holds {backlog} unfinished and {dead} dead jobs")]
    QueueNotEmpty {
        /// Its name.
        queue: String,
        /// Unfinished jobs.
        backlog: u64,
        /// Dead jobs.
        dead: u64,
    },
    /// Too many queues.
    #[error("{scope} has {limit} queues, as many as it may")]
    TooManyQueues {
        /// Who has as many.
        scope: Scope,
        /// How many there may be.
        limit: usize,
    },
    /// Too many kinds.
    #[error("{scope} knows {limit} kinds, as many as it may")]
    TooManyKinds {
        /// Who has as many.
        scope: Scope,
        /// How many there may be.
        limit: usize,
    },
    /// Too many versions of a kind.
    #[error("{limit} versions of {kind} are known, as many as there may be")]
    TooManyVersions {
        /// The kind.
        kind: String,
        /// How many there may be.
        limit: usize,
    },
    /// Jobs of a bulk are at fault.
    #[error("{} of the jobs are at fault, so none was enqueued", .faults.len())]
    JobsRefused {
        /// The index of each and what is wrong with it.
        faults: Vec<(usize, Rejection)>,
    },
    /// What has to become durable together is more than an entry of the journal takes.
    #[error("together this takes {bytes} bytes of the journal, of at most {limit}")]
    EntryTooLarge {
        /// Bytes of the entry that it would need.
        bytes: usize,
        /// Bytes that an entry may have.
        limit: usize,
    },
    /// The client's id names another job.
    #[error("job {id} exists already with other content")]
    JobIdTaken {
        /// The id.
        id: JobId,
    },
    /// A value is out of bounds.
    #[error("{field} is {value}; allowed: {allowed}")]
    ValueRefused {
        /// Its name.
        field: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        allowed: String,
    },
    /// The job does not exist, or no more.
    #[error("job {id} does not exist")]
    JobUnknown {
        /// The id.
        id: JobId,
        /// It existed, but is past its retention.
        gone: bool,
    },
    /// The job is not in a state in which that can be done.
    #[error("job {id} is {state}; {needed}")]
    JobStateRefused {
        /// The id.
        id: JobId,
        /// Its state.
        state: &'static str,
        /// What it would have to be.
        needed: &'static str,
    },
    /// The lease is not the worker's any more.
    #[error("the lease {token} of job {id} has ended: {why}")]
    LeaseLost {
        /// The job.
        id: JobId,
        /// The lease.
        token: Token,
        /// What became of it.
        why: &'static str,
    },
    /// A lower number than that of an ask that was answered. Clients know it as their turn.
    #[error("turn {ask} of worker \"{worker}\" is older than its turn {last_ask}")]
    AskPassed {
        /// The worker.
        worker: String,
        /// The number of the ask.
        ask: u64,
        /// The newest one.
        last_ask: u64,
    },
    /// A newer request of the same session took this one's place.
    #[error("a newer request of worker \"{worker}\" took this one's place")]
    RequestSuperseded {
        /// The worker.
        worker: String,
    },
    /// Too many requests wait.
    #[error("{limit} requests of {scope} wait already, as many as may")]
    TooManyWaiting {
        /// Who has as many.
        scope: Scope,
        /// How many may.
        limit: usize,
    },
    /// Too many sessions are remembered.
    #[error("{limit} worker sessions of {scope} are remembered already, as many as may be")]
    TooManySessions {
        /// Who has as many.
        scope: Scope,
        /// How many may be.
        limit: usize,
    },
    /// The operation does not exist, or no more.
    #[error("operation {id} does not exist")]
    OperationUnknown {
        /// Its id.
        id: OperationId,
    },
    /// Too many operations are under way.
    #[error("{limit} operations of {scope} are under way already, as many as may be")]
    TooManyOperations {
        /// Who has as many.
        scope: Scope,
        /// How many may be.
        limit: usize,
    },
    /// The queue is of another type.
    #[error("queue \"{queue}\" holds {holds}")]
    QueueTypeRefused {
        /// Its name.
        queue: String,
        /// What it holds: `jobs` or `messages`.
        holds: &'static str,
    },
    /// The queue is exclusive to another connection.
    #[error("queue \"{queue}\" is exclusive to another connection")]
    QueueExclusive {
        /// Its name.
        queue: String,
    },
    /// The queue has consumers.
    #[error("queue \"{queue}\" has {consumers} consumers")]
    QueueInUse {
        /// Its name.
        queue: String,
        /// How many.
        consumers: u64,
    },
    /// The queue has a consumer that wants to be the only one, or others where this one does; or it
    /// serves one consumer at a time, and this is none.
    #[error("queue \"{queue}\" cannot have this consumer beside an exclusive one")]
    ConsumerExclusive {
        /// Its name.
        queue: String,
    },
    /// A consumer of that number is there.
    #[error("consumer {consumer} exists already")]
    ConsumerTaken {
        /// Its number.
        consumer: u64,
    },
    /// Too many consumers of connections.
    #[error("{scope} has {limit} consumers of messages, as many as it may")]
    TooManyConsumers {
        /// Who has as many.
        scope: Scope,
        /// How many there may be.
        limit: usize,
    },
    /// Another job has the unique key.
    #[error("job {holder} has the same unique key")]
    UniqueTaken {
        /// That job.
        holder: JobId,
    },
    /// The namespace still has schedules.
    #[error("namespace \"{name}\" still has {schedules} schedules")]
    NamespaceHasSchedules {
        /// Its name.
        name: String,
        /// How many.
        schedules: u64,
    },
    /// The schedule does not exist.
    #[error("schedule \"{name}\" does not exist")]
    ScheduleUnknown {
        /// Its name.
        name: String,
    },
    /// Too many schedules.
    #[error("{scope} has {limit} schedules, as many as it may")]
    TooManySchedules {
        /// Who has as many.
        scope: Scope,
        /// How many there may be.
        limit: usize,
    },
    /// The schedule is not in a state in which that can be done.
    #[error("schedule \"{name}\" is {state}; {needed}")]
    ScheduleStateRefused {
        /// Its name.
        name: String,
        /// Its state.
        state: &'static str,
        /// What it would have to be.
        needed: &'static str,
    },
    /// The limit does not exist.
    #[error("limit \"{name}\" does not exist")]
    LimitUnknown {
        /// Its name.
        name: String,
    },
    /// Keys of the limit are yet to be brought up to date with changes before this one.
    #[error("limit \"{name}\" still changes: {why}")]
    LimitChanging {
        /// Its name.
        name: String,
        /// What has to come to its end first.
        why: &'static str,
    },
    /// Too many limits.
    #[error("the namespace has {limit} limits, as many as it may")]
    TooManyLimits {
        /// How many there may be.
        limit: usize,
    },
    /// The account does not exist.
    #[error("account \"{name}\" does not exist")]
    AccountUnknown {
        /// Its name.
        name: String,
    },
    /// The account has no such token.
    #[error("account \"{account}\" has no token \"{id}\"")]
    TokenUnknown {
        /// The account.
        account: String,
        /// The token.
        id: String,
    },
    /// Too many accounts.
    #[error("there are {limit} accounts, as many as there may be")]
    TooManyAccounts {
        /// How many there may be.
        limit: u64,
    },
    /// The key came before, with something else.
    #[error("the key came before with another request")]
    KeyUsedOtherwise,
    /// Too many answers are kept for their keys.
    #[error("answers of {limit} keys, or as many bytes, are kept, as many as may")]
    TooManyKeys {
        /// How many there may be of one owner.
        limit: u64,
    },
    /// The service level does not exist.
    #[error("service level \"{name}\" does not exist")]
    SlaUnknown {
        /// Its name.
        name: String,
    },
    /// Too many service levels.
    #[error("the namespace has {limit} service levels, as many as it may")]
    TooManySlas {
        /// How many there may be.
        limit: usize,
    },
    /// The gate does not exist.
    #[error("gate \"{name}\" does not exist")]
    GateUnknown {
        /// Its name.
        name: String,
    },
    /// Too many gates.
    #[error("the namespace has {limit} gates, as many as it may")]
    TooManyGates {
        /// How many there may be.
        limit: usize,
    },
    /// Too many sets of gates that jobs name.
    #[error(
        "jobs of the namespace have named {limit} different sets of gates, as many as they may: \
         name one of these, or put a gate over their queue or kind, or hold a tag"
    )]
    TooManyGateSets {
        /// How many there may be.
        limit: usize,
    },
    /// The tag is not held.
    #[error("tag \"{tag}\" is not held")]
    HoldUnknown {
        /// The tag.
        tag: String,
    },
    /// Too many tags are held.
    #[error("the namespace has {limit} holds, as many as it may")]
    TooManyHolds {
        /// How many there may be.
        limit: usize,
    },
    /// It was declared otherwise.
    #[error("{what} \"{name}\" has {field} {current}, and not {given}")]
    DeclaredOtherwise {
        /// `queue` or `exchange`.
        what: &'static str,
        /// Its name.
        name: String,
        /// The setting in which it differs.
        field: &'static str,
        /// What was given.
        given: String,
        /// What holds.
        current: String,
    },
    /// The name is one of those that always exist, or begins as they do.
    #[error("the name \"{name}\" is reserved")]
    NameReserved {
        /// The name.
        name: String,
    },
    /// The exchange does not exist.
    #[error("exchange \"{exchange}\" does not exist")]
    ExchangeUnknown {
        /// Its name.
        exchange: String,
    },
    /// The exchange has bindings.
    #[error("exchange \"{exchange}\" has {bindings} bindings")]
    ExchangeInUse {
        /// Its name.
        exchange: String,
        /// How many.
        bindings: u64,
    },
    /// Only other exchanges publish to it.
    #[error("exchange \"{exchange}\" is internal")]
    ExchangeInternal {
        /// Its name.
        exchange: String,
    },
    /// Too many exchanges.
    #[error("{scope} has {limit} exchanges, as many as it may")]
    TooManyExchanges {
        /// Who has as many.
        scope: Scope,
        /// How many there may be.
        limit: usize,
    },
    /// Too many bindings.
    #[error("{scope} has {limit} bindings, as many as it may")]
    TooManyBindings {
        /// Who has as many.
        scope: Scope,
        /// How many there may be.
        limit: usize,
    },
    /// The message is not with whoever names it.
    #[error("message {urgency}-{place} of queue \"{queue}\" is not with who settles it")]
    MessageUnknown {
        /// The name of its queue; empty where that is not known either.
        queue: String,
        /// 255 - priority.
        urgency: u8,
        /// Its order of entry.
        place: u64,
    },
    /// The shard is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// The stream does not exist.
    #[error("stream \"{stream}\" does not exist")]
    StreamUnknown {
        /// Its name.
        stream: String,
    },
    /// The stream exists already.
    #[error("stream \"{stream}\" exists already")]
    StreamExists {
        /// Its name.
        stream: String,
    },
    /// Too many partitions.
    #[error("the shard has room for {limit} partitions of streams, and would need more")]
    TooManyPartitions {
        /// How many there may be.
        limit: usize,
    },
    /// The namespace still has streams.
    #[error("namespace \"{name}\" still has {streams} streams")]
    NamespaceHasStreams {
        /// Its name.
        name: String,
        /// How many.
        streams: u64,
    },
    /// The group is that of a trigger.
    #[error("group \"{group}\" says how far a trigger has come that is there")]
    GroupInUse {
        /// Its name.
        group: String,
    },
}

impl Rejection {
    /// The permanent code of this refusal, as in `docs/errors.md`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NamespaceUnknown { .. } => "namespace_unknown",
            Self::NamespaceNotEmpty { .. } | Self::NamespaceHasSchedules { .. } => {
                "namespace_not_empty"
            }
            Self::TooManyNamespaces { .. } => "too_many_namespaces",
            Self::QueueUnknown { .. } => "queue_unknown",
            Self::QueueFull { .. } => "queue_full",
            Self::QueueNotEmpty { .. } => "queue_not_empty",
            Self::TooManyQueues { .. } => "too_many_queues",
            Self::TooManyKinds { .. } => "too_many_kinds",
            Self::TooManyVersions { .. } => "too_many_versions",
            Self::JobsRefused { .. } => "jobs_refused",
            Self::EntryTooLarge { .. } => "entry_too_large",
            Self::JobIdTaken { .. } => "job_id_taken",
            Self::ValueRefused { .. } => "value_refused",
            Self::JobUnknown { gone: false, .. } => "job_unknown",
            Self::JobUnknown { gone: true, .. } => "job_gone",
            Self::JobStateRefused { .. } => "job_state_refused",
            Self::LeaseLost { .. } => "lease_lost",
            Self::AskPassed { .. } => "turn_passed",
            Self::RequestSuperseded { .. } => "request_superseded",
            Self::TooManyWaiting { .. } => "too_many_waiting",
            Self::TooManySessions { .. } => "too_many_sessions",
            Self::OperationUnknown { .. } => "operation_unknown",
            Self::TooManyOperations { .. } => "too_many_operations",
            Self::UniqueTaken { .. } => "unique_taken",
            Self::ScheduleUnknown { .. } => "schedule_unknown",
            Self::TooManySchedules { .. } => "too_many_schedules",
            Self::ScheduleStateRefused { .. } => "schedule_state_refused",
            Self::LimitUnknown { .. } => "limit_unknown",
            Self::LimitChanging { .. } => "limit_changing",
            Self::TooManyLimits { .. } => "too_many_limits",
            Self::AccountUnknown { .. } => "account_unknown",
            Self::TokenUnknown { .. } => "token_unknown",
            Self::TooManyAccounts { .. } => "too_many_accounts",
            Self::KeyUsedOtherwise => "idempotency_key_used",
            Self::TooManyKeys { .. } => "too_many_idempotency_keys",
            Self::SlaUnknown { .. } => "sla_unknown",
            Self::TooManySlas { .. } => "too_many_slas",
            Self::GateUnknown { .. } => "gate_unknown",
            Self::TooManyGates { .. } => "too_many_gates",
            Self::TooManyGateSets { .. } => "too_many_gate_sets",
            Self::HoldUnknown { .. } => "hold_unknown",
            Self::TooManyHolds { .. } => "too_many_holds",
            Self::QueueTypeRefused { .. } => "queue_type_refused",
            Self::QueueExclusive { .. } => "queue_exclusive",
            Self::QueueInUse { .. } => "queue_in_use",
            Self::ConsumerExclusive { .. } => "consumer_exclusive",
            Self::ConsumerTaken { .. } => "consumer_taken",
            Self::TooManyConsumers { .. } => "too_many_consumers",
            Self::DeclaredOtherwise { .. } => "declared_otherwise",
            Self::NameReserved { .. } => "name_reserved",
            Self::ExchangeUnknown { .. } => "exchange_unknown",
            Self::ExchangeInUse { .. } => "exchange_in_use",
            Self::ExchangeInternal { .. } => "exchange_internal",
            Self::TooManyExchanges { .. } => "too_many_exchanges",
            Self::TooManyBindings { .. } => "too_many_bindings",
            Self::MessageUnknown { .. } => "message_unknown",
            Self::Stopping => "stopping",
            Self::StreamUnknown { .. } => "stream_unknown",
            Self::StreamExists { .. } => "stream_exists",
            Self::TooManyPartitions { .. } => "too_many_partitions",
            Self::NamespaceHasStreams { .. } => "namespace_has_streams",
            Self::GroupInUse { .. } => "group_in_use",
        }
    }
}
