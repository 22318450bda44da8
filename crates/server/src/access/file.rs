//! The file of accounts that a server puts at each start.

use std::collections::HashSet;

use longshore_engine::{
    Account, AccountChange, CERTIFICATES_MAX, GRANTS_MAX, NewToken, TOKENS_MAX, TimeMs,
};
use serde::Deserialize;

use super::password::{self, PASSWORD_BYTES};
use super::token::{check_token, hash_of};
use crate::api::{GrantBody, InstantText};
use crate::http::account_view::grant_of;
use crate::http::text::check_name;

/// Names by which the trail calls what no account does.
const SIGNERS: [&str; 5] =
    ["accounts file", "configuration", "first start", "local user", "nobody"];

/// Whether no account may have this name: those that begin with `_` are the system's, the trail has
/// its own, and no name with a colon goes into `Authorization: Basic`.
pub(crate) fn is_reserved(name: &str) -> bool {
    name.starts_with('_') || name.contains(':') || SIGNERS.contains(&name)
}

/// A file of accounts in TOML: `[[account]]` for each.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AccountFile {
    pub(super) account: Vec<FileAccount>,
}

impl AccountFile {
    /// Whether it says what can be.
    pub(super) fn check(&self) -> Result<(), String> {
        let (mut names, mut hashes) = (HashSet::new(), HashSet::new());
        let mut subjects = HashSet::new();
        for account in &self.account {
            account.check()?;
            let name = &account.name;
            if !names.insert(name) {
                return Err(format!("account {name:?} is there twice"));
            }
            let mut ids = HashSet::new();
            for token in &account.tokens {
                if !ids.insert(&token.id) || !hashes.insert(token.hash()?) {
                    return Err(format!("account {name:?}: token {:?} is there twice", token.id));
                }
            }
            for subject in account.certificates.iter().flatten() {
                if !subjects.insert(subject) {
                    return Err(format!("certificate {subject:?} stands for two accounts"));
                }
            }
        }
        Ok(())
    }
}

/// An account in the file. What it says holds from the start on; what it does not say stays.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileAccount {
    pub(super) name: String,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    password_hash: Option<String>,
    #[serde(default)]
    tokens: Vec<FileToken>,
    #[serde(default)]
    certificates: Option<Vec<String>>,
    #[serde(default)]
    grants: Option<Vec<GrantBody>>,
    #[serde(default)]
    requests_per_second: Option<u32>,
    #[serde(default)]
    namespace: Option<String>,
}

impl std::fmt::Debug for FileAccount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileAccount").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A token in the file: itself, or its hash.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileToken {
    id: String,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    expires_at: Option<InstantText>,
}

impl FileToken {
    fn hash(&self) -> Result<[u8; 32], String> {
        match (&self.token, &self.sha256) {
            (Some(token), None) => check_token(token).map(|()| hash_of(token)),
            (None, Some(text)) => hex(text).ok_or_else(|| "sha256 is no SHA-256 in hex".to_owned()),
            _ => Err("it has either token or sha256".to_owned()),
        }
        .map_err(|said| format!("token {:?}: {said}", self.id))
    }
}

fn hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl FileAccount {
    /// Whether it says what can be.
    pub(super) fn check(&self) -> Result<(), String> {
        let at_fault = |said: String| format!("account {:?}: {said}", self.name);
        let name = |field: &'static str, name: &str| {
            check_name(field, name).map_err(|refusal| at_fault(refusal.problem().detail))
        };
        name("name", &self.name)?;
        if is_reserved(&self.name) {
            return Err(at_fault("the name is reserved".to_owned()));
        }
        for grant in self.grants.iter().flatten().map(grant_of) {
            for pattern in [&grant.namespace, &grant.names] {
                name("grants", pattern)?;
                if pattern.strip_suffix('*').unwrap_or(pattern).contains('*') {
                    return Err(at_fault(format!("{pattern:?} has a * before its end")));
                }
            }
        }
        let counts = [
            ("grants", self.grants.as_ref().map_or(0, Vec::len), GRANTS_MAX),
            ("certificates", self.certificates.as_ref().map_or(0, Vec::len), CERTIFICATES_MAX),
            ("tokens", self.tokens.len(), TOKENS_MAX),
        ];
        if let Some((what, count, max)) = counts.into_iter().find(|(_, count, max)| count > max) {
            return Err(at_fault(format!("it has {count} {what}, and may have {max}")));
        }
        for token in &self.tokens {
            name("tokens", &token.id)?;
        }
        for subject in self.certificates.iter().flatten() {
            name("certificates", subject)?;
        }
        if self.password.is_some() && self.password_hash.is_some() {
            return Err(at_fault("it has either password or password_hash".to_owned()));
        }
        let length = self.password.as_ref().map(String::len);
        if let Some(length) = length.filter(|length| !PASSWORD_BYTES.contains(length)) {
            let (least, most) = (PASSWORD_BYTES.start(), PASSWORD_BYTES.end());
            let said = format!("the password has {length} bytes; allowed: {least} to {most}");
            return Err(at_fault(said));
        }
        if self.password_hash.as_deref().is_some_and(|hash| !password::is_sound(hash)) {
            let said = "password_hash is no hash of Argon2id (`$argon2id$v=19$m=...`, at most \
                        64 MiB and 8 passes)";
            return Err(at_fault(said.to_owned()));
        }
        self.tokens.iter().try_for_each(|token| token.hash().map(|_| ())).map_err(at_fault)
    }

    /// What makes an account as the file says: its name, and changes one after the other.
    pub(super) fn changes(
        &self,
        before: Option<&Account>,
    ) -> std::io::Result<(String, Vec<AccountChange>)> {
        let kept = before.and_then(|before| before.password.as_ref());
        let (given, hash) = (self.password.as_deref(), self.password_hash.as_deref());
        let keys = password::given(given, hash, kept)?;
        let grants = self.grants.as_ref();
        let first = AccountChange {
            password: keys.map(Some),
            certificates: self.certificates.clone(),
            grants: grants.map(|grants| grants.iter().map(grant_of).collect()),
            requests_per_second: self.requests_per_second.map(|most| (most > 0).then_some(most)),
            namespace: self.namespace.clone().map(|name| (!name.is_empty()).then_some(name)),
            ..AccountChange::default()
        };
        let mut changes = vec![first];
        for token in &self.tokens {
            let hash = token.hash().map_err(std::io::Error::other)?;
            let expires_at = token.expires_at.map(|at| TimeMs(at.0));
            let known = before.and_then(|it| it.tokens.iter().find(|it| it.id == token.id));
            let same = known.is_some_and(|it| it.hash[..] == hash && it.expires_at == expires_at);
            if same {
                continue;
            }
            let hash = bytes::Bytes::copy_from_slice(&hash);
            changes.push(AccountChange {
                revoke_token: known.map(|it| it.id.clone()),
                add_token: Some(NewToken { id: token.id.clone(), hash, expires_at }),
                ..AccountChange::default()
            });
        }
        Ok((self.name.clone(), changes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_the_engine_would_refuse() {
        let check = |text: &str| toml::from_str::<AccountFile>(text).unwrap().check();
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        let token = |id: &str, hash: &str| format!("{{ id = \"{id}\", sha256 = \"{hash}\" }}");
        let with = |name: &str, rest: &str| format!("[[account]]\nname = \"{name}\"\n{rest}\n");
        let tokens = |all: &[String]| format!("tokens = [{}]", all.join(", "));
        let sound = [
            with("ann", &tokens(&[token("a", &one), token("b", &two)])),
            with(
                "bob",
                "grants = [{ role = \"read\", names = \"mail*\" }]\ncertificates = [\"CN=bob\"]",
            ),
            with("cid", "password = \"12345678\""),
            with("dan", "tokens = [{ id = \"a\", token = \"lsh_45678901234567890123\" }]"),
        ]
        .concat();
        assert_eq!(check(&sound), Ok(()));
        for odd in [
            with("", ""),
            with("_ann", ""),
            with("a:b", ""),
            with("configuration", ""),
            with("ann", "grants = [{ role = \"read\", names = \"a*b\" }]"),
            with("ann", "grants = [{ role = \"read\", namespace = \"**\" }]"),
            with("ann", &tokens(&[token("a", &one), token("a", &two)])),
            with("ann", &tokens(&[token("a", &one), token("b", &one)])),
            with("ann", &tokens(&[token("", &one)])),
            with("ann", "password = \"\""),
            with("ann", "password = \"1234567\""),
            with("ann", &format!("password = \"{}\"", "x".repeat(1025))),
            with("ann", "tokens = [{ id = \"a\", token = \"lsh_456789012345678901\" }]"),
            with("ann", "tokens = [{ id = \"a\", token = \"lsh_4567890123456789 1234\" }]"),
            with("ann", &format!("tokens = [{{ id = \"a\", token = \"{}\" }}]", "x".repeat(513))),
            with("ann", &format!("certificates = [{}]", vec!["\"CN=x\""; 17].join(", "))),
            [with("ann", ""), with("ann", "")].concat(),
            ["ann", "bob"].map(|name| with(name, &tokens(&[token("a", &one)]))).concat(),
            ["ann", "bob"].map(|name| with(name, "certificates = [\"CN=x\"]")).concat(),
        ] {
            assert!(check(&odd).is_err(), "{odd}");
        }
    }
}
