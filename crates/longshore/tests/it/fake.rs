//! A server that does what the test says, word by word.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use longshore::Client;
use longshore_proto::v1;
use longshore_proto::v1::enqueue_stream_response::Outcome;
use longshore_proto::v1::jobs_server::{Jobs, JobsServer};
use longshore_proto::v1::server_message::Message as FromServer;
use longshore_proto::v1::worker_message::Message;
use longshore_proto::v1::workers_server::{Workers, WorkersServer};
use tokio::sync::mpsc;
use tonic::{Code, Request, Response, Status, Streaming};

type Answer<T> = Result<Response<T>, Status>;

/// How long a test waits for what has to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// The scripted server.
#[derive(Debug)]
pub(crate) struct Fake {
    address: SocketAddr,
    streams: mpsc::UnboundedReceiver<Stream>,
    pub(crate) script: Script,
}

/// What calls other than streams are answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// Codes of the next enqueues that fail.
    pub(crate) failures: Arc<Mutex<VecDeque<Code>>>,
    /// What every enqueue is refused with.
    pub(crate) refusal: Arc<Mutex<Option<Status>>>,
    /// Enqueues that arrived.
    pub(crate) enqueued: Arc<Mutex<Vec<v1::EnqueueRequest>>>,
    /// The next streamed batches that end their call instead of being answered.
    pub(crate) breaks: Arc<Mutex<u32>>,
    /// What every streamed batch is refused with.
    pub(crate) problem: Arc<Mutex<Option<v1::Problem>>>,
    /// What those who wait for a job are told; the last one stays.
    pub(crate) jobs: Arc<Mutex<VecDeque<v1::Job>>>,
    /// What the next cancellations and retries are refused with.
    pub(crate) refusals: Arc<Mutex<VecDeque<Status>>>,
}

impl Script {
    fn change(&self, effect: &str) -> Answer<v1::JobChange> {
        match self.refusals.lock().unwrap().pop_front() {
            Some(refusal) => Err(refusal),
            None => Ok(Response::new(v1::JobChange {
                effect: effect.into(),
                ..v1::JobChange::default()
            })),
        }
    }
}

/// A refusal with a code of the server.
pub(crate) fn refusal(code: Code, word: &'static str) -> Status {
    let mut status = Status::new(code, "the test says so");
    status.metadata_mut().insert("longshore-code", word.parse().unwrap());
    status
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::unbounded_channel();
        let script = Script::default();
        let service = Service { streams: sender, script: script.clone() };
        let incoming = stream::unfold(listener, |listener| async {
            let accepted = listener.accept().await.map(|(stream, _)| stream);
            Some((accepted, listener))
        });
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(WorkersServer::new(service.clone()))
                .add_service(JobsServer::new(service))
                .serve_with_incoming(incoming),
        );
        Self { address, streams, script }
    }

    pub(crate) fn client(&self) -> Client {
        Client::builder(format!("http://{}", self.address))
            .attempt_timeout(Duration::from_secs(5))
            .build()
            .unwrap()
    }

    /// The next stream that a worker opens, with its Hello.
    pub(crate) async fn accept(&mut self) -> (Stream, v1::Hello) {
        let opened = tokio::time::timeout(PATIENCE, self.streams.recv()).await;
        let mut stream = opened.expect("no stream was opened").unwrap();
        match stream.next().await {
            Message::Hello(hello) => (stream, hello),
            other => panic!("the first message is no Hello but {other:?}"),
        }
    }

    /// The same, welcomed.
    pub(crate) async fn welcome(&mut self) -> Stream {
        let (stream, _) = self.accept().await;
        stream.welcome(Vec::new());
        stream
    }
}

/// One stream of a worker, from the server's side.
#[derive(Debug)]
pub(crate) struct Stream {
    from_worker: Streaming<v1::WorkerMessage>,
    to_worker: mpsc::UnboundedSender<Result<v1::ServerMessage, Status>>,
}

impl Stream {
    pub(crate) async fn next(&mut self) -> Message {
        let message = tokio::time::timeout(PATIENCE, self.from_worker.message()).await;
        let message = message.expect("the worker says nothing").unwrap();
        message.expect("the worker has ended the stream").message.unwrap()
    }

    /// The next message that `pick` wants; others are passed over.
    pub(crate) async fn until<T>(&mut self, pick: impl Fn(Message) -> Option<T>) -> T {
        loop {
            if let Some(picked) = pick(self.next().await) {
                return picked;
            }
        }
    }

    pub(crate) async fn settlement(&mut self) -> v1::Settlement {
        let settlements = self
            .until(|message| match message {
                Message::Settle(it) => Some(it.settlements),
                _ => None,
            })
            .await;
        assert_eq!(settlements.len(), 1, "{settlements:?}");
        settlements.into_iter().next().unwrap()
    }

    pub(crate) async fn checkpoint(&mut self) -> v1::Checkpoint {
        let checkpoints = self
            .until(|message| match message {
                Message::Checkpoints(it) => Some(it.checkpoints),
                _ => None,
            })
            .await;
        checkpoints.into_iter().next().unwrap()
    }

    pub(crate) fn say(&self, message: FromServer) {
        let _ = self.to_worker.send(Ok(v1::ServerMessage { message: Some(message) }));
    }

    pub(crate) fn welcome(&self, lost: Vec<v1::LeaseRef>) {
        self.welcome_with(lost, 10_000);
    }

    pub(crate) fn welcome_with(&self, lost: Vec<v1::LeaseRef>, heartbeat_ms: u64) {
        self.say(FromServer::Welcome(v1::Welcome {
            software: "fake".into(),
            lease_ms: 30_000,
            heartbeat_ms,
            reconnect_ms: 10_000,
            lost,
        }));
    }

    pub(crate) fn deliver(&self, job: v1::Delivery) {
        self.say(FromServer::Deliver(v1::Deliver { jobs: vec![job] }));
    }

    pub(crate) fn settled(&self, settlement: &v1::Settlement, refused: Option<v1::Problem>) {
        let (id, token) = (settlement.id.clone(), settlement.token.clone());
        let results = vec![v1::SettleResult { id, token, refused }];
        self.say(FromServer::Settled(v1::Settled { results }));
    }

    pub(crate) fn checkpointed(
        &self,
        checkpoint: &v1::Checkpoint,
        what: Option<v1::instruction::What>,
    ) {
        let results = vec![v1::CheckpointResult {
            id: checkpoint.id.clone(),
            token: checkpoint.token.clone(),
            seq: checkpoint.seq,
            instruction: Some(v1::Instruction { what }),
            refused: None,
        }];
        self.say(FromServer::Checkpointed(v1::Checkpointed { results }));
    }

    pub(crate) fn control(&self, job: &v1::Delivery, instruction: Option<v1::Instruction>) {
        let (id, token) = (job.id.clone(), job.token.clone());
        let runs = vec![v1::RunControl { id, token, instruction }];
        self.say(FromServer::Control(v1::Control { runs, worker: 0 }));
    }

    pub(crate) fn refuse(self, status: Status) {
        let _ = self.to_worker.send(Err(status));
    }

    pub(crate) fn break_off(self) {
        self.refuse(Status::unavailable("the test broke it"));
    }
}

/// A job to deliver.
pub(crate) fn delivery(id: &str, kind: &str, args: &serde_json::Value) -> v1::Delivery {
    v1::Delivery {
        id: id.into(),
        token: format!("{id}.1"),
        queue: "default".into(),
        kind: kind.into(),
        args: args.to_string().into(),
        attempt: 1,
        max_attempts: 26,
        lease_ms: 30_000,
        ..v1::Delivery::default()
    }
}

#[derive(Clone, Debug)]
struct Service {
    streams: mpsc::UnboundedSender<Stream>,
    script: Script,
}

fn not_here<T>() -> Answer<T> {
    Err(Status::unimplemented("the scripted server has no such call"))
}

#[tonic::async_trait]
impl Workers for Service {
    type WorkStream = BoxStream<'static, Result<v1::ServerMessage, Status>>;

    async fn work(
        &self,
        request: Request<Streaming<v1::WorkerMessage>>,
    ) -> Answer<Self::WorkStream> {
        let (to_worker, mut answers) = mpsc::unbounded_channel();
        let _ = self.streams.send(Stream { from_worker: request.into_inner(), to_worker });
        Ok(Response::new(stream::poll_fn(move |cx| answers.poll_recv(cx)).boxed()))
    }

    async fn list_workers(
        &self,
        _: Request<v1::ListWorkersRequest>,
    ) -> Answer<v1::ListWorkersResponse> {
        not_here()
    }

    async fn get_worker(&self, _: Request<v1::WorkerRequest>) -> Answer<v1::Worker> {
        not_here()
    }

    async fn quiet_worker(&self, _: Request<v1::WorkerRequest>) -> Answer<v1::Worker> {
        not_here()
    }

    async fn terminate_worker(&self, _: Request<v1::WorkerRequest>) -> Answer<v1::Worker> {
        not_here()
    }
}

#[tonic::async_trait]
impl Jobs for Service {
    type EnqueueStreamStream = BoxStream<'static, Result<v1::EnqueueStreamResponse, Status>>;
    type WatchJobStream = BoxStream<'static, Result<v1::Job, Status>>;

    async fn enqueue(&self, request: Request<v1::EnqueueRequest>) -> Answer<v1::EnqueueResponse> {
        let request = request.into_inner();
        let ids = request.jobs.iter().map(|job| job.id.clone()).collect();
        self.script.enqueued.lock().unwrap().push(request);
        if let Some(refusal) = self.script.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        if let Some(code) = self.script.failures.lock().unwrap().pop_front() {
            return Err(Status::new(code, "the test says so"));
        }
        Ok(Response::new(v1::EnqueueResponse { ids, replayed: 0, unique: Vec::new() }))
    }

    async fn enqueue_stream(
        &self,
        request: Request<Streaming<v1::EnqueueRequest>>,
    ) -> Answer<Self::EnqueueStreamStream> {
        let script = self.script.clone();
        let answers = request.into_inner().map(move |batch| {
            let batch = batch?;
            let ids = batch.jobs.iter().map(|job| job.id.clone()).collect();
            script.enqueued.lock().unwrap().push(batch);
            let mut breaks = script.breaks.lock().unwrap();
            if *breaks > 0 {
                *breaks -= 1;
                return Err(Status::unavailable("the test broke it"));
            }
            let accepted = v1::EnqueueResponse { ids, replayed: 0, unique: Vec::new() };
            let outcome = match script.problem.lock().unwrap().clone() {
                Some(problem) => Outcome::Refused(problem),
                None => Outcome::Accepted(accepted),
            };
            Ok(v1::EnqueueStreamResponse { outcome: Some(outcome) })
        });
        Ok(Response::new(answers.boxed()))
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Answer<v1::Job> {
        let v1::GetJobRequest { namespace, id } = request.into_inner();
        self.await_job(Request::new(v1::AwaitJobRequest { namespace, id, wait_ms: 0 })).await
    }

    async fn list_jobs(&self, _: Request<v1::ListJobsRequest>) -> Answer<v1::ListJobsResponse> {
        not_here()
    }

    async fn await_job(&self, request: Request<v1::AwaitJobRequest>) -> Answer<v1::Job> {
        let mut jobs = self.script.jobs.lock().unwrap();
        let job = if jobs.len() > 1 { jobs.pop_front() } else { jobs.front().cloned() };
        let Some(job) = job else {
            return Err(refusal(Code::NotFound, "job_unknown"));
        };
        Ok(Response::new(v1::Job { id: request.into_inner().id, ..job }))
    }

    async fn watch_job(&self, _: Request<v1::GetJobRequest>) -> Answer<Self::WatchJobStream> {
        not_here()
    }

    async fn cancel_job(&self, _: Request<v1::CancelJobRequest>) -> Answer<v1::JobChange> {
        self.script.change("cancelled")
    }

    async fn reschedule_job(&self, _: Request<v1::RescheduleJobRequest>) -> Answer<v1::JobChange> {
        self.script.change("rescheduled")
    }

    async fn retry_job(&self, _: Request<v1::RetryJobRequest>) -> Answer<v1::JobChange> {
        self.script.change("retried")
    }

    async fn pause_job(&self, _: Request<v1::JobRequest>) -> Answer<v1::JobChange> {
        not_here()
    }

    async fn resume_job(&self, _: Request<v1::JobRequest>) -> Answer<v1::JobChange> {
        not_here()
    }
}
