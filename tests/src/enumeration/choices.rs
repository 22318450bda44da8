//! Which of the folders that a crash at one moment may leave are looked at: all, where little was
//! under way, else the extremes and a sample.

use std::collections::BTreeMap;

use super::files::{Change, Files, Id, Node};
use super::image::{Choice, Fate, Tear};
use crate::random::Random;

/// With up to so many changes of files under way, every subset of them is taken.
const SUBSETS_OF_MAX: usize = 4;
/// So many ways to cut the changes of names are taken at most.
const NAMINGS_MAX: usize = 24;
/// So many of the last writes are torn.
const TORN_MAX: usize = 6;

/// What is under way at one moment.
#[derive(Debug, Default)]
struct UnderWay {
    /// Changes of files: which of which file.
    changes: Vec<(Id, usize)>,
    /// The writes among them.
    writes: Vec<(Id, usize)>,
    /// How many changes of names each folder has.
    names: Vec<(Id, usize)>,
}

/// What crashes at this moment may leave, of which `samples` are drawn by chance.
pub fn choices(files: &Files, samples: usize, random: &mut Random) -> Vec<Choice> {
    let under_way = UnderWay::of(files);
    let mut all = vec![Choice::all(Fate::Lost), Choice::all(Fate::Kept)];
    if under_way.changes.is_empty() && under_way.names.is_empty() {
        all.truncate(1);
        return all;
    }
    for names in under_way.namings(random) {
        for fate in [Fate::Lost, Fate::Kept] {
            all.push(Choice { names: names.clone(), ..Choice::all(fate) });
        }
    }
    if under_way.changes.len() <= SUBSETS_OF_MAX {
        for subset in 0..1_usize << under_way.changes.len() {
            let kept =
                under_way.changes.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1);
            let fates = kept.map(|(_, change)| (*change, Fate::Kept)).collect();
            let names = under_way.names.iter().copied().collect();
            all.push(Choice { fates, names, fate: Fate::Lost });
        }
    }
    for write in under_way.writes.iter().rev().take(TORN_MAX) {
        for tear in Tear::ALL {
            let fates = BTreeMap::from([(*write, Fate::Torn(tear, random.number()))]);
            all.push(Choice { fates: fates.clone(), ..Choice::all(Fate::Kept) });
            let names = under_way.some_names(random);
            all.push(Choice { fates, names, fate: Fate::Lost });
        }
    }
    all.extend((0..samples).map(|_| under_way.any(random)));
    all
}

impl UnderWay {
    fn of(files: &Files) -> Self {
        let mut under_way = Self::default();
        let mut reached = vec![0];
        let mut seen = vec![false; files.nodes.len()];
        while let Some(id) = reached.pop() {
            if std::mem::replace(&mut seen[id], true) {
                continue;
            }
            match &files.nodes[id] {
                Node::File(file) => {
                    for (index, (_, change)) in file.pending.iter().enumerate() {
                        under_way.changes.push((id, index));
                        if matches!(change, Change::Write { .. }) {
                            under_way.writes.push((id, index));
                        }
                    }
                }
                Node::Folder(folder) => {
                    if !folder.pending.is_empty() {
                        under_way.names.push((id, folder.pending.len()));
                    }
                    reached.extend(folder.possible());
                }
            }
        }
        under_way
    }

    /// Ways to cut the changes of names: all of them, or some.
    fn namings(&self, random: &mut Random) -> Vec<BTreeMap<Id, usize>> {
        let ways =
            self.names.iter().fold(1_usize, |ways, (_, count)| ways.saturating_mul(count + 1));
        if ways > NAMINGS_MAX {
            return (0..NAMINGS_MAX).map(|_| self.some_names(random)).collect();
        }
        let way = |mut way: usize| {
            let cut = |(id, count): &(Id, usize)| {
                let kept = way % (count + 1);
                way /= count + 1;
                (*id, kept)
            };
            self.names.iter().map(cut).collect()
        };
        (0..ways).map(way).collect()
    }

    fn some_names(&self, random: &mut Random) -> BTreeMap<Id, usize> {
        let cut = |(id, count): &(Id, usize)| (*id, random.below(*count as u64 + 1) as usize);
        self.names.iter().map(cut).collect()
    }

    fn any(&self, random: &mut Random) -> Choice {
        let names = self.some_names(random);
        let tears = Tear::ALL.len() as u64;
        let fate = |random: &mut Random| match random.below(3) {
            0 => Fate::Lost,
            1 => Fate::Kept,
            _ => Fate::Torn(Tear::ALL[random.below(tears) as usize], random.number()),
        };
        let fates = self.changes.iter().map(|change| (*change, fate(random))).collect();
        Choice { fate: Fate::Lost, fates, names }
    }
}
