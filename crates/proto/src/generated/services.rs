service! {
    /// Looking at accounts, changing them, and the trail of changes.
    Accounts = "longshore.v1.Accounts",
        accounts_client::AccountsClient, accounts_server::AccountsServer;
    /// Tells accounts in the order of their names.
    unary "ListAccounts" list_accounts(ListAccountsRequest) -> ListAccountsResponse;
    /// Tells one account.
    unary "GetAccount" get_account(AccountRequest) -> Account;
    /// Creates an account or changes it; what is left out stays as it is.
    unary "PutAccount" put_account(PutAccountRequest) -> Account;
    /// Removes an account. Its connections end.
    unary "DeleteAccount" delete_account(AccountRequest) -> DeletedAccount;
    /// Makes a token of an account. Nobody tells it again.
    unary "CreateToken" create_token(CreateTokenRequest) -> CreatedToken;
    /// Revokes a token of an account.
    unary "RevokeToken" revoke_token(RevokeTokenRequest) -> Account;
    /// Tells what administrators changed, the oldest first.
    unary "ListAudit" list_audit(ListAuditRequest) -> ListAuditResponse;
}
service! {
    /// What operators ask for, beside what `Jobs` does with single jobs.
    Admin = "longshore.v1.Admin",
        admin_client::AdminClient, admin_server::AdminServer;
    /// Tells queues in the order of their names, page by page.
    unary "ListQueues" list_queues(ListQueuesRequest) -> ListQueuesResponse;
    /// Tells one queue.
    unary "GetQueue" get_queue(QueueRequest) -> Queue;
    /// Creates or changes a queue. What the settings leave out is reset.
    unary "PutQueue" put_queue(PutQueueRequest) -> Queue;
    /// Lets a queue hand out nothing, leaving its other settings.
    unary "PauseQueue" pause_queue(QueueRequest) -> Queue;
    /// Lets it hand out jobs again.
    unary "ResumeQueue" resume_queue(QueueRequest) -> Queue;
    /// Removes a queue without waiting, running or dead jobs.
    unary "DeleteQueue" delete_queue(QueueRequest) -> DeleteQueueResponse;
    /// Starts an operation that touches many jobs.
    unary "StartOperation" start_operation(StartOperationRequest) -> Operation;
    /// Tells the operations of a namespace, the newest first.
    unary "ListOperations" list_operations(ListOperationsRequest) -> ListOperationsResponse;
    /// Tells how far an operation is.
    unary "GetOperation" get_operation(OperationRequest) -> Operation;
    /// Stops an operation after its present slice; what is done stays done.
    unary "CancelOperation" cancel_operation(OperationRequest) -> Operation;
    /// Tells the namespaces of the server in the order of their names, page by page.
    unary "ListNamespaces" list_namespaces(ListNamespacesRequest) -> ListNamespacesResponse;
    /// Tells one namespace.
    unary "GetNamespace" get_namespace(NamespaceRequest) -> Namespace;
    /// Creates a namespace; one that exists is told as it is.
    unary "CreateNamespace" create_namespace(NamespaceRequest) -> Namespace;
    /// Removes a namespace without queues.
    unary "DeleteNamespace" delete_namespace(NamespaceRequest) -> DeleteNamespaceResponse;
    /// Tells each version of each kind, in the order of names and versions, page by page.
    unary "ListKinds" list_kinds(ListKindsRequest) -> ListKindsResponse;
    /// Tells one kind: its settings, what is over it, and its versions with who runs them.
    unary "GetKind" get_kind(KindRequest) -> Kind;
    /// Sets defaults of a kind, in all of its versions. What the settings leave out is reset.
    unary "PutKind" put_kind(PutKindRequest) -> Kind;
}
service! {
    /// Looking at what holds jobs back, and changing it.
    Blockers = "longshore.v1.Blockers",
        blockers_client::BlockersClient, blockers_server::BlockersServer;
    /// Tells the gates of a namespace in the order of their names.
    unary "ListGates" list_gates(ListControlRequest) -> ListGatesResponse;
    /// Tells one gate.
    unary "GetGate" get_gate(ControlRequest) -> Gate;
    /// Creates a gate or says anew what depends on it.
    unary "PutGate" put_gate(PutGateRequest) -> Gate;
    /// Lets nothing start behind a gate, which is created where it is not there.
    unary "CloseGate" close_gate(CloseGateRequest) -> Gate;
    /// Lets jobs behind a gate start again.
    unary "OpenGate" open_gate(ControlRequest) -> Gate;
    /// Removes a gate.
    unary "DeleteGate" delete_gate(ControlRequest) -> DeletedControl;
    /// Tells the holds of a namespace in the order of their tags, without their runs.
    unary "ListHolds" list_holds(ListControlRequest) -> ListHoldsResponse;
    /// Tells one hold, or waits until nothing runs with its tag.
    unary "GetHold" get_hold(GetHoldRequest) -> Hold;
    /// Lets no job with a tag start, and may wait until none runs.
    unary "PutHold" put_hold(PutHoldRequest) -> Hold;
    /// Lets a tag go.
    unary "DeleteHold" delete_hold(ControlRequest) -> DeletedControl;
    /// Tells the limits of a namespace in the order of their names.
    unary "ListLimits" list_limits(ListControlRequest) -> ListLimitsResponse;
    /// Tells one limit.
    unary "GetLimit" get_limit(ControlRequest) -> Limit;
    /// Creates a limit or changes its numbers.
    unary "PutLimit" put_limit(PutLimitRequest) -> Limit;
    /// Removes a limit.
    unary "DeleteLimit" delete_limit(ControlRequest) -> DeletedControl;
}
service! {
    /// Looking at service levels, and changing them.
    Levels = "longshore.v1.Levels",
        levels_client::LevelsClient, levels_server::LevelsServer;
    /// Tells the levels of a namespace in the order of their names.
    unary "ListSlas" list_slas(ListSlasRequest) -> ListSlasResponse;
    /// Tells one level.
    unary "GetSla" get_sla(SlaRequest) -> Sla;
    /// Creates a level or changes it.
    unary "PutSla" put_sla(PutSlaRequest) -> Sla;
    /// Removes a level.
    unary "DeleteSla" delete_sla(SlaRequest) -> DeletedSla;
}
service! {
    /// What producers and operators ask for.
    Jobs = "longshore.v1.Jobs",
        jobs_client::JobsClient, jobs_server::JobsServer;
    /// Enqueues jobs in one queue, all or none.
    unary "Enqueue" enqueue(EnqueueRequest) -> EnqueueResponse;
    /// The same for many batches over one call. Each batch is all or none and is answered in the
    /// order in which it came. One that is at fault is answered by its problem and ends nothing. One
    /// that is refused for now (it has `retry_after_ms`, or an `http_status` from 500) is refused with
    /// all that follow it in this call, with the same code: begin a new call and send them again in
    /// their order, or jobs of one ordering key would change places.
    streaming "EnqueueStream" enqueue_stream(EnqueueRequest) -> EnqueueStreamResponse as EnqueueStreamStream;
    /// Tells all of a job.
    unary "GetJob" get_job(GetJobRequest) -> Job;
    /// Tells jobs page by page.
    unary "ListJobs" list_jobs(ListJobsRequest) -> ListJobsResponse;
    /// Waits until a job has ended, for a bounded time, then tells all of it.
    unary "AwaitJob" await_job(AwaitJobRequest) -> Job;
    /// Tells a job whenever its state, progress or counters change, until it has ended.
    server_streaming "WatchJob" watch_job(GetJobRequest) -> Job as WatchJobStream;
    /// Calls off a waiting or running job; removes a dead one.
    unary "CancelJob" cancel_job(CancelJobRequest) -> JobChange;
    /// Lets a scheduled, ready or retrying job start at another time.
    unary "RescheduleJob" reschedule_job(RescheduleJobRequest) -> JobChange;
    /// Lets a dead or retrying job start again now.
    unary "RetryJob" retry_job(RetryJobRequest) -> JobChange;
    /// Holds a job back; one that runs is asked to interrupt itself.
    unary "PauseJob" pause_job(JobRequest) -> JobChange;
    /// Holds it back no longer.
    unary "ResumeJob" resume_job(JobRequest) -> JobChange;
}
service! {
    /// Publishing, settling and enqueueing together; moving messages.
    Messages = "longshore.v1.Messages",
        messages_client::MessagesClient, messages_server::MessagesServer;
    /// Settles messages that were taken over HTTP, publishes messages and enqueues jobs: all of it in
    /// one commit, or nothing.
    unary "Transact" transact(TransactRequest) -> TransactResponse;
    /// Moves messages of a queue back to the queues where they ended, or elsewhere: an operation, as
    /// those of the service Admin, which tells how far it is and cancels it.
    unary "Redrive" redrive(RedriveRequest) -> Operation;
}
service! {
    /// Looking at schedules and changing them.
    Schedules = "longshore.v1.Schedules",
        schedules_client::SchedulesClient, schedules_server::SchedulesServer;
    /// Tells schedules in the order of their names, page by page.
    unary "ListSchedules" list_schedules(ListSchedulesRequest) -> ListSchedulesResponse;
    /// Tells one schedule.
    unary "GetSchedule" get_schedule(ScheduleRequest) -> Schedule;
    /// Creates a schedule or replaces its settings. What they leave out is reset.
    unary "PutSchedule" put_schedule(PutScheduleRequest) -> Schedule;
    /// Removes a schedule. Its jobs stay.
    unary "DeleteSchedule" delete_schedule(ScheduleRequest) -> DeleteScheduleResponse;
    /// Lets no slot come until it is resumed.
    unary "PauseSchedule" pause_schedule(ScheduleRequest) -> Schedule;
    /// Lets slots come from now on; nothing is made up for.
    unary "ResumeSchedule" resume_schedule(ScheduleRequest) -> Schedule;
    /// Enqueues its job now, beside its slots.
    unary "RunSchedule" run_schedule(ScheduleRequest) -> RunScheduleResponse;
    /// Says when the next slot comes; what follows goes on from there.
    unary "SetNextSlot" set_next_slot(SetNextSlotRequest) -> Schedule;
    /// Tells the slots that come.
    unary "ListSlots" list_slots(ListSlotsRequest) -> ListSlotsResponse;
}
service! {
    /// Events in the order in which they happened.
    Streams = "longshore.v1.Streams",
        streams_client::StreamsClient, streams_server::StreamsServer;
    /// Creates a stream; one that is there stays as it is.
    unary "CreateStream" create_stream(CreateStreamRequest) -> Stream;
    /// Describes a stream.
    unary "GetStream" get_stream(StreamRequest) -> Stream;
    /// Takes a number for a producer that appends nothing twice.
    unary "TakeProducer" take_producer(TakeProducerRequest) -> TakeProducerResponse;
    /// Appends events. Those of one partition stand in it in this order, all of them or none. With a
    /// producer's number a request that is repeated appends nothing twice.
    unary "AppendEvents" append_events(AppendEventsRequest) -> AppendEventsResponse;
    /// Reads events of partitions, each from an offset on, and waits for the first ones.
    unary "ReadEvents" read_events(ReadEventsRequest) -> ReadEventsResponse;
    /// Reads the events of a key, as long as they are kept.
    unary "ReadKey" read_key(ReadKeyRequest) -> ReadKeyResponse;
    /// Tells how far a group has read a stream.
    unary "GetOffsets" get_offsets(GetOffsetsRequest) -> GroupOffsets;
    /// Remembers how far a group has read a stream: all of it, or nothing.
    unary "CommitOffsets" commit_offsets(CommitOffsetsRequest) -> CommitOffsetsResponse;
    /// Joins a group, says that a member of it is there, or leaves it. The groups are those of Kafka's
    /// consumer protocol (KIP-848), and have members of both faces: the server says who reads which
    /// partitions, and tells it with the answers. A member that is not heard for 45 seconds is gone.
    unary "HeartbeatGroup" heartbeat_group(HeartbeatGroupRequest) -> HeartbeatGroupResponse;
}
service! {
    /// What workers ask for, and who asks about workers.
    Workers = "longshore.v1.Workers",
        workers_client::WorkersClient, workers_server::WorkersServer;
    /// One worker's session.
    streaming "Work" work(WorkerMessage) -> ServerMessage as WorkStream;
    /// Who is there, in the order of their names.
    unary "ListWorkers" list_workers(ListWorkersRequest) -> ListWorkersResponse;
    /// One worker and what it runs.
    unary "GetWorker" get_worker(WorkerRequest) -> Worker;
    /// Asks a worker to take nothing more.
    unary "QuietWorker" quiet_worker(WorkerRequest) -> Worker;
    /// Asks a worker to take nothing more, to interrupt what it runs, and to leave.
    unary "TerminateWorker" terminate_worker(WorkerRequest) -> Worker;
}
