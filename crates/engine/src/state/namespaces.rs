//! Namespaces by number and by name, what each keeps of jobs that have ended, and which of them
//! have something to forget. They live in memory whole; the limits bound them.

mod forgetting;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use forgetting::Forgetting;

use super::{Frontier, State, Unwritten, keys};
use crate::ids::{NamespaceId, TimeMs};
use crate::wire::{Wire, wire_struct};

wire_struct! {
    /// A namespace as it is kept.
    pub(crate) struct Namespace {
        /// Its number.
        pub(crate) id: NamespaceId,
        /// Its name.
        pub(crate) name: String,
        /// When it was created.
        pub(crate) created_at: TimeMs,
        /// It was removed; what is left of it goes bit by bit.
        pub(crate) deleted: bool = 1,
    }
}

wire_struct! {
    /// What a namespace keeps of jobs that have ended.
    #[derive(Default)]
    pub(crate) struct Kept {
        /// Bytes of outcomes kept.
        pub(crate) outcome_bytes: u64,
        /// Bytes of dead jobs kept.
        pub(crate) dead_bytes: u64,
        /// Tombstones kept.
        pub(crate) tombstones: u64,
        /// Tombstones dropped before their time.
        pub(crate) tombstones_dropped_total: u64,
        /// Schedules.
        pub(crate) schedules: u64 = 40,
    }
}

/// A namespace and where its housekeeping stands. Others only ever see one.
#[derive(Debug)]
pub(crate) struct NamespaceSlot {
    namespace: Namespace,
    kept: Kept,
    outcomes: Frontier,
    tombstones: Frontier,
}

impl NamespaceSlot {
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(crate) fn kept(&self) -> &Kept {
        &self.kept
    }

    /// Where its outcomes begin.
    pub(crate) fn outcomes(&self) -> &Frontier {
        &self.outcomes
    }

    /// Where its tombstones begin.
    pub(crate) fn tombstones(&self) -> &Frontier {
        &self.tombstones
    }
}

/// The namespaces of a shard, those that are not emptied yet included.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    slots: BTreeMap<NamespaceId, NamespaceSlot>,
    /// Of those that were not removed.
    names: BTreeMap<String, NamespaceId>,
    changed: Unwritten<NamespaceId>,
    forgetting: RefCell<Forgetting>,
}

impl Namespaces {
    pub(crate) fn get(&self, id: NamespaceId) -> Option<&NamespaceSlot> {
        self.slots.get(&id)
    }

    /// The name of one that is there.
    pub(crate) fn name(&self, id: NamespaceId) -> String {
        self.get(id).map(|slot| slot.namespace.name.clone()).unwrap_or_default()
    }

    pub(crate) fn named(&self, name: &str) -> Option<NamespaceId> {
        self.names.get(name).copied()
    }

    /// How many there are that were not removed.
    pub(crate) fn len_named(&self) -> usize {
        self.names.len()
    }

    /// Those that were not removed after a name, in the order of their names.
    pub(crate) fn after(&self, name: Option<&str>) -> impl Iterator<Item = &NamespaceSlot> {
        let from = (name.map_or(Unbounded, Excluded), Unbounded);
        self.names.range::<str, _>(from).filter_map(|(_, id)| self.get(*id))
    }

    /// All after a number, in the order of their numbers.
    pub(crate) fn all_after(
        &self,
        id: Option<NamespaceId>,
    ) -> impl Iterator<Item = &NamespaceSlot> {
        let from = (id.map_or(Unbounded, Excluded), Unbounded);
        self.slots.range(from).map(|(_, slot)| slot)
    }

    pub(super) fn insert(&mut self, namespace: Namespace, kept: Kept) {
        let ns = namespace.id;
        if !namespace.deleted {
            self.names.insert(namespace.name.clone(), ns);
        }
        let prefix = |first| keys::Key::new(first).namespace(ns).done();
        let slot = NamespaceSlot {
            namespace,
            kept,
            outcomes: Frontier::new(prefix(keys::ENDED)),
            tombstones: Frontier::new(prefix(keys::TOMBSTONE_ORDER)),
        };
        self.slots.insert(ns, slot);
        self.forgetting.get_mut().note(ns);
    }

    /// What a namespace keeps, to be written before the map is kept.
    pub(crate) fn change_kept(&mut self, id: NamespaceId) -> &mut Kept {
        self.changed.add(id);
        self.forgetting.get_mut().note(id);
        let slot = self.slots.get_mut(&id);
        &mut slot.expect("records name namespaces that exist").kept
    }

    /// Where a namespace's outcomes begin, which changes.
    pub(crate) fn outcomes(&mut self, id: NamespaceId) -> Option<&mut Frontier> {
        self.forgetting.get_mut().note(id);
        self.slots.get_mut(&id).map(|slot| &mut slot.outcomes)
    }

    /// Where a namespace's tombstones begin, which changes.
    pub(crate) fn tombstones(&mut self, id: NamespaceId) -> Option<&mut Frontier> {
        self.forgetting.get_mut().note(id);
        self.slots.get_mut(&id).map(|slot| &mut slot.tombstones)
    }

    /// Those whose counts are not in the map as they are here.
    pub(super) fn changed(&mut self) -> &mut Unwritten<NamespaceId> {
        &mut self.changed
    }
}

impl State {
    pub(crate) fn apply_namespace_created(&mut self, id: NamespaceId, name: String) {
        self.meta_mut().next_namespace = NamespaceId(id.0 + 1);
        let created_at = self.now();
        let namespace = Namespace { id, name, created_at, deleted: false };
        self.put(&keys::namespace(id), &namespace);
        self.namespaces.insert(namespace, Kept::default());
        self.namespaces.change_kept(id);
    }

    pub(crate) fn apply_namespace_deleted(&mut self, id: NamespaceId) {
        let Some(slot) = self.namespaces.slots.get_mut(&id) else { return };
        slot.namespace.deleted = true;
        self.namespaces.names.remove(&slot.namespace.name);
        let value = slot.namespace.to_bytes();
        self.put_bytes(&keys::namespace(id), &value);
        let kept = self.namespaces.change_kept(id);
        let dropped = std::mem::take(&mut kept.tombstones_dropped_total);
        self.meta_mut().gone.tombstones_dropped_total += dropped;
        self.drop_what_is_in(id);
    }

    pub(crate) fn apply_namespace_emptied(&mut self, id: NamespaceId) {
        self.remove(&keys::namespace(id));
        self.remove(&keys::namespace_kept(id));
        if let Some(slot) = self.namespaces.slots.remove(&id) {
            // What was dropped since it was removed.
            let dropped = slot.kept.tombstones_dropped_total;
            self.meta_mut().gone.tombstones_dropped_total += dropped;
        }
        self.namespaces.forgetting.get_mut().note(id);
    }
}
