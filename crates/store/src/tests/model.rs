//! The tree against a `BTreeMap`: random groups, rotations, flushes, compactions, snapshots and
//! reopens. Knows the public interface only.

use std::collections::BTreeMap;

use super::{Change, Model, Random, everything, tiny};
use crate::{Lsm, LsmConfig, SnapshotReader};
use bytes::Bytes;
use longshore_engine::{OrderedMap as _, Position, Reader};

impl Random {
    fn key(&mut self) -> Vec<u8> {
        let prefix = [1, 7, 2, 255][self.below(4) as usize];
        let number = self.below(300) as u16;
        let mut key = vec![prefix];
        key.extend(number.to_be_bytes());
        key.extend(vec![b'k'; self.below(2) as usize * 30]);
        key
    }

    fn value(&mut self) -> Bytes {
        let length = if self.below(25) == 0 { self.below(12_000) } else { self.below(400) };
        Bytes::from(vec![self.below(256) as u8; length as usize])
    }

    fn group(&mut self) -> Vec<Change> {
        let mut changes = BTreeMap::new();
        for _ in 0..self.below(60) {
            let value = (self.below(3) > 0).then(|| self.value());
            changes.insert(self.key(), value);
        }
        changes.into_iter().collect()
    }
}

/// Writes a group to both. Much of what is new to a key is said not to live for long.
fn write_both(lsm: &mut Lsm, model: &mut Model, position: Position, random: &mut Random) {
    for _ in 0..=random.below(3) {
        for (key, value) in random.group() {
            match &value {
                Some(value) if !model.contains_key(&key) && random.below(3) > 0 => {
                    lsm.put_brief(position, &key, value);
                }
                _ => lsm.put(position, &key, value.as_deref()),
            }
            model.put(position, &key, value.as_deref());
        }
    }
    lsm.seal(position);
}

fn check_same(map: &dyn Reader, model: &Model, random: &mut Random) {
    let all = everything(map, &[], &[255; 40], usize::MAX);
    assert_eq!(all, everything(model, &[], &[255; 40], usize::MAX));
    for _ in 0..20 {
        let (a, b) = (random.key(), random.key());
        assert_eq!(map.get(&a), Reader::get(model, &a), "key {a:?}");
        let limit = 1 + random.below(20) as usize;
        assert_eq!(everything(map, &a, &b, limit), everything(model, &a, &b, limit));
    }
}

fn run(seed: u64, steps: u32) {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(seed);
    let brief_keys_max = [5, 60, 1000][seed as usize % 3];
    let brief_bytes_max = 300 * brief_keys_max;
    let config = || LsmConfig { brief_keys_max, brief_bytes_max, ..tiny() };
    let mut lsm = Lsm::open(dir.path(), config()).unwrap();
    // The state at every position, as the journal would give it back.
    let mut states = BTreeMap::from([(Position::START, Model::new())]);
    let mut snapshots: Vec<SnapshotReader> = Vec::new();
    let mut known_durable = Position::START;
    for _ in 0..steps {
        match random.below(20) {
            0..=9 => {
                let position = lsm.position().advanced_by(1 + random.below(3));
                let mut model = states.last_key_value().unwrap().1.clone();
                write_both(&mut lsm, &mut model, position, &mut random);
                states.insert(position, model);
                if random.below(2) == 0 {
                    let known = known_durable.0.min(lsm.position().0);
                    let later = Position(known + random.below(lsm.position().0 - known + 1));
                    known_durable = *states.range(..=later).next_back().unwrap().0;
                    lsm.note_durable(known_durable);
                }
            }
            10..=12 => {
                let _ = lsm.rotate();
            }
            13..=14 => {
                let durable = Position(random.below(lsm.position().0 + 1));
                let persisted = lsm.flusher().flush_sealed(durable).unwrap();
                assert_eq!(persisted, lsm.persisted_position());
            }
            15 if random.below(2) == 0 => while lsm.flusher().compact().unwrap() {},
            15 => while lsm.flusher().sweep().unwrap() {},
            16..=17 => {
                // A client reads at a durable position, which is never below what was persisted.
                // Who reads may have heard of it late.
                let persisted = lsm.persisted_position();
                let durable =
                    Position(persisted.0 + random.below(lsm.position().0 - persisted.0 + 1));
                let at = *states.range(..=durable).next_back().unwrap().0;
                let snapshot = lsm.snapshots().at(at);
                assert_eq!(snapshot.position(), at.max(persisted).max(known_durable));
                snapshots.push(snapshot);
                if snapshots.len() > 4 {
                    snapshots.remove(random.below(5) as usize);
                }
            }
            18 => check_same(&lsm, &states[&lsm.position()], &mut random),
            _ => {
                if random.below(3) == 0 {
                    snapshots.clear();
                    let persisted = lsm.persisted_position();
                    drop(lsm);
                    lsm = Lsm::open(dir.path(), config()).unwrap();
                    assert_eq!(lsm.position(), persisted);
                    states.retain(|position, _| *position <= persisted);
                    known_durable = known_durable.min(persisted);
                    check_same(&lsm, &states[&persisted], &mut random);
                }
            }
        }
        if random.below(5) == 0 {
            for snapshot in &snapshots {
                check_same(snapshot, &states[&snapshot.position()], &mut random);
            }
        }
    }
    check_same(&lsm, &states[&lsm.position()], &mut random);
}

#[test]
fn random_histories_agree_with_a_btreemap() {
    let (seeds, steps) =
        if std::env::var_os("LONGSHORE_FULL").is_some() { (60, 500) } else { (12, 250) };
    for seed in 0..seeds {
        eprintln!("seed {seed}");
        run(seed, steps);
    }
}
