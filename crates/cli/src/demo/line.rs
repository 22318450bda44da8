//! What the demo's workers tell the demo: one JSON object per line on standard output.

use longshore_server::api::JobIdText;
use serde::{Deserialize, Serialize};

/// One line.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub(super) enum Line {
    /// A job was handed over.
    Leased { id: JobIdText, attempt: u32 },
    /// It is worked on.
    Archiving { id: JobIdText, path: String },
    /// The file is in the archive.
    Stored { id: JobIdText, bytes: u64, unchanged: bool },
    /// The server knows that it is done.
    Settled { id: JobIdText },
    /// The worker could not do it.
    Failed { id: JobIdText, message: String },
}
