//! What memory knows of holds, and who stands aside for one. A job that stands aside has a key of
//! its own, and one in the index of its tag.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::{Hold, LostRun};
use crate::answer::BlockedBy;
use crate::ids::{JobId, NamespaceId};
use crate::job::{Job, Lease};
use crate::map::Reader;
use crate::state::{State, count, keys};
use crate::wire::Wire;

/// What memory holds of holds.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    standing: BTreeMap<NamespaceId, BTreeMap<String, Hold>>,
    /// Live leases with each tag, held or not: whoever holds one looks at none.
    running: BTreeMap<(NamespaceId, String), u64>,
    /// Tags that are held no longer and for which jobs stand aside still.
    letting_go: BTreeSet<(NamespaceId, String)>,
    /// Volatile: holds, by their epochs, with which nothing runs since they were last told.
    quiet: Vec<(NamespaceId, String, u64)>,
}

impl Holds {
    pub(super) fn of(&self, ns: NamespaceId, tag: &str) -> Option<&Hold> {
        self.standing.get(&ns)?.get(tag)
    }

    pub(super) fn running(&self, ns: NamespaceId, tag: &str) -> u64 {
        self.running.get(&(ns, tag.to_owned())).copied().unwrap_or_default()
    }

    /// How many holds a namespace has.
    pub(super) fn count(&self, ns: NamespaceId) -> usize {
        self.standing.get(&ns).map_or(0, BTreeMap::len)
    }

    /// Those with which nothing runs since they were last taken.
    pub(crate) fn take_quiet(&mut self) -> Vec<(NamespaceId, String, u64)> {
        std::mem::take(&mut self.quiet)
    }

    /// How many holds there are.
    pub(crate) fn total(&self) -> u64 {
        self.standing.values().map(|all| all.len() as u64).sum()
    }

    pub(super) fn tags(&self, ns: NamespaceId) -> impl Iterator<Item = &String> {
        self.standing.get(&ns).into_iter().flat_map(BTreeMap::keys)
    }

    /// The first of these tags that is held.
    pub(crate) fn held_of<'t>(&self, ns: NamespaceId, tags: &'t [String]) -> Option<&'t str> {
        let held = self.standing.get(&ns)?;
        tags.iter().find(|tag| held.contains_key(*tag)).map(String::as_str)
    }

    pub(super) fn to_let_go(&self) -> Option<&(NamespaceId, String)> {
        self.letting_go.first()
    }

    /// Whether jobs are to be let go.
    pub(crate) fn goes_on(&self) -> bool {
        !self.letting_go.is_empty()
    }

    /// A lease of a job with these tags is there, or has ended.
    pub(crate) fn count_lease(&mut self, ns: NamespaceId, tags: &[String], begins: bool) {
        for tag in tags.iter().collect::<BTreeSet<_>>() {
            let running = self.running.entry((ns, tag.clone()));
            if begins {
                *running.or_default() += 1;
                continue;
            }
            let Entry::Occupied(mut running) = running else {
                panic!("a lease with the tag {tag} ends that was not counted")
            };
            count::take(running.get_mut(), 1, "leases with a tag");
            if *running.get() == 0 {
                running.remove();
                if let Some(hold) = self.of(ns, tag) {
                    let epoch = hold.epoch;
                    self.quiet.push((ns, tag.clone(), epoch));
                }
            }
        }
    }
}

/// The holds that keep a waiting job from starting.
pub(crate) fn holds_told(reader: &dyn Reader, ns: NamespaceId, job: &Job) -> Vec<BlockedBy> {
    let tags: BTreeSet<_> = job.options.tags.iter().collect();
    let told = tags.into_iter().filter_map(|tag| {
        let hold = reader.get(&keys::hold(ns, tag))?;
        let Hold { epoch, reason, .. } =
            Hold::from_bytes(&hold).expect("holds were encoded by this engine");
        Some(BlockedBy::Hold { tag: tag.clone(), reason, epoch })
    });
    told.collect()
}

impl State {
    /// Whether the job stands aside for a tag.
    pub(crate) fn is_held_back(&self, ns: NamespaceId, id: JobId) -> bool {
        self.has_had(keys::HELD_BACK) && self.get(&keys::held_back_job(ns, id)).is_some()
    }

    /// A job that waits from now on stands aside where one of its tags is held.
    pub(crate) fn enter_hold(&mut self, ns: NamespaceId, job: &Job) {
        if let Some(tag) = self.holds.held_of(ns, &job.options.tags).map(str::to_owned)
            && !self.is_held_back(ns, job.id)
        {
            self.stand_aside(ns, job.id, &tag);
        }
    }

    fn stand_aside(&mut self, ns: NamespaceId, id: JobId, tag: &str) {
        self.note_rare(keys::HELD_BACK);
        self.put(&keys::held_back_job(ns, id), &tag.to_owned());
        self.put_bytes(&keys::held_back_of(ns, tag, id), &[]);
    }

    /// The job stands aside for no tag any more.
    pub(crate) fn leave_hold(&mut self, ns: NamespaceId, id: JobId) {
        if !self.has_had(keys::HELD_BACK) {
            return;
        }
        let Some(tag) = self.value::<String>(&keys::held_back_job(ns, id)) else { return };
        self.remove(&keys::held_back_job(ns, id));
        self.remove(&keys::held_back_of(ns, &tag, id));
    }

    pub(crate) fn apply_job_held_back(&mut self, ns: NamespaceId, id: JobId, tag: &str) {
        let job = self.job(ns, id).expect("the record names a job that waits");
        self.reblock(ns, &job, |state| state.stand_aside(ns, id, tag));
    }

    pub(crate) fn apply_hold_put(&mut self, ns: NamespaceId, tag: &str, hold: Hold) {
        self.meta_mut().last_hold = hold.epoch;
        self.put(&keys::hold(ns, tag), &hold);
        // Who stands aside still stands aside for this one.
        self.holds.letting_go.remove(&(ns, tag.to_owned()));
        self.holds.standing.entry(ns).or_default().insert(tag.to_owned(), hold);
        self.tell_all_runs(ns);
    }

    pub(crate) fn apply_hold_deleted(&mut self, ns: NamespaceId, tag: &str) {
        let all = self.holds.standing.entry(ns).or_default();
        let hold = all.remove(tag).expect("the record names a hold that stands");
        if all.is_empty() {
            self.holds.standing.remove(&ns);
        }
        // Who waits for it to be quiet learns that it is gone.
        self.holds.quiet.push((ns, tag.to_owned(), hold.epoch));
        self.remove(&keys::hold(ns, tag));
        let prefix = keys::lost_runs(ns, tag);
        let mut lost = Vec::new();
        self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, _| {
            lost.push(key.to_vec());
            std::ops::ControlFlow::Continue(())
        });
        for key in lost {
            self.remove(&key);
        }
        let prefix = keys::held_back(ns, tag);
        if self.first(&prefix, &keys::after_prefix(&prefix)).is_some() {
            self.holds.letting_go.insert((ns, tag.to_owned()));
        }
        self.tell_all_runs(ns);
    }

    pub(crate) fn apply_hold_let_go(&mut self, ns: NamespaceId, tag: &str, jobs: &[JobId]) {
        for id in jobs {
            let job = self.job(ns, *id).expect("who stands aside is there");
            self.reblock(ns, &job, |state| {
                state.leave_hold(ns, *id);
                state.enter_hold(ns, &job);
            });
        }
        let prefix = keys::held_back(ns, tag);
        if self.first(&prefix, &keys::after_prefix(&prefix)).is_none() {
            self.holds.letting_go.remove(&(ns, tag.to_owned()));
        }
    }

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
        for tag in &job.options.tags {
            if self.holds.of(ns, tag).is_some() {
                self.put(&keys::lost_run(ns, tag, job.id), &lost);
            }
        }
    }

    /// The namespace is gone, and its holds with it.
    pub(crate) fn drop_holds(&mut self, ns: NamespaceId) {
        let tags: Vec<String> = self.holds.tags(ns).cloned().collect();
        for tag in tags {
            self.apply_hold_deleted(ns, &tag);
        }
        // It has no jobs that wait.
        self.holds.letting_go.retain(|(of, _)| *of != ns);
    }

    /// Reads the holds when a shard starts, before its leases.
    pub(crate) fn load_holds(&mut self) {
        for (key, hold) in self.each::<Hold>(keys::HOLD) {
            let ns = keys::u32_at(&key, 1).map(NamespaceId);
            let Some((ns, (tag, _))) = ns.zip(keys::text_at(&key, 5)) else {
                panic!("key {key:02x?} in the state is no hold's")
            };
            self.holds.standing.entry(ns).or_default().insert(tag, hold);
        }
        // One step for each tag for which jobs stand aside, however many they are.
        let mut from = vec![keys::HELD_BACK];
        while let Some((key, _)) = self.first(&from, &[keys::HELD_BACK + 1]) {
            let ns = keys::u32_at(&key, 1).map(NamespaceId);
            let Some((ns, (tag, _))) = ns.zip(keys::text_at(&key, 5)) else {
                panic!("key {key:02x?} in the state names no tag")
            };
            from = keys::after_prefix(&keys::held_back(ns, &tag));
            if self.holds.of(ns, &tag).is_none() {
                self.holds.letting_go.insert((ns, tag));
            }
        }
    }
}
