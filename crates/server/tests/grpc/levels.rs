//! The service of service levels, and tenants: as over HTTP.

use longshore_proto::v1;
use longshore_proto::v1::sla_settings::{Goal, On};
use serde_json::Value;
use tonic::Code;

use crate::harness::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_service_level_is_set_told_and_removed() {
    let server = Server::start().await;
    let mut levels = server.levels().await;
    let breach = v1::NewJob { queue: "alarms".into(), kind: "page".into(), ..Default::default() };
    let settings = v1::SlaSettings {
        on: Some(On::Queue("mail".into())),
        goal: Some(Goal::StartedWithinMs(30_000)),
        share: Some(0.95),
        breach: Some(breach),
    };
    let put = v1::PutSlaRequest {
        name: "mail".into(),
        settings: Some(settings.clone()),
        ..Default::default()
    };
    let told = levels.put_sla(put.clone()).await.unwrap().into_inner();
    let record: Value = serde_json::from_slice(&told.record).unwrap();
    assert_eq!(record["settings"]["started_within"], "30s");
    assert_eq!(record["settings"]["breach"]["queue"], "alarms");
    assert_eq!((told.late, told.attained, told.breached_since_unix_ms), (0, None, None));
    let all = levels.list_slas(v1::ListSlasRequest::default()).await.unwrap().into_inner();
    assert_eq!(all.slas.len(), 1);

    let without = v1::SlaSettings { on: None, ..settings };
    let refused = v1::PutSlaRequest { settings: Some(without), ..put };
    assert_eq!(levels.put_sla(refused).await.unwrap_err().code(), Code::InvalidArgument);
    let named = || v1::SlaRequest { name: "mail".into(), ..Default::default() };
    levels.delete_sla(named()).await.unwrap();
    assert_eq!(levels.get_sla(named()).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_tenant_are_listed() {
    let server = Server::start().await;
    let mut jobs = server.jobs().await;
    let job =
        |tenant: &str| v1::NewJob { kind: "k".into(), tenant: tenant.into(), ..Default::default() };
    let request = v1::EnqueueRequest {
        queue: "q".into(),
        jobs: vec![job("acme"), job("other"), job("")],
        ..Default::default()
    };
    jobs.enqueue(request).await.unwrap();
    let request = v1::ListJobsRequest { tenant: "acme".into(), ..Default::default() };
    let listed = jobs.list_jobs(request).await.unwrap().into_inner().jobs;
    assert_eq!(listed.len(), 1);
    let record: Value = serde_json::from_slice(&listed[0].record).unwrap();
    assert_eq!(record["tenant"], "acme");
}
