//! Accounts and the trail of changes as they are set and told.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{DurationText, InstantText};

/// What a grant lets an account do.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(remote = "Self", rename_all = "snake_case")]
pub enum RoleText {
    /// Look at everything and change nothing.
    Read,
    /// Enqueue jobs, and follow what becomes of them.
    Enqueue,
    /// Publish messages and append events.
    Publish,
    /// Take and settle messages, read events.
    Consume,
    /// Lease jobs and settle them.
    Work,
    /// Everything.
    Admin,
}

impl RoleText {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Enqueue, Self::Publish, Self::Consume, Self::Work, Self::Admin];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Enqueue => "enqueue",
            Self::Publish => "publish",
            Self::Consume => "consume",
            Self::Work => "work",
            Self::Admin => "admin",
        }
    }
}

/// The pattern of everything.
fn any() -> String {
    "*".to_owned()
}

/// What an account may do, and where. A pattern is a name, or the beginning of names and `*`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantBody {
    /// What it may do.
    pub role: RoleText,
    /// In which namespaces. Left out, `*`.
    #[serde(default = "any")]
    pub namespace: String,
    /// With which queues, exchanges, streams and so on. Left out, `*`.
    #[serde(default = "any")]
    pub names: String,
}

/// What is to hold of an account. What is left out stays as it is.
#[sparse]
#[derive(Clone, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountBody {
    /// Its password; an empty text for none.
    pub password: Option<String>,
    /// Subjects of certificates that stand for it.
    pub certificates: Option<Vec<String>>,
    /// What it may do.
    pub grants: Option<Vec<GrantBody>>,
    /// Requests that it may make in a second; 0 for no limit.
    pub requests_per_second: Option<u32>,
    /// The namespace of protocols that name none; an empty text for none.
    pub namespace: Option<String>,
}

impl std::fmt::Debug for AccountBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountBody").field("grants", &self.grants).finish_non_exhaustive()
    }
}

/// A token of an account, without what it is made of.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TokenRecord {
    /// Its name within the account.
    pub id: String,
    /// When it was made.
    pub created_at: InstantText,
    /// When it is valid no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<InstantText>,
}

/// An account as it is told: no secret and no hash of one.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct AccountRecord {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created_at: InstantText,
    /// When it was changed last.
    pub changed_at: InstantText,
    /// Whether it has a password.
    pub has_password: bool,
    /// Its tokens.
    pub tokens: Vec<TokenRecord>,
    /// Subjects of certificates that stand for it.
    pub certificates: Vec<String>,
    /// What it may do.
    pub grants: Vec<GrantBody>,
    /// Requests that it may make in a second.
    pub requests_per_second: Option<u32>,
    /// The namespace of protocols that name none.
    pub namespace: Option<String>,
}

/// A page of accounts.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct AccountList {
    /// In the order of their names.
    pub accounts: Vec<AccountRecord>,
    /// The cursor of the page after this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A token to make.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// Its name within the account.
    pub id: String,
    /// It is valid for so long. Left out, until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<DurationText>,
}

/// A token that was made: nobody tells it again.
#[derive(Clone, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct TokenAnswer {
    /// Its name within the account.
    pub id: String,
    /// The token.
    pub token: String,
    /// When it is valid no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<InstantText>,
}

impl std::fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenAnswer").field("id", &self.id).finish_non_exhaustive()
    }
}

/// One change that somebody made.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct AuditRecord {
    /// When.
    pub at: InstantText,
    /// Who: an account, or the local user.
    pub by: String,
    /// What was done, such as `queue.put`.
    pub action: String,
    /// To what.
    pub object: String,
    /// In which namespace.
    pub namespace: Option<String>,
    /// How it was, in words; absent where it was not there.
    pub before: Option<String>,
    /// How it is since; absent where it is gone.
    pub after: Option<String>,
}

/// Changes, the oldest first.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct AuditList {
    /// The changes.
    pub entries: Vec<AuditRecord>,
    /// What to give as `after`, for those that come.
    pub next: String,
}
