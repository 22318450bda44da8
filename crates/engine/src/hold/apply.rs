//! What memory knows of holds, and who stands aside for one. A job that stands aside has a key of
//! its own, and one in the index of its tag.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::Hold;
use super::lost::LostRuns;
use crate::answer::BlockedBy;
use crate::ids::{JobId, NamespaceId};
use crate::job::Job;
use crate::map::Reader;
use crate::state::{State, keys};
use crate::wire::Wire;

/// What memory holds of holds.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    standing: BTreeMap<NamespaceId, BTreeMap<String, Hold>>,
    /// Live leases with each tag, held or not, so that a hold looks only at leases with its tag.
    running: BTreeMap<(NamespaceId, String), BTreeSet<JobId>>,
    /// Tags that are held no longer and for which jobs stand aside still.
    letting_go: BTreeSet<(NamespaceId, String)>,
    /// Volatile: holds, by their epochs, with which nothing runs since they were last told.
    quiet: Vec<(NamespaceId, String, u64)>,
    pub(super) lost: LostRuns,
}

impl Holds {
    pub(super) fn of(&self, ns: NamespaceId, tag: &str) -> Option<&Hold> {
        self.standing.get(&ns)?.get(tag)
    }

    /// How many leases there are with a tag.
    pub(super) fn running(&self, ns: NamespaceId, tag: &str) -> u64 {
        self.running.get(&(ns, tag.to_owned())).map_or(0, |jobs| jobs.len() as u64)
    }

    /// Whose leases these are.
    pub(super) fn runs(&self, ns: NamespaceId, tag: &str) -> impl Iterator<Item = JobId> {
        self.running.get(&(ns, tag.to_owned())).into_iter().flatten().copied()
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

    /// A lease of this job with these tags begins, or ends.
    pub(crate) fn count_lease(
        &mut self,
        ns: NamespaceId,
        (id, tags): (JobId, &[String]),
        begins: bool,
    ) {
        for tag in tags.iter().collect::<BTreeSet<_>>() {
            let running = self.running.entry((ns, tag.clone()));
            if begins {
                running.or_default().insert(id);
                continue;
            }
            let Entry::Occupied(mut running) = running else {
                panic!("a lease with the tag {tag} ends that was not counted")
            };
            assert!(running.get_mut().remove(&id), "it was counted with the tag {tag}");
            if running.get().is_empty() {
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
        // Jobs that still stand aside do so for this hold now.
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
        self.forget_lost_runs(ns, tag);
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
        self.load_lost_runs();
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
