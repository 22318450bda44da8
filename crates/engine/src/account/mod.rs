//! Accounts: who may come in, by which credentials, and what they may do; and the trail of what
//! was changed. They live in the shard that the name [`SYSTEM_NAMESPACE`] gives. Nothing here
//! knows how a password is checked: secrets come and stay as hashes.

mod apply;
mod audit;
mod decide;
mod types;

pub(crate) use apply::Accounts;
pub(crate) use audit::AuditNote;
pub use types::{
    Account, AccountAnswer, AccountChange, AccountCommand, AccountGrant, AccountToken, AuditEntry,
    AuditedCommand, NewToken, PasswordKeys, Role, SYSTEM_NAMESPACE, ScramKeys, matches_pattern,
};

/// Accounts that there may be.
pub(crate) const ACCOUNTS_MAX: u64 = 10_000;
/// Tokens of an account, those that have expired included.
pub const TOKENS_MAX: usize = 64;
/// Grants of an account.
pub const GRANTS_MAX: usize = 64;
/// Subjects of certificates of an account.
pub const CERTIFICATES_MAX: usize = 16;
/// Accounts in one answer at most.
pub(crate) const ACCOUNTS_PER_PAGE_MAX: usize = 100;
/// Entries of the trail in one answer at most.
pub(crate) const ENTRIES_PER_PAGE_MAX: usize = 1000;
/// Bytes in one answer, about, as they are kept.
pub(crate) const PAGE_BYTES_MAX: usize = 256 << 10;
/// Entries of the trail that a shard keeps; older ones go.
pub(crate) const ENTRIES_MAX: u64 = 10_000;
/// For how long it keeps them: 90 days.
pub(crate) const ENTRIES_MS_MAX: u64 = 90 * 24 * 60 * 60 * 1000;
/// Bytes of what an entry tells of before and of after.
pub(crate) const ENTRY_TEXT_BYTES_MAX: usize = 2048;
