//! Limits as they are described: what runs, which keys hold back, and what waits behind them. Each
//! description counts a bounded number of entries.

use std::ops::ControlFlow;

use super::{LimitKey, LimitKeyView, LimitScope, LimitSettings, LimitView};
use crate::ids::NamespaceId;
use crate::looks::Looks;
use crate::rejection::Rejection;
use crate::state::{State, keys};

/// Keys that are counted of a limit.
const SPENT_TOLD_MAX: usize = 1000;

/// Jobs that wait which are counted of a limit.
const WAITING_TOLD_MAX: usize = 1000;

/// Keys of a limit that are told one by one.
const KEYS_TOLD_MAX: usize = 20;

/// What one answer about limits looks at.
pub(crate) const LIMIT_LOOKS: usize = 8000;

impl State {
    pub(super) fn known_limit(
        &self,
        ns: NamespaceId,
        name: &str,
    ) -> Result<&LimitSettings, Rejection> {
        let unknown = || Rejection::LimitUnknown { name: name.to_owned() };
        self.limiting.of(ns, name).ok_or_else(unknown)
    }

    pub(crate) fn limit_view(&self, ns: NamespaceId, name: &str) -> Result<LimitView, Rejection> {
        let settings = self.known_limit(ns, name)?;
        let looks = &mut Looks::new(LIMIT_LOOKS);
        Ok(self.view_of_limit(ns, (name, settings), KEYS_TOLD_MAX, looks))
    }

    /// The limits of the namespace, up to so many, without their keys. With those that follow they
    /// are as many as `of`, which share the looks.
    pub(crate) fn limit_views(
        &self,
        ns: NamespaceId,
        most: usize,
        (of, looks): (usize, &mut Looks),
    ) -> Vec<LimitView> {
        let all: Vec<_> = self.limiting.all(ns).take(most).collect();
        let count = all.len().max(of);
        let told = all.into_iter().enumerate().map(|(at, (name, settings))| {
            looks.share(count - at, |own| self.view_of_limit(ns, (name, settings), 0, own))
        });
        told.collect()
    }

    fn view_of_limit(
        &self,
        ns: NamespaceId,
        (name, settings): (&str, &LimitSettings),
        keys_max: usize,
        looks: &mut Looks,
    ) -> LimitView {
        let prefix = keys::Key::new(keys::LIMIT_SPENT).namespace(ns).text(name).done();
        let mut spent = Vec::new();
        // The rest is for what waits behind them.
        looks.share(2, |looks| {
            if !looks.seek() {
                return;
            }
            self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, _| {
                if spent.len() >= SPENT_TOLD_MAX || !looks.step() {
                    return ControlFlow::Break(());
                }
                spent.extend(keys::text_at(key, prefix.len()).map(|(key, _)| key));
                ControlFlow::Continue(())
            });
        });
        let (mut waiting, mut told) = (0, Vec::new());
        for key in &spent {
            let left = WAITING_TOLD_MAX.saturating_sub(waiting);
            if left == 0 || looks.is_used_up() {
                break;
            }
            let of = LimitKey::new(ns, name, key);
            let count = self.waiting_behind(&of, &settings.scope, left, looks);
            waiting += count;
            if told.len() < keys_max {
                let running = self.limiting.leases.get(&of).copied().unwrap_or_default();
                told.push(LimitKeyView { key: of.key, running, waiting: count as u64 });
            }
        }
        LimitView {
            name: name.to_owned(),
            settings: settings.clone(),
            running: self.limiting.leases.running(ns, name),
            spent: spent.len() as u64,
            waiting: waiting as u64,
            keys: told,
        }
    }

    /// Jobs that wait behind a key of which nothing is left, up to `most`.
    fn waiting_behind(
        &self,
        of: &LimitKey,
        scope: &LimitScope,
        most: usize,
        looks: &mut Looks,
    ) -> usize {
        let mut looked = |count: u64| looks.step().then_some(count);
        let counted: u64 = match scope {
            LimitScope::Key => return self.waiting_in_lines(of, most, looks),
            LimitScope::Queue { .. } => {
                let queue = self.queues.named(of.ns, &of.key);
                queue.and_then(|queue| looked(queue.counts.waiting)).unwrap_or(0)
            }
            LimitScope::Kind { .. } => {
                let versions = self.kinds.all_of(of.ns, &of.key).into_iter();
                let kinds = versions.filter_map(|id| self.kinds.get(id));
                kinds.map_while(|kind| looked(kind.waiting)).sum()
            }
            LimitScope::Namespace => {
                let queues = self.queues.after(of.ns, None).take(most);
                queues.map_while(|queue| looked(queue.counts.waiting)).sum()
            }
        };
        usize::try_from(counted).unwrap_or(most).min(most)
    }

    fn waiting_in_lines(&self, of: &LimitKey, most: usize, looks: &mut Looks) -> usize {
        let mut count = 0;
        if !looks.seek() {
            return count;
        }
        for lane in self.lanes_of_lines(of) {
            if count >= most || !looks.seek() {
                break;
            }
            let line = keys::limited_prefix(of.ns, lane, (&of.name, &of.key));
            self.scan(&line, &keys::after_prefix(&line), &mut |_, _| {
                if count >= most || !looks.step() {
                    return ControlFlow::Break(());
                }
                count += 1;
                ControlFlow::Continue(())
            });
        }
        count + self.waiting_in_several(of, most.saturating_sub(count), looks)
    }

    /// Jobs of lines that stand under a key, where the jobs name several.
    fn waiting_in_several(&self, of: &LimitKey, most: usize, looks: &mut Looks) -> usize {
        let (prefix, mut lines) = (keys::under(of), Vec::new());
        if !looks.seek() {
            return 0;
        }
        self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, id| {
            if lines.len() >= most || !looks.step() {
                return ControlFlow::Break(());
            }
            let id = keys::id_at(id, 0).expect("ids were encoded by this engine");
            lines.extend(keys::lane_at(key, prefix.len()).map(|lane| (lane, id)));
            ControlFlow::Continue(())
        });
        let mut count = 0;
        for (lane, id) in lines {
            if count >= most || !looks.seek() {
                break;
            }
            let job = self.job(of.ns, id).expect("a line has a first job");
            let tenant = job.turns_of().unwrap_or_default();
            let line = keys::lined_prefix(of.ns, lane, tenant, &job.options.limits);
            self.scan(&line, &keys::after_prefix(&line), &mut |_, _| {
                if count >= most || !looks.step() {
                    return ControlFlow::Break(());
                }
                count += 1;
                ControlFlow::Continue(())
            });
        }
        count
    }
}
