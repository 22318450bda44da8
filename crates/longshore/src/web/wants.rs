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
        for expectation in tokens(headers, "expect") {
            let expected = match expectation.to_ascii_lowercase().as_str() {
                // That is between the client and the HTTP server.
                "100-continue" => continue,
                "202-accepted" => Expected::Accepted,
                "200-ok" => Expected::Ok,
                "201-created" => Expected::Created,
                "204-no-content" => Expected::NoContent,
                _ => return Err(WantsError(expectation)),
            };
            if wants.expected.is_some_and(|before| before != expected) {
                return Err(WantsError(expectation));
            }
            wants.expected = Some(expected);
        }
        for preference in tokens(headers, "prefer") {
            // What is not understood is ignored, and the first of a kind counts.
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => wants.respond_async = true,
                "wait" if wants.wait.is_none() => {
                    let seconds = value.trim().trim_matches('"').parse().ok();
                    wants.wait = seconds.map(Duration::from_secs);
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

    /// What of `Prefer` was done.
    pub(super) fn applied(&self, waited: Duration) -> Option<String> {
        if self.wait.is_some() && !waited.is_zero() {
            return Some(format!("wait={}", waited.as_secs()));
        }
        self.respond_async.then(|| "respond-async".to_owned())
    }
}

fn tokens(headers: &HeaderMap, name: &str) -> impl Iterator<Item = String> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(|token| token.trim().to_owned())
        .filter(|token| !token.is_empty())
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
        let ok = wants(&[("expect", "100-continue, 200-OK")]).unwrap();
        assert_eq!((ok.expected, ok.waits(max)), (Some(Expected::Ok), max));
        let accepted = wants(&[("expect", "202-accepted"), ("prefer", "wait=5")]).unwrap();
        assert_eq!(accepted.waits(max), Duration::ZERO);
        assert_eq!(wants(&[]).unwrap().waits(max), Duration::ZERO);
        assert!(wants(&[("expect", "200-ok, 202-accepted")]).is_err());
        assert!(wants(&[("expect", "206-partial")]).is_err());
    }
}
