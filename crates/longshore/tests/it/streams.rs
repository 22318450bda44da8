//! What a worker does over its stream, and when the stream breaks.

use std::sync::Arc;
use std::time::Duration;

use longshore::{
    Checkpoints, Context, Enumerator, Iteration, IterationSettings, Job, JobError, JobResult,
    Outcome, Perform, StopReason, Stopped, Worker, WorkerError,
};
use longshore_proto::v1;
use longshore_proto::v1::settlement::Verdict;
use longshore_proto::v1::worker_message::Message;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::fake::{Fake, Stream, delivery};

#[derive(Job, Serialize, Deserialize)]
#[job(output = u64)]
struct Double(u64);

impl<S: Send + Sync> Perform<S> for Double {
    async fn perform(self, _: Context<S>) -> JobResult<u64> {
        Ok(Outcome::done(self.0 * 2))
    }
}

/// A job that tells the test that it runs, and goes on until it is stopped.
#[derive(Job, Serialize, Deserialize)]
struct Linger;

type Signals = mpsc::UnboundedSender<&'static str>;

impl Perform<Signals> for Linger {
    async fn perform(self, ctx: Context<Signals>) -> JobResult {
        let _ = ctx.state().send("running");
        ctx.cancellation().cancelled().await;
        let _ = ctx.state().send(match ctx.stop_reason() {
            Some(StopReason::Cancelled) => "cancelled",
            Some(StopReason::LeaseLost) => "lost",
            _ => "stopped",
        });
        Ok(Outcome::discard("called off"))
    }
}

/// Numbers without end.
#[derive(Job, Serialize, Deserialize)]
struct Endless;

impl Iteration<Signals> for Endless {
    type Item = u64;
    type Cursor = u64;

    async fn enumerate(
        &self,
        cursor: Option<u64>,
        ctx: &Context<Signals>,
    ) -> Result<Enumerator<u64, u64>, JobError> {
        let _ = ctx.state().send("running");
        Ok(Enumerator::range(0..u64::MAX, cursor))
    }

    async fn each(&self, _: &u64, _: &Context<Signals>) -> Result<(), JobError> {
        tokio::task::yield_now().await;
        Ok(())
    }
}

/// Numbers that wait until their cursor is on disk, every so often.
#[derive(Job, Serialize, Deserialize)]
struct Careful {
    every: u64,
}

impl Iteration<Signals> for Careful {
    type Item = u64;
    type Cursor = u64;

    fn settings(&self) -> IterationSettings {
        IterationSettings::new().checkpoints(Checkpoints::WaitEvery(self.every))
    }

    async fn enumerate(
        &self,
        cursor: Option<u64>,
        _: &Context<Signals>,
    ) -> Result<Enumerator<u64, u64>, JobError> {
        Ok(Enumerator::range(0..4, cursor))
    }

    async fn each(&self, _: &u64, ctx: &Context<Signals>) -> Result<(), JobError> {
        let _ = ctx.state().send("item");
        Ok(())
    }
}

struct Running {
    stop: Option<oneshot::Sender<()>>,
    worker: JoinHandle<Result<Stopped, WorkerError>>,
    signals: mpsc::UnboundedReceiver<&'static str>,
}

impl Running {
    fn start(fake: &Fake, with: impl FnOnce(Worker<Signals>) -> Worker<Signals>) -> Self {
        let (sender, signals) = mpsc::unbounded_channel();
        let (stop, stopping) = oneshot::channel::<()>();
        let worker = Worker::new(&fake.client(), sender)
            .register::<Double>()
            .register::<Linger>()
            .register_iteration::<Endless>()
            .register_iteration::<Careful>()
            .name("test");
        let worker = with(worker).run_until(async move {
            let _ = stopping.await;
        });
        Self { stop: Some(stop), worker: tokio::spawn(worker), signals }
    }

    async fn signal(&mut self) -> &'static str {
        let signal = tokio::time::timeout(Duration::from_secs(20), self.signals.recv()).await;
        signal.expect("no signal").unwrap()
    }

    fn stop(&mut self) {
        drop(self.stop.take());
    }

    async fn ended(self) -> Result<Stopped, WorkerError> {
        self.worker.await.unwrap()
    }
}

async fn answer_all(stream: &mut Stream) -> Vec<v1::Settlement> {
    let mut all = Vec::new();
    loop {
        match stream.next().await {
            Message::Settle(settle) => {
                for settlement in settle.settlements {
                    stream.settled(&settlement, None);
                    all.push(settlement);
                }
            }
            Message::Checkpoints(it) => {
                for checkpoint in &it.checkpoints {
                    stream.checkpointed(checkpoint, None);
                }
            }
            Message::Goodbye(_) => return all,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_worker_says_who_it_is_works_and_leaves() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |it| it.queues(["a", "b*"]).label("zone", "x"));
    let (mut stream, hello) = fake.accept().await;
    assert_eq!(hello.name, "test");
    assert_eq!(hello.kinds, ["careful", "double", "endless", "linger"]);
    let queues: Vec<_> = hello.queues.iter().map(|it| it.queue.as_str()).collect();
    assert_eq!(queues, ["a", "b*"]);
    assert_eq!(hello.labels["zone"], "x");
    stream.welcome(Vec::new());
    stream.deliver(delivery("j1", "double", &json!(21)));
    let settlement = stream.settlement().await;
    assert_eq!((settlement.id.as_str(), settlement.token.as_str()), ("j1", "j1.1"));
    let Some(Verdict::Ack(ack)) = &settlement.verdict else { panic!("{settlement:?}") };
    assert_eq!(ack.result.as_deref(), Some(b"42".as_slice()));
    stream.settled(&settlement, None);
    running.stop();
    assert_eq!(answer_all(&mut stream).await, []);
    assert_eq!(running.ended().await.unwrap(), Stopped::Shutdown);
}

#[tokio::test]
async fn credit_and_what_is_not_settled_stay_within_the_protocol() {
    const JOBS: usize = 3_000;
    let mut fake = Fake::start().await;
    let _running = Running::start(&fake, |it| it.concurrency(20_000));
    let mut stream = fake.welcome().await;
    for number in 0..JOBS {
        stream.deliver(delivery(&format!("j{number}"), "double", &json!(1)));
    }
    let (mut credit, mut settled) = (0, Vec::new());
    while settled.len() < JOBS {
        match stream.next().await {
            Message::Credit(more) => credit += more.jobs,
            Message::Settle(settle) => settled.extend(settle.settlements),
            _ => {}
        }
    }
    // For the server they are held until it has answered.
    assert_eq!(credit, 10_000);
    for settlement in &settled {
        stream.settled(settlement, None);
    }
    while credit < 10_000 + JOBS as u32 {
        credit += stream
            .until(|message| match message {
                Message::Credit(more) => Some(more.jobs),
                _ => None,
            })
            .await;
        assert!(credit <= 10_000 + JOBS as u32);
    }
}

#[tokio::test]
async fn a_run_outlives_a_broken_stream_and_what_was_not_answered_is_sent_again() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |it| it);
    let (mut stream, first) = fake.accept().await;
    stream.welcome(Vec::new());
    stream.deliver(delivery("j1", "linger", &json!(null)));
    assert_eq!(running.signal().await, "running");
    stream.deliver(delivery("j2", "double", &json!(1)));
    let unanswered = stream.settlement().await;
    assert_eq!(unanswered.id, "j2");
    stream.break_off();
    let (mut stream, second) = fake.accept().await;
    assert_eq!(second.session, first.session);
    let mut held: Vec<_> = second.held.iter().map(|it| (it.id.as_str(), it.started)).collect();
    held.sort_unstable();
    assert_eq!(held, [("j1", true), ("j2", true)]);
    stream.welcome(Vec::new());
    let again = stream.settlement().await;
    assert_eq!(again, unanswered);
    stream.settled(&again, None);
    running.stop();
    drop(answer_all(&mut stream));
}

#[tokio::test]
async fn a_lease_that_was_lost_meanwhile_ends_its_run() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |it| it);
    let stream = fake.welcome().await;
    let job = delivery("j1", "linger", &json!(null));
    stream.deliver(job.clone());
    assert_eq!(running.signal().await, "running");
    stream.break_off();
    let (mut stream, _) = fake.accept().await;
    stream.welcome(vec![v1::LeaseRef { id: job.id, token: job.token }]);
    // Its end is nobody's: the first settlement is that of the next job.
    stream.deliver(delivery("j2", "double", &json!(1)));
    assert_eq!(stream.settlement().await.id, "j2");
}

#[tokio::test]
async fn a_job_that_is_called_off_hears_so() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |it| it);
    let mut stream = fake.welcome().await;
    let job = delivery("j1", "linger", &json!(null));
    stream.deliver(job.clone());
    assert_eq!(running.signal().await, "running");
    let cancel = v1::instruction::What::Cancel(v1::instruction::Cancel {});
    stream.control(&job, Some(v1::Instruction { what: Some(cancel) }));
    assert_eq!(running.signal().await, "cancelled");
    let settlement = stream.settlement().await;
    assert!(matches!(settlement.verdict, Some(Verdict::Discard(_))), "{settlement:?}");
}

#[tokio::test]
async fn a_deploy_interrupts_iterations_and_releases_what_has_not_begun() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |it| it.concurrency(1));
    let mut stream = fake.welcome().await;
    stream.deliver(delivery("j1", "endless", &json!(null)));
    assert_eq!(running.signal().await, "running");
    let first = stream.checkpoint().await;
    stream.checkpointed(&first, None);
    stream.deliver(delivery("j2", "double", &json!(1)));
    running.stop();
    let mut settled = answer_all(&mut stream).await;
    settled.sort_by(|a, b| a.id.cmp(&b.id));
    let Some(Verdict::Interrupted(it)) = &settled[0].verdict else { panic!("{settled:?}") };
    assert_eq!(it.reason, "deploy");
    assert!(matches!(settled[1].verdict, Some(Verdict::Release(_))), "{settled:?}");
    assert_eq!(running.ended().await.unwrap(), Stopped::Shutdown);
}

#[tokio::test]
async fn what_outlasts_the_grace_is_given_back() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |it| it.grace(Duration::from_millis(50)));
    let mut stream = fake.welcome().await;
    stream.deliver(delivery("j1", "linger", &json!(null)));
    assert_eq!(running.signal().await, "running");
    running.stop();
    let settled = answer_all(&mut stream).await;
    assert_eq!(settled.len(), 1);
    assert!(
        matches!(settled[0].verdict, Some(Verdict::Release(_) | Verdict::Discard(_))),
        "{settled:?}"
    );
}

#[tokio::test]
async fn an_at_most_once_run_that_outlasts_the_grace_is_failed() {
    let mut fake = Fake::start().await;
    let mut running =
        Running::start(&fake, |it| it.concurrency(1).grace(Duration::from_millis(50)));
    let mut stream = fake.welcome().await;
    let once = |job: v1::Delivery| v1::Delivery { at_most_once: true, ..job };
    stream.deliver(once(delivery("j1", "endless", &json!(null))));
    assert_eq!(running.signal().await, "running");
    stream.deliver(once(delivery("j2", "double", &json!(1))));
    running.stop();
    let mut settled = answer_all(&mut stream).await;
    settled.sort_by(|a, b| a.id.cmp(&b.id));
    // It does not interrupt itself: that would be its end before the grace is over.
    let Some(Verdict::Fail(fail)) = &settled[0].verdict else { panic!("{settled:?}") };
    assert_eq!(fail.error.as_ref().unwrap().r#type, "at_most_once");
    // What had not begun goes back.
    assert!(matches!(settled[1].verdict, Some(Verdict::Release(_))), "{settled:?}");
}

#[tokio::test]
async fn a_checkpoint_that_was_not_answered_is_sent_again_with_its_number() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |it| it);
    let mut stream = fake.welcome().await;
    stream.deliver(delivery("j1", "endless", &json!(null)));
    assert_eq!(running.signal().await, "running");
    let first = stream.checkpoint().await;
    assert_eq!(first.seq, 1);
    stream.break_off();
    let (mut stream, _) = fake.accept().await;
    stream.welcome(Vec::new());
    assert_eq!(stream.checkpoint().await, first);
    let interrupt = v1::instruction::Interrupt { reason: "pause".into() };
    stream.checkpointed(&first, Some(v1::instruction::What::Interrupt(interrupt)));
    let last = stream.checkpoint().await;
    assert_eq!(last.seq, 2);
    let read = |bytes: &[u8]| serde_json::from_slice::<u64>(bytes).unwrap();
    assert!(read(&last.cursor) > read(&first.cursor));
    stream.checkpointed(&last, None);
    let settlement = stream.settlement().await;
    let Some(Verdict::Interrupted(it)) = &settlement.verdict else { panic!("{settlement:?}") };
    assert_eq!(it.reason, "pause");
}

#[tokio::test]
async fn an_item_can_wait_until_the_one_before_is_on_disk() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |it| it);
    let mut stream = fake.welcome().await;
    assert_eq!(Checkpoints::EACH, Checkpoints::WaitEvery(1));
    stream.deliver(delivery("j1", "careful", &json!({"every": 1})));
    for number in 0..4 {
        assert_eq!(running.signal().await, "item");
        let checkpoint = stream.checkpoint().await;
        assert_eq!(checkpoint.cursor, number.to_string());
        assert!(running.signals.try_recv().is_err(), "it did not wait");
        stream.checkpointed(&checkpoint, None);
    }
    assert!(matches!(stream.settlement().await.verdict, Some(Verdict::Ack(_))));
}

#[tokio::test]
async fn every_so_many_items_wait_until_the_last_of_them_is_on_disk() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |it| it);
    let mut stream = fake.welcome().await;
    stream.deliver(delivery("j1", "careful", &json!({"every": 2})));
    for last in [1, 3] {
        // The first of the two does not wait for its own.
        assert_eq!([running.signal().await, running.signal().await], ["item", "item"]);
        loop {
            let checkpoint = stream.checkpoint().await;
            assert!(running.signals.try_recv().is_err(), "it did not wait");
            stream.checkpointed(&checkpoint, None);
            if checkpoint.cursor == last.to_string() {
                break;
            }
            assert_eq!(checkpoint.cursor, (last - 1).to_string());
        }
    }
    assert!(matches!(stream.settlement().await.verdict, Some(Verdict::Ack(_))));
}

#[tokio::test]
async fn an_iteration_that_is_slowed_down_waits_and_can_be_interrupted_meanwhile() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |it| it);
    let mut stream = fake.welcome().await;
    let job = delivery("j1", "careful", &json!({"every": 1}));
    stream.deliver(job.clone());
    assert_eq!(running.signal().await, "item");
    let first = stream.checkpoint().await;
    let slow_down = v1::instruction::SlowDown { wait_ms: 3_600_000 };
    stream.checkpointed(&first, Some(v1::instruction::What::SlowDown(slow_down)));
    // Another job comes and goes meanwhile, so that an item had the time to begin.
    stream.deliver(delivery("j2", "double", &json!(1)));
    let other = stream.settlement().await;
    assert_eq!(other.id, "j2");
    stream.settled(&other, None);
    let interrupt = v1::instruction::Interrupt { reason: "pause".into() };
    let what = Some(v1::instruction::What::Interrupt(interrupt));
    stream.control(&job, Some(v1::Instruction { what }));
    let settlement = stream.settlement().await;
    assert!(matches!(settlement.verdict, Some(Verdict::Interrupted(_))), "{settlement:?}");
    assert!(running.signals.try_recv().is_err(), "it did not wait");
}

#[tokio::test]
async fn a_job_whose_lease_was_lost_before_it_began_is_not_run() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |it| it.concurrency(1));
    let mut stream = fake.welcome().await;
    let (first, second) =
        (delivery("j1", "linger", &json!(null)), delivery("j2", "careful", &json!({"every": 1})));
    stream.deliver(first.clone());
    assert_eq!(running.signal().await, "running");
    stream.deliver(second.clone());
    let lease = |job: v1::Delivery| v1::LeaseRef { id: job.id, token: job.token };
    // The second waits for its turn, the first runs: both stop.
    let jobs = vec![lease(second), lease(first)];
    stream.say(v1::server_message::Message::NotStarted(v1::NotStarted { jobs }));
    assert_eq!(running.signal().await, "lost");
    stream.deliver(delivery("j3", "double", &json!(1)));
    assert_eq!(stream.settlement().await.id, "j3");
    assert!(running.signals.try_recv().is_err(), "it was run");
}

#[tokio::test]
async fn a_checkpoint_that_is_refused_for_now_is_sent_again() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |it| it);
    let mut stream = fake.welcome().await;
    stream.deliver(delivery("j1", "careful", &json!({"every": 1})));
    assert_eq!(running.signal().await, "item");
    let first = stream.checkpoint().await;
    let refused = v1::Problem {
        code: "unavailable".into(),
        http_status: 503,
        retry_after_ms: Some(10),
        ..v1::Problem::default()
    };
    let results = vec![v1::CheckpointResult {
        id: first.id.clone(),
        token: first.token.clone(),
        seq: first.seq,
        instruction: None,
        refused: Some(refused),
    }];
    stream.say(v1::server_message::Message::Checkpointed(v1::Checkpointed { results }));
    assert_eq!(stream.checkpoint().await, first);
    stream.checkpointed(&first, None);
    assert_eq!(running.signal().await, "item");
}

#[tokio::test]
async fn a_server_that_asks_for_it_ends_the_worker() {
    let mut fake = Fake::start().await;
    let running = Running::start(&fake, |it| it);
    let mut stream = fake.welcome().await;
    let worker = v1::WorkerState::Terminate.into();
    stream.say(v1::server_message::Message::Control(v1::Control { runs: vec![], worker }));
    assert_eq!(answer_all(&mut stream).await, []);
    assert_eq!(running.ended().await.unwrap(), Stopped::Terminated);
}

#[tokio::test]
async fn a_refused_worker_says_why() {
    let fake = Arc::new(tokio::sync::Mutex::new(Fake::start().await));
    let running = Running::start(&*fake.lock().await, |it| it);
    let (stream, _) = fake.lock().await.accept().await;
    stream.refuse(tonic::Status::not_found("there is no namespace 'default'"));
    let error = running.ended().await.unwrap_err();
    assert!(error.to_string().contains("there is no namespace 'default'"), "{error}");
}

#[tokio::test]
async fn a_worker_is_recycled_after_its_jobs() {
    let mut fake = Fake::start().await;
    let running = Running::start(&fake, |it| it.recycle_after_jobs(1));
    let mut stream = fake.welcome().await;
    stream.deliver(delivery("j1", "double", &json!(1)));
    assert_eq!(answer_all(&mut stream).await.len(), 1);
    assert_eq!(running.ended().await.unwrap(), Stopped::RecycledJobs);
}
