//! The `Prefer` header (RFC 7240): what the client would like, and what of it was done.

use hyper::header::HeaderMap;

use super::expect::Expected;

/// What this server understands of it. Unknown preferences are ignored, as the RFC wants.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Preferences {
    /// The client does not wait for the outcome.
    pub(crate) respond_async: bool,
    /// Seconds that the client waits for the outcome.
    pub(crate) wait_s: Option<u64>,
    /// What it has to be answered with: see [`expect`](super::expect).
    pub(crate) expected: Option<Expected>,
}

impl Preferences {
    /// Reads all `Prefer` headers. The first of equal preferences counts.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut preferences = Self::default();
        for header in headers.get_all("prefer") {
            let Ok(text) = header.to_str() else { continue };
            for preference in split_outside_quotes(text, b',') {
                preferences.add(preference);
            }
        }
        preferences
    }

    fn add(&mut self, preference: &str) {
        // Parameters follow after semicolons; none is defined for these two.
        let Some(preference) = split_outside_quotes(preference, b';').next() else { return };
        let (name, value) = match preference.split_once('=') {
            Some((name, value)) => (name.trim(), unquote(value.trim())),
            None => (preference.trim(), ""),
        };
        if name.eq_ignore_ascii_case("respond-async") {
            self.respond_async = true;
        } else if name.eq_ignore_ascii_case("wait") && self.wait_s.is_none() {
            let plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            // What is too large for a number is at least longer than any wait.
            self.wait_s = plain.then(|| value.parse().unwrap_or(u64::MAX));
        }
    }
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

/// The parts of `text` between separators that stand in no quoted string.
pub(super) fn split_outside_quotes(text: &str, separator: u8) -> impl Iterator<Item = &str> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[&str], respond_async: bool, wait_s: Option<u64>) {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append("prefer", header.parse().unwrap());
        }
        let expected = Preferences { respond_async, wait_s, expected: None };
        assert_eq!(Preferences::of(&map), expected, "{headers:?}");
    }

    #[test]
    fn preferences_are_read_as_the_rfc_writes_them() {
        check(&[], false, None);
        check(&["respond-async"], true, None);
        check(&["respond-async, wait=10"], true, Some(10));
        check(&["Respond-Async ; foo=\"a,b\" , WAIT = 10"], true, Some(10));
        check(&["wait=\"20\""], false, Some(20));
        check(&["wait=5", "respond-async", "wait=9"], true, Some(5));
        check(&["foo=\"wait=3, respond-async\""], false, None);
        check(&["foo=\"a\\\", wait=3\", wait=4"], false, Some(4));
        check(&["wait"], false, None);
        check(&["wait=-1"], false, None);
        check(&["wait=1.5"], false, None);
        check(&["wait=99999999999999999999999"], false, Some(u64::MAX));
        check(&[",,;;=,\""], false, None);
    }
}
