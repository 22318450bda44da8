//! Who comes in over gRPC: every method with every role, and streams of accounts that go.

use longshore_proto::v1::accounts_client::AccountsClient;
use longshore_proto::v1::jobs_client::JobsClient;
use longshore_proto::v1::workers_client::WorkersClient;
use longshore_proto::v1::{self, worker_message::Message as Tells};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::harness::{Server, credit, hello, soon};

const PROTOS: [&str; 9] = [
    include_str!("../../../../proto/longshore/v1/accounts.proto"),
    include_str!("../../../../proto/longshore/v1/admin.proto"),
    include_str!("../../../../proto/longshore/v1/control.proto"),
    include_str!("../../../../proto/longshore/v1/jobs.proto"),
    include_str!("../../../../proto/longshore/v1/levels.proto"),
    include_str!("../../../../proto/longshore/v1/messages.proto"),
    include_str!("../../../../proto/longshore/v1/schedules.proto"),
    include_str!("../../../../proto/longshore/v1/streams.proto"),
    include_str!("../../../../proto/longshore/v1/workers.proto"),
];
const ROLES: [&str; 6] = ["read", "enqueue", "publish", "consume", "work", "admin"];

/// Sends a message without fields, and takes whatever comes.
#[derive(Clone, Copy, Default)]
struct Empty;

impl Codec for Empty {
    type Encode = ();
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Empty {
    type Item = ();
    type Error = Status;

    fn encode(&mut self, (): (), _buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        Ok(())
    }
}

impl Decoder for Empty {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        let rest = bytes::Buf::remaining(buffer);
        bytes::Buf::advance(buffer, rest);
        Ok(Some(()))
    }
}

pub(crate) fn bearer<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

async fn call(channel: &Channel, path: &str, token: Option<&str>) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let request = token.map_or_else(|| Request::new(()), |token| bearer((), token));
    soon(client.unary(request, path.parse().unwrap(), Empty)).await.map(|_| ())
}

fn methods() -> Vec<(String, String)> {
    let mut methods = Vec::new();
    for proto in PROTOS {
        let service = proto.lines().find_map(|line| line.strip_prefix("service ")).unwrap();
        let service = service.trim_end_matches(" {");
        let calls = proto.lines().filter_map(|line| line.trim().strip_prefix("rpc "));
        let named = calls.map(|line| (service.to_owned(), line.split('(').next().unwrap().into()));
        methods.extend(named);
    }
    methods
}

/// Which roles a method lets in, beside `admin`.
fn expected(service: &str, method: &str) -> &'static [&'static str] {
    match (service, method) {
        ("Accounts", _) | ("Streams", "CreateStream") => &[],
        ("Jobs", "Enqueue" | "EnqueueStream" | "CancelJob" | "RescheduleJob") => &["enqueue"],
        ("Jobs", "GetJob" | "AwaitJob" | "WatchJob") => &["read", "enqueue"],
        ("Workers", "Work") => &["work"],
        ("Messages", "Transact") => &["publish", "enqueue", "consume"],
        ("Streams", "AppendEvents" | "TakeProducer") => &["publish"],
        ("Streams", "GetStream") => &["read", "publish", "consume"],
        ("Streams", "ReadEvents" | "ReadKey" | "GetOffsets") => &["read", "consume"],
        ("Streams", _) => &["consume"],
        (_, method) if method.starts_with("Get") || method.starts_with("List") => &["read"],
        _ => &[],
    }
}

pub(crate) async fn account(
    server: &Server,
    admin: &str,
    name: &str,
    grants: &serde_json::Value,
) -> String {
    let body = json!({"grants": grants}).to_string();
    server.ask_http(("PUT", &format!("/v1/accounts/{name}")), admin, &body).await;
    let path = format!("/v1/accounts/{name}/tokens");
    let made = server.ask_http(("POST", &path), admin, r#"{"id": "t"}"#).await;
    made["token"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_lets_in_its_roles_and_no_others() {
    let (server, admin) = Server::start_asking().await;
    let channel = server.channel().await;
    let mut tokens = Vec::new();
    for role in ROLES {
        let (name, grants) = (format!("only-{role}"), json!([{"role": role}]));
        tokens.push((role, account(&server, &admin, &name, &grants).await));
    }
    let methods = methods();
    assert!(methods.len() >= 77, "{}", methods.len());
    let mut odd = Vec::new();
    for (service, method) in &methods {
        let path = format!("/longshore.v1.{service}/{method}");
        for wrong in [None, Some("lsh_wrong")] {
            let code = call(&channel, &path, wrong).await.err().map(|status| status.code());
            if code != Some(Code::Unauthenticated) {
                odd.push(format!("{path} with {wrong:?}: {code:?}"));
            }
        }
        for (role, token) in &tokens {
            let may = *role == "admin" || expected(service, method).contains(role);
            let code = call(&channel, &path, Some(token)).await.err().map(|status| status.code());
            let denied = code == Some(Code::PermissionDenied);
            if denied == may || code == Some(Code::Unauthenticated) {
                odd.push(format!("{path} as {role}: {code:?}"));
            }
        }
    }
    assert!(odd.is_empty(), "{odd:#?}");
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let refused = call(&channel, reflection, None).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_looked_after_over_grpc() {
    let (server, admin) = Server::start_asking().await;
    let mut accounts = AccountsClient::new(server.channel().await);
    let grant = |role: &str, namespace: &str| v1::Grant {
        role: role.into(),
        namespace: namespace.into(),
        names: String::new(),
    };
    let put = |role: &str| v1::PutAccountRequest {
        name: "ann".into(),
        grants: Some(v1::Grants { grants: vec![grant(role, "eu")] }),
        requests_per_second: Some(100),
        password: Some("long enough".into()),
        ..Default::default()
    };
    let refused = accounts.put_account(bearer(put("king"), &admin)).await.unwrap_err();
    assert!(refused.message().contains("grants[0].role"), "{}", refused.message());
    let ann = accounts.put_account(bearer(put("enqueue"), &admin)).await.unwrap().into_inner();
    assert_eq!((ann.has_password, ann.requests_per_second), (true, Some(100)));
    assert_eq!((&*ann.grants[0].namespace, &*ann.grants[0].names), ("eu", "*"));
    assert!(!String::from_utf8_lossy(&ann.record).contains("argon2"), "no hash goes out");

    let request =
        v1::CreateTokenRequest { name: "ann".into(), id: "t".into(), ..Default::default() };
    let made = accounts.create_token(bearer(request, &admin)).await.unwrap().into_inner();
    let list = v1::ListAccountsRequest::default();
    let refused = accounts.list_accounts(bearer(list.clone(), &made.token)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    // One who may do everything in one namespace is in charge of no accounts.
    accounts.put_account(bearer(put("admin"), &admin)).await.unwrap();
    let refused = accounts.list_accounts(bearer(list.clone(), &made.token)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let all = accounts.list_accounts(bearer(list, &admin)).await.unwrap().into_inner().accounts;
    assert!(all.iter().any(|it| it.name == "ann"), "{all:?}");

    let drop = v1::RevokeTokenRequest { name: "ann".into(), id: "t".into() };
    accounts.revoke_token(bearer(drop, &admin)).await.unwrap();
    let named = v1::AccountRequest { name: "ann".into() };
    accounts.delete_account(bearer(named.clone(), &admin)).await.unwrap();
    let gone = accounts.get_account(bearer(named, &admin)).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    let audit = bearer(v1::ListAuditRequest::default(), &admin);
    let trail = accounts.list_audit(audit).await.unwrap().into_inner();
    let last = trail.changes.last().unwrap();
    assert_eq!((&*last.action, &*last.object, &*last.by), ("account.delete", "ann", "admin"));
    let later = v1::ListAuditRequest { after: trail.next, limit: 0 };
    let later = accounts.list_audit(bearer(later, &admin)).await.unwrap().into_inner();
    assert!(later.changes.is_empty(), "{later:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_account_is_removed_is_sent_away_and_its_jobs_are_free() {
    let (server, admin) = Server::start_asking().await;
    let token = account(&server, &admin, "worker", &json!([{"role": "work", "names": "q"}])).await;
    let job = v1::NewJob { kind: "k".into(), args: "{}".into(), ..Default::default() };
    let mut jobs = JobsClient::new(server.channel().await);
    let batch = v1::EnqueueRequest { queue: "q".into(), jobs: vec![job], ..Default::default() };
    jobs.enqueue(bearer(batch, &admin)).await.unwrap();
    let mut client = WorkersClient::new(server.channel().await);
    let (tells, told) = mpsc::channel(16);
    let say = |what| v1::WorkerMessage { message: Some(what) };
    let queues = |name: &str| vec![v1::QueueWish { queue: name.into(), weight: 0 }];
    let hello_to = |name: &str| v1::Hello { queues: queues(name), ..hello() };
    tells.send(say(Tells::Hello(hello_to("q")))).await.unwrap();
    tells.send(say(Tells::Credit(credit(1)))).await.unwrap();
    let stream = ReceiverStream::new(told);
    let mut stream = client.work(bearer(stream, &token)).await.unwrap().into_inner();
    let mut got = 0;
    while got == 0 {
        let message = soon(stream.message()).await.unwrap().unwrap().message;
        if let Some(v1::server_message::Message::Deliver(deliver)) = message {
            got = deliver.jobs.len();
        }
    }
    server.ask_http(("DELETE", "/v1/accounts/worker"), &admin, "").await;
    let end = loop {
        match soon(stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::Unauthenticated, "{end:?}");
    drop(tells);

    let other = account(&server, &admin, "other", &json!([{"role": "work", "names": "x"}])).await;
    let (tells, told) = mpsc::channel(16);
    tells.send(say(Tells::Hello(hello_to("q")))).await.unwrap();
    tells.send(say(Tells::Credit(credit(1)))).await.unwrap();
    let stream = client.work(bearer(ReceiverStream::new(told), &other)).await;
    let mut stream = stream.unwrap().into_inner();
    let end = loop {
        match soon(stream.message()).await {
            Ok(Some(message)) => {
                let message = message.message;
                let delivered = matches!(message, Some(v1::server_message::Message::Deliver(_)));
                assert!(!delivered, "a job of another queue");
            }
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::PermissionDenied, "{end:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_takes_no_session_over_from_another_account() {
    let (server, admin) = Server::start_asking().await;
    let work = json!([{"role": "work", "names": "q"}]);
    let owner = account(&server, &admin, "owner", &work).await;
    let peer = account(&server, &admin, "peer", &work).await;
    let elsewhere = json!([{"role": "work", "namespace": "elsewhere"}]);
    let elsewhere = account(&server, &admin, "elsewhere", &elsewhere).await;
    let other = account(&server, &admin, "other", &json!([{"role": "work", "names": "x"}])).await;
    let say = |what| v1::WorkerMessage { message: Some(what) };
    let queues = vec![v1::QueueWish { queue: "q".into(), weight: 0 }];
    let greeting = v1::Hello { queues, ..hello() };
    let mut client = WorkersClient::new(server.channel().await);
    let (tells, told) = mpsc::channel(16);
    tells.send(say(Tells::Hello(greeting.clone()))).await.unwrap();
    tells.send(say(Tells::Credit(credit(1)))).await.unwrap();
    let stream = client.work(bearer(ReceiverStream::new(told), &owner)).await;
    let mut stream = stream.unwrap().into_inner();
    let welcome = soon(stream.message()).await.unwrap().unwrap();
    assert!(welcome.message.is_some());
    for thief in [&peer, &elsewhere, &other] {
        let (tells, told) = mpsc::channel(16);
        tells.send(say(Tells::Hello(greeting.clone()))).await.unwrap();
        let end = match client.work(bearer(ReceiverStream::new(told), thief)).await {
            Err(status) => status,
            Ok(mut stream) => loop {
                match soon(stream.get_mut().message()).await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it ended without a word"),
                    Err(status) => break status,
                }
            },
        };
        assert_eq!(end.code(), Code::PermissionDenied, "{end:?}");
    }
    let job = v1::NewJob { kind: "k".into(), args: "{}".into(), ..Default::default() };
    let batch = v1::EnqueueRequest { queue: "q".into(), jobs: vec![job], ..Default::default() };
    let mut jobs = JobsClient::new(server.channel().await);
    jobs.enqueue(bearer(batch, &admin)).await.unwrap();
    loop {
        let message = soon(stream.message()).await.expect("its stream goes on").unwrap().message;
        if matches!(message, Some(v1::server_message::Message::Deliver(_))) {
            break;
        }
    }
    server.stop().await;
}
