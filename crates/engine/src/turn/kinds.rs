//! Commands about kinds and their versions: what waits, what runs, and who runs it.

use super::Turn;
use super::handle::{KINDS_TOLD_MAX, LOOKS_MAX};
use crate::answer::Answer;
use crate::ids::NamespaceId;
use crate::job::RESERVED_KIND_PREFIX;
use crate::kind::{KindAnswer, KindCommand, KindDetail, KindInQueue, KindView};
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{Kind, NamespaceSlot};

/// Versions of kinds of which a shard tells figures.
const KINDS_MEASURED_MAX: usize = 500;

/// Kinds in one answer at most.
const KINDS_PER_PAGE_MAX: usize = 1000;

impl Turn {
    pub(super) fn handle_kinds(
        &mut self,
        ns: NamespaceId,
        created: Option<Record>,
        command: KindCommand,
    ) -> Result<Answer, Rejection> {
        let answer = match command {
            KindCommand::List { after, limit } => {
                let after = after.as_ref();
                let after = after.map_or(("", None), |(name, version)| (&**name, Some(*version)));
                let most = limit.min(KINDS_PER_PAGE_MAX);
                let mut kinds = self.kind_views(ns, after, most + 1, &mut { LOOKS_MAX });
                let more = kinds.len() > most;
                kinds.truncate(most);
                KindAnswer::Kinds(kinds, more)
            }
            KindCommand::Get { name } => self.kind_told(ns, &name),
            KindCommand::Unserved { of } => {
                let looks = &mut { LOOKS_MAX };
                KindAnswer::Unserved(of.iter().map(|of| self.is_unserved(ns, of, looks)).collect())
            }
            KindCommand::Put { name, settings } => {
                let record = self.state.decide_kind_put(ns, &name, *settings)?;
                self.try_record(created.into_iter().chain(record).collect::<Vec<_>>())?;
                self.kind_told(ns, &name)
            }
        };
        Ok(Answer::Kinds(answer))
    }

    fn kind_told(&self, ns: NamespaceId, name: &str) -> KindAnswer {
        let looks = &mut { LOOKS_MAX };
        let mut kinds = self.kind_views(ns, (name, None), KINDS_PER_PAGE_MAX, looks);
        kinds.retain(|kind| kind.name == name);
        for kind in &mut kinds {
            let of = (kind.name.as_str(), kind.version);
            let (is_reserved, told) = (reserved(of.0), (KINDS_TOLD_MAX, &mut *looks));
            kind.workers = self.demand.workers_of(ns, of, is_reserved, told);
        }
        let detail = self.state.kind_detail(ns, name);
        KindAnswer::Kind(Box::new(KindDetail { versions: kinds, ..detail }))
    }

    /// Versions of kinds of which something waits or runs, with their namespaces, as far as the
    /// looks reach.
    pub(super) fn kinds_at_work(&self) -> Vec<(String, KindView)> {
        let (mut told, mut looks) = (Vec::new(), LOOKS_MAX);
        for namespace in self.state.namespaces.all_after(None).map(NamespaceSlot::namespace) {
            let ns = namespace.id;
            let most = KINDS_MEASURED_MAX.saturating_sub(told.len());
            let all = self.state.kinds.after(ns, ("", None)).take_while(|_| {
                looks = looks.saturating_sub(1);
                looks > 0
            });
            let busy = all.filter(|(kind, running)| kind.waiting + running > 0);
            let busy: Vec<_> = busy.take(most).collect();
            let views = self.views_of(ns, &busy, &mut looks).into_iter();
            told.extend(views.map(|view| (namespace.name.clone(), view)));
        }
        told
    }

    fn kind_views(
        &self,
        ns: NamespaceId,
        after: (&str, Option<u32>),
        most: usize,
        looks: &mut usize,
    ) -> Vec<KindView> {
        let known: Vec<_> = self.state.kinds.after(ns, after).take(most).collect();
        self.views_of(ns, &known, looks)
    }

    fn views_of(
        &self,
        ns: NamespaceId,
        known: &[(&Kind, u64)],
        looks: &mut usize,
    ) -> Vec<KindView> {
        let named = known
            .iter()
            .map(|(kind, _)| ((kind.name.as_str(), kind.version), reserved(&kind.name)));
        let consumers = self.demand.consumers(ns, named, looks);
        let views = known.iter().zip(consumers).map(|((kind, running), consumers)| KindView {
            name: kind.name.clone(),
            version: kind.version,
            waiting: kind.waiting,
            running: *running,
            consumers,
            workers: Vec::new(),
        });
        views.collect()
    }

    /// Whether no worker asks for a version of a kind in a queue. Only where the kind has versions:
    /// of others it is the queue that tells.
    fn is_unserved(&self, ns: NamespaceId, of: &KindInQueue, looks: &mut usize) -> bool {
        let KindInQueue { queue, kind, version } = of;
        if !self.state.kinds.has_versions(ns, kind) {
            return false;
        }
        let named = std::iter::once(((kind.as_str(), *version), reserved(kind)));
        !self.demand.without(ns, queue, named, looks).is_empty()
    }
}

fn reserved(kind: &str) -> bool {
    kind.starts_with(RESERVED_KIND_PREFIX)
}
