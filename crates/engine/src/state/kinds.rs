//! Kinds by name and version and by number, and how many jobs each has. They live in memory whole;
//! the limits bound them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Included, Unbounded};
use std::sync::Arc;

use super::{Unwritten, count};
use crate::ids::{KindId, NamespaceId};
use crate::job::RESERVED_KIND_PREFIX;
use crate::kind::{KindRange, VERSIONS_PER_KIND_MAX};
use crate::rejection::Rejection;
use crate::wire::wire_struct;

wire_struct! {
    /// A kind in one version, as it is kept.
    pub(crate) struct Kind {
        /// Whose jobs it is of.
        pub(crate) namespace: NamespaceId,
        /// Its name.
        pub(crate) name: String,
        /// Its version; 0 for none.
        pub(crate) version: u32 = 70,
        /// Jobs of it that wait, whatever for.
        pub(crate) waiting: u64 = 71,
    }
}

#[derive(Debug)]
struct KindSlot {
    kind: Kind,
    /// Jobs of it that have a lease.
    running: u64,
}

/// The numbers of a kind, by its versions.
type Versions = BTreeMap<u32, KindId>;

/// The kinds of a shard. Each namespace has its own, and they go with it. Each version of a kind
/// has a number of its own.
#[derive(Debug, Default)]
pub(crate) struct Kinds {
    ids: BTreeMap<NamespaceId, BTreeMap<Arc<str>, Versions>>,
    slots: BTreeMap<KindId, KindSlot>,
    /// How many each namespace has.
    lens: BTreeMap<NamespaceId, usize>,
    reserved: BTreeSet<KindId>,
    changed: Unwritten<KindId>,
}

impl Kinds {
    pub(crate) fn insert(&mut self, id: KindId, kind: Kind) {
        if kind.name.starts_with(RESERVED_KIND_PREFIX) {
            self.reserved.insert(id);
        }
        let names = self.ids.entry(kind.namespace).or_default();
        match names.get_mut(kind.name.as_str()) {
            Some(versions) => {
                versions.insert(kind.version, id);
            }
            None => {
                names.insert(kind.name.as_str().into(), BTreeMap::from([(kind.version, id)]));
            }
        }
        *self.lens.entry(kind.namespace).or_default() += 1;
        self.slots.insert(id, KindSlot { kind, running: 0 });
    }

    /// Forgets the kinds of a namespace.
    pub(crate) fn remove_of(&mut self, ns: NamespaceId) -> Vec<KindId> {
        let versions = self.ids.remove(&ns).into_iter().flatten();
        let gone: Vec<_> = versions.flat_map(|(_, versions)| versions.into_values()).collect();
        self.lens.remove(&ns);
        for id in &gone {
            self.slots.remove(id);
            self.reserved.remove(id);
            self.changed.forget(id);
        }
        gone
    }

    pub(crate) fn get(&self, id: KindId) -> Option<&Kind> {
        self.slots.get(&id).map(|slot| &slot.kind)
    }

    pub(crate) fn name(&self, id: KindId) -> Option<&str> {
        self.get(id).map(|kind| kind.name.as_str())
    }

    /// The number of a version of a kind.
    pub(crate) fn named(&self, ns: NamespaceId, name: &str, version: u32) -> Option<KindId> {
        self.ids.get(&ns)?.get(name)?.get(&version).copied()
    }

    /// The numbers of a kind in all its versions.
    pub(crate) fn all_of(&self, ns: NamespaceId, name: &str) -> Vec<KindId> {
        let versions = self.ids.get(&ns).and_then(|names| names.get(name));
        versions.into_iter().flat_map(|versions| versions.values().copied()).collect()
    }

    /// Whether any version of a kind is known.
    pub(crate) fn has_versions(&self, ns: NamespaceId, name: &str) -> bool {
        let versions = self.ids.get(&ns).and_then(|names| names.get(name));
        let last = versions.and_then(BTreeMap::last_key_value);
        last.is_some_and(|(version, _)| *version > 0)
    }

    /// Whether there is room for one more version of a kind, beside `earlier` ones that are named
    /// in the same command.
    pub(crate) fn check_versions(
        &self,
        ns: NamespaceId,
        name: &str,
        earlier: usize,
    ) -> Result<(), Rejection> {
        let known = self.ids.get(&ns).and_then(|names| names.get(name)).map_or(0, BTreeMap::len);
        if known + earlier >= VERSIONS_PER_KIND_MAX {
            let (kind, limit) = (name.to_owned(), VERSIONS_PER_KIND_MAX);
            return Err(Rejection::TooManyVersions { kind, limit });
        }
        Ok(())
    }

    /// The numbers of what a worker runs of a kind.
    pub(crate) fn within(
        &self,
        ns: NamespaceId,
        range: &KindRange,
    ) -> impl Iterator<Item = KindId> + use<'_> {
        let versions = self.ids.get(&ns).and_then(|names| names.get(range.kind.as_str()));
        // An empty range would be a panic of the tree's.
        let (from, to) = (range.from, range.to.max(range.from));
        versions.into_iter().flat_map(move |versions| versions.range(from..=to).map(|(_, id)| *id))
    }

    /// The kinds of a namespace after one, by their names and versions, each with how many jobs
    /// of it run.
    pub(crate) fn after<'a>(
        &'a self,
        ns: NamespaceId,
        (name, version): (&'a str, Option<u32>),
    ) -> impl Iterator<Item = (&'a Kind, u64)> + 'a {
        let names = self.ids.get(&ns);
        let names = names
            .into_iter()
            .flat_map(move |names| names.range::<str, _>((Included(name), Unbounded)));
        let beyond = move |of: &str, found: u32| of != name || version.is_none_or(|it| found > it);
        names
            .flat_map(move |(of, versions)| {
                versions.iter().filter(move |(found, _)| beyond(of, **found))
            })
            .filter_map(|(_, id)| self.slots.get(id).map(|slot| (&slot.kind, slot.running)))
    }

    /// Those handed only to workers that ask for them by name.
    pub(crate) fn reserved(&self) -> &BTreeSet<KindId> {
        &self.reserved
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many a namespace has.
    pub(crate) fn len_of(&self, ns: NamespaceId) -> usize {
        self.lens.get(&ns).copied().unwrap_or(0)
    }

    /// A job of it begins to wait, or waits no longer.
    pub(crate) fn count_waiting(&mut self, id: KindId, waits: bool) {
        if let Some(slot) = self.slots.get_mut(&id) {
            count::shift(
                &mut slot.kind.waiting,
                if waits { 1 } else { -1 },
                "a kind's waiting jobs",
            );
            self.changed.add(id);
        }
    }

    /// A job of it gets a lease, or loses it.
    pub(crate) fn count_running(&mut self, id: KindId, runs: bool) {
        if let Some(slot) = self.slots.get_mut(&id) {
            count::shift(&mut slot.running, if runs { 1 } else { -1 }, "a kind's running jobs");
        }
    }

    /// Those whose counts are not in the map as they are here.
    pub(crate) fn changed(&mut self) -> &mut Unwritten<KindId> {
        &mut self.changed
    }
}
