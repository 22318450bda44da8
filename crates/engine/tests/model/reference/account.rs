//! Accounts: a map of names, and a list of what was changed.

use std::collections::BTreeMap;

use longshore_engine::{
    Account, AccountAnswer, AccountChange, AccountCommand, AccountToken, Answer, Rejection,
};

use super::{Reference, Refusable};

/// Accounts, and how many entries the trail has.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefAccounts {
    pub(crate) accounts: BTreeMap<String, Account>,
    /// What was done to whom, by whom.
    pub(crate) trail: Vec<(String, &'static str, String)>,
}

impl Reference {
    pub(super) fn of_accounts(&mut self, command: AccountCommand) -> Refusable<Answer> {
        let unknown = |name: &str| Rejection::AccountUnknown { name: name.to_owned() };
        let answer = match command {
            AccountCommand::Change { name, create, change, by } => {
                let known = self.accounts.accounts.get(&name).cloned();
                if known.is_none() && !create {
                    return Err(unknown(&name));
                }
                let changed = self.changed(known.as_ref(), &name, *change)?;
                if known.as_ref() != Some(&changed) {
                    let changed = Account { changed_at: self.now, ..changed };
                    self.accounts.accounts.insert(name.clone(), changed);
                    self.accounts.trail.push((by, "account.put", name.clone()));
                }
                AccountAnswer::Account(Box::new(self.accounts.accounts[&name].clone()))
            }
            AccountCommand::Delete { name, by } => {
                self.accounts.accounts.remove(&name).ok_or_else(|| unknown(&name))?;
                self.accounts.trail.push((by, "account.delete", name));
                AccountAnswer::Deleted
            }
            AccountCommand::Get { name } => {
                let known = self.accounts.accounts.get(&name).ok_or_else(|| unknown(&name))?;
                AccountAnswer::Account(Box::new(known.clone()))
            }
            AccountCommand::List { after, limit } => {
                let all = self.accounts.accounts.values();
                let mut all = all.filter(|it| after.as_ref().is_none_or(|after| it.name > *after));
                let page = all.by_ref().take(limit.max(1)).cloned().collect();
                AccountAnswer::Accounts(page, all.next().is_some())
            }
            AccountCommand::Audit { .. } | AccountCommand::Note { .. } => {
                unreachable!("none is drawn")
            }
        };
        Ok(Answer::Accounts(answer))
    }

    fn changed(
        &self,
        known: Option<&Account>,
        name: &str,
        change: AccountChange,
    ) -> Refusable<Account> {
        let mut account = known.cloned().unwrap_or_else(|| Account {
            name: name.to_owned(),
            created_at: self.now,
            changed_at: self.now,
            password: None,
            tokens: Vec::new(),
            certificates: Vec::new(),
            grants: Vec::new(),
            requests_per_second: None,
            namespace: None,
        });
        if let Some(id) = change.revoke_token {
            let at = account.tokens.iter().position(|token| token.id == id);
            let gone = || Rejection::TokenUnknown { account: name.to_owned(), id: id.clone() };
            account.tokens.remove(at.ok_or_else(gone)?);
        }
        if let Some(new) = change.add_token {
            match account.tokens.iter().find(|token| token.id == new.id) {
                Some(known) if (&known.hash, known.expires_at) == (&new.hash, new.expires_at) => {}
                Some(_) => {
                    let (value, allowed) = (new.id, String::new());
                    return Err(Rejection::ValueRefused { field: "token", value, allowed });
                }
                None => {
                    account.tokens.retain(|it| it.expires_at.is_none_or(|at| at > self.now));
                    let (id, hash, expires_at) = (new.id, new.hash, new.expires_at);
                    let created_at = self.now;
                    account.tokens.push(AccountToken { id, hash, created_at, expires_at });
                }
            }
        }
        account.certificates = change.certificates.unwrap_or(account.certificates);
        account.requests_per_second =
            change.requests_per_second.unwrap_or(account.requests_per_second);
        Ok(account)
    }
}
