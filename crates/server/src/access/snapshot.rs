//! The accounts at one moment, by name and by what they come in with.

use std::collections::HashMap;
use std::sync::Arc;

use longshore_engine::Account;

/// The accounts at one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) accounts: HashMap<String, Arc<Account>>,
    /// Hashes of tokens: the account of each.
    tokens: HashMap<bytes::Bytes, Arc<Account>>,
    certificates: HashMap<String, Arc<Account>>,
}

impl Snapshot {
    pub(super) fn of(accounts: impl IntoIterator<Item = Arc<Account>>) -> Self {
        let mut snapshot = Self::default();
        let mut accounts: Vec<Arc<Account>> = accounts.into_iter().collect();
        // Where two have the same, it is always the same one that comes in.
        accounts.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        for account in accounts {
            for token in &account.tokens {
                let of = snapshot.tokens.entry(token.hash.clone());
                of.or_insert_with(|| Arc::clone(&account));
            }
            for subject in &account.certificates {
                let of = snapshot.certificates.entry(subject.clone());
                of.or_insert_with(|| Arc::clone(&account));
            }
            snapshot.accounts.insert(account.name.clone(), account);
        }
        snapshot
    }

    /// The same with another account, or without one.
    pub(super) fn with(&self, name: &str, account: Option<Account>) -> Self {
        let others = self.accounts.values().filter(|it| it.name != name).cloned();
        Self::of(others.chain(account.map(Arc::new)))
    }

    pub(super) fn of_token(&self, hash: &[u8; 32]) -> Option<&Arc<Account>> {
        self.tokens.get(&hash[..])
    }

    pub(super) fn of_certificate(&self, subject: &str) -> Option<&Arc<Account>> {
        self.certificates.get(subject)
    }
}
