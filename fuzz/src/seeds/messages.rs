//! Messages of gRPC: one of each kind, and nasty ones.

use longshore_proto::v1::{self, settlement::Verdict, worker_message::Message};
use prost::Message as _;

use crate::corpus::Named;

const TOKEN: &str = "3.77";
const ID: &str = "019e6f3a-1122-7033-8001-020304050607";

fn job() -> v1::NewJob {
    let policy =
        v1::retry_policy::Exponential { base_ms: 7, factor: Some(2.5), ..Default::default() };
    v1::NewJob {
        id: ID.into(),
        queue: "q".into(),
        kind: "welcome_email".into(),
        args: b"{\"user\":[7,2.50,null,\"\\u00fc\"]}".to_vec().into(),
        priority: Some(9),
        delay_ms: Some(90_000),
        retry: Some(v1::RetryPolicy {
            policy: Some(v1::retry_policy::Policy::Exponential(policy)),
        }),
        tags: vec!["eu".into(), "bulk".into()],
        metadata: b"{}".to_vec().into(),
        traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into(),
        cursor: b"[1]".to_vec().into(),
        ..Default::default()
    }
}

fn verdicts() -> Vec<Verdict> {
    let error =
        || Some(v1::JobError { r#type: "E".into(), message: "m".into(), backtrace: "b".into() });
    let ack = v1::Ack {
        result: Some(b"[1]".to_vec().into()),
        location: "/r/7".into(),
        enqueue: vec![job()],
        next_in_ms: None,
        next_at_unix_ms: None,
    };
    vec![
        Verdict::Ack(ack),
        Verdict::Fail(v1::Fail { error: error(), retry_in_ms: Some(5) }),
        Verdict::Snooze(v1::Snooze { delay_ms: 1 }),
        Verdict::Release(v1::Release {}),
        Verdict::Discard(v1::Discard { error: error() }),
        Verdict::Interrupted(v1::Interrupted { reason: "deploy".into(), delay_ms: Some(2) }),
    ]
}

fn told() -> Vec<(&'static str, Message)> {
    let hello = v1::Hello {
        namespace: "eu".into(),
        name: "w".into(),
        session: "s".into(),
        host: "h".into(),
        pid: 7,
        software: "x/1".into(),
        labels: [("zone".to_owned(), "b".to_owned())].into(),
        kinds: vec!["k".into()],
        queues: ["mail", "img*", "*"]
            .map(|queue| v1::QueueWish { queue: queue.into(), weight: 3 })
            .to_vec(),
        concurrency: 4,
        lease_ms: Some(30_000),
        held: vec![v1::HeldLease { id: ID.into(), token: TOKEN.into(), started: true }],
        versions: vec![v1::KindVersions { kind: "k".into(), from: 1, to: 3 }],
    };
    let settlement =
        |verdict| v1::Settlement { id: ID.into(), token: TOKEN.into(), verdict: Some(verdict) };
    let skipped = v1::SkippedItem { cursor: b"6".to_vec().into(), error: None };
    let checkpoint = v1::Checkpoint {
        id: ID.into(),
        token: TOKEN.into(),
        seq: 3,
        cursor: b"{\"after\":7}".to_vec().into(),
        progress: Some(0.5),
        progress_text: Some("half".into()),
        counters: [("rows".to_owned(), 7)].into(),
        skipped: vec![skipped],
    };
    let lease = v1::LeaseRef { id: ID.into(), token: TOKEN.into() };
    let settlements = verdicts().into_iter().map(settlement).collect();
    vec![
        ("hello", Message::Hello(hello)),
        ("credit", Message::Credit(v1::Credit { jobs: 9, withdraw: false })),
        ("started", Message::Started(v1::Started { jobs: vec![lease] })),
        ("settle", Message::Settle(v1::Settle { settlements })),
        ("checkpoints", Message::Checkpoints(v1::Checkpoints { checkpoints: vec![checkpoint] })),
        ("heartbeat", Message::Heartbeat(v1::Heartbeat { memory_bytes: Some(7) })),
        ("goodbye", Message::Goodbye(v1::Goodbye {})),
    ]
}

/// The seeds.
pub(super) fn messages() -> Vec<Named> {
    let mut inputs: Vec<Named> = told()
        .into_iter()
        .map(|(name, told)| {
            (name.to_owned(), v1::WorkerMessage { message: Some(told) }.encode_to_vec())
        })
        .collect();
    let request = v1::EnqueueRequest {
        namespace: "eu".into(),
        queue: "q".into(),
        jobs: vec![job(), v1::NewJob { kind: "k".into(), ..Default::default() }],
    };
    inputs.push(("enqueue".to_owned(), request.encode_to_vec()));
    // Settle with nothing but empty settlements; a hello with nothing but empty leases.
    let empties = |outer: u8, inner: u8| {
        let parts = [inner, 0].repeat(4000);
        [&[outer, 0xc0, 0x3e][..], &parts].concat()
    };
    inputs.push(("empty-settlements".to_owned(), empties(0x22, 0x0a)));
    inputs.push(("empty-leases".to_owned(), empties(0x0a, 0x62)));
    inputs.push(("cut-off".to_owned(), vec![0x22, 0xff, 0xff, 0xff, 0x7f, 0x0a]));
    inputs
}
