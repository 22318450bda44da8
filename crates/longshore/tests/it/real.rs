//! Against the real server, in the process of the test.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::stream;
use longshore::testing::EmbeddedServer;
use longshore::{
    BatchOutcome, Ended, JobOptions, JobState, Jobs, Missed, Overlap, Schedule, Start, Stopped,
    Unique,
};
use serde_json::json;

use crate::app::{App, Broken, Double, First, Gated, Numbers, Once, PATIENCE, Running};

#[tokio::test]
async fn a_job_goes_from_the_client_through_a_worker_and_back() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let job = client.enqueue(Double(21)).tag("a").await.unwrap();
    let Ended::Succeeded { result, location } = job.ended(PATIENCE).await.unwrap() else {
        panic!("it did not succeed")
    };
    assert_eq!((result, location.as_deref()), (42, Some("/numbers/42")));
    let broken = client.enqueue(Broken).await.unwrap();
    let Ended::Dead(error) = broken.ended(PATIENCE).await.unwrap() else { panic!("not dead") };
    assert_eq!((error.kind(), error.message()), ("panic", "it is broken"));
    let error = broken.result(PATIENCE).await.unwrap_err().to_string();
    assert!(error.contains("is dead: panic: it is broken"), "{error}");
    for once in [false, true] {
        let job = client.enqueue(Once);
        let job = if once { job.at_most_once() } else { job };
        let job = job.await.unwrap();
        assert_eq!(job.result(PATIENCE).await.unwrap(), once, "what the run is told");
    }
    assert_eq!(worker.stop().await, Stopped::Shutdown);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn what_follows_enters_with_the_end() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    client.enqueue(First).await.unwrap().result(PATIENCE).await.unwrap();
    let (jobs, _) = client.list(&Jobs::all().kind("double"), "").await.unwrap();
    assert_eq!(jobs.len(), 1);
    let second = client.handle::<Double>(jobs[0].id.clone());
    assert_eq!(second.result(PATIENCE).await.unwrap(), 8);
    worker.stop().await;
}

#[tokio::test]
async fn a_schedule_enqueues_its_job_by_hand_and_in_time() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let hour = Duration::from_secs(3600);
    let schedule = Schedule::every(hour, &Double(21), JobOptions::new()).unwrap();
    let schedule = schedule.missed(Missed::Within(hour)).overlap(Overlap::Skip);
    let put = client.put_schedule("often", schedule.clone()).await.unwrap();
    assert_eq!(client.put_schedule("often", schedule).await.unwrap(), put);
    let by_hand = client.run_schedule("often").await.unwrap();
    assert_eq!(client.handle::<Double>(by_hand).result(PATIENCE).await.unwrap(), 42);
    client.set_next_slot("often", Start::Now).await.unwrap();
    let mut told = client.schedule("often").await.unwrap();
    while told.enqueued_total < 2 {
        told = client.schedule("often").await.unwrap();
    }
    assert_eq!(client.handle::<Double>(told.last_job).result(PATIENCE).await.unwrap(), 42);
    let slots = client.next_slots("often", 2).await.unwrap();
    assert_eq!(slots[1].duration_since(slots[0]).unwrap(), hour);
    assert!(client.pause_schedule("often").await.unwrap().next.is_none());
    assert_eq!(client.list_schedules("").await.unwrap().0.len(), 1);
    client.delete_schedule("often").await.unwrap();
    worker.stop().await;
}

#[tokio::test]
async fn many_jobs_are_each_run_once() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let jobs = client.enqueue_all((0..500).map(Double)).await.unwrap();
    assert_eq!(jobs.len(), 500);
    let streamed = stream::iter((500..3_000).map(Double));
    let accepted = client.enqueue_stream(streamed, JobOptions::new(), |batch| {
        assert!(matches!(batch.outcome, BatchOutcome::Accepted), "{batch:?}");
    });
    assert_eq!(accepted.await.unwrap(), 2_500);
    let last = client.enqueue(Double(3_000)).await.unwrap();
    let worker = Running::start(&client, &app);
    last.result(PATIENCE).await.unwrap();
    worker.stop().await;
    assert!((0..=3_000).all(|number| app.runs(number) == 1));
}

#[tokio::test]
async fn a_running_job_hears_that_it_is_called_off() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let job = client.enqueue(Gated(1)).await.unwrap();
    app.until_entered().await;
    assert_eq!(job.cancel().await.unwrap().effect, "requested");
    // Its ack still wins.
    assert_eq!(job.result(PATIENCE).await.unwrap(), 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_run_outlives_a_restart_of_the_server() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let job = client.enqueue(Gated(1)).await.unwrap();
    app.until_entered().await;
    let server = server.restart().await.unwrap();
    app.open(1);
    assert_eq!(job.result(PATIENCE).await.unwrap(), 1);
    assert_eq!(app.runs(1), 1);
    worker.stop().await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_queue_has_its_limit_and_holds_up_no_other() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let gated = client.enqueue_all((0..6).map(Gated)).await.unwrap();
    let other = client.enqueue(Double(7)).await.unwrap();
    let worker = Running::start_with(&client, &app, |worker| {
        worker.queues(["default"]).limited_queue("gated", 2).concurrency(8)
    });
    app.until_entered().await;
    assert_eq!(other.result(PATIENCE).await.unwrap(), 14);
    app.open(6);
    for job in gated {
        job.result(PATIENCE).await.unwrap();
    }
    assert!(app.inner.running_max.load(Ordering::SeqCst) <= 2);
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_can_be_told_to_leave() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    client.enqueue(Double(1)).await.unwrap().result(PATIENCE).await.unwrap();
    client.terminate_worker("tester").await.unwrap();
    let stopped = tokio::time::timeout(PATIENCE, worker.worker).await.unwrap().unwrap();
    assert_eq!(stopped, Stopped::Terminated);
}

#[tokio::test]
async fn an_iteration_goes_on_after_a_pause_and_a_kill() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let numbers = Numbers { up_to: 400, gate_at: Some(200), ..Numbers::default() };
    let job = client.enqueue(numbers).lease(Duration::from_secs(2)).await.unwrap();
    app.until_entered().await;
    // What came before the gate is on disk soon, without a further item.
    let saved = async {
        loop {
            let record = job.record().await.unwrap();
            if record.cursor == Some(json!(199)) {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let record = tokio::time::timeout(PATIENCE, saved).await.unwrap();
    assert_eq!((record.counters["items"], record.counters["sum"]), (200, 199 * 100));
    worker.kill();
    let worker = Running::start(&client, &app);
    job.result(PATIENCE).await.unwrap();
    let record = job.record().await.unwrap();
    assert_eq!(record.attempt, 1, "a lost run that got on uses no attempt");
    assert_eq!(record.counters["sum"], 399 * 200);
    assert!((0..400).all(|number| app.runs(number) == 1 + u32::from(number == 200)));
    worker.stop().await;
}

#[tokio::test]
async fn a_deploy_costs_no_item_and_no_attempt() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let numbers = Numbers { up_to: 50, gate_at: Some(20), ..Numbers::default() };
    let job = client.enqueue(numbers).await.unwrap();
    app.until_entered().await;
    let stopping = tokio::spawn(worker.stop());
    app.open(1);
    stopping.await.unwrap();
    let worker = Running::start(&client, &app);
    job.result(PATIENCE).await.unwrap();
    let record = job.record().await.unwrap();
    assert_eq!((record.attempt, record.state), (1, JobState::Succeeded));
    assert!((0..50).all(|number| app.runs(number) == 1));
    worker.stop().await;
}

#[tokio::test]
async fn skipped_items_are_listed_and_run_again() {
    let server = EmbeddedServer::start().await.unwrap();
    let (client, app) = (server.client(), App::default());
    let worker = Running::start(&client, &app);
    let numbers = || Numbers { up_to: 10, broken: vec![0, 6], ..Numbers::default() };
    let job = client.enqueue(numbers()).await.unwrap();
    job.result(PATIENCE).await.unwrap();
    let skipped = job.record().await.unwrap().skipped();
    let messages: Vec<_> = skipped.iter().map(|item| item.error.message()).collect();
    assert_eq!(messages, ["0", "6"]);
    *app.inner.repaired.lock().unwrap() = true;
    let [again] = &job.rerun_skipped(numbers()).await.unwrap()[..] else { panic!("one job") };
    again.result(PATIENCE).await.unwrap();
    assert!((0..10).all(|number| app.runs(number) == 1));
    assert_eq!(again.record().await.unwrap().counters["items"], 2);
    assert!(again.rerun_skipped(numbers()).await.unwrap().is_empty());
    worker.stop().await;
}

#[tokio::test]
async fn a_unique_job_stands_for_the_next_one() {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    let of = |unique: Unique| JobOptions::new().unique(unique).delay(Duration::from_secs(3600));
    let existing = || Unique::existing().by(["kind", "args"]);
    let first = client.enqueue(Double(1)).unique(existing()).await.unwrap();
    let second = client.enqueue(Double(1)).unique(existing()).await.unwrap();
    let other = client.enqueue(Double(2)).unique(existing()).await.unwrap();
    assert!(first.id() == second.id() && first.id() != other.id());
    let refused = client.enqueue(Double(1)).unique(Unique::reject().by(["kind", "args"])).await;
    assert_eq!(refused.unwrap_err().code(), Some("unique_taken"));
    let both = of(existing()).over(of(Unique::reject()));
    assert_eq!(both.unique, Some(existing()));
    server.stop().await.unwrap();
}
