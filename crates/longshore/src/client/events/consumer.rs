//! Reading a stream as a member of a group: events go to a handler, partition by partition in their
//! order, and what it has done is committed behind them.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_proto::v1;
use tokio::time::timeout;

use super::super::{Client, ClientError};
use super::ask;
use super::event::Event;
use super::membership::{Membership, is_forgotten, passes};
use crate::options::span_ms;

/// How long one request waits for events; the consumer asks again.
const WAIT: Duration = Duration::from_secs(10);
/// How long what the handler has done may be uncommitted.
const COMMIT_EVERY: Duration = Duration::from_secs(5);
/// After a call that the server did not take, how long until the next.
const PAUSE: Duration = Duration::from_millis(500);
/// Partitions of one request, by the protocol.
const PARTITIONS_MAX: usize = 1000;
/// How long one request waits where not all partitions are in it.
const WAIT_SOME: Duration = Duration::from_millis(100);
/// How long who ends tries to commit what it has done, at most.
const LAST_MAX: Duration = Duration::from_secs(2);

/// Where a group begins in a partition of which it has committed nothing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Begin {
    /// At the first event that is kept.
    #[default]
    Earliest,
    /// Behind the events that are there.
    Latest,
}

/// Why a consumer has ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConsumerError<E> {
    /// The server refuses it: the stream is gone, say, or the account may not read it.
    Client(ClientError),
    /// The handler could not do with an event. What was done before it is committed, where the
    /// server takes that within two seconds; else it comes again, as the event does.
    Handler {
        /// The event's partition.
        partition: u32,
        /// Its offset.
        offset: u64,
        /// What the handler said.
        error: E,
    },
}

impl<E: fmt::Display> fmt::Display for ConsumerError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(error) => write!(f, "{error}"),
            Self::Handler { partition, offset, error } => {
                write!(f, "the event at offset {offset} of partition {partition}: {error}")
            }
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for ConsumerError<E> {}

impl<E> From<ClientError> for ConsumerError<E> {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// A member of a group that reads a stream: see [`Client::consumer`].
#[derive(Clone, Debug)]
#[must_use = "it reads nothing before it runs"]
pub struct Consumer {
    client: Client,
    group: String,
    stream: String,
    begin: Begin,
    newest: bool,
}

impl Consumer {
    pub(super) fn of(client: &Client, group: &str, stream: &str) -> Self {
        let (client, group, stream) = (client.clone(), group.to_owned(), stream.to_owned());
        Self { client, group, stream, begin: Begin::Earliest, newest: false }
    }

    /// Where the group begins in a partition of which it has committed nothing.
    pub fn begin(self, begin: Begin) -> Self {
        Self { begin, ..self }
    }

    /// Of the events of a key that are read together, only the newest is handed over: for who keeps
    /// the last state of each key, and has fallen behind. Up to 4 MiB of a partition are read
    /// together, so an older event may still come, before a newer one.
    pub fn newest_per_key(self) -> Self {
        Self { newest: true, ..self }
    }

    /// Hands events to `handle`, with the state that they share, one after the other, until `stop`
    /// is done: the event that is handed over by then is ended, and what is done is committed.
    ///
    /// The server shares the partitions of the stream among the members of the group. A partition
    /// that goes to another member goes between two events, with what is done committed. Each event
    /// comes at least once: again, where the process ends before it is committed, or where the
    /// member was out of the group meanwhile (45 seconds without a word, or 5 minutes for one event
    /// while others wait for a partition). While the server is away it is waited for; once `stop`
    /// is done, for four seconds at most, and what is not committed by then comes again.
    ///
    /// # Errors
    ///
    /// What the handler could not do with, or that the server refuses.
    pub async fn run_until<S, E, F>(
        &self,
        state: Arc<S>,
        handle: impl Fn(Arc<S>, Event) -> F,
        stop: impl Future<Output = ()>,
    ) -> Result<(), ConsumerError<E>>
    where
        F: Future<Output = Result<(), E>>,
    {
        let membership = Membership::join(&self.client, &self.group, &self.stream);
        let mut reader = Reader { of: self, membership, life: 0, places: BTreeMap::new(), turn: 0 };
        tokio::pin!(stop);
        let ended = reader.read_until(|event| handle(Arc::clone(&state), event), stop).await;
        reader.membership.leave().await;
        ended
    }

    /// The same without an end.
    ///
    /// # Errors
    ///
    /// As of [`Consumer::run_until`].
    pub async fn run<S, E, F>(
        &self,
        state: Arc<S>,
        handle: impl Fn(Arc<S>, Event) -> F,
    ) -> Result<(), ConsumerError<E>>
    where
        F: Future<Output = Result<(), E>>,
    {
        self.run_until(state, handle, std::future::pending()).await
    }
}

/// A consumer that runs.
struct Reader<'a> {
    of: &'a Consumer,
    membership: Membership,
    /// Of which life of the membership the places are.
    life: u64,
    /// By partition, the offset to go on from. What is before it is done and committed.
    places: BTreeMap<u32, u64>,
    /// With which of them the next request begins, where it does not take all.
    turn: usize,
}

/// What became of some events.
#[derive(Eq, PartialEq)]
enum Handed {
    /// They are done, or others are to do them.
    Over,
    /// It is to stop.
    Stop,
}

impl Reader<'_> {
    async fn read_until<E, F>(
        &mut self,
        handle: impl Fn(Event) -> F,
        mut stop: impl Future<Output = ()> + Unpin,
    ) -> Result<(), ConsumerError<E>>
    where
        F: Future<Output = Result<(), E>>,
    {
        loop {
            let read = tokio::select! {
                biased;
                () = &mut stop => return Ok(()),
                read = self.next() => read,
            };
            let lots = match read {
                Ok(lots) => lots,
                Err(error) if passes(&error) => {
                    tracing::warn!(stream = self.of.stream, %error, "events are not read now");
                    tokio::select! {
                        () = &mut stop => return Ok(()),
                        () = tokio::time::sleep(PAUSE) => continue,
                    }
                }
                Err(error) => return Err(error.into()),
            };
            for lot in lots {
                if self.hand(lot, &handle, &mut stop).await? == Handed::Stop {
                    return Ok(());
                }
                self.let_go(None);
            }
        }
    }

    /// The next events, of the partitions that are to be read by then. Nothing is lost where it is
    /// dropped on the way.
    async fn next(&mut self) -> Result<Vec<v1::PartitionEvents>, ClientError> {
        self.settle().await?;
        if self.places.is_empty() {
            self.membership.changed().await;
            return Ok(Vec::new());
        }
        self.turn = self.turn.wrapping_add(PARTITIONS_MAX) % self.places.len();
        tokio::select! {
            () = self.membership.changed() => Ok(Vec::new()),
            read = self.read() => read,
        }
    }

    /// Lets go of what others are to read, and takes what this one is to read.
    async fn settle(&mut self) -> Result<(), ClientError> {
        let wanted = self.membership.wanted()?;
        if wanted.life != self.life {
            self.life = wanted.life;
            self.places.clear();
        }
        self.let_go(None);
        if wanted.target.iter().all(|partition| self.places.contains_key(partition)) {
            return Ok(());
        }
        let begins = self.begins().await?;
        for partition in wanted.target {
            let Some((offset, is_new)) = begins.get(&partition).copied() else { continue };
            if self.places.contains_key(&partition) || !self.membership.take(self.life, partition) {
                continue;
            }
            self.places.insert(partition, offset);
            // Or whoever has it next would begin behind what comes until then.
            if is_new && self.of.begin == Begin::Latest {
                self.commit(partition, offset).await?;
            }
        }
        Ok(())
    }

    /// Gives back what others are to read, but for the partition in hand: what is done of that is
    /// committed first.
    fn let_go(&mut self, in_hand: Option<u32>) {
        for partition in self.membership.let_go(self.life, in_hand) {
            self.places.remove(&partition);
        }
    }

    /// Whether a partition is still to be read, and was not given back meanwhile.
    fn is_to_read(&self, partition: u32) -> bool {
        self.places.contains_key(&partition) && self.membership.is_to_read(self.life, partition)
    }

    /// Hands over the events of a partition, for as long as it is to be read.
    async fn hand<E, F>(
        &mut self,
        lot: v1::PartitionEvents,
        handle: &impl Fn(Event) -> F,
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Handed, ConsumerError<E>>
    where
        F: Future<Output = Result<(), E>>,
    {
        let partition = lot.partition;
        if !self.is_to_read(partition) {
            return Ok(Handed::Over);
        }
        let (mut done, mut committed_at) = (None, Instant::now());
        for event in lot.events {
            let stops = tokio::select! {
                biased;
                () = &mut *stop => true,
                () = std::future::ready(()) => false,
            };
            if stops {
                self.commit_last(partition, done).await?;
                return Ok(Handed::Stop);
            }
            // Of an answer with much in it others would wait long for their partitions.
            self.let_go(Some(partition));
            if !self.is_to_read(partition) {
                let Some(next) = done else { return Ok(Handed::Over) };
                return Ok(self.commit_or_stop((partition, next), stop).await?);
            }
            let offset = event.offset;
            if let Err(error) = handle(Event::from_wire(partition, event)).await {
                // What the handler says is what is to be known.
                if let Err(error) = self.commit_last(partition, done).await {
                    tracing::warn!(partition, %error, "what is done before it is not committed");
                }
                return Err(ConsumerError::Handler { partition, offset, error });
            }
            done = Some(offset + 1);
            if committed_at.elapsed() > COMMIT_EVERY {
                if self.commit_or_stop((partition, offset + 1), stop).await? == Handed::Stop {
                    return Ok(Handed::Stop);
                }
                committed_at = Instant::now();
            }
        }
        // What is passed over, such as the end of a transaction, counts as read.
        Ok(self.commit_or_stop((partition, lot.next), stop).await?)
    }

    /// Commits, and tries that without an end only for as long as it is not to stop.
    async fn commit_or_stop(
        &mut self,
        (partition, offset): (u32, u64),
        stop: &mut (impl Future<Output = ()> + Unpin),
    ) -> Result<Handed, ClientError> {
        let committing = self.commit(partition, offset);
        tokio::pin!(committing);
        tokio::select! {
            biased;
            committed = &mut committing => return committed.map(|()| Handed::Over),
            () = stop => {}
        }
        timeout(LAST_MAX, committing).await.unwrap_or(Ok(()))?;
        Ok(Handed::Stop)
    }

    /// Commits what is done before it ends, unless the server is away.
    async fn commit_last(&mut self, partition: u32, done: Option<u64>) -> Result<(), ClientError> {
        let Some(offset) = done else { return Ok(()) };
        timeout(LAST_MAX, self.commit(partition, offset)).await.unwrap_or(Ok(()))
    }

    /// Has the group go on from an offset, whoever reads the partition then; and this one, too.
    async fn commit(&mut self, partition: u32, offset: u64) -> Result<(), ClientError> {
        loop {
            let Some((member, epoch)) = self.membership.stamp(self.life) else { return Ok(()) };
            let message = v1::CommitOffsetsRequest {
                namespace: self.of.client.namespace().into(),
                group: self.of.group.clone(),
                stream: self.of.stream.clone(),
                offsets: vec![v1::EventPlace { partition, offset }],
                member,
                epoch,
            };
            match ask!(self.of.client, commit_offsets, message) {
                Ok(_) => {
                    self.places.insert(partition, offset);
                    return Ok(());
                }
                // What was done is handed over again, to whoever has the partition then.
                Err(error) if is_forgotten(&error) => {
                    self.membership.forgotten(self.life);
                    return Ok(());
                }
                Err(error) if error.code() == Some("member_behind") => {
                    self.let_go(Some(partition));
                    self.membership.catch_up().await;
                }
                Err(error) if passes(&error) => {
                    tracing::warn!(group = self.of.group, %error, "it is not committed yet");
                    // Others do not wait for it with what they are to have.
                    self.let_go(Some(partition));
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Where to begin in each partition, and whether the group has committed nothing there.
    async fn begins(&self) -> Result<BTreeMap<u32, (u64, bool)>, ClientError> {
        let client = &self.of.client;
        let ends = client.ends(&self.of.stream).await?;
        let message = v1::GetOffsetsRequest {
            namespace: client.namespace().into(),
            group: self.of.group.clone(),
            stream: self.of.stream.clone(),
        };
        let committed = ask!(client, get_offsets, message)?.offsets;
        let committed: BTreeMap<u32, u64> =
            committed.into_iter().map(|it| (it.partition, it.offset)).collect();
        let place = |(index, ends): (u32, v1::StreamPartition)| {
            let begin = match self.of.begin {
                Begin::Earliest => ends.start,
                Begin::Latest => ends.end,
            };
            let known = committed.get(&index).copied();
            (index, (known.unwrap_or(begin), known.is_none()))
        };
        Ok((0..).zip(ends).map(place).collect())
    }

    async fn read(&self) -> Result<Vec<v1::PartitionEvents>, ClientError> {
        let place = |(partition, offset): (&u32, &u64)| v1::EventPlace {
            partition: *partition,
            offset: *offset,
        };
        let client = &self.of.client;
        let (count, begin) = (self.places.len(), self.turn);
        let wait = if count > PARTITIONS_MAX { WAIT_SOME } else { WAIT };
        let wait = wait.min(client.inner.bounds.attempt / 2);
        let places = self.places.iter().cycle().skip(begin).take(count.min(PARTITIONS_MAX));
        let message = v1::ReadEventsRequest {
            namespace: client.namespace().into(),
            stream: self.of.stream.clone(),
            from: places.map(place).collect(),
            wait_ms: span_ms(wait),
            newest_per_key: self.of.newest,
        };
        Ok(ask!(client, read_events, message)?.partitions)
    }
}
