//! Facts that happened. Their numbers are permanent: a changed meaning is a new number.

mod entry;
mod grant;
mod next;
mod prelude;
mod upkeep;
use prelude::*;
pub use {entry::Entry, grant::Grant, next::Next, upkeep::Upkeep};

wire_enum! {
    /// One fact. All of an entry happened together, at the entry's instant.
    pub enum Record {
        /// The shard began a new life; tokens of earlier ones are older.
        1 => EpochStarted {
            /// Which.
            epoch: Epoch,
        },
        /// From here on records and keys of this level are written; no shard needs it so far.
        2 => LevelRaised {
            /// The level.
            level: u32,
        },
        /// A namespace was created.
        3 => NamespaceCreated {
            /// Its number.
            id: NamespaceId,
            /// Its name.
            name: String,
        },
        /// A namespace without queues was removed. What is kept of its jobs goes bit by bit.
        4 => NamespaceDeleted {
            /// Which.
            id: NamespaceId,
        },
        /// A queue was created.
        5 => QueueCreated {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its number.
            id: QueueId,
            /// Its name.
            name: String,
            /// Its settings.
            settings: QueueSettings,
        },
        /// A queue's settings changed.
        6 => QueueChanged {
            /// Which.
            id: QueueId,
            /// What holds from now on.
            settings: QueueSettings,
        },
        /// A queue without jobs was removed.
        7 => QueueDeleted {
            /// Which.
            id: QueueId,
        },
        /// A kind in one version was seen for the first time in a namespace.
        8 => KindNamed {
            /// The namespace.
            namespace: NamespaceId,
            /// Its number.
            id: KindId,
            /// Its name.
            name: String,
            /// Its version; 0 for none.
            version: u32 = 70,
        },
        /// A job entered.
        9 => JobEnqueued {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job; large args stand here too and are stored apart by `apply`.
            job: Box<Job>,
        },
        /// Jobs were handed to a worker.
        10 => LeasesGranted {
            /// Their namespace.
            namespace: NamespaceId,
            /// Who got them.
            worker: String,
            /// The worker's session.
            session: String,
            /// The ask that they answer.
            ask: Option<u64> = 1,
            /// Grants of asks up to here arrived; of later ones this session keeps the list.
            seen: Option<u64> = 2,
            /// The jobs.
            grants: Vec<Grant>,
        },
        /// Sessions without requests were forgotten.
        11 => SessionForgotten {
            /// Their namespace.
            namespace: NamespaceId,
            /// The worker.
            worker: String,
            /// Its session.
            session: String,
        },
        /// A run succeeded.
        12 => JobSucceeded {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// The lease that ended.
            token: Token,
            /// JSON text.
            result: Option<Bytes> = 1,
            /// The resource that it made.
            location: Option<String> = 2,
        },
        /// An attempt did not succeed.
        13 => AttemptFailed {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// The lease that ended.
            token: Token,
            /// Why.
            cause: Cause,
            /// What the worker said.
            error: Option<JobError> = 1,
            /// What follows.
            next: Next,
        },
        /// A run was put off.
        14 => JobSnoozed {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// The lease that ended.
            token: Token,
            /// When it may start again.
            available_at: TimeMs,
        },
        /// A run was given back, or its delivery never arrived.
        15 => JobReleased {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// The lease that ended.
            token: Token,
            /// Whether the job had run, or may have: then its time counts.
            ran: bool,
        },
        /// A job was called off.
        16 => JobCancelled {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// The lease that ended, if it ran.
            token: Option<Token> = 1,
            /// By whom.
            reason: CancelReason,
            /// Why, where its worker says so.
            error: Option<JobError> = 2,
        },
        /// Somebody asked to cancel a running job.
        17 => CancelRequested {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
        },
        /// A worker told how far it is.
        18 => ProgressReported {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// 0 to 10,000: hundredths of a per cent.
            progress: Option<u16> = 1,
            /// In words.
            progress_text: Option<String> = 2,
        },
        /// A job was not started in time.
        19 => JobExpired {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
        },
        /// A waiting job ran out of time for another attempt.
        20 => JobDied {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// Why.
            reason: DeadReason,
            /// Until when it is kept.
            forget_at: TimeMs,
        },
        /// A dead or retrying job may start again now.
        21 => JobRetried {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// Its new order of entry, where it had left its place.
            place: Option<Place> = 1,
        },
        /// A waiting or dead job was removed without an outcome.
        22 => JobRemoved {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
        },
        /// Outcomes past their retention were forgotten.
        23 => OutcomesForgotten {
            /// Their namespace.
            namespace: NamespaceId,
            /// When they were due and the first job of each lot that was filed together.
            lots: Vec<(TimeMs, JobId)>,
            /// Until when the ids that clients chose are remembered.
            tombstones_until: TimeMs,
        },
        /// Tombstones were dropped.
        24 => TombstonesForgotten {
            /// Their namespace.
            namespace: NamespaceId,
            /// When they were due and which they were.
            tombstones: Vec<(TimeMs, JobId)>,
            /// How many of them were dropped before their time.
            early: u64 = 1,
        },
        /// Timers that concern nobody any more were dropped.
        25 => TimersPassed {
            /// Their instants, and what they were about.
            timers: Vec<(TimeMs, Subject)>,
        },
        /// An operation started, advanced or ended.
        26 => OperationChanged {
            /// As it is now.
            operation: Box<Operation>,
        },
        /// A finished operation was forgotten.
        27 => OperationForgotten {
            /// Which.
            id: OperationId,
        },
        /// A run saved how far it has come.
        28 => JobCheckpointed {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// The lease that saved it.
            token: Token,
            /// What it saved.
            saved: Box<Saved>,
        },
        /// A run was interrupted; another one goes on from its cursor.
        29 => JobInterrupted {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// The lease that ended.
            token: Token,
            /// Why.
            reason: String,
            /// When it may go on, where not at its old place.
            available_at: Option<TimeMs> = 1,
        },
        /// A job is held back until it is resumed.
        30 => JobPaused {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
        },
        /// A job is held back no longer.
        31 => JobResumed {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
        },
        /// Somebody said where the next run begins.
        32 => CursorSet {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// There; `None` for at the beginning.
            cursor: Option<Bytes> = 1,
        },
        /// Nothing is left of a namespace that was removed.
        33 => NamespaceEmptied {
            /// Which.
            id: NamespaceId,
        },
        /// Somebody moved a waiting or retrying job to another time.
        34 => JobRescheduled {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// When it may start.
            available_at: TimeMs,
        },
        /// An exchange was declared.
        100 => ExchangeCreated {
            /// As it is kept.
            exchange: Box<Exchange>,
        },
        /// An exchange was deleted. Its bindings lead nowhere from then on and go bit by bit.
        101 => ExchangeDeleted {
            /// Its namespace.
            namespace: NamespaceId,
            /// Which.
            id: ExchangeId,
        },
        /// A queue or an exchange was bound to an exchange.
        102 => BindingAdded {
            /// Its namespace.
            namespace: NamespaceId,
            /// The binding.
            binding: Box<Binding>,
        },
        /// Bindings were removed.
        103 => BindingsRemoved {
            /// Their namespace.
            namespace: NamespaceId,
            /// The bindings.
            bindings: Vec<Binding>,
        },
        /// A message entered the queues that it was routed to.
        104 => MessagePublished {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its order of entry, the same in all of them.
            place: Place,
            /// The message.
            message: Box<Message>,
            /// Where it entered.
            entries: Vec<NewEntry>,
            /// Where it is an event.
            events: Vec<EventPlace> = 80,
        },
        /// Messages left their queue.
        105 => MessagesEnded {
            /// Its namespace.
            namespace: NamespaceId,
            /// The queue.
            queue: QueueId,
            /// Which: 255 - priority and order of entry of each.
            entries: Vec<(u8, Place)>,
            /// Bytes of their bodies.
            bytes: u64,
            /// How.
            end: MessageEnd,
            /// Bodies that stand apart, one for each of them that held one.
            bodies: Vec<BodyId> = 60,
        },
        /// Messages went back to their old places, which is counted.
        106 => MessagesReturned {
            /// Its namespace.
            namespace: NamespaceId,
            /// The queue.
            queue: QueueId,
            /// Which.
            entries: Vec<(u8, Place)>,
        },
        /// Messages were taken for a time.
        107 => MessagesLeased {
            /// Its namespace.
            namespace: NamespaceId,
            /// The queue.
            queue: QueueId,
            /// The token of the first; those of the others follow it one by one.
            token: Token,
            /// For how long.
            lease_ms: u64,
            /// Which, with the bytes of their bodies.
            entries: Vec<((u8, Place), u64)>,
        },
        /// Something of what was deleted went.
        108 => LeftoversRemoved {
            /// Keys of the state that hold nothing any more.
            keys: Vec<Bytes>,
            /// Bodies that stand apart, one for each message under these keys that held one.
            bodies: Vec<BodyId> = 60,
        },
        /// Nothing is left of a queue or an exchange that was deleted.
        109 => Emptied {
            /// Its namespace.
            namespace: NamespaceId,
            /// Which.
            what: Destination,
        },
        /// Instants passed at which messages would have expired: those that did have ended.
        110 => ExpiriesPassed {
            /// Keys of the state that named them.
            keys: Vec<Bytes>,
        },
        /// Messages that were taken for a time came to nobody and went back, which is not counted.
        111 => MessagesUntaken {
            /// Its namespace.
            namespace: NamespaceId,
            /// The queue.
            queue: QueueId,
            /// Which.
            entries: Vec<(u8, Place)>,
        },
        /// A message was published that is to be routed later.
        112 => MessageDelayed {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its order among those of the same instant.
            place: Place,
            /// When.
            at: TimeMs,
            /// The message.
            message: Box<Message>,
            /// What it is routed by beside its keys.
            headers: Vec<(String, HeaderValue)> = 1,
        },
        /// The time of such a message came. The record that follows has where it entered.
        113 => DelayPassed {
            /// When it was to be routed.
            at: TimeMs,
            /// Its order among those of the same instant.
            place: Place,
            /// Its body, where that stood apart.
            body: Option<BodyId> = 60,
        },
        /// A policy was created or changed.
        140 => PolicyPut {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its name.
            name: String,
            /// As it is now.
            policy: Box<Policy>,
        },
        /// A policy was removed.
        141 => PolicyDeleted {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its name.
            name: String,
        },
        /// A schedule was created, or its settings were replaced.
        130 => SchedulePut {
            /// Its namespace.
            namespace: NamespaceId,
            /// As it is now.
            schedule: Box<Schedule>,
            /// Nothing comes until it is resumed.
            paused: bool = 1,
            /// The slot that comes next.
            next: Option<Slot> = 2,
        },
        /// A schedule was removed.
        131 => ScheduleDeleted {
            /// Its namespace.
            namespace: NamespaceId,
            /// Which.
            id: ScheduleId,
        },
        /// A schedule was paused or resumed, or somebody named its next slot.
        132 => ScheduleMoved {
            /// Its namespace.
            namespace: NamespaceId,
            /// Which.
            id: ScheduleId,
            /// Nothing comes until it is resumed.
            paused: bool = 1,
            /// The slot that comes next.
            next: Option<Slot> = 2,
        },
        /// A schedule fired. What comes next is named here, and nobody computes it again.
        133 => ScheduleTicked {
            /// Its namespace.
            namespace: NamespaceId,
            /// Which.
            id: ScheduleId,
            /// The slot.
            slot: TimeMs,
            /// What it brought about.
            outcome: TickOutcome,
            /// The job that it enqueued, whose record stands before this one.
            job: Option<JobId> = 1,
            /// Slots before it that were passed over as missed, as far as they were counted.
            missed: u64 = 2,
            /// Somebody asked for it: the next slot stays.
            by_hand: bool = 3,
            /// The slot that comes next.
            next: Option<Slot> = 4,
            /// Its jobs that have not ended, where that matters.
            live: Vec<JobId> = 5,
            /// Missed slots in a row that were made up for.
            made_up: u32 = 6,
        },
        /// A job whose unique key another one has gave that one, which waits, what it had.
        150 => JobReplaced {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job that waits.
            id: JobId,
            /// Its args from now on, where they change.
            args: Option<Bytes> = 1,
            /// When it may start, where that changes.
            available_at: Option<TimeMs> = 2,
        },
        /// A limit was put, or its numbers changed.
        151 => LimitPut {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its name.
            name: String,
            /// What holds from now on.
            settings: LimitSettings,
        },
        /// A limit was removed.
        152 => LimitDeleted {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its name.
            name: String,
        },
        /// Time brought budgets of limits back.
        153 => LimitsRefilled {
            /// Which.
            refills: Vec<LimitRefill>,
        },
        /// A gate was put, closed or opened.
        170 => GatePut {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its name.
            name: String,
            /// As it is now.
            gate: Box<Gate>,
        },
        /// A gate was removed.
        171 => GateDeleted {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its name.
            name: String,
        },
        /// Jobs name this set of gates from now on. No job needs what had its number before.
        172 => GateSetNamed {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its number there.
            set: u16,
            /// The gates, in the order of their names.
            gates: Vec<String>,
        },
        /// A tag is held from now on.
        173 => HoldPut {
            /// Its namespace.
            namespace: NamespaceId,
            /// The tag.
            tag: String,
            /// The hold.
            hold: Box<Hold>,
        },
        /// A tag is held no longer.
        174 => HoldDeleted {
            /// Its namespace.
            namespace: NamespaceId,
            /// The tag.
            tag: String,
        },
        /// A job that could have started stands aside, since a tag of it is held.
        175 => JobHeldBack {
            /// Its namespace.
            namespace: NamespaceId,
            /// The job.
            id: JobId,
            /// The tag.
            tag: String,
        },
        /// Jobs that stood aside for a tag do so no longer.
        176 => HoldLetGo {
            /// Their namespace.
            namespace: NamespaceId,
            /// The tag.
            tag: String,
            /// Which.
            jobs: Vec<JobId>,
        },
        /// A fact about limits, gates, levels or waiting jobs: see [`Upkeep`].
        220 => Upkeep {
            /// The fact.
            fact: Box<Upkeep>,
        },
        /// A service level was put, breached or kept again.
        190 => SlaPut {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its name.
            name: String,
            /// As it is now.
            sla: Box<Sla>,
        },
        /// A service level was removed.
        191 => SlaDeleted {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its name.
            name: String,
        },
        /// A stream was created.
        200 => StreamCreated {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its number.
            id: StreamId,
            /// Its name.
            name: String,
            /// The number of its first partition; the others follow.
            first: PartitionId,
            /// How many partitions it has.
            partitions: u32,
            /// Its settings.
            settings: StreamSettings,
        },
        /// The settings of a stream changed.
        201 => StreamChanged {
            /// Which.
            id: StreamId,
            /// What holds from now on.
            settings: StreamSettings,
        },
        /// A stream has more partitions.
        202 => PartitionsAdded {
            /// Which.
            id: StreamId,
            /// The number of the first new one; the others follow.
            first: PartitionId,
            /// How many are new.
            added: u32,
        },
        /// A stream was removed with its events.
        203 => StreamDeleted {
            /// Which.
            id: StreamId,
        },
        /// A batch of events was appended.
        204 => StreamAppended {
            /// To which partition.
            partition: PartitionId,
            /// The offset of the first event.
            base_offset: u64,
            /// How many events there are.
            events: u32,
            /// The producer, where it says who it is.
            producer_id: Option<u64> = 1,
            /// Its epoch.
            producer_epoch: u32 = 2,
            /// The producer's number of the first event.
            sequence: u32 = 3,
            /// Whether it belongs to the producer's transaction.
            transactional: bool = 80,
            /// The batch as it came: `apply` does not keep it.
            batch: Bytes,
            /// Its events by their keys, where the stream counts them.
            keys: Vec<AppendedKey> = 251,
        },
        /// The first events of a partition are kept no longer.
        205 => StreamTrimmed {
            /// Which partition.
            partition: PartitionId,
            /// The first offset that is kept.
            start: u64,
        },
        /// A producer took a number.
        206 => ProducerIdTaken {
            /// Which.
            id: u64,
        },
        /// A group of consumers said how far it has read.
        207 => OffsetsCommitted {
            /// Its namespace.
            namespace: NamespaceId,
            /// The group.
            group: String,
            /// What it said.
            offsets: Vec<OffsetNote>,
        },
        /// Offsets of a group were forgotten.
        208 => OffsetsForgotten {
            /// Its namespace.
            namespace: NamespaceId,
            /// The group.
            group: String,
            /// Streams and indexes of partitions.
            offsets: Vec<(StreamId, u32)>,
        },
        /// Producers were forgotten that appended nothing for long, or whose partition is gone.
        209 => ProducersForgotten {
            /// Partitions, each with a producer.
            producers: Vec<(PartitionId, u64)>,
        },
        /// A producer took a transactional id, for the first time or in a new epoch.
        230 => TransactionalIdTaken {
            /// Its namespace.
            namespace: NamespaceId,
            /// The id.
            id: String,
            /// The number of the producer.
            producer: u64,
            /// Its epoch.
            epoch: u32,
            /// How long a transaction may be open.
            timeout_ms: u64,
            /// The epoch in place of which the producer itself asked for this one.
            previous: Option<u32> = 1,
        },
        /// A transaction was opened, or may append to more partitions.
        231 => TransactionExtended {
            /// Its producer.
            producer: u64,
            /// Which partitions are new.
            partitions: Vec<PartitionId>,
        },
        /// A transaction has offsets of a group, which hold once it is committed.
        232 => TransactionOffsets {
            /// Its producer.
            producer: u64,
            /// The group.
            group: String,
            /// What it said.
            offsets: Vec<OffsetNote>,
        },
        /// A transaction was committed or aborted, in all of its partitions.
        233 => TransactionEnded {
            /// Its producer.
            producer: u64,
            /// The epoch that is current from now on: a higher one where somebody else ended it.
            epoch: u32,
            /// Whether it was committed.
            committed: bool,
            /// Partitions, each with the offset of the marker there.
            markers: Vec<(PartitionId, u64)>,
        },
        /// Transactional ids were forgotten that nobody used for long.
        234 => TransactionalIdsForgotten {
            /// Their producers.
            producers: Vec<u64>,
        },
        /// Aborted transactions were forgotten whose events are kept no longer.
        235 => AbortedForgotten {
            /// Partitions, each with the offset of the marker.
            aborted: Vec<(PartitionId, u64)>,
        },
        /// An account was created or changed.
        210 => AccountPut {
            /// As it is now.
            account: Box<Account>,
        },
        /// An account was removed.
        211 => AccountRemoved {
            /// Its name.
            name: String,
        },
        /// A change was noted in the trail.
        212 => AuditNoted {
            /// The entry.
            entry: Box<AuditEntry>,
        },
        /// The oldest entries of the trail were forgotten.
        213 => AuditForgotten {
            /// The last of them.
            through: u64,
        },
        /// Something of a kind was set.
        180 => KindPut {
            /// Its namespace.
            namespace: NamespaceId,
            /// Its name.
            name: String,
            /// What holds from now on.
            settings: Box<KindSettings>,
        },
        /// A command with a key was carried out: its answer is kept.
        214 => AnswerKept {
            /// The answer.
            kept: Box<KeptAnswer>,
        },
        /// The oldest answers were forgotten.
        215 => AnswersForgotten {
            /// The last of them.
            through: u64,
        },
    }
}
