//! Settings of a kind, for all of its versions: default options of its jobs. Gates, limits and
//! service levels over a kind are resources of their own; the description of the kind lists them.

use std::collections::BTreeMap;

use super::KindDetail;
use crate::bounds::check_name;
use crate::ids::NamespaceId;
use crate::job::check_defaults;
use crate::limit::LimitScope;
use crate::limits::Scope;
use crate::queue::JobDefaults;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::sla::SlaTarget;
use crate::state::{State, keys};
use crate::wire::wire_struct;

/// Kinds of a namespace that may have settings: memory holds them whole.
const KINDS_SET_MAX: usize = 1000;

wire_struct! {
    /// What the owner of a kind sets.
    #[derive(Default)]
    pub struct KindSettings {
        /// Options for jobs that do not say otherwise. They come before those of the queue.
        pub defaults: JobDefaults,
    }
}

/// The settings of kinds that have some.
#[derive(Debug, Default)]
pub(crate) struct KindsSet(BTreeMap<NamespaceId, BTreeMap<String, KindSettings>>);

impl KindsSet {
    pub(crate) fn of(&self, ns: NamespaceId, name: &str) -> Option<&KindSettings> {
        self.0.get(&ns)?.get(name)
    }

    fn count(&self, ns: NamespaceId) -> usize {
        self.0.get(&ns).map_or(0, BTreeMap::len)
    }
}

impl JobDefaults {
    /// These, and for what they leave open those others.
    pub(crate) fn before(&self, others: &Self) -> Self {
        Self {
            priority: self.priority.or(others.priority),
            lease_ms: self.lease_ms.or(others.lease_ms),
            timeout_ms: self.timeout_ms.or(others.timeout_ms),
            retry: self.retry.clone().or_else(|| others.retry.clone()),
            max_attempts: self.max_attempts.or(others.max_attempts),
            max_age_ms: self.max_age_ms.or(others.max_age_ms),
            ttl_ms: self.ttl_ms.or(others.ttl_ms),
            retain_ms: self.retain_ms.or(others.retain_ms),
        }
    }
}

impl State {
    /// The record that sets something of a kind; none where it is so already.
    pub(crate) fn decide_kind_put(
        &self,
        namespace: NamespaceId,
        name: &str,
        settings: KindSettings,
    ) -> Result<Option<Record>, Rejection> {
        check_name(&self.limits, "kind", name)?;
        check_defaults(self, &settings.defaults)?;
        let known = self.kind_settings.of(namespace, name);
        if known.cloned().unwrap_or_default() == settings {
            return Ok(None);
        }
        if known.is_none() && self.kind_settings.count(namespace) >= KINDS_SET_MAX {
            let (scope, limit) = (Scope::Namespace, KINDS_SET_MAX);
            return Err(Rejection::TooManyKinds { scope, limit });
        }
        let (name, settings) = (name.to_owned(), Box::new(settings));
        Ok(Some(Record::KindPut { namespace, name, settings }))
    }

    /// The settings of a kind are those. Where they say nothing, nothing is kept.
    pub(crate) fn apply_kind_put(&mut self, ns: NamespaceId, name: String, settings: KindSettings) {
        let key = keys::kind_set(ns, &name);
        if settings == KindSettings::default() {
            self.remove(&key);
            if let Some(all) = self.kind_settings.0.get_mut(&ns) {
                all.remove(&name);
            }
        } else {
            self.put(&key, &settings);
            self.kind_settings.0.entry(ns).or_default().insert(name, settings);
        }
    }

    /// A namespace is removed, and what is set of its kinds with it.
    pub(crate) fn drop_kind_settings(&mut self, ns: NamespaceId) {
        for name in self.kind_settings.0.remove(&ns).unwrap_or_default().into_keys() {
            self.remove(&keys::kind_set(ns, &name));
        }
    }

    /// Reads the settings of kinds when a shard starts.
    pub(crate) fn load_kind_settings(&mut self) {
        for (key, settings) in self.each::<KindSettings>(keys::KIND_SET) {
            let ns = keys::u32_at(&key, 1).map(NamespaceId);
            let (ns, (name, _)) = ns.zip(keys::text_at(&key, 5)).expect("keys of kinds have names");
            self.kind_settings.0.entry(ns).or_default().insert(name, settings);
        }
    }

    /// What is set of a kind and what is over it, without its versions.
    pub(crate) fn kind_detail(&self, ns: NamespaceId, name: &str) -> KindDetail {
        let limits = self.limiting.all(ns).filter(|(_, limit)| match &limit.scope {
            LimitScope::Kind { name: of } => of.as_deref().is_none_or(|of| of == name),
            _ => false,
        });
        let slas = self
            .slas
            .settings_of(ns)
            .filter(|(_, sla)| matches!(&sla.target, SlaTarget::Kind { name: of } if of == name));
        KindDetail {
            name: name.to_owned(),
            settings: self.kind_settings.of(ns, name).cloned().unwrap_or_default(),
            gates: self.gating.over_kind(ns, name),
            limits: limits.map(|(of, _)| of.clone()).collect(),
            slas: slas.map(|(of, _)| of.clone()).collect(),
            versions: Vec::new(),
        }
    }
}
