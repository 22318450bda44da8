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
pub(crate) const ROUTES: &[Route] =
    &[
        route("POST", "/queues/{}/jobs", Op::Enqueue, "Enqueue one job, or many all or none")
            .class(Class::Publish)
            .takes(&[of::<NewJob<'static>>, of::<EnqueueBulk<'static>>])
            .gives(&[
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
            ]),
        route("POST", "/lease", Op::Lease, "Settle what is done, then lease jobs")
            .class(Class::Lease)
            .takes(&[of::<LeaseRequest<'static>>])
            .gives(&[outcome(200, "The jobs, perhaps none.", &[of::<LeaseAnswer<'static>>])]),
        route(
            "POST",
            "/exchanges/{}/publish",
            Op::PublishToExchange,
            "Publish a message, or many, to an exchange",
        )
        .class(Class::Publish)
        .takes(&[of::<PublishBody<'static>>, of::<PublishBulk<'static>>])
        .gives(PUBLISHED),
        route(
            "POST",
            "/queues/{}/publish",
            Op::PublishToQueue,
            "Publish a message, or many, to a queue",
        )
        .class(Class::Publish)
        .takes(&[of::<PublishBody<'static>>, of::<PublishBulk<'static>>])
        .gives(PUBLISHED),
        route(
            "POST",
            "/transactions",
            Op::Transact,
            "Settle messages, publish and enqueue in one commit, or do nothing",
        )
        .class(Class::Publish)
        .takes(&[of::<TransactionRequest<'static>>])
        .gives(&[outcome(200, "All of it is on disk.", &[of::<TransactionAnswer>])]),
        route("POST", "/queues/{}/consume", Op::Consume, "Take messages for a time")
            .class(Class::Lease)
            .may_take(&[of::<ConsumeRequest>])
            .gives(&[outcome(200, "The messages, perhaps none.", &[of::<ConsumeAnswer>])]),
        route("POST", "/queues/{}/settle", Op::SettleMessages, "Settle messages, each on its own")
            .takes(&[of::<SettleMessagesRequest>])
            .gives(&[outcome(200, "What became of each.", &[of::<SettleMessagesAnswer>])]),
        route("POST", "/queues/{}/extend", Op::ExtendMessages, "Keep messages for longer")
            .takes(&[of::<ExtendMessagesRequest>])
            .gives(&[outcome(200, "What became of each.", &[of::<SettleMessagesAnswer>])]),
        settling("/jobs/{}/ack", Op::Ack, "A run succeeded", &[of::<AckRequest<'static>>]),
        settling("/jobs/{}/fail", Op::Fail, "A run failed", &[of::<FailRequest>]),
        settling("/jobs/{}/snooze", Op::Snooze, "A run is to happen later", &[of::<SnoozeRequest>]),
        settling("/jobs/{}/release", Op::Release, "A run goes back", &[of::<ReleaseRequest>]),
        settling("/jobs/{}/discard", Op::Discard, "A job is called off", &[of::<DiscardRequest>]),
        settling(
            "/jobs/{}/interrupt",
            Op::Interrupt,
            "A run stops midway",
            &[of::<InterruptRequest>],
        ),
        route("POST", "/jobs/{}/checkpoint", Op::Checkpoint, "Save how far a run has come")
            .takes(&[of::<CheckpointRequest<'static>>])
            .gives(&[outcome(
                200,
                "It is durable. What the worker shall do.",
                &[of::<HeartbeatAnswer>],
            )]),
        route("POST", "/jobs/{}/heartbeat", Op::Heartbeat, "Extend a lease, report progress")
            .takes(&[of::<HeartbeatRequest>])
            .gives(&[outcome(200, "What the worker shall do.", &[of::<HeartbeatAnswer>])]),
        route("POST", "/settle", Op::Settle, "Settle many runs, each on its own")
            .takes(&[of::<SettleRequest<'static>>])
            .gives(&[outcome(200, "What became of each.", &[of::<SettleAnswer>])]),
        route("GET", "/status/{}", Op::GetStatus, "The temporary resource of a job")
            .class(Class::Lease)
            .with(&[parameter(
                "wait",
                ParameterKind::Duration,
                "Wait so long for the job's end before answering.",
            )])
            .gives(&[
                outcome(
                    200,
                    "How it is; unfinished ones with `Retry-After`.",
                    &[of::<StatusRecord<'static>>],
                ),
                outcome(303, "It has succeeded: `Location` is what it made, or its result.", &[]),
            ]),
        route("GET", "/jobs/{}", Op::GetJob, "The whole record of a job").gives(JOB),
        route("GET", "/jobs/{}/events", Op::WatchJob, "Watch a job: server-sent events").gives(&[
            outcome(
                200,
                "`text/event-stream`: an event `job` now and whenever it changes, until \
                 it has ended; its data has `job`, and `progress_per_second` and \
                 `remaining` where they are known.",
                &[],
            ),
        ]),
        route("GET", "/jobs/{}/result", Op::GetResult, "What a job returned").gives(&[outcome(
            200,
            "The result as the worker wrote it.",
            &[of::<RawJson<'static>>],
        )]),
        route("GET", "/jobs", Op::ListJobs, "List jobs").with(LISTED_JOBS).gives(&[outcome(
            200,
            "A page of jobs.",
            &[of::<JobList<'static>>],
        )]),
        route("DELETE", "/jobs/{}", Op::CancelJob, "Cancel a job, or remove a dead one")
            .with(&[
                parameter(
                    "force",
                    ParameterKind::Flag,
                    "End a run at once, without asking its worker: what it settles \
                 afterwards is refused.",
                ),
                parameter(
                    "remove",
                    ParameterKind::Flag,
                    "Remove the job, which has to be dead; any other is refused.",
                ),
            ])
            .gives(&[
                outcome(
                    200,
                    "The job as it is now; a running one is asked to stop.",
                    &[of::<JobRecord<'static>>],
                ),
                outcome(204, "With `remove`: the job was dead and is removed.", &[]),
            ]),
        route("POST", "/jobs/{}/retry", Op::RetryJob, "Let a dead or retrying job start now")
            .may_take(&[of::<RetryRequest<'static>>])
            .gives(JOB),
        route("POST", "/jobs/{}/reschedule", Op::RescheduleJob, "Move a waiting job in time")
            .may_take(&[of::<RescheduleRequest>])
            .gives(JOB),
        route("POST", "/jobs/{}/pause", Op::PauseJob, "Hold a job back, interrupt its run")
            .gives(JOB),
        route("POST", "/jobs/{}/resume", Op::ResumeJob, "Hold a job back no longer").gives(JOB),
        route("GET", "/queues", Op::ListQueues, "List queues in the order of their names")
            .with(&[
                parameter(
                    "unconsumed",
                    ParameterKind::Flag,
                    "Only with jobs whose queue or kind nobody asks for.",
                ),
                CURSOR,
                LIMIT,
            ])
            .gives(&[outcome(200, "A page of queues.", &[of::<QueueList>])]),
        route("GET", "/queues/{}", Op::GetQueue, "Describe a queue").gives(QUEUE),
        route("PUT", "/queues/{}", Op::PutQueue, "Create a queue or replace its settings")
            .takes(&[of::<QueueSettingsBody>])
            .gives(QUEUE),
        route("DELETE", "/queues/{}", Op::DeleteQueue, "Remove a queue that holds no jobs")
            .with(&[parameter("force", ParameterKind::Flag, "Remove its jobs as well.")])
            .gives(&[
                outcome(204, "It is removed.", &[]),
                outcome(202, "With `force`: the operation has begun.", &[of::<OperationRecord>]),
            ]),
        route("POST", "/queues/{}/pause", Op::PauseQueue, "Hand out nothing of a queue")
            .gives(QUEUE),
        route("POST", "/queues/{}/resume", Op::ResumeQueue, "Hand out jobs of a queue again")
            .gives(QUEUE),
        route("POST", "/queues/{}/purge", Op::PurgeQueue, "Remove waiting or dead jobs")
            .with(&[DRY_RUN])
            .may_take(&[of::<PurgeRequest>])
            .gives(OPERATION),
        route("POST", "/queues/{}/retry-dead", Op::RetryDead, "Let dead jobs start again")
            .with(&[DRY_RUN])
            .may_take(&[of::<RetryDeadRequest>])
            .gives(OPERATION),
        route(
            "POST",
            "/queues/{}/redrive",
            Op::Redrive,
            "Move messages back to the queues where they ended, or elsewhere",
        )
        .with(&[DRY_RUN])
        .may_take(&[of::<RedriveRequest>])
        .gives(OPERATION),
        route("GET", "/limits", Op::ListLimits, "List limits at dispatch").gives(&[outcome(
            200,
            "In the order of their names.",
            &[of::<LimitList>],
        )]),
        route("GET", "/limits/{}", Op::GetLimit, "Describe a limit").gives(&[outcome(
            200,
            "The limit.",
            &[of::<LimitRecord>],
        )]),
        route("PUT", "/limits/{}", Op::PutLimit, "Create a limit or change its numbers")
            .takes(&[of::<LimitSettingsBody>])
            .gives(&[outcome(200, "As it is now.", &[of::<LimitRecord>])]),
        route("DELETE", "/limits/{}", Op::DeleteLimit, "Remove a limit").gives(&[outcome(
            204,
            "It is removed.",
            &[],
        )]),
        route("GET", "/kinds", Op::ListKinds, "List kinds and their versions")
            .with(&[LIMIT, CURSOR])
            .gives(&[outcome(200, "In the order of names and versions.", &[of::<KindList>])]),
        route("GET", "/kinds/{}", Op::GetKind, "Describe a kind and its versions").gives(KIND),
        route("PUT", "/kinds/{}", Op::PutKind, "Set defaults of a kind; what is left out is reset")
            .takes(&[of::<KindSettingsBody>])
            .gives(KIND),
        route("GET", "/sla", Op::ListSlas, "List service levels").gives(&[outcome(
            200,
            "In the order of their names.",
            &[of::<SlaList<'static>>],
        )]),
        route("GET", "/sla/{}", Op::GetSla, "Describe a service level").gives(SLA),
        route("PUT", "/sla/{}", Op::PutSla, "Create a service level or change it")
            .takes(&[of::<SlaBody<'static>>])
            .gives(SLA),
        route("DELETE", "/sla/{}", Op::DeleteSla, "Remove a service level").gives(&[outcome(
            204,
            "It is removed.",
            &[],
        )]),
        route("GET", "/gates", Op::ListGates, "List gates").gives(&[outcome(
            200,
            "In the order of their names.",
            &[of::<GateList>],
        )]),
        route("GET", "/gates/{}", Op::GetGate, "Describe a gate").gives(GATE),
        route("PUT", "/gates/{}", Op::PutGate, "Create a gate or change it")
            .takes(&[of::<GateBody>])
            .gives(GATE),
        route("POST", "/gates/{}/close", Op::CloseGate, "Let nothing start behind a gate")
            .may_take(&[of::<CloseGateRequest>])
            .gives(GATE),
        route("POST", "/gates/{}/open", Op::OpenGate, "Let jobs behind a gate start again")
            .gives(GATE),
        route("DELETE", "/gates/{}", Op::DeleteGate, "Remove a gate").gives(&[outcome(
            204,
            "It is removed.",
            &[],
        )]),
        route("GET", "/holds", Op::ListHolds, "List holds of tags").gives(&[outcome(
            200,
            "In the order of their tags.",
            &[of::<HoldList>],
        )]),
        route("GET", "/holds/{}", Op::GetHold, "Describe a hold, or wait until it is quiet")
            .with(&[WAIT_QUIET])
            .gives(HOLD),
        route("PUT", "/holds/{}", Op::PutHold, "Let no job with a tag start")
            .with(&[WAIT_QUIET])
            .may_take(&[of::<HoldRequest>])
            .gives(HOLD),
        route("DELETE", "/holds/{}", Op::DeleteHold, "Let jobs with a tag start again")
            .gives(&[outcome(204, "It is removed.", &[])]),
        route(
            "GET",
            "/queues/{}/messages",
            Op::PeekMessages,
            "Look at messages without taking them, or for some of them",
        )
        .with(MEANT_MESSAGES)
        .gives(&[outcome(200, "A page of messages.", &[of::<MessageList>])]),
        route(
            "DELETE",
            "/queues/{}/messages",
            Op::DeleteMessages,
            "Remove the messages that wait; what consumers have stays theirs",
        )
        .gives(&[outcome(200, "How many were removed.", &[of::<RemovedAnswer>])]),
        route("GET", "/exchanges", Op::ListExchanges, "List exchanges in the order of their names")
            .with(&[CURSOR, LIMIT])
            .gives(&[outcome(200, "A page of exchanges.", &[of::<ExchangeList>])]),
        route("GET", "/exchanges/{}", Op::GetExchange, "Describe an exchange").gives(EXCHANGE),
        route("PUT", "/exchanges/{}", Op::PutExchange, "Declare an exchange")
            .takes(&[of::<ExchangeBody>])
            .gives(EXCHANGE),
        route("DELETE", "/exchanges/{}", Op::DeleteExchange, "Remove an exchange")
            .with(&[parameter("if_unused", ParameterKind::Flag, "Only with no binding.")])
            .gives(&[outcome(200, "Whether it was there.", &[of::<ChangedAnswer>])]),
        route("POST", "/exchanges/{}/bind", Op::Bind, "Bind a queue or exchange to an exchange")
            .takes(&[of::<BindingBody>])
            .gives(&[outcome(200, "It is bound.", &[of::<ChangedAnswer>])]),
        route("POST", "/exchanges/{}/unbind", Op::Unbind, "Remove a binding")
            .takes(&[of::<BindingBody>])
            .gives(&[outcome(200, "It is not bound.", &[of::<ChangedAnswer>])]),
        route("GET", "/bindings", Op::ListBindings, "List bindings")
            .with(&[
                parameter("exchange", ParameterKind::Text, "Only those that lead from it."),
                CURSOR,
                LIMIT,
            ])
            .gives(&[outcome(200, "A page of bindings.", &[of::<BindingList>])]),
        route("GET", "/policies", Op::ListPolicies, "List policies").gives(&[outcome(
            200,
            "In the order of their names.",
            &[of::<PolicyList>],
        )]),
        route("PUT", "/policies/{}", Op::PutPolicy, "Create a policy, or replace it")
            .takes(&[of::<PolicyBody>])
            .gives(&[outcome(200, "It holds.", &[of::<ChangedAnswer>])]),
        route("DELETE", "/policies/{}", Op::DeletePolicy, "Remove a policy").gives(&[outcome(
            200,
            "It does not hold.",
            &[of::<ChangedAnswer>],
        )]),
        route(
            "POST",
            "/operations",
            Op::ChangeJobs,
            "Retry, cancel, move, remove or prioritize all jobs that a filter means",
        )
        .with(&[DRY_RUN])
        .takes(&[of::<OperationRequest>])
        .gives(OPERATION),
        route("GET", "/operations", Op::ListOperations, "List operations").gives(&[outcome(
            200,
            "The newest first.",
            &[of::<OperationList>],
        )]),
        route("GET", "/operations/{}", Op::GetOperation, "Describe an operation")
            .gives(&[outcome(200, "How far it is.", &[of::<OperationRecord>])]),
        route("DELETE", "/operations/{}", Op::CancelOperation, "Stop an operation")
            .gives(&[outcome(200, "As it is now.", &[of::<OperationRecord>])]),
        route("GET", "/schedules", Op::ListSchedules, "List schedules in the order of their names")
            .with(&[CURSOR, LIMIT])
            .gives(&[outcome(200, "A page of schedules.", &[of::<ScheduleList<'static>>])]),
        route("GET", "/schedules/{}", Op::GetSchedule, "Describe a schedule").gives(SCHEDULE),
        route("PUT", "/schedules/{}", Op::PutSchedule, "Create a schedule or replace its settings")
            .takes(&[of::<ScheduleBody<'static>>])
            .gives(SCHEDULE),
        route("DELETE", "/schedules/{}", Op::DeleteSchedule, "Remove a schedule")
            .gives(&[outcome(204, "It is removed. Its jobs stay.", &[])]),
        route("POST", "/schedules/{}/pause", Op::PauseSchedule, "Let no slot of a schedule come")
            .gives(SCHEDULE),
        route("POST", "/schedules/{}/resume", Op::ResumeSchedule, "Let slots come from now on")
            .gives(SCHEDULE),
        route("POST", "/schedules/{}/run", Op::RunSchedule, "Enqueue the job of a schedule now")
            .gives(&[outcome(
                202,
                "Its job is enqueued: `job`, and `Location` tells where its state is.",
                &[of::<ScheduleRecord<'static>>],
            )]),
        route("POST", "/schedules/{}/next", Op::SetNextSlot, "Say when the next slot comes")
            .takes(&[of::<NextRequest>])
            .gives(SCHEDULE),
        route("GET", "/schedules/{}/next", Op::NextSlots, "List the slots that come")
            .with(&[parameter(
                "limit",
                ParameterKind::Number,
                "How many, 1 to 1000; 10 where left out.",
            )])
            .gives(&[outcome(200, "The slots.", &[of::<SlotList>])]),
        route("GET", "/workers", Op::ListWorkers, "List workers").gives(&[outcome(
            200,
            "In the order of their names.",
            &[of::<WorkerList>],
        )]),
        route("GET", "/workers/{}", Op::GetWorker, "Describe a worker").gives(&[outcome(
            200,
            "The worker and what it runs.",
            &[of::<WorkerRecord>],
        )]),
        route("POST", "/workers/{}/quiet", Op::QuietWorker, "Ask a worker to take nothing more")
            .gives(&[outcome(200, "It was asked.", &[of::<WorkerRecord>])]),
        route("POST", "/workers/{}/terminate", Op::TerminateWorker, "Ask a worker to leave")
            .gives(&[outcome(200, "It was asked.", &[of::<WorkerRecord>])]),
        route("POST", "/streams/{}/events", Op::AppendEvents, "Append an event, or many")
            .class(Class::Publish)
            .takes(&[of::<EventBody<'static>>, of::<EventBulk<'static>>])
            .gives(&[outcome(
                200,
                "Durable: where it stands, or of a bulk where each does.",
                &[of::<AppendAnswer>, of::<AppendBulkAnswer>],
            )]),
        route("GET", "/streams/{}/events", Op::ReadEvents, "Read events of a partition")
            .class(Class::Lease)
            .with(&[
                PARTITION,
                parameter("offset", ParameterKind::Place, "Where to begin."),
                FROM,
                parameter("wait", ParameterKind::Duration, "Wait so long for the first event."),
                LIMIT,
                parameter(
                    "newest",
                    ParameterKind::Flag,
                    "Of each key only the newest of the page.",
                ),
                parameter("key", ParameterKind::Text, "Only events of this key; `end` ends them."),
                parameter("key_base64", ParameterKind::Text, "The same of a key of any bytes."),
            ])
            .gives(&[outcome(200, "The events, perhaps none.", &[of::<EventList>])]),
        route("GET", "/streams/{}/live", Op::FollowStream, "Follow a stream: server-sent events")
            .with(&[parameter("partition", ParameterKind::Place, "Only this one."), FROM])
            .gives(&[outcome(
                200,
                "`text/event-stream`: an event `event` for each. With its id as \
                 `Last-Event-ID` the stream goes on behind it.",
                &[],
            )]),
        route("GET", "/streams", Op::ListStreams, "List streams in the order of their names")
            .with(&[CURSOR, LIMIT])
            .gives(&[outcome(200, "A page of streams.", &[of::<StreamList>])]),
        route("GET", "/streams/{}", Op::GetStream, "Describe a stream").gives(STREAM),
        route("PUT", "/streams/{}", Op::PutStream, "Create a stream or replace its settings")
            .may_take(&[of::<StreamBody>])
            .gives(STREAM),
        route("DELETE", "/streams/{}", Op::DeleteStream, "Remove a stream with its events")
            .gives(&[outcome(204, "It is removed.", &[])]),
        route("POST", "/streams/{}/replay", Op::ReplayStream, "Fill a queue from a stream again")
            .takes(&[of::<ReplayBody>])
            .gives(&[outcome(202, "It has begun.", &[of::<ReplayRecord>])]),
        route("GET", "/triggers", Op::ListTriggers, "List what makes jobs and messages of events")
            .gives(&[outcome(200, "In the order of their streams.", &[of::<TriggerList>])]),
        route("GET", "/triggers/{}", Op::GetTrigger, "Describe a trigger").gives(TRIGGER),
        route(
            "PUT",
            "/triggers/{}",
            Op::PutTrigger,
            "Have each event of a stream become a job or a message",
        )
        .takes(&[of::<TriggerBody>])
        .gives(TRIGGER),
        route("DELETE", "/triggers/{}", Op::DeleteTrigger, "Remove a trigger; what it made stays")
            .gives(&[outcome(204, "It is removed.", &[])]),
        route("GET", "/groups", Op::ListGroups, "List groups that read streams, with their lag")
            .with(&[
                CURSOR,
                parameter("limit", ParameterKind::Number, "1 to 200; 50 where left out."),
            ])
            .gives(&[outcome(200, "A page of groups.", &[of::<GroupList>])]),
        route("GET", "/groups/{}", Op::GetGroup, "How far a group has read").gives(GROUP),
        route("PUT", "/groups/{}", Op::PutGroup, "Say how far a group has read")
            .takes(&[of::<OffsetsBody>])
            .gives(GROUP),
        route("DELETE", "/groups/{}", Op::DeleteGroup, "Forget how far a group has read")
            .gives(&[outcome(204, "It is forgotten.", &[])]),
        at_root("GET", "/v1/namespaces", Op::ListNamespaces, "List namespaces")
            .with(&[CURSOR, LIMIT])
            .gives(&[outcome(200, "A page of those of the node.", &[of::<NamespaceList>])]),
        at_root("GET", "/v1/namespaces/{}", Op::GetNamespace, "Describe a namespace")
            .gives(&[outcome(200, "The namespace.", &[of::<NamespaceRecord>])]),
        at_root("PUT", "/v1/namespaces/{}", Op::PutNamespace, "Create a namespace")
            .gives(&[outcome(200, "It exists now.", &[of::<NamespaceRecord>])]),
        at_root("DELETE", "/v1/namespaces/{}", Op::DeleteNamespace, "Remove an empty namespace")
            .gives(&[outcome(204, "It is removed.", &[])]),
        at_root("GET", "/v1/accounts", Op::ListAccounts, "List accounts")
            .with(&[CURSOR, LIMIT])
            .gives(&[outcome(200, "A page of accounts.", &[of::<AccountList>])]),
        at_root("GET", "/v1/accounts/{}", Op::GetAccount, "Describe an account").gives(ACCOUNT),
        at_root("PUT", "/v1/accounts/{}", Op::PutAccount, "Create an account or change it")
            .takes(&[of::<AccountBody>])
            .gives(ACCOUNT),
        at_root("DELETE", "/v1/accounts/{}", Op::DeleteAccount, "Remove an account")
            .gives(&[outcome(204, "It is removed, and its connections end.", &[])]),
        at_root("POST", "/v1/accounts/{}/tokens", Op::CreateToken, "Make a token of an account")
            .takes(&[of::<TokenRequest>])
            .gives(&[outcome(201, "The token, which nobody tells again.", &[of::<TokenAnswer>])]),
        at_root("DELETE", "/v1/accounts/{}/tokens", Op::RevokeToken, "Revoke a token")
            .with(&[parameter("id", ParameterKind::Text, "Which.")])
            .gives(ACCOUNT),
        at_root("GET", "/v1/audit", Op::ListAudit, "Tell what administrators changed")
            .with(&[
                parameter(
                    "after",
                    ParameterKind::Text,
                    "`next` of an answer before: only what came since. Left out, the newest.",
                ),
                LIMIT,
            ])
            .gives(&[outcome(200, "The changes, the oldest first.", &[of::<AuditList>])]),
        at_root("GET", "/v1/backups", Op::ListBackups, "Tell how second copies are")
            .gives(&[outcome(200, "How copies are.", &[of::<BackupList>])]),
        at_root("POST", "/v1/backups", Op::BeginBackup, "Have a copy of the store made")
            .may_take(&[of::<BackupRequest>])
            .gives(&[outcome(202, "It will be made.", &[of::<BackupRecord>])]),
        at_root("GET", "/v1/backups/{}", Op::GetBackup, "Tell how far a copy is")
            .gives(&[outcome(200, "How far it is.", &[of::<BackupRecord>])]),
        at_root("GET", "/livez", Op::Live, "Does the process answer?").gives(&[outcome(
            200,
            "It does.",
            &[of::<HealthAnswer>],
        )]),
        at_root("GET", "/readyz", Op::Ready, "Is every shard ready for work?").gives(&[
            outcome(200, "It is.", &[of::<HealthAnswer>]),
            outcome(503, "Not now; each shard says why.", &[of::<HealthAnswer>]),
        ]),
        at_root("GET", "/startupz", Op::Started, "Is the start over?").gives(&[
            outcome(200, "It is.", &[of::<HealthAnswer>]),
            outcome(503, "A shard replays its journal.", &[of::<HealthAnswer>]),
        ]),
        at_root("GET", "/metrics", Op::Metrics, "Metrics").gives(&[outcome(
            200,
            "Prometheus text.",
            &[],
        )]),
        at_root("GET", "/openapi.json", Op::OpenApi, "The API in OpenAPI 3.1").gives(&[outcome(
            200,
            "This description.",
            &[],
        )]),
        at_root("GET", "/docs/errors.md", Op::ErrorPage, "Every problem code explained")
            .gives(&[outcome(200, "Markdown.", &[])]),
    ];
