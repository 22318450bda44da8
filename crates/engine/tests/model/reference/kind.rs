//! Kinds and their versions, as the reference tells them: counted anew for each question.

use std::collections::BTreeSet;

use longshore_engine::{
    JobDefaults, KindAnswer, KindCommand, KindDetail, KindSettings, KindView, LimitScope,
    NamespaceId, QueuePattern, SlaTarget,
};

use super::lease::runs;
use super::{RefConsumer, Reference, Refusable, refused};

/// Whether a worker asks for a version of a kind.
pub(super) fn asks_for(consumer: &RefConsumer, kind: &str, version: u32) -> bool {
    match &consumer.kinds {
        Some(kinds) => runs(kinds, kind, version),
        None => !kind.starts_with("longshore."),
    }
}

fn wants(consumer: &RefConsumer, queue: &str) -> bool {
    consumer.queues.iter().any(|pattern| match pattern {
        QueuePattern::Exactly(name) => queue == name,
        QueuePattern::Prefix(prefix) => queue.starts_with(prefix.as_str()),
    })
}

impl Reference {
    pub(super) fn of_kinds(
        &mut self,
        ns: NamespaceId,
        command: KindCommand,
    ) -> Refusable<KindAnswer> {
        Ok(match command {
            KindCommand::List { after, limit } => {
                let mut views = self.kind_views(ns);
                views.retain(|it| after.as_ref().is_none_or(|after| key_of(it) > *after));
                let more = views.len() > limit;
                views.truncate(limit);
                for view in &mut views {
                    view.workers.clear();
                }
                KindAnswer::Kinds(views, more)
            }
            KindCommand::Get { name } => self.kind_told(ns, name),
            KindCommand::Put { name, settings } => {
                self.check_defaults(&settings.defaults)?;
                if settings.defaults == JobDefaults::default() {
                    self.kinds_set.remove(&(ns, name.clone()));
                } else {
                    self.kinds_set.insert((ns, name.clone()), settings.defaults);
                }
                self.kind_told(ns, name)
            }
            KindCommand::Unserved { of } => {
                let versioned = |kind: &str| {
                    self.kinds.iter().any(|(of, it, _)| *of == ns && it.0 == kind && it.1 > 0)
                };
                let served = |queue: &str, kind: &str, version: u32| {
                    let here = self.consumers.iter().filter(|consumer| consumer.key.0 == ns);
                    let mut here = here.filter(|consumer| wants(consumer, queue));
                    here.any(|consumer| asks_for(consumer, kind, version))
                };
                let unserved = of
                    .iter()
                    .map(|it| versioned(&it.kind) && !served(&it.queue, &it.kind, it.version));
                KindAnswer::Unserved(unserved.collect())
            }
        })
    }

    pub(super) fn check_defaults(&self, defaults: &JobDefaults) -> Refusable<()> {
        self.check_lease_ms(defaults.lease_ms)?;
        if defaults.max_attempts == Some(0) {
            return Err(refused("max_attempts"));
        }
        Ok(())
    }

    /// What holds for jobs of a kind in a queue that do not say otherwise.
    pub(super) fn defaults_of(&self, ns: NamespaceId, kind: &str, of: &JobDefaults) -> JobDefaults {
        let Some(own) = self.kinds_set.get(&(ns, kind.to_owned())) else { return of.clone() };
        JobDefaults {
            priority: own.priority.or(of.priority),
            lease_ms: own.lease_ms.or(of.lease_ms),
            timeout_ms: own.timeout_ms.or(of.timeout_ms),
            retry: own.retry.clone().or_else(|| of.retry.clone()),
            max_attempts: own.max_attempts.or(of.max_attempts),
            max_age_ms: own.max_age_ms.or(of.max_age_ms),
            ttl_ms: own.ttl_ms.or(of.ttl_ms),
            retain_ms: own.retain_ms.or(of.retain_ms),
        }
    }

    fn kind_told(&self, ns: NamespaceId, name: String) -> KindAnswer {
        let mut versions = self.kind_views(ns);
        versions.retain(|view| view.name == name);
        let defaults = self.kinds_set.get(&(ns, name.clone())).cloned().unwrap_or_default();
        let gates = self.gates.iter().filter(|it| it.ns == ns && it.gate.kinds.contains(&name));
        let limits = self.dispatch_limits.iter().filter(|it| {
            let over = |of: &Option<String>| of.as_ref().is_none_or(|of| *of == name);
            it.ns == ns && matches!(&it.settings.scope, LimitScope::Kind { name } if over(name))
        });
        let slas = self.slas.iter().filter(|it| {
            let target = &it.settings.target;
            it.ns == ns && matches!(target, SlaTarget::Kind { name: of } if *of == name)
        });
        let ordered = |names: &mut dyn Iterator<Item = &String>| {
            names.cloned().collect::<BTreeSet<_>>().into_iter().collect()
        };
        KindAnswer::Kind(Box::new(KindDetail {
            settings: KindSettings { defaults },
            gates: ordered(&mut gates.map(|it| &it.name)),
            limits: ordered(&mut limits.map(|it| &it.name)),
            slas: ordered(&mut slas.map(|it| &it.name)),
            versions,
            name,
        }))
    }

    fn kind_views(&self, ns: NamespaceId) -> Vec<KindView> {
        let known = self.kinds.iter().filter(|(of, ..)| *of == ns);
        let known: BTreeSet<_> = known.map(|(_, kind, _)| kind.clone()).collect();
        let view = |(name, version): (String, u32)| {
            let of_it = self.jobs.iter().filter(|job| {
                let of = (&job.job.kind, job.job.options.version);
                job.ns == ns && of == (&name, version) && job.job.phase.is_unfinished()
            });
            let (running, waiting): (Vec<_>, Vec<_>) = of_it.partition(|job| job.run.is_some());
            let asks = self.consumers.iter().filter(|consumer| consumer.key.0 == ns);
            let asks: Vec<_> = asks.filter(|consumer| asks_for(consumer, &name, version)).collect();
            let workers: BTreeSet<_> = asks.iter().map(|consumer| consumer.key.1.clone()).collect();
            KindView {
                waiting: waiting.len() as u64,
                running: running.len() as u64,
                consumers: Some(asks.len() as u64),
                workers: workers.into_iter().collect(),
                name,
                version,
            }
        };
        known.into_iter().map(view).collect()
    }
}

fn key_of(view: &KindView) -> (String, u32) {
    (view.name.clone(), view.version)
}
