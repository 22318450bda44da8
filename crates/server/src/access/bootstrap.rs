//! How a server that asks who comes in begins: the accounts are read, those of a file and the
//! operator's token are put, and where there is no account at all, the first one is made, with a
//! token in a file that only its owner reads.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use longshore_engine::ask::{ChangeAccount, ListAccounts};
use longshore_engine::{Account, AccountChange, AccountGrant, NewToken, Role};

use super::change::{Outcome, ask};
use super::file::AccountFile;
use super::gate::Inner;
use super::snapshot::Snapshot;
use super::token::{check_token, hash_of, new_token};

/// The account of the operator.
const ADMIN: &str = "admin";
/// The token that the configuration gives it.
const GIVEN: &str = "configuration";
/// The token that it has where nobody gave it one.
const FIRST: &str = "first";
/// The file with that token, in the store's folder.
const FIRST_FILE: &str = "admin-token";
/// Bytes of the files that are read here.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// How often a shard is asked again that does not answer.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Who may come in.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct AccessConfig {
    /// Whether everybody is asked who it is.
    pub required: bool,
    /// A file of accounts, which are put at each start.
    pub accounts_file: Option<PathBuf>,
    /// A token of the account `admin`.
    pub admin_token: Option<String>,
    /// A file with such a token.
    pub admin_token_file: Option<PathBuf>,
    /// Whether metrics are told to whoever asks.
    pub open_metrics: bool,
}

impl std::fmt::Debug for AccessConfig {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccessConfig")
            .field("required", &self.required)
            .field("accounts_file", &self.accounts_file)
            .field("has_admin_token", &self.admin_token.is_some())
            .field("admin_token_file", &self.admin_token_file)
            .field("open_metrics", &self.open_metrics)
            .finish()
    }
}

/// What the configuration says of accounts.
#[derive(Default)]
pub(super) struct Bootstrap {
    accounts: AccountFile,
    token: Option<String>,
}

fn invalid(said: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, said)
}

fn read(path: &Path) -> io::Result<String> {
    let named = |error: io::Error| invalid(format!("{}: {error}", path.display()));
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(named)?;
    let read = io::Read::read_to_string(&mut io::Read::take(file, FILE_BYTES_MAX + 1), &mut text);
    if read.map_err(named)? as u64 > FILE_BYTES_MAX {
        return Err(invalid(format!("{}: more than 4 MiB", path.display())));
    }
    Ok(text)
}

impl AccessConfig {
    /// Refuses what names accounts for a server that would ask nobody.
    pub(super) fn check(&self) -> io::Result<()> {
        let given = [
            ("an accounts file", self.accounts_file.is_some()),
            ("a token of admin", self.admin_token.is_some() || self.admin_token_file.is_some()),
        ];
        match given.into_iter().find(|(_, is_given)| *is_given) {
            Some((what, _)) if !self.required => Err(invalid(format!(
                "{what} is given and access is off, so that everybody may do everything; set \
                 serve.access = \"required\" (--access required), or take it away"
            ))),
            _ => Ok(()),
        }
    }

    /// Reads what the configuration names.
    pub(super) fn read(&self) -> io::Result<Bootstrap> {
        let from_file = self.admin_token_file.as_deref().map(read).transpose()?;
        let token = self.admin_token.clone().or(from_file).map(|it| it.trim().to_owned());
        if let Some(Err(said)) = token.as_deref().map(check_token) {
            return Err(invalid(format!("the account admin: {said}")));
        }
        let mut accounts = AccountFile::default();
        if let Some(path) = &self.accounts_file {
            let at_fault = |said: String| invalid(format!("{}: {said}", path.display()));
            accounts = toml::from_str(&read(path)?)
                // Without the line at fault, which may have a secret.
                .map_err(|error: toml::de::Error| at_fault(error.message().to_owned()))?;
            accounts.check().map_err(at_fault)?;
            if token.is_some() && accounts.account.iter().any(|it| it.name == ADMIN) {
                let said = "it names the account admin, to which the configuration gives a token \
                            and everything; give it another name, or leave the token out";
                return Err(at_fault(said.to_owned()));
            }
        }
        Ok(Bootstrap { accounts, token })
    }
}

/// Reads the accounts once their shard has started, puts what the configuration says, and lets
/// people in.
pub(super) async fn load(inner: Arc<Inner>, bootstrap: Bootstrap) {
    inner.node.started().await;
    while !inner.node.is_stopping() {
        if let Some(accounts) = begin(&inner, &bootstrap).await {
            tracing::info!(accounts = accounts.len(), "accounts are read");
            inner.put_snapshot(Snapshot::of(accounts.into_iter().map(Arc::new)));
            return;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// One attempt.
async fn begin(inner: &Inner, bootstrap: &Bootstrap) -> Option<Vec<Account>> {
    let known = all(inner).await?;
    for account in &bootstrap.accounts.account {
        let before = known.iter().find(|it| it.name == account.name);
        let account = account.clone();
        let before = before.cloned();
        // Passwords are hashed.
        let change = tokio::task::spawn_blocking(move || account.changes(before.as_ref())).await;
        let (name, changes) = match change {
            Ok(Ok(changes)) => changes,
            Ok(Err(error)) => {
                tracing::error!(%error, "the accounts of the file cannot be put");
                return None;
            }
            Err(_) => return None,
        };
        for change in changes {
            put(inner, &name, change, "accounts file").await?;
        }
    }
    let admin = known.iter().find(|it| it.name == ADMIN);
    let change = match &bootstrap.token {
        Some(token) => given_token(admin, token),
        None => given_no_longer(admin),
    };
    if let Some(change) = change {
        put(inner, ADMIN, change, "configuration").await?;
    }
    let accounts = all(inner).await?;
    if !accounts.is_empty() {
        if let Some(path) =
            inner.node.dir().map(|dir| dir.join(FIRST_FILE)).filter(|it| it.exists())
        {
            let path = path.display();
            tracing::warn!(%path, "the token of the first start is still in its file");
        }
        return Some(accounts);
    }
    let token = new_token().ok()?;
    let path = inner.node.dir()?.join(FIRST_FILE);
    if let Err(error) = write_secret(&path, &token) {
        tracing::error!(path = %path.display(), %error, "the first token cannot be written");
        return None;
    }
    let change = AccountChange {
        grants: Some(everything()),
        add_token: Some(token_of(FIRST, &token)),
        ..AccountChange::default()
    };
    put(inner, ADMIN, change, "first start").await?;
    tracing::info!(path = %path.display(), "the account admin was made; its token is in this file");
    all(inner).await
}

/// All accounts.
async fn all(inner: &Inner) -> Option<Vec<Account>> {
    let mut all: Vec<Account> = Vec::new();
    loop {
        let after = all.last().map(|account| account.name.clone());
        match ask(&inner.node, ListAccounts { after, limit: usize::MAX }).await {
            Outcome::Told((accounts, more)) => {
                all.extend(accounts);
                if !more {
                    return Some(all);
                }
            }
            Outcome::Unknown(refusal) => {
                tracing::debug!(?refusal, "the accounts cannot be read yet");
                return None;
            }
            Outcome::Rejected(_) => return None,
        }
    }
}

async fn put(inner: &Inner, name: &str, change: AccountChange, by: &str) -> Option<()> {
    let (name, by) = (name.to_owned(), by.to_owned());
    let change = Box::new(change);
    let command = ChangeAccount { name: name.clone(), create: true, change, by };
    match ask(&inner.node, command).await {
        Outcome::Told(_) => Some(()),
        Outcome::Rejected(rejection) => {
            // It would be refused again, and others are not to wait for it.
            tracing::error!(account = name, %rejection, "an account cannot be put");
            Some(())
        }
        Outcome::Unknown(_) => None,
    }
}

/// What the operator may do.
fn everything() -> Vec<AccountGrant> {
    let any = || "*".to_owned();
    vec![AccountGrant { namespace: any(), role: Role::Admin, names: any() }]
}

fn token_of(id: &str, token: &str) -> NewToken {
    let hash = Bytes::copy_from_slice(&hash_of(token));
    NewToken { id: id.to_owned(), hash, expires_at: None }
}

/// What makes a token that of the account `admin`; `None` where it is.
fn given_token(admin: Option<&Account>, token: &str) -> Option<AccountChange> {
    let token = token_of(GIVEN, token);
    let known = admin.and_then(|admin| admin.tokens.iter().find(|it| it.id == GIVEN));
    let grants = everything();
    if known.is_some_and(|it| it.hash == token.hash)
        && admin.is_some_and(|admin| admin.grants == grants)
    {
        return None;
    }
    let revoke_token = known.map(|it| it.id.clone());
    let (grants, add_token) = (Some(grants), Some(token));
    Some(AccountChange { grants, revoke_token, add_token, ..AccountChange::default() })
}

/// What takes the token of the configuration away that has none any more.
fn given_no_longer(admin: Option<&Account>) -> Option<AccountChange> {
    let known = admin?.tokens.iter().find(|it| it.id == GIVEN)?;
    Some(AccountChange { revoke_token: Some(known.id.clone()), ..AccountChange::default() })
}

/// Writes a file that only its owner reads, whole or not at all.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use longshore_engine::{AccountToken, TimeMs};

    use super::*;

    #[test]
    fn accounts_are_given_only_to_a_server_that_asks() {
        let token = || Some("a secret of the operator's".to_owned());
        let off = AccessConfig { admin_token: token(), ..AccessConfig::default() };
        assert!(off.check().unwrap_err().to_string().contains("required"));
        let file = Some(PathBuf::from("accounts.toml"));
        let off = AccessConfig { accounts_file: file, ..AccessConfig::default() };
        assert!(off.check().is_err());
        let asks = AccessConfig { required: true, admin_token: token(), ..AccessConfig::default() };
        assert!(asks.check().is_ok());
        assert!(!format!("{asks:?}").contains("secret"));
        assert!(AccessConfig::default().check().is_ok());
    }

    #[test]
    fn a_token_of_the_configuration_goes_with_it() {
        let known = AccountToken {
            id: GIVEN.to_owned(),
            hash: Bytes::new(),
            created_at: TimeMs(1),
            expires_at: None,
        };
        let of = |tokens: Vec<AccountToken>| Account {
            name: ADMIN.to_owned(),
            created_at: TimeMs(1),
            changed_at: TimeMs(1),
            password: None,
            tokens,
            certificates: Vec::new(),
            grants: everything(),
            requests_per_second: None,
            namespace: None,
        };
        let change = given_no_longer(Some(&of(vec![known]))).unwrap();
        assert_eq!(change.revoke_token.as_deref(), Some(GIVEN));
        assert!(given_no_longer(Some(&of(Vec::new()))).is_none());
        assert!(given_no_longer(None).is_none());
    }
}
