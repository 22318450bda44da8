//! Clients, what they ask, what they were told, and what must be true of that.

pub(crate) mod accounts;
pub(crate) mod breaches;
pub(crate) mod changes;
pub(crate) mod clients;
pub(crate) mod counted;
pub(crate) mod events;
pub(crate) mod expected;
pub(crate) mod fired;
pub(crate) mod gates;
pub(crate) mod holds;
pub(crate) mod invariants;
pub(crate) mod keyed;
pub(crate) mod limits;
pub(crate) mod messages;
pub(crate) mod newest;
pub(crate) mod ops;
pub(crate) mod oracle;
pub(crate) mod order;
pub(crate) mod queues;
pub(crate) mod relay;
mod replayed;
pub(crate) mod scopes;
pub(crate) mod shadow;
pub(crate) mod slas;
pub(crate) mod tenants;
pub(crate) mod told;
pub(crate) mod transactions;
pub(crate) mod uniques;
pub(crate) mod versions;

/// What must not be, in words.
pub(crate) type Check = Result<(), String>;

/// The names of things are few, so that clients meet.
pub(crate) const QUEUES: [&str; 4] = ["mail", "mail.slow", "reports", "ping"];
pub(crate) const KINDS: [&str; 3] = ["send", "render", "clean"];
pub(crate) const KEYS: [&str; 2] = ["account-1", "account-2"];

/// The limit that jobs name.
pub(crate) const LIMIT: &str = "slots";

/// A limit that counts what starts in a time.
pub(crate) const CALLS: &str = "calls";
/// The limit that hands out tokens.
pub(crate) const TOKENS: &str = "tokens";
