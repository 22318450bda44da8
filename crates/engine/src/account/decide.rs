//! What may be asked of accounts: bounds of what is kept, and how an account is after a change.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::audit::AuditNote;
use super::{
    ACCOUNTS_MAX, ACCOUNTS_PER_PAGE_MAX, Account, AccountAnswer, AccountChange, AccountGrant,
    AccountToken, CERTIFICATES_MAX, GRANTS_MAX, NewToken, PAGE_BYTES_MAX, PasswordKeys, TOKENS_MAX,
};
use crate::bounds::{check_name, check_size};
use crate::ids::TimeMs;
use crate::moment::Moment;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::{State, keys};
use crate::wire::Wire;

/// Bytes of a password's hash in its text form, and of each of its keys for SCRAM.
const HASH_BYTES_MAX: u64 = 256;
/// Bytes of a token's hash: SHA-256.
const TOKEN_HASH_BYTES: usize = 32;

fn check_count(field: &'static str, count: usize, max: usize) -> Result<(), Rejection> {
    if count <= max {
        return Ok(());
    }
    let (value, allowed) = (format!("{count} of them"), format!("at most {max}"));
    Err(Rejection::ValueRefused { field, value, allowed })
}

fn check_password(keys: &PasswordKeys) -> Result<(), Rejection> {
    check_size("password", keys.hash.len(), HASH_BYTES_MAX)?;
    for scram in [&keys.scram_sha_256, &keys.scram_sha_512].into_iter().flatten() {
        for part in [&scram.salt, &scram.stored_key, &scram.server_key] {
            check_size("password", part.len(), HASH_BYTES_MAX)?;
        }
    }
    Ok(())
}

impl State {
    fn check_grants(&self, grants: &[AccountGrant]) -> Result<(), Rejection> {
        check_count("grants", grants.len(), GRANTS_MAX)?;
        for grant in grants {
            for (field, pattern) in
                [("grants.namespace", &grant.namespace), ("grants.names", &grant.names)]
            {
                check_name(&self.limits, field, pattern)?;
                let beginning = pattern.strip_suffix('*').unwrap_or(pattern);
                if beginning.contains('*') {
                    let allowed = "a name, or the beginning of names with one * at its end";
                    let (value, allowed) = (format!("\"{pattern}\""), allowed.to_owned());
                    return Err(Rejection::ValueRefused { field, value, allowed });
                }
            }
        }
        Ok(())
    }

    fn check_account_change(&self, change: &AccountChange) -> Result<(), Rejection> {
        if let Some(Some(keys)) = &change.password {
            check_password(keys)?;
        }
        if let Some(subjects) = &change.certificates {
            check_count("certificates", subjects.len(), CERTIFICATES_MAX)?;
            for subject in subjects {
                check_name(&self.limits, "certificates", subject)?;
            }
        }
        if let Some(grants) = &change.grants {
            self.check_grants(grants)?;
        }
        if change.requests_per_second == Some(Some(0)) {
            let (value, allowed) = ("0".to_owned(), "at least 1".to_owned());
            let field = "requests_per_second";
            return Err(Rejection::ValueRefused { field, value, allowed });
        }
        if let Some(Some(namespace)) = &change.namespace {
            check_name(&self.limits, "namespace", namespace)?;
        }
        Ok(())
    }

    fn check_new_token(&self, account: &Account, token: &NewToken) -> Result<(), Rejection> {
        check_name(&self.limits, "token", &token.id)?;
        if token.hash.len() != TOKEN_HASH_BYTES {
            let (value, allowed) = (token.hash.len().to_string(), "32 bytes".to_owned());
            return Err(Rejection::ValueRefused { field: "token", value, allowed });
        }
        check_count("tokens", account.tokens.len() + 1, TOKENS_MAX)
    }

    /// The records that change an account; none where it is so already.
    pub(crate) fn decide_account_change(
        &self,
        name: &str,
        create: bool,
        change: AccountChange,
        (by, moment): (&str, Moment),
    ) -> Result<Vec<Record>, Rejection> {
        check_name(&self.limits, "account", name)?;
        self.check_account_change(&change)?;
        let known = self.account(name);
        if known.is_none() && !create {
            return Err(Rejection::AccountUnknown { name: name.to_owned() });
        }
        if known.is_none() && self.accounts.count >= ACCOUNTS_MAX {
            return Err(Rejection::TooManyAccounts { limit: ACCOUNTS_MAX });
        }
        let mut account = known.clone().unwrap_or_else(|| new_account(name, moment.at));
        if let Some(id) = &change.revoke_token {
            let before = account.tokens.len();
            account.tokens.retain(|token| token.id != *id);
            if account.tokens.len() == before {
                let (account, id) = (name.to_owned(), id.clone());
                return Err(Rejection::TokenUnknown { account, id });
            }
        }
        if let Some(token) = &change.add_token {
            self.add_token(&mut account, token, moment)?;
        }
        apply_change(&mut account, change);
        if known.as_ref() == Some(&account) {
            return Ok(Vec::new());
        }
        account.changed_at = moment.at;
        let note = AuditNote {
            action: "account.put",
            namespace: None,
            object: name,
            before: known.as_ref().map(told),
            after: Some(told(&account)),
        };
        let entry = self.decide_audit(by, note, moment);
        Ok(vec![Record::AccountPut { account: Box::new(account) }, entry])
    }

    fn add_token(
        &self,
        account: &mut Account,
        token: &NewToken,
        moment: Moment,
    ) -> Result<(), Rejection> {
        if let Some(known) = account.tokens.iter().find(|known| known.id == token.id) {
            if known.hash == token.hash && known.expires_at == token.expires_at {
                return Ok(());
            }
            let (value, allowed) = (format!("\"{}\"", token.id), "an id that is free".to_owned());
            return Err(Rejection::ValueRefused { field: "token", value, allowed });
        }
        // What is valid no longer makes room.
        let expired = |token: &AccountToken| token.expires_at.is_some_and(|at| at <= moment.at);
        account.tokens.retain(|token| !expired(token));
        self.check_new_token(account, token)?;
        account.tokens.push(AccountToken {
            id: token.id.clone(),
            hash: token.hash.clone(),
            created_at: moment.at,
            expires_at: token.expires_at,
        });
        Ok(())
    }

    pub(crate) fn decide_account_removed(
        &self,
        name: &str,
        (by, moment): (&str, Moment),
    ) -> Result<Vec<Record>, Rejection> {
        let known = self.known_account(name)?;
        let note = AuditNote {
            action: "account.delete",
            namespace: None,
            object: name,
            before: Some(told(&known)),
            after: None,
        };
        let entry = self.decide_audit(by, note, moment);
        Ok(vec![Record::AccountRemoved { name: name.to_owned() }, entry])
    }

    pub(crate) fn known_account(&self, name: &str) -> Result<Account, Rejection> {
        let unknown = || Rejection::AccountUnknown { name: name.to_owned() };
        self.account(name).ok_or_else(unknown)
    }

    pub(crate) fn accounts_told(&self, after: Option<&str>, limit: usize) -> AccountAnswer {
        let from = match after {
            Some(name) => keys::after(&keys::account(name)),
            None => vec![keys::ACCOUNT],
        };
        let most = limit.clamp(1, ACCOUNTS_PER_PAGE_MAX);
        let (mut accounts, mut more, mut bytes) = (Vec::new(), false, 0);
        self.scan(&from, &[keys::ACCOUNT + 1], &mut |_, value| {
            bytes += value.len();
            if accounts.len() == most || (bytes > PAGE_BYTES_MAX && !accounts.is_empty()) {
                more = true;
                return ControlFlow::Break(());
            }
            accounts.push(Account::from_bytes(value).expect("encoded by this engine"));
            ControlFlow::Continue(())
        });
        AccountAnswer::Accounts(accounts, more)
    }
}

fn new_account(name: &str, at: TimeMs) -> Account {
    Account {
        name: name.to_owned(),
        created_at: at,
        changed_at: at,
        password: None,
        tokens: Vec::new(),
        certificates: Vec::new(),
        grants: Vec::new(),
        requests_per_second: None,
        namespace: None,
    }
}

fn apply_change(account: &mut Account, change: AccountChange) {
    let AccountChange { password, certificates, grants, requests_per_second, namespace, .. } =
        change;
    if let Some(password) = password {
        account.password = password;
    }
    if let Some(certificates) = certificates {
        account.certificates = certificates;
    }
    if let Some(grants) = grants {
        account.grants = grants;
    }
    if let Some(most) = requests_per_second {
        account.requests_per_second = most;
    }
    if let Some(namespace) = namespace {
        account.namespace = namespace;
    }
}

/// What the trail tells of an account: which credentials it has, and nothing of their contents.
fn told(account: &Account) -> String {
    // What it may do comes first: the text is cut where it is long.
    let grant = |grant: &AccountGrant| {
        format!("{} on {} in {}", grant.role.as_str(), grant.names, grant.namespace)
    };
    let mut parts: Vec<String> = account.grants.iter().map(grant).collect();
    if account.password.is_some() {
        parts.push("a password".to_owned());
    }
    let tokens: BTreeSet<&str> = account.tokens.iter().map(|token| token.id.as_str()).collect();
    parts.extend(tokens.into_iter().map(|id| format!("token {id}")));
    parts.extend(account.certificates.iter().map(|subject| format!("certificate {subject}")));
    parts.extend(account.requests_per_second.map(|most| format!("{most} requests/s")));
    parts.extend(account.namespace.iter().map(|name| format!("namespace {name}")));
    parts.join("; ")
}
