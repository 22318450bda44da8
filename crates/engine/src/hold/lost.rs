//! Runs that ended without their workers while a tag of theirs was held: how many, and details of
//! the first of them. Only so many are kept that the end of a hold, or of a namespace, can remove
//! them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::{LostRun, RUNS_TOLD_MAX};
use crate::ids::{JobId, NamespaceId};
use crate::job::{Job, Lease};
use crate::state::{State, count, keys};
use crate::wire::Wire;

/// Lost runs that are kept of all holds of a namespace.
pub(super) const KEPT_OF_NAMESPACE_MAX: u64 = 10_000;

/// How many there are of each hold.
#[derive(Debug, Default)]
pub(super) struct LostRuns {
    of_tags: BTreeMap<(NamespaceId, String), Lost>,
    /// How many are kept of each namespace.
    kept: BTreeMap<NamespaceId, u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Lost {
    runs: u64,
    /// How many of these have a key.
    kept: u64,
}

impl LostRuns {
    /// How many runs with a tag were lost since it is held.
    pub(super) fn count(&self, ns: NamespaceId, tag: &str) -> u64 {
        self.of(ns, tag).runs
    }

    fn of(&self, ns: NamespaceId, tag: &str) -> Lost {
        self.of_tags.get(&(ns, tag.to_owned())).copied().unwrap_or_default()
    }

    fn has_room(&self, ns: NamespaceId, tag: &str) -> bool {
        self.of(ns, tag).kept < RUNS_TOLD_MAX as u64
            && self.kept.get(&ns).is_none_or(|kept| *kept < KEPT_OF_NAMESPACE_MAX)
    }

    /// A run was lost, and kept or not.
    fn add(&mut self, ns: NamespaceId, tag: &str, kept: bool) -> Lost {
        let lost = self.of_tags.entry((ns, tag.to_owned())).or_default();
        lost.runs += 1;
        lost.kept += u64::from(kept);
        if kept {
            *self.kept.entry(ns).or_default() += 1;
        }
        *lost
    }

    /// The hold has gone.
    fn forget(&mut self, ns: NamespaceId, tag: &str) {
        let lost = self.of_tags.remove(&(ns, tag.to_owned())).unwrap_or_default();
        if lost.kept == 0 {
            // Its runs came when enough runs of others were kept. Those may have gone meanwhile.
            return;
        }
        let kept = self.kept.get_mut(&ns).expect("it counts what tags of it count");
        count::take(kept, lost.kept, "lost runs that are kept");
        if *kept == 0 {
            self.kept.remove(&ns);
        }
    }
}

impl State {
    /// A run has ended without its worker: where a tag of it is held, it is unaccounted.
    pub(crate) fn lose_track(&mut self, ns: NamespaceId, job: &Job, lease: &Lease) {
        if self.holds.count(ns) == 0 {
            return;
        }
        let lost = LostRun {
            token: lease.token,
            worker: lease.worker.to_string(),
            started_at: lease.started_at,
            ended_at: self.now(),
        };
        for tag in job.options.tags.iter().collect::<BTreeSet<_>>() {
            if self.holds.of(ns, tag).is_none() {
                continue;
            }
            let kept = self.holds.lost.has_room(ns, tag);
            if kept {
                self.put(&keys::lost_run(ns, tag, job.id), &lost);
            }
            let lost = self.holds.lost.add(ns, tag, kept);
            if lost.runs != lost.kept {
                self.put(&keys::lost_count(ns, tag), &lost.runs);
            }
        }
    }

    /// The runs that are kept of a hold, in the order of their jobs.
    pub(super) fn lost_runs(&self, ns: NamespaceId, tag: &str) -> Vec<(JobId, LostRun)> {
        let prefix = keys::lost_runs(ns, tag);
        let mut lost = Vec::new();
        self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, value| {
            let id = keys::id_at(key, prefix.len()).expect("a lost run is of a job");
            lost.push((id, LostRun::from_bytes(value).expect("encoded by this engine")));
            if lost.len() < RUNS_TOLD_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
        lost
    }

    /// The hold has gone, and with it what is kept of its runs.
    pub(super) fn forget_lost_runs(&mut self, ns: NamespaceId, tag: &str) {
        let known = self.holds.lost.of(ns, tag);
        if known.runs != known.kept {
            self.remove(&keys::lost_count(ns, tag));
        }
        if known.kept > 0 {
            let prefix = keys::lost_runs(ns, tag);
            let mut kept = Vec::new();
            self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, _| {
                kept.push(key.to_vec());
                ControlFlow::Continue(())
            });
            for key in kept {
                self.remove(&key);
            }
        }
        self.holds.lost.forget(ns, tag);
    }

    /// Counts them when a shard starts.
    pub(super) fn load_lost_runs(&mut self) {
        let of = |key: &[u8]| {
            let ns = keys::u32_at(key, 1).map(NamespaceId);
            let Some((ns, (tag, _))) = ns.zip(keys::text_at(key, 5)) else {
                panic!("key {key:02x?} in the state names no tag")
            };
            (ns, tag)
        };
        let mut lost = LostRuns::default();
        self.scan(&[keys::LOST_RUN], &[keys::LOST_RUN + 1], &mut |key, _| {
            let (ns, tag) = of(key);
            lost.add(ns, &tag, true);
            ControlFlow::Continue(())
        });
        for (key, runs) in self.each::<u64>(keys::LOST_COUNT) {
            lost.of_tags.entry(of(&key)).or_default().runs = runs;
        }
        self.holds.lost = lost;
    }
}
