//! An answer on its way out: status, a few headers, one buffer.

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use super::code::Code;
use super::events::EventStream;
use super::refusal::Refusal;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The body of an answer: one buffer, or events as they come.
pub(crate) type AnswerBody = Either<Full<Bytes>, EventStream>;

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply(Response<AnswerBody>);

impl Reply {
    /// An answer of this type.
    pub(crate) fn new(status: StatusCode, kind: HeaderValue, body: impl Into<Bytes>) -> Self {
        let mut response = Response::new(Either::Left(Full::new(body.into())));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, kind);
        Self(response)
    }

    /// An answer without a body.
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self::of_parts(status, Bytes::new())
    }

    /// An answer of no type, yet.
    pub(super) fn of_parts(status: StatusCode, body: impl Into<Bytes>) -> Self {
        let mut response = Response::new(Either::Left(Full::new(body.into())));
        *response.status_mut() = status;
        Self(response)
    }

    /// Says that the request came before, and that this was the answer.
    #[must_use]
    pub(super) fn replayed(self) -> Self {
        self.header(REPLAYED, "true")
    }

    /// JSON that is written already.
    pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::new(status, JSON, body)
    }

    /// Server-sent events.
    pub(crate) fn events(events: EventStream) -> Self {
        let mut response = Response::new(Either::Right(events));
        response.headers_mut().insert(CONTENT_TYPE, EVENTS);
        Self(response).not_cached()
    }

    /// A value as JSON.
    pub(crate) fn of<T: Serialize>(status: StatusCode, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self::json(status, body),
            Err(error) => {
                tracing::error!(%error, "an answer could not be written");
                Refusal::new(Code::Internal, "the answer could not be written").into()
            }
        }
    }

    /// Adds `Location`. A text that no header can hold is left out.
    #[must_use]
    pub(crate) fn location(self, location: &str) -> Self {
        self.header(LOCATION, location)
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub(crate) fn retry_after_s(mut self, seconds: u64) -> Self {
        self.0.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        self
    }

    /// Adds `Preference-Applied`.
    #[must_use]
    pub(crate) fn preference_applied(self, preferences: &str) -> Self {
        self.header(PREFERENCE_APPLIED, preferences)
    }

    /// Says that nobody may keep the answer: it is true for a moment only.
    #[must_use]
    pub(crate) fn not_cached(mut self) -> Self {
        self.0.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.headers_mut().insert(name, value);
        }
        self
    }

    /// As hyper wants it.
    pub(crate) fn into_response(self) -> Response<AnswerBody> {
        self.0
    }
}

/// A refusal as the bytes of an answer after which the connection is closed, for a peer that hyper
/// does not serve.
pub(crate) fn closing_answer(refusal: &Refusal) -> Vec<u8> {
    let body = serde_json::to_string(&refusal.problem()).unwrap_or_default();
    let (status, length) = (refusal.code().status(), body.len());
    let retry_after = refusal.retry_after().map(|seconds| format!("retry-after: {seconds}\r\n"));
    let retry_after = retry_after.unwrap_or_default();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\n{retry_after}\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The same for a peer that speaks HTTP/2: empty SETTINGS and a GOAWAY that says why (RFC 9113 6.5
/// and 6.8), so that nothing that it sent counts as taken.
pub(crate) fn going_away(refusal: &Refusal) -> Vec<u8> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const ENHANCE_YOUR_CALM: u32 = 0xb;
    let problem = refusal.problem();
    let why = format!("{}: {}", problem.code, problem.detail);
    let length = (8 + why.len()) as u32;
    let mut bytes = SETTINGS.to_vec();
    bytes.extend_from_slice(length.to_be_bytes().get(1..).unwrap_or_default());
    // Type and flags, the connection itself, and that no stream was looked at.
    bytes.extend_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend_from_slice(&ENHANCE_YOUR_CALM.to_be_bytes());
    bytes.extend_from_slice(why.as_bytes());
    bytes
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        let body = serde_json::to_vec(&refusal.problem()).unwrap_or_default();
        let mut reply = Self::new(refusal.code().status(), PROBLEM, body);
        if let Some(seconds) = refusal.retry_after() {
            reply = reply.retry_after_s(seconds);
        }
        if let Some(methods) = refusal.allow_header() {
            reply = reply.header(ALLOW, methods);
        }
        if refusal.code() == Code::Unauthenticated {
            for way in
                ["Bearer realm=\"longshore\"", "Basic realm=\"longshore\", charset=\"UTF-8\""]
            {
                reply.0.headers_mut().append(WWW_AUTHENTICATE, HeaderValue::from_static(way));
            }
        }
        if refusal.closes() {
            reply.0.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_problem_document() {
        let refusal = Refusal::new(Code::DiskLow, "no room").retry_after_s(15).closing();
        let reply = Reply::from(refusal).into_response();
        assert_eq!(reply.status(), 503);
        assert_eq!(reply.headers()[CONTENT_TYPE], "application/problem+json");
        assert_eq!(reply.headers()[RETRY_AFTER], "15");
        assert_eq!(reply.headers()[CONNECTION], "close");
    }

    #[test]
    fn a_closing_answer_is_the_same_document() {
        let refusal = Refusal::new(Code::DiskLow, "no room").retry_after_s(15);
        let answer = String::from_utf8(closing_answer(&refusal)).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
        assert!(head.contains("\r\nretry-after: 15\r\nconnection: close\r\n"), "{head}");
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        assert_eq!(body, serde_json::to_string(&refusal.problem()).unwrap());
    }

    #[test]
    fn a_text_that_no_header_holds_is_left_out() {
        let reply = Reply::empty(StatusCode::OK).location("/a\r\nset-cookie: b").into_response();
        assert!(reply.headers().is_empty());
    }
}
