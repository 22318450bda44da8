//! A node at work: jobs across restarts, calls that wait, calls whose callers go away.

use std::task::Poll;

use longshore_engine::{
    Answer, Command, Credit, EnqueueJobs, Holder, JobId, NewJob, QueuePattern, Subscribe,
};

use super::support::{
    ack, block_on, config, create_namespace, enqueue, job_id, jobs, lease, lease_now, namespace_in,
    open,
};
use crate::courier::{News, Subscriber};
use crate::{Cause, ShardState};

#[test]
fn jobs_live_through_a_clean_restart_that_replays_nothing() {
    let root = tempfile::tempdir().unwrap();
    let config = config(root.path());
    block_on(async {
        let node = open(&config).await;
        enqueue(&node, 0..30).await;
        let leased = lease_now(&node, 10).await;
        ack(&node, &leased).await;
        node.stop().await;
        assert_eq!(node.readiness().shards, [ShardState::Closed, ShardState::Closed]);
        let refused = node.call("default", jobs(90..91, 1)).await.unwrap_err();
        assert_eq!(refused.cause, Cause::Stopping);
        drop(node);

        let node = open(&config).await;
        let stats = node.stats();
        assert!(stats.shards.iter().all(|shard| shard.counters.replayed_entries == 0), "{stats:?}");
        let leased = lease_now(&node, 100).await;
        let ids: Vec<_> = leased.iter().map(|job| job.id).collect();
        assert_eq!(ids, (10..30).map(job_id).collect::<Vec<_>>());
        ack(&node, &leased).await;
        assert_eq!(lease_now(&node, 1).await, []);
        node.stop().await;
    });
}

#[test]
fn a_restart_keeps_running_jobs_running() {
    let root = tempfile::tempdir().unwrap();
    let config = config(root.path());
    block_on(async {
        let node = open(&config).await;
        enqueue(&node, 0..2).await;
        let leased = lease_now(&node, 1).await;
        node.stop().await;
        drop(node);
        let node = open(&config).await;
        assert_eq!(lease_now(&node, 5).await.len(), 1, "the other one is taken");
        ack(&node, &leased).await;
        node.stop().await;
    });
}

#[test]
fn ten_thousand_calls_wait_and_are_answered_when_the_server_stops() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let node = open(&config(root.path())).await;
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..10_000 {
            let node = node.clone();
            let Command::LeaseJobs(mut command) = lease(1, 50_000) else { unreachable!() };
            command.worker = format!("w{number}");
            waiting.spawn(async move { node.call("default", Command::LeaseJobs(command)).await });
        }
        while waiting_requests(&node).await < 10_000 {
            tokio::task::yield_now().await;
        }
        enqueue(&node, 0..100).await;
        let mut served = 0;
        while served < 100 {
            let answer = waiting.join_next().await.unwrap().unwrap().unwrap();
            served += usize::from(matches!(answer, Answer::Leased { jobs, .. } if jobs.len() == 1));
        }
        node.begin_stop();
        while let Some(answer) = waiting.join_next().await {
            let answer = answer.unwrap().unwrap();
            assert!(matches!(answer, Answer::Leased { jobs, .. } if jobs.is_empty()));
        }
        node.stop().await;
    });
}

async fn waiting_requests(node: &crate::Node) -> u64 {
    let stats = node.shard_stats().await;
    stats.iter().map(|stats| stats.as_ref().unwrap().waiting_requests).sum()
}

#[test]
fn a_caller_that_went_away_is_handed_nothing() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let node = open(&config(root.path())).await;
        let waiting = {
            let node = node.clone();
            tokio::spawn(async move { node.call("default", lease(1, 50_000)).await })
        };
        while waiting_requests(&node).await < 1 {
            tokio::task::yield_now().await;
        }
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled());
        enqueue(&node, 0..1).await;
        assert_eq!(lease_now(&node, 1).await.len(), 1);
        assert_eq!(waiting_requests(&node).await, 0);
        node.stop().await;
    });
}

/// An answer had arrived in the instant in which its caller went: nobody gave its lease back, and
/// where a session's heartbeats extended it, nobody else ever got the job.
#[test]
fn what_an_answer_that_nobody_took_had_leased_is_free_again() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let node = open(&config(root.path())).await;
        let mut waiting = Box::pin(node.call("default", lease(1, 50_000)));
        let polled = std::future::poll_fn(|cx| Poll::Ready(waiting.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
        while waiting_requests(&node).await < 1 {
            tokio::task::yield_now().await;
        }
        enqueue(&node, 0..1).await;
        // Answers leave the shard in order: once this one is there, so is that of the lease.
        assert_eq!(lease_now(&node, 1).await, []);
        drop(waiting);
        let Command::LeaseJobs(mut another) = lease(1, 20_000) else { unreachable!() };
        another.worker = "w2".into();
        match node.call("default", Command::LeaseJobs(another)).await.unwrap() {
            Answer::Leased { jobs, .. } => {
                assert_eq!(jobs.iter().map(|job| job.attempt).collect::<Vec<_>>(), [1]);
            }
            answer => panic!("{answer:?}"),
        }
        node.stop().await;
    });
}

/// A stream of the session `s` of the worker `w`, which can take so many jobs.
pub(super) async fn consumer(node: &crate::Node, jobs: usize) -> crate::node::Subscription {
    consumer_counted(node, jobs, Vec::new()).await
}

async fn consumer_counted(
    node: &crate::Node,
    jobs: usize,
    gauges: Vec<std::sync::Arc<crate::Gauge>>,
) -> crate::node::Subscription {
    let mut consumer = node.consumer("default");
    let subscriber = Subscriber { gauges, ..consumer.subscriber().unwrap() };
    let command = Subscribe {
        consumer: consumer.id,
        holder: Holder { worker: "w".into(), session: "s".into() },
        queues: vec![(QueuePattern::Exactly("q".into()), 0)],
        kinds: None,
        lease_ms: None,
        credit: Credit { jobs, bytes: 1 << 20 },
    };
    let answer = node.subscribe(subscriber, Box::new(command)).await.unwrap();
    assert!(matches!(answer, Answer::Subscribed { stands: true }), "{answer:?}");
    consumer
}

async fn enqueue_once(node: &crate::Node, number: u64) {
    let once = NewJob { at_most_once: true, ..NewJob::new(job_id(number), "k", "[]") };
    let command = EnqueueJobs { queue: "q".into(), jobs: vec![once] };
    let answer = node.call("default", Command::EnqueueJobs(command)).await.unwrap();
    assert!(matches!(answer, Answer::Enqueued(_)), "{answer:?}");
}

/// Waits for jobs as another worker, and answers which came, each with its attempt.
pub(super) async fn taken_by_another(node: &crate::Node) -> Vec<(JobId, u32)> {
    let Command::LeaseJobs(mut another) = lease(9, 20_000) else { unreachable!() };
    another.worker = "w2".into();
    match node.call("default", Command::LeaseJobs(another)).await.unwrap() {
        Answer::Leased { jobs, .. } => jobs.iter().map(|job| (job.id, job.attempt)).collect(),
        answer => panic!("{answer:?}"),
    }
}

#[test]
fn what_was_delivered_to_a_stream_that_went_is_free_again() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let node = open(&config(root.path())).await;
        let consumer = consumer(&node, 5).await;
        enqueue_once(&node, 1).await;
        assert_eq!(lease_now(&node, 1).await, [], "it was delivered");
        drop(consumer);
        assert_eq!(taken_by_another(&node).await, [(job_id(1), 1)]);
        node.stop().await;
    });
}

/// It counted as started from its grant on, and died with a session whose worker never got it.
#[test]
fn the_end_of_a_session_does_not_use_up_what_its_stream_never_got() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let node = open(&config(root.path())).await;
        for number in 0..50 {
            let consumer = consumer(&node, 1).await;
            enqueue_once(&node, number).await;
            consumer.leave().await;
            let holder = Holder { worker: "w".into(), session: "s".into() };
            let end = Command::EndSession { holder, why: "it left".into(), goodbye: false };
            let answer = node.call("default", end).await.unwrap();
            let Answer::Session(view) = answer else { panic!("{answer:?}") };
            assert_eq!((view.lost, view.given_back), (Vec::new(), Vec::new()));
            assert_eq!(taken_by_another(&node).await, [(job_id(number), 1)]);
        }
        node.stop().await;
    });
}

#[test]
fn jobs_that_are_not_taken_from_a_delivery_go_back_and_the_others_do_not() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let node = open(&config(root.path())).await;
        let mut consumer = consumer(&node, 2).await;
        enqueue(&node, 0..2).await;
        let Some(News::Jobs(mut jobs)) = consumer.next().await else { panic!("jobs are to come") };
        assert_eq!(jobs.take().map(|job| job.id), Some(job_id(0)));
        drop(jobs);
        assert_eq!(taken_by_another(&node).await, [(job_id(1), 1)]);
        assert_eq!(lease_now(&node, 9).await, []);
        node.stop().await;
    });
}

/// Eight megabytes for each stream were in no budget.
#[test]
fn jobs_on_their_way_to_a_stream_count_until_they_are_taken() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let node = open(&config(root.path())).await;
        let gauge = std::sync::Arc::new(crate::Gauge::new(1 << 20));
        let gauges = vec![std::sync::Arc::clone(&gauge)];
        let mut consumer = consumer_counted(&node, 2, gauges).await;
        let args = format!("\"{}\"", "x".repeat(998));
        let large = |number| NewJob::new(job_id(number), "k", args.clone());
        let command = EnqueueJobs { queue: "q".into(), jobs: vec![large(1), large(2)] };
        node.call("default", Command::EnqueueJobs(command)).await.unwrap();
        let Some(News::Jobs(mut jobs)) = consumer.next().await else { panic!("jobs are to come") };
        assert_eq!(gauge.bytes(), 2 * 1256);
        assert_eq!(jobs.take().map(|job| job.id), Some(job_id(1)));
        assert_eq!(gauge.bytes(), 1256);
        drop(jobs);
        assert_eq!(gauge.bytes(), 0);
        node.stop().await;
    });
}

#[test]
fn every_shard_is_asked_for_its_namespaces() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let node = open(&config(root.path())).await;
        let names = [namespace_in(&node, 0), namespace_in(&node, 1)];
        for name in &names {
            create_namespace(&node, name).await;
        }
        let mut found = Vec::new();
        for answer in node.call_shards(Command::ListNamespaces { after: None, limit: 9 }).await {
            match answer.unwrap() {
                Answer::Namespaces(views, false) => {
                    found.extend(views.into_iter().map(|view| view.name));
                }
                answer => panic!("{answer:?}"),
            }
        }
        found.sort();
        let mut expected = vec!["default".to_owned(), names[0].clone(), names[1].clone()];
        expected.sort();
        assert_eq!(found, expected);
        node.stop().await;
    });
}

#[test]
fn reads_see_what_was_answered() {
    let root = tempfile::tempdir().unwrap();
    block_on(async {
        let node = open(&config(root.path())).await;
        for number in 0..50 {
            enqueue(&node, number..number + 1).await;
            let found = node
                .read("default", move |reader, now| {
                    longshore_engine::query::find_job(reader, "default", job_id(number), now)
                })
                .await
                .unwrap();
            assert!(matches!(found, longshore_engine::query::Lookup::Found(_)), "{number}");
        }
        let bug = node.read("default", |_, _| panic!("a query's bug")).await;
        let bug: Result<(), _> = bug;
        assert_eq!(bug.unwrap_err().cause, Cause::Bug);
        enqueue(&node, 50..51).await;
        node.stop().await;
    });
}
