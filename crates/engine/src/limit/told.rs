//! Limits as they are told: what runs, which keys hold back, and what waits behind them. A bounded
//! number of entries is counted for whoever asks.

use std::ops::ControlFlow;

use super::{LimitKey, LimitKeyView, LimitScope, LimitSettings, LimitView};
use crate::ids::NamespaceId;
use crate::rejection::Rejection;
use crate::state::{State, keys};

/// Keys that are counted of a limit.
const SPENT_TOLD_MAX: usize = 1000;

/// Jobs that wait which are counted of a limit.
const WAITING_TOLD_MAX: usize = 1000;

/// Keys of a limit that are told one by one.
const KEYS_TOLD_MAX: usize = 20;

/// Entries that are counted in one answer.
const LOOKS_MAX: usize = 20_000;

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
        Ok(self.view_of_limit(ns, (name, settings), KEYS_TOLD_MAX, &mut { LOOKS_MAX }))
    }

    /// The limits of the namespace, up to so many, without their keys.
    pub(crate) fn limit_views(&self, ns: NamespaceId, most: usize) -> Vec<LimitView> {
        let looks = &mut { LOOKS_MAX };
        let all = self.limiting.all(ns).take(most);
        all.map(|(name, settings)| self.view_of_limit(ns, (name, settings), 0, looks)).collect()
    }

    fn view_of_limit(
        &self,
        ns: NamespaceId,
        (name, settings): (&str, &LimitSettings),
        keys_max: usize,
        looks: &mut usize,
    ) -> LimitView {
        let prefix = keys::Key::new(keys::LIMIT_SPENT).namespace(ns).text(name).done();
        let mut spent = Vec::new();
        let most = SPENT_TOLD_MAX.min(*looks);
        self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, _| {
            if spent.len() >= most {
                return ControlFlow::Break(());
            }
            spent.extend(keys::text_at(key, prefix.len()).map(|(key, _)| key));
            ControlFlow::Continue(())
        });
        *looks -= spent.len();
        let (mut waiting, mut told) = (0, Vec::new());
        for key in &spent {
            let left = WAITING_TOLD_MAX.saturating_sub(waiting).min(*looks);
            if left == 0 {
                break;
            }
            let of = LimitKey::new(ns, name, key);
            let count = self.waiting_behind(&of, &settings.scope, left);
            *looks -= count.min(left);
            waiting += count;
            if told.len() < keys_max {
                let running = self.limiting.leases.get(&of).copied().unwrap_or_default();
                told.push(LimitKeyView { key: of.key, running, waiting: count as u64 });
            }
        }
        let running = self.limiting.running.get(&(ns, name.to_owned()));
        LimitView {
            name: name.to_owned(),
            settings: settings.clone(),
            running: running.copied().unwrap_or_default(),
            spent: spent.len() as u64,
            waiting: waiting as u64,
            keys: told,
        }
    }

    /// Jobs that wait behind a key of which nothing is left, up to `most`.
    fn waiting_behind(&self, of: &LimitKey, scope: &LimitScope, most: usize) -> usize {
        let of_queue = |queue: &crate::queue::Queue| queue.counts.waiting;
        let counted = match scope {
            LimitScope::Key => return self.waiting_in_lines(of, most),
            LimitScope::Queue { .. } => self.queues.named(of.ns, &of.key).map_or(0, of_queue),
            LimitScope::Kind { .. } => {
                let versions = self.kinds.all_of(of.ns, &of.key).into_iter();
                let kinds = versions.filter_map(|id| self.kinds.get(id));
                kinds.map(|kind| kind.waiting).sum()
            }
            LimitScope::Namespace => {
                let queues = self.queues.after(of.ns, None).take(most);
                queues.map(of_queue).sum()
            }
        };
        usize::try_from(counted).unwrap_or(most).min(most)
    }

    fn waiting_in_lines(&self, of: &LimitKey, most: usize) -> usize {
        let mut count = 0;
        for lane in self.lanes_of_lines(of) {
            let line = keys::limited_prefix(of.ns, lane, (&of.name, &of.key));
            self.scan(&line, &keys::after_prefix(&line), &mut |_, _| {
                count += 1;
                if count < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            if count >= most {
                break;
            }
        }
        count
    }
}
