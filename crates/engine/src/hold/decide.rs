//! What may be asked of holds, and what time lets go.

use std::ops::ControlFlow;

use super::{HOLDS_MAX, Hold, HoldAnswer, HoldView, RUNS_TOLD_MAX};
use crate::bounds::{check_name, check_size};
use crate::ids::{JobId, NamespaceId};
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};

impl State {
    /// The record that holds a tag; none where it is held.
    pub(crate) fn decide_hold_put(
        &self,
        namespace: NamespaceId,
        tag: &str,
        reason: Option<String>,
        moment: Moment,
    ) -> Result<Option<Record>, Rejection> {
        check_name(&self.limits, "tag", tag)?;
        let bytes = reason.as_ref().map_or(0, String::len);
        check_size("reason", bytes, self.limits.error_message_bytes_max as u64)?;
        if self.holds.of(namespace, tag).is_some() {
            return Ok(None);
        }
        if self.holds.count(namespace) >= HOLDS_MAX {
            return Err(Rejection::TooManyHolds { limit: HOLDS_MAX });
        }
        let hold = Hold { epoch: self.meta.last_hold + 1, since: moment.at, reason };
        Ok(Some(Record::HoldPut { namespace, tag: tag.to_owned(), hold: Box::new(hold) }))
    }

    pub(crate) fn decide_hold_deleted(
        &self,
        namespace: NamespaceId,
        tag: &str,
    ) -> Result<Record, Rejection> {
        self.check_held(namespace, tag)?;
        Ok(Record::HoldDeleted { namespace, tag: tag.to_owned() })
    }

    fn check_held(&self, ns: NamespaceId, tag: &str) -> Result<&Hold, Rejection> {
        let unknown = || Rejection::HoldUnknown { tag: tag.to_owned() };
        self.holds.of(ns, tag).ok_or_else(unknown)
    }

    /// The epoch of a hold with which something runs still.
    pub(crate) fn unquiet_hold(&self, ns: NamespaceId, tag: &str) -> Option<u64> {
        let hold = self.holds.of(ns, tag)?;
        (self.holds.running(ns, tag) > 0).then_some(hold.epoch)
    }

    /// A hold, and where `runs` says so, its runs.
    pub(crate) fn hold_view(
        &self,
        ns: NamespaceId,
        tag: &str,
        runs: bool,
    ) -> Result<HoldView, Rejection> {
        let hold = self.check_held(ns, tag)?.clone();
        let mut view = HoldView {
            tag: tag.to_owned(),
            hold,
            running: self.holds.running(ns, tag),
            unaccounted: self.holds.lost.count(ns, tag),
            runs: Vec::new(),
            lost: Vec::new(),
        };
        if runs {
            let told = self.holds.runs(ns, tag).take(RUNS_TOLD_MAX).map(|id| {
                let live = self.leases.get(ns, id).expect("what runs has a lease");
                (id, live.lease().token, live.lease().worker.to_string())
            });
            view.runs = told.collect();
            view.lost = self.lost_runs(ns, tag);
        }
        Ok(view)
    }

    pub(crate) fn hold_views(&self, ns: NamespaceId) -> HoldAnswer {
        let tags = self.holds.tags(ns);
        HoldAnswer::Holds(tags.filter_map(|tag| self.hold_view(ns, tag, false).ok()).collect())
    }

    /// The tag for which a job that could start has to stand aside.
    pub(crate) fn decide_held_back(
        &self,
        namespace: NamespaceId,
        id: JobId,
        tags: &[String],
    ) -> Option<Record> {
        let tag = self.holds.held_of(namespace, tags)?.to_owned();
        Some(Record::JobHeldBack { namespace, id, tag })
    }

    /// The record that lets some jobs go whose tag is held no longer.
    pub(crate) fn decide_let_go(&self) -> Option<Record> {
        let (namespace, tag) = self.holds.to_let_go()?.clone();
        let prefix = keys::held_back(namespace, &tag);
        let mut jobs = Vec::new();
        let most = self.limits.slice_items_max;
        self.scan(&prefix, &keys::after_prefix(&prefix), &mut |key, _| {
            if jobs.len() >= most {
                return ControlFlow::Break(());
            }
            jobs.push(keys::id_at(key, prefix.len()).expect("the key names a job"));
            ControlFlow::Continue(())
        });
        Some(Record::HoldLetGo { namespace, tag, jobs })
    }
}
