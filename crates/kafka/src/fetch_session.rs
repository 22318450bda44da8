//! Fetch sessions (KIP-227): what a consumer wants of many partitions is said once and kept here,
//! and answers tell of those only that have changed. Bounded: who finds no room for a session, or
//! whose session was let go for another one, goes on without.

use std::collections::{BTreeMap, BTreeSet};

use crate::codes;
use crate::message::fetch::{
    FetchPartition, FetchTopic, PartitionResult, Request, TopicKey, TopicResult,
};

/// Sessions at a time, as Kafka has them.
const SESSIONS_MAX: usize = 1000;
/// Partitions of all sessions.
const PARTITIONS_MAX: usize = 50_000;
/// Bytes of the name of a topic; there is none with a longer one.
const NAME_BYTES_MAX: usize = 249;
/// A session that was not used for so long makes room for another one, in milliseconds.
const IDLE_MS: u64 = 120_000;

/// All fetch sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    last_id: i32,
    partitions: usize,
    all: BTreeMap<i32, Session>,
}

#[derive(Debug)]
struct Session {
    /// The epoch of the next request.
    epoch: i32,
    used_ms: u64,
    /// In the order in which they are looked at: what was told of goes to the end.
    wanted: Vec<Wanted>,
}

#[derive(Clone, Debug)]
struct Wanted {
    topic: TopicKey,
    partition: FetchPartition,
    /// High watermark, last stable offset and beginning that were told last.
    told: Option<(i64, i64, i64)>,
}

/// What a request has the server do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    /// The session that it is in; 0 for none.
    pub id: i32,
    /// Whether only what has changed is told.
    pub incremental: bool,
    /// What is to be read, in this order.
    pub topics: Vec<FetchTopic>,
}

impl Sessions {
    /// What is to be read for a request, or the code that refuses it.
    pub fn begin(&mut self, now_ms: u64, request: &mut Request) -> Result<Plan, i16> {
        let topics = std::mem::take(&mut request.topics);
        match (request.session_id, request.session_epoch) {
            (id, -1) => {
                self.close(id);
                Ok(Plan { id: 0, incremental: false, topics })
            }
            (id, 0) => {
                self.close(id);
                let id = self.open(now_ms, &topics);
                Ok(Plan { id, incremental: false, topics })
            }
            (id, epoch) => {
                let session = self.all.get_mut(&id).ok_or(codes::FETCH_SESSION_ID_NOT_FOUND)?;
                if session.epoch != epoch {
                    return Err(codes::INVALID_FETCH_SESSION_EPOCH);
                }
                if !are_names(&topics) {
                    return Err(codes::INVALID_TOPIC_EXCEPTION);
                }
                let before = session.wanted.len();
                session.change(topics, &request.forgotten);
                session.used_ms = now_ms;
                session.epoch = epoch.checked_add(1).unwrap_or(1);
                let topics = session.topics();
                self.partitions = self.partitions - before + session.wanted.len();
                if self.partitions > PARTITIONS_MAX {
                    self.close(id);
                    return Err(codes::FETCH_SESSION_ID_NOT_FOUND);
                }
                Ok(Plan { id, incremental: true, topics })
            }
        }
    }

    /// Begins a session, if there is room for it. Answers its number, or 0.
    fn open(&mut self, now_ms: u64, topics: &[FetchTopic]) -> i32 {
        let mut wanted: Vec<Wanted> = Vec::new();
        if !are_names(topics) {
            return 0;
        }
        for topic in topics {
            let key = (topic.name.clone(), topic.id);
            let want = |it: &FetchPartition| Wanted {
                topic: key.clone(),
                partition: it.clone(),
                told: None,
            };
            wanted.extend(topic.partitions.iter().map(want));
        }
        let crowded = self.all.len() >= SESSIONS_MAX;
        if crowded || self.partitions + wanted.len() > PARTITIONS_MAX {
            let idle = self.all.iter().min_by_key(|(_, session)| session.used_ms);
            let idle = idle.filter(|(_, session)| session.used_ms + IDLE_MS <= now_ms);
            if let Some(id) = idle.map(|(id, _)| *id) {
                self.close(id);
            }
        }
        if self.all.len() >= SESSIONS_MAX || self.partitions + wanted.len() > PARTITIONS_MAX {
            return 0;
        }
        // Numbers come round in years; one that is taken until then is passed over.
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.all.contains_key(&self.last_id) {
                break;
            }
        }
        self.partitions += wanted.len();
        self.all.insert(self.last_id, Session { epoch: 1, used_ms: now_ms, wanted });
        self.last_id
    }

    fn close(&mut self, id: i32) {
        if let Some(session) = self.all.remove(&id) {
            self.partitions -= session.wanted.len();
        }
    }

    /// What is told of what was read, each result with the index of its topic in the plan.
    pub fn end(&mut self, plan: &Plan, results: Vec<(usize, PartitionResult)>) -> Vec<TopicResult> {
        let Some(session) = self.all.get_mut(&plan.id) else {
            return by_topic(&plan.topics, results);
        };
        // Those that were read are those of the plan, unless another request has come meanwhile.
        let places = session.places();
        let place_of = |(topic, result): &(usize, PartitionResult)| {
            let of = plan.topics.get(*topic)?;
            places.get(&(of.name.as_str(), of.id, result.index)).copied()
        };
        let found: Vec<Option<usize>> = results.iter().map(place_of).collect();
        let (mut told, mut last) = (Vec::with_capacity(results.len()), Vec::new());
        for ((topic, result), place) in results.into_iter().zip(found) {
            let now = (result.high_watermark, result.stable, result.log_start);
            let wanted = place.and_then(|place| session.wanted.get_mut(place));
            let same = wanted.as_ref().is_some_and(|wanted| wanted.told == Some(now));
            let plain = result.error == codes::NONE && result.records.is_empty();
            if let Some(wanted) = wanted {
                wanted.told = (result.error == codes::NONE).then_some(now);
            }
            if !result.records.is_empty() {
                last.extend(place);
            }
            if !(plan.incremental && plain && same) {
                told.push((topic, result));
            }
        }
        session.put_last(&last);
        by_topic(&plan.topics, told)
    }
}

impl Session {
    /// Where each partition stands, by topic and index.
    fn places(&self) -> BTreeMap<(&str, [u8; 16], i32), usize> {
        let place = |(place, it): (usize, &'_ Wanted)| (place, it.partition.index);
        let of = self.wanted.iter().map(|it| (it.topic.0.as_str(), it.topic.1));
        let places = self.wanted.iter().enumerate().map(place);
        of.zip(places).map(|((name, id), (place, index))| ((name, id, index), place)).collect()
    }

    /// What is to be read, partitions of a topic that follow one another together.
    fn topics(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for Wanted { topic: (name, id), partition, .. } in &self.wanted {
            match topics.last_mut() {
                Some(last) if (&last.name, &last.id) == (name, id) => {
                    last.partitions.push(partition.clone());
                }
                _ => {
                    let (name, id, partitions) = (name.clone(), *id, vec![partition.clone()]);
                    topics.push(FetchTopic { name, id, partitions });
                }
            }
        }
        topics
    }

    fn change(&mut self, topics: Vec<FetchTopic>, forgotten: &[(TopicKey, Vec<i32>)]) {
        if !forgotten.is_empty() {
            let gone: BTreeSet<(&TopicKey, i32)> = forgotten
                .iter()
                .flat_map(|(topic, indexes)| indexes.iter().map(move |index| (topic, *index)))
                .collect();
            self.wanted.retain(|it| !gone.contains(&(&it.topic, it.partition.index)));
        }
        let places = self.places();
        let (mut changed, mut new) = (Vec::new(), BTreeMap::new());
        for topic in topics {
            for partition in topic.partitions {
                let key = (topic.name.as_str(), topic.id, partition.index);
                if let Some(place) = places.get(&key) {
                    changed.push((*place, partition));
                } else {
                    let key = ((topic.name.clone(), topic.id), partition.index);
                    new.insert(key, partition);
                }
            }
        }
        for (place, partition) in changed {
            if let Some(wanted) = self.wanted.get_mut(place) {
                wanted.partition = partition;
            }
        }
        let added = |((topic, _), partition)| Wanted { topic, partition, told: None };
        self.wanted.extend(new.into_iter().map(added));
    }

    /// Those at these places come last from now on, so that the others have their turn.
    fn put_last(&mut self, places: &[usize]) {
        if places.is_empty() {
            return;
        }
        let places: BTreeSet<usize> = places.iter().copied().collect();
        let (mut first, mut last) = (Vec::with_capacity(self.wanted.len()), Vec::new());
        for (place, wanted) in self.wanted.drain(..).enumerate() {
            if places.contains(&place) { last.push(wanted) } else { first.push(wanted) }
        }
        first.append(&mut last);
        self.wanted = first;
    }
}

/// Whether these may be names of topics.
fn are_names(topics: &[FetchTopic]) -> bool {
    topics.iter().all(|topic| topic.name.len() <= NAME_BYTES_MAX)
}

/// Results with the topics that they are of; topics without results are not told.
fn by_topic(topics: &[FetchTopic], results: Vec<(usize, PartitionResult)>) -> Vec<TopicResult> {
    let mut told: Vec<TopicResult> = Vec::new();
    let mut places: BTreeMap<TopicKey, usize> = BTreeMap::new();
    for (topic, result) in results {
        let Some(FetchTopic { name, id, .. }) = topics.get(topic) else { continue };
        let place = *places.entry((name.clone(), *id)).or_insert_with(|| {
            told.push(TopicResult { name: name.clone(), id: *id, partitions: Vec::new() });
            told.len() - 1
        });
        if let Some(topic) = told.get_mut(place) {
            topic.partitions.push(result);
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn request((session_id, session_epoch): (i32, i32), wants: &[(&str, i32, i64)]) -> Request {
        let topic = |(name, index, offset): &(&str, i32, i64)| FetchTopic {
            name: (*name).to_owned(),
            id: [0; 16],
            partitions: vec![FetchPartition {
                index: *index,
                leader_epoch: -1,
                offset: *offset,
                max_bytes: 100,
            }],
        };
        Request {
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: 0,
            committed: false,
            session_id,
            session_epoch,
            topics: wants.iter().map(topic).collect(),
            forgotten: Vec::new(),
        }
    }

    fn wants(plan: &Plan) -> Vec<(String, i32, i64)> {
        let of = |topic: &FetchTopic| {
            let partition = &topic.partitions[0];
            (topic.name.clone(), partition.index, partition.offset)
        };
        plan.topics.iter().map(of).collect()
    }

    /// Reads: each partition ends at `end` and has so many bytes.
    fn read(plan: &Plan, of: impl Fn(&str, i32) -> (i64, usize)) -> Vec<(usize, PartitionResult)> {
        let one = |(place, topic): (usize, &FetchTopic)| {
            let index = topic.partitions[0].index;
            let (end, bytes) = of(&topic.name, index);
            let result = PartitionResult {
                index,
                error: 0,
                high_watermark: end,
                stable: end,
                aborted: None,
                log_start: 0,
                records: Bytes::from(vec![0; bytes]),
            };
            (place, result)
        };
        plan.topics.iter().enumerate().map(one).collect()
    }

    fn names(told: &[TopicResult]) -> Vec<(&str, usize)> {
        told.iter().map(|topic| (topic.name.as_str(), topic.partitions.len())).collect()
    }

    #[test]
    fn a_session_is_told_once_what_is_wanted_and_tells_what_has_changed() {
        let mut sessions = Sessions::default();
        let all = [("a", 0, 5), ("b", 0, 7), ("c", 0, 0)];
        let plan = sessions.begin(0, &mut request((0, 0), &all)).unwrap();
        let id = plan.id;
        assert!(id > 0 && !plan.incremental);
        let results = read(&plan, |_, _| (9, 0));
        assert_eq!(names(&sessions.end(&plan, results)), [("a", 1), ("b", 1), ("c", 1)]);
        // Nothing new; then one has events, which goes to the end; then another one has an end.
        let plan = sessions.begin(1, &mut request((id, 1), &[])).unwrap();
        assert_eq!(wants(&plan).len(), 3);
        let results = read(&plan, |_, _| (9, 0));
        assert_eq!(names(&sessions.end(&plan, results)), []);
        let plan = sessions.begin(2, &mut request((id, 2), &[])).unwrap();
        let results = read(&plan, |name, _| (9, usize::from(name == "a")));
        assert_eq!(names(&sessions.end(&plan, results)), [("a", 1)]);
        let mut changed = request((id, 3), &[("a", 0, 6)]);
        changed.forgotten = vec![(("c".to_owned(), [0; 16]), vec![0])];
        let plan = sessions.begin(3, &mut changed).unwrap();
        assert_eq!(wants(&plan), [("b".to_owned(), 0, 7), ("a".to_owned(), 0, 6)]);
        let results = read(&plan, |name, _| (if name == "b" { 10 } else { 9 }, 0));
        assert_eq!(names(&sessions.end(&plan, results)), [("b", 1)]);
        let late = sessions.begin(4, &mut request((id, 3), &[]));
        assert_eq!(late, Err(codes::INVALID_FETCH_SESSION_EPOCH));
        sessions.begin(5, &mut request((id, -1), &all)).unwrap();
        let gone = sessions.begin(6, &mut request((id, 4), &[]));
        assert_eq!((gone, sessions.partitions), (Err(codes::FETCH_SESSION_ID_NOT_FOUND), 0));
    }

    #[test]
    fn sessions_are_bounded_and_idle_ones_make_room() {
        let mut sessions = Sessions::default();
        for _ in 0..SESSIONS_MAX {
            assert!(sessions.begin(0, &mut request((0, 0), &[("a", 0, 0)])).unwrap().id > 0);
        }
        let full = sessions.begin(IDLE_MS - 1, &mut request((0, 0), &[("a", 0, 0)])).unwrap();
        assert_eq!((full.id, full.topics.len()), (0, 1), "it goes on without");
        assert!(sessions.begin(IDLE_MS, &mut request((0, 0), &[("a", 0, 0)])).unwrap().id > 0);
        assert_eq!(sessions.all.len(), SESSIONS_MAX);
    }
}
