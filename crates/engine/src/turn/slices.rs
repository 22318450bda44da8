//! Commands about all leases of a session. They go on a slice per tick and are answered after the
//! last slice. Volatile: where the shard ends first, the leases run out by their time.

use std::collections::{BTreeSet, VecDeque};

use super::Turn;
use crate::answer::{Answer, SessionView};
use crate::command::{HeldLease, Holder, ReplyTo};
use crate::effect::CloseReason;
use crate::ids::{JobId, MonoMs, NamespaceId, Token};
use crate::moment::Moment;
use crate::queueing::{AtWorker, HolderKey, holder_key};

/// A command that is under way.
#[derive(Debug)]
struct Sliced {
    reply_to: ReplyTo,
    key: HolderKey,
    view: SessionView,
    rest: Rest,
}

/// What is left of it.
#[derive(Debug)]
enum Rest {
    /// The session is there again, and what it has is compared with what its worker names.
    Resume(Resume),
    /// The session ends.
    End(End),
    /// Leases that its face thinks it has are compared.
    Compare(Vec<(JobId, Token)>),
}

#[derive(Debug)]
struct Resume {
    /// What the worker names and was not looked at yet.
    named: std::vec::IntoIter<HeldLease>,
    /// What it named and has.
    kept: BTreeSet<JobId>,
    /// When the session was heard before. For leases that it does not name, that was the last
    /// time.
    heard: Option<MonoMs>,
    /// Leases up to here were looked at.
    after: Option<Token>,
    /// Leases that were granted later are not looked at.
    last: Token,
}

#[derive(Debug)]
struct End {
    /// The leases up to here have ended.
    after: Option<Token>,
    /// Those that were granted later are not meant.
    last: Token,
    why: String,
    goodbye: bool,
    /// A job that is not known to run may have ended the worker.
    may_have: bool,
}

/// Commands that are under way, the next one first.
#[derive(Debug, Default)]
pub(super) struct Slices(VecDeque<Sliced>);

impl Slices {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Turn {
    /// The session is there, perhaps again. It has the leases that its worker names; all of them
    /// hold anew at once.
    pub(super) fn resume_session(
        &mut self,
        ns: NamespaceId,
        reply_to: ReplyTo,
        (holder, named): (&Holder, Vec<HeldLease>),
        moment: Moment,
    ) {
        // What the stream before has not got by now is compared below.
        self.end_stream(ns, holder, CloseReason::Superseded);
        let key = holder_key(ns, holder);
        self.stop(&key);
        let heard = self.state.leases.hear_session(&key, self.state.mono());
        let last = self.state.leases.last_of_session(&key).unwrap_or_default();
        let (named, kept) = (named.into_iter(), BTreeSet::new());
        let rest = Rest::Resume(Resume { named, kept, heard, after: None, last });
        let view = SessionView::default();
        self.go_on(Sliced { reply_to, key, view, rest }, moment);
    }

    /// One heartbeat for all that a session has. All of it holds anew at once; what the session
    /// has lost is looked for in slices.
    pub(super) fn extend_session(
        &mut self,
        ns: NamespaceId,
        reply_to: ReplyTo,
        (holder, known): (&Holder, Vec<(JobId, Token)>),
        moment: Moment,
    ) {
        let key = holder_key(ns, holder);
        self.state.leases.hear_session(&key, self.state.mono());
        let (view, rest) = (SessionView::default(), Rest::Compare(known));
        self.go_on(Sliced { reply_to, key, view, rest }, moment);
    }

    /// The session has ended: what had not started goes back, what had is lost.
    pub(super) fn end_session(
        &mut self,
        ns: NamespaceId,
        reply_to: ReplyTo,
        (holder, why, goodbye): (&Holder, String, bool),
        moment: Moment,
    ) {
        self.end_stream(ns, holder, CloseReason::SessionEnded);
        let key = holder_key(ns, holder);
        let Some(last) = self.state.leases.last_of_session(&key) else {
            return self.reply(reply_to, Answer::Session(Box::default()));
        };
        let end = End { after: None, last, why, goodbye, may_have: !goodbye };
        let (view, rest) = (SessionView::default(), Rest::End(end));
        self.go_on(Sliced { reply_to, key, view, rest }, moment);
    }

    /// The session is there again, and all of its leases are compared anew. Other commands about
    /// them that are under way end here; heartbeats go on.
    fn stop(&mut self, key: &HolderKey) {
        for sliced in std::mem::take(&mut self.slices.0) {
            if sliced.key == *key && !matches!(sliced.rest, Rest::Compare(_)) {
                self.reply(sliced.reply_to, Answer::Session(Box::new(sliced.view)));
            } else {
                self.slices.0.push_back(sliced);
            }
        }
    }

    /// Does the next slice of one of the commands that are under way.
    pub(super) fn advance_slices(&mut self, moment: Moment) {
        if let Some(sliced) = self.slices.0.pop_front() {
            self.go_on(sliced, moment);
        }
    }

    fn go_on(&mut self, mut sliced: Sliced, moment: Moment) {
        let most = self.state.limits.slice_items_max;
        let ns = sliced.key.0;
        let whole = match &mut sliced.rest {
            Rest::Compare(known) => {
                let part = known.drain(..known.len().min(most));
                let gone =
                    |(id, token): &(JobId, Token)| self.state.live_lease(ns, *id, *token).is_err();
                sliced.view.lost.extend(part.filter(gone));
                known.is_empty()
            }
            Rest::Resume(resume) => {
                let mut left = most;
                while left > 0
                    && let Some(lease) = resume.named.next()
                {
                    left -= 1;
                    self.compare_named(&sliced.key, lease, resume, &mut sliced.view);
                }
                let leases = (resume.after, resume.last);
                let leases = self.state.leases.of_session(&sliced.key, leases, left);
                let whole = leases.len() < left;
                for (token, id) in leases {
                    resume.after = Some(token);
                    if !resume.kept.contains(&id) {
                        self.drop_unnamed(ns, (id, token), resume.heard, &mut sliced.view, moment);
                    }
                }
                whole
            }
            Rest::End(end) => {
                let leases = (end.after, end.last);
                let leases = self.state.leases.of_session(&sliced.key, leases, most);
                let whole = leases.len() < most;
                for (token, id) in leases {
                    end.after = Some(token);
                    self.end_held(ns, (id, token), end, &mut sliced.view, moment);
                }
                whole || end.after == Some(end.last)
            }
        };
        if !whole {
            return self.slices.0.push_back(sliced);
        }
        if !matches!(sliced.rest, Rest::End(_)) {
            // Also for leases that were named only now.
            if matches!(sliced.rest, Rest::Resume(_)) {
                self.state.leases.hear_session(&sliced.key, self.state.mono());
            }
            sliced.view.told = self.state.leases.told_of_session(&sliced.key);
            sliced.view.leases = self.state.leases.count_of_session(&sliced.key);
        }
        self.reply(sliced.reply_to, Answer::Session(Box::new(sliced.view)));
    }

    fn compare_named(
        &mut self,
        key: &HolderKey,
        lease: HeldLease,
        resume: &mut Resume,
        view: &mut SessionView,
    ) {
        let ns = key.0;
        if !self.is_of(key, &lease) {
            view.lost.push((lease.id, lease.token));
            return;
        }
        self.state.note_named(ns, lease.id, lease.started);
        resume.kept.insert(lease.id);
        // As it is after it was named: a run that is heard of only now has its timeout from now
        // on.
        view.held.extend(self.held_job(ns, lease.id));
    }

    fn drop_unnamed(
        &mut self,
        ns: NamespaceId,
        (id, token): (JobId, Token),
        heard: Option<MonoMs>,
        view: &mut SessionView,
        moment: Moment,
    ) {
        let Some(live) = self.state.leases.get(ns, id) else { return };
        let (at_worker, once) = (live.at_worker(), live.job().options.at_most_once);
        match at_worker {
            // It did not arrive, or went with the stream before. A worker names what it has
            // settled and heard no answer to as well: what stood when the shard started and
            // is not named was on its way then.
            AtWorker::Delivered | AtWorker::Unknown if !once => {
                self.give_back(ns, (id, token), moment);
                view.given_back.push((id, token));
            }
            // It may have been settled, and its settlement is to come again.
            _ => self.state.set_apart(ns, id, heard),
        }
    }

    /// Workers start jobs in the order in which they get them: only the first of those that are
    /// not known to run can have ended this one.
    fn end_held(
        &mut self,
        ns: NamespaceId,
        (id, token): (JobId, Token),
        end: &mut End,
        view: &mut SessionView,
        moment: Moment,
    ) {
        let Some(live) = self.state.leases.get(ns, id) else { return };
        // Whoever leaves in order has said before what it started, so what it did not is free,
        // even where it runs at most once: it may have come while the worker was about to leave.
        let unsaid =
            end.goodbye && live.at_worker() == AtWorker::Started && !self.state.has_begun(ns, live);
        let free = (live.at_worker() == AtWorker::Delivered || unsaid)
            && !(std::mem::take(&mut end.may_have) && self.state.leases.is_suspect(ns, id));
        if free {
            if self.give_back(ns, (id, token), moment) {
                view.given_back.push((id, token));
            } else {
                view.lost.push((id, token));
            }
            if !end.goodbye {
                self.state.leases.note_vanished(ns, id);
            }
        } else if let Some(record) = self.state.decide_loss(ns, id, &end.why, moment) {
            self.record(record);
            view.lost.push((id, token));
        }
    }
}
