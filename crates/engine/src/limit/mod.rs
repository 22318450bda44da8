//! Limits at dispatch: how many jobs run at a time, or start in a time, of a namespace, of each
//! queue, of each kind, or of each key that jobs name. What a limit holds back costs others
//! nothing: the lanes of a queue go out of the merge, those of a kind are passed as wholes, and
//! jobs that name a key stand in a line of that key, whose first alone is in its lane.

mod budget;
mod change;
mod decide;
mod leases;
mod line;
mod offering;
mod several;
mod told;
mod usage;

pub use change::limits_unsettled;
pub(crate) use decide::limits_told;
pub(crate) use line::Line;
pub(crate) use several::line_moved;
pub(crate) use told::LIMIT_LOOKS;
pub(crate) use usage::{Limiting, Room, Taken};

use crate::ids::{NamespaceId, TimeMs};
use crate::job::JobOptions;
use crate::state::keys;
use crate::wire::{wire_enum, wire_struct};

/// Limits that a namespace may have: each is looked at whenever one of its jobs is granted.
pub(crate) const LIMITS_MAX: usize = 100;

wire_enum! {
    /// What a limit counts by itself.
    pub enum LimitScope {
        /// All jobs of the namespace together.
        1 => Namespace,
        /// The jobs of each queue.
        2 => Queue {
            /// Only of this one.
            name: Option<String> = 1,
        },
        /// The jobs of each kind.
        3 => Kind {
            /// Only of this one.
            name: Option<String> = 1,
        },
        /// The jobs of each key, as jobs name them.
        4 => Key,
    }
}

wire_enum! {
    /// How many.
    pub enum LimitRule {
        /// So many leases at a time.
        1 => Concurrency {
            /// How many.
            max: u64,
        },
        /// So many grants in each period; periods follow each other from 1970 on.
        2 => Window {
            /// How many.
            max: u64,
            /// How long one is.
            period_ms: u64,
        },
        /// As many grants as there are tokens.
        3 => Bucket {
            /// How many tokens there are at most, and at first.
            burst: u64,
            /// So many come in
            count: u64,
            /// such a time.
            period_ms: u64,
        },
    }
}

wire_struct! {
    /// What its owner set.
    pub struct LimitSettings {
        /// What it counts by itself.
        pub scope: LimitScope,
        /// How many.
        pub rule: LimitRule,
    }
}

wire_struct! {
    /// The limit that a job names, and its key there.
    pub struct JobLimit {
        /// The limit. One that does not exist holds nothing back.
        pub name: String,
        /// Which of its keys.
        pub key: String,
    }
}

wire_struct! {
    /// A limit whose budget has come back, in part or whole.
    pub struct LimitRefill {
        /// When.
        pub at: TimeMs,
        /// Its namespace.
        pub namespace: NamespaceId,
        /// Its name.
        pub name: String,
        /// Which of its keys.
        pub key: String,
    }
}

/// Keys of limits that one job may name.
pub(crate) const LIMITS_OF_JOB_MAX: usize = 4;

/// A limit as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitView {
    /// Its name.
    pub name: String,
    /// What its owner set.
    pub settings: LimitSettings,
    /// Leases that it counts.
    pub running: u64,
    /// Keys (the namespace, queues, kinds) that it holds back now; of very many only some.
    pub spent: u64,
    /// Jobs that wait, their time has come or not, behind these keys; of very many only some.
    pub waiting: u64,
    /// Some of these keys, where one limit is asked for.
    pub keys: Vec<LimitKeyView>,
}

/// A key of a limit that holds jobs back.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitKeyView {
    /// The key; the name of a queue or kind where that is what the limit counts by itself.
    pub key: String,
    /// Leases that it counts.
    pub running: u64,
    /// Jobs that wait behind it; of very many only some.
    pub waiting: u64,
}

/// One key of a limit.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct LimitKey {
    pub(crate) ns: NamespaceId,
    pub(crate) name: String,
    pub(crate) key: String,
}

impl LimitKey {
    fn new(ns: NamespaceId, name: &str, key: &str) -> Self {
        Self { ns, name: name.to_owned(), key: key.to_owned() }
    }

    fn spent(&self) -> Vec<u8> {
        keys::limit_spent(self.ns, &self.name, &self.key)
    }
}

impl LimitSettings {
    /// Under which of its keys the limit counts a job; none where it does not.
    pub(crate) fn key_of<'a>(
        &self,
        name: &str,
        (queue, kind): (&'a str, &'a str),
        own: &'a JobOptions,
    ) -> Option<&'a str> {
        let only = |name: &Option<String>, of: &'a str| {
            name.as_ref().is_none_or(|name| name == of).then_some(of)
        };
        match &self.scope {
            LimitScope::Namespace => Some(""),
            LimitScope::Queue { name } => only(name, queue),
            LimitScope::Kind { name } => only(name, kind),
            LimitScope::Key => own.own_limits().find(|own| own.name == name).map(|own| &*own.key),
        }
    }

    pub(crate) fn counts_leases(&self) -> bool {
        matches!(self.rule, LimitRule::Concurrency { .. })
    }
}
