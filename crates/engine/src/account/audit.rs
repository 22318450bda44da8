//! The trail of changes: entries are numbered without gaps, the newest are kept.

use std::ops::ControlFlow;

use super::{
    AccountAnswer, AuditEntry, ENTRIES_MAX, ENTRIES_MS_MAX, ENTRIES_PER_PAGE_MAX,
    ENTRY_TEXT_BYTES_MAX, PAGE_BYTES_MAX,
};
use crate::bounds::cut;
use crate::ids::TimeMs;
use crate::moment::Moment;
use crate::record::Record;
use crate::state::{State, keys};
use crate::wire::Wire;

/// Entries that go in one turn.
const SLICE_MAX: u64 = 256;

/// What is noted of a change.
#[derive(Clone, Debug)]
pub(crate) struct AuditNote<'a> {
    pub(crate) action: &'static str,
    pub(crate) namespace: Option<&'a str>,
    pub(crate) object: &'a str,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

impl State {
    /// The record that notes a change.
    pub(crate) fn decide_audit(&self, by: &str, note: AuditNote<'_>, moment: Moment) -> Record {
        let name = |text: &str| cut(text, self.limits.name_bytes_max);
        let text = |text: Option<String>| text.map(|text| cut(&text, ENTRY_TEXT_BYTES_MAX));
        Record::AuditNoted {
            entry: Box::new(AuditEntry {
                number: self.meta.last_audit + 1,
                at: moment.at,
                by: name(by),
                action: note.action.to_owned(),
                object: name(note.object),
                namespace: note.namespace.map(name),
                before: text(note.before),
                after: text(note.after),
            }),
        }
    }

    /// When the oldest entry is to go: now, where there are too many.
    pub(crate) fn next_audit_to_forget(&self) -> Option<TimeMs> {
        let oldest = self.accounts.oldest_entry?;
        let kept = self.meta.last_audit - self.meta.audit_forgotten;
        Some(if kept > ENTRIES_MAX { TimeMs(0) } else { oldest.plus(ENTRIES_MS_MAX) })
    }

    /// The record that forgets some of the oldest entries.
    pub(crate) fn decide_audit_forgotten(&self, now: TimeMs) -> Option<Record> {
        if self.next_audit_to_forget()? > now {
            return None;
        }
        let first = self.meta.audit_forgotten + 1;
        let excess = (self.meta.last_audit - self.meta.audit_forgotten).saturating_sub(ENTRIES_MAX);
        let last = first + SLICE_MAX.min(excess.max(1)) - 1;
        let mut through = if excess > 0 { last } else { first };
        // The first is too old or too many; those behind it may be old as well.
        while through < first + SLICE_MAX - 1 {
            let next = self.value::<AuditEntry>(&keys::audit(through + 1));
            if next.is_none_or(|entry| entry.at.plus(ENTRIES_MS_MAX) > now) {
                break;
            }
            through += 1;
        }
        Some(Record::AuditForgotten { through })
    }

    pub(crate) fn audit_told(&self, after: Option<u64>, limit: usize) -> AccountAnswer {
        let most = limit.clamp(1, ENTRIES_PER_PAGE_MAX);
        let newest = || self.meta.last_audit.saturating_sub(most as u64);
        let after = after.unwrap_or_else(newest).max(self.meta.audit_forgotten);
        let (mut entries, mut more, mut bytes) = (Vec::new(), false, 0);
        let from = keys::audit(after.saturating_add(1));
        self.scan(&from, &[keys::AUDIT + 1], &mut |_, value| {
            bytes += value.len();
            if entries.len() == most || (bytes > PAGE_BYTES_MAX && !entries.is_empty()) {
                more = true;
                return ControlFlow::Break(());
            }
            entries.push(AuditEntry::from_bytes(value).expect("encoded by this engine"));
            ControlFlow::Continue(())
        });
        AccountAnswer::Entries(entries, more)
    }
}
