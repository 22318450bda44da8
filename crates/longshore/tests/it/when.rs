//! When and how many, against the real server: versions side by side, next slots, levels, limits
//! and gates.

use std::time::{Duration, SystemTime};

use longshore::testing::EmbeddedServer;
use longshore::{
    Context, Job, JobOptions, JobResult, LimitSettings, Missed, Outcome, Overlap, Perform,
    Schedule, SlaSettings, Start, Stopped, Worker,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::app::{App, Double, Gated, PATIENCE, Running};

/// The args as the old code has them.
#[derive(Job, Serialize, Deserialize)]
#[job(kind = "invoice", queue = "invoices", version = 1, output = String)]
struct OldInvoice {
    number: u32,
}

/// And as the new code has them, which knows nothing of the old ones.
#[derive(Job, Serialize, Deserialize)]
#[job(kind = "invoice", queue = "invoices", version = 2, output = String)]
struct NewInvoice {
    customer: String,
}

impl Perform<App> for OldInvoice {
    async fn perform(self, ctx: Context<App>) -> JobResult<String> {
        ctx.state().pass_gate().await;
        Ok(Outcome::done(format!("old {}", self.number)))
    }
}

impl Perform<App> for NewInvoice {
    async fn perform(self, _: Context<App>) -> JobResult<String> {
        Ok(Outcome::done(format!("new {}", self.customer)))
    }
}

/// Polls in rapid succession.
#[derive(Job, Serialize, Deserialize)]
#[job(max_attempts = 1)]
struct Poll;

impl Perform<App> for Poll {
    async fn perform(self, ctx: Context<App>) -> JobResult {
        ctx.next_slot(Start::In(Duration::from_secs(5)));
        Ok(Outcome::DONE)
    }
}

#[tokio::test]
async fn a_deploy_drains_the_old_version_and_routes_the_new_one() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let (stop_old, old_stops) = oneshot::channel::<()>();
    let old = Worker::new(&client, app.clone()).register::<OldInvoice>().name("old");
    let old = old.concurrency(1).run_until(async move {
        let _ = old_stops.await;
    });
    let old = tokio::spawn(old);
    let olds = client.enqueue_all((0..2).map(|number| OldInvoice { number })).await.unwrap();
    app.until_entered().await;
    // The new code is there already, its workers are not.
    let new = client.enqueue(NewInvoice { customer: "acme".to_owned() }).await.unwrap();
    let told = client.kind_versions::<NewInvoice>().await.unwrap();
    assert_eq!((told[0].version, told[0].workers.as_slice()), (Some(1), &["old".to_owned()][..]));
    assert_eq!((told[1].version, told[1].waiting), (Some(2), 1));
    assert!(told[1].workers.is_empty(), "nobody runs it: {told:?}");
    let (stop_new, new_stops) = oneshot::channel::<()>();
    let of_new = Worker::new(&client, app.clone()).register::<NewInvoice>().name("new");
    let of_new = tokio::spawn(of_new.run_until(async move {
        let _ = new_stops.await;
    }));
    assert_eq!(new.result(PATIENCE).await.unwrap(), "new acme", "while the old one runs");
    let told = client.kind_versions::<NewInvoice>().await.unwrap();
    assert!(told[0].running + told[0].waiting == 2, "the old code may not go yet: {told:?}");
    app.open(2);
    for (number, job) in olds.into_iter().enumerate() {
        assert_eq!(job.result(PATIENCE).await.unwrap(), format!("old {number}"));
    }
    let told = client.kind_versions::<OldInvoice>().await.unwrap();
    assert_eq!((told[0].running, told[0].waiting), (0, 0), "now it may");
    drop(stop_old);
    assert_eq!(old.await.unwrap().unwrap(), Stopped::Shutdown);
    drop(stop_new);
    of_new.await.unwrap().unwrap();
    server.stop().await.unwrap();
}

#[tokio::test]
async fn kinds_are_listed_and_told_with_what_is_over_them() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    assert_eq!(client.list_kinds("").await.unwrap(), (Vec::new(), String::new()));
    client.enqueue(OldInvoice { number: 1 }).await.unwrap();
    client.enqueue(NewInvoice { customer: "acme".to_owned() }).await.unwrap();
    let job = client.enqueue(Gated(1)).await.unwrap();
    let worker = Running::start(&client, &app);
    app.until_entered().await;
    let (listed, next) = client.list_kinds("").await.unwrap();
    let told: Vec<_> =
        listed.iter().map(|it| (&*it.kind, it.version, it.waiting, it.running)).collect();
    let expected = [("gated", None, 0, 1), ("invoice", Some(1), 1, 0), ("invoice", Some(2), 1, 0)];
    assert_eq!((told, next.as_str()), (expected.to_vec(), ""));
    client.put_gate("bank", &[], &["gated"]).await.unwrap();
    client.put_limit("few", LimitSettings::concurrency(9).of_kind::<Gated>()).await.unwrap();
    let soon = SlaSettings::started_within::<Gated>(Duration::from_secs(30));
    client.put_sla("soon", soon).await.unwrap();
    let kind = client.kind("gated").await.unwrap();
    assert_eq!((kind.gates, kind.limits, kind.slas), by_name("bank", "few", "soon"));
    assert_eq!((&*kind.name, kind.versions[0].consumers), ("gated", Some(1)));
    assert_eq!(kind.versions[0].workers, ["tester"]);
    assert_eq!(kind.record["kind"], "gated", "{}", kind.record);
    assert!(client.kind("unknown").await.unwrap().versions.is_empty());
    app.open(1);
    job.result(PATIENCE).await.unwrap();
    worker.stop().await;
    server.stop().await.unwrap();
}

fn by_name(gate: &str, limit: &str, sla: &str) -> (Vec<String>, Vec<String>, Vec<String>) {
    (vec![gate.to_owned()], vec![limit.to_owned()], vec![sla.to_owned()])
}

/// It was taken for a failure, and run again until it was dead, although its work was done.
#[tokio::test]
async fn a_job_without_a_schedule_succeeds_though_it_names_a_next_slot() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start_with(&client, &app, Worker::register::<Poll>);
    let job = client.enqueue(Poll).await.unwrap();
    job.result(PATIENCE).await.unwrap();
    worker.stop().await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn levels_limits_and_gates_are_set_and_told() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let soon = SlaSettings::started_within::<Gated>(Duration::from_secs(30)).share(0.9);
    let soon = soon.on_breach(&Double(1), JobOptions::new()).unwrap();
    let told = client.put_sla("soon", soon).await.unwrap();
    assert_eq!((told.breached, &told.record["settings"]["share"]), (false, &0.9.into()));
    assert_eq!(told.record["settings"]["breach"]["kind"], "double");
    assert_eq!(client.slas().await.unwrap().len(), 1);
    client.put_limit("few", LimitSettings::concurrency(1).of_kind::<Gated>()).await.unwrap();
    let jobs = client.enqueue_all((0..2).map(Gated)).await.unwrap();
    let worker = Running::start(&client, &app);
    app.until_entered().await;
    let few = client.limit("few").await.unwrap();
    assert_eq!((few.running, few.spent), (1, 1));
    let gate = client.put_gate("bank", &[], &["gated"]).await.unwrap();
    assert!(!gate.closed && gate.running == 1, "{gate:?}");
    client.close_gate("bank", "it is down", None).await.unwrap();
    assert!(client.gate("bank").await.unwrap().closed);
    client.delete_gate("bank").await.unwrap();
    client.delete_limit("few").await.unwrap();
    assert!(client.limits().await.unwrap().is_empty() && client.gates().await.unwrap().is_empty());
    app.open(2);
    for job in jobs {
        job.result(PATIENCE).await.unwrap();
    }
    client.hold("shard=1", "it moves").await.unwrap();
    assert_eq!(client.holds().await.unwrap()[0].tag, "shard=1");
    client.let_go("shard=1").await.unwrap();
    client.delete_sla("soon").await.unwrap();
    worker.stop().await;
    server.stop().await.unwrap();
}

/// What a builder of a schedule says is what the server has.
#[tokio::test]
async fn schedules_are_as_they_are_built() {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    let (minute, hour) = (Duration::from_secs(60), Duration::from_secs(3_600));
    // A midnight that is to come.
    let days = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs() / 86_400 + 2;
    let from = SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
    let options = JobOptions::new().queue("low").tag("noon").max_attempts(3);
    let at_noon = Schedule::cron("30 12 * * *", &Double(21), options).unwrap();
    let at_noon = at_noon.time_zone("Europe/Berlin").jitter(minute).description("past noon");
    let at_noon = at_noon.starts_at(from).ends_at(from + 24 * hour);
    let put = client.put_schedule("noon", at_noon).await.unwrap();
    let settings =
        |record: &[u8]| serde_json::from_slice::<Value>(record).unwrap()["settings"].clone();
    let told = settings(&put.record);
    for (field, value) in [
        ("cron", "30 12 * * *"),
        ("time_zone", "Europe/Berlin"),
        ("jitter", "1m"),
        ("description", "past noon"),
    ] {
        assert_eq!(told[field], value, "{told}");
    }
    let [starts, ends] = ["starts_at", "ends_at"].map(|it| told[it].as_str().unwrap());
    assert!(starts < ends && [starts, ends].iter().all(|it| it.ends_with("T00:00:00.000Z")));
    let job = &told["job"];
    assert_eq!((&job["kind"], &job["queue"]), (&json!("double"), &json!("low")), "{told}");
    assert_eq!((&job["args"], &job["tags"]), (&json!(21), &json!(["noon"])), "{told}");
    assert_eq!(job["max_attempts"], 3, "{told}");
    // Half past eleven by UTC in winter, half past ten in summer, and up to a minute later. No
    // change of the clock comes near that time.
    let after = put.next.unwrap().duration_since(from).unwrap().as_secs() / 60;
    let (winter, summer) = (11 * 60 + 30, 10 * 60 + 30);
    assert!([winter, winter + 1, summer, summer + 1].contains(&after), "{after}");

    for (missed, text) in [
        (Missed::Skip, "skip"),
        (Missed::One, "one"),
        (Missed::All, "all"),
        (Missed::Within(hour), "within 1h"),
    ] {
        for (overlap, word) in [
            (Overlap::Allow, "allow"),
            (Overlap::Skip, "skip"),
            (Overlap::QueueOne, "queue_one"),
            (Overlap::CancelPrevious, "cancel_previous"),
        ] {
            let every = Schedule::every(90 * minute, &Double(1), JobOptions::new()).unwrap();
            let every = every.missed(missed).overlap(overlap);
            let told = settings(&client.put_schedule("every", every).await.unwrap().record);
            assert_eq!((&told["missed"], &told["overlap"]), (&json!(text), &json!(word)), "{told}");
            assert_eq!((&told["every"], &told["job"]["queue"]), (&json!("90m"), &json!("default")));
        }
    }
    let wrong = Schedule::cron("61 * * * *", &Double(1), JobOptions::new()).unwrap();
    let refused = client.put_schedule("wrong", wrong).await.unwrap_err();
    assert_eq!(refused.code(), Some("value_refused"), "{refused}");
    server.stop().await.unwrap();
}
