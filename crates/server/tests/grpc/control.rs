//! The service of gates, holds and limits: as over HTTP.

use longshore_proto::v1;
use longshore_proto::v1::limit_settings::Rule;
use serde_json::Value;
use tonic::Code;

use crate::harness::Server;

fn named(name: &str) -> v1::ControlRequest {
    v1::ControlRequest { name: name.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn gates_holds_and_limits_are_set_told_and_removed() {
    let server = Server::start().await;
    let mut control = server.control().await;
    let close = v1::CloseGateRequest {
        name: "bank".into(),
        reason: "it is down".into(),
        expires_in_ms: Some(60_000),
        ..Default::default()
    };
    let gate = control.close_gate(close).await.unwrap().into_inner();
    assert!(gate.closed && gate.expires_at_unix_ms.is_some());
    let record: Value = serde_json::from_slice(&gate.record).unwrap();
    assert_eq!(record["reason"], "it is down");
    let put = v1::PutGateRequest {
        name: "bank".into(),
        kinds: vec!["Charge".into()],
        ..Default::default()
    };
    let gate = control.put_gate(put).await.unwrap().into_inner();
    assert!(gate.closed, "what depends on it is another question");
    assert!(!control.open_gate(named("bank")).await.unwrap().into_inner().closed);
    let gates = control.list_gates(v1::ListControlRequest::default()).await.unwrap();
    assert_eq!(gates.into_inner().gates.len(), 1);
    control.delete_gate(named("bank")).await.unwrap();
    assert_eq!(control.get_gate(named("bank")).await.unwrap_err().code(), Code::NotFound);

    let put = v1::PutHoldRequest { tag: "shard=1".into(), wait_ms: 1000, ..Default::default() };
    let hold = control.put_hold(put).await.unwrap().into_inner();
    assert_eq!((hold.epoch, hold.quiet), (1, true));
    let get =
        v1::GetHoldRequest { tag: "shard=1".into(), wait_ms: 99_000_000, ..Default::default() };
    assert_eq!(control.get_hold(get).await.unwrap_err().code(), Code::InvalidArgument);
    let holds = control.list_holds(v1::ListControlRequest::default()).await.unwrap();
    assert_eq!(holds.into_inner().holds[0].tag, "shard=1");
    control.delete_hold(named("shard=1")).await.unwrap();
    assert_eq!(control.delete_hold(named("shard=1")).await.unwrap_err().code(), Code::NotFound);

    let window = v1::LimitWindow { max: 100, per_ms: 60_000 };
    let settings = v1::LimitSettings {
        scope: "key".into(),
        rule: Some(Rule::Window(window)),
        ..Default::default()
    };
    let put = v1::PutLimitRequest {
        name: "api".into(),
        settings: Some(settings.clone()),
        ..Default::default()
    };
    let limit = control.put_limit(put).await.unwrap().into_inner();
    assert_eq!(limit.settings, Some(settings));
    let refused = control.put_limit(v1::PutLimitRequest { name: "x".into(), ..Default::default() });
    assert_eq!(refused.await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(control.get_limit(named("api")).await.unwrap().into_inner(), limit);
    let limits = control.list_limits(v1::ListControlRequest::default()).await.unwrap();
    assert_eq!(limits.into_inner().limits.len(), 1);
    control.delete_limit(named("api")).await.unwrap();
    assert_eq!(control.get_limit(named("api")).await.unwrap_err().code(), Code::NotFound);
    server.stop().await;
}
