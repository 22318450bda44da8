//! What metrics tell of tenants: how many there are, and the jobs of those that have a weight.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::TenantTurn;
use super::weight::is_weighted;
use crate::ids::{NamespaceId, QueueId};
use crate::state::{State, keys};
use crate::wire::Wire;

/// Tenants, each once per queue and priority, that are looked at.
const LOOKS_MAX: usize = 1000;
/// Those that are told by their names.
const NAMED_MAX: usize = 100;

/// The tenants of a namespace.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TenantsView {
    /// Tenants with jobs that have not ended.
    pub count: u64,
    /// The jobs of those that their queues give a weight.
    pub weighted: BTreeMap<String, u64>,
    /// The jobs of all others.
    pub others: u64,
}

impl State {
    /// Tenants by their namespaces, as far as a bounded look shows them.
    pub(crate) fn tenant_views(&self) -> Vec<(String, TenantsView)> {
        let mut views: BTreeMap<NamespaceId, (TenantsView, BTreeSet<String>)> = BTreeMap::new();
        let (mut looks, mut named) = (0, 0);
        let prefix = [keys::TENANT];
        self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, value| {
            let read = || {
                let ns = NamespaceId(keys::u32_at(key, 1)?);
                let queue = QueueId(keys::u32_at(key, 5)?);
                Some((ns, queue, keys::text_at(key, 10)?.0))
            };
            let of = read().zip(TenantTurn::from_bytes(value).ok());
            let Some(((ns, queue, tenant), TenantTurn { jobs, .. })) = of else {
                panic!("key {key:02x?} in the state is no tenant's")
            };
            let (view, known) = views.entry(ns).or_default();
            let weights = self.queues.get(queue).map(|it| it.settings.tenants.as_slice());
            if let Some(sum) = view.weighted.get_mut(&tenant) {
                *sum += jobs;
            } else if named < NAMED_MAX && is_weighted(weights.unwrap_or_default(), &tenant) {
                named += 1;
                view.weighted.insert(tenant.clone(), jobs);
            } else {
                view.others += jobs;
            }
            known.insert(tenant);
            looks += 1;
            if looks < LOOKS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let named = views.into_iter().filter_map(|(ns, (view, known))| {
            let name = self.namespaces.get(ns)?.namespace.name.clone();
            Some((name, TenantsView { count: known.len() as u64, ..view }))
        });
        named.collect()
    }
}
