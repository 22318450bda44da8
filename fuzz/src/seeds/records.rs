//! One record of every kind, and one value of every type in the state, with all fields filled.

use bytes::Bytes;
use longshore_engine::wire::Wire;
use longshore_engine::{
    AppendedKey, AttemptNote, Binding, Body, BodyId, CancelReason, Cause, Checkpoint,
    CommittedOffset, DeadReason, Death, Destination, End, EndKind, Epoch, EventPlace, Exchange,
    ExchangeId, ExchangeKind, FinalRun, Gate, GateId, Grant, HeaderValue, Hold, Job, JobDefaults,
    JobError, JobId, JobLimit, JobOptions, JobTemplate, KindId, KindSettings, LEVEL, Lease,
    LimitRefill, LimitRule, LimitScope, LimitSettings, Matching, Message, MessageEnd, Missed,
    NamespaceId, NewEntry, NewJob, NewSchedule, Next, OffsetNote, OperationId, OperationKind,
    OperationState, Overflow, Overlap, PartitionId, Phase, Place, Policy, Queue, QueueCounts,
    QueueId, QueueSettings, Record, RetryPolicy, Saved, Schedule, ScheduleId, SkippedItem, Slot,
    Spec, StreamId, StreamSettings, Subject, TenantWeight, TickOutcome, TimeMs, Token, UniqueLock,
    UniqueUntil, Upkeep,
};
use longshore_engine::{Sla, SlaGoal, SlaSettings, SlaTarget, Trigger};

use super::operations::{operation, purge, redrive};
use crate::corpus::Named;

const NS: NamespaceId = NamespaceId(1);
const AT: TimeMs = TimeMs(1_780_000_000_000);
const ID: JobId =
    JobId([0x01, 0x9e, 0x6f, 0x3a, 0x11, 0x22, 0x70, 0x33, 0x80, 1, 2, 3, 4, 5, 6, 7]);
const TOKEN: Token = Token { epoch: Epoch(3), counter: 77 };

fn error() -> JobError {
    JobError {
        kind: "Net::ReadTimeout".to_owned(),
        message: "execution expired".to_owned(),
        backtrace: "mailer.rb:7".to_owned(),
    }
}

fn job(phase: Phase) -> Job {
    Job {
        id: ID,
        queue: "mail".to_owned(),
        kind: "welcome_email".to_owned(),
        args: Some(Body::Inline { bytes: Bytes::from_static(b"{\"user\":7}") }),
        options: JobOptions {
            priority: 9,
            ordering_key: Some("user-7".to_owned()),
            at_most_once: false,
            expires_at: Some(AT.plus(86_400_000)),
            timeout_ms: Some(60_000),
            lease_ms: Some(30_000),
            retry: RetryPolicy::Exponential {
                base_ms: 1000,
                factor_percent: 200,
                cap_ms: 60_000,
                jitter_percent: 20,
            },
            max_attempts: 26,
            max_age_ms: Some(3_600_000),
            retain_ms: Some(1000),
            tags: vec!["eu".to_owned(), "bulk".to_owned()],
            metadata: Some(Bytes::from_static(b"{\"request\":\"r-1\"}")),
            traceparent: Some(format!("00-{}-{}-01", "4b".repeat(16), "0f".repeat(8))),
            unique: Some(UniqueLock { key: [9; 16], until: UniqueUntil::Started, since: Some(AT) }),
            limit: Some(JobLimit { name: "api".to_owned(), key: "acme".to_owned() }),
            limits: vec![JobLimit { name: "shop".to_owned(), key: "eu".to_owned() }],
            gates: vec!["bank".to_owned()],
            tenant: Some("acme".to_owned()),
            hops: 1,
            version: 2,
        },
        fingerprint: Some([7; 16]),
        place: Place(12),
        enqueued_at: AT,
        available_at: AT.plus(15_000),
        deadline: Some(AT.plus(3_600_000)),
        phase,
        attempt: 2,
        budget_from: 0,
        losses: 1,
        snoozes: 2,
        ends: vec![End { token: TOKEN, kind: EndKind::Failed }],
        last_error: Some(error()),
        final_run: Some(FinalRun { started_at: AT, worker: "w".into(), error: None }),
        notes_bytes: 90,
        ran_ms: 3_600_000,
        tick: None,
        due_at: Some(AT.plus(15_000)),
        told: false,
        moved: None,
    }
}

fn settings() -> QueueSettings {
    QueueSettings {
        paused: true,
        max_length: Some(1000),
        defaults: JobDefaults {
            priority: Some(5),
            lease_ms: Some(1000),
            timeout_ms: Some(2000),
            retry: Some(RetryPolicy::Constant { delay_ms: 5000 }),
            max_attempts: Some(3),
            max_age_ms: Some(4000),
            ttl_ms: Some(5000),
            retain_ms: Some(6000),
        },
        messages: None,
        tenants: vec![TenantWeight { tenant: "acme".to_owned(), weight: 3 }],
        outcomes: Some("outcomes".to_owned()),
    }
}

/// One record of every kind, with a name.
pub fn records() -> Vec<(&'static str, Record)> {
    let mut records = records_of_names();
    records.extend(records_of_jobs());
    records.extend(records_of_ends());
    records.extend(records_of_exchanges());
    records.extend(records_of_messages());
    records.extend(records_of_schedules());
    records.extend(records_of_limits());
    records.extend(records_of_gates());
    records.extend(records_of_streams());
    records.extend(super::accounts::records(AT));
    records.extend(super::keyed::records(AT));
    records.extend(records_of_transactions());
    records
}

fn records_of_exchanges() -> Vec<(&'static str, Record)> {
    let (id, to) = (ExchangeId(16), Destination::Queue { id: QueueId(2) });
    let exchange = Exchange {
        id,
        namespace: NS,
        name: "orders".to_owned(),
        kind: ExchangeKind::Topic,
        durable: true,
        auto_delete: false,
        internal: true,
        alternate: Some("unrouted".to_owned()),
        arguments: Bytes::from_static(b"a"),
    };
    let binding = Binding {
        source: id,
        destination: to,
        routing_key: "eu.#".to_owned(),
        matching: Matching::Any,
        headers: vec![("n".to_owned(), HeaderValue::Int { value: -7 })],
        arguments: Bytes::new(),
    };
    vec![
        ("exchange-created", Record::ExchangeCreated { exchange: Box::new(exchange) }),
        ("exchange-deleted", Record::ExchangeDeleted { namespace: NS, id }),
        (
            "binding-added",
            Record::BindingAdded { namespace: NS, binding: Box::new(binding.clone()) },
        ),
        (
            "policy-put",
            Record::PolicyPut {
                namespace: NS,
                name: "short".to_owned(),
                policy: Box::new(Policy {
                    pattern: "^mail\\.".to_owned(),
                    priority: -1,
                    max_length: Some(9),
                    overflow: Some(Overflow::RejectPublish),
                    ..Policy::default()
                }),
            },
        ),
        ("policy-deleted", Record::PolicyDeleted { namespace: NS, name: "short".to_owned() }),
        ("bindings-removed", Record::BindingsRemoved { namespace: NS, bindings: vec![binding] }),
        ("emptied", Record::Emptied { namespace: NS, what: to }),
    ]
}

fn message() -> Message {
    Message {
        exchange: "orders".to_owned(),
        routing_key: "eu.paid".to_owned(),
        further_keys: vec!["copy".to_owned()],
        priority: 5,
        persistent: true,
        ttl_ms: Some(1000),
        published_at: AT,
        properties: Bytes::from_static(&[0x10, 0, 2]),
        body: Bytes::from_static(b"hello"),
        deaths: vec![Death {
            queue: "mail".to_owned(),
            reason: MessageEnd::Rejected,
            count: 2,
            at: AT,
            exchange: "orders".to_owned(),
            routing_keys: vec!["eu.paid".to_owned()],
            ttl_ms: Some(9),
        }],
        hops: 2,
    }
}

fn records_of_messages() -> Vec<(&'static str, Record)> {
    let (queue, place) = (QueueId(2), Place(300));
    let entries = vec![(255, place), (0, Place(u64::MAX))];
    let message = message();
    let entry = NewEntry { queue, urgency: 250, expires_at: Some(AT) };
    vec![
        (
            "message-published",
            Record::MessagePublished {
                namespace: NS,
                place,
                message: Box::new(message.clone()),
                entries: vec![entry],
                events: vec![EventPlace { partition: PartitionId(9), offset: 17, key: None }],
            },
        ),
        (
            "messages-ended",
            Record::MessagesEnded {
                namespace: NS,
                queue,
                entries: entries.clone(),
                bytes: 10,
                end: MessageEnd::Acked,
                bodies: vec![BodyId(3)],
            },
        ),
        (
            "messages-returned",
            Record::MessagesReturned { namespace: NS, queue, entries: entries.clone() },
        ),
        (
            "message-delayed",
            Record::MessageDelayed {
                namespace: NS,
                place,
                at: AT,
                message: Box::new(message.clone()),
                headers: vec![("n".to_owned(), HeaderValue::Int { value: 7 })],
            },
        ),
        ("delay-passed", Record::DelayPassed { at: AT, place, body: Some(BodyId(3)) }),
        (
            "messages-untaken",
            Record::MessagesUntaken { namespace: NS, queue, entries: entries.clone() },
        ),
        (
            "messages-leased",
            Record::MessagesLeased {
                namespace: NS,
                queue,
                token: TOKEN,
                lease_ms: 30_000,
                entries: vec![((255, place), 5)],
            },
        ),
        (
            "leftovers-removed",
            Record::LeftoversRemoved {
                keys: vec![Bytes::from_static(&[100, 0, 0, 0, 1])],
                bodies: vec![BodyId(3)],
            },
        ),
        (
            "expiries-passed",
            Record::ExpiriesPassed { keys: vec![Bytes::from_static(&[104, 0, 0, 0, 1])] },
        ),
    ]
}

fn schedule() -> Schedule {
    let mut job = NewJob::new(ID, "welcome_email", Bytes::from_static(b"{\"user\":7}"));
    job.priority = Some(3);
    job.tags = vec!["eu".to_owned()];
    let spec = Spec::Cron { text: "*/5 8-18 * * MON-FRI".to_owned() };
    let settings = NewSchedule {
        zone: "Europe/Berlin".to_owned(),
        jitter_ms: 1000,
        starts_at: Some(AT),
        ends_at: Some(AT.plus(1 << 40)),
        missed: Missed::One,
        overlap: Overlap::QueueOne,
        description: Some("Greets".to_owned()),
        source: Some("schedule.yml".to_owned()),
        ..NewSchedule::new(spec, JobTemplate::of("mail".to_owned(), job))
    };
    let name = "greet".to_owned();
    let (id, created_at, changed_at) = (ScheduleId(4), AT, AT.plus(1));
    Schedule { id, namespace: NS, name, settings, created_at, changed_at }
}

fn records_of_schedules() -> Vec<(&'static str, Record)> {
    let next = Some(Slot { at: AT.plus(300_000), due: AT.plus(300_500) });
    let (namespace, id) = (NS, ScheduleId(4));
    let schedule = Box::new(schedule());
    vec![
        ("schedule-put", Record::SchedulePut { namespace, schedule, paused: true, next }),
        ("schedule-deleted", Record::ScheduleDeleted { namespace, id }),
        ("schedule-moved", Record::ScheduleMoved { namespace, id, paused: true, next }),
        (
            "schedule-ticked",
            Record::ScheduleTicked {
                namespace,
                id,
                slot: AT,
                outcome: TickOutcome::Refused { code: "queue_full".to_owned() },
                job: Some(ID),
                missed: 7,
                by_hand: true,
                next,
                live: vec![ID],
                made_up: 2,
            },
        ),
    ]
}

fn records_of_limits() -> Vec<(&'static str, Record)> {
    let (namespace, name, key) = (NS, "api".to_owned(), "acme".to_owned());
    let rule = LimitRule::Bucket { burst: 10, count: 2, period_ms: 1000 };
    let settings = LimitSettings { scope: LimitScope::Key, rule };
    let refill = LimitRefill { at: AT, namespace, name: name.clone(), key };
    let (args, available_at) = (Some(Bytes::from_static(b"[7]")), Some(AT));
    let (keys, next) = (vec!["eu".to_owned()], Some((1, Some("eu".to_owned()))));
    let settled = Upkeep::LimitKeysSettled { namespace, name: name.clone(), keys, next };
    vec![
        ("job-replaced", Record::JobReplaced { namespace, id: ID, args, available_at }),
        ("limit-put", Record::LimitPut { namespace, name: name.clone(), settings }),
        ("limit-deleted", Record::LimitDeleted { namespace, name }),
        ("limits-refilled", Record::LimitsRefilled { refills: vec![refill] }),
        ("upkeep", Record::Upkeep { fact: Box::new(settled) }),
    ]
}

fn records_of_gates() -> Vec<(&'static str, Record)> {
    let (namespace, name) = (NS, "bank".to_owned());
    let gate = Box::new(Gate {
        id: GateId(3),
        since: AT,
        closed: true,
        reason: Some("it is down".to_owned()),
        expires_at: Some(AT),
        queues: vec!["mail".to_owned()],
        kinds: vec!["Charge".to_owned()],
    });
    let gates = vec!["bank".to_owned(), "disk".to_owned()];
    let tag = || "shard=42".to_owned();
    let hold = Box::new(Hold { epoch: 7, since: AT, reason: Some("it moves".to_owned()) });
    vec![
        ("gate-put", Record::GatePut { namespace, name: name.clone(), gate }),
        (
            "sla-put",
            Record::SlaPut {
                namespace,
                name: name.clone(),
                sla: Box::new(Sla {
                    settings: SlaSettings {
                        target: SlaTarget::Queue { name: "mail".to_owned() },
                        goal: SlaGoal::StartedWithin { within_ms: 30_000 },
                        share: 9_900,
                        breach: None,
                    },
                    since: AT,
                    breached_at: Some(AT),
                    breaches: 2,
                    last_at: Some(AT),
                }),
            },
        ),
        (
            "kind-put",
            Record::KindPut {
                namespace,
                name: name.clone(),
                settings: Box::new(KindSettings {
                    defaults: JobDefaults { priority: Some(7), ..JobDefaults::default() },
                }),
            },
        ),
        ("sla-deleted", Record::SlaDeleted { namespace, name: name.clone() }),
        ("gate-deleted", Record::GateDeleted { namespace, name }),
        ("gate-set-named", Record::GateSetNamed { namespace, set: 1, gates }),
        ("hold-put", Record::HoldPut { namespace, tag: tag(), hold }),
        ("hold-deleted", Record::HoldDeleted { namespace, tag: tag() }),
        ("job-held-back", Record::JobHeldBack { namespace, id: ID, tag: tag() }),
        ("hold-let-go", Record::HoldLetGo { namespace, tag: tag(), jobs: vec![ID] }),
    ]
}

fn records_of_streams() -> Vec<(&'static str, Record)> {
    let (namespace, id, first) = (NS, StreamId(3), PartitionId(9));
    let (name, group) = ("orders".to_owned(), "billing".to_owned());
    let settings = StreamSettings {
        retention_ms: Some(3_600_000),
        retention_bytes: Some(1 << 30),
        batch_bytes_max: 4096,
        file_bytes: 1 << 20,
        compact: true,
        delete: false,
        compaction_dirty_ppm: 10_000,
        compaction_lag_ms_min: 1,
        compaction_lag_ms_max: Some(60_000),
        tombstone_ms: 1000,
        file_ms: 5000,
        triggers: vec![Trigger {
            name: "receipts".to_owned(),
            queue: "mail".to_owned(),
            kind: "SendReceipt".to_owned(),
            ordered: true,
            priority: Some(3),
            until: vec![7, 9],
        }],
        ordering_header: Some("customer".to_owned()),
        count_keys: true,
    };
    let committed =
        CommittedOffset { offset: 17, leader_epoch: Some(0), metadata: "host-1".to_owned() };
    let offsets = vec![OffsetNote { stream: id, partition: 1, committed }];
    let created = settings.clone();
    let batch = Bytes::from_static(b"a batch");
    vec![
        (
            "stream-created",
            Record::StreamCreated { namespace, id, name, first, partitions: 2, settings: created },
        ),
        ("stream-changed", Record::StreamChanged { id, settings }),
        ("partitions-added", Record::PartitionsAdded { id, first, added: 2 }),
        ("stream-deleted", Record::StreamDeleted { id }),
        (
            "stream-appended",
            Record::StreamAppended {
                partition: first,
                base_offset: 17,
                events: 3,
                producer_id: Some(7),
                producer_epoch: 1,
                sequence: 40,
                transactional: true,
                batch,
                keys: vec![AppendedKey {
                    key: Bytes::from_static(b"customer-9"),
                    events: 2,
                    first: 0,
                    last: 2,
                }],
            },
        ),
        ("stream-trimmed", Record::StreamTrimmed { partition: first, start: 10 }),
        ("producer-id-taken", Record::ProducerIdTaken { id: 7 }),
        (
            "offsets-committed",
            Record::OffsetsCommitted { namespace, group: group.clone(), offsets },
        ),
        (
            "offsets-forgotten",
            Record::OffsetsForgotten { namespace, group, offsets: vec![(id, 1)] },
        ),
        ("producers-forgotten", Record::ProducersForgotten { producers: vec![(first, 7)] }),
    ]
}

fn records_of_transactions() -> Vec<(&'static str, Record)> {
    let (namespace, partition, group) = (NS, PartitionId(9), "billing".to_owned());
    let committed =
        CommittedOffset { offset: 17, leader_epoch: Some(0), metadata: "host-1".to_owned() };
    let offsets = vec![OffsetNote { stream: StreamId(3), partition: 1, committed }];
    vec![
        (
            "transactional-id-taken",
            Record::TransactionalIdTaken {
                namespace,
                id: "payments-1".to_owned(),
                producer: 7,
                epoch: 3,
                timeout_ms: 60_000,
                previous: Some(2),
            },
        ),
        (
            "transaction-extended",
            Record::TransactionExtended { producer: 7, partitions: vec![partition] },
        ),
        ("transaction-offsets", Record::TransactionOffsets { producer: 7, group, offsets }),
        (
            "transaction-ended",
            Record::TransactionEnded {
                producer: 7,
                epoch: 3,
                committed: true,
                markers: vec![(partition, 20)],
            },
        ),
        ("transactional-ids-forgotten", Record::TransactionalIdsForgotten { producers: vec![7] }),
        ("aborted-forgotten", Record::AbortedForgotten { aborted: vec![(partition, 20)] }),
    ]
}

fn records_of_names() -> Vec<(&'static str, Record)> {
    let queue = QueueId(2);
    vec![
        ("epoch-started", Record::EpochStarted { epoch: Epoch(3) }),
        ("level-raised", Record::LevelRaised { level: LEVEL.into() }),
        ("namespace-created", Record::NamespaceCreated { id: NS, name: "default".to_owned() }),
        ("namespace-deleted", Record::NamespaceDeleted { id: NS }),
        ("namespace-emptied", Record::NamespaceEmptied { id: NS }),
        (
            "queue-created",
            Record::QueueCreated {
                namespace: NS,
                id: queue,
                name: "mail".to_owned(),
                settings: QueueSettings::DEFAULT,
            },
        ),
        ("queue-changed", Record::QueueChanged { id: queue, settings: settings() }),
        ("queue-deleted", Record::QueueDeleted { id: queue }),
        (
            "kind-named",
            Record::KindNamed {
                namespace: NS,
                id: KindId(3),
                name: "welcome_email".to_owned(),
                version: 2,
            },
        ),
        (
            "operation-changed",
            Record::OperationChanged {
                operation: Box::new(operation(purge(), OperationState::Running)),
            },
        ),
        ("operation-forgotten", Record::OperationForgotten { id: OperationId(4) }),
    ]
}

fn records_of_jobs() -> Vec<(&'static str, Record)> {
    vec![
        ("job-enqueued", Record::JobEnqueued { namespace: NS, job: Box::new(job(Phase::Waiting)) }),
        (
            "leases-granted",
            Record::LeasesGranted {
                namespace: NS,
                worker: "host-1".to_owned(),
                session: "s-1".to_owned(),
                ask: Some(8),
                seen: Some(7),
                grants: vec![Grant { id: ID, token: TOKEN, lease_ms: 30_000 }; 3],
            },
        ),
        (
            "session-forgotten",
            Record::SessionForgotten {
                namespace: NS,
                worker: "host-1".to_owned(),
                session: "s-1".to_owned(),
            },
        ),
        ("cancel-requested", Record::CancelRequested { namespace: NS, id: ID }),
        (
            "progress-reported",
            Record::ProgressReported {
                namespace: NS,
                id: ID,
                progress: Some(10_000),
                progress_text: Some("nearly".to_owned()),
            },
        ),
        (
            "job-checkpointed",
            Record::JobCheckpointed {
                namespace: NS,
                id: ID,
                token: TOKEN,
                saved: Box::new(Saved {
                    seq: Some(9),
                    cursor: Some(Bytes::from_static(b"{\"id\":48211}")),
                    progress: Some(3100),
                    progress_text: Some("a third".to_owned()),
                    counters: vec![("rows".to_owned(), 100), ("errors".to_owned(), -1)],
                    skipped: vec![skipped()],
                    skipped_dropped: 2,
                    counters_dropped: 1,
                }),
            },
        ),
        ("job-paused", Record::JobPaused { namespace: NS, id: ID }),
        ("job-resumed", Record::JobResumed { namespace: NS, id: ID }),
        (
            "cursor-set",
            Record::CursorSet { namespace: NS, id: ID, cursor: Some(Bytes::from_static(b"[7]")) },
        ),
        ("job-retried", Record::JobRetried { namespace: NS, id: ID, place: Some(Place(u64::MAX)) }),
        ("job-rescheduled", Record::JobRescheduled { namespace: NS, id: ID, available_at: AT }),
        ("job-removed", Record::JobRemoved { namespace: NS, id: ID }),
        (
            "timers-passed",
            Record::TimersPassed {
                timers: vec![
                    (AT, Subject::Job { namespace: NS, id: ID }),
                    (AT.plus(1), Subject::Job { namespace: NS, id: ID }),
                ],
            },
        ),
    ]
}

fn records_of_ends() -> Vec<(&'static str, Record)> {
    let next = Next::Dead { reason: DeadReason::Exhausted, forget_at: AT.plus(9) };
    vec![
        (
            "job-succeeded",
            Record::JobSucceeded {
                namespace: NS,
                id: ID,
                token: TOKEN,
                result: Some(Bytes::from_static(b"[1,2]")),
                location: Some("/reports/7".to_owned()),
            },
        ),
        (
            "attempt-failed",
            Record::AttemptFailed {
                namespace: NS,
                id: ID,
                token: TOKEN,
                cause: Cause::Failed,
                error: Some(error()),
                next,
            },
        ),
        (
            "job-snoozed",
            Record::JobSnoozed { namespace: NS, id: ID, token: TOKEN, available_at: AT },
        ),
        ("job-released", Record::JobReleased { namespace: NS, id: ID, token: TOKEN, ran: true }),
        (
            "job-interrupted",
            Record::JobInterrupted {
                namespace: NS,
                id: ID,
                token: TOKEN,
                reason: "deploy".to_owned(),
                available_at: Some(AT),
            },
        ),
        (
            "job-cancelled",
            Record::JobCancelled {
                namespace: NS,
                id: ID,
                token: Some(TOKEN),
                reason: CancelReason::Discarded,
                error: Some(error()),
            },
        ),
        ("job-expired", Record::JobExpired { namespace: NS, id: ID }),
        (
            "job-died",
            Record::JobDied { namespace: NS, id: ID, reason: DeadReason::MaxAge, forget_at: AT },
        ),
        (
            "outcomes-forgotten",
            Record::OutcomesForgotten {
                namespace: NS,
                lots: vec![(AT, ID); 3],
                tombstones_until: AT,
            },
        ),
        (
            "tombstones-forgotten",
            Record::TombstonesForgotten { namespace: NS, tombstones: vec![(AT, ID)], early: 1 },
        ),
    ]
}

/// One value of every type, as the target `values` numbers them.
pub(super) fn values() -> Vec<Named> {
    let succeeded = Phase::Succeeded {
        ended_at: AT,
        result: Some(Body::Stored { id: BodyId(5), length: 70_000 }),
        location: Some("/reports/7".to_owned()),
    };
    let dead = Phase::Dead { ended_at: AT, reason: DeadReason::Lost, forget_at: AT };
    let delete = OperationKind::DeleteQueue { queue: "mail".to_owned() };
    let finished = operation(delete, OperationState::Finished);
    let moves = operation(redrive(), OperationState::Running);
    vec![
        named(0, "job-waiting", &job(Phase::Waiting)),
        named(0, "job-succeeded", &Job { args: None, ..job(succeeded.clone()) }),
        named(0, "job-dead", &job(dead)),
        named(1, "queue", &queue()),
        named(2, "lease", &lease()),
        named(3, "attempt-note", &note()),
        named(4, "operation-purge", &operation(purge(), OperationState::Running)),
        named(4, "operation-move", &moves),
        named(4, "operation-delete", &finished),
        named(5, "queue-settings", &settings()),
        named(6, "job-options", &job(Phase::Retrying).options),
        named(7, "phase-succeeded", &succeeded),
        named(7, "phase-expired", &Phase::Expired { ended_at: AT }),
        named(8, "body-stored", &Body::Stored { id: BodyId(5), length: u64::MAX }),
        named(9, "next-retry", &Next::RetryAt { available_at: AT }),
        named(10, "retry-policy", &RetryPolicy::Sidekiq),
        named(11, "job-error", &error()),
        named(12, "grant", &Grant { id: ID, token: TOKEN, lease_ms: 30_000 }),
        named(13, "token", &TOKEN),
        named(14, "checkpoint", &checkpoint()),
        named(15, "skipped-item", &skipped()),
        (
            "nasty-tags".to_owned(),
            [vec![6, 0, 1, 1, 8, 0xff, 0x1f], vec![0; 4095], vec![0]].concat(),
        ),
        ("nasty-length".to_owned(), vec![8, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]),
    ]
}

fn lease() -> Lease {
    Lease {
        token: TOKEN,
        attempt: 2,
        started_at: AT,
        worker: "host-1".into(),
        session: "s-1".into(),
        lease_ms: 30_000,
        cancel_requested: true,
        progress: Some(5000),
        progress_text: Some("half".to_owned()),
    }
}

fn checkpoint() -> Checkpoint {
    Checkpoint {
        token: Some(TOKEN),
        seq: 9,
        moved: true,
        cursor: Some(Bytes::from_static(b"[48211]")),
        counters: vec![("rows".to_owned(), 100), ("errors".to_owned(), i64::MIN)],
        progress: Some(3100),
        progress_text: Some("a third".to_owned()),
        skipped: 1,
        skipped_bytes: 70,
        skipped_dropped: 2,
        counters_dropped: 1,
        interruptions: 3,
        interrupted_for: Some("deploy".to_owned()),
    }
}

fn skipped() -> SkippedItem {
    SkippedItem { cursor: Bytes::from_static(b"7"), error: error(), at: AT }
}

fn note() -> AttemptNote {
    AttemptNote {
        attempt: 1,
        token: TOKEN,
        started_at: AT,
        ended_at: AT.plus(7),
        worker: "host-1".to_owned(),
        cause: Cause::Timeout,
        error: Some(error()),
    }
}

fn queue() -> Queue {
    let counts = QueueCounts {
        waiting: 5,
        blocked: 1,
        scheduled: 2,
        retrying: 1,
        running: 3,
        dead: 1,
        due_until: AT.second(),
        enqueued_total: 1 << 40,
        succeeded_total: 7,
        failed_total: 3,
        dead_total: 1,
        cancelled_total: 0,
        messages: 9,
        message_bytes: 900,
        published_total: 12,
        acked_total: 2,
        dropped_total: 1,
    };
    let name = "mail".to_owned();
    Queue { id: QueueId(2), namespace: NS, name, settings: settings(), counts }
}

fn named(which: u8, name: &str, value: &impl Wire) -> Named {
    (name.to_owned(), [vec![which], value.to_bytes().to_vec()].concat())
}
