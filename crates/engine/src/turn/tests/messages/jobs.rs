//! Messages become jobs, ends of jobs become messages, and both are one commit with others.

use super::*;
use crate::command::FollowUp;
use crate::message::JobBinding;
use crate::stream::{StreamCommand, StreamSettings};

fn of_kind(kind: &str) -> JobBinding {
    JobBinding { kind: kind.into(), ..JobBinding::default() }
}

impl Shard {
    fn job_queue(&mut self, queue: &str, settings: QueueSettings) {
        let put = Command::PutQueue { queue: queue.into(), settings };
        assert!(matches!(self.call(put), Answer::Queue(_)));
    }

    fn bind_job(&mut self, key: &str, queue: &str, job: JobBinding) -> Result<bool, Rejection> {
        let spec = BindingSpec { job: Some(job), ..a_binding("amq.topic", key, queue) };
        match self.carry_out(MessageCommand::Bind(Box::new(spec)))? {
            MessageAnswer::Changed(changed) => Ok(changed),
            other => panic!("{other:?}"),
        }
    }

    fn args(&mut self, max: usize) -> Vec<(String, String)> {
        let jobs = self.lease(max);
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        jobs.iter().map(|job| (job.kind.clone(), text(&job.args))).collect()
    }
}

#[test]
fn a_message_becomes_a_job_in_the_entry_that_publishes_it() {
    let mut shard = Shard::new();
    shard.job_queue("q", QueueSettings::DEFAULT);
    shard.declare("audit", durable()).unwrap();
    shard.bind("amq.topic", "#", "audit");
    assert_eq!(shard.bind_job("order.*", "q", of_kind("bill")), Ok(true));
    assert_eq!(shard.bind_job("order.*", "q", of_kind("bill")), Ok(false), "it is there");
    let entries = shard.journal.len();
    assert_eq!(shard.publish("amq.topic", "order.paid", "{\"order\": 7}"), Ok(routed(2)));
    assert_eq!(shard.journal.len(), entries + 1);
    shard.publish("amq.topic", "order.paid", "plain \"text\"").unwrap();
    let bytes = PublishMessage {
        exchange: "amq.topic".into(),
        routing_key: "order.bytes".into(),
        body: Bytes::from_static(b"\xff\xfe"),
        ..PublishMessage::default()
    };
    shard.publish_one(bytes).unwrap();
    assert_eq!(shard.publish("amq.topic", "other", "1"), Ok(routed(1)), "only the audit has it");
    let mut shard = shard.restart();
    let expected = [
        ("bill", "{\"order\": 7}"),
        ("bill", "{\"body\":\"plain \\\"text\\\"\"}"),
        ("bill", "{\"body_base64\":\"//4=\"}"),
    ];
    let expected = expected.map(|(kind, args)| (kind.to_owned(), args.to_owned()));
    assert_eq!(shard.args(9), expected);
    assert_eq!(shard.stand_of("audit").ready, 4);
}

#[test]
fn a_binding_says_what_the_job_is_like() {
    let mut shard = Shard::new();
    shard.job_queue("q", QueueSettings::DEFAULT);
    let urgent = JobBinding { priority: Some(9), ..of_kind("urgent") };
    let later = JobBinding { delay_ms: Some(5000), ..of_kind("later") };
    let ordered = JobBinding { ordered: true, ..of_kind("ordered") };
    shard.bind_job("#", "q", of_kind("plain")).unwrap();
    shard.bind_job("#", "q", urgent).unwrap();
    shard.bind_job("#", "q", later).unwrap();
    shard.bind_job("#", "q", ordered).unwrap();
    assert_eq!(shard.publish("amq.topic", "k", "1"), Ok(routed(4)));
    let kinds = |jobs: &[Delivery]| jobs.iter().map(|job| job.kind.clone()).collect::<Vec<_>>();
    let jobs = shard.lease(9);
    let mut now = kinds(&jobs);
    assert_eq!(now.remove(0), "urgent");
    now.sort();
    assert_eq!(now, ["ordered", "plain"]);
    // The next of that key waits behind it; what is later comes later.
    shard.publish("amq.topic", "k", "2").unwrap();
    assert_eq!(kinds(&shard.lease(9)), ["urgent", "plain"]);
    shard.advance(5000);
    assert_eq!(kinds(&shard.lease(9)), ["later", "later"]);
    let page = MessageCommand::ListBindings { source: None, after: None, limit: 10 };
    let MessageAnswer::Bindings(page, None) = shard.carry_out(page).unwrap() else { panic!() };
    let of = |it: &crate::message::BindingView| it.binding.job.clone().unwrap();
    assert!(page.iter().any(|it| of(it) == JobBinding { ordered: true, ..of_kind("ordered") }));
    for bad in [
        JobBinding { priority: Some(10), ..of_kind("k") },
        of_kind(""),
        JobBinding { delay_ms: Some(u64::MAX), ..of_kind("k") },
    ] {
        shard.bind_job("#", "q", bad).unwrap_err();
    }
    shard.declare("messages", durable()).unwrap();
    let refused = shard.bind_job("#", "messages", of_kind("k"));
    assert!(matches!(refused, Err(Rejection::QueueTypeRefused { .. })), "{refused:?}");
}

#[test]
fn a_queue_of_jobs_that_is_full_refuses_the_message_and_its_letters_enter_all_the_same() {
    let mut shard = Shard::new();
    shard.job_queue("q", QueueSettings { max_length: Some(1), ..QueueSettings::DEFAULT });
    shard.declare("audit", durable()).unwrap();
    shard.bind("amq.topic", "#", "audit");
    shard.bind_job("#", "q", of_kind("k")).unwrap();
    shard.publish("amq.topic", "a", "1").unwrap();
    let refused = shard.publish("amq.topic", "a", "2");
    assert!(matches!(refused, Err(Rejection::QueueFull { .. })), "{refused:?}");
    assert_eq!(shard.stand_of("audit").ready, 1, "nothing of it entered");
    let settings = MessageSettings { dead_letter_exchange: Some("amq.topic".into()), ..durable() };
    shard.declare("in", settings).unwrap();
    shard.publish("", "in", "3").unwrap();
    let taken = shard.take("in", 1);
    shard.settle_taken(&taken, MessageVerdict::Reject);
    assert_eq!(shard.args(9).len(), 2);
    assert_eq!(shard.stand_of("audit").ready, 2);
}

#[test]
fn bindings_to_a_queue_of_jobs_go_with_it() {
    let mut shard = Shard::new();
    shard.job_queue("q", QueueSettings::DEFAULT);
    shard.bind_job("#", "q", of_kind("k")).unwrap();
    shard.call(Command::DeleteQueue { queue: "q".into() });
    assert_eq!(shard.publish("amq.topic", "a", "1"), Ok(Published::Unroutable));
    shard.advance(1);
    shard.job_queue("q", QueueSettings::DEFAULT);
    assert_eq!(shard.publish("amq.topic", "a", "1"), Ok(Published::Unroutable), "another one");
    let left =
        shard.turn.map().entries().keys().filter(|key| (104..=106).contains(&key[0])).count();
    assert_eq!(left, 0);
    // The opposite of binding.
    shard.bind_job("#", "q", of_kind("k")).unwrap();
    let spec = BindingSpec { job: Some(of_kind("k")), ..a_binding("amq.topic", "#", "q") };
    shard.carry_out(MessageCommand::Unbind(Box::new(spec))).unwrap();
    assert_eq!(shard.publish("amq.topic", "a", "1"), Ok(Published::Unroutable));
}

#[test]
fn ends_of_jobs_are_published_where_their_queue_says_so_in_the_entry_that_ends_them() {
    let mut shard = Shard::new();
    shard.exchange("outcomes", ExchangeKind::Topic);
    shard.declare("told", durable()).unwrap();
    shard.bind("outcomes", "#", "told");
    let outcomes = Some("outcomes".to_owned());
    shard.job_queue("q", QueueSettings { outcomes, ..QueueSettings::DEFAULT });
    shard.enqueue(NewJob { max_attempts: Some(1), ..job(1) });
    shard.enqueue(NewJob { max_attempts: Some(1), ..job(2) });
    shard.enqueue(NewJob { expiry: Some(Start::After(10)), start: None, ..job(3) });
    shard.enqueue(job(4));
    let jobs = shard.lease(2);
    let entries = shard.journal.len();
    shard.settle(&jobs[0], ack()).unwrap();
    assert_eq!(shard.journal.len(), entries + 1);
    shard.settle(&jobs[1], fail()).unwrap();
    shard.call(Command::CancelJob { id: id(4), force: false });
    shard.advance(20);
    let mut shard = shard.restart();
    let told = shard.take("told", 9);
    let keys: Vec<_> = told.iter().map(|it| it.message.routing_key.clone()).collect();
    assert_eq!(keys, ["succeeded.q.k", "dead.q.k", "cancelled.q.k", "expired.q.k"]);
    let table = b"\x05stateS\0\0\0\x09succeeded\x05queueS\0\0\0\x01q\x04kindS\0\0\0\x01k";
    let expected = [b"\xb0\x00\x10application/json\0\0\0\x2b", table.as_slice(), b"\x02"].concat();
    assert_eq!(told[0].message.properties, expected);
    let body = text(&told[0]);
    let expected = format!(
        "{{\"id\":\"{}\",\"queue\":\"q\",\"kind\":\"k\",\"state\":\"succeeded\",\"result\":7}}",
        id(1)
    );
    assert_eq!(body, expected);
    assert!(text(&told[1]).contains("\"error\":{\"kind\":\"E\",\"message\":\"no\"}"));
    // An exchange that is not there: the end counts, its message is counted as lost.
    let outcomes = Some("nowhere".to_owned());
    shard.job_queue("q", QueueSettings { outcomes, ..QueueSettings::DEFAULT });
    shard.enqueue(job(5));
    let jobs = shard.lease(1);
    shard.settle(&jobs[0], ack()).unwrap();
    assert_eq!(shard.turn.stats(shard.clock, None, 10).outcomes_lost, 1);
}

#[test]
fn an_outcome_may_become_a_job_in_turn_beside_follow_ups() {
    let mut shard = Shard::new();
    shard.exchange("outcomes", ExchangeKind::Topic);
    shard.job_queue("q", QueueSettings::DEFAULT);
    let outcomes = Some("outcomes".to_owned());
    shard.job_queue("first", QueueSettings { outcomes, ..QueueSettings::DEFAULT });
    let spec =
        BindingSpec { job: Some(of_kind("next")), ..a_binding("outcomes", "succeeded.#", "q") };
    shard.carry_out(MessageCommand::Bind(Box::new(spec))).unwrap();
    let enqueue = EnqueueJobs { queue: "first".into(), jobs: vec![job(1)] };
    shard.call(Command::EnqueueJobs(enqueue));
    let queues = vec![QueuePattern::Exactly("first".to_owned())];
    let Answer::Leased { jobs, .. } =
        shard.call(Command::LeaseJobs(Box::new(LeaseJobs { queues, ..wish() })))
    else {
        panic!()
    };
    let follow_ups = vec![FollowUp { queue: "q".into(), job: job(2) }];
    let verdict = Verdict::Ack { result: None, location: None, follow_ups, next_tick: None };
    shard.settle(&jobs[0], verdict).unwrap();
    let mut shard = shard.restart();
    shard.advance(1);
    let kinds: Vec<_> = shard.args(9).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["k", "next"]);
}

#[test]
fn ends_that_become_jobs_whose_ends_are_told_come_to_an_end() {
    let mut shard = Shard::new();
    shard.exchange("outcomes", ExchangeKind::Topic);
    let outcomes = Some("outcomes".to_owned());
    shard.job_queue("q", QueueSettings { outcomes, ..QueueSettings::DEFAULT });
    let spec = BindingSpec { job: Some(of_kind("next")), ..a_binding("outcomes", "#", "q") };
    shard.carry_out(MessageCommand::Bind(Box::new(spec))).unwrap();
    shard.enqueue(job(1));
    let mut ended = 0;
    for _ in 0..20 {
        for job in shard.lease(9) {
            shard.settle(&job, ack()).unwrap();
            ended += 1;
        }
        shard = shard.restart();
        shard.advance(1);
    }
    assert_eq!(ended, 8);
}

#[test]
fn a_queue_of_jobs_that_is_full_takes_no_ends_of_jobs() {
    let mut shard = Shard::new();
    shard.exchange("outcomes", ExchangeKind::Topic);
    let outcomes = Some("outcomes".to_owned());
    let settings = QueueSettings { max_length: Some(1), ..QueueSettings::DEFAULT };
    shard.job_queue("full", settings);
    shard.job_queue("q", QueueSettings { outcomes, ..QueueSettings::DEFAULT });
    let spec = BindingSpec { job: Some(of_kind("next")), ..a_binding("outcomes", "#", "full") };
    shard.carry_out(MessageCommand::Bind(Box::new(spec))).unwrap();
    shard.enqueue(job(1));
    shard.enqueue(job(2));
    for job in shard.lease(2) {
        shard.settle(&job, ack()).unwrap();
        shard.advance(1);
    }
    let stats = shard.turn.stats(shard.clock, None, 10);
    assert_eq!((stats.outcomes_lost, stats.jobs_dropped), (1, 1));
}

#[test]
fn a_body_times_the_job_bindings_that_it_reaches_is_bounded() {
    let limits = Limits { bulk_bytes_max: 32 << 10, ..Limits::default() };
    let mut shard = Shard::recover(&[], limits);
    shard.job_queue("q", QueueSettings::DEFAULT);
    for n in 0..9 {
        shard.bind_job("#", "q", of_kind(&format!("k{n}"))).unwrap();
    }
    let large = "y".repeat(5 << 10);
    let refused = shard.publish("amq.topic", "a", &large);
    assert!(refused.is_err(), "{refused:?}");
    // As a letter it becomes as many jobs as fit.
    let settings = MessageSettings { dead_letter_exchange: Some("amq.topic".into()), ..durable() };
    shard.declare("in", settings).unwrap();
    shard.publish("", "in", &large).unwrap();
    let taken = shard.take("in", 1);
    shard.settle_taken(&taken, MessageVerdict::Reject);
    let jobs = shard.lease(20).len() as u64;
    let dropped = shard.turn.stats(shard.clock, None, 10).jobs_dropped;
    assert!(jobs > 0 && dropped > 0 && jobs + dropped == 9, "{jobs} and {dropped}");
}

#[test]
fn events_that_a_stream_does_not_take_are_counted_where_nobody_is_told() {
    let mut shard = Shard::new();
    shard.exchange("x", ExchangeKind::Fanout);
    let settings = StreamSettings { compact: true, ..StreamSettings::default() };
    let create = StreamCommand::Create { stream: "s".to_owned(), partitions: 1, settings };
    assert!(matches!(shard.call(Command::Stream(create)), Answer::Stream(_)));
    let spec = BindingSpec { to_stream: true, ..a_binding("x", "", "s") };
    shard.carry_out(MessageCommand::Bind(Box::new(spec))).unwrap();
    let settings = MessageSettings { dead_letter_exchange: Some("x".into()), ..durable() };
    shard.declare("in", settings).unwrap();
    shard.exchange("y", ExchangeKind::Fanout);
    shard.bind("y", "", "in");
    for (key, dropped) in [("a", 0), ("", 1)] {
        shard.publish("y", key, "m").unwrap();
        let taken = shard.take("in", 1);
        shard.settle_taken(&taken, MessageVerdict::Reject);
        assert_eq!(shard.turn.stats(shard.clock, None, 10).events_dropped, dropped, "{key:?}");
    }
    let late = PublishMessage {
        exchange: "x".into(),
        body: Bytes::from_static(b"m"),
        delay_ms: Some(10),
        ..PublishMessage::default()
    };
    shard.publish_one(late).unwrap();
    shard.advance(20);
    assert_eq!(shard.turn.stats(shard.clock, None, 10).events_dropped, 2);
}

#[test]
fn acks_publishes_and_jobs_are_one_commit_or_nothing() {
    let mut shard = Shard::new();
    shard.job_queue("q", QueueSettings { max_length: Some(3), ..QueueSettings::DEFAULT });
    shard.declare("in", durable()).unwrap();
    shard.declare("out", durable()).unwrap();
    shard.bind_job("#", "q", of_kind("told")).unwrap();
    for body in ["1", "2"] {
        shard.publish("", "in", body).unwrap();
    }
    let taken = shard.take("in", 2);
    let leased = |verdict| {
        let of = |it: &MessageDelivery| MessageSettlement {
            message: name_of(it),
            token: it.lease.unwrap().0,
            verdict,
        };
        vec![of(&taken[0])]
    };
    let publish = |exchange: &str, key: &str| PublishMessage {
        exchange: exchange.into(),
        routing_key: key.into(),
        persistent: true,
        body: Bytes::from_static(b"5"),
        ..PublishMessage::default()
    };
    let enqueues = |numbers: &[u8]| {
        let one = |n: &u8| FollowUp { queue: "q".into(), job: job(*n) };
        numbers.iter().map(one).collect::<Vec<_>>()
    };
    let transaction = |enqueues, verdict| MessageTransaction {
        connection: None,
        publishes: vec![publish("", "out"), publish("amq.topic", "x"), publish("amq.topic", "y")],
        leased: leased(verdict),
        enqueues,
        ..a_transaction()
    };
    let entries = shard.journal.len();
    // The queue of jobs has room for three: two of messages and one.
    let too_many = transaction(enqueues(&[1, 2]), MessageVerdict::Ack);
    let refused = shard.carry_out(MessageCommand::Transact(Box::new(too_many))).map(|_| ());
    assert!(matches!(refused, Err(Rejection::QueueFull { .. })), "{refused:?}");
    assert_eq!((shard.journal.len(), shard.stand_of("in").unsettled), (entries, 2));
    let good = transaction(enqueues(&[1]), MessageVerdict::Ack);
    let came = shard.carry_out(MessageCommand::Transact(Box::new(good))).unwrap();
    let MessageAnswer::Transacted(published, enqueued) = came else { panic!("{came:?}") };
    assert_eq!(published, [routed(1), routed(1), routed(1)]);
    assert_eq!(enqueued.iter().map(|it| it.id).collect::<Vec<_>>(), [id(1)]);
    assert_eq!(shard.journal.len(), entries + 1);
    // The same again: its message is settled already.
    let again = transaction(Vec::new(), MessageVerdict::Ack);
    let refused = shard.carry_out(MessageCommand::Transact(Box::new(again))).map(|_| ());
    assert!(matches!(refused, Err(Rejection::MessageUnknown { .. })), "{refused:?}");
    let mut shard = shard.restart();
    assert_eq!((shard.stand_of("out").ready, shard.stand_of("in").unsettled), (1, 1));
    let jobs = shard.lease(9);
    let ids: std::collections::BTreeSet<_> = jobs.iter().map(|job| job.id).collect();
    assert_eq!((jobs.len(), ids.len()), (3, 3));
}
