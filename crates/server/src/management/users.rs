//! Users and their permissions, which are accounts: a tag and a permission are grants. What an
//! account cannot say is refused with a reason.

use std::collections::BTreeSet;

use longshore_engine::ask::{Ask, ChangeAccount, DeleteAccount, GetAccount, ListAccounts};
use longshore_engine::{Account, AccountChange, AccountGrant, Role, matches_pattern};
use serde_json::{Value, json};
use tokio::task::yield_now;

use super::objects::{ANSWER_MAX, too_many};
use super::patterns::{are_within, expression_of, patterns_of};
use super::serve::{Api, Fault, Told, namespace_of, vhost_of};
use crate::access::{Need, PASSWORD_BYTES, is_reserved, new_password};
use crate::http::text::check_path_name;

/// Accounts in one answer of the engine.
const PAGE: usize = 100;

/// Tags that an account can have, as a role for everything.
const TAGS: [(&str, Role); 2] = [("administrator", Role::Admin), ("monitoring", Role::Read)];

/// What permissions are made of.
const ROLES: [Role; 3] = [Role::Admin, Role::Publish, Role::Consume];

/// The tag that says as much as a grant.
fn tag_of(grant: &AccountGrant) -> Option<&'static str> {
    let everywhere = grant.namespace == "*" && grant.names == "*";
    TAGS.into_iter().find(|(_, role)| everywhere && grant.role == *role).map(|(tag, _)| tag)
}

/// Whether a grant is what a permission in a virtual host says.
fn is_permission(grant: &AccountGrant, ns: &str) -> bool {
    grant.namespace == ns && ROLES.contains(&grant.role)
}

fn user(account: &Account) -> Value {
    let tags: Vec<_> = account.grants.iter().filter_map(tag_of).collect();
    // Hashes are made in another way here, and told to nobody.
    json!({"name": account.name, "tags": tags, "password_hash": "", "limits": {},
        "hashing_algorithm": "rabbit_password_hashing_sha256"})
}

/// What an account may do in a namespace, where that is anything that a permission says.
fn permission(account: &Account, ns: &str) -> Option<Value> {
    permission_of(account, ns, |it| matches_pattern(&it.namespace, ns))
}

/// As much of it as some grants say.
fn permission_of(
    account: &Account,
    ns: &str,
    counts: impl Fn(&AccountGrant) -> bool,
) -> Option<Value> {
    let here = account.grants.iter().filter(|it| counts(it));
    let here: Vec<_> = here.filter(|it| ROLES.contains(&it.role)).collect();
    let of = |roles: &[Role]| {
        let names = here.iter().filter(|it| roles.contains(&it.role)).map(|it| it.names.as_str());
        expression_of(names)
    };
    (!here.is_empty()).then(|| {
        json!({"user": account.name, "vhost": vhost_of(ns), "configure": of(&[Role::Admin]),
            "write": of(&[Role::Admin, Role::Publish]), "read": of(&[Role::Admin, Role::Consume])})
    })
}

/// The grants of a permission. Whoever may configure a name may write and read it here.
fn grants_of(ns: &str, body: &Value) -> Result<Vec<AccountGrant>, Fault> {
    let patterns = |field: &str| {
        let text = body.get(field).and_then(Value::as_str);
        let text = text.ok_or_else(|| Fault::bad(format!("key_missing: {field}")))?;
        patterns_of(text).map_err(|why| {
            Fault::bad(format!("{field} {text:?} cannot be said by patterns of names: {why}"))
        })
    };
    let [configure, write, read] = [patterns("configure")?, patterns("write")?, patterns("read")?];
    if !are_within(&configure, &write) || !are_within(&configure, &read) {
        let why = "configure means names that write or read does not: whoever may configure \
                   something may write and read it here";
        return Err(Fault::bad(why));
    }
    let beside = |names: Vec<String>| {
        let more = |it: &String| !are_within(std::slice::from_ref(it), &configure);
        names.into_iter().filter(more).collect()
    };
    let (write, read): (Vec<_>, Vec<_>) = (beside(write), beside(read));
    let of = |role: Role, names: Vec<String>| {
        let grant = move |names| AccountGrant { namespace: ns.to_owned(), role, names };
        names.into_iter().map(grant)
    };
    let all = of(Role::Admin, configure).chain(of(Role::Publish, write));
    Ok(all.chain(of(Role::Consume, read)).collect())
}

/// The tags of a body: a list, or texts between commas.
fn tags_of(body: &Value) -> Result<Vec<AccountGrant>, Fault> {
    let tags: Vec<&str> = match body.get("tags") {
        Some(Value::String(text)) => text.split(',').map(str::trim).collect(),
        Some(Value::Array(tags)) => {
            let tags: Option<_> = tags.iter().map(Value::as_str).collect();
            tags.ok_or_else(|| Fault::bad("tags are texts"))?
        }
        Some(_) => return Err(Fault::bad("tags are a list of texts, or texts between commas")),
        None => return Err(Fault::bad("key_missing: tags")),
    };
    let mut grants = Vec::new();
    for tag in tags.into_iter().filter(|tag| !tag.is_empty()) {
        let known = TAGS.into_iter().find(|(known, _)| *known == tag);
        let Some((_, role)) = known else {
            let why = format!("there is no tag {tag:?} here: administrator, monitoring or none");
            return Err(Fault::bad(why));
        };
        let (namespace, names) = ("*".to_owned(), "*".to_owned());
        grants.push(AccountGrant { namespace, role, names });
    }
    Ok(grants)
}

/// A text of a body; `None` where it is empty or missing.
fn text_of<'b>(body: &'b Value, field: &str) -> Result<Option<&'b str>, Fault> {
    match body.get(field) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.is_empty())),
        Some(_) => Err(Fault::bad(format!("{field} is a text"))),
    }
}

/// What names an account over HTTP does so here.
fn check_user(name: &str) -> Result<(), Fault> {
    check_path_name("account", name)?;
    if is_reserved(name) {
        return Err(Fault::bad(format!("the name {name:?} is reserved")));
    }
    Ok(())
}

impl Api {
    async fn ask_accounts<C: Ask>(&self, command: C) -> Result<C::Answer, Fault> {
        self.demand_accounts()?;
        Ok(self.access.carry_out((&self.node, &self.who), command).await?)
    }

    /// Refuses who may not look after accounts: before anything is done for it, since a password
    /// takes long to hash.
    pub(super) fn demand_accounts(&self) -> Result<(), Fault> {
        self.demand("", &Need::of_system())
    }

    async fn account(&self, name: &str) -> Result<Option<Account>, Fault> {
        match self.ask_accounts(GetAccount { name: name.to_owned() }).await {
            Ok(account) => Ok(Some(*account)),
            Err(fault) if fault.status == hyper::StatusCode::NOT_FOUND => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    async fn accounts(&self) -> Result<Vec<Account>, Fault> {
        let (mut all, mut after): (Vec<Account>, Option<String>) = (Vec::new(), None);
        loop {
            let (page, more) = self.ask_accounts(ListAccounts { after, limit: PAGE }).await?;
            all.extend(page);
            after = all.last().filter(|_| more).map(|last| last.name.clone());
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    async fn change_account(
        &self,
        (name, create): (&str, bool),
        change: AccountChange,
    ) -> Result<(), Fault> {
        let (name, by) = (name.to_owned(), self.who.name().to_owned());
        let change = ChangeAccount { name, create, change: Box::new(change), by };
        self.ask_accounts(change).await.map(|_| ())
    }

    /// Whoever asks, as this API tells it.
    fn myself(&self) -> Value {
        json!({"name": self.user(), "tags": self.tags(), "limits": {}})
    }

    /// All accounts for an administrator, else the one that asks. Where no accounts are required,
    /// `guest` is who is there.
    pub(super) async fn users(&self) -> Result<Value, Fault> {
        if !self.is_administrator() {
            return Ok(json!([self.myself()]));
        }
        let mut all: Vec<_> = self.accounts().await?.iter().map(user).collect();
        if all.iter().all(|it| it["name"] != self.user()) {
            all.insert(0, self.myself());
        }
        Ok(Value::Array(all))
    }

    pub(super) async fn user_named(&self, name: &str) -> Result<Value, Fault> {
        if name == self.user() && (self.who.is_local() || !self.is_administrator()) {
            return Ok(self.myself());
        }
        let account = self.account(name).await?;
        account.as_ref().map(user).ok_or_else(Fault::not_found)
    }

    /// Puts a user. Without a password it has none; `imported`: one that is there keeps its own.
    pub(super) async fn put_user(
        &self,
        name: &str,
        body: &Value,
        imported: bool,
    ) -> Result<Told, Fault> {
        self.demand_accounts()?;
        check_user(name)?;
        let tags = tags_of(body)?;
        let (hash, password) = (text_of(body, "password_hash")?, text_of(body, "password")?);
        if hash.is_some() {
            let why = "password_hash cannot be taken over, since passwords are hashed in another \
                       way here: give the password, or an empty hash for a user without one";
            return Err(Fault::bad(why));
        }
        let password = match password {
            Some(password) if PASSWORD_BYTES.contains(&password.len()) => {
                Some(new_password(password.to_owned()).await?)
            }
            Some(password) => {
                let why = format!("a password has 8 to 1024 bytes, and this {}", password.len());
                return Err(Fault::bad(why));
            }
            None => None,
        };
        let _alone = self.changing.lock().await;
        let known = self.account(name).await?;
        let kept = known.iter().flat_map(|it| &it.grants).filter(|it| tag_of(it).is_none());
        let grants = Some(tags.into_iter().chain(kept.cloned()).collect());
        let password = (!imported || password.is_some()).then_some(password);
        let change = AccountChange { password, grants, ..AccountChange::default() };
        self.change_account((name, true), change).await?;
        Ok(if known.is_some() { Told::Done } else { Told::Created })
    }

    pub(super) async fn delete_user(&self, name: &str) -> Result<Told, Fault> {
        self.demand_accounts()?;
        check_user(name)?;
        let (name, by) = (name.to_owned(), self.who.name().to_owned());
        self.ask_accounts(DeleteAccount { name, by }).await?;
        Ok(Told::Done)
    }

    /// What accounts may do in virtual hosts, as far as permissions say it: all of it for an
    /// administrator, else nothing. `of_user`, `of_vhost`: only that of these.
    pub(super) async fn permissions(
        &self,
        of_user: Option<&str>,
        of_vhost: Option<&str>,
    ) -> Result<Value, Fault> {
        if !self.is_administrator() {
            return Ok(json!([]));
        }
        let accounts = match of_user {
            Some(name) => self.account(name).await?.into_iter().collect(),
            None => self.accounts().await?,
        };
        let mut namespaces = self.namespaces().await?;
        namespaces.retain(|ns| of_vhost.is_none_or(|of| namespace_of(of) == *ns));
        let mut all = Vec::new();
        for ns in &namespaces {
            if self.who.is_local() && of_user.is_none_or(|of| of == self.user()) {
                all.push(json!({"user": self.user(), "vhost": vhost_of(ns), "configure": ".*",
                    "write": ".*", "read": ".*"}));
            }
            for some in accounts.chunks(PAGE) {
                all.extend(some.iter().filter_map(|account| permission(account, ns)));
                if all.len() > ANSWER_MAX {
                    return Err(too_many());
                }
                // Thousands of both would keep the thread from others.
                yield_now().await;
            }
        }
        Ok(Value::Array(all))
    }

    pub(super) async fn permission_of(&self, vhost: &str, name: &str) -> Result<Value, Fault> {
        let all = self.permissions(Some(name), Some(vhost)).await?;
        all.get(0).cloned().ok_or_else(Fault::not_found)
    }

    /// The account of a permission, and its namespace, which are to be there.
    async fn whose(&self, vhost: &str, name: &str) -> Result<(Account, String), Fault> {
        check_user(name)?;
        let ns = namespace_of(vhost).to_owned();
        let account = self.account(name).await?;
        let account = account.ok_or_else(|| Fault::bad(format!("no_such_user: {name}")))?;
        if self.namespaces().await?.contains(&ns) {
            Ok((account, ns))
        } else {
            Err(Fault::bad(format!("no_such_vhost: {vhost}")))
        }
    }

    pub(super) async fn put_permission(
        &self,
        (vhost, name): (&str, &str),
        body: &Value,
    ) -> Result<Told, Fault> {
        self.demand_accounts()?;
        let grants = grants_of(namespace_of(vhost), body)?;
        let _alone = self.changing.lock().await;
        let (account, ns) = self.whose(vhost, name).await?;
        let known = account.grants.iter().any(|it| is_permission(it, &ns));
        let kept = account.grants.into_iter().filter(|it| !is_permission(it, &ns));
        let grants = Some(kept.chain(grants).collect());
        let change = AccountChange { grants, ..AccountChange::default() };
        self.change_account((name, false), change).await?;
        Ok(if known { Told::Done } else { Told::Created })
    }

    pub(super) async fn delete_permission(&self, vhost: &str, name: &str) -> Result<Told, Fault> {
        self.demand_accounts()?;
        let _alone = self.changing.lock().await;
        let (account, ns) = self.whose(vhost, name).await?;
        let kept = account.grants.into_iter().filter(|it| !is_permission(it, &ns));
        let change = AccountChange { grants: Some(kept.collect()), ..AccountChange::default() };
        self.change_account((name, false), change).await?;
        Ok(Told::Done)
    }

    /// Users for an export and their permissions: those without a password, since nothing that an
    /// import takes over stands for another one's.
    pub(super) async fn users_to_export(&self) -> Result<(Value, Value), Fault> {
        if !self.is_administrator() {
            return Ok((json!([]), json!([])));
        }
        let (accounts, namespaces) = (self.accounts().await?, self.namespaces().await?);
        let namespaces: BTreeSet<String> = namespaces.into_iter().collect();
        let without: Vec<_> = accounts.iter().filter(|it| it.password.is_none()).collect();
        let (mut users, mut permissions) = (Vec::new(), Vec::new());
        for some in without.chunks(PAGE) {
            users.extend(some.iter().map(|account| user(account)));
            for account in some {
                let named = account.grants.iter().filter(|it| is_permission(it, &it.namespace));
                let named: BTreeSet<&String> = named.map(|it| &it.namespace).collect();
                // What it may do there by grants for more than that would become a grant of it.
                let there = named.into_iter().filter(|ns| namespaces.contains(*ns));
                permissions.extend(
                    there.filter_map(|ns| permission_of(account, ns, |it| is_permission(it, ns))),
                );
            }
            yield_now().await;
        }
        Ok((Value::Array(users), Value::Array(permissions)))
    }
}
