//! What is kept of an account, what is asked, and what is answered.

use bytes::Bytes;

use crate::command::Command;
use crate::ids::TimeMs;
use crate::wire::{wire_enum, wire_struct};

/// The namespace whose shard keeps the accounts. Names that begin with `_` are the system's.
pub const SYSTEM_NAMESPACE: &str = "_system";

wire_enum! {
    /// What a grant lets an account do.
    #[derive(Copy, Eq, Hash, Ord, PartialOrd)]
    pub enum Role {
        /// Look at everything and change nothing.
        1 => Read,
        /// Enqueue jobs, and follow what becomes of them.
        2 => Enqueue,
        /// Publish messages and append events.
        3 => Publish,
        /// Take and settle messages, read events, say how far a group has read.
        4 => Consume,
        /// Lease jobs and settle them.
        5 => Work,
        /// Everything.
        6 => Admin,
    }
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Enqueue, Self::Publish, Self::Consume, Self::Work, Self::Admin];

    /// As it is written.
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

wire_struct! {
    /// What an account may do, and where. Patterns are a name, or the beginning of names and `*`.
    #[derive(Eq)]
    pub struct AccountGrant {
        /// Which namespaces.
        pub namespace: String,
        /// What it may do there.
        pub role: Role,
        /// With which queues, exchanges, streams and so on.
        pub names: String,
    }
}

/// Whether a pattern means a name.
pub fn matches_pattern(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}

wire_struct! {
    /// What is kept of a password for SCRAM (RFC 5802 3): nothing that the password follows from.
    #[derive(Eq)]
    pub struct ScramKeys {
        /// How often the salted password was hashed.
        pub iterations: u32,
        /// The salt.
        pub salt: Bytes,
        /// `StoredKey`.
        pub stored_key: Bytes,
        /// `ServerKey`.
        pub server_key: Bytes,
    }
}

wire_struct! {
    /// What is kept of a password.
    #[derive(Eq)]
    pub struct PasswordKeys {
        /// Its hash, in the text form of PHC.
        pub hash: String,
        /// For SCRAM-SHA-256.
        pub scram_sha_256: Option<ScramKeys> = 1,
        /// For SCRAM-SHA-512.
        pub scram_sha_512: Option<ScramKeys> = 2,
    }
}

wire_struct! {
    /// A bearer token of an account.
    #[derive(Eq)]
    pub struct AccountToken {
        /// Its name within the account.
        pub id: String,
        /// SHA-256 of the token.
        pub hash: Bytes,
        /// When it was made.
        pub created_at: TimeMs,
        /// When it is valid no longer.
        pub expires_at: Option<TimeMs> = 1,
    }
}

wire_struct! {
    /// An account as it is kept.
    #[derive(Eq)]
    pub struct Account {
        /// Its name.
        pub name: String,
        /// When it was created.
        pub created_at: TimeMs,
        /// When it was changed last.
        pub changed_at: TimeMs,
        /// What is kept of its password.
        pub password: Option<PasswordKeys> = 1,
        /// Its tokens, in the order of their making.
        pub tokens: Vec<AccountToken> = 2,
        /// Subjects of certificates that stand for it.
        pub certificates: Vec<String> = 3,
        /// What it may do.
        pub grants: Vec<AccountGrant> = 4,
        /// Requests that it may make in a second.
        pub requests_per_second: Option<u32> = 5,
        /// The namespace of protocols that name none.
        pub namespace: Option<String> = 6,
    }
}

wire_struct! {
    /// One change that somebody made.
    #[derive(Eq)]
    pub struct AuditEntry {
        /// Its number in the shard: one more than that of the entry before it.
        pub number: u64,
        /// When.
        pub at: TimeMs,
        /// Who: the name of an account, or the local user.
        pub by: String,
        /// What was done, such as `account.put`.
        pub action: String,
        /// To what.
        pub object: String,
        /// In which namespace.
        pub namespace: Option<String> = 1,
        /// How it was; `None` where it was not there.
        pub before: Option<String> = 2,
        /// How it is since; `None` where it is gone.
        pub after: Option<String> = 3,
    }
}

/// A token to add to an account.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NewToken {
    /// Its name within the account.
    pub id: String,
    /// SHA-256 of the token.
    pub hash: Bytes,
    /// When it is valid no longer.
    pub expires_at: Option<TimeMs>,
}

/// What is to change of an account; `None` leaves what there is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccountChange {
    /// Its password, or that it has none.
    pub password: Option<Option<PasswordKeys>>,
    /// Subjects of certificates that stand for it.
    pub certificates: Option<Vec<String>>,
    /// What it may do.
    pub grants: Option<Vec<AccountGrant>>,
    /// Requests that it may make in a second, or that there is no limit.
    pub requests_per_second: Option<Option<u32>>,
    /// The namespace of protocols that name none, or that there is none.
    pub namespace: Option<Option<String>>,
    /// A token that it has from now on. One of the same id has to have the same hash.
    pub add_token: Option<NewToken>,
    /// The token that it has no longer.
    pub revoke_token: Option<String>,
}

/// What is asked of accounts and of the trail. The request's namespace only finds the shard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum AccountCommand {
    /// Change an account.
    Change {
        /// Its name.
        name: String,
        /// Create it where it is not there.
        create: bool,
        /// What is to change.
        change: Box<AccountChange>,
        /// Who wants it.
        by: String,
    },
    /// Remove an account.
    Delete {
        /// Its name.
        name: String,
        /// Who wants it.
        by: String,
    },
    /// Describe an account.
    Get {
        /// Its name.
        name: String,
    },
    /// Describe accounts in the order of their names.
    List {
        /// The last name that was seen.
        after: Option<String>,
        /// How many at most.
        limit: usize,
    },
    /// Note what somebody did that is no command of a shard, such as having a copy made.
    Note {
        /// What was done, such as `backup.begin`.
        action: &'static str,
        /// To what.
        object: String,
        /// How it is since, in words.
        after: Option<String>,
        /// Who did it.
        by: String,
    },
    /// Tell what was changed, the oldest first.
    Audit {
        /// The last number that was seen; `None` for the newest entries.
        after: Option<u64>,
        /// How many at most.
        limit: usize,
    },
}

/// What a shard answers to an [`AccountCommand`].
#[derive(Clone, Debug, PartialEq)]
pub enum AccountAnswer {
    /// The account as it is now.
    Account(Box<Account>),
    /// To `Delete`.
    Deleted,
    /// To `Note`.
    Noted,
    /// To `List`; whether more follow.
    Accounts(Vec<Account>, bool),
    /// To `Audit`; whether more follow.
    Entries(Vec<AuditEntry>, bool),
}

/// A command of an administrator: what it changes goes into the trail.
#[derive(Clone, Debug)]
pub struct AuditedCommand {
    /// Who wants it.
    pub by: String,
    /// What to do.
    pub command: Command,
}
