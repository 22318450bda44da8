//! What a client says about waiting: `Prefer` (RFC 7240) and `Expect` (RFC 9110).

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::answer::problem;

/// What the client wants to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Accepted,
    Ok,
    Created,
    NoContent,
}

/// What a request says about waiting. An extractor; a request that expects what nobody can do is
/// answered with `417` before anything is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    pub(super) expected: Option<Expected>,
    pub(super) respond_async: bool,
    pub(super) wait: Option<Duration>,
}

/// The expectation that cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the expectation \"{0}\" cannot be met; nothing was done")]
pub struct WantsError(pub(super) String);

impl IntoResponse for WantsError {
    fn into_response(self) -> Response {
        problem(StatusCode::EXPECTATION_FAILED, "expectation_failed", &self.to_string(), None)
    }
}

impl Wants {
    /// What the headers of a request say.
    pub fn from_headers(headers: &HeaderMap) -> Result<Self, WantsError> {
        let mut wants = Self::default();
        for expectation in elements(headers, "expect") {
            let expected = match expectation.to_ascii_lowercase().as_str() {
                // That is between the client and the HTTP server.
                "100-continue" => continue,
                "202-accepted" => Expected::Accepted,
                "200-ok" => Expected::Ok,
                "201-created" => Expected::Created,
                "204-no-content" => Expected::NoContent,
                _ => return Err(WantsError(expectation.to_owned())),
            };
            if wants.expected.is_some_and(|before| before != expected) {
                return Err(WantsError(expectation.to_owned()));
            }
            wants.expected = Some(expected);
        }
        for preference in elements(headers, "prefer") {
            // What is not understood is ignored, and the first of a kind counts.
            let preference = split_outside_quotes(preference, b';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => wants.respond_async = true,
                "wait" if wants.wait.is_none() => {
                    wants.wait = seconds(value.trim()).map(Duration::from_secs);
                }
                _ => {}
            }
        }
        Ok(wants)
    }

    /// How long to wait for the outcome, when nobody waits longer than `max`.
    pub(super) fn waits(&self, max: Duration) -> Duration {
        match (self.expected, self.wait) {
            (Some(Expected::Accepted), _) | (None, None) => Duration::ZERO,
            (_, Some(wait)) => wait.min(max),
            (Some(_), None) => max,
        }
    }

    /// Whether the client wants nothing but the outcome.
    pub(super) fn wants_outcome(&self) -> bool {
        matches!(self.expected, Some(Expected::Ok | Expected::Created | Expected::NoContent))
    }

    /// What of `Prefer` was done. An answer is asynchronous where it is a `202`, and no other is.
    pub(super) fn applied(&self, waited: Duration, is_accepted: bool) -> Option<String> {
        let waits = self.wait.is_some() && !waited.is_zero();
        let wait = waits.then(|| format!("wait={}", waited.as_secs()));
        let respond_async = (self.respond_async && is_accepted).then(|| "respond-async".to_owned());
        let applied: Vec<_> = respond_async.into_iter().chain(wait).collect();
        (!applied.is_empty()).then(|| applied.join(", "))
    }
}

/// The elements of all headers of a name.
fn elements<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| split_outside_quotes(line, b','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

/// Whole seconds, of which no number is too large.
fn seconds(value: &str) -> Option<u64> {
    let plain = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    let is_number = !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| plain.parse().unwrap_or(u64::MAX))
}

/// The parts of `text` between separators that stand in no quoted string.
fn split_outside_quotes(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let part = rest?;
        let (mut quoted, mut escaped) = (false, false);
        let end = part.bytes().position(|byte| {
            if escaped {
                escaped = false;
            } else if quoted && byte == b'\\' {
                escaped = true;
            } else if byte == b'"' {
                quoted = !quoted;
            }
            !quoted && byte == separator
        });
        // The separator is ASCII, so both ends are at characters.
        let (this, next) = match end {
            Some(end) => (part.get(..end)?, part.get(end + 1..)),
            None => (part, None),
        };
        rest = next;
        Some(this)
    })
}

impl<S: Send + Sync> FromRequestParts<S> for Wants {
    type Rejection = WantsError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, WantsError> {
        Self::from_headers(&parts.headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(lines: &[(&'static str, &'static str)]) -> Result<Wants, WantsError> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        Wants::from_headers(&headers)
    }

    #[test]
    fn preferences_and_expectations() {
        let max = Duration::from_secs(30);
        let both = wants(&[("prefer", "respond-async, wait=10"), ("prefer", "x; y=1")]).unwrap();
        assert_eq!((both.respond_async, both.waits(max)), (true, Duration::from_secs(10)));
        let long = wants(&[("prefer", "wait=\"100\"")]).unwrap();
        assert_eq!(long.waits(max), max);
        let enormous = wants(&[("prefer", "wait=99999999999999999999999")]).unwrap();
        assert_eq!(enormous.waits(max), max);
        for quoted in ["foo=\"a, wait=20\"", "foo=\"a\\\", wait=3\"", "wait=-1", "wait=+1"] {
            assert_eq!(wants(&[("prefer", quoted)]).unwrap().wait, None, "{quoted}");
        }
        let ok = wants(&[("expect", "100-continue, 200-OK")]).unwrap();
        assert_eq!((ok.expected, ok.waits(max)), (Some(Expected::Ok), max));
        let accepted = wants(&[("expect", "202-accepted"), ("prefer", "wait=5")]).unwrap();
        assert_eq!(accepted.waits(max), Duration::ZERO);
        assert_eq!(wants(&[]).unwrap().waits(max), Duration::ZERO);
        assert!(wants(&[("expect", "200-ok, 202-accepted")]).is_err());
        assert!(wants(&[("expect", "206-partial")]).is_err());
    }
}
