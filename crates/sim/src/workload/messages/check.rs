//! What must be true of the messages of a state: what was confirmed is there until it was acked or
//! ended by a rule, and then its letter is; what is gone stays gone; and counts of queues equal
//! what stands in them.

use std::collections::{BTreeMap, BTreeSet};

use longshore_engine::query::peek_messages;
use longshore_engine::{Clock, MessageFilter, PeekedMessage, Rejection, Turn};

use super::account::{Account, Of};
use super::{GRAVES, PLAIN, QUEUES, leaves_letters};
use crate::node::NAMESPACES;
use crate::workload::Check;

/// More than any run has.
pub(crate) const ALL: (usize, usize) = (100_000, 100_000_000);

/// Checks a state to which nothing was added since its last group.
/// `all_came` where what was published with a delay has been routed, too.
pub(crate) fn check(turn: &Turn, account: &Account, clock: Clock, all_came: bool) -> Check {
    let mut there = BTreeMap::new();
    for queue in QUEUES {
        let (named, all) = ((NAMESPACES[0], queue), MessageFilter::default());
        let messages = match peek_messages(turn.map(), named, &all, None, ALL) {
            Ok(page) => page.messages,
            Err(Rejection::QueueUnknown { .. } | Rejection::NamespaceUnknown { .. }) => continue,
            Err(other) => return Err(format!("looking at queue {queue}: {other}")),
        };
        check_counts(turn, queue, &messages, clock)?;
        for peeked in messages {
            let of = Of::message(queue, &peeked.message)?;
            if there.insert(of, peeked.tag).is_some() {
                return Err(format!("{of} is there twice"));
            }
        }
    }
    for of in there.keys() {
        if account.known(of.origin()).is_none() {
            return Err(format!("{of} is there, and nobody published it"));
        }
        if account.known(*of).is_some_and(|known| known.ended) {
            let known = account.known(*of);
            return Err(format!("{of} is there, although it is gone: {known:?}"));
        }
    }
    // What became of each by its death or a move, or may have.
    let (mut came, mut may_be_gone) = (BTreeMap::new(), BTreeMap::new());
    for of in there.keys() {
        came.entry(of.origin()).or_insert_with(BTreeSet::new).insert(of.stage);
    }
    for (of, _) in account.messages.iter().filter(|(_, it)| it.may_be_gone || it.ended) {
        let last: &mut u64 = may_be_gone.entry(of.origin()).or_default();
        *last = of.stage.max(*last);
    }
    for (of, known) in &account.messages {
        let is_there = there.contains_key(of);
        let stages = came.get(&of.origin());
        let is_later = stages.and_then(BTreeSet::last).is_some_and(|last| *last > of.stage);
        let moves = [PLAIN, GRAVES].contains(&of.queue) && account.is_moved(of.queue);
        let may_leave = (leaves_letters(of.queue) || moves) && !known.acked;
        if is_later && (is_there || !may_leave) {
            return Err(format!("{of} went on, but: there {is_there}, {known:?}"));
        }
        let later_may_be_gone = may_be_gone.get(&of.origin()).is_some_and(|last| *last > of.stage);
        let buried = may_leave && (is_later || later_may_be_gone);
        let owed = known.confirmed && (all_came || !known.delayed);
        if owed && !known.may_be_gone && !known.ended && !is_there && !buried {
            return Err(format!("{of} is lost: {known:?}"));
        }
    }
    Ok(())
}

/// A queue counts what stands in it.
fn check_counts(turn: &Turn, name: &str, messages: &[PeekedMessage], clock: Clock) -> Check {
    let stats = turn.stats(clock, None, usize::MAX).queues;
    let of = |namespace: &str, queue: &str| namespace == NAMESPACES[0] && queue == name;
    let found = stats.iter().find(|it| of(&it.namespace, &it.queue.name));
    let Some(view) = found.and_then(|found| found.queue.messages.as_ref()) else {
        return Err(format!("queue {name} holds messages and is not told"));
    };
    let number = messages.len() as u64;
    let bytes: u64 = messages.iter().map(|it| it.message.body.len() as u64).sum();
    let counted = (view.ready + view.unsettled, view.bytes);
    if counted != (number, bytes) {
        return Err(format!("queue {name} counts {counted:?}, and has {:?}", (number, bytes)));
    }
    let left = view.published_total - view.acked_total - view.dropped_total;
    if left != number {
        return Err(format!("of queue {name} {left} are left by its totals, and {number} are"));
    }
    let leased = messages.iter().filter(|it| it.leased).count() as u64;
    if leased > view.unsettled {
        let held = view.unsettled;
        return Err(format!(
            "queue {name} has {leased} messages out for a time, and {held} in all"
        ));
    }
    Ok(())
}
