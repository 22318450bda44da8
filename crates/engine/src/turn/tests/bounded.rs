//! What many lanes, leases and messages bring about goes a bounded part at a time, and holds from
//! the first part on.

use super::queueing::Bench;
use super::*;
use crate::gate::{GateChange, GateClosed, GateCommand};
use crate::hold::{HoldAnswer, HoldCommand};
use crate::limit::{LimitRule, LimitScope, LimitSettings};
use crate::message::{
    LeaseMessages, MessageAnswer, MessageCommand, MessageFilter, MessageMove, MessageSettings,
    MoveTo, PublishMessage,
};
use crate::state::keys;
use crate::stream::{
    AppendBatch, FireTrigger, StreamAnswer, StreamCommand, Trigger, TriggerCommand, TriggerEvent,
};

fn of_q(max: usize, auto_ack: bool) -> LeaseMessages {
    LeaseMessages { queue: "q".to_owned(), max, wait_ms: 0, lease_ms: None, auto_ack }
}

impl Bench {
    fn messages(&mut self, command: MessageCommand) -> MessageAnswer {
        match self.call(Command::Messages(command)) {
            Answer::Messages(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    fn declare(&mut self, queue: &str) {
        self.declare_as(queue, MessageSettings::default());
    }

    fn declare_as(&mut self, queue: &str, settings: MessageSettings) {
        let settings = MessageSettings { durable: true, ..settings };
        let declare =
            crate::message::DeclareQueue { queue: queue.to_owned(), settings, connection: None };
        self.messages(MessageCommand::DeclareQueue(Box::new(declare)));
    }

    fn delete(&mut self, queue: &str) {
        let (queue, connection) = (queue.to_owned(), None);
        let (if_unused, if_empty) = (false, false);
        self.messages(MessageCommand::DeleteQueue { queue, connection, if_unused, if_empty });
    }

    /// Whether no key of a message is left.
    fn has_no_message(&self) -> bool {
        self.turn.state.first(&[keys::MESSAGE], &[keys::MESSAGE + 1]).is_none()
    }

    fn publish(&mut self, queue: &str, count: usize) {
        self.publish_all(queue, count, PublishMessage::default());
    }

    /// Messages whose time runs out at once.
    fn publish_expiring(&mut self, queue: &str, count: usize) {
        let message = PublishMessage { ttl_ms: Some(1), ..PublishMessage::default() };
        self.publish_all(queue, count, message);
    }

    fn publish_one(&mut self, queue: &str, message: PublishMessage, times: usize) {
        let message = PublishMessage {
            routing_key: queue.to_owned(),
            persistent: true,
            body: Bytes::from_static(b"m"),
            ..message
        };
        self.messages(MessageCommand::Publish(vec![message; times]));
    }

    fn publish_all(&mut self, queue: &str, count: usize, message: PublishMessage) {
        let message = PublishMessage {
            routing_key: queue.to_owned(),
            persistent: true,
            body: Bytes::from_static(b"m"),
            ..message
        };
        for _ in 0..count / 100 {
            self.send(Command::Messages(MessageCommand::Publish(vec![message.clone(); 100])));
        }
        while self.tick(0) {}
        self.answers();
    }

    /// Takes messages of `q`, for good or for a time.
    fn take(&mut self, max: usize, auto_ack: bool) -> usize {
        match self.messages(MessageCommand::Lease(Box::new(of_q(max, auto_ack)))) {
            MessageAnswer::Leased(messages) => messages.len(),
            other => panic!("{other:?}"),
        }
    }

    /// What was passed since it was asked last.
    fn passed(&self) -> usize {
        self.map().passed.take()
    }

    /// Ticks to the end: how many, and the most that one of them passed.
    fn tick_all(&mut self) -> (usize, usize) {
        let (mut ticks, mut most) = (0, 0);
        loop {
            let more = self.tick(0);
            (ticks, most) = (ticks + 1, most.max(self.passed()));
            if !more {
                return (ticks, most);
            }
        }
    }

    fn begin_move(&mut self) -> crate::OperationId {
        let (queue, to) = ("q".to_owned(), MoveTo::Queue { queue: "other".to_owned() });
        let moving = MessageMove { queue, to, filter: MessageFilter::default(), limit: None };
        let kind = OperationKind::MoveMessages { moving: Box::new(moving) };
        match self.call(Command::StartOperation(kind)) {
            Answer::Operation(operation) => operation.id,
            other => panic!("{other:?}"),
        }
    }

    fn moved(&mut self, id: crate::OperationId) -> (OperationState, u64, u64) {
        match self.call(Command::GetOperation { id }) {
            Answer::Operation(it) => (it.state, it.changed, it.examined),
            other => panic!("{other:?}"),
        }
    }
}

/// The first slice of a purge, and of a move, walked all that had been consumed before it.
#[test]
fn a_purge_and_a_move_begin_where_the_first_message_stands() {
    for moves in [false, true] {
        let mut bench = Bench::new();
        bench.declare("q");
        bench.declare("other");
        bench.publish("q", 3000);
        for _ in 0..3 {
            assert_eq!(bench.take(990, true), 990);
        }
        bench.passed();
        if moves {
            let id = bench.begin_move();
            let (_, most) = bench.tick_all();
            assert!(most < 200, "{most} in one turn");
            assert_eq!(bench.moved(id), (OperationState::Finished, 30, 30));
        } else {
            let purge = MessageCommand::PurgeQueue { queue: "q".into(), connection: None };
            let answer = bench.messages(purge);
            assert!(matches!(answer, MessageAnswer::Purged { messages: 30 }), "{answer:?}");
            assert!(bench.passed() < 200);
        }
    }
}

/// What was moved away lingers in the tree, and nobody has read it.
#[test]
fn what_was_removed_and_not_read_is_passed_a_part_at_a_time() {
    let mut bench = Bench::new();
    bench.declare("q");
    bench.declare("other");
    bench.publish("q", 2000);
    let first = bench.begin_move();
    bench.tick_all();
    assert_eq!(bench.moved(first), (OperationState::Finished, 2000, 2000));
    bench.publish("q", 100);
    bench.passed();
    let second = bench.begin_move();
    let (ticks, most) = bench.tick_all();
    assert!(most < 300 && ticks > 10, "{most} in one turn, {ticks} turns");
    assert_eq!(bench.moved(second), (OperationState::Finished, 100, 100));
}

#[test]
fn a_deleted_queue_is_emptied_without_passing_what_went_before() {
    let mut bench = Bench::new();
    bench.declare("q");
    bench.publish("q", 4000);
    assert_eq!(bench.take(900, true), 900);
    bench.passed();
    bench.delete("q");
    assert!(bench.passed() < 1100, "a slice");
    let (_, most) = bench.tick_all();
    assert!(most < 1100, "{most} in one turn");
}

/// After a start, what had gone before it was passed by again and again.
#[test]
fn a_deleted_queue_goes_on_to_be_emptied_after_a_start_where_it_was() {
    let mut bench = Bench::new();
    bench.declare("q");
    bench.publish("q", 4000);
    bench.delete("q");
    bench.tick(0);
    let mut bench = bench.restart();
    bench.passed();
    let (_, most) = bench.tick_all();
    assert!(most < 1100, "{most} in one turn");
    assert!(bench.has_no_message());
}

/// It looked through all places up to those that were given last.
#[test]
fn a_few_messages_of_a_deleted_queue_are_the_last_that_a_start_looks_for() {
    let mut bench = Bench::new();
    bench.declare("q");
    bench.declare("other");
    bench.publish("q", 300);
    bench.publish("other", 3000);
    bench.delete("q");
    let mut bench = bench.restart();
    let left = |bench: &Bench| {
        let mut count = 0;
        bench.turn.state.scan(&[keys::MESSAGE], &[keys::MESSAGE + 1], &mut |_, _| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        });
        count
    };
    let before = left(&bench);
    assert!((3001..=3300).contains(&before), "{before}");
    let (ticks, _) = bench.tick_all();
    assert!(ticks < 10, "{ticks} turns");
    assert_eq!(left(&bench), 3000);
}

/// What lingers between messages was passed by in one turn.
#[test]
fn a_deleted_queue_is_emptied_past_what_expired_or_was_purged_a_part_at_a_time() {
    for (purges, restarts) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut bench = Bench::new();
        bench.declare("q");
        if purges {
            bench.publish("q", 3000);
            let purge = MessageCommand::PurgeQueue { queue: "q".into(), connection: None };
            bench.send(Command::Messages(purge));
        } else {
            bench.publish("q", 100);
            bench.publish_expiring("q", 3000);
            bench.tick(10);
        }
        bench.tick_all();
        bench.publish("q", 100);
        bench.passed();
        bench.delete("q");
        assert!(bench.passed() < 300, "a slice");
        if restarts {
            bench = bench.restart();
            bench.passed();
        }
        let (_, most) = bench.tick_all();
        assert!(most < 300, "{most} in one turn");
        assert!(bench.has_no_message());
    }
}

/// Each message that was dropped had all be passed by that consumers had.
#[test]
fn the_first_message_is_found_behind_what_somebody_has_a_part_at_a_time() {
    let mut bench = Bench::new();
    let (max_length, ordering_header) = (Some(200), Some("k".to_owned()));
    bench.declare_as("q", MessageSettings { max_length, ordering_header, ..Default::default() });
    let of_key = |key: &str, ttl_ms| {
        let mut header = vec![1];
        header.extend_from_slice(b"kS");
        header.extend_from_slice(&(key.len() as u32).to_be_bytes());
        header.extend_from_slice(key.as_bytes());
        let mut properties = vec![0x20, 0];
        properties.extend_from_slice(&(header.len() as u32).to_be_bytes());
        properties.extend_from_slice(&header);
        PublishMessage { properties: properties.into(), ttl_ms, ..PublishMessage::default() }
    };
    // One is taken, three stand aside behind it, and the others are passed.
    bench.publish_one("q", of_key("busy", None), 4);
    bench.publish_one("q", of_key("busy", Some(1)), 2);
    assert_eq!(bench.take(10, false), 1);
    for part in 0..20 {
        for n in 0..100 {
            bench.publish_one("q", of_key(&format!("{part}.{n}"), None), 1);
        }
        assert_eq!(bench.take(100, false), 100);
    }
    bench.tick(10);
    bench.tick_all();
    bench.passed();
    for _ in 0..3 {
        bench.publish_one("q", of_key("busy", None), 100);
        assert!(bench.passed() < 1_000, "with what is published");
        let (ticks, most) = bench.tick_all();
        assert!(most < 1_000 && ticks < 100, "{most} in one turn, {ticks} turns");
    }
    let counts = &bench.turn.state.queues.named(bench.ns(), "q").unwrap().counts;
    assert_eq!(counts.messages, 2_001 + 200);
}

/// After a start, all that had been taken for a time was passed by in one turn.
#[test]
fn what_somebody_has_is_passed_a_part_at_a_time() {
    let mut bench = Bench::new();
    bench.declare("q");
    bench.publish("q", 2000);
    assert_eq!([bench.take(1000, false), bench.take(990, false)], [1000, 990]);
    let mut bench = bench.restart();
    bench.passed();
    bench.send(Command::Messages(MessageCommand::Lease(Box::new(of_q(100, false)))));
    assert!(bench.answers().is_empty(), "it is looked on");
    assert!(bench.passed() < 600);
    let (ticks, most) = bench.tick_all();
    assert!(most < 600 && ticks > 3, "{most} in one turn, {ticks} turns");
    match bench.answers().pop() {
        Some(Effect::Reply { answer: Answer::Messages(MessageAnswer::Leased(it)), .. }) => {
            assert_eq!(it.len(), 10);
        }
        other => panic!("{other:?}"),
    }
}

fn gate(shard: &mut Shard, change: GateChange) {
    let command = GateCommand::Change { name: "g".to_owned(), change };
    assert!(matches!(shard.call(Command::Gates(command)), Answer::Gates(_)));
}

fn turned(closed: bool) -> GateChange {
    let closed = Some(GateClosed { closed, ..GateClosed::default() });
    GateChange { closed, ..GateChange::default() }
}

/// Lanes that stand in trees after each of the next turns, until none has anything to do.
fn lanes_by_turn(shard: &mut Shard, tree: usize) -> Vec<usize> {
    let mut counts = vec![shard.turn.state.lanes.in_trees()[tree]];
    loop {
        let more = shard.turn.tick(shard.clock);
        counts.push(shard.turn.state.lanes.in_trees()[tree]);
        if !more {
            shard.flush();
            return counts;
        }
    }
}

fn all_of(shard: &mut Shard, max: usize) -> Vec<u8> {
    let queues = vec![QueuePattern::Prefix(String::new())];
    match shard.call(Command::LeaseJobs(Box::new(LeaseJobs { queues, max, ..wish() }))) {
        Answer::Leased { jobs, .. } => ids(&jobs),
        other => panic!("{other:?}"),
    }
}

/// A gate over a queue took all of its lanes out of the trees in one turn.
#[test]
fn a_queue_with_many_lanes_is_shut_and_opened_a_part_at_a_time() {
    let mut shard = Shard::new();
    for n in 1..=100 {
        shard.enqueue(NewJob { kind: format!("k{n}"), ..job(n) });
    }
    let queues = Some(vec!["q".to_owned()]);
    gate(&mut shard, GateChange { queues, ..turned(true) });
    assert!(all_of(&mut shard, 100).is_empty(), "it holds at once");
    let counts = lanes_by_turn(&mut shard, 1);
    assert!(counts[0] > 50 && counts.len() > 5, "{counts:?}");
    assert!(counts.windows(2).all(|two| two[0] - two[1] <= 8), "{counts:?}");
    assert_eq!(shard.turn.state.lanes.in_trees(), [0, 0]);
    let wish = LeaseJobs { wait_ms: 60_000, max: 40, ..wish() };
    let waiting = shard.send(Command::LeaseJobs(Box::new(wish)));
    gate(&mut shard, turned(false));
    assert!(!shard.answers.contains_key(&waiting), "what comes first may be yet to follow");
    lanes_by_turn(&mut shard, 0);
    let served = shard.answers.remove(&waiting);
    let Some(Answer::Leased { jobs, .. }) = served else { panic!("{served:?}") };
    assert_eq!(ids(&jobs), (1..=40).collect::<Vec<u8>>(), "in their order");
    // Closed again before it was open, and opened: it goes on from what it is.
    gate(&mut shard, turned(true));
    assert!(all_of(&mut shard, 100).is_empty());
    gate(&mut shard, turned(false));
    let counts = lanes_by_turn(&mut shard, 0);
    assert!(counts.windows(2).all(|two| two[1].abs_diff(two[0]) <= 8), "{counts:?}");
    assert_eq!(all_of(&mut shard, 100), (41..=100).collect::<Vec<u8>>());
}

/// A limit over a queue that is spent and free again with each job let only the first lanes come
/// in between: those behind them waited for ever.
#[test]
fn no_lane_of_a_limited_queue_is_forgotten() {
    let mut shard = Shard::new();
    let scope = LimitScope::Queue { name: Some("q".to_owned()) };
    let settings = LimitSettings { scope, rule: LimitRule::Concurrency { max: 1 } };
    shard.call(Command::PutLimit { name: "l".to_owned(), settings });
    for n in 1..=80 {
        shard.enqueue(NewJob { kind: format!("k{}", n % 40), ..job(n) });
    }
    let ask = |shard: &mut Shard| {
        let wish = LeaseJobs { wait_ms: 60_000, max: 5, ..wish() };
        shard.send(Command::LeaseJobs(Box::new(wish)))
    };
    let mut waiting = ask(&mut shard);
    for n in 1..=80 {
        lanes_by_turn(&mut shard, 0);
        let served = shard.answers.remove(&waiting);
        let Some(Answer::Leased { jobs, .. }) = served else { panic!("{n}: {served:?}") };
        assert_eq!(ids(&jobs), [n]);
        // Whoever asks next waits already when the limit lets go.
        waiting = ask(&mut shard);
        shard.settle(&jobs[0], ack()).unwrap();
    }
}

/// What is asked for did not come to be seen while lanes of a shut queue stood before it.
#[test]
fn what_stands_behind_the_lanes_of_a_shut_queue_is_offered_once_they_are_gone() {
    let mut shard = Shard::new();
    for n in 1..=100 {
        shard.enqueue(NewJob { kind: format!("k{n}"), priority: Some(9), ..job(n) });
    }
    let other = EnqueueJobs { queue: "z".to_owned(), jobs: vec![job(200)] };
    shard.call(Command::EnqueueJobs(other));
    let queues = Some(vec!["q".to_owned()]);
    gate(&mut shard, GateChange { queues, ..turned(true) });
    assert!(all_of(&mut shard, 9).is_empty(), "an offer passes only so many lanes");
    let queues = vec![QueuePattern::Prefix(String::new())];
    let wish = LeaseJobs { queues, kinds: None, wait_ms: 60_000, ..wish() };
    let waiting = shard.send(Command::LeaseJobs(Box::new(wish)));
    assert!(!shard.answers.contains_key(&waiting));
    lanes_by_turn(&mut shard, 0);
    let served = shard.answers.remove(&waiting);
    let Some(Answer::Leased { jobs, .. }) = served else { panic!("{served:?}") };
    assert_eq!(ids(&jobs), [200]);
}

/// A gate over a kind took all of its lanes out of the trees of their namespace in one turn.
#[test]
fn a_kind_in_many_queues_is_shut_and_opened_and_few_lanes_move() {
    let mut shard = Shard::new();
    for n in 1..=100 {
        let jobs = vec![NewJob { priority: Some(9), ..job(n) }];
        shard.call(Command::EnqueueJobs(EnqueueJobs { queue: format!("q{n}"), jobs }));
    }
    shard.enqueue(NewJob { kind: "other".to_owned(), ..job(200) });
    gate(&mut shard, GateChange { kinds: Some(vec!["k".to_owned()]), ..turned(true) });
    assert_eq!(lanes_by_turn(&mut shard, 0), [101, 101], "nothing moves");
    assert_eq!(all_of(&mut shard, 9), [200], "those in the way are passed, and put apart");
    let apart = |shard: &Shard| shard.turn.state.lanes.apart_count();
    assert_eq!((shard.turn.state.lanes.in_trees(), apart(&shard)), ([0, 100], 100));
    let mut shard = shard.restart();
    assert!(all_of(&mut shard, 9).is_empty());
    let queues = vec![QueuePattern::Prefix(String::new())];
    let wish = LeaseJobs { queues, kinds: None, wait_ms: 60_000, max: 1, ..wish() };
    let waiting = shard.send(Command::LeaseJobs(Box::new(wish)));
    for _ in 0..3 {
        gate(&mut shard, turned(false));
        gate(&mut shard, turned(true));
        assert_eq!((shard.turn.state.lanes.in_trees()[0], apart(&shard)), (0, 99), "a switch");
    }
    assert!(shard.answers.contains_key(&waiting), "it was offered what is open again");
    gate(&mut shard, turned(false));
    assert_eq!(all_of(&mut shard, 200).len(), 99);
}

/// A kind that both hold back stays held while one of them does.
#[test]
fn a_gate_and_a_limit_hold_a_kind_apart_from_each_other() {
    let mut shard = Shard::with_jobs(3);
    put_limit(&mut shard, 1);
    let jobs = shard.lease(1);
    gate(&mut shard, GateChange { kinds: Some(vec!["k".to_owned()]), ..turned(true) });
    gate(&mut shard, turned(false));
    assert!(all_of(&mut shard, 9).is_empty(), "the limit is spent");
    gate(&mut shard, turned(true));
    shard.settle(&jobs[0], ack()).unwrap();
    assert!(all_of(&mut shard, 9).is_empty(), "the gate is closed");
    let mut shard = shard.restart();
    assert!(all_of(&mut shard, 9).is_empty());
    gate(&mut shard, turned(false));
    assert_eq!(all_of(&mut shard, 9).len(), 1);
}

fn put_limit(shard: &mut Shard, max: u64) {
    let rule = LimitRule::Concurrency { max };
    let settings = LimitSettings { scope: LimitScope::Kind { name: None }, rule };
    shard.call(Command::PutLimit { name: "l".to_owned(), settings });
}

fn with_leases(count: u8) -> (Shard, Vec<Delivery>) {
    let limits = Limits { lease_ms_default: 30_000, slice_items_max: 4, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    for n in 1..=count {
        shard.enqueue(NewJob { tags: vec!["t".to_owned()], ..job(n) });
    }
    let jobs = shard.lease(usize::from(count));
    (shard, jobs)
}

fn counted(shard: &Shard) -> u64 {
    let ns = shard.turn.state.namespaces.named("default").unwrap();
    shard.turn.state.limit_views(ns, 9, (0, &mut crate::looks::Looks::new(1000)))[0].running
}

/// A new limit counted all leases of its namespace in one turn.
#[test]
fn a_new_limit_counts_leases_a_part_at_a_time_and_lets_nothing_start_meanwhile() {
    let (mut shard, jobs) = with_leases(60);
    for n in 101..=105 {
        shard.enqueue(job(n));
    }
    put_limit(&mut shard, 61);
    let before = counted(&shard);
    assert!(before <= 8 + 4, "{before}");
    assert!(shard.lease(9).is_empty(), "what runs is not known yet");
    // Of those that end some were counted, and some not.
    for at in [0, 1, 58, 59] {
        shard.settle(&jobs[at], ack()).unwrap();
    }
    let mut ticks = 0;
    let mut last = counted(&shard);
    while shard.turn.tick(shard.clock) {
        ticks += 1;
        assert!(counted(&shard) <= last + 4, "a slice");
        last = counted(&shard);
        if ticks == 3 {
            shard.flush();
            shard = shard.restart();
            assert_eq!(counted(&shard), last, "a start goes on there");
            assert!(shard.lease(9).is_empty());
        }
    }
    shard.flush();
    assert!(ticks > 10, "{ticks}");
    assert_eq!(counted(&shard), 56);
    assert_eq!(shard.lease(9).len(), 5);
    assert_eq!(counted(&shard), 61);
    let again = shard.restart();
    assert_eq!(counted(&again), 61);
}

#[test]
fn a_limit_that_changes_or_goes_while_it_counts_is_exact_all_the_same() {
    let (mut shard, _) = with_leases(60);
    put_limit(&mut shard, 5);
    shard.turn.tick(shard.clock);
    put_limit(&mut shard, 62);
    for n in 101..=105 {
        shard.enqueue(job(n));
    }
    assert!(shard.lease(9).is_empty());
    shard.advance(0);
    assert_eq!(counted(&shard), 60);
    assert_eq!(shard.lease(9).len(), 2);
    shard.call(Command::DeleteLimit { name: "l".to_owned() });
    put_limit(&mut shard, 63);
    shard.turn.tick(shard.clock);
    shard.call(Command::DeleteLimit { name: "l".to_owned() });
    shard.advance(0);
    assert!(shard.turn.state.limiting.counts_nothing());
    assert_eq!(shard.lease(9).len(), 3);
}

fn hold(wait_ms: u64) -> Command {
    Command::Holds(HoldCommand::Put { tag: "t".to_owned(), reason: None, wait_ms })
}

#[test]
fn a_new_hold_counts_leases_a_part_at_a_time_and_is_not_quiet_meanwhile() {
    // Those with the tag come after more than are looked at at a time.
    let (mut shard, _) = with_leases(0);
    for n in 1..=20 {
        shard.enqueue(job(n));
    }
    for n in 101..=110 {
        shard.enqueue(NewJob { tags: vec!["t".to_owned()], ..job(n) });
    }
    let jobs = shard.lease(30);
    let waiting = shard.send(hold(60_000));
    assert!(!shard.answers.contains_key(&waiting), "others may run");
    shard.settle(&jobs[29], ack()).unwrap();
    shard.advance(0);
    assert!(!shard.answers.contains_key(&waiting), "nine run");
    for job in &jobs[20..29] {
        shard.settle(job, ack()).unwrap();
    }
    let answer = shard.answers.remove(&waiting).expect("none runs any more");
    let Answer::Holds(HoldAnswer::Hold(view)) = answer else { panic!("{answer:?}") };
    assert_eq!(view.running, 0);
}

/// A stop waited until all jobs that a hold lets go had come forward.
#[test]
fn a_stop_does_not_wait_for_what_a_hold_lets_go() {
    let (mut shard, _) = with_leases(0);
    shard.call(hold(0));
    for n in 1..=60 {
        shard.enqueue(NewJob { tags: vec!["t".to_owned()], ..job(n) });
    }
    shard.call(Command::Holds(HoldCommand::Delete { tag: "t".to_owned() }));
    shard.turn.begin_stop(shard.clock);
    assert!(!shard.turn.tick(shard.clock));
    assert_ne!(shard.turn.next_wake_ms(shard.clock), Some(0));
    shard.flush();
    let mut shard = shard.restart();
    assert!(shard.lease(60).len() < 60);
    shard.advance(0);
    assert!(shard.lease(60).len() > 40);
}

fn stream(bench: &mut Bench, command: StreamCommand) -> StreamAnswer {
    match bench.call(Command::Stream(command)) {
        Answer::Stream(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// The last of them looked how far its trigger had come in all others.
#[test]
fn the_last_event_of_a_replay_looks_at_no_other_partition() {
    let mut bench = Bench::new();
    bench.declare("q");
    let name = || "s".to_owned();
    let settings = crate::StreamSettings::default();
    let create = StreamCommand::Create { stream: name(), partitions: 1500, settings };
    let StreamAnswer::Stream(view) = stream(&mut bench, create) else { panic!("no stream") };
    let ids: Vec<_> = view.partitions.iter().map(|(id, _)| *id).collect();
    for some in ids.chunks(100) {
        let append = |id: &crate::PartitionId| AppendBatch {
            partition: *id,
            events: 1,
            producer: None,
            transactional: false,
            batch: Bytes::from_static(b"any bytes"),
            keys: Vec::new(),
        };
        stream(&mut bench, StreamCommand::Append(some.iter().map(append).collect()));
    }
    let trigger = Trigger { name: "t".to_owned(), queue: "q".to_owned(), ..Trigger::default() };
    let replay = TriggerCommand::Replay { stream: name(), trigger, from: vec![0; ids.len()] };
    stream(&mut bench, StreamCommand::Trigger(replay));
    for (partition, id) in (0..).zip(ids) {
        if partition == 700 {
            bench = bench.restart();
        }
        let before = bench.map().gets.get();
        let fire = FireTrigger {
            stream: name(),
            trigger: "t".to_owned(),
            partition,
            id,
            expected: Some(0),
            next: 1,
            events: vec![TriggerEvent::default()],
        };
        let fired = stream(&mut bench, StreamCommand::Trigger(TriggerCommand::Fire(fire)));
        assert!(matches!(fired, StreamAnswer::Fired(true)), "{fired:?}");
        let gets = bench.map().gets.get() - before;
        assert!(gets < 50, "{gets} keys are read");
    }
    let offsets = StreamCommand::GetOffsets { group: "trigger.t".to_owned(), of: None };
    let offsets = stream(&mut bench, offsets);
    assert!(matches!(&offsets, StreamAnswer::Offsets(none) if none.is_empty()), "it has ended");
}
