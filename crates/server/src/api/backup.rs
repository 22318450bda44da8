//! Second copies as they are asked for and told.

use longshore_derive::sparse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::InstantText;

/// A copy that is wanted.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// Where to: a path, `file://`, `s3://`, `gs://` or `az://`, as far as the setting `ship.allow`
    /// names it. Left out, where copies are sent all the time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// It waits or is being made.
    Running,
    /// It is whole.
    Finished,
    /// It was not made.
    Failed,
}

/// A copy that somebody asked for.
#[sparse]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct BackupRecord {
    /// What it is asked for by.
    pub id: String,
    /// Where to.
    pub to: String,
    /// Who asked for it.
    pub by: String,
    /// When.
    pub asked_at: InstantText,
    /// How far it is.
    pub state: BackupState,
    /// The instant up to which it holds everything.
    pub taken_at: Option<InstantText>,
    /// Bytes of its files.
    pub bytes: Option<u64>,
    /// Bytes of those that had to be sent.
    pub sent_bytes: Option<u64>,
    /// For each shard the position of the journal up to which it goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub positions: Vec<u64>,
    /// Why it was not made.
    pub reason: Option<String>,
}

/// How far the journal of a shard was sent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ShippedShard {
    /// Its number.
    pub shard: u32,
    /// The last position that was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// How old what was not sent may be, in seconds.
    pub lag_seconds: f64,
    /// Bytes that were not sent, about.
    pub lag_bytes: u64,
}

/// A base that is whole where copies are sent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct BaseRecord {
    /// Its number.
    pub id: String,
    /// The instant up to which it holds everything.
    pub taken_at: InstantText,
}

/// How it goes with copies that are sent all the time.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct ShippingRecord {
    /// Where to.
    pub to: String,
    /// Its shards.
    pub shards: Vec<ShippedShard>,
    /// Bases of this store that lie there since it was made or restored, the newest last.
    pub bases: Vec<BaseRecord>,
    /// Another server sends to the same place, so nothing more is sent.
    pub refused: bool,
    /// Why the journal is not sent, until it is.
    pub error: Option<String>,
    /// Why the last base was not made, until one is.
    pub base_error: Option<String>,
}

/// A base that is being made.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, ToSchema)]
pub struct BaseProgressRecord {
    /// Bytes of its files that are there.
    pub done_bytes: u64,
    /// Bytes of its files, as far as they are known.
    pub total_bytes: u64,
    /// Bytes that had to be sent.
    pub sent_bytes: u64,
}

/// Copies.
#[sparse]
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
pub struct BackupList {
    /// Where copies are sent all the time, and how far they are.
    pub shipping: Option<ShippingRecord>,
    /// The base that is being made.
    pub under_way: Option<BaseProgressRecord>,
    /// What was asked for since the server started, the newest first.
    pub backups: Vec<BackupRecord>,
}
