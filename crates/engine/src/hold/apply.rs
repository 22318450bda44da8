//! What memory knows of holds, and who stands aside for one. A job that stands aside has a key of
//! its own, and one in the index of its tag.

use std::collections::{BTreeMap, BTreeSet};

use super::{Hold, LostRun};
use crate::answer::BlockedBy;
use crate::ids::{JobId, NamespaceId};
use crate::job::{Job, Lease};
use crate::map::Reader;
use crate::state::{State, keys};
use crate::wire::Wire;

/// A hold and the leases with its tag.
#[derive(Debug)]
struct LiveHold {
    hold: Hold,
    running: u64,
    /// Where leases are yet to be counted, the last job of which they are.
    counting: Option<JobId>,
}

/// Leases that are counted at a time.
const COUNTED_PER_TURN: usize = if cfg!(test) { 8 } else { 1000 };

/// What memory holds of holds.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    standing: BTreeMap<NamespaceId, BTreeMap<String, LiveHold>>,
    /// Tags that are held no longer and for which jobs stand aside still.
    letting_go: BTreeSet<(NamespaceId, String)>,
    /// Volatile: holds, by their epochs, with which nothing runs since they were last told.
    quiet: Vec<(NamespaceId, String, u64)>,
    /// Volatile: holds of which leases are yet to be counted.
    counting: BTreeSet<(NamespaceId, String)>,
}

impl Holds {
    pub(super) fn of(&self, ns: NamespaceId, tag: &str) -> Option<&Hold> {
        self.standing.get(&ns)?.get(tag).map(|live| &live.hold)
    }

    pub(super) fn running(&self, ns: NamespaceId, tag: &str) -> u64 {
        self.standing.get(&ns).and_then(|all| all.get(tag)).map_or(0, |live| live.running)
    }

    /// Whether nothing runs with the tag, as far as is known.
    pub(super) fn is_quiet(&self, ns: NamespaceId, tag: &str) -> bool {
        let live = self.standing.get(&ns).and_then(|all| all.get(tag));
        live.is_none_or(|live| live.running == 0 && live.counting.is_none())
    }

    /// How many holds a namespace has.
    pub(super) fn count(&self, ns: NamespaceId) -> usize {
        self.standing.get(&ns).map_or(0, BTreeMap::len)
    }

    fn note_counting(&mut self, ns: NamespaceId, tag: &str, counting: Option<JobId>) {
        match counting {
            Some(_) => self.counting.insert((ns, tag.to_owned())),
            None => self.counting.remove(&(ns, tag.to_owned())),
        };
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

    /// Whether jobs are to be let go, or leases to be counted.
    pub(crate) fn goes_on(&self) -> bool {
        !self.letting_go.is_empty() || !self.counting.is_empty()
    }

    /// A lease of a job is there, or has ended.
    pub(crate) fn count_lease(&mut self, ns: NamespaceId, job: &Job, begins: bool) {
        let Some(held) = self.standing.get_mut(&ns) else { return };
        for tag in job.options.tags.iter().collect::<BTreeSet<_>>() {
            let Some(live) = held.get_mut(tag) else { continue };
            if live.counting.is_some_and(|last| job.id > last) {
                continue;
            }
            if begins {
                live.running += 1;
                continue;
            }
            live.running = live.running.checked_sub(1).expect("a lease is given back once");
            if live.running == 0 && live.counting.is_none() {
                self.quiet.push((ns, tag.clone(), live.hold.epoch));
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
        let (running, counting) = self.count_held(ns, tag, None);
        let live = LiveHold { hold, running, counting };
        self.holds.note_counting(ns, tag, counting);
        self.holds.standing.entry(ns).or_default().insert(tag.to_owned(), live);
        self.tell_all_runs(ns);
    }

    /// Leases with a tag among the next ones after a job; and the last that was looked at, where
    /// more follow.
    fn count_held(&self, ns: NamespaceId, tag: &str, after: Option<JobId>) -> (u64, Option<JobId>) {
        let mut leases = self.leases.after(ns, after);
        let (mut running, mut last) = (0, None);
        for (id, live) in leases.by_ref().take(COUNTED_PER_TURN) {
            running += u64::from(live.job.options.tags.iter().any(|it| it == tag));
            last = Some(id);
        }
        (running, leases.next().and(last))
    }

    /// Counts some of the leases of a hold that is new.
    pub(crate) fn advance_holds(&mut self) {
        let Some((ns, tag)) = self.holds.counting.first().cloned() else { return };
        let live = self.holds.standing.get(&ns).and_then(|all| all.get(&tag));
        let Some(after) = live.map(|live| live.counting) else { return };
        let (more, counting) = self.count_held(ns, &tag, after);
        self.holds.note_counting(ns, &tag, counting);
        let live = self.holds.standing.get_mut(&ns).and_then(|all| all.get_mut(&tag));
        let Some(live) = live else { return };
        live.running += more;
        live.counting = counting;
        if counting.is_none() && live.running == 0 {
            self.holds.quiet.push((ns, tag, live.hold.epoch));
        }
    }

    pub(crate) fn apply_hold_deleted(&mut self, ns: NamespaceId, tag: &str) {
        let all = self.holds.standing.entry(ns).or_default();
        let live = all.remove(tag).expect("the record names a hold that stands");
        if all.is_empty() {
            self.holds.standing.remove(&ns);
        }
        self.holds.note_counting(ns, tag, None);
        // Who waits for it to be quiet learns that it is gone.
        self.holds.quiet.push((ns, tag.to_owned(), live.hold.epoch));
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
            let live = LiveHold { hold, running: 0, counting: None };
            self.holds.standing.entry(ns).or_default().insert(tag, live);
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
