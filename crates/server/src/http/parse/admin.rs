//! Settings of queues, and which jobs an operation touches.

use bytes::Bytes;
use longshore_engine::{JobDefaults, KindSettings, QueueSettings, TenantWeight, TimeMs};

use super::Bounds;
use super::enqueue::retry_policy;
use crate::api::{
    DurationText, InstantText, JobDefaultsBody, KindSettingsBody, PurgeRequest, QueueSettingsBody,
    RetryDeadRequest,
};
use crate::http::json::{read, read_or_default, text_of};
use crate::http::refusal::Refusal;
use crate::http::text::check_name;

/// Which jobs an operation touches.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Filter {
    /// The dead ones instead of the waiting ones.
    pub(crate) dead: bool,
    /// Only of this kind.
    pub(crate) kind: Option<String>,
    /// Only what entered or died before.
    pub(crate) before: Option<TimeMs>,
    /// So many at most.
    pub(crate) limit: Option<u64>,
}

/// Reads the settings of a queue.
pub(crate) fn parse_settings(body: &Bytes, bounds: &Bounds) -> Result<QueueSettings, Refusal> {
    settings_of(read(text_of(body)?)?, bounds)
}

/// Checks the settings of a queue.
pub(crate) fn settings_of(
    settings: QueueSettingsBody,
    bounds: &Bounds,
) -> Result<QueueSettings, Refusal> {
    let QueueSettingsBody { paused, max_length, defaults, messages: _, tenants, outcomes } =
        settings;
    if let Some(exchange) = &outcomes {
        check_name("outcomes", exchange)?;
    }
    Ok(QueueSettings {
        paused,
        max_length,
        defaults: defaults_of(defaults, bounds)?,
        messages: None,
        tenants: tenants
            .into_iter()
            .map(|(tenant, weight)| TenantWeight { tenant, weight })
            .collect(),
        outcomes,
    })
}

/// Checks options for jobs that do not say otherwise.
fn defaults_of(defaults: JobDefaultsBody, bounds: &Bounds) -> Result<JobDefaults, Refusal> {
    let JobDefaultsBody { priority, lease, timeout, retry, max_attempts, max_age, ttl, retain } =
        defaults;
    let ms = |name: &str, duration, min_ms| {
        bounds.duration(&format!("defaults.{name}"), duration, min_ms)
    };
    Ok(JobDefaults {
        priority,
        lease_ms: bounds.lease("defaults.lease", lease)?,
        timeout_ms: ms("timeout", timeout, 1)?,
        retry: retry_policy("defaults.retry", retry.as_ref(), bounds)?,
        max_attempts,
        max_age_ms: ms("max_age", max_age, 1)?,
        ttl_ms: ms("ttl", ttl, 1)?,
        retain_ms: ms("retain", retain, 0)?,
    })
}

/// Reads what is set of a kind.
pub(crate) fn parse_kind_settings(body: &Bytes, bounds: &Bounds) -> Result<KindSettings, Refusal> {
    kind_settings_of(read(text_of(body)?)?, bounds)
}

/// Checks what is set of a kind.
pub(crate) fn kind_settings_of(
    settings: KindSettingsBody,
    bounds: &Bounds,
) -> Result<KindSettings, Refusal> {
    Ok(KindSettings { defaults: defaults_of(settings.defaults, bounds)? })
}

/// Reads which jobs to purge; an empty body means all that wait.
pub(crate) fn parse_purge(body: &Bytes, now: TimeMs) -> Result<Filter, Refusal> {
    let request: PurgeRequest = read_or_default(body)?;
    let PurgeRequest { dead, kind, older_than, before, limit } = request;
    Ok(Filter { dead, limit, ..filter(kind, older_than, before, now)? })
}

/// Reads which dead jobs to retry; an empty body means all.
pub(crate) fn parse_retry_dead(body: &Bytes, now: TimeMs) -> Result<Filter, Refusal> {
    let request: RetryDeadRequest = read_or_default(body)?;
    let RetryDeadRequest { kind, older_than, before, limit } = request;
    Ok(Filter { dead: true, limit, ..filter(kind, older_than, before, now)? })
}

fn filter(
    kind: Option<String>,
    older_than: Option<DurationText>,
    before: Option<InstantText>,
    now: TimeMs,
) -> Result<Filter, Refusal> {
    if let Some(kind) = &kind {
        check_name("kind", kind)?;
    }
    if let (Some(age), Some(_)) = (older_than, before) {
        let value = format!("{age}, beside before");
        return Err(Refusal::value("older_than", value, "older_than or before, not both"));
    }
    let before = before.map(|at| TimeMs(at.0));
    let older = older_than.map(|age| TimeMs(now.0.saturating_sub(age.0)));
    Ok(Filter { kind, before: before.or(older), ..Filter::default() })
}
