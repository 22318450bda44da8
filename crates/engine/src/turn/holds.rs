//! Commands about holds, and requests that wait until nothing runs with a tag.

use super::Turn;
use super::waiters::Target;
use crate::answer::Answer;
use crate::command::ReplyTo;
use crate::hold::{HoldAnswer, HoldCommand};
use crate::ids::NamespaceId;
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;

impl Turn {
    /// `None` where the answer comes later.
    pub(super) fn handle_holds(
        &mut self,
        ns: NamespaceId,
        created: Option<Record>,
        (reply_to, command): (ReplyTo, HoldCommand),
        moment: Moment,
    ) -> Option<Result<Answer, Rejection>> {
        let (tag, wait_ms) = match command {
            HoldCommand::Put { tag, reason, wait_ms } => {
                let decided = self.state.decide_hold_put(ns, &tag, reason, moment);
                let put = decided.and_then(|record| {
                    self.try_record(created.into_iter().chain(record).collect::<Vec<_>>())
                });
                if let Err(rejection) = put {
                    return Some(Err(rejection));
                }
                (tag, wait_ms)
            }
            HoldCommand::Delete { tag } => {
                let decided = self.state.decide_hold_deleted(ns, &tag);
                return Some(decided.map(|record| {
                    self.record(record);
                    Answer::Holds(HoldAnswer::Deleted)
                }));
            }
            HoldCommand::Get { tag, wait_ms } => (tag, wait_ms),
            HoldCommand::List => return Some(Ok(Answer::Holds(self.state.hold_views(ns)))),
        };
        let epoch = self.state.unquiet_hold(ns, &tag);
        let Some(epoch) = epoch.filter(|_| wait_ms > 0 && !self.stopping) else {
            return Some(self.hold_answer(ns, &tag));
        };
        // The hold stands whether there is room to wait for it or not.
        if self.check_waiting(ns).is_err() {
            return Some(self.hold_answer(ns, &tag));
        }
        let wait_ms = wait_ms.min(self.state.limits.wait_ms_max);
        self.holds_awaited.insert(epoch, tag);
        self.waiters.add(reply_to, ns, moment.mono.plus(wait_ms), Target::Quiet(ns, epoch));
        None
    }

    fn hold_answer(&self, ns: NamespaceId, tag: &str) -> Result<Answer, Rejection> {
        Ok(Answer::Holds(HoldAnswer::Hold(Box::new(self.state.hold_view(ns, tag, true)?))))
    }

    /// The hold of that epoch as it is now, for who waited for it to be quiet.
    pub(super) fn awaited_hold(&self, ns: NamespaceId, epoch: u64) -> Answer {
        let tag = self.holds_awaited.get(&epoch).cloned().unwrap_or_default();
        match self.state.hold_view(ns, &tag, true) {
            Ok(view) if view.hold.epoch == epoch => Answer::Holds(HoldAnswer::Hold(Box::new(view))),
            _ => Answer::Rejected(Rejection::HoldUnknown { tag }),
        }
    }

    /// Tells those who wait for holds with which nothing runs any more.
    pub(super) fn tell_quiet(&mut self) {
        for (ns, tag, epoch) in self.state.holds.take_quiet() {
            let waiting = self.waiters.take_quiet(ns, epoch);
            if !waiting.is_empty() {
                self.holds_awaited.insert(epoch, tag);
                let answer = self.awaited_hold(ns, epoch);
                for reply_to in waiting {
                    self.reply(reply_to, answer.clone());
                }
            }
            self.holds_awaited.remove(&epoch);
        }
    }
}
