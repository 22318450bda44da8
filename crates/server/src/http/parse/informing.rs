//! Bodies that tell how a run went and are not quite JSON: they are read all the same where what is
//! amiss only informs. What is carried for others, such as a cursor or a result, is never changed.

use std::borrow::Cow;

use bytes::Bytes;

use crate::api::RawJson;
use crate::http::code::Code;
use crate::http::json::{members, position_in};
use crate::http::refusal::Refusal;

/// Members that only inform. The last one holds where one stands twice.
const INFORMING: [&str; 6] =
    ["progress", "progress_text", "counters", "skipped", "error", "reason"];

/// The most places that are mended: a body full of them must not become many times its size.
const SPOTS_MAX: usize = 100_000;

/// Where a body was mended, the first place first.
#[derive(Debug, Default)]
pub(super) struct Spots(Vec<usize>);

impl Spots {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many are in a part of the body: a look or two, since each of many parts is asked for.
    fn within(&self, body: &Bytes, part: &str) -> usize {
        let range = position_in(body, part.as_bytes()).unwrap_or_default();
        let before = |end: usize| self.0.partition_point(|spot| *spot < end);
        before(range.end).saturating_sub(before(range.start))
    }

    /// Whether a part of the body was mended.
    pub(super) fn touch(&self, body: &Bytes, part: &RawJson<'_>) -> bool {
        self.within(body, part.get()) > 0
    }

    /// Whether anything but this part was.
    pub(super) fn reach_beyond(&self, body: &Bytes, part: &RawJson<'_>) -> bool {
        self.within(body, part.get()) < self.0.len()
    }
}

/// The refusal of what is carried and would have to be changed for that.
pub(super) fn unreadable(field: &str) -> Refusal {
    let detail = format!("{field} holds a number that JSON does not have, or bytes of no UTF-8");
    Refusal::new(Code::BodyMalformed, detail).field(field).allowed("JSON in UTF-8")
}

/// Reads a body as it is and, where that fails for such a reason, mended. What is at fault then,
/// too, is refused for what it is.
pub(super) fn informing<T>(
    body: &Bytes,
    parse: impl Fn(&Bytes, &Spots) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let refusal = match parse(body, &Spots::default()) {
        Ok(read) => return Ok(read),
        Err(refusal) => refusal,
    };
    let again = match refusal.code() {
        Code::BodyMalformed | Code::BodyNotUtf8 => mended(body),
        Code::FieldRepeated => last_of_each(body).map(|body| (body, Spots::default())),
        _ => None,
    };
    match again {
        Some((body, spots)) => parse(&body, &spots).map_err(|_| refusal),
        None => Err(refusal),
    }
}

/// The body as text: what is no UTF-8 becomes U+FFFD, a number that only some languages write
/// becomes its name. `None` where there is nothing of the kind.
fn mended(body: &Bytes) -> Option<(Bytes, Spots)> {
    let (text, broken) = text(body)?;
    let mut broken = broken.into_iter().peekable();
    let (mut out, mut spots) = (Vec::with_capacity(text.len()), Vec::new());
    let (mut quoted, mut escaped) = (false, false);
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at).copied() {
        let bare = if quoted { None } else { bare_number(text.as_bytes().get(at..)?) };
        if bare.is_some() || broken.next_if_eq(&at).is_some() {
            spots.push(out.len());
        }
        if spots.len() > SPOTS_MAX {
            return None;
        }
        if let Some(name) = bare {
            out.push(b'"');
            out.extend_from_slice(name.as_bytes());
            out.push(b'"');
            at += name.len();
            continue;
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        out.push(byte);
        at += 1;
    }
    (!spots.is_empty()).then(|| (out.into(), Spots(spots)))
}

fn bare_number(rest: &[u8]) -> Option<&'static str> {
    // Python, JavaScript's own printing and Rust's.
    const NAMES: [&str; 5] = ["NaN", "Infinity", "-Infinity", "-NaN", "nan"];
    NAMES.into_iter().find(|name| rest.starts_with(name.as_bytes()))
}

/// The body as UTF-8, with the places of what was none.
fn text(body: &Bytes) -> Option<(Cow<'_, str>, Vec<usize>)> {
    if let Ok(text) = std::str::from_utf8(body) {
        return Some((text.into(), Vec::new()));
    }
    let (mut text, mut broken) = (String::with_capacity(body.len()), Vec::new());
    for chunk in body.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            broken.push(text.len());
            text.push(char::REPLACEMENT_CHARACTER);
        }
        if broken.len() > SPOTS_MAX {
            return None;
        }
    }
    Some((text.into(), broken))
}

/// The body with the last one of each member that only informs. `None` where none stands twice.
fn last_of_each(body: &Bytes) -> Option<Bytes> {
    let mut members = members(std::str::from_utf8(body).ok()?)?;
    let before = members.len();
    for name in INFORMING {
        let last = members.iter().rposition(|(known, _)| known == name);
        let mut index = 0;
        members.retain(|(known, _)| {
            index += 1;
            known != name || Some(index - 1) == last
        });
    }
    if members.len() == before {
        return None;
    }
    let mut out = Vec::with_capacity(body.len());
    for (index, (name, value)) in members.iter().enumerate() {
        out.push(if index == 0 { b'{' } else { b',' });
        crate::http::json::write_string(&mut out, name);
        out.push(b':');
        out.extend_from_slice(value.get().as_bytes());
    }
    out.push(b'}');
    Some(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_json_is_mended() {
        for (body, expected) in [
            (&b"{\"a\":NaN,\"b\":-Infinity}"[..], "{\"a\":\"NaN\",\"b\":\"-Infinity\"}"),
            (
                b"{\"a\":\"\\\"NaN\",\"b\":\"\xff\xfe\"}",
                "{\"a\":\"\\\"NaN\",\"b\":\"\u{fffd}\u{fffd}\"}",
            ),
        ] {
            let (mended, spots) = mended(&Bytes::copy_from_slice(body)).unwrap();
            assert_eq!((&mended[..], spots.0.len()), (expected.as_bytes(), 2));
        }
        assert!(mended(&Bytes::from_static(b"{\"a\":\"NaN\"")).is_none());
        assert!(mended(&vec![0xff; SPOTS_MAX + 2].into()).is_none());
    }

    #[test]
    fn the_last_of_what_informs_holds_and_nothing_else_is_taken_twice() {
        let body = Bytes::from_static(b"{\"progress\":1,\"token\":\"a\",\"progress\": 2}");
        assert_eq!(last_of_each(&body).unwrap(), "{\"token\":\"a\",\"progress\":2}");
        assert!(last_of_each(&Bytes::from_static(b"{\"token\":1,\"token\":2}")).is_none());
        assert!(last_of_each(&Bytes::from_static(b"[]")).is_none());
    }

    /// Each part was compared with each place: a body full of both held a thread for a minute.
    #[test]
    fn parts_are_told_from_places_that_were_mended_without_a_look_at_each() {
        let body = Bytes::from(vec![b' '; 2 * SPOTS_MAX]);
        let text = std::str::from_utf8(&body).unwrap();
        let spots = Spots((0..SPOTS_MAX).map(|n| 2 * n).collect());
        let begun = std::time::Instant::now();
        for at in (0..2 * SPOTS_MAX).rev() {
            assert_eq!(spots.within(&body, &text[at..=at]), usize::from(at % 2 == 0), "{at}");
        }
        assert_eq!(spots.within(&body, &text[1..6]), 2);
        assert_eq!((spots.within(&body, text), spots.within(&body, "elsewhere")), (SPOTS_MAX, 0));
        assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}
