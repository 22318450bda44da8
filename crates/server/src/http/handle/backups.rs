//! Second copies: have one made, tell how they are.

use hyper::StatusCode;
use longshore_backup::Told;
use longshore_engine::TimeMs;
use longshore_engine::ask::NoteDeed;

use super::ok;
use crate::api::{
    BackupList, BackupRecord, BackupRequest, BackupState, BaseProgressRecord, BaseRecord,
    ShippedShard, ShippingRecord,
};
use crate::copies::{Asked, NotBegun, Progress};
use crate::http::app::Call;
use crate::http::code::Code;
use crate::http::json::{read, text_of};
use crate::http::refusal::Refusal;
use crate::http::reply::Reply;
use crate::http::text::quoted;
use crate::http::view;

/// The longest place that is read.
const PLACE_BYTES_MAX: usize = 2048;

pub(super) async fn begin(call: Call<'_>) -> Result<Reply, Refusal> {
    let body =
        if call.body.is_empty() { BackupRequest::default() } else { read(text_of(&call.body)?)? };
    let to = body.to.as_deref();
    if to.is_some_and(|to| to.len() > PLACE_BYTES_MAX) {
        return Err(Refusal::value("to", "too long", "at most 2048 bytes"));
    }
    let shown = || to.map_or_else(|| "missing".to_owned(), quoted);
    let begun = match &call.app.copies {
        Some(copies) => copies.begin(to, call.app.who.name()),
        None if to.is_some() => Err(NotBegun::NotAllowed),
        None => Err(NotBegun::Nowhere),
    };
    let begun = begun.map_err(|why| match why {
        NotBegun::Nowhere => {
            Refusal::value("to", shown(), "a place, as the server sends copies nowhere by itself")
        }
        NotBegun::NotAllowed => {
            Refusal::value("to", shown(), "what the setting ship.to or ship.allow names")
        }
        NotBegun::NoPlace(why) => Refusal::value("to", shown(), why),
        NotBegun::TooMany => {
            let detail = "so many copies wait to be made that no other may";
            Refusal::new(Code::TooManyRequests, detail).retry_after_s(10)
        }
    })?;
    note(&call, &begun).await;
    Ok(Reply::of(StatusCode::ACCEPTED, &record(begun)).not_cached())
}

/// Notes in the trail that somebody has a copy made, which is all that the store holds. The copy is
/// made all the same where the shard of the trail has stopped: it may be what saves the rest.
async fn note(call: &Call<'_>, begun: &Asked) {
    let command = NoteDeed {
        action: "backup.begin",
        object: begun.id.to_string(),
        after: Some(format!("to {}", begun.to)),
        by: call.app.who.name().to_owned(),
    };
    let app = call.app;
    if let Err(refusal) = app.access.carry_out((&app.node, &app.who), command).await {
        let problem = refusal.problem();
        tracing::warn!(backup = %begun.id, why = problem.detail, "a backup is not in the trail");
    }
}

pub(super) fn list(call: &Call<'_>) -> Reply {
    let Some(copies) = &call.app.copies else {
        return ok(&BackupList { shipping: None, under_way: None, backups: Vec::new() });
    };
    let told = copies.status.told();
    let under_way = told.base.as_ref().map(|base| BaseProgressRecord {
        done_bytes: base.done_bytes,
        total_bytes: base.total_bytes,
        sent_bytes: base.sent_bytes,
    });
    let backups = copies.asked().into_iter().rev().map(record).collect();
    ok(&BackupList { shipping: shipping(told), under_way, backups }).not_cached()
}

pub(super) fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    let asked = call
        .app
        .copies
        .iter()
        .flat_map(|copies| copies.asked())
        .find(|asked| asked.id.to_string() == call.name);
    let asked = asked.ok_or_else(|| {
        let detail = format!("no copy {} was asked for since the start", quoted(call.name));
        Refusal::new(Code::BackupUnknown, detail)
    })?;
    Ok(ok(&record(asked)).not_cached())
}

fn shipping(told: Told) -> Option<ShippingRecord> {
    let shards = told.shards.iter().map(|shard| ShippedShard {
        shard: shard.shard,
        position: shard.sent.map(|(_, next)| next.0.saturating_sub(1)),
        lag_seconds: shard.lag.as_secs_f64(),
        lag_bytes: shard.lag_bytes,
    });
    let bases = told.bases.iter().map(|base| BaseRecord {
        id: base.id.to_string(),
        taken_at: view::instant(TimeMs(base.taken_ms)),
    });
    Some(ShippingRecord {
        to: told.to?,
        shards: shards.collect(),
        bases: bases.collect(),
        refused: told.refused,
        error: told.error,
        base_error: told.base_error,
    })
}

fn record(asked: Asked) -> BackupRecord {
    let (state, made, reason) = match asked.progress {
        Progress::Running => (BackupState::Running, None, None),
        Progress::Made(made) => (BackupState::Finished, Some(made.catalogue), None),
        Progress::Failed(why) => (BackupState::Failed, None, Some(why)),
    };
    let positions = made.iter().flat_map(|it| &it.shards).map(|shard| shard.until).collect();
    BackupRecord {
        id: asked.id.to_string(),
        to: asked.to,
        by: asked.by,
        asked_at: view::instant(asked.at),
        state,
        taken_at: made.as_ref().map(|it| view::instant(TimeMs(it.taken_ms))),
        bytes: made.as_ref().map(longshore_backup::Catalogue::bytes),
        sent_bytes: made.as_ref().map(|it| it.sent_bytes),
        positions,
        reason,
    }
}
