//! Bodies of requests as JSON: pure functions from untrusted bytes to a value or a refusal that
//! names the field, the value and what is allowed.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, MapAccess};
use serde_json::error::Category;

use super::code::Code;
use super::fault;
use super::refusal::Refusal;
use crate::api::{NoFields, Object, RawJson};

/// How deep the JSON may be nested that is carried and not read.
pub(crate) const DEPTH_MAX: usize = 128;
/// How a refusal names the body itself.
pub(crate) const THE_BODY: &str = "the body";
const AN_OBJECT: &str = "a JSON object";

/// The text of a body.
pub(crate) fn text_of(body: &Bytes) -> Result<&str, Refusal> {
    if body.is_empty() {
        let detail = "the body is empty; it has to be a JSON object";
        let allowed = AN_OBJECT.to_owned();
        let refusal = Refusal::new(Code::BodyMissing, detail);
        return Err(refusal.about(THE_BODY, "nothing".to_owned(), allowed));
    }
    std::str::from_utf8(body).map_err(|error| {
        let at = error.valid_up_to();
        let value = body.get(at).map_or_else(String::new, |byte| format!("byte {byte:#04x}"));
        Refusal::new(Code::BodyNotUtf8, format!("byte {at} of the body is not UTF-8")).about(
            THE_BODY,
            value,
            "UTF-8".to_owned(),
        )
    })
}

/// Reads a body. The second pass, which finds out which field is at fault, is only for bad ones.
pub(crate) fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Refusal> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Object::<T>::new().deserialize(&mut deserializer);
    let whole = value.and_then(|value| deserializer.end().map(|()| value));
    whole.map_err(|error| refusal_of::<T>(text, error))
}

/// Reads a body that may be left out.
pub(crate) fn read_or_default<T: DeserializeOwned + Default>(body: &Bytes) -> Result<T, Refusal> {
    if body.is_empty() { Ok(T::default()) } else { read(text_of(body)?) }
}

/// Checks the body of a request that takes none: nothing, or an object without fields.
pub(crate) fn check_empty(body: &Bytes) -> Result<(), Refusal> {
    read_or_default::<NoFields>(body).map(drop)
}

fn refusal_of<'a, T: Deserialize<'a>>(text: &'a str, error: serde_json::Error) -> Refusal {
    let refusal = match error.classify() {
        Category::Syntax if is_at_bound(before(text, &error)) => return too_deep(THE_BODY),
        // It says so of good JSON as well, where it is not of the kind that was asked for.
        Category::Syntax => malformed(&error),
        Category::Eof | Category::Io => return malformed(&error),
        Category::Data => Refusal::value(THE_BODY, "of another type", AN_OBJECT),
    };
    // It repeats what is wrong, which may be as long as the body.
    drop(error);
    fault::find(text, Object::<T>::new()).unwrap_or(refusal)
}

/// The refusal of a text that is no JSON: where it stops to be any. Of what the parser says beside
/// that nothing is told.
fn malformed(error: &serde_json::Error) -> Refusal {
    let what = match error.classify() {
        Category::Eof => "the body ends before its JSON does",
        _ => "the body is no JSON",
    };
    let (line, column) = (error.line(), error.column());
    let detail = format!("{what}, at line {line}, column {column}");
    Refusal::new(Code::BodyMalformed, detail).field(THE_BODY).allowed(AN_OBJECT)
}

/// Whether the parser stopped at its own bound, which does not hold for what is carried: it goes
/// into no level like that.
fn is_at_bound(read: &[u8]) -> bool {
    matches!(read.last(), Some(b'[' | b'{')) && depths(read).last() == Some(DEPTH_MAX)
}

/// The text up to where an error was met.
fn before<'a>(text: &'a str, error: &serde_json::Error) -> &'a [u8] {
    let lines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
    let start = std::iter::once(0).chain(lines).nth(error.line().saturating_sub(1));
    let end = start.unwrap_or_default() + error.column();
    text.as_bytes().get(..end).unwrap_or(text.as_bytes())
}

/// The refusal of a body that lacks a field.
pub(crate) fn missing(field: &str, needed: &str) -> Refusal {
    let detail = format!("{field} is missing; it has to be {needed}");
    Refusal::new(Code::FieldMissing, detail).about(field, "nothing".to_owned(), needed.to_owned())
}

/// The refusal of what stands twice; `shown` is how the detail names it.
pub(crate) fn repeated(field: &str, shown: &str) -> Refusal {
    let detail = format!("{shown} stands twice");
    let (value, allowed) = ("given twice".to_owned(), "given once".to_owned());
    Refusal::new(Code::FieldRepeated, detail).about(field, value, allowed)
}

/// A request has fewer members than this.
const MEMBERS_MAX: usize = 32;

/// The members of an object in order, also of one that is at fault. `None` where it is none.
pub(crate) fn members(text: &str) -> Option<Vec<(String, RawJson<'_>)>> {
    struct Members;
    impl<'de> de::Visitor<'de> for Members {
        type Value = Vec<(String, RawJson<'de>)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some(member) = map.next_entry()? {
                if members.len() == MEMBERS_MAX {
                    return Err(de::Error::custom("too many members"));
                }
                members.push(member);
            }
            Ok(members)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(Members).ok()?;
    deserializer.end().ok().map(|()| members)
}

/// The refusal of what is nested too deeply.
pub(crate) fn too_deep(field: &str) -> Refusal {
    let detail = format!("{field} is nested more than {DEPTH_MAX} levels deep");
    let allowed = format!("at most {DEPTH_MAX} levels");
    Refusal::new(Code::BodyTooDeep, detail).field(field).allowed(allowed)
}

/// Bodies up to this size lie in the connection's read buffer, which can be used again at once if
/// nothing of it is kept.
const COPIED_BODY_BYTES_MAX: usize = 8192;

/// The bytes of a value that borrows from `body`: without a copy where it is most of a large body.
/// A small part would keep all of it, and nobody counts the rest.
pub(crate) fn slice(body: &Bytes, raw: &RawJson<'_>) -> Bytes {
    slice_of(body, raw.get())
}

/// The same of a text that borrows from it.
pub(crate) fn slice_of(body: &Bytes, text: &str) -> Bytes {
    match position_in(body, text.as_bytes()) {
        Some(range) if body.len() > COPIED_BODY_BYTES_MAX && range.len() >= body.len() / 2 => {
            body.slice(range)
        }
        _ => Bytes::copy_from_slice(text.as_bytes()),
    }
}

/// Where in `body` a value lies that borrows from it.
pub(crate) fn position_in(body: &Bytes, part: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= body.len()).then_some(start..end)
}

/// Checks JSON that is carried: how large and how deep it is.
pub(crate) fn check_carried(field: &str, json: &str, bytes_max: u64) -> Result<(), Refusal> {
    if json.len() as u64 > bytes_max {
        let value = format!("{} bytes", json.len());
        let allowed = format!("at most {bytes_max} bytes");
        let detail = format!("{field} has {value}; allowed: {allowed}");
        return Err(Refusal::new(Code::BodyTooLarge, detail).about(field, value, allowed));
    }
    if is_deeper_than(json.as_bytes(), DEPTH_MAX) { Err(too_deep(field)) } else { Ok(()) }
}

/// Whether well-formed JSON is nested deeper than `depth_max`.
fn is_deeper_than(json: &[u8], depth_max: usize) -> bool {
    let opening = json.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if opening <= depth_max {
        return false;
    }
    depths(json).any(|depth| depth > depth_max)
}

/// How deep JSON is nested after each of its bytes.
fn depths(json: &[u8]) -> impl Iterator<Item = usize> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    json.iter().map(move |byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth
    })
}

/// Appends a JSON string.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let needs_escape = |byte: &u8| *byte < 0x20 || matches!(byte, b'"' | b'\\');
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(needs_escape) {
        let (plain, tail) = rest.split_at(at);
        out.extend_from_slice(plain);
        let byte = tail.first().copied().unwrap_or_default();
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend([byte >> 4, byte & 15].map(|it| DIGITS[usize::from(it)]));
            }
        }
        rest = tail.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends a number.
pub(crate) fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0_u8; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        if let Some(digit) = digits.get_mut(start) {
            *digit = b'0' + (number % 10) as u8;
        }
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EnqueueBulk, NewJob};

    fn refused(body: &str) -> (Code, Option<String>, Option<String>) {
        let problem = read::<NewJob<'_>>(body).unwrap_err();
        let code = problem.code();
        let document = problem.problem();
        (code, document.field, document.value)
    }

    fn check(body: &str, code: Code, field: Option<&str>, value: Option<&str>) {
        let expected = (code, field.map(str::to_owned), value.map(str::to_owned));
        assert_eq!(refused(body), expected, "{body}");
    }

    #[test]
    fn bad_bodies_are_told_what_is_wrong() {
        check("{\"kind\":\"a\"", Code::BodyMalformed, Some("the body"), None);
        check("{\"kind\":\"a\"} x", Code::BodyMalformed, Some("the body"), None);
        check("{'kind':'a'}", Code::BodyMalformed, Some("the body"), None);
        check("{}", Code::FieldMissing, Some("kind"), Some("nothing"));
        let twice = "{\"kind\":\"a\",\"kind\":\"b\"}";
        check(twice, Code::FieldRepeated, Some("kind"), Some("given twice"));
        check("{\"kind\":5}", Code::ValueRefused, Some("kind"), Some("5"));
        check("[]", Code::ValueRefused, Some("the body"), Some("an array"));
        check("7", Code::ValueRefused, Some("the body"), Some("7"));
        check(
            "{\"kind\":\"a\",\"dealy\":\"5s\"}",
            Code::FieldUnknown,
            Some("dealy"),
            Some("\"dealy\""),
        );
        check("{\"kind\":\"a\",\"delay\":5}", Code::ValueRefused, Some("delay"), Some("5"));
        check(
            "{\"kind\":\"a\",\"delay\":\"5 parsecs, expected soon\"}",
            Code::ValueRefused,
            Some("delay"),
            Some("\"5 parsecs, expected soon\""),
        );
        check(
            "{\"kind\":\"a\",\"retry\":{\"policy\":\"constant\",\"delay\":\"x\"}}",
            Code::ValueRefused,
            Some("retry.delay"),
            Some("\"x\""),
        );
        check("{\"kind\":\"a\",\"id\":\"7\"}", Code::ValueRefused, Some("id"), Some("\"7\""));
        check("{\"kind\":\"a\",\"priority\":-1}", Code::ValueRefused, Some("priority"), Some("-1"));
        check("{\"kind\":\"\\ud800\"}", Code::BodyMalformed, Some("the body"), None);
        check(
            &format!("{{\"kind\":{}", "[".repeat(100_000)),
            Code::ValueRefused,
            Some("kind"),
            Some("an array"),
        );
    }

    /// What is allowed, as it is told.
    fn allowed(fields: &str) -> String {
        let body = format!("{{\"kind\":\"a\",{fields}}}");
        read::<NewJob<'_>>(&body).unwrap_err().problem().allowed.unwrap_or_default()
    }

    #[test]
    fn what_is_allowed_is_told_in_words_of_json() {
        assert_eq!(allowed("\"priority\":-1"), "a whole number from 0 to 9");
        assert_eq!(allowed("\"priority\":10"), "a whole number from 0 to 9");
        assert_eq!(allowed("\"priority\":1.5"), "a whole number from 0 to 9");
        assert_eq!(allowed("\"max_attempts\":0"), "a whole number from 1 to 4294967295");
        assert_eq!(allowed("\"at_most_once\":5"), "true or false");
        assert_eq!(allowed("\"ordering_key\":[]"), "a string");
        assert_eq!(allowed("\"retry\":{\"policy\":\"exponential\",\"factor\":\"x\"}"), "a number");
        assert_eq!(allowed("\"retry\":7"), "an object or null");
        let unused = "\"retry\":{\"policy\":\"sidekiq\",\"delay\":\"5s\"}";
        assert_eq!(allowed(unused), "delay goes with \"constant\" only");
        let body = format!("{{\"kind\":\"a\",{unused}}}");
        assert_eq!(refused(&body).1.as_deref(), Some("retry.delay"));
    }

    #[test]
    fn a_body_that_means_nothing_is_read_all_the_same() {
        for body in ["", "{}", " { } "] {
            assert!(check_empty(&Bytes::from(body)).is_ok(), "{body}");
        }
        for (body, code) in [
            ("x", Code::BodyMalformed),
            ("[]", Code::ValueRefused),
            ("null", Code::ValueRefused),
            ("{\"force\":true}", Code::FieldUnknown),
        ] {
            assert_eq!(check_empty(&Bytes::from(body)).unwrap_err().code(), code, "{body}");
        }
    }

    #[test]
    fn an_unknown_field_comes_with_a_suggestion() {
        let problem = read::<NewJob<'_>>("{\"kind\":\"a\",\"orderingkey\":\"x\"}").unwrap_err();
        let detail = problem.problem().detail;
        assert_eq!(detail, "orderingkey is not known; did you mean \"ordering_key\"?");
        let problem = read::<EnqueueBulk<'_>>("{\"jobs\":[{\"kind\":\"a\"},{\"kidn\":\"b\"}]}");
        assert_eq!(problem.unwrap_err().problem().field.as_deref(), Some("jobs[1].kidn"));
        let body = "{\"kind\":\"a\",\"retry\":{\"policy\":\"constand\",\"delay\":\"5s\"}}";
        let detail = read::<NewJob<'_>>(body).unwrap_err().problem().detail;
        assert!(detail.ends_with("did you mean \"constant\"?"), "{detail}");
    }

    #[test]
    fn no_refusal_repeats_a_megabyte() {
        let long = "x\u{fc}".repeat(1 << 20);
        for body in [
            format!("{{\"kind\":\"a\",\"{long}\":5}}"),
            format!("{{\"kind\":\"a\",\"retry\":{{\"policy\":\"sidekiq\",\"{long}\":5}}}}"),
            format!("{{\"kind\":\"a\",\"retry\":{{\"policy\":\"{long}\"}}}}"),
            format!("{{\"kind\":\"a\",\"delay\":\"{long}\"}}"),
            format!("{{\"kind\":\"a\",\"{long}\":5,\"{long}\":5}}"),
        ] {
            let problem = read::<NewJob<'_>>(&body).unwrap_err().problem();
            let answer = serde_json::to_string(&problem).unwrap();
            assert!(answer.len() < 4096, "{} bytes", answer.len());
        }
        let seq = format!("{{\"token\":\"1.1\",\"seq\":\"{long}\"}}");
        let problem = read::<crate::api::CheckpointRequest<'_>>(&seq).unwrap_err().problem();
        assert!(serde_json::to_string(&problem).unwrap().len() < 4096);
    }

    #[test]
    fn bodies_that_are_no_text_are_refused() {
        assert_eq!(text_of(&Bytes::new()).unwrap_err().code(), Code::BodyMissing);
        let broken = Bytes::from_static(b"{\"kind\":\"\xff\"}");
        assert_eq!(text_of(&broken).unwrap_err().code(), Code::BodyNotUtf8);
    }

    #[test]
    fn args_are_the_bytes_of_the_body() {
        const LARGE: usize = COPIED_BODY_BYTES_MAX;
        // A small part of a large body would keep all of it in memory.
        for (said, padding, copied) in [
            (1, 0, true),
            (1, LARGE, true),
            (LARGE, LARGE + 100, true),
            (LARGE, LARGE - 100, false),
        ] {
            let (said, padding) = ("x".repeat(said), " ".repeat(padding));
            let args = format!("{{\"a\": [1,2.50,\"{said}\"]}}");
            let text = format!(" {{\"args\" : {args} ,\"kind\":\"k\"}} {padding}");
            let body = Bytes::from(text);
            let job: NewJob<'_> = read(text_of(&body).unwrap()).unwrap();
            let sliced = slice(&body, job.args.as_ref().unwrap());
            assert_eq!(sliced, args);
            assert_eq!(position_in(&body, &sliced).is_none(), copied, "{}", body.len());
        }
        let body = Bytes::new();
        let owned = RawJson::from_text("[7]".into()).unwrap();
        assert_eq!(slice(&body, &owned), "[7]");
    }

    #[test]
    fn depth_is_bounded_but_brackets_in_strings_are_free() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(check_carried("args", &nested(DEPTH_MAX), 1 << 20).is_ok());
        assert!(check_carried("args", &nested(DEPTH_MAX + 1), 1 << 20).is_err());
        let flat = format!("[{}]", vec!["[]"; 1000].join(","));
        assert!(check_carried("args", &flat, 1 << 20).is_ok());
        let text = format!("[\"\\\"{}\"]", "[".repeat(1000));
        assert!(check_carried("args", &text, 1 << 20).is_ok());
        let refused = check_carried("args", "[1,2,3]", 3).unwrap_err();
        assert_eq!(refused.code(), Code::BodyTooLarge);
    }

    #[test]
    fn a_slip_within_deep_json_is_no_depth() {
        let carried = |depth: usize, slip: &str| {
            format!("{{\"kind\":\"a\",\"args\":{}{slip}", "[".repeat(depth))
        };
        for body in [
            carried(DEPTH_MAX, "x"),
            carried(DEPTH_MAX - 1, "x"),
            carried(DEPTH_MAX - 1, "1 2"),
            carried(DEPTH_MAX + 50, "\"\u{1}\""),
        ] {
            assert_eq!(refused(&body).0, Code::BodyMalformed, "{body}");
        }
        // What is read and not carried meets the parser's bound.
        let nested = |depth: usize| {
            let (open, end) = ("{\"x\":[".repeat(depth / 2), "]}".repeat(depth / 2));
            format!("{open}{end}")
        };
        let read = |text: &str| read::<std::collections::BTreeMap<String, serde_json::Value>>(text);
        assert!(read(&nested(DEPTH_MAX - 2)).is_ok());
        assert_eq!(read(&nested(DEPTH_MAX)).unwrap_err().code(), Code::BodyTooDeep);
        let slip = nested(DEPTH_MAX - 2).replacen("[]", "[x]", 1);
        assert_eq!(read(&slip).unwrap_err().code(), Code::BodyMalformed);
    }

    #[test]
    fn strings_and_numbers_are_written_as_serde_would() {
        for text in ["", "plain", "\"\\\n\t\r", "\u{1}\u{1f}\u{7f}", "M\u{fc}nchen \u{1f600}"] {
            let mut out = Vec::new();
            write_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
        for number in [0, 7, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}
