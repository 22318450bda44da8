//! The table of routes: dispatch and `OpenAPI` are both made from it.

mod filter;
mod made;

use longshore_engine::driver::Class;

use self::filter::{LISTED_JOBS, MEANT_MESSAGES};
use self::made::{at_root, of, outcome, parameter, route, settling};
use super::route::{Op, Outcome, Parameter, ParameterKind, Route};
use crate::api::{AccountBody, AccountList, AccountRecord, AuditList, TokenAnswer, TokenRequest};
use crate::api::{
    AckRequest, AppendAnswer, AppendBulkAnswer, BindingBody, BindingList, ChangedAnswer,
    CheckpointRequest, CloseGateRequest, ConsumeAnswer, ConsumeRequest, DiscardRequest,
    EnqueueAnswer, EnqueueBulk, EnqueueBulkAnswer, EventBody, EventBulk, EventList, ExchangeBody,
    ExchangeList, ExchangeRecord, ExtendMessagesRequest, FailRequest, GateBody, GateList,
    GateRecord, GroupList, GroupRecord, HealthAnswer, HeartbeatAnswer, HeartbeatRequest, HoldList,
    HoldRecord, HoldRequest, InterruptRequest, JobList, JobRecord, LeaseAnswer, LeaseRequest,
    LimitList, LimitRecord, LimitSettingsBody, MessageList, NamespaceList, NamespaceRecord, NewJob,
    NextRequest, OffsetsBody, OperationList, OperationRecord, OperationRequest, PolicyBody,
    PolicyList, PublishAnswer, PublishBody, PublishBulk, PublishBulkAnswer, PurgeRequest,
    QueueList, QueueRecord, QueueSettingsBody, RawJson, RedriveRequest, ReleaseRequest,
    RemovedAnswer, RescheduleRequest, RetryDeadRequest, RetryRequest, ScheduleBody, ScheduleList,
    ScheduleRecord, SettleAnswer, SettleMessagesAnswer, SettleMessagesRequest, SettleRequest,
    SlotList, SnoozeRequest, StatusRecord, StreamBody, StreamList, StreamRecord, TransactionAnswer,
    TransactionRequest, WorkerList, WorkerRecord,
};
use crate::api::{BackupList, BackupRecord, BackupRequest};
use crate::api::{
    KindList, KindSettingsBody, KindWholeRecord, ReplayBody, ReplayRecord, SlaBody, SlaList,
    SlaRecord, TriggerBody, TriggerList, TriggerRecord,
};

const CURSOR: Parameter = parameter(
    "cursor",
    ParameterKind::Text,
    "`next` of the page before this one: of the same list, namespace and filter.",
);
const WAIT_QUIET: Parameter = parameter(
    "wait",
    ParameterKind::Duration,
    "Answer once every lease with the tag was given back, or after this.",
);
const LIMIT: Parameter =
    parameter("limit", ParameterKind::Number, "How many at most, 1 to 1000; 100 where left out.");
const DRY_RUN: Parameter =
    parameter("dry_run", ParameterKind::Flag, "Only count what matches; start nothing.");
const OPERATION: &[Outcome] = &[
    outcome(
        202,
        "The operation has begun; `Location` tells where it is.",
        &[of::<OperationRecord>],
    ),
    outcome(200, "With `dry_run`: how many match.", &[of::<OperationRecord>]),
];
const PUBLISHED: &[Outcome] = &[outcome(
    200,
    "Durable: how many queues have it, or of a bulk what became of each.",
    &[of::<PublishAnswer>, of::<PublishBulkAnswer>],
)];
const EXCHANGE: &[Outcome] = &[outcome(200, "The exchange.", &[of::<ExchangeRecord>])];
const QUEUE: &[Outcome] = &[outcome(200, "The queue.", &[of::<QueueRecord>])];
const HOLD: &[Outcome] = &[outcome(200, "The hold as it is now.", &[of::<HoldRecord>])];
const KIND: &[Outcome] = &[outcome(200, "The kind as it is now.", &[of::<KindWholeRecord>])];
const SLA: &[Outcome] =
    &[outcome(200, "The service level as it is now.", &[of::<SlaRecord<'static>>])];
const GATE: &[Outcome] = &[outcome(200, "The gate as it is now.", &[of::<GateRecord>])];
const ACCOUNT: &[Outcome] = &[outcome(200, "The account as it is now.", &[of::<AccountRecord>])];
const STREAM: &[Outcome] = &[outcome(200, "The stream.", &[of::<StreamRecord>])];
const TRIGGER: &[Outcome] = &[outcome(200, "The trigger.", &[of::<TriggerRecord>])];
const GROUP: &[Outcome] = &[outcome(200, "By partition.", &[of::<GroupRecord>])];
const PARTITION: Parameter =
    parameter("partition", ParameterKind::Place, "Which; of a stream with one it may be left out.");
const FROM: Parameter = parameter(
    "from",
    ParameterKind::Text,
    "Where to begin: `earliest`, `latest` or an instant; `earliest` where left out.",
);
const SCHEDULE: &[Outcome] =
    &[outcome(200, "The schedule as it is now.", &[of::<ScheduleRecord<'static>>])];
const JOB: &[Outcome] = &[outcome(200, "The job as it is now.", &[of::<JobRecord<'static>>])];

/// Every route. The busiest come first.
pub(crate) const ROUTES: &[Route] = &[
    Route {
        class: Class::Publish,
        bodies: &[of::<NewJob<'static>>, of::<EnqueueBulk<'static>>],
        outcomes: &[
            outcome(
                202,
                "Accepted and durable: one job, with `Location`, or a bulk with its `ids`.",
                &[of::<EnqueueAnswer>, of::<EnqueueBulkAnswer>],
            ),
            outcome(
                200,
                "With `Prefer: wait=N`, for a single job: it ended within that time.",
                &[of::<StatusRecord<'static>>],
            ),
            outcome(201, "With `Expect`: it made `Location`.", &[of::<StatusRecord<'static>>]),
            outcome(204, "With `Expect`: it succeeded, and told nothing.", &[]),
        ],
        ..route("POST", "/queues/{}/jobs", Op::Enqueue, "Enqueue one job, or many all or none")
    },
    Route {
        class: Class::Lease,
        bodies: &[of::<LeaseRequest<'static>>],
        outcomes: &[outcome(200, "The jobs, perhaps none.", &[of::<LeaseAnswer<'static>>])],
        ..route("POST", "/lease", Op::Lease, "Settle what is done, then lease jobs")
    },
    Route {
        class: Class::Publish,
        bodies: &[of::<PublishBody<'static>>, of::<PublishBulk<'static>>],
        outcomes: PUBLISHED,
        ..route(
            "POST",
            "/exchanges/{}/publish",
            Op::PublishToExchange,
            "Publish a message, or many, to an exchange",
        )
    },
    Route {
        class: Class::Publish,
        bodies: &[of::<PublishBody<'static>>, of::<PublishBulk<'static>>],
        outcomes: PUBLISHED,
        ..route(
            "POST",
            "/queues/{}/publish",
            Op::PublishToQueue,
            "Publish a message, or many, to a queue",
        )
    },
    Route {
        class: Class::Publish,
        bodies: &[of::<TransactionRequest<'static>>],
        outcomes: &[outcome(200, "All of it is on disk.", &[of::<TransactionAnswer>])],
        ..route(
            "POST",
            "/transactions",
            Op::Transact,
            "Settle messages, publish and enqueue in one commit, or do nothing",
        )
    },
    Route {
        class: Class::Lease,
        bodies: &[of::<ConsumeRequest>],
        body_is_optional: true,
        outcomes: &[outcome(200, "The messages, perhaps none.", &[of::<ConsumeAnswer>])],
        ..route("POST", "/queues/{}/consume", Op::Consume, "Take messages for a time")
    },
    Route {
        bodies: &[of::<SettleMessagesRequest>],
        outcomes: &[outcome(200, "What became of each.", &[of::<SettleMessagesAnswer>])],
        ..route("POST", "/queues/{}/settle", Op::SettleMessages, "Settle messages, each on its own")
    },
    Route {
        bodies: &[of::<ExtendMessagesRequest>],
        outcomes: &[outcome(200, "What became of each.", &[of::<SettleMessagesAnswer>])],
        ..route("POST", "/queues/{}/extend", Op::ExtendMessages, "Keep messages for longer")
    },
    settling("/jobs/{}/ack", Op::Ack, "A run succeeded", &[of::<AckRequest<'static>>]),
    settling("/jobs/{}/fail", Op::Fail, "A run failed", &[of::<FailRequest>]),
    settling("/jobs/{}/snooze", Op::Snooze, "A run is to happen later", &[of::<SnoozeRequest>]),
    settling("/jobs/{}/release", Op::Release, "A run goes back", &[of::<ReleaseRequest>]),
    settling("/jobs/{}/discard", Op::Discard, "A job is called off", &[of::<DiscardRequest>]),
    settling("/jobs/{}/interrupt", Op::Interrupt, "A run stops midway", &[of::<InterruptRequest>]),
    Route {
        bodies: &[of::<CheckpointRequest<'static>>],
        outcomes: &[outcome(
            200,
            "It is durable. What the worker shall do.",
            &[of::<HeartbeatAnswer>],
        )],
        ..route("POST", "/jobs/{}/checkpoint", Op::Checkpoint, "Save how far a run has come")
    },
    Route {
        bodies: &[of::<HeartbeatRequest>],
        outcomes: &[outcome(200, "What the worker shall do.", &[of::<HeartbeatAnswer>])],
        ..route("POST", "/jobs/{}/heartbeat", Op::Heartbeat, "Extend a lease, report progress")
    },
    Route {
        bodies: &[of::<SettleRequest<'static>>],
        outcomes: &[outcome(200, "What became of each.", &[of::<SettleAnswer>])],
        ..route("POST", "/settle", Op::Settle, "Settle many runs, each on its own")
    },
    Route {
        class: Class::Lease,
        parameters: &[parameter(
            "wait",
            ParameterKind::Duration,
            "Wait so long for the job's end before answering.",
        )],
        outcomes: &[
            outcome(
                200,
                "How it is; unfinished ones with `Retry-After`.",
                &[of::<StatusRecord<'static>>],
            ),
            outcome(303, "It has succeeded: `Location` is what it made, or its result.", &[]),
        ],
        ..route("GET", "/status/{}", Op::GetStatus, "The temporary resource of a job")
    },
    Route { outcomes: JOB, ..route("GET", "/jobs/{}", Op::GetJob, "The whole record of a job") },
    Route {
        outcomes: &[outcome(
            200,
            "`text/event-stream`: an event `job` now and whenever it changes, until it has ended; its \
             data has `job`, and `progress_per_second` and `remaining` where they are known.",
            &[],
        )],
        ..route("GET", "/jobs/{}/events", Op::WatchJob, "Watch a job: server-sent events")
    },
    Route {
        outcomes: &[outcome(200, "The result as the worker wrote it.", &[of::<RawJson<'static>>])],
        ..route("GET", "/jobs/{}/result", Op::GetResult, "What a job returned")
    },
    Route {
        parameters: LISTED_JOBS,
        outcomes: &[outcome(200, "A page of jobs.", &[of::<JobList<'static>>])],
        ..route("GET", "/jobs", Op::ListJobs, "List jobs")
    },
    Route {
        parameters: &[
            parameter(
                "force",
                ParameterKind::Flag,
                "End a run at once, without asking its worker: what it settles afterwards is \
                 refused.",
            ),
            parameter(
                "remove",
                ParameterKind::Flag,
                "Remove the job, which has to be dead; any other is refused.",
            ),
        ],
        outcomes: &[
            outcome(
                200,
                "The job as it is now; a running one is asked to stop.",
                &[of::<JobRecord<'static>>],
            ),
            outcome(204, "With `remove`: the job was dead and is removed.", &[]),
        ],
        ..route("DELETE", "/jobs/{}", Op::CancelJob, "Cancel a job, or remove a dead one")
    },
    Route {
        bodies: &[of::<RetryRequest<'static>>],
        body_is_optional: true,
        outcomes: JOB,
        ..route("POST", "/jobs/{}/retry", Op::RetryJob, "Let a dead or retrying job start now")
    },
    Route {
        bodies: &[of::<RescheduleRequest>],
        body_is_optional: true,
        outcomes: JOB,
        ..route("POST", "/jobs/{}/reschedule", Op::RescheduleJob, "Move a waiting job in time")
    },
    Route {
        outcomes: JOB,
        ..route("POST", "/jobs/{}/pause", Op::PauseJob, "Hold a job back, interrupt its run")
    },
    Route {
        outcomes: JOB,
        ..route("POST", "/jobs/{}/resume", Op::ResumeJob, "Hold a job back no longer")
    },
    Route {
        parameters: &[
            parameter(
                "unconsumed",
                ParameterKind::Flag,
                "Only with jobs whose queue or kind nobody asks for.",
            ),
            CURSOR,
            LIMIT,
        ],
        outcomes: &[outcome(200, "A page of queues.", &[of::<QueueList>])],
        ..route("GET", "/queues", Op::ListQueues, "List queues in the order of their names")
    },
    Route { outcomes: QUEUE, ..route("GET", "/queues/{}", Op::GetQueue, "Describe a queue") },
    Route {
        bodies: &[of::<QueueSettingsBody>],
        outcomes: QUEUE,
        ..route("PUT", "/queues/{}", Op::PutQueue, "Create a queue or replace its settings")
    },
    Route {
        parameters: &[parameter("force", ParameterKind::Flag, "Remove its jobs as well.")],
        outcomes: &[
            outcome(204, "It is removed.", &[]),
            outcome(202, "With `force`: the operation has begun.", &[of::<OperationRecord>]),
        ],
        ..route("DELETE", "/queues/{}", Op::DeleteQueue, "Remove a queue that holds no jobs")
    },
    Route {
        outcomes: QUEUE,
        ..route("POST", "/queues/{}/pause", Op::PauseQueue, "Hand out nothing of a queue")
    },
    Route {
        outcomes: QUEUE,
        ..route("POST", "/queues/{}/resume", Op::ResumeQueue, "Hand out jobs of a queue again")
    },
    Route {
        parameters: &[DRY_RUN],
        bodies: &[of::<PurgeRequest>],
        body_is_optional: true,
        outcomes: OPERATION,
        ..route("POST", "/queues/{}/purge", Op::PurgeQueue, "Remove waiting or dead jobs")
    },
    Route {
        parameters: &[DRY_RUN],
        bodies: &[of::<RetryDeadRequest>],
        body_is_optional: true,
        outcomes: OPERATION,
        ..route("POST", "/queues/{}/retry-dead", Op::RetryDead, "Let dead jobs start again")
    },
    Route {
        parameters: &[DRY_RUN],
        bodies: &[of::<RedriveRequest>],
        body_is_optional: true,
        outcomes: OPERATION,
        ..route(
            "POST",
            "/queues/{}/redrive",
            Op::Redrive,
            "Move messages back to the queues where they ended, or elsewhere",
        )
    },
    Route {
        outcomes: &[outcome(200, "In the order of their names.", &[of::<LimitList>])],
        ..route("GET", "/limits", Op::ListLimits, "List limits at dispatch")
    },
    Route {
        outcomes: &[outcome(200, "The limit.", &[of::<LimitRecord>])],
        ..route("GET", "/limits/{}", Op::GetLimit, "Describe a limit")
    },
    Route {
        bodies: &[of::<LimitSettingsBody>],
        outcomes: &[outcome(200, "As it is now.", &[of::<LimitRecord>])],
        ..route("PUT", "/limits/{}", Op::PutLimit, "Create a limit or change its numbers")
    },
    Route {
        outcomes: &[outcome(204, "It is removed.", &[])],
        ..route("DELETE", "/limits/{}", Op::DeleteLimit, "Remove a limit")
    },
    Route {
        parameters: &[LIMIT, CURSOR],
        outcomes: &[outcome(200, "In the order of names and versions.", &[of::<KindList>])],
        ..route("GET", "/kinds", Op::ListKinds, "List kinds and their versions")
    },
    Route {
        outcomes: KIND,
        ..route("GET", "/kinds/{}", Op::GetKind, "Describe a kind and its versions")
    },
    Route {
        bodies: &[of::<KindSettingsBody>],
        outcomes: KIND,
        ..route(
            "PUT",
            "/kinds/{}",
            Op::PutKind,
            "Set defaults of a kind; what is left out is reset",
        )
    },
    Route {
        outcomes: &[outcome(200, "In the order of their names.", &[of::<SlaList<'static>>])],
        ..route("GET", "/sla", Op::ListSlas, "List service levels")
    },
    Route { outcomes: SLA, ..route("GET", "/sla/{}", Op::GetSla, "Describe a service level") },
    Route {
        bodies: &[of::<SlaBody<'static>>],
        outcomes: SLA,
        ..route("PUT", "/sla/{}", Op::PutSla, "Create a service level or change it")
    },
    Route {
        outcomes: &[outcome(204, "It is removed.", &[])],
        ..route("DELETE", "/sla/{}", Op::DeleteSla, "Remove a service level")
    },
    Route {
        outcomes: &[outcome(200, "In the order of their names.", &[of::<GateList>])],
        ..route("GET", "/gates", Op::ListGates, "List gates")
    },
    Route { outcomes: GATE, ..route("GET", "/gates/{}", Op::GetGate, "Describe a gate") },
    Route {
        bodies: &[of::<GateBody>],
        outcomes: GATE,
        ..route("PUT", "/gates/{}", Op::PutGate, "Create a gate or change it")
    },
    Route {
        bodies: &[of::<CloseGateRequest>],
        body_is_optional: true,
        outcomes: GATE,
        ..route("POST", "/gates/{}/close", Op::CloseGate, "Let nothing start behind a gate")
    },
    Route {
        outcomes: GATE,
        ..route("POST", "/gates/{}/open", Op::OpenGate, "Let jobs behind a gate start again")
    },
    Route {
        outcomes: &[outcome(204, "It is removed.", &[])],
        ..route("DELETE", "/gates/{}", Op::DeleteGate, "Remove a gate")
    },
    Route {
        outcomes: &[outcome(200, "In the order of their tags.", &[of::<HoldList>])],
        ..route("GET", "/holds", Op::ListHolds, "List holds of tags")
    },
    Route {
        parameters: &[WAIT_QUIET],
        outcomes: HOLD,
        ..route("GET", "/holds/{}", Op::GetHold, "Describe a hold, or wait until it is quiet")
    },
    Route {
        parameters: &[WAIT_QUIET],
        bodies: &[of::<HoldRequest>],
        body_is_optional: true,
        outcomes: HOLD,
        ..route("PUT", "/holds/{}", Op::PutHold, "Let no job with a tag start")
    },
    Route {
        outcomes: &[outcome(204, "It is removed.", &[])],
        ..route("DELETE", "/holds/{}", Op::DeleteHold, "Let jobs with a tag start again")
    },
    Route {
        parameters: MEANT_MESSAGES,
        outcomes: &[outcome(200, "A page of messages.", &[of::<MessageList>])],
        ..route(
            "GET",
            "/queues/{}/messages",
            Op::PeekMessages,
            "Look at messages without taking them, or for some of them",
        )
    },
    Route {
        outcomes: &[outcome(200, "How many were removed.", &[of::<RemovedAnswer>])],
        ..route(
            "DELETE",
            "/queues/{}/messages",
            Op::DeleteMessages,
            "Remove the messages that wait; what consumers have stays theirs",
        )
    },
    Route {
        parameters: &[CURSOR, LIMIT],
        outcomes: &[outcome(200, "A page of exchanges.", &[of::<ExchangeList>])],
        ..route(
            "GET",
            "/exchanges",
            Op::ListExchanges,
            "List exchanges in the order of their names",
        )
    },
    Route {
        outcomes: EXCHANGE,
        ..route("GET", "/exchanges/{}", Op::GetExchange, "Describe an exchange")
    },
    Route {
        bodies: &[of::<ExchangeBody>],
        outcomes: EXCHANGE,
        ..route("PUT", "/exchanges/{}", Op::PutExchange, "Declare an exchange")
    },
    Route {
        parameters: &[parameter("if_unused", ParameterKind::Flag, "Only with no binding.")],
        outcomes: &[outcome(200, "Whether it was there.", &[of::<ChangedAnswer>])],
        ..route("DELETE", "/exchanges/{}", Op::DeleteExchange, "Remove an exchange")
    },
    Route {
        bodies: &[of::<BindingBody>],
        outcomes: &[outcome(200, "It is bound.", &[of::<ChangedAnswer>])],
        ..route("POST", "/exchanges/{}/bind", Op::Bind, "Bind a queue or exchange to an exchange")
    },
    Route {
        bodies: &[of::<BindingBody>],
        outcomes: &[outcome(200, "It is not bound.", &[of::<ChangedAnswer>])],
        ..route("POST", "/exchanges/{}/unbind", Op::Unbind, "Remove a binding")
    },
    Route {
        parameters: &[
            parameter("exchange", ParameterKind::Text, "Only those that lead from it."),
            CURSOR,
            LIMIT,
        ],
        outcomes: &[outcome(200, "A page of bindings.", &[of::<BindingList>])],
        ..route("GET", "/bindings", Op::ListBindings, "List bindings")
    },
    Route {
        outcomes: &[outcome(200, "In the order of their names.", &[of::<PolicyList>])],
        ..route("GET", "/policies", Op::ListPolicies, "List policies")
    },
    Route {
        bodies: &[of::<PolicyBody>],
        outcomes: &[outcome(200, "It holds.", &[of::<ChangedAnswer>])],
        ..route("PUT", "/policies/{}", Op::PutPolicy, "Create a policy, or replace it")
    },
    Route {
        outcomes: &[outcome(200, "It does not hold.", &[of::<ChangedAnswer>])],
        ..route("DELETE", "/policies/{}", Op::DeletePolicy, "Remove a policy")
    },
    Route {
        parameters: &[DRY_RUN],
        bodies: &[of::<OperationRequest>],
        outcomes: OPERATION,
        ..route(
            "POST",
            "/operations",
            Op::ChangeJobs,
            "Retry, cancel, move, remove or prioritize all jobs that a filter means",
        )
    },
    Route {
        outcomes: &[outcome(200, "The newest first.", &[of::<OperationList>])],
        ..route("GET", "/operations", Op::ListOperations, "List operations")
    },
    Route {
        outcomes: &[outcome(200, "How far it is.", &[of::<OperationRecord>])],
        ..route("GET", "/operations/{}", Op::GetOperation, "Describe an operation")
    },
    Route {
        outcomes: &[outcome(200, "As it is now.", &[of::<OperationRecord>])],
        ..route("DELETE", "/operations/{}", Op::CancelOperation, "Stop an operation")
    },
    Route {
        parameters: &[CURSOR, LIMIT],
        outcomes: &[outcome(200, "A page of schedules.", &[of::<ScheduleList<'static>>])],
        ..route(
            "GET",
            "/schedules",
            Op::ListSchedules,
            "List schedules in the order of their names",
        )
    },
    Route {
        outcomes: SCHEDULE,
        ..route("GET", "/schedules/{}", Op::GetSchedule, "Describe a schedule")
    },
    Route {
        bodies: &[of::<ScheduleBody<'static>>],
        outcomes: SCHEDULE,
        ..route(
            "PUT",
            "/schedules/{}",
            Op::PutSchedule,
            "Create a schedule or replace its settings",
        )
    },
    Route {
        outcomes: &[outcome(204, "It is removed. Its jobs stay.", &[])],
        ..route("DELETE", "/schedules/{}", Op::DeleteSchedule, "Remove a schedule")
    },
    Route {
        outcomes: SCHEDULE,
        ..route("POST", "/schedules/{}/pause", Op::PauseSchedule, "Let no slot of a schedule come")
    },
    Route {
        outcomes: SCHEDULE,
        ..route("POST", "/schedules/{}/resume", Op::ResumeSchedule, "Let slots come from now on")
    },
    Route {
        outcomes: &[outcome(
            202,
            "Its job is enqueued: `job`, and `Location` tells where its state is.",
            &[of::<ScheduleRecord<'static>>],
        )],
        ..route("POST", "/schedules/{}/run", Op::RunSchedule, "Enqueue the job of a schedule now")
    },
    Route {
        bodies: &[of::<NextRequest>],
        outcomes: SCHEDULE,
        ..route("POST", "/schedules/{}/next", Op::SetNextSlot, "Say when the next slot comes")
    },
    Route {
        parameters: &[parameter(
            "limit",
            ParameterKind::Number,
            "How many, 1 to 1000; 10 where left out.",
        )],
        outcomes: &[outcome(200, "The slots.", &[of::<SlotList>])],
        ..route("GET", "/schedules/{}/next", Op::NextSlots, "List the slots that come")
    },
    Route {
        outcomes: &[outcome(200, "In the order of their names.", &[of::<WorkerList>])],
        ..route("GET", "/workers", Op::ListWorkers, "List workers")
    },
    Route {
        outcomes: &[outcome(200, "The worker and what it runs.", &[of::<WorkerRecord>])],
        ..route("GET", "/workers/{}", Op::GetWorker, "Describe a worker")
    },
    Route {
        outcomes: &[outcome(200, "It was asked.", &[of::<WorkerRecord>])],
        ..route("POST", "/workers/{}/quiet", Op::QuietWorker, "Ask a worker to take nothing more")
    },
    Route {
        outcomes: &[outcome(200, "It was asked.", &[of::<WorkerRecord>])],
        ..route("POST", "/workers/{}/terminate", Op::TerminateWorker, "Ask a worker to leave")
    },
    Route {
        class: Class::Publish,
        bodies: &[of::<EventBody<'static>>, of::<EventBulk<'static>>],
        outcomes: &[outcome(
            200,
            "Durable: where it stands, or of a bulk where each does.",
            &[of::<AppendAnswer>, of::<AppendBulkAnswer>],
        )],
        ..route("POST", "/streams/{}/events", Op::AppendEvents, "Append an event, or many")
    },
    Route {
        class: Class::Lease,
        parameters: &[
            PARTITION,
            parameter("offset", ParameterKind::Place, "Where to begin."),
            FROM,
            parameter("wait", ParameterKind::Duration, "Wait so long for the first event."),
            LIMIT,
            parameter("newest", ParameterKind::Flag, "Of each key only the newest of the page."),
            parameter("key", ParameterKind::Text, "Only events of this key; `end` ends them."),
            parameter("key_base64", ParameterKind::Text, "The same of a key of any bytes."),
        ],
        outcomes: &[outcome(200, "The events, perhaps none.", &[of::<EventList>])],
        ..route("GET", "/streams/{}/events", Op::ReadEvents, "Read events of a partition")
    },
    Route {
        parameters: &[parameter("partition", ParameterKind::Place, "Only this one."), FROM],
        outcomes: &[outcome(
            200,
            "`text/event-stream`: an event `event` for each. With its id as `Last-Event-ID` the \
             stream goes on behind it.",
            &[],
        )],
        ..route("GET", "/streams/{}/live", Op::FollowStream, "Follow a stream: server-sent events")
    },
    Route {
        parameters: &[CURSOR, LIMIT],
        outcomes: &[outcome(200, "A page of streams.", &[of::<StreamList>])],
        ..route("GET", "/streams", Op::ListStreams, "List streams in the order of their names")
    },
    Route { outcomes: STREAM, ..route("GET", "/streams/{}", Op::GetStream, "Describe a stream") },
    Route {
        bodies: &[of::<StreamBody>],
        body_is_optional: true,
        outcomes: STREAM,
        ..route("PUT", "/streams/{}", Op::PutStream, "Create a stream or replace its settings")
    },
    Route {
        outcomes: &[outcome(204, "It is removed.", &[])],
        ..route("DELETE", "/streams/{}", Op::DeleteStream, "Remove a stream with its events")
    },
    Route {
        bodies: &[of::<ReplayBody>],
        outcomes: &[outcome(202, "It has begun.", &[of::<ReplayRecord>])],
        ..route("POST", "/streams/{}/replay", Op::ReplayStream, "Fill a queue from a stream again")
    },
    Route {
        outcomes: &[outcome(200, "In the order of their streams.", &[of::<TriggerList>])],
        ..route("GET", "/triggers", Op::ListTriggers, "List what makes jobs and messages of events")
    },
    Route {
        outcomes: TRIGGER,
        ..route("GET", "/triggers/{}", Op::GetTrigger, "Describe a trigger")
    },
    Route {
        bodies: &[of::<TriggerBody>],
        outcomes: TRIGGER,
        ..route(
            "PUT",
            "/triggers/{}",
            Op::PutTrigger,
            "Have each event of a stream become a job or a message",
        )
    },
    Route {
        outcomes: &[outcome(204, "It is removed.", &[])],
        ..route("DELETE", "/triggers/{}", Op::DeleteTrigger, "Remove a trigger; what it made stays")
    },
    Route {
        parameters: &[
            CURSOR,
            parameter("limit", ParameterKind::Number, "1 to 200; 50 where left out."),
        ],
        outcomes: &[outcome(200, "A page of groups.", &[of::<GroupList>])],
        ..route("GET", "/groups", Op::ListGroups, "List groups that read streams, with their lag")
    },
    Route {
        outcomes: GROUP,
        ..route("GET", "/groups/{}", Op::GetGroup, "How far a group has read")
    },
    Route {
        bodies: &[of::<OffsetsBody>],
        outcomes: GROUP,
        ..route("PUT", "/groups/{}", Op::PutGroup, "Say how far a group has read")
    },
    Route {
        outcomes: &[outcome(204, "It is forgotten.", &[])],
        ..route("DELETE", "/groups/{}", Op::DeleteGroup, "Forget how far a group has read")
    },
    Route {
        parameters: &[CURSOR, LIMIT],
        outcomes: &[outcome(200, "A page of those of the node.", &[of::<NamespaceList>])],
        ..at_root("GET", "/v1/namespaces", Op::ListNamespaces, "List namespaces")
    },
    Route {
        outcomes: &[outcome(200, "The namespace.", &[of::<NamespaceRecord>])],
        ..at_root("GET", "/v1/namespaces/{}", Op::GetNamespace, "Describe a namespace")
    },
    Route {
        outcomes: &[outcome(200, "It exists now.", &[of::<NamespaceRecord>])],
        ..at_root("PUT", "/v1/namespaces/{}", Op::PutNamespace, "Create a namespace")
    },
    Route {
        outcomes: &[outcome(204, "It is removed.", &[])],
        ..at_root("DELETE", "/v1/namespaces/{}", Op::DeleteNamespace, "Remove an empty namespace")
    },
    Route {
        parameters: &[CURSOR, LIMIT],
        outcomes: &[outcome(200, "A page of accounts.", &[of::<AccountList>])],
        ..at_root("GET", "/v1/accounts", Op::ListAccounts, "List accounts")
    },
    Route {
        outcomes: ACCOUNT,
        ..at_root("GET", "/v1/accounts/{}", Op::GetAccount, "Describe an account")
    },
    Route {
        bodies: &[of::<AccountBody>],
        outcomes: ACCOUNT,
        ..at_root("PUT", "/v1/accounts/{}", Op::PutAccount, "Create an account or change it")
    },
    Route {
        outcomes: &[outcome(204, "It is removed, and its connections end.", &[])],
        ..at_root("DELETE", "/v1/accounts/{}", Op::DeleteAccount, "Remove an account")
    },
    Route {
        bodies: &[of::<TokenRequest>],
        outcomes: &[outcome(201, "The token, which nobody tells again.", &[of::<TokenAnswer>])],
        ..at_root("POST", "/v1/accounts/{}/tokens", Op::CreateToken, "Make a token of an account")
    },
    Route {
        parameters: &[parameter("id", ParameterKind::Text, "Which.")],
        outcomes: ACCOUNT,
        ..at_root("DELETE", "/v1/accounts/{}/tokens", Op::RevokeToken, "Revoke a token")
    },
    Route {
        parameters: &[
            parameter(
                "after",
                ParameterKind::Text,
                "`next` of an answer before: only what came since. Left out, the newest.",
            ),
            LIMIT,
        ],
        outcomes: &[outcome(200, "The changes, the oldest first.", &[of::<AuditList>])],
        ..at_root("GET", "/v1/audit", Op::ListAudit, "Tell what administrators changed")
    },
    Route {
        outcomes: &[outcome(200, "How copies are.", &[of::<BackupList>])],
        ..at_root("GET", "/v1/backups", Op::ListBackups, "Tell how second copies are")
    },
    Route {
        bodies: &[of::<BackupRequest>],
        body_is_optional: true,
        outcomes: &[outcome(202, "It will be made.", &[of::<BackupRecord>])],
        ..at_root("POST", "/v1/backups", Op::BeginBackup, "Have a copy of the store made")
    },
    Route {
        outcomes: &[outcome(200, "How far it is.", &[of::<BackupRecord>])],
        ..at_root("GET", "/v1/backups/{}", Op::GetBackup, "Tell how far a copy is")
    },
    Route {
        outcomes: &[outcome(200, "It does.", &[of::<HealthAnswer>])],
        ..at_root("GET", "/livez", Op::Live, "Does the process answer?")
    },
    Route {
        outcomes: &[
            outcome(200, "It is.", &[of::<HealthAnswer>]),
            outcome(503, "Not now; each shard says why.", &[of::<HealthAnswer>]),
        ],
        ..at_root("GET", "/readyz", Op::Ready, "Is every shard ready for work?")
    },
    Route {
        outcomes: &[
            outcome(200, "It is.", &[of::<HealthAnswer>]),
            outcome(503, "A shard replays its journal.", &[of::<HealthAnswer>]),
        ],
        ..at_root("GET", "/startupz", Op::Started, "Is the start over?")
    },
    Route {
        outcomes: &[outcome(200, "Prometheus text.", &[])],
        ..at_root("GET", "/metrics", Op::Metrics, "Metrics")
    },
    Route {
        outcomes: &[outcome(200, "This description.", &[])],
        ..at_root("GET", "/openapi.json", Op::OpenApi, "The API in OpenAPI 3.1")
    },
    Route {
        outcomes: &[outcome(200, "Markdown.", &[])],
        ..at_root("GET", "/docs/errors.md", Op::ErrorPage, "Every problem code explained")
    },
];
