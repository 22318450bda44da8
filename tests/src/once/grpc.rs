//! A worker of nothing but the generated code. It breaks its stream now and then by itself and
//! comes back with its session, as after a fault of the network.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use longshore::Client;
use longshore_proto::v1;
use longshore_proto::v1::instruction::What;
use longshore_proto::v1::server_message::Message as Told;
use longshore_proto::v1::settlement::Verdict;
use longshore_proto::v1::worker_message::Message as Tells;
use longshore_proto::v1::workers_client::WorkersClient;
use tokio::sync::{mpsc, watch};

use super::{Errand, LEASE_MS, Starts};
use crate::random::Random;

/// Runs at once; as many wait here for one of them to end.
const CONCURRENCY: u32 = 2;
/// How long to wait before connecting again.
const PAUSE: Duration = Duration::from_millis(20);

/// A run that has ended, and whether it failed.
type Ended = (v1::LeaseRef, bool);

/// A lease of this worker.
#[derive(Debug, Default)]
struct Held {
    started: bool,
    /// How its run ended, once it has.
    settlement: Option<v1::Settlement>,
}

/// A worker and what it counts on.
#[derive(Debug)]
pub struct Worker {
    client: Client,
    name: String,
    starts: Starts,
    random: Random,
    stop: watch::Receiver<bool>,
    held: HashMap<v1::LeaseRef, Held>,
    /// Those that have not started.
    waiting: VecDeque<v1::Delivery>,
    ended: (mpsc::UnboundedSender<Ended>, mpsc::UnboundedReceiver<Ended>),
    running: u32,
    /// It takes nothing more, and leaves once it has settled what it has.
    leaves: bool,
}

type Stream = mpsc::UnboundedSender<v1::WorkerMessage>;

fn tell(stream: &Stream, message: Tells) {
    // A stream that has broken is seen where it is read.
    let _ = stream.send(v1::WorkerMessage { message: Some(message) });
}

fn lease_of(job: &v1::Delivery) -> v1::LeaseRef {
    v1::LeaseRef { id: job.id.clone(), token: job.token.clone() }
}

impl Worker {
    /// A worker that ends once `stop` says so.
    pub fn new(
        client: Client,
        name: &str,
        starts: Starts,
        random: Random,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self {
            client,
            name: name.to_owned(),
            starts,
            random,
            stop,
            held: HashMap::new(),
            waiting: VecDeque::new(),
            ended: mpsc::unbounded_channel(),
            running: 0,
            leaves: false,
        }
    }

    /// Works until it is told to end and has settled everything.
    pub async fn work(mut self) -> Result<()> {
        while !(self.leaves && self.held.is_empty()) {
            if self.stream().await?.is_none() {
                tokio::time::sleep(PAUSE).await;
            }
            self.leaves |= *self.stop.borrow();
        }
        Ok(())
    }

    /// One stream, until it breaks: nothing; or until everything is settled.
    async fn stream(&mut self) -> Result<Option<()>> {
        let (stream, mut messages) = mpsc::unbounded_channel();
        tell(&stream, Tells::Hello(self.hello()));
        let outgoing = futures_util::stream::poll_fn(move |cx| messages.poll_recv(cx));
        let channel = self.client.channel().context("the client has a channel")?;
        let Ok(answer) = WorkersClient::new(channel).work(outgoing).await else { return Ok(None) };
        let mut inbound = answer.into_inner();
        let mut beat = tokio::time::interval(Duration::from_millis(LEASE_MS / 4));
        loop {
            if self.leaves {
                self.give_back(&stream);
                if self.held.is_empty() {
                    tell(&stream, Tells::Goodbye(v1::Goodbye {}));
                    drop(stream);
                    while let Ok(Some(_)) = inbound.message().await {}
                    return Ok(Some(()));
                }
            }
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(message)) => {
                        self.hear(&stream, message)?;
                        if self.random.once_in(60) {
                            return Ok(None);
                        }
                    }
                    Ok(None) | Err(_) => return Ok(None),
                },
                Some((lease, failed)) = self.ended.1.recv() => {
                    self.running -= 1;
                    self.settle(&stream, &lease, if failed { failure() } else { ack() });
                    self.start(&stream)?;
                }
                _ = beat.tick() => tell(&stream, Tells::Heartbeat(v1::Heartbeat::default())),
                _ = self.stop.changed(), if !self.leaves => self.leaves = true,
            }
        }
    }

    fn hello(&self) -> v1::Hello {
        let held = self.held.iter().map(|(lease, held)| v1::HeldLease {
            id: lease.id.clone(),
            token: lease.token.clone(),
            started: held.started,
        });
        v1::Hello {
            name: self.name.clone(),
            session: self.name.clone(),
            host: "here".to_owned(),
            pid: std::process::id(),
            software: "tests".to_owned(),
            queues: vec![v1::QueueWish { queue: "grpc".to_owned(), weight: 0 }],
            concurrency: CONCURRENCY,
            lease_ms: Some(LEASE_MS),
            held: held.collect(),
            ..v1::Hello::default()
        }
    }

    fn hear(&mut self, stream: &Stream, message: v1::ServerMessage) -> Result<()> {
        match message.message {
            Some(Told::Welcome(welcome)) => {
                welcome.lost.iter().for_each(|lease| self.lose(lease));
                let all = self.held.values().filter_map(|held| held.settlement.clone()).collect();
                tell(stream, Tells::Settle(v1::Settle { settlements: all }));
                self.give_credit(stream);
            }
            Some(Told::Deliver(deliver)) => {
                for job in deliver.jobs {
                    self.held.insert(lease_of(&job), Held::default());
                    self.waiting.push_back(job);
                }
                self.start(stream)?;
            }
            Some(Told::Settled(settled)) => {
                for result in settled.results {
                    self.held.remove(&v1::LeaseRef { id: result.id, token: result.token });
                }
                self.give_credit(stream);
            }
            Some(Told::NotStarted(it)) => it.jobs.iter().for_each(|lease| self.lose(lease)),
            Some(Told::Control(control)) => {
                self.leaves |= control.worker() != v1::WorkerState::Working;
                for run in control.runs {
                    let lease = v1::LeaseRef { id: run.id, token: run.token };
                    match run.instruction.and_then(|it| it.what) {
                        None => self.lose(&lease),
                        Some(What::Cancel(_)) => {
                            self.settle(stream, &lease, Verdict::Discard(v1::Discard::default()));
                        }
                        Some(What::Interrupt(_)) => self.settle(stream, &lease, interrupted()),
                        Some(What::Continue(_) | What::SlowDown(_)) => {}
                    }
                }
            }
            Some(Told::Checkpointed(_) | Told::Beat(_)) => {}
            None => bail!("a message of nothing"),
        }
        Ok(())
    }

    /// All that it can take, anew.
    fn give_credit(&self, stream: &Stream) {
        if !self.leaves {
            let jobs = (2 * CONCURRENCY).saturating_sub(self.held.len() as u32);
            tell(stream, Tells::Credit(v1::Credit { jobs, withdraw: true }));
        }
    }

    /// Starts what waits and has room.
    fn start(&mut self, stream: &Stream) -> Result<()> {
        while !self.leaves && self.running < CONCURRENCY {
            let Some(job) = self.waiting.pop_front() else { return Ok(()) };
            let lease = lease_of(&job);
            let Some(held) = self.held.get_mut(&lease) else { continue };
            if held.settlement.is_some() {
                continue;
            }
            held.started = true;
            tell(stream, Tells::Started(v1::Started { jobs: vec![lease.clone()] }));
            let errand: Errand = serde_json::from_slice(&job.args)?;
            self.starts.note(&job.id)?;
            self.running += 1;
            let ended = self.ended.0.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(errand.ms)).await;
                // Nobody hears it where the worker has left.
                let _ = ended.send((lease, errand.fails));
            });
        }
        Ok(())
    }

    /// The first verdict on a run stands.
    fn settle(&mut self, stream: &Stream, lease: &v1::LeaseRef, verdict: Verdict) {
        let Some(held) = self.held.get_mut(lease).filter(|held| held.settlement.is_none()) else {
            return;
        };
        let (id, token) = (lease.id.clone(), lease.token.clone());
        let settlement = v1::Settlement { id, token, verdict: Some(verdict) };
        held.settlement = Some(settlement.clone());
        tell(stream, Tells::Settle(v1::Settle { settlements: vec![settlement] }));
    }

    /// Gives everything back, what has begun in one way or another.
    fn give_back(&mut self, stream: &Stream) {
        let leases: Vec<_> =
            self.held.iter().map(|(it, held)| (it.clone(), held.started)).collect();
        for (lease, started) in leases {
            let verdict = match self.random.below(3) {
                _ if !started => Verdict::Release(v1::Release {}),
                0 => Verdict::Release(v1::Release {}),
                1 => Verdict::Snooze(v1::Snooze { delay_ms: 0 }),
                _ => interrupted(),
            };
            self.settle(stream, &lease, verdict);
        }
    }

    fn lose(&mut self, lease: &v1::LeaseRef) {
        self.held.remove(lease);
    }
}

fn ack() -> Verdict {
    Verdict::Ack(v1::Ack::default())
}

fn failure() -> Verdict {
    let (r#type, message) = ("Oops".to_owned(), "told to fail".to_owned());
    let error = v1::JobError { r#type, message, ..v1::JobError::default() };
    Verdict::Fail(v1::Fail { error: Some(error), retry_in_ms: None })
}

fn interrupted() -> Verdict {
    Verdict::Interrupted(v1::Interrupted { reason: "deploy".to_owned(), delay_ms: None })
}
