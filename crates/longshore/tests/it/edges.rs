//! Runs at their edges: layers and drops that panic, ends that the server does not take, lanes
//! that are full elsewhere, and workers that leave.

use std::time::Duration;

use longshore::layers::Metrics;
use longshore::testing::{Drive, Step};
use longshore::{
    Context, Enumerator, Iteration, Job, JobCall, JobError, JobResult, Outcome, Perform, Prefetch,
    Stopped, Worker, WorkerError,
};
use longshore_proto::v1;
use longshore_proto::v1::settlement::Verdict;
use longshore_proto::v1::worker_message::Message;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tower::layer::layer_fn;
use tower::util::MapRequest;

use crate::fake::{Fake, Stream, delivery};

type Signals = mpsc::UnboundedSender<()>;

#[derive(Job, Serialize, Deserialize)]
#[job(output = String)]
enum Task {
    Quick,
    /// Says that it runs, and never ends.
    Linger,
    /// The same, and what it holds panics when it is dropped.
    Brittle,
    Large {
        bytes: usize,
    },
    /// Asks for a delay that no server grants.
    Never,
}

struct PanicsWhenDropped;

impl Drop for PanicsWhenDropped {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

impl Perform<Signals> for Task {
    async fn perform(self, ctx: Context<Signals>) -> JobResult<String> {
        let _held = matches!(self, Self::Brittle).then(|| PanicsWhenDropped);
        match self {
            Self::Linger | Self::Brittle => {
                let _ = ctx.state().send(());
                std::future::pending().await
            }
            Self::Large { bytes } => Ok(Outcome::done("x".repeat(bytes))),
            Self::Never => Ok(Outcome::retry_after(Duration::MAX, JobError::msg("not now"))),
            Self::Quick => Ok(Outcome::done(String::new())),
        }
    }
}

struct Running {
    stop: Option<oneshot::Sender<()>>,
    worker: JoinHandle<Result<Stopped, WorkerError>>,
    signals: mpsc::UnboundedReceiver<()>,
}

impl Running {
    fn start(fake: &Fake, with: impl FnOnce(Worker<Signals>) -> Worker<Signals>) -> Self {
        let (sender, signals) = mpsc::unbounded_channel();
        let (stop, stopping) = oneshot::channel::<()>();
        let worker = with(Worker::new(&fake.client(), sender).register::<Task>().name("test"));
        let worker = worker.grace(Duration::from_millis(100)).run_until(async move {
            let _ = stopping.await;
        });
        Self { stop: Some(stop), worker: tokio::spawn(worker), signals }
    }

    async fn runs(&mut self) {
        let signal = tokio::time::timeout(Duration::from_secs(20), self.signals.recv()).await;
        signal.expect("nothing runs").unwrap();
    }
}

fn task(id: &str, task: &Task) -> v1::Delivery {
    delivery(id, "task", &json!(task))
}

/// Its error, where it is a failure.
fn failure(settlement: &v1::Settlement) -> v1::JobError {
    match &settlement.verdict {
        Some(Verdict::Fail(fail)) => fail.error.clone().unwrap(),
        other => panic!("no failure but {other:?}"),
    }
}

fn is_ack(settlement: &v1::Settlement) -> bool {
    matches!(settlement.verdict, Some(Verdict::Ack(_)))
}

fn is_release(settlement: &v1::Settlement) -> bool {
    matches!(settlement.verdict, Some(Verdict::Release(_)))
}

/// Answers until the worker leaves: what was settled, and how many jobs it gave credit for.
async fn answer_all(mut stream: Stream) -> (Vec<v1::Settlement>, u32) {
    let (mut all, mut credit) = (Vec::new(), 0);
    loop {
        match stream.next().await {
            Message::Settle(settle) => {
                for settlement in settle.settlements {
                    stream.settled(&settlement, None);
                    all.push(settlement);
                }
            }
            Message::Credit(more) => credit += more.jobs,
            Message::Goodbye(_) => return (all, credit),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_layer_that_panics_fails_the_run_and_the_slot_lives_on() {
    let mut fake = Fake::start().await;
    let _running = Running::start(&fake, |worker| {
        worker.concurrency(1).layer(layer_fn(|inner| {
            MapRequest::new(inner, |call: JobCall| {
                assert!(call.delivery().id != "j1", "not this one");
                call
            })
        }))
    });
    let mut stream = fake.welcome().await;
    stream.deliver(task("j1", &Task::Quick));
    let error = failure(&stream.settlement().await);
    assert_eq!((error.r#type.as_str(), error.message.as_str()), ("panic", "not this one"));
    stream.deliver(task("j2", &Task::Quick));
    assert!(is_ack(&stream.settlement().await));
}

#[tokio::test]
async fn a_panic_in_a_drop_fails_the_run_and_the_slot_lives_on() {
    let mut fake = Fake::start().await;
    let _running = Running::start(&fake, |worker| worker.concurrency(1));
    let mut stream = fake.welcome().await;
    stream.deliver(v1::Delivery { timeout_ms: Some(20), ..task("j1", &Task::Brittle) });
    assert_eq!(failure(&stream.settlement().await).r#type, "panic");
    stream.deliver(task("j2", &Task::Quick));
    assert!(is_ack(&stream.settlement().await));
}

#[tokio::test]
async fn layers_see_a_run_end_that_has_timed_out() {
    let mut fake = Fake::start().await;
    let metrics = Metrics::new();
    let _running = Running::start(&fake, |worker| worker.layer(metrics.clone()));
    let mut stream = fake.welcome().await;
    stream.deliver(v1::Delivery { timeout_ms: Some(20), ..task("j1", &Task::Linger) });
    assert_eq!(failure(&stream.settlement().await).r#type, "timeout");
    let numbers = metrics.numbers()["task"];
    assert_eq!((numbers.started, numbers.failed), (1, 1));
}

/// A worker with one slot, taken by a job of the main lane, and a job of the other lane.
async fn full_elsewhere(fake: &mut Fake) -> (Running, Stream, Stream) {
    full_elsewhere_with(fake, Prefetch::Adaptive).await
}

async fn full_elsewhere_with(fake: &mut Fake, prefetch: Prefetch) -> (Running, Stream, Stream) {
    let mut running = Running::start(fake, |worker| {
        let worker = worker.queues(["default"]).limited_queue("few", 1);
        worker.concurrency(1).prefetch(prefetch)
    });
    let (first, hello) = fake.accept().await;
    let (second, _) = fake.accept().await;
    let is_main = !hello.name.ends_with("/few");
    let (main, few) = if is_main { (first, second) } else { (second, first) };
    main.welcome(Vec::new());
    few.welcome_with(Vec::new(), 100);
    main.deliver(task("j1", &Task::Linger));
    running.runs().await;
    few.deliver(task("j2", &Task::Quick));
    (running, main, few)
}

#[tokio::test]
async fn a_lane_gives_back_what_it_cannot_begin() {
    let mut fake = Fake::start().await;
    let (_running, _main, mut few) = full_elsewhere(&mut fake).await;
    assert!(is_release(&few.settlement().await));
}

/// It asked again at once for what it had given back, and kept it from idle workers again.
#[tokio::test]
async fn a_lane_that_is_full_elsewhere_asks_for_no_more_until_a_run_ends() {
    let mut fake = Fake::start().await;
    let (_running, main, mut few) = full_elsewhere(&mut fake).await;
    let released = few.settlement().await;
    assert!(is_release(&released), "{released:?}");
    few.settled(&released, None);
    // Two of these are 100 ms apart: more would have been asked for by then.
    for _ in 0..3 {
        few.until(|message| match message {
            Message::Heartbeat(_) => Some(()),
            Message::Credit(credit) => panic!("{credit:?}"),
            _ => None,
        })
        .await;
    }
    main.control(&task("j1", &Task::Linger), None);
    let credit = few
        .until(|message| match message {
            Message::Credit(credit) => Some((credit.jobs, credit.withdraw)),
            _ => None,
        })
        .await;
    assert_eq!(credit, (1, false));
}

/// It gave everything back within a tenth of a second, asked again when a run had ended, and came
/// too late for the slot each time: the other lane had its next job at hand.
#[tokio::test]
async fn a_lane_keeps_its_place_in_line_beside_one_that_takes_jobs_ahead() {
    let mut fake = Fake::start().await;
    let (_running, main, mut few) = full_elsewhere_with(&mut fake, Prefetch::Fixed(1)).await;
    few.deliver(task("j3", &Task::Quick));
    main.deliver(task("j4", &Task::Linger));
    // Two of these are 100 ms apart: it would have given them back by then.
    for _ in 0..3 {
        few.until(|message| match message {
            Message::Heartbeat(_) => Some(()),
            Message::Settle(settle) => panic!("{settle:?}"),
            _ => None,
        })
        .await;
    }
    main.control(&task("j1", &Task::Linger), None);
    let settled = few.settlement().await;
    assert!(is_ack(&settled) && settled.id == "j2", "{settled:?}");
}

#[tokio::test]
async fn nothing_of_a_full_lane_begins_once_the_worker_leaves() {
    let mut fake = Fake::start().await;
    let (mut running, main, few) = full_elsewhere(&mut fake).await;
    // So that a slot had the time to take it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(running.stop.take());
    tokio::spawn(answer_all(main));
    let (settled, _) = answer_all(few).await;
    assert!(settled.len() == 1 && is_release(&settled[0]), "{settled:?}");
}

#[tokio::test]
async fn a_failure_that_is_refused_goes_without_its_delay_and_then_its_lease_is_let_go() {
    let mut fake = Fake::start().await;
    let _running = Running::start(&fake, |worker| worker);
    let mut stream = fake.welcome().await;
    stream.deliver(task("j1", &Task::Never));
    let delay = |settlement: &v1::Settlement| match &settlement.verdict {
        Some(Verdict::Fail(fail)) => fail.retry_in_ms,
        other => panic!("no failure but {other:?}"),
    };
    let code = "value_refused".to_owned();
    let refused = v1::Problem { code, http_status: 400, ..v1::Problem::default() };
    let settlement = stream.settlement().await;
    assert!(delay(&settlement).is_some());
    stream.settled(&settlement, Some(refused.clone()));
    let settlement = stream.settlement().await;
    assert_eq!(delay(&settlement), None);
    stream.settled(&settlement, Some(refused));
    // Heartbeats extend what the last Hello named: a new one does not name it.
    let (_stream, hello) = fake.accept().await;
    assert_eq!(hello.held, []);
}

#[tokio::test]
async fn ends_that_are_too_large_together_go_one_by_one() {
    let mut fake = Fake::start().await;
    let _running = Running::start(&fake, |worker| worker);
    let mut stream = fake.welcome().await;
    for id in ["j1", "j2"] {
        stream.deliver(task(id, &Task::Large { bytes: 3 << 19 }));
        assert!(is_ack(&stream.settlement().await));
    }
    stream.refuse(tonic::Status::invalid_argument("decoded message length too large"));
    let mut stream = fake.welcome().await;
    for _ in 0..2 {
        assert!(is_ack(&stream.settlement().await));
    }
}

#[tokio::test]
async fn a_worker_takes_no_more_jobs_than_it_shall_run() {
    let mut fake = Fake::start().await;
    let running = Running::start(&fake, |worker| {
        worker.recycle_after_jobs(3).concurrency(2).prefetch(Prefetch::Fixed(50))
    });
    let stream = fake.welcome().await;
    for id in ["j1", "j2", "j3"] {
        stream.deliver(task(id, &Task::Quick));
    }
    let (settled, credit) = answer_all(stream).await;
    assert_eq!((settled.len(), credit), (3, 3));
    assert_eq!(running.worker.await.unwrap().unwrap(), Stopped::RecycledJobs);
}

/// A fresh worker took 16 jobs beyond those that it could start, and kept them from idle ones.
#[tokio::test]
async fn a_worker_takes_ahead_only_what_short_runs_have_earned_and_gives_it_back() {
    let mut fake = Fake::start().await;
    let mut running = Running::start(&fake, |worker| worker.concurrency(1));
    let mut stream = fake.welcome().await;
    let credit = |message| match message {
        Message::Credit(credit) => Some((credit.jobs, credit.withdraw)),
        _ => None,
    };
    assert_eq!(stream.until(credit).await, (1, false), "as many as start at once");
    let mut credit = 1;
    for number in 0..50 {
        stream.deliver(task(&format!("quick{number}"), &Task::Quick));
        let settlement = loop {
            match stream.next().await {
                Message::Credit(more) => credit += more.jobs,
                Message::Settle(settle) => break settle.settlements.into_iter().next().unwrap(),
                _ => {}
            }
        };
        stream.settled(&settlement, None);
    }
    assert!(credit > 51, "short runs earn more: {credit}");
    stream.deliver(task("long", &Task::Linger));
    running.runs().await;
    stream.deliver(task("second", &Task::Linger));
    let (mut is_withdrawn, mut given_back) = (false, None);
    while !is_withdrawn || given_back.is_none() {
        match stream.next().await {
            Message::Credit(credit) => {
                is_withdrawn |= credit.withdraw;
                assert!(!credit.withdraw || credit.jobs == 0, "{credit:?}");
            }
            Message::Settle(settle) => given_back = settle.settlements.into_iter().next(),
            _ => {}
        }
    }
    let given_back = given_back.unwrap();
    assert!(given_back.id == "second" && is_release(&given_back), "{given_back:?}");
}

#[tokio::test]
async fn a_worker_that_takes_nothing_more_takes_its_credit_back() {
    for is_asked in [false, true] {
        let mut fake = Fake::start().await;
        let mut running = Running::start(&fake, |worker| worker);
        let mut stream = fake.welcome().await;
        let credit = |message| match message {
            Message::Credit(credit) => Some((credit.jobs > 0, credit.withdraw)),
            _ => None,
        };
        assert_eq!(stream.until(credit).await, (true, false));
        if is_asked {
            let worker = v1::WorkerState::Quiet.into();
            stream.say(v1::server_message::Message::Control(v1::Control { runs: vec![], worker }));
        } else {
            drop(running.stop.take());
        }
        assert_eq!(stream.until(credit).await, (false, true));
    }
}

/// Ten numbers, and what goes wrong on the way.
#[derive(Job, Serialize, Deserialize, Default)]
struct Ten {
    follows_each: bool,
    interrupt_fails: bool,
    interrupt_panics: bool,
}

impl Iteration<()> for Ten {
    type Item = u64;
    type Cursor = u64;

    async fn enumerate(
        &self,
        cursor: Option<u64>,
        _: &Context<()>,
    ) -> Result<Enumerator<u64, u64>, JobError> {
        Ok(Enumerator::range(0..10, cursor))
    }

    async fn each(&self, _: &u64, ctx: &Context<()>) -> Result<(), JobError> {
        if self.follows_each {
            ctx.follow_up(Task::Quick)?;
        }
        Ok(())
    }

    async fn on_interrupt(&self, _: &str, _: &Context<()>) -> Result<(), JobError> {
        assert!(!self.interrupt_panics, "no");
        if self.interrupt_fails { Err(JobError::msg("no")) } else { Ok(()) }
    }

    async fn on_complete(&self, ctx: &Context<()>) -> JobResult {
        ctx.follow_up(Task::Quick)?;
        Ok(Outcome::DONE)
    }
}

#[tokio::test]
async fn an_iteration_follows_up_where_it_completes_and_nowhere_else() {
    let mut drive = Drive::new(Ten::default(), ());
    drive.items(5).await;
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(drive.last().unwrap().follow_ups().len(), 1);
    let mut drive = Drive::new(Ten { follows_each: true, ..Ten::default() }, ());
    let Step::Failed(error) = drive.to_the_end().await else { panic!("it has not failed") };
    assert_eq!(error.kind(), "follow_up_refused");
    assert!(error.message().contains("on_complete"), "{error}");
}

#[tokio::test]
async fn a_hook_that_fails_costs_an_interruption_nothing() {
    for ten in [
        Ten { interrupt_fails: true, ..Ten::default() },
        Ten { interrupt_panics: true, ..Ten::default() },
    ] {
        let mut drive = Drive::new(ten, ());
        assert_eq!(drive.items(5).await, Step::Interrupted("test".into()));
        assert_eq!(drive.to_the_end().await, Step::Done);
    }
}
