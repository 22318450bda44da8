//! Kinds and their versions, as the reference tells them: counted anew for each question.

use std::collections::BTreeSet;

use longshore_engine::{KindAnswer, KindCommand, KindView, NamespaceId, QueuePattern};

use super::lease::runs;
use super::{RefConsumer, Reference};

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
    pub(super) fn of_kinds(&self, ns: NamespaceId, command: KindCommand) -> KindAnswer {
        match command {
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
            KindCommand::Get { name } => {
                let mut views = self.kind_views(ns);
                views.retain(|view| view.name == name);
                KindAnswer::Kinds(views, false)
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
        }
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
