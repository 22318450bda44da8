//! Kinds and their versions as they are told.

use longshore_engine::{KindDetail, KindView};

use super::view::{defaults, version_told};
use crate::api::{KindRecord, KindSettingsBody, KindWholeRecord};

/// A version of a kind.
pub(crate) fn kind_version(view: KindView) -> KindRecord {
    KindRecord {
        kind: view.name,
        version: version_told(view.version),
        waiting: view.waiting,
        running: view.running,
        consumers: view.consumers,
        workers: view.workers,
    }
}

/// A kind as a whole.
pub(crate) fn kind(detail: KindDetail) -> KindWholeRecord {
    KindWholeRecord {
        kind: detail.name,
        settings: KindSettingsBody { defaults: defaults(&detail.settings.defaults) },
        gates: detail.gates,
        limits: detail.limits,
        sla: detail.slas,
        kinds: detail.versions.into_iter().map(kind_version).collect(),
    }
}
