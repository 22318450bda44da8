//! What operators do to jobs and workers, against the real server.

use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use longshore::testing::EmbeddedServer;
use longshore::{
    Ended, Job, JobHandle, JobRecord, JobState, Jobs, Prefetch, Resume, Start, Stopped,
};
use serde_json::json;

use crate::app::{App, Broken, Compute, Double, Gated, Numbers, PATIENCE, Running};

async fn server() -> (EmbeddedServer, longshore::Client, App) {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    (server, client, App::default())
}

/// Asks until the job is as it has to become.
async fn until<J: Job>(job: &JobHandle<J>, is_it: impl Fn(&JobRecord) -> bool) -> JobRecord {
    let asking = async {
        loop {
            let record = job.record().await.unwrap();
            if is_it(&record) {
                return record;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the job does not get there")
}

fn numbers(up_to: u64, gate_at: u64) -> Numbers {
    Numbers { up_to, gate_at: Some(gate_at), ..Numbers::default() }
}

#[tokio::test]
async fn who_watches_a_job_sees_each_state_also_over_a_restart() {
    let (server, client, app) = server().await;
    let job = client.enqueue(Gated(1)).await.unwrap();
    let mut changes = client.watch(job.id()).await.unwrap();
    let mut next = async || {
        let next = tokio::time::timeout(PATIENCE, changes.next()).await;
        next.expect("no change is told").map(|job| job.unwrap().state)
    };
    assert_eq!(next().await, Some(JobState::Ready));
    let worker = Running::start(&client, &app);
    app.until_entered().await;
    assert_eq!(next().await, Some(JobState::Running));
    let _server = server.restart().await.unwrap();
    app.open(1);
    let ended = loop {
        match next().await {
            Some(JobState::Running) => {}
            other => break other,
        }
    };
    assert_eq!(ended, Some(JobState::Succeeded));
    assert_eq!(next().await, None);
    worker.stop().await;
}

#[tokio::test]
async fn who_watches_a_job_that_is_not_there_is_told_so() {
    let (_server, client, _) = server().await;
    let id = "01983f2e-7a10-7cc0-8000-000000000001";
    let error = client.watch(id).await.map(drop).unwrap_err();
    assert!(matches!(error.code(), Some("job_unknown" | "job_gone")), "{error}");
}

#[tokio::test]
async fn a_paused_job_waits_until_it_is_resumed() {
    let (_server, client, app) = server().await;
    let held = client.enqueue(Double(1)).await.unwrap();
    held.pause().await.unwrap();
    let worker = Running::start(&client, &app);
    // What came later has run, and it has not.
    client.enqueue(Double(2)).await.unwrap().result(PATIENCE).await.unwrap();
    assert_eq!((app.runs(1), held.record().await.unwrap().state), (0, JobState::Ready));
    held.resume().await.unwrap();
    assert_eq!(held.result(PATIENCE).await.unwrap(), 2);
    worker.stop().await;
}

#[tokio::test]
async fn an_iteration_that_is_paused_stops_and_goes_on_there() {
    let (_server, client, app) = server().await;
    let worker = Running::start(&client, &app);
    let job = client.enqueue(numbers(40, 20)).await.unwrap();
    app.until_entered().await;
    job.pause().await.unwrap();
    let paused = until(&job, |job| job.state != JobState::Running).await;
    let at = paused.cursor.clone().and_then(|it| it.as_u64()).unwrap();
    // An attempt that is interrupted is not used.
    assert_eq!((at, paused.attempt), (20, 0), "{paused:?}");
    assert_eq!(app.runs(21), 0);
    job.resume().await.unwrap();
    job.result(PATIENCE).await.unwrap();
    assert_eq!(job.record().await.unwrap().attempt, 1);
    assert!((0..40).all(|number| app.runs(number) == 1));
    worker.stop().await;
}

/// Nobody said anything to the job itself: a gate over its kind, one that it names, or one over its
/// queue was closed.
#[tokio::test]
async fn an_iteration_is_interrupted_by_a_closed_gate_and_goes_on_when_it_opens() {
    let (_server, client, _) = server().await;
    client.put_gate("over_kind", &[], &["numbers"]).await.unwrap();
    client.put_gate("over_queue", &["numbers"], &[]).await.unwrap();
    for gate in ["named", "over_kind", "over_queue"] {
        let app = App::default();
        let worker = Running::start(&client, &app);
        let job = client.enqueue(numbers(40, 20)).gate("named").await.unwrap();
        app.until_entered().await;
        client.close_gate(gate, "the bank is down", None).await.unwrap();
        let stopped = until(&job, |job| job.state != JobState::Running).await;
        assert_eq!((&stopped.state, &stopped.cursor), (&JobState::Ready, &Some(json!(20))));
        assert_eq!((stopped.attempt, app.runs(21)), (0, 0), "{gate}: it uses no attempt");
        let blocked = stopped.document()["blocked_by"].to_string();
        assert!(blocked.contains(gate), "{gate}: {blocked}");
        client.open_gate(gate).await.unwrap();
        job.result(PATIENCE).await.unwrap();
        assert_eq!(job.record().await.unwrap().attempt, 1);
        assert!((0..40).all(|number| app.runs(number) == 1), "{gate}");
        worker.stop().await;
    }
}

#[tokio::test]
async fn jobs_are_called_off_and_dead_ones_removed_or_retried() {
    let (_server, client, app) = server().await;
    let waiting = client.enqueue(Double(1)).await.unwrap();
    assert_eq!(waiting.cancel().await.unwrap().effect, "cancelled");
    assert!(matches!(waiting.ended(PATIENCE).await.unwrap(), Ended::Cancelled(_)));
    let worker = Running::start(&client, &app);
    let broken = client.enqueue(Broken).await.unwrap();
    assert!(matches!(broken.ended(PATIENCE).await.unwrap(), Ended::Dead(_)));
    let change = broken.retry(Resume::LastCheckpoint).await.unwrap();
    assert_eq!(change.state, JobState::Ready, "{change:?}");
    until(&broken, |job| job.state == JobState::Dead).await;
    let refused = broken.cancel().await.unwrap_err();
    assert_eq!(refused.code(), Some("job_state_refused"));
    assert_eq!(broken.remove().await.unwrap().effect, "removed");
    let (dead, _) = client.list(&Jobs::all().state("dead"), "").await.unwrap();
    assert!(dead.is_empty(), "{dead:?}");
    assert_eq!(app.runs(1), 0);
    worker.stop().await;
}

#[tokio::test]
async fn jobs_are_moved_in_time_and_found_by_tag_and_ordering_key() {
    let (_server, client, app) = server().await;
    let hour = Duration::from_secs(3_600);
    let late = client.enqueue(Double(1)).delay(hour).tag("night").await.unwrap();
    let soon = client.enqueue(Double(2)).ordering_key("k").await.unwrap();
    let change = soon.reschedule(Start::In(hour)).await.unwrap();
    assert_eq!((change.state, change.effect.as_str()), (JobState::Scheduled, "rescheduled"));
    let at = SystemTime::now() + 2 * hour;
    soon.reschedule(Start::At(at)).await.unwrap();
    let run_at = soon.record().await.unwrap().run_at.unwrap();
    assert!(at.duration_since(run_at).is_ok_and(|it| it < Duration::from_millis(2)), "{run_at:?}");
    for (jobs, id) in
        [(Jobs::all().tag("night"), late.id()), (Jobs::all().ordering_key("k"), soon.id())]
    {
        let (found, _) = client.list(&jobs, "").await.unwrap();
        assert_eq!(found.iter().map(|job| &*job.id).collect::<Vec<_>>(), [id], "{jobs:?}");
    }
    let worker = Running::start(&client, &app);
    for (job, double) in [(&late, 2), (&soon, 4)] {
        job.run_now().await.unwrap();
        assert_eq!(job.result(PATIENCE).await.unwrap(), double);
        assert_eq!(job.run_now().await.unwrap_err().code(), Some("job_state_refused"));
    }
    worker.stop().await;
}

#[tokio::test]
async fn a_run_is_ended_by_force_without_its_worker() {
    let (_server, client, app) = server().await;
    let worker = Running::start(&client, &app);
    let job = client.enqueue(Gated(1)).lease(Duration::from_secs(600)).await.unwrap();
    app.until_entered().await;
    worker.kill();
    let change = job.cancel_by_force().await.unwrap();
    assert_eq!((change.state, change.effect.as_str()), (JobState::Cancelled, "cancelled"));
    assert!(matches!(job.ended(PATIENCE).await.unwrap(), Ended::Cancelled(_)));
}

#[tokio::test]
async fn a_dead_iteration_is_run_again_from_where_it_is_told() {
    let (_server, client, app) = server().await;
    let worker = Running::start(&client, &app);
    let numbers = Numbers { up_to: 10, broken: vec![5], fails: true, ..Numbers::default() };
    let job = client.enqueue(numbers).max_attempts(1).await.unwrap();
    assert!(matches!(job.ended(PATIENCE).await.unwrap(), Ended::Dead(_)));
    assert_eq!(job.record().await.unwrap().cursor, Some(json!(4)));
    job.retry(Resume::At(json!(7))).await.unwrap();
    job.result(PATIENCE).await.unwrap();
    let runs: Vec<_> = (0..10).map(|number| app.runs(number)).collect();
    assert_eq!(runs, [1, 1, 1, 1, 1, 0, 0, 0, 1, 1]);
    worker.stop().await;
}

#[tokio::test]
async fn a_quiet_worker_ends_what_runs_interrupts_iterations_and_takes_nothing_more() {
    let (_server, client, app) = server().await;
    // One of its queues has a session of its own: it is quiet as well.
    let worker = Running::start_with(&client, &app, |worker| {
        worker.queues(["default", "numbers"]).limited_queue("gated", 1)
    });
    let gated = client.enqueue(Gated(101)).await.unwrap();
    app.until_entered().await;
    let iteration = client.enqueue(numbers(40, 20)).await.unwrap();
    app.until_entered().await;
    client.quiet_worker("tester").await.unwrap();
    let stopped = until(&iteration, |job| job.state == JobState::Ready).await;
    assert_eq!((stopped.cursor, stopped.attempt), (Some(json!(20)), 0));
    app.open(1);
    assert_eq!(gated.result(PATIENCE).await.unwrap(), 1, "what runs goes on to its end");
    let later = client.enqueue(Gated(102)).await.unwrap();
    let other = client.enqueue(Double(103)).await.unwrap();
    // Another worker gets all of it.
    let others = App::default();
    others.open(2);
    let second = Running::start_with(&client, &others, |worker| worker.name("second"));
    iteration.result(PATIENCE).await.unwrap();
    later.result(PATIENCE).await.unwrap();
    other.result(PATIENCE).await.unwrap();
    assert_eq!([102, 103].map(|number| (app.runs(number), others.runs(number))), [(0, 1); 2]);
    assert!((0..40).all(|number| app.runs(number) + others.runs(number) == 1));
    assert_eq!(second.stop().await, Stopped::Shutdown);
    assert_eq!(worker.stop().await, Stopped::Shutdown, "a quiet worker stays");
}

#[tokio::test]
async fn a_worker_that_is_told_to_leave_interrupts_its_iteration() {
    let (_server, client, app) = server().await;
    let worker = Running::start(&client, &app);
    let job = client.enqueue(numbers(40, 20)).await.unwrap();
    app.until_entered().await;
    client.terminate_worker("tester").await.unwrap();
    let stopped = tokio::time::timeout(PATIENCE, worker.worker).await.unwrap().unwrap();
    assert_eq!(stopped, Stopped::Terminated);
    let record = job.record().await.unwrap();
    assert_eq!((record.state, record.cursor), (JobState::Ready, Some(json!(20))));
    assert_eq!((record.attempt, app.runs(21)), (0, 0));
}

#[tokio::test]
async fn of_two_workers_with_one_name_the_session_has_to_be_said() {
    let (_server, client, app) = server().await;
    let (first, second) = (Running::start(&client, &app), Running::start(&client, &app));
    let asking = async {
        loop {
            match client.quiet_worker("tester").await {
                Err(error) if error.code() == Some("value_refused") => return error.to_string(),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let told = tokio::time::timeout(PATIENCE, asking).await.unwrap();
    assert!(told.contains("session"), "{told}");
    first.stop().await;
    second.stop().await;
}

#[tokio::test]
async fn what_a_killed_worker_had_not_begun_comes_back_unharmed() {
    let (_server, client, app) = server().await;
    let jobs = client.enqueue_all((0..4).map(Gated)).await.unwrap();
    let worker = Running::start_with(&client, &app, |worker| {
        worker.concurrency(1).prefetch(Prefetch::Fixed(3))
    });
    app.until_entered().await;
    for job in &jobs {
        until(job, |job| job.state == JobState::Running).await;
    }
    worker.kill();
    let others = Running::start(&client, &app);
    app.open(4);
    for (number, job) in jobs.iter().enumerate() {
        let attempt = job.result(PATIENCE).await.unwrap();
        let runs = app.runs(number as u64);
        let expected = if number == 0 { (2, 2) } else { (1, 1) };
        assert_eq!((attempt, runs), expected, "job {number}");
    }
    others.stop().await;
}

/// A worker that had earned credit with short runs kept long jobs from a worker that was idle.
#[tokio::test]
async fn long_jobs_that_were_taken_ahead_go_to_idle_workers() {
    let (_server, client, app) = server().await;
    let one = |worker: longshore::Worker<App>| worker.concurrency(1).queues(["default", "gated"]);
    let first = Running::start_with(&client, &app, one);
    let quick = client.enqueue_all((1_000..1_100).map(Double)).await.unwrap();
    for job in &quick {
        job.result(PATIENCE).await.unwrap();
    }
    let jobs = client.enqueue_all((0..6).map(Gated)).await.unwrap();
    app.until_entered().await;
    // Well before the two seconds after which anything that does not start goes back.
    let began = Instant::now();
    for job in &jobs[1..] {
        until(job, |job| job.state == JobState::Ready).await;
    }
    assert!(began.elapsed() < Duration::from_millis(1_800), "{:?}", began.elapsed());
    let urgent = client.enqueue(Gated(6)).priority(9).await.unwrap();
    let second = Running::start_with(&client, &app, one);
    app.until_entered().await;
    assert_eq!(app.runs(6), 1, "the urgent one comes first");
    app.open(7);
    for job in jobs.iter().chain([&urgent]) {
        assert_eq!(job.result(PATIENCE).await.unwrap(), 1, "no attempt is used");
    }
    first.stop().await;
    second.stop().await;
}

/// Each lane of a worker asked for as many jobs as the worker runs at once, and kept what could not
/// begin for two seconds, again and again.
#[tokio::test]
async fn jobs_that_other_lanes_leave_no_room_for_go_to_idle_workers() {
    let (_server, client, app) = server().await;
    let first = Running::start_with(&client, &app, |worker| {
        worker.queues(["slow"]).limited_queue("gated", 2).concurrency(2)
    });
    let slow = client.enqueue_all((0..2).map(Gated)).queue("slow").await.unwrap();
    for (number, job) in slow.iter().enumerate() {
        until(job, |_| app.runs(number as u64) == 1).await;
    }
    let others = App::default();
    others.open(24);
    let second = Running::start_with(&client, &others, |worker| {
        worker.name("second").queues(["gated"]).concurrency(2)
    });
    let began = Instant::now();
    for round in 0..6 {
        for job in client.enqueue_all((0..4).map(|n| Gated(100 + 4 * round + n))).await.unwrap() {
            assert_eq!(job.result(PATIENCE).await.unwrap(), 1, "no attempt is used");
        }
    }
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    assert!((100..124).all(|number| (app.runs(number), others.runs(number)) == (0, 1)));
    app.open(2);
    for job in slow {
        job.result(PATIENCE).await.unwrap();
    }
    first.stop().await;
    second.stop().await;
}

/// A queue with a limit gets its turn although another one always has short jobs waiting.
#[tokio::test]
async fn a_limited_queue_is_served_beside_one_that_is_never_empty() {
    let (_server, client, app) = server().await;
    let doubles = client.enqueue_all((0..5_000).map(Double)).await.unwrap();
    let gated = client.enqueue_all((5_000..5_003).map(Gated)).await.unwrap();
    app.open(3);
    let worker = Running::start_with(&client, &app, |worker| {
        worker.queues(["default"]).limited_queue("gated", 1).concurrency(1)
    });
    for job in &gated {
        job.result(PATIENCE).await.unwrap();
    }
    let left = doubles.last().unwrap().record().await.unwrap();
    assert_ne!(left.state, JobState::Succeeded, "they had to wait for all of the others");
    worker.stop().await;
}

#[tokio::test]
async fn blocking_jobs_panic_and_stop_like_others() {
    let (_server, client, app) = server().await;
    let worker = Running::start(&client, &app);
    let broken = client.enqueue(Compute { panics: true }).await.unwrap();
    let Ended::Dead(error) = broken.ended(PATIENCE).await.unwrap() else { panic!("not dead") };
    assert_eq!((error.kind(), error.message()), ("panic", "it cannot be computed"));
    let record = broken.record().await.unwrap();
    let attempts = &record.document()["attempts"];
    assert!(attempts.to_string().contains("app.rs"), "{attempts}");
    let job = client.enqueue(Compute { panics: false }).await.unwrap();
    app.until_entered().await;
    job.cancel().await.unwrap();
    assert_eq!(job.result(PATIENCE).await.unwrap(), "Some(Cancelled)");
    worker.stop().await;
}
