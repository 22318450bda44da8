//! What memory knows of accounts and of the trail, and how records change both.

use super::{Account, AuditEntry};
use crate::ids::TimeMs;
use crate::record::Record;
use crate::state::{State, keys};

/// What memory holds of accounts and the trail.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    /// How many accounts there are.
    pub(super) count: u64,
    /// When the oldest entry of the trail was made.
    pub(super) oldest_entry: Option<TimeMs>,
}

impl State {
    pub(crate) fn account(&self, name: &str) -> Option<Account> {
        self.value(&keys::account(name))
    }

    pub(crate) fn apply_to_accounts(&mut self, record: Record) {
        match record {
            Record::AccountPut { account } => {
                let key = keys::account(&account.name);
                self.accounts.count += u64::from(self.get(&key).is_none());
                self.put(&key, &*account);
            }
            Record::AccountRemoved { name } => {
                let count = self.accounts.count.checked_sub(1);
                self.accounts.count = count.expect("the record names an account that is there");
                self.remove(&keys::account(&name));
            }
            Record::AuditNoted { entry } => self.apply_audit_noted(&entry),
            Record::AuditForgotten { through } => self.apply_audit_forgotten(through),
            _ => unreachable!("apply sends other records elsewhere"),
        }
    }

    fn apply_audit_noted(&mut self, entry: &AuditEntry) {
        let meta = self.meta_mut();
        assert!(entry.number == meta.last_audit + 1, "entries of the trail have no gaps");
        meta.last_audit = entry.number;
        self.put(&keys::audit(entry.number), entry);
        self.accounts.oldest_entry.get_or_insert(entry.at);
    }

    fn apply_audit_forgotten(&mut self, through: u64) {
        for number in self.meta.audit_forgotten + 1..=through {
            self.remove(&keys::audit(number));
        }
        self.meta_mut().audit_forgotten = through;
        self.accounts.oldest_entry = self.oldest_entry();
    }

    fn oldest_entry(&self) -> Option<TimeMs> {
        let oldest = self.value::<AuditEntry>(&keys::audit(self.meta.audit_forgotten + 1));
        oldest.map(|entry| entry.at)
    }

    /// Reads what memory holds of them when a shard starts.
    pub(crate) fn load_accounts(&mut self) {
        let mut count = 0;
        self.scan(&[keys::ACCOUNT], &[keys::ACCOUNT + 1], &mut |_, _| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        });
        self.accounts = Accounts { count, oldest_entry: self.oldest_entry() };
    }
}
