//! Holds: no job with a tag is handed over of which somebody was told that it is held, until
//! somebody tries to let it go; and who stands aside for a tag is there, waits, and has it.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::wire::Wire;
use longshore_engine::{Answer, Command, HoldAnswer, HoldCommand, JobId, JobView};

use super::Check;
use crate::map::SimTree;
use crate::random::Random;

/// The first bytes of keys, as the engine's catalogue of keys has them.
const HELD_BACK_KEY_FIRST: u8 = 174;
pub(crate) const HELD_BACK_JOB_KEY_FIRST: u8 = 175;

pub(crate) const TAGS: [&str; 2] = ["shard=1", "shard=2"];

pub(crate) fn sample(random: &mut Random) -> Command {
    let tag = (*random.pick(&TAGS)).to_owned();
    let wait_ms = if random.percent(50) { random.below(20_000) } else { 0 };
    Command::Holds(match random.below(8) {
        0 => HoldCommand::Get { tag, wait_ms },
        1..6 => HoldCommand::Delete { tag },
        _ => HoldCommand::Put { tag, reason: None, wait_ms },
    })
}

/// The number of a namespace, and a tag.
type HoldKey = (usize, String);

/// What is known of holds.
#[derive(Debug, Default)]
pub(crate) struct KnownHolds {
    held: BTreeSet<HoldKey>,
    /// Attempts to let a tag go of which nobody heard yet.
    untold: BTreeMap<HoldKey, u32>,
    /// The epochs that somebody was told, by namespace, and of which tag each is.
    epochs: BTreeMap<(usize, u64), String>,
}

impl KnownHolds {
    /// From now on the tag may be let go.
    pub(crate) fn tried(&mut self, namespace: usize, command: &HoldCommand) {
        if let HoldCommand::Delete { tag } = command {
            let key = (namespace, tag.clone());
            self.held.remove(&key);
            *self.untold.entry(key).or_default() += 1;
        }
    }

    /// What the server said.
    pub(crate) fn told(
        &mut self,
        namespace: usize,
        command: &HoldCommand,
        answer: &Answer,
    ) -> Check {
        match command {
            HoldCommand::Delete { tag } => {
                let untold = self.untold.entry((namespace, tag.clone())).or_default();
                *untold = untold.saturating_sub(1);
            }
            HoldCommand::Put { tag, .. } => {
                let Answer::Holds(HoldAnswer::Hold(view)) = answer else { return Ok(()) };
                let key = (namespace, tag.clone());
                if self.untold.get(&key).is_none_or(|untold| *untold == 0) {
                    self.held.insert(key);
                }
                let epoch = view.hold.epoch;
                let of = self.epochs.entry((namespace, epoch)).or_insert_with(|| tag.clone());
                if of != tag {
                    return Err(format!("epoch {epoch} is that of {of} and of {tag}"));
                }
            }
            HoldCommand::Get { .. } | HoldCommand::List => {}
        }
        Ok(())
    }

    /// Whether a job is handed over although a tag of it is held.
    pub(crate) fn check(&self, namespace: usize, id: JobId, tags: &[String]) -> Check {
        match tags.iter().find(|tag| self.held.contains(&(namespace, (*tag).clone()))) {
            Some(tag) => Err(format!("job {id} was handed over, and its tag {tag} is held")),
            None => Ok(()),
        }
    }
}

/// Which jobs stand aside for tags.
pub(crate) fn held_back(map: &SimTree) -> BTreeSet<JobId> {
    let keys = map.entries.range(vec![HELD_BACK_JOB_KEY_FIRST]..vec![HELD_BACK_JOB_KEY_FIRST + 1]);
    let id = |key: &[u8]| key.get(5..21).and_then(|id| id.try_into().ok()).map(JobId);
    keys.filter_map(|(key, _)| id(key)).collect()
}

/// Each job that stands aside waits and has the tag, and stands in the index of that tag.
pub(crate) fn check(map: &SimTree, jobs: &[JobView]) -> Check {
    let by_id: BTreeMap<JobId, &JobView> = jobs.iter().map(|view| (view.job.id, view)).collect();
    let own = map.entries.range(vec![HELD_BACK_JOB_KEY_FIRST]..vec![HELD_BACK_JOB_KEY_FIRST + 1]);
    let mut expected = BTreeSet::new();
    for (key, value) in own {
        let tag = String::from_bytes(value).map_err(|error| format!("a tag: {error}"))?;
        let (ns, id) = key.get(1..).unwrap_or_default().split_at(4);
        let job = id.try_into().ok().map(JobId).and_then(|id| by_id.get(&id));
        let Some(view) = job else {
            return Err(format!("{id:02x?} stands aside and is not there"));
        };
        let waits = view.job.phase.is_unfinished() && view.lease.is_none();
        if !waits || !view.job.options.tags.contains(&tag) {
            let (id, state) = (view.job.id, view.state());
            return Err(format!("job {id} is {state:?} and stands aside for {tag}"));
        }
        let length = (tag.len() as u16).to_be_bytes();
        expected.insert([ns, &length, tag.as_bytes(), id].concat());
    }
    let index = map.entries.range(vec![HELD_BACK_KEY_FIRST]..vec![HELD_BACK_KEY_FIRST + 1]);
    let found: BTreeSet<Vec<u8>> = index.map(|(key, _)| key[1..].to_vec()).collect();
    if found == expected {
        return Ok(());
    }
    Err(format!("{} jobs stand aside, and {} are in the index", expected.len(), found.len()))
}
