//! The keys of unique jobs: the engine reads no args, so what is to be unique becomes a hash here.
//! Part of the format: the hash is stored beside the job that has it.

use std::collections::BTreeMap;

use longshore_engine::{NewUnique, OnConflict, UniqueUntil};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::Bounds;
use super::check::check_count;
use crate::api::{NewJob, OnConflictText, UniqueText, UniqueUntilText};
use crate::http::refusal::Refusal;
use crate::http::text::{check_name, quoted};

/// Parts of one key.
const PARTS_MAX: usize = 16;

/// Bytes of args that are looked into.
const ARGS_BYTES_MAX: usize = 256 << 10;
/// Pointers times bytes of args: each looks through all of them, once for each of its members.
const LOOKS_BYTES_MAX: usize = 1 << 20;
/// Members that one pointer passes.
pub(super) const POINTER_TOKENS_MAX: usize = 16;

const BY_EXPECTED: &str = "kind, queue, args, or a JSON pointer such as /order/id";

/// The engine's form of what makes a job unique.
pub(super) fn new_unique(
    queue: &str,
    job: &NewJob<'_>,
    unique: &UniqueText,
    bounds: &Bounds,
) -> Result<NewUnique, Refusal> {
    let on_conflict = on_conflict(unique)?;
    let until = match unique.until {
        Some(UniqueUntilText::Started) => UniqueUntil::Started,
        Some(UniqueUntilText::Ended) => UniqueUntil::Ended,
        Some(UniqueUntilText::Forgotten) => UniqueUntil::Forgotten,
        None => match on_conflict {
            OnConflict::Reject | OnConflict::Existing => UniqueUntil::Ended,
            OnConflict::Replace { .. } | OnConflict::Debounce => UniqueUntil::Started,
            OnConflict::Throttle => UniqueUntil::Forgotten,
        },
    };
    let period_ms = bounds.duration("unique.period", unique.period, 1)?;
    let key = key(queue, job, unique, period_ms)?;
    let by = unique.by.as_ref();
    let spans_queues = by.is_some_and(|by| !by.iter().any(|part| part == "queue"));
    Ok(NewUnique { key, period_ms, until, on_conflict, spans_queues })
}

fn on_conflict(unique: &UniqueText) -> Result<OnConflict, Refusal> {
    let way = unique.on_conflict.unwrap_or(OnConflictText::Reject);
    if unique.replace.is_some() && way != OnConflictText::Replace {
        let allowed = "no such field: it goes with on_conflict replace";
        return Err(Refusal::value("unique.replace", "given", allowed));
    }
    Ok(match way {
        OnConflictText::Reject => OnConflict::Reject,
        OnConflictText::Existing => OnConflict::Existing,
        OnConflictText::Debounce => OnConflict::Debounce,
        OnConflictText::Throttle => OnConflict::Throttle,
        OnConflictText::Replace => {
            let Some(what) = &unique.replace else {
                return Ok(OnConflict::Replace { args: true, time: true });
            };
            let known = |word: &&String| !matches!(word.as_str(), "args" | "run_at");
            if let Some(other) = what.iter().find(known) {
                return Err(Refusal::value("unique.replace", quoted(other), "args, run_at"));
            }
            let has = |word: &str| what.iter().any(|of| of == word);
            if what.is_empty() {
                return Err(Refusal::value("unique.replace", "an empty list", "args, run_at"));
            }
            OnConflict::Replace { args: has("args"), time: has("run_at") }
        }
    })
}

/// SHA-256, cut to 16 bytes, over each part as tag, length and bytes; parts in the order of their
/// names, so that the order in which they are given does not count.
fn key(
    queue: &str,
    job: &NewJob<'_>,
    unique: &UniqueText,
    period_ms: Option<u64>,
) -> Result<[u8; 16], Refusal> {
    let default = ["kind", "queue", "args"].map(str::to_owned);
    let mut by = unique.by.clone().unwrap_or_else(|| default.to_vec());
    check_count("unique.by", by.len(), PARTS_MAX, "parts")?;
    by.sort_unstable();
    by.dedup();
    let mut form = Form(Sha256::new());
    let args = job.args.as_ref().map_or("{}", |args| args.get());
    let into_args =
        by.iter().any(|part| part == "args" || part.is_empty() || part.starts_with('/'));
    if into_args && args.len() > ARGS_BYTES_MAX {
        let allowed = format!("args of at most {ARGS_BYTES_MAX} bytes, where they make the key");
        return Err(Refusal::value("unique.by", format!("{} bytes of args", args.len()), allowed));
    }
    let pointers = by.iter().filter(|part| part.starts_with('/'));
    if pointers.clone().count() * args.len() > LOOKS_BYTES_MAX {
        let value = format!("{} pointers into {} bytes", pointers.count(), args.len());
        let allowed = format!("pointers times bytes of args up to {LOOKS_BYTES_MAX}");
        return Err(Refusal::value("unique.by", value, allowed));
    }
    if let Some(deep) = { pointers }.find(|it| it.matches('/').count() > POINTER_TOKENS_MAX) {
        let allowed = format!("pointers of at most {POINTER_TOKENS_MAX} members");
        return Err(Refusal::value("unique.by", quoted(deep), allowed));
    }
    for part in &by {
        match part.as_str() {
            "kind" => form.field(1, job.kind.as_bytes()),
            "queue" => form.field(2, queue.as_bytes()),
            "args" => form.json(3, args),
            pointer if pointer.starts_with('/') => {
                form.field(4, pointer.as_bytes());
                match at_pointer(args, pointer) {
                    Some(value) => form.json(5, value),
                    None => form.field(6, &[]),
                }
            }
            other => return Err(Refusal::value("unique.by", quoted(other), BY_EXPECTED)),
        }
    }
    if let Some(key) = &unique.key {
        check_name("unique.key", key)?;
        form.field(7, key.as_bytes());
    }
    if by.is_empty() && unique.key.is_none() {
        return Err(Refusal::value("unique.by", "an empty list", BY_EXPECTED));
    }
    if let Some(period_ms) = period_ms {
        form.field(8, &period_ms.to_le_bytes());
    }
    Ok(form.finish())
}

/// The value that a JSON pointer (RFC 6901) names, as it is written; none where there is none. What
/// cannot be looked into, since the name of a member is no text, counts as a whole.
pub(super) fn at_pointer<'j>(json: &'j str, pointer: &str) -> Option<&'j str> {
    let mut at: &RawValue = serde_json::from_str(json).ok()?;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        at = match at.get().as_bytes().first()? {
            b'{' => {
                let members: Result<BTreeMap<String, &RawValue>, _> =
                    serde_json::from_str(at.get());
                let Ok(members) = members else { break };
                members.get(&token).copied()?
            }
            b'[' => {
                let index: usize = token.parse().ok().filter(|_| is_index(&token))?;
                let items: Vec<&RawValue> = serde_json::from_str(at.get()).ok()?;
                items.get(index).copied()?
            }
            _ => return None,
        };
    }
    Some(at.get())
}

fn is_index(token: &str) -> bool {
    token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()))
}

struct Form(Sha256);

impl Form {
    fn field(&mut self, tag: u8, bytes: &[u8]) {
        self.0.update([tag]);
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }

    /// A value, whatever white space and order of members it is written with. Numbers count as they
    /// are written: `1` and `1.0` differ.
    fn json(&mut self, tag: u8, json: &str) {
        let mut plain = Vec::with_capacity(json.len());
        write_plain(json, &mut plain);
        self.field(tag, &plain);
    }

    fn finish(self) -> [u8; 16] {
        let digest: [u8; 32] = self.0.finalize().into();
        std::array::from_fn(|index| digest[index])
    }
}

/// Writes a value so that equal ones are equal bytes. How deep it is was bounded before.
fn write_plain(json: &str, out: &mut Vec<u8>) {
    let json = json.trim_ascii();
    match json.as_bytes().first() {
        Some(b'{') => {
            let members: Result<BTreeMap<String, &RawValue>, _> = serde_json::from_str(json);
            let Ok(members) = members else { return write_raw(json, out) };
            out.push(b'{');
            for (name, value) in members {
                write_text(&name, out);
                write_plain(value.get(), out);
            }
            out.push(b'}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
            out.push(b'[');
            for item in items {
                write_plain(item.get(), out);
            }
            out.push(b']');
        }
        Some(b'"') => match serde_json::from_str::<String>(json) {
            Ok(text) => write_text(&text, out),
            Err(_) => write_raw(json, out),
        },
        _ => {
            out.push(b'=');
            out.extend_from_slice(json.as_bytes());
            out.push(b',');
        }
    }
}

/// What is no text, such as one with half of a surrogate pair, counts as it is written.
fn write_raw(json: &str, out: &mut Vec<u8>) {
    out.push(b'~');
    out.extend_from_slice(&(json.len() as u64).to_le_bytes());
    out.extend_from_slice(json.as_bytes());
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(queue: &str, body: &str) -> [u8; 16] {
        let job: NewJob<'_> = serde_json::from_str(body).unwrap();
        let unique = job.unique.clone().unwrap();
        key(queue, &job, &unique, unique.period.map(|period| period.0)).unwrap()
    }

    fn check(same: bool, one: (&str, &str), other: (&str, &str)) {
        let body = |(args, unique): (&str, &str)| {
            format!("{{\"kind\":\"k\",\"args\":{args},\"unique\":{unique}}}")
        };
        let equal = of("q", &body(one)) == of("q", &body(other));
        assert_eq!(equal, same, "{one:?} and {other:?}");
    }

    #[test]
    fn jobs_that_agree_in_what_counts_have_one_key() {
        let all = "{}";
        check(true, ("{\"a\":1,\"b\":[2, 3]}", all), ("{ \"b\": [2,3], \"a\": 1 }", all));
        check(true, ("\"\\u0061\"", all), ("\"a\"", all));
        check(false, ("{\"a\":1}", all), ("{\"a\":\"1\"}", all));
        check(false, ("[1,2]", all), ("[12]", all));
        check(false, ("[[1],2]", all), ("[[1,2]]", all));
        check(false, ("18446744073709551617", all), ("18446744073709551618", all));
        let by = "{\"by\":[\"kind\",\"/order/id\"]}";
        check(true, ("{\"order\":{\"id\":7},\"x\":1}", by), ("{\"order\":{\"id\":7}}", by));
        check(false, ("{\"order\":{\"id\":7}}", by), ("{\"order\":{\"id\":8}}", by));
        check(false, ("{\"order\":{\"id\":null}}", by), ("{\"order\":{}}", by));
        check(true, ("{\"order\":7}", by), ("[]", by));
        let turned = "{\"by\":[\"/order/id\",\"kind\",\"kind\"]}";
        check(true, ("{\"order\":{\"id\":7}}", by), ("{\"order\":{\"id\":7}}", turned));
        check(false, ("{}", all), ("{}", "{\"key\":\"x\"}"));
        check(false, ("{}", all), ("{}", "{\"period\":\"1h\"}"));
        check(true, ("{}", "{\"period\":\"1h\"}"), ("{}", "{\"period\":\"60m\"}"));
        let body = "{\"kind\":\"k\",\"unique\":{}}";
        assert_ne!(of("q", body), of("p", body), "each queue by itself");
        let body = "{\"kind\":\"k\",\"unique\":{\"by\":[\"kind\"]}}";
        assert_eq!(of("q", body), of("p", body));
    }

    #[test]
    fn texts_that_are_none_count_as_they_are_written() {
        let of = |args: &str, by: &str| {
            let body = format!("{{\"kind\":\"k\",\"args\":{args},\"unique\":{{\"by\":[{by}]}}}}");
            let job: NewJob<'_> = serde_json::from_str(&body).unwrap();
            key("q", &job, job.unique.as_ref().unwrap(), None)
        };
        let half = |end: &str| format!("{{\"a\":\"\\ud83d{end}\"}}");
        let member = |end: &str| format!("{{\"\\ud83d{end}\":1}}");
        for by in ["\"args\"", "\"/a\""] {
            assert_ne!(of(&half("x"), by).unwrap(), of(&half("y"), by).unwrap(), "{by}");
            assert_ne!(of(&member("x"), by).unwrap(), of(&member("y"), by).unwrap(), "{by}");
        }
        let deep = format!("\"{}\"", "/a".repeat(POINTER_TOKENS_MAX + 1));
        assert!(of("{}", &deep).is_err());
        let long = format!("\"{}\"", "x".repeat(200 << 10));
        let many = (0..6).map(|at| format!("\"/{at}\"")).collect::<Vec<_>>().join(",");
        assert!(of(&long, &many).is_err());
    }

    #[test]
    fn pointers_are_those_of_the_rfc() {
        let json = "{\"a/b\":[10,{\"m~n\":\"x\"}],\"\":1}";
        for (pointer, found) in [
            ("/a~1b/0", Some("10")),
            ("/a~1b/1/m~0n", Some("\"x\"")),
            ("/", Some("1")),
            ("/a~1b/2", None),
            ("/a~1b/01", None),
            ("/a~1b/-", None),
            ("/nothing", None),
            ("/a~1b/0/x", None),
        ] {
            assert_eq!(at_pointer(json, pointer), found, "{pointer}");
        }
    }

    #[test]
    fn the_key_is_part_of_the_format() {
        let stored = of("q", "{\"kind\":\"k\",\"args\":{\"a\":[1,\"x\"]},\"unique\":{}}");
        assert_eq!(stored, GOLDEN);
    }

    const GOLDEN: [u8; 16] =
        [207, 106, 9, 147, 166, 3, 64, 26, 245, 45, 225, 94, 21, 185, 250, 204];
}
