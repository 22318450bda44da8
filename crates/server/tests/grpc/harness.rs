//! A server of its own per test, clients of the generated code, and a worker that says what the
//! test says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use longshore_proto::v1::admin_client::AdminClient;
use longshore_proto::v1::blockers_client::BlockersClient;
use longshore_proto::v1::jobs_client::JobsClient;
use longshore_proto::v1::levels_client::LevelsClient;
use longshore_proto::v1::messages_client::MessagesClient;
use longshore_proto::v1::schedules_client::SchedulesClient;
use longshore_proto::v1::server_message::Message as Told;
use longshore_proto::v1::streams_client::StreamsClient;
use longshore_proto::v1::worker_message::Message as Tells;
use longshore_proto::v1::workers_client::WorkersClient;
use longshore_proto::v1::{self, settlement::Verdict};
use longshore_server::config::ServerConfig;
use longshore_server::http::Listeners;
use longshore_server::{Access, ConsumerGroups, Listener, Node, NodeConfig, http, kafka};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

/// How long anything may take before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits for something that has to come.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("it takes too long")
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
    dir: Arc<TempDir>,
    /// Where Kafka clients come in, where the configuration says so.
    kafka: Option<Listener>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), change).await
    }

    async fn start_in(dir: Arc<TempDir>, change: impl FnOnce(&mut ServerConfig)) -> Self {
        let store = dir.path().join("store");
        let mut config = ServerConfig {
            node: NodeConfig { reserve_bytes: 0, ..NodeConfig::new(store) },
            ..ServerConfig::default()
        };
        change(&mut config);
        let node = Node::open(&config.node).unwrap();
        assert!(node.started().await.is_ready());
        let listener = http::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let access = Access::start(&config.access, &node).unwrap();
        access.ready().await;
        let groups = ConsumerGroups::default();
        let kafka = kafka::listen(&config.kafka, &node, (&access, None), &groups).await.unwrap();
        let listeners = Listeners { access, groups, ..Listeners::from(listener) };
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            http::serve(&config, node, listeners, shutdown).await.unwrap();
        });
        Self { address, stop: Some(stop), served, dir, kafka }
    }

    /// A server that asks who comes in, and the token of its administrator.
    pub(crate) async fn start_asking() -> (Self, String) {
        let server = Self::start_with(|config| config.access.required = true).await;
        let token = std::fs::read_to_string(server.dir.path().join("store/admin-token"));
        let token = token.unwrap().trim().to_owned();
        (server, token)
    }

    pub(crate) fn begin_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.send(()).unwrap();
        }
    }

    /// Begins to stop and waits for the end.
    pub(crate) async fn stop(mut self) {
        self.begin_stop();
        if let Some(kafka) = self.kafka.take() {
            kafka.stop().await;
        }
        soon(&mut self.served).await.unwrap();
    }

    /// Stops and starts again on the same store, at another port.
    pub(crate) async fn restart(self) -> Self {
        let dir = Arc::clone(&self.dir);
        self.stop().await;
        Self::start_in(dir, |_| {}).await
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        soon(endpoint.connect()).await.unwrap()
    }

    pub(crate) async fn jobs(&self) -> JobsClient<Channel> {
        JobsClient::new(self.channel().await)
    }

    pub(crate) async fn admin(&self) -> AdminClient<Channel> {
        AdminClient::new(self.channel().await)
    }

    pub(crate) async fn schedules(&self) -> SchedulesClient<Channel> {
        SchedulesClient::new(self.channel().await)
    }

    pub(crate) async fn messages(&self) -> MessagesClient<Channel> {
        MessagesClient::new(self.channel().await)
    }

    pub(crate) async fn streams(&self) -> StreamsClient<Channel> {
        StreamsClient::new(self.channel().await)
    }

    /// Where Kafka clients come in.
    pub(crate) fn kafka(&self) -> SocketAddr {
        self.kafka.as_ref().and_then(Listener::plain).unwrap()
    }

    pub(crate) async fn levels(&self) -> LevelsClient<Channel> {
        LevelsClient::new(self.channel().await)
    }

    pub(crate) async fn control(&self) -> BlockersClient<Channel> {
        BlockersClient::new(self.channel().await)
    }

    pub(crate) async fn workers(&self) -> WorkersClient<Channel> {
        WorkersClient::new(self.channel().await)
    }

    /// Asks over HTTP/1.1; the status and the body.
    pub(crate) async fn http(&self, method: &str, path: &str) -> (u16, Value) {
        self.exchange((method, path), None, "").await
    }

    /// A request over HTTP with a body: the status and the code of why it is refused.
    pub(crate) async fn ask_http_for_status(
        &self,
        what: (&str, &str),
        body: &str,
    ) -> (u16, String) {
        let (status, told) = self.exchange(what, None, body).await;
        (status, told["code"].as_str().unwrap_or_default().to_owned())
    }

    /// A request over HTTP with a body and a token, which has to succeed.
    pub(crate) async fn ask_http(&self, what: (&str, &str), token: &str, body: &str) -> Value {
        let (status, body) = self.exchange(what, Some(token), body).await;
        assert!((200..300).contains(&status), "{status} {body}");
        if body.is_string() { Value::Null } else { body }
    }

    /// The status, and the body as JSON or as it is.
    async fn exchange(
        &self,
        (method, path): (&str, &str),
        token: Option<&str>,
        body: &str,
    ) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let token = token.map(|it| format!("authorization: Bearer {it}\r\n")).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             {token}content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())))
    }

    /// Enqueues jobs of kind `k` in queue `q` and answers their ids.
    pub(crate) async fn enqueue(&self, count: usize) -> Vec<String> {
        self.enqueue_all(vec![job(); count]).await
    }

    pub(crate) async fn enqueue_all(&self, jobs: Vec<v1::NewJob>) -> Vec<String> {
        let request = v1::EnqueueRequest { queue: "q".into(), jobs, ..Default::default() };
        self.jobs().await.enqueue(request).await.unwrap().into_inner().ids
    }

    pub(crate) async fn job(&self, id: &str) -> v1::Job {
        let request = v1::GetJobRequest { id: id.to_owned(), ..Default::default() };
        self.jobs().await.get_job(request).await.unwrap().into_inner()
    }

    /// Waits until a job is in this state.
    pub(crate) async fn until(&self, id: &str, state: &str) -> v1::Job {
        let request = v1::GetJobRequest { id: id.to_owned(), ..Default::default() };
        let mut watched = self.jobs().await.watch_job(request).await.unwrap().into_inner();
        loop {
            let job = soon(watched.message()).await.unwrap();
            let job = job.unwrap_or_else(|| panic!("it ended otherwise than {state}"));
            if job.state == state {
                return job;
            }
        }
    }

    /// How many jobs of a queue run.
    pub(crate) async fn running(&self, queue: &str) -> usize {
        let (_, told) = self.http("GET", &format!("/v1/queues/{queue}")).await;
        ["held", "running"].map(|of| told[of].as_u64().unwrap() as usize).iter().sum()
    }

    /// A worker that has said hello and was welcomed.
    pub(crate) async fn worker(&self, hello: v1::Hello) -> (Worker, v1::Welcome) {
        let mut worker = Worker::connect(self.workers().await).await;
        worker.tell(Tells::Hello(hello)).await;
        match worker.hear().await {
            Told::Welcome(welcome) => (worker, welcome),
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn job() -> v1::NewJob {
    v1::NewJob { kind: "k".into(), ..Default::default() }
}

pub(crate) fn hello() -> v1::Hello {
    v1::Hello {
        name: "w".into(),
        session: "s".into(),
        queues: vec![v1::QueueWish { queue: "q".into(), weight: 0 }],
        concurrency: 10,
        ..Default::default()
    }
}

pub(crate) fn credit(jobs: u32) -> v1::Credit {
    v1::Credit { jobs, withdraw: false }
}

pub(crate) fn held(job: &v1::Delivery, started: bool) -> v1::HeldLease {
    v1::HeldLease { id: job.id.clone(), token: job.token.clone(), started }
}

pub(crate) fn lease_ref(job: &v1::Delivery) -> v1::LeaseRef {
    v1::LeaseRef { id: job.id.clone(), token: job.token.clone() }
}

pub(crate) fn settlement(job: &v1::Delivery, verdict: Verdict) -> v1::Settlement {
    v1::Settlement { id: job.id.clone(), token: job.token.clone(), verdict: Some(verdict) }
}

pub(crate) struct Worker {
    tells: mpsc::Sender<v1::WorkerMessage>,
    pub(crate) hears: Streaming<v1::ServerMessage>,
}

impl Worker {
    pub(crate) async fn connect(mut client: WorkersClient<Channel>) -> Self {
        let (tells, told) = mpsc::channel(64);
        let hears = client.work(ReceiverStream::new(told)).await.unwrap().into_inner();
        Self { tells, hears }
    }

    pub(crate) async fn tell(&mut self, message: Tells) {
        // A stream that the server has ended is what some tests are about.
        let _ = self.tells.send(v1::WorkerMessage { message: Some(message) }).await;
    }

    pub(crate) async fn tell_nothing(&mut self) {
        self.tells.send(v1::WorkerMessage { message: None }).await.unwrap();
    }

    /// The next message.
    pub(crate) async fn hear(&mut self) -> Told {
        let message = soon(self.hears.message()).await.unwrap().expect("the stream ended");
        message.message.unwrap()
    }

    /// The status that the stream ends with; other messages are passed over.
    pub(crate) async fn end(&mut self) -> Option<Status> {
        loop {
            match soon(self.hears.message()).await {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    }

    /// Gives credit and takes so many jobs.
    pub(crate) async fn take(&mut self, count: usize) -> Vec<v1::Delivery> {
        self.tell(Tells::Credit(credit(count as u32))).await;
        let mut jobs = Vec::new();
        while jobs.len() < count {
            match self.hear().await {
                Told::Deliver(deliver) => jobs.extend(deliver.jobs),
                other => panic!("{other:?}"),
            }
        }
        jobs
    }

    pub(crate) async fn start(&mut self, job: &v1::Delivery) {
        self.tell(Tells::Started(v1::Started { jobs: vec![lease_ref(job)] })).await;
    }

    pub(crate) async fn settle(
        &mut self,
        settlements: Vec<v1::Settlement>,
    ) -> Vec<v1::SettleResult> {
        self.tell(Tells::Settle(v1::Settle { settlements })).await;
        match self.hear().await {
            Told::Settled(settled) => settled.results,
            other => panic!("{other:?}"),
        }
    }

    /// Acknowledges a job; why that was refused, if it was.
    pub(crate) async fn ack(&mut self, job: &v1::Delivery) -> Option<v1::Problem> {
        let ack = settlement(job, Verdict::Ack(v1::Ack::default()));
        self.settle(vec![ack]).await.remove(0).refused
    }

    pub(crate) async fn checkpoint(&mut self, one: v1::Checkpoint) -> v1::CheckpointResult {
        let checkpoints = v1::Checkpoints { checkpoints: vec![one] };
        self.tell(Tells::Checkpoints(checkpoints)).await;
        match self.hear().await {
            Told::Checkpointed(mut told) => told.results.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// Sends a heartbeat and returns what came before its answer.
    pub(crate) async fn beat(&mut self) -> Vec<v1::RunControl> {
        self.tell(Tells::Heartbeat(v1::Heartbeat { memory_bytes: Some(1 << 20) })).await;
        let mut runs = Vec::new();
        loop {
            match self.hear().await {
                Told::Control(control) => runs.extend(control.runs),
                Told::Beat(_) => return runs,
                other => panic!("{other:?}"),
            }
        }
    }
}
