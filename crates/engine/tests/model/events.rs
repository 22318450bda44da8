//! Commands about streams, drawn from a seed.

use bytes::Bytes;
use longshore_engine::{
    AppendBatch, AppendedKey, CommittedOffset, KeyToAppend, OffsetToCommit, PartitionId,
    ProducerStamp, StreamCommand, StreamSettings,
};

use crate::random::Random;
use crate::reference::Reference;

const STREAMS: [&str; 3] = ["orders", "clicks", "\u{1}"];
const KEYS: [&str; 3] = ["a", "b", "a longer one"];
const GROUPS: [&str; 2] = ["g", "billing"];

pub(crate) fn command(random: &mut Random, known: &Reference) -> StreamCommand {
    let stream = (*random.pick(&STREAMS)).to_owned();
    let group = (*random.pick(&GROUPS)).to_owned();
    match random.below(20) {
        0 | 1 => {
            let partitions = random.below(6) as u32;
            StreamCommand::Create { stream, partitions, settings: settings(random) }
        }
        2 => StreamCommand::Change { stream, settings: settings(random) },
        3 => StreamCommand::AddPartitions { stream, partitions: random.below(6) as u32 },
        4 if random.percent(50) => StreamCommand::Delete { stream },
        4 | 5 => StreamCommand::Trim {
            partition: partition(random, known),
            start: random.percent(80).then(|| random.below(40)),
        },
        6 => StreamCommand::TakeProducerId,
        7..10 => {
            let offsets = (0..random.below(6)).map(|_| offset(random)).collect();
            StreamCommand::CommitOffsets { group, offsets }
        }
        10 | 11 => {
            let asked = |random: &mut Random| {
                let stream = (*random.pick(&STREAMS)).to_owned();
                (stream, vec![random.below(4) as u32, random.below(4) as u32])
            };
            let of = random.percent(60).then(|| vec![asked(random), asked(random)]);
            StreamCommand::GetOffsets { group, of }
        }
        12 if random.percent(50) => StreamCommand::ForgetGroup { group },
        _ => {
            let batches = (0..random.below(4)).map(|_| batch(random, known)).collect();
            StreamCommand::Append(batches)
        }
    }
}

fn settings(random: &mut Random) -> StreamSettings {
    let batch_bytes_max = if random.percent(70) { 1000 } else { 20 };
    let retention_bytes = random.percent(50).then_some(100);
    let count_keys = random.percent(40);
    StreamSettings { batch_bytes_max, retention_bytes, count_keys, ..StreamSettings::default() }
}

fn partition(random: &mut Random, known: &Reference) -> PartitionId {
    let known = known.partitions();
    if known.is_empty() || random.percent(10) {
        return PartitionId(random.below(20));
    }
    *random.pick(&known)
}

fn batch(random: &mut Random, known: &Reference) -> AppendBatch {
    let events = 1 + random.below(3) as u32;
    let producer = random.percent(70).then(|| ProducerStamp {
        id: random.below(2),
        epoch: if random.percent(90) { 0 } else { random.below(3) as u32 },
        sequence: random.below(8) as u32,
    });
    let batch = Bytes::from(vec![b'e'; 1 + random.below(30) as usize]);
    AppendBatch {
        partition: partition(random, known),
        events,
        producer,
        transactional: false,
        batch,
        keys: keys(random, events),
    }
}

/// The keys of so many events; now and then not all of them.
fn keys(random: &mut Random, events: u32) -> Vec<KeyToAppend> {
    let mut keys: Vec<KeyToAppend> = Vec::new();
    for index in 0..events {
        let key = Bytes::from_static(random.pick(&KEYS).as_bytes());
        if let Some(known) = keys.iter_mut().find(|it| it.appended.key == key) {
            known.appended.events += 1;
            known.appended.last = index;
            continue;
        }
        let appended = AppendedKey { key, events: 1, first: index, last: index };
        let expected = random.percent(40).then(|| random.below(4));
        keys.push(KeyToAppend { appended, expected });
    }
    if random.percent(5) {
        keys.pop();
    }
    keys
}

fn offset(random: &mut Random) -> OffsetToCommit {
    OffsetToCommit {
        stream: (*random.pick(&STREAMS)).into(),
        partition: random.below(4) as u32,
        committed: CommittedOffset {
            offset: random.below(50),
            leader_epoch: random.percent(50).then_some(0),
            metadata: "m".repeat(random.below(10) as usize),
        },
    }
}
