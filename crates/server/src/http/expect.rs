//! What a request says that it has to be answered with: `Expect` (RFC 9110, 10.1.1), and
//! `Longshore-Expect` where a proxy drops that. `417` says that nothing was or will be done.

use hyper::header::HeaderMap;

use super::code::Code;
use super::prefer::split_outside_quotes;
use super::refusal::Refusal;
use super::route::Op;
use super::text::quoted;

/// The headers that say it.
const HEADERS: [&str; 2] = ["expect", "longshore-expect"];
/// What may be said.
const KNOWN: &str = "202-accepted, 200-ok, 201-created or 204-no-content, and one of them";

/// What an enqueue has to be answered with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expected {
    /// `202`, without waiting.
    Accepted,
    /// The outcome, whichever it is.
    Outcome,
}

/// What a request says, checked before anything else is done with it.
///
/// # Errors
///
/// It is nothing that the route can be answered with.
pub(crate) fn expected(op: Op, headers: &HeaderMap) -> Result<Option<Expected>, Refusal> {
    let mut words: Option<String> = None;
    for header in HEADERS.iter().flat_map(|name| headers.get_all(*name)) {
        let Ok(text) = header.to_str() else {
            return Err(cannot("an expectation that is no text", KNOWN));
        };
        for word in split_outside_quotes(text, b',').map(str::trim) {
            // That one is between the client and hyper.
            if word.is_empty() || word.eq_ignore_ascii_case("100-continue") {
                continue;
            }
            let word = word.to_ascii_lowercase();
            if words.as_ref().is_some_and(|before| *before != word) {
                return Err(cannot(&quoted(&word), KNOWN));
            }
            words = Some(word);
        }
    }
    let Some(word) = words else { return Ok(None) };
    let expected = match word.as_str() {
        "202-accepted" => Expected::Accepted,
        "200-ok" | "201-created" | "204-no-content" => Expected::Outcome,
        _ => return Err(cannot(&quoted(&word), KNOWN)),
    };
    if op != Op::Enqueue {
        return Err(cannot(&quoted(&word), "where jobs are enqueued"));
    }
    Ok(Some(expected))
}

/// An expectation that cannot be met: nothing was or will be done.
pub(crate) fn cannot(what: &str, allowed: &str) -> Refusal {
    let detail = format!("the expectation {what} cannot be met; nothing was or will be done");
    let refusal = Refusal::new(Code::ExpectationFailed, detail);
    refusal.about("Expect", what.to_owned(), allowed.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[(&'static str, &'static str)], expected_is: Result<Option<Expected>, ()>) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let found = expected(Op::Enqueue, &headers).map_err(|refusal| {
            assert_eq!(refusal.code(), Code::ExpectationFailed);
        });
        assert_eq!(found, expected_is, "{lines:?}");
    }

    #[test]
    fn expectations_are_read_wherever_they_stand() {
        let (accepted, outcome) = (Ok(Some(Expected::Accepted)), Ok(Some(Expected::Outcome)));
        check(&[], Ok(None));
        check(&[("expect", "100-continue")], Ok(None));
        check(&[("expect", "202-Accepted")], accepted);
        check(&[("expect", "100-continue, 200-ok")], outcome);
        check(&[("longshore-expect", "201-created")], outcome);
        check(&[("expect", "204-no-content"), ("longshore-expect", "204-no-content")], outcome);
        check(&[("expect", "200-ok"), ("longshore-expect", "202-accepted")], Err(()));
        check(&[("expect", "200-ok, 201-created")], Err(()));
        check(&[("expect", "206-partial")], Err(()));
        check(&[("expect", "200-ok; q=1")], Err(()));
    }

    #[test]
    fn other_routes_meet_none() {
        let mut headers = HeaderMap::new();
        headers.append("expect", "200-ok".parse().unwrap());
        assert!(expected(Op::GetJob, &headers).is_err());
        headers.insert("expect", "100-continue".parse().unwrap());
        assert_eq!(expected(Op::GetJob, &headers).unwrap(), None);
    }
}
