//! Limits as they are set, and the keys of jobs that name one.

use std::fmt::Write as _;

use bytes::Bytes;
use longshore_engine::{JobLimit, LimitRule, LimitScope, LimitSettings};
use sha2::{Digest, Sha256};

use super::Bounds;
use super::unique::{POINTER_TOKENS_MAX, at_pointer};
use crate::api::{JobLimitText, LimitScopeText, LimitSettingsBody, NewJob};
use crate::http::json::{read, text_of};
use crate::http::refusal::Refusal;
use crate::http::text::{check_name, quoted};

/// Bytes of args that are looked into for a key.
const ARGS_BYTES_MAX: usize = 256 << 10;

/// Further limits of a job that are read: each may look through the args. It is refused for fewer.
const FURTHER_READ_MAX: usize = 16;

/// Bytes of a key; what is longer is hashed.
const KEY_BYTES_MAX: usize = 200;

/// Reads the settings of a limit.
pub(crate) fn parse_limit(body: &Bytes, bounds: &Bounds) -> Result<LimitSettings, Refusal> {
    limit_of(read(text_of(body)?)?, bounds)
}

/// The settings of a limit.
pub(crate) fn limit_of(body: LimitSettingsBody, bounds: &Bounds) -> Result<LimitSettings, Refusal> {
    let LimitSettingsBody { scope, of, concurrency, window, bucket } = body;
    let scope = match (scope, of) {
        (LimitScopeText::Queue, name) => LimitScope::Queue { name },
        (LimitScopeText::Kind, name) => LimitScope::Kind { name },
        (_, Some(of)) => {
            let allowed = "no such field: it goes with the scopes queue and kind";
            return Err(Refusal::value("of", quoted(&of), allowed));
        }
        (LimitScopeText::Namespace, None) => LimitScope::Namespace,
        (LimitScopeText::Key, None) => LimitScope::Key,
    };
    let rule = match (concurrency, window, bucket) {
        (Some(max), None, None) => LimitRule::Concurrency { max },
        (None, Some(window), None) => {
            bounds.duration("window.per", Some(window.per), 1)?;
            LimitRule::Window { max: window.max, period_ms: window.per.0 }
        }
        (None, None, Some(bucket)) => {
            bounds.duration("bucket.per", Some(bucket.per), 1)?;
            let (burst, count) = (bucket.burst, bucket.count);
            LimitRule::Bucket { burst, count, period_ms: bucket.per.0 }
        }
        _ => {
            let allowed = "one of concurrency, window and bucket";
            return Err(Refusal::value("concurrency", "none, or more than one", allowed));
        }
    };
    Ok(LimitSettings { scope, rule })
}

/// The limits that a job names, with its keys: the first one, and further ones.
pub(super) fn job_limits(job: &NewJob<'_>) -> Result<(Option<JobLimit>, Vec<JobLimit>), Refusal> {
    let limit = job.limit.as_ref().map(|limit| job_limit(job, limit)).transpose()?;
    let further = job.limits.iter().flatten().take(FURTHER_READ_MAX);
    let further = further.map(|limit| job_limit(job, limit));
    Ok((limit, further.collect::<Result<_, _>>()?))
}

/// A limit that a job names, with its key.
fn job_limit(job: &NewJob<'_>, limit: &JobLimitText) -> Result<JobLimit, Refusal> {
    check_name("limit.name", &limit.name)?;
    let key = match (&limit.key, &limit.by, &limit.tag) {
        (Some(key), None, None) => key.clone(),
        (None, Some(pointer), None) => by_pointer(job, pointer)?,
        (None, None, Some(prefix)) => {
            let mut tags = job.tags.iter().flatten();
            let found = tags.find_map(|tag| tag.strip_prefix(prefix.as_str()));
            found.unwrap_or_default().to_owned()
        }
        _ => {
            let allowed = "one of key, by and tag";
            return Err(Refusal::value("limit.key", "none, or more than one", allowed));
        }
    };
    // Jobs without a value share a key, as those with an empty one do.
    let key = if key.is_empty() { "-".to_owned() } else { key };
    let name = limit.name.clone();
    if key.len() <= KEY_BYTES_MAX && !key.contains(char::is_control) {
        return Ok(JobLimit { name, key });
    }
    let digest: [u8; 32] = Sha256::digest(key.as_bytes()).into();
    let mut key = "sha256:".to_owned();
    for byte in digest {
        let _ = write!(key, "{byte:02x}");
    }
    Ok(JobLimit { name, key })
}

fn by_pointer(job: &NewJob<'_>, pointer: &str) -> Result<String, Refusal> {
    if !pointer.starts_with('/') {
        let allowed = "a JSON pointer such as /account";
        return Err(Refusal::value("limit.by", quoted(pointer), allowed));
    }
    let args = job.args.as_ref().map_or("{}", |args| args.get());
    if args.len() > ARGS_BYTES_MAX {
        let allowed = format!("args of at most {ARGS_BYTES_MAX} bytes, where they have the key");
        return Err(Refusal::value("limit.by", format!("{} bytes of args", args.len()), allowed));
    }
    if pointer.matches('/').count() > POINTER_TOKENS_MAX {
        let allowed = format!("a pointer of at most {POINTER_TOKENS_MAX} members");
        return Err(Refusal::value("limit.by", quoted(pointer), allowed));
    }
    let value = at_pointer(args, pointer).unwrap_or_default();
    // A text is its own key: "acme" and not "\"acme\"".
    Ok(serde_json::from_str::<String>(value).unwrap_or_else(|_| value.to_owned()))
}
