//! What a driver does for one input after the other.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::*;
use crate::answer::Answer;
use crate::command::{EnqueueJobs, LeaseJobs, NewJob, QueuePattern};
use crate::ids::{ConnectionId, JobId, TimeMs};
use crate::limits::Limits;
use crate::map::{OrderedMap, Reader};
use crate::message::{
    ConsumeMessages, DeclareQueue, LeaseMessages, MessageSettings, PublishMessage,
};

/// A tree that is set aside and flushed in no time.
#[derive(Debug, Default)]
struct TestTree {
    entries: std::collections::BTreeMap<Vec<u8>, Bytes>,
    bytes: usize,
    position: Position,
    /// Whether something is sealed and not flushed.
    is_sealed: bool,
}

impl Reader for TestTree {
    fn get(&self, key: &[u8]) -> Option<Bytes> {
        Reader::get(&self.entries, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        visit: &mut dyn FnMut(&[u8], &Bytes) -> ControlFlow<()>,
    ) {
        self.entries.scan(from, to, visit);
    }
}

impl OrderedMap for TestTree {
    fn put(&mut self, position: Position, key: &[u8], value: Option<&[u8]>) {
        self.bytes += key.len() + value.map_or(0, <[u8]>::len);
        self.entries.put(position, key, value);
    }

    fn seal(&mut self, position: Position) {
        self.position = position;
    }
}

impl Tree for TestTree {
    fn active_bytes(&self) -> usize {
        self.bytes
    }

    fn is_due(&self) -> bool {
        self.bytes >= 100_000
    }

    fn can_rotate(&self) -> bool {
        !self.is_sealed
    }

    fn rotate(&mut self) -> Option<Position> {
        (self.bytes, self.is_sealed) = (0, true);
        Some(self.position)
    }
}

/// A driver, its clock, and what it wants.
struct Shard {
    driver: Driver<TestTree, u64>,
    clock: Clock,
    calls: u64,
}

impl Shard {
    fn new() -> Self {
        let clock = Clock { wall: TimeMs(1_000_000), mono: MonoMs(1000), random: 7 };
        let at = (Position::START, Position::START);
        let start = Start::begin(TestTree::default(), at, false, Limits::default(), NoFaults);
        let policy = Policy { journal_bytes_max: 2000, ..Policy::of(100_000) };
        let (driver, first) = start.unwrap().serve(clock, &["default"], policy);
        let mut shard = Self { driver, clock, calls: 0 };
        assert!(shard.step(Input::Committed(first.last())).is_empty());
        shard
    }

    fn step(&mut self, input: Input<u64>) -> Vec<Action<u64>> {
        let mut out = Vec::new();
        self.driver.step(input, self.clock, &mut out);
        out
    }

    /// A call whose caller is its number.
    fn call(&mut self, command: Command) -> Vec<Action<u64>> {
        self.calls += 1;
        let (class, bytes, caller) = (Class::of(&command), bytes_of(&command), self.calls);
        let request = Request { namespace: "default".into(), reply_to: ReplyTo(caller), command };
        self.step(Input::Call(Call { request, caller, class, bytes }))
    }

    /// Ends the turn, which has a group made durable, and says that it is.
    fn commit(&mut self) -> Vec<Action<u64>> {
        let last = self.seal();
        self.step(Input::Committed(last))
    }

    fn seal(&mut self) -> Position {
        let out = self.step(Input::EndTurn);
        let group = out.iter().find_map(|action| match action {
            Action::Commit { group, .. } => Some(group.last()),
            _ => None,
        });
        group.unwrap_or_else(|| panic!("nothing is committed: {out:?}"))
    }
}

fn bulk(jobs: std::ops::Range<u8>, bytes: usize) -> Command {
    let job = |n| NewJob::new(JobId([n + 1; 16]), "k", vec![b'1'; bytes]);
    Command::EnqueueJobs(EnqueueJobs { queue: "q".into(), jobs: jobs.map(job).collect() })
}

fn lease(max: usize) -> Command {
    Command::LeaseJobs(Box::new(LeaseJobs {
        queues: vec![QueuePattern::Exactly("q".into())],
        kinds: None,
        max,
        wait_ms: 0,
        lease_ms: None,
        worker: "w".into(),
        session: String::new(),
        ask: None,
        seen: None,
        settle: Vec::new(),
        prefetch: false,
    }))
}

/// Who is answered, and with how many jobs.
fn answers(actions: &[Action<u64>]) -> Vec<(u64, usize)> {
    let of = |action: &Action<u64>| match action {
        Action::Reply { caller, answer: Answer::Leased { jobs, .. }, .. } => {
            Some((*caller, jobs.len()))
        }
        Action::Reply { caller, .. } => Some((*caller, 0)),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

#[test]
fn an_answer_waits_for_its_group_and_the_next_group_for_it() {
    let mut shard = Shard::new();
    assert!(shard.call(bulk(0..1, 10)).is_empty());
    let first = shard.seal();
    assert!(shard.call(bulk(1..2, 10)).is_empty());
    assert!(shard.step(Input::EndTurn).is_empty(), "one group at a time");
    assert_eq!(answers(&shard.step(Input::Committed(first))), [(1, 0)]);
    assert_eq!(answers(&shard.commit()), [(2, 0)]);
}

#[test]
fn what_costs_much_to_replay_is_flushed_once_it_is_durable_and_then_given_back() {
    let mut shard = Shard::new();
    shard.call(bulk(0..3, 1000));
    let last = shard.seal();
    assert!(shard.driver.tree().is_sealed);
    let out = shard.step(Input::Committed(last));
    assert!(matches!(out[0], Action::Flush { durable } if durable == last), "{out:?}");
    let out = shard.step(Input::Flushed { persisted: last, events: None });
    assert!(matches!(out[..], [Action::Truncate { before }] if before == last.next()), "{out:?}");
}

#[test]
fn the_journal_is_kept_as_far_as_events_are_not_in_their_files() {
    let mut shard = Shard::new();
    shard.call(bulk(0..3, 1000));
    let last = shard.seal();
    shard.step(Input::Committed(last));
    let events = Some(Position(last.0 - 1));
    let out = shard.step(Input::Flushed { persisted: last, events });
    assert!(matches!(out[..], [Action::Truncate { before }] if before == last), "{out:?}");
    let events = Some(last.next());
    let out = shard.step(Input::Flushed { persisted: last, events });
    assert!(matches!(out[..], [Action::Truncate { before }] if before == last.next()), "{out:?}");
}

#[test]
fn a_journal_that_is_quiet_is_marked_once() {
    let mut shard = Shard::new();
    assert_eq!(shard.driver.rest(shard.clock).wake_ms, Some(10));
    shard.clock.mono = shard.clock.mono.plus(10);
    assert!(matches!(shard.step(Input::EndTurn)[..], [Action::Mark]));
    assert!(shard.step(Input::EndTurn).is_empty());
}

#[test]
fn what_is_granted_to_a_caller_that_has_gone_goes_back() {
    let mut shard = Shard::new();
    shard.call(bulk(0..2, 10));
    shard.commit();
    shard.call(lease(2));
    let last = shard.seal();
    shard.step(Input::CallerGone(ReplyTo(2)));
    assert!(!shard.driver.is_awaited(ReplyTo(2)));
    let out = shard.step(Input::Committed(last));
    assert!(matches!(out[..], [Action::Unheard { .. }]), "{out:?}");
    assert_eq!(shard.driver.rest(shard.clock).wake_ms, Some(0));
    assert_eq!(shard.commit().len(), 0, "nobody hears of what goes back");
    shard.call(lease(9));
    assert_eq!(answers(&shard.commit()), [(3, 2)]);
}

#[test]
fn callers_are_let_go_while_there_is_no_space_and_what_they_asked_for_is_done_after_it() {
    let mut shard = Shard::new();
    shard.call(bulk(0..1, 10));
    let last = shard.seal();
    let out = shard.step(Input::Starved);
    let [Action::Shortage { begins: true }, Action::Dismiss { caller: 1 }] = out[..] else {
        panic!("{out:?}");
    };
    assert!(matches!(shard.call(lease(1))[..], [Action::Dismiss { caller: 2 }]));
    let out = shard.step(Input::Committed(last));
    assert!(matches!(out[..], [Action::Unheard { .. }, Action::Shortage { begins: false }]));
    shard.call(lease(1));
    assert_eq!(answers(&shard.commit()), [(3, 1)]);
}

/// A worker whose heartbeats nobody could hear lost its job when there was space again.
#[test]
fn no_lease_ends_because_of_a_shortage() {
    let mut shard = Shard::new();
    shard.call(bulk(0..1, 10));
    shard.commit();
    shard.call(lease(1));
    assert_eq!(answers(&shard.commit()), [(2, 1)]);
    shard.call(bulk(1..2, 10));
    let last = shard.seal();
    shard.step(Input::Starved);
    shard.clock.mono = shard.clock.mono.plus(3_600_000);
    shard.step(Input::Committed(last));
    shard.step(Input::EndTurn);
    shard.call(lease(9));
    assert_eq!(answers(&shard.commit()), [(4, 1)], "the other job is still leased");
}

#[test]
fn nothing_is_granted_on_a_disk_that_has_room_for_settlements_alone() {
    let mut shard = Shard::new();
    shard.call(bulk(0..1, 10));
    shard.commit();
    shard.step(Input::Disk(DiskLevel::SettleOnly));
    shard.call(lease(1));
    assert_eq!(answers(&shard.step(Input::EndTurn)), [(2, 0)]);
    assert_eq!(shard.driver.rest(shard.clock).wake_ms, Some(10), "the mark comes first");
    shard.step(Input::Disk(DiskLevel::Ample));
    shard.call(lease(1));
    assert_eq!(answers(&shard.commit()), [(3, 1)]);
}

#[test]
fn a_shard_ends_with_everything_durable_flushed_and_marked() {
    let mut shard = Shard::new();
    shard.call(bulk(0..1, 10));
    shard.step(Input::End(Ending::Finish));
    assert!(!shard.driver.is_finished(shard.clock));
    let last = shard.seal();
    assert!(!shard.driver.is_finished(shard.clock), "it is not durable yet");
    assert_eq!(answers(&shard.step(Input::Committed(last))), [(1, 0)]);
    assert!(shard.driver.is_finished(shard.clock));
    shard.driver.seal_tree();
    let out = shard.step(Input::Flushed { persisted: last, events: None });
    assert!(matches!(out[..], [Action::Truncate { .. }, Action::Mark]), "{out:?}");
}

/// A lease whose time had come kept a shard from ending while it took nothing in.
#[test]
fn a_shard_without_space_ends_whatever_is_due() {
    let mut shard = Shard::new();
    shard.call(bulk(0..3, 1000));
    shard.commit();
    assert!(shard.driver.tree().is_sealed, "and no flush ends");
    shard.call(lease(1));
    shard.commit();
    shard.call(bulk(3..8, 100_000));
    shard.commit();
    let out = shard.step(Input::FlushWaits(true));
    assert!(matches!(out[0], Action::Shortage { begins: true }), "{out:?}");
    shard.clock.mono = shard.clock.mono.plus(3_600_000);
    shard.step(Input::EndTurn);
    assert_eq!(shard.driver.turn().next_wake_ms(shard.clock), Some(0), "the lease ran out");
    shard.step(Input::End(Ending::Finish));
    assert!(shard.driver.is_finished(shard.clock));
}

#[test]
fn a_journal_that_ends_before_the_state_is_refused() {
    let begin = |persisted, tail, is_used| {
        let at = (Position(persisted), Position(tail));
        let tree = TestTree::default();
        Start::begin(tree, at, is_used, Limits::default(), NoFaults).map(drop)
    };
    let (persisted, tail) = (Position(3), Position(2));
    assert_eq!(begin(3, 2, true), Err(StartFault::TailLost { persisted, tail }));
    assert_eq!(begin(0, 0, true), Err(StartFault::Emptied));
    assert_eq!(begin(0, 0, false), Ok(()));
}

mod waiting {
    use super::*;

    fn call(command: Command) -> Call<()> {
        let class = Class::of(&command);
        let request = Request { namespace: "n".into(), reply_to: ReplyTo(1), command };
        Call { request, caller: (), class, bytes: 100 }
    }

    fn take(waiting: &mut Waiting<()>) -> Vec<Class> {
        let mut round = Vec::new();
        waiting.take_round(&mut round, Admit::All);
        round.iter().map(|call| call.class).collect()
    }

    fn open(limits: InboxLimits) -> Waiting<()> {
        let mut waiting = Waiting::new(limits);
        waiting.set_open(true);
        waiting
    }

    fn many(jobs: usize) -> Command {
        let job = NewJob::new(JobId::default(), "k", "{}");
        Command::EnqueueJobs(EnqueueJobs { queue: "q".into(), jobs: vec![job; jobs] })
    }

    #[test]
    fn settlements_come_between_two_bulks() {
        let mut waiting = open(InboxLimits::default());
        for command in [many(10_000), many(10_000), Command::SettleJobs(Vec::new())] {
            waiting.push(call(command)).unwrap();
        }
        assert_eq!(take(&mut waiting), [Class::Settle, Class::Publish]);
        waiting.push(call(Command::SettleJobs(Vec::new()))).unwrap();
        assert_eq!(take(&mut waiting), [Class::Settle, Class::Publish]);
        assert_eq!(take(&mut waiting), []);
    }

    #[test]
    fn a_full_class_does_not_close_the_others() {
        let mut waiting = Waiting::new(InboxLimits { calls_max: 2, bytes_max: 1000 });
        assert_eq!(waiting.push(call(many(1))), Err(Refused::Closed));
        waiting.set_open(true);
        waiting.push(call(many(1))).unwrap();
        waiting.push(call(many(1))).unwrap();
        assert_eq!(waiting.push(call(many(1))), Err(Refused::Full));
        waiting.push(call(Command::ListOperations)).unwrap();
        assert_eq!(waiting.depth(), [1, 0, 2]);
        assert_eq!(waiting.close().len(), 3);
    }

    #[test]
    fn bytes_are_bounded_but_one_call_always_fits() {
        let mut waiting = open(InboxLimits { calls_max: 10, bytes_max: 150 });
        waiting.push(Call { bytes: 500, ..call(many(1)) }).unwrap();
        assert_eq!(waiting.push(call(many(1))), Err(Refused::Full));
        assert_eq!(take(&mut waiting), [Class::Publish]);
        waiting.push(call(many(1))).unwrap();
    }

    #[test]
    fn new_jobs_can_be_left_waiting() {
        let mut waiting = open(InboxLimits::default());
        waiting.push(call(many(1))).unwrap();
        let mut round = Vec::new();
        assert!(!waiting.take_round(&mut round, Admit::NoJobs));
        assert!(round.is_empty() && !waiting.has_any(Admit::NoJobs));
        assert!(waiting.has_any(Admit::All));
    }
}

fn declare_messages() -> Command {
    let settings = MessageSettings::default();
    let declare = DeclareQueue { queue: "m".into(), settings, connection: None };
    Command::Messages(MessageCommand::DeclareQueue(Box::new(declare)))
}

fn publish() -> Command {
    let message = PublishMessage {
        routing_key: "m".into(),
        persistent: true,
        body: Bytes::from_static(b"b"),
        ..PublishMessage::default()
    };
    Command::Messages(MessageCommand::Publish(vec![message]))
}

/// One message at a time, by a connection of its own.
fn consume(consumer: u64) -> Command {
    Command::Messages(MessageCommand::Consume(Box::new(ConsumeMessages {
        consumer: ConsumerId(consumer),
        connection: ConnectionId(consumer),
        queue: "m".into(),
        auto_ack: false,
        exclusive: false,
        priority: 0,
        credit: crate::message::MessageCredit::of(1),
    })))
}

/// Who is handed messages, and how often each came back.
fn handed(actions: &[Action<u64>]) -> Vec<(u64, Vec<u32>)> {
    let of = |action: &Action<u64>| match action {
        Action::DeliverMessages { consumer, messages } => {
            Some((consumer.0, messages.iter().map(|message| message.returns).collect()))
        }
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}

#[test]
fn messages_for_a_consumer_that_has_gone_go_to_the_next_one() {
    let mut shard = Shard::new();
    shard.call(declare_messages());
    shard.call(consume(50));
    shard.commit();
    shard.call(publish());
    let last = shard.seal();
    shard.step(Input::ConsumerGone(ConsumerId(50)));
    let out = shard.step(Input::Committed(last));
    assert_eq!(handed(&out), []);
    shard.call(consume(51));
    let out = shard.step(Input::EndTurn);
    assert_eq!(handed(&out), [(51, vec![0])]);
    // Nor does it get what comes later.
    shard.call(publish());
    assert_eq!(handed(&shard.commit()), []);
}

#[test]
fn messages_that_were_let_out_and_came_to_nobody_go_back_uncounted() {
    let mut shard = Shard::new();
    shard.call(declare_messages());
    shard.call(consume(50));
    shard.commit();
    shard.call(publish());
    let out = shard.commit();
    let [Action::DeliverMessages { consumer, messages }] = &out[1..] else { panic!("{out:?}") };
    let command = MessageDelivery::untaken(*consumer, messages);
    shard.step(Input::GiveBack { namespace: "default".into(), command: command.clone() });
    shard.call(consume(51));
    assert_eq!(handed(&shard.step(Input::EndTurn)), [(51, vec![0])]);
    // They are another one's from then on.
    shard.step(Input::GiveBack { namespace: "default".into(), command });
    shard.call(consume(52));
    assert_eq!(handed(&shard.step(Input::EndTurn)), []);
}

/// They stayed away for as long as they had been asked for.
#[test]
fn messages_that_were_taken_for_a_time_by_a_caller_that_has_gone_go_back_uncounted() {
    let mut shard = Shard::new();
    shard.call(declare_messages());
    shard.call(publish());
    shard.commit();
    let lease = LeaseMessages {
        queue: "m".into(),
        max: 1,
        wait_ms: 0,
        lease_ms: Some(60_000),
        auto_ack: false,
    };
    let lease = Command::Messages(MessageCommand::Lease(Box::new(lease)));
    shard.call(lease);
    let last = shard.seal();
    shard.step(Input::CallerGone(ReplyTo(3)));
    let out = shard.step(Input::Committed(last));
    assert!(matches!(out[..], [Action::Unheard { .. }]), "{out:?}");
    shard.commit();
    shard.call(consume(50));
    assert_eq!(handed(&shard.step(Input::EndTurn)), [(50, vec![0])]);
}

/// What a connection had that ended while there was no space stayed with it until a restart.
#[test]
fn a_connection_that_ends_while_there_is_no_space_lets_go_of_what_it_has() {
    let mut shard = Shard::new();
    shard.call(declare_messages());
    shard.call(consume(50));
    shard.call(publish());
    assert_eq!(handed(&shard.commit()), [(50, vec![0])]);
    shard.call(bulk(0..1, 10));
    let last = shard.seal();
    shard.step(Input::Starved);
    let close = MessageCommand::CloseConnection { connection: ConnectionId(50) };
    let out = shard.call(Command::Messages(close));
    assert!(matches!(out[..], [Action::Dismiss { .. }]), "{out:?}");
    shard.step(Input::Committed(last));
    assert_eq!(shard.driver.rest(shard.clock).wake_ms, Some(0), "there is something to do");
    shard.call(consume(51));
    assert_eq!(handed(&shard.step(Input::EndTurn)), [(51, vec![0])]);
}
