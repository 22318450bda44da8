//! `DescribeProducers`, `DescribeTransactions`, `ListTransactions`: read from a snapshot, so that
//! who looks is in nobody's way.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::{PartitionId, ProducerView, Reader, TimeMs, TransactionView, query};
use longshore_kafka::message::Topic;
use longshore_kafka::message::inspect::{
    ListTransactionsRequest, ProducerState, ProducersRequest, ProducersResult, TransactionState,
    TransactionsRequest, put_producers, put_transaction_list, put_transactions,
};
use longshore_kafka::{Reply, codes};

use super::codes_of::of_unavailable;
use super::face::{Face, partition};
use crate::access::{LOOK, PUBLISH};

/// Producers and transactional ids that one answer tells of.
const TOLD_MAX: usize = 100_000;
const ASKED_MAX: usize = 10_000;

/// The index of a partition that is asked about, and its id or why there is none.
type AskedPartition = (i32, Result<PartitionId, (i16, String)>);

const EMPTY: &str = "Empty";
const ONGOING: &str = "Ongoing";
const COMMITTED: &str = "CompleteCommit";
const ABORTED: &str = "CompleteAbort";
/// All that Kafka has. A transaction here ends in one record: some of these it is never in.
const STATES: [&str; 8] = [
    EMPTY,
    ONGOING,
    "PrepareCommit",
    "PrepareAbort",
    COMMITTED,
    ABORTED,
    "Dead",
    "PrepareEpochFence",
];

fn state_of(view: &TransactionView) -> &'static str {
    match (view.open_since, view.committed) {
        (Some(_), _) => ONGOING,
        (None, None) => EMPTY,
        (None, Some(true)) => COMMITTED,
        (None, Some(false)) => ABORTED,
    }
}

fn told(view: TransactionView, topics: Vec<Topic<i32>>) -> TransactionState {
    TransactionState {
        error: codes::NONE,
        state: state_of(&view),
        timeout_ms: i32::try_from(view.timeout_ms).unwrap_or(i32::MAX),
        start_ms: view.open_since.map_or(-1, |at| at.0.cast_signed()),
        producer_id: view.producer.cast_signed(),
        producer_epoch: i16::try_from(view.epoch).unwrap_or(i16::MAX),
        topics,
        id: view.id,
    }
}

fn told_producer(view: &ProducerView) -> ProducerState {
    ProducerState {
        producer_id: view.producer.cast_signed(),
        producer_epoch: i32::try_from(view.epoch).unwrap_or(i32::MAX),
        last_sequence: view.sequence.map_or(-1, u32::cast_signed),
        last_timestamp: view.at.0.cast_signed(),
        transaction_start_offset: view.open_from.map_or(-1, u64::cast_signed),
    }
}

impl Face {
    /// Asks a snapshot.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&dyn Reader, &str) -> T + Send + 'static,
    ) -> Result<T, (i16, String)> {
        let namespace = self.config.namespace.clone();
        let read =
            self.node.read(&self.config.namespace, move |reader, _| look(reader, &namespace));
        read.await.map_err(|why| of_unavailable(&why))
    }

    pub(super) async fn describe_producers(&self, reply: &mut Reply, request: ProducersRequest) {
        let mut topics: Vec<Topic<AskedPartition>> = Vec::new();
        // Each once: a partition is told with all of its producers.
        let mut told = BTreeSet::new();
        for mut topic in request.topics {
            topic.partitions.retain(|index| told.insert((topic.name.clone(), *index)));
            let stream = self.stream_as(LOOK, &topic.name);
            let found = |index: i32| {
                let found = stream.as_ref().map_err(|code| *code);
                let found = found.and_then(|stream| Ok(partition(stream, index)?.id()));
                (index, found.map_err(|code| (code, "there is no such partition".to_owned())))
            };
            let partitions = topic.partitions.into_iter().map(found).collect();
            topics.push(Topic { name: topic.name, partitions });
        }
        let asked = topics.iter().flat_map(|topic| &topic.partitions);
        let ids: BTreeSet<_> = asked.filter_map(|(_, id)| id.as_ref().ok().copied()).collect();
        let found = self.look(move |reader, _| {
            let (mut found, mut left) = (BTreeMap::new(), TOLD_MAX);
            for id in ids {
                let (producers, more) = query::producers(reader, id, left);
                left -= producers.len();
                found.insert(id, (!more).then_some(producers));
            }
            found
        });
        let found = found.await;
        let of = |id: PartitionId| match &found {
            Ok(found) => match found.get(&id).cloned().flatten() {
                Some(producers) => Ok(producers.iter().map(told_producer).collect()),
                None => Err((
                    codes::POLICY_VIOLATION,
                    format!("an answer tells of {TOLD_MAX} producers at most"),
                )),
            },
            Err(error) => Err(error.clone()),
        };
        let topics = topics.into_iter().map(|topic| {
            let result =
                |(index, id): AskedPartition| ProducersResult { index, producers: id.and_then(of) };
            Topic {
                partitions: topic.partitions.into_iter().map(result).collect(),
                name: topic.name,
            }
        });
        put_producers(reply, &topics.collect::<Vec<_>>());
    }

    pub(super) async fn describe_transactions(
        &self,
        reply: &mut Reply,
        request: TransactionsRequest,
    ) {
        let mut ids = request.ids;
        let mut once = BTreeSet::new();
        ids.retain(|id| once.insert(id.clone()));
        let beyond = ids.split_off(ids.len().min(ASKED_MAX));
        let mine: Vec<String> = ids.iter().filter(|id| self.has(PUBLISH, id)).cloned().collect();
        let found = self.look(move |reader, namespace| {
            let find = |id: String| {
                let found = query::transaction(reader, namespace, &id);
                (id, found)
            };
            mine.into_iter().map(find).collect::<BTreeMap<_, _>>()
        });
        let found = found.await;
        let any_open = found
            .iter()
            .flatten()
            .any(|(_, it)| it.as_ref().is_some_and(|(_, partitions)| !partitions.is_empty()));
        let places = if any_open { self.places() } else { BTreeMap::new() };
        let of = |id: String| {
            let refused = |error| TransactionState { error, ..TransactionState::default() };
            let state = match &found {
                Err((code, _)) => refused(*code),
                Ok(found) => match found.get(&id) {
                    None => refused(codes::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
                    Some(None) => refused(codes::TRANSACTIONAL_ID_NOT_FOUND),
                    Some(Some((view, partitions))) => {
                        told(view.clone(), topics_of(&places, partitions))
                    }
                },
            };
            TransactionState { id, ..state }
        };
        let too_many = |id| TransactionState {
            id,
            error: codes::POLICY_VIOLATION,
            ..TransactionState::default()
        };
        let told = ids.into_iter().map(of).chain(beyond.into_iter().map(too_many));
        put_transactions(reply, &told.collect::<Vec<_>>());
    }

    /// The stream and the index of each partition.
    fn places(&self) -> BTreeMap<PartitionId, (String, i32)> {
        let Ok(log) = self.log() else { return BTreeMap::new() };
        let mut places = BTreeMap::new();
        for stream in log.streams(&self.config.namespace) {
            for (index, partition) in (0..).zip(&stream.partitions) {
                places.insert(partition.id(), (stream.name.clone(), index));
            }
        }
        places
    }

    pub(super) async fn list_transactions(
        &self,
        reply: &mut Reply,
        request: ListTransactionsRequest,
    ) {
        let ListTransactionsRequest { states, producer_ids, open_longer_ms } = request;
        let unknown: Vec<_> =
            states.iter().filter(|state| !STATES.contains(&state.as_str())).collect();
        let namespace = self.config.namespace.clone();
        let look = move |reader: &dyn Reader, now| (query::transactions(reader, &namespace), now);
        let (error, (found, now)) = match self.node.read(&self.config.namespace, look).await {
            Ok(found) => (codes::NONE, found),
            Err(why) => (of_unavailable(&why).0, (Vec::new(), TimeMs(0))),
        };
        let producers: BTreeSet<i64> = producer_ids.into_iter().collect();
        let of = |view: TransactionView| {
            let told = told(view, Vec::new());
            let long = told.start_ms >= 0 && now.0.cast_signed() - told.start_ms > open_longer_ms;
            let wanted = (states.is_empty() || states.iter().any(|state| state == told.state))
                && (producers.is_empty() || producers.contains(&told.producer_id))
                && (open_longer_ms < 0 || long)
                && self.has(PUBLISH, &told.id);
            wanted.then_some(told)
        };
        let found: Vec<_> = found.into_iter().filter_map(of).collect();
        put_transaction_list(reply, error, &unknown, &found);
    }
}

/// Partitions by their topics. Of one that was deleted nothing is told.
fn topics_of(
    places: &BTreeMap<PartitionId, (String, i32)>,
    partitions: &[PartitionId],
) -> Vec<Topic<i32>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (name, index) in partitions.iter().filter_map(|id| places.get(id)) {
        topics.entry(name).or_default().push(*index);
    }
    let topic = |(name, partitions): (&str, Vec<i32>)| Topic { name: name.to_owned(), partitions };
    topics.into_iter().map(topic).collect()
}
