//! What serde says of a body, in the words of JSON and of this API: nobody who writes a request
//! knows what a `usize`, a sequence or a unit is.

use super::text::{escaped, shorten};

/// What was given, from serde's words for it: "integer `5`", "string \"x\"", "map", ...
pub(super) fn given(said: &str) -> String {
    if let Some(text) = said.strip_prefix("string ") {
        return as_json(text);
    }
    let inside = |prefix: &str| said.strip_prefix(prefix)?.strip_prefix('`')?.strip_suffix('`');
    let plain = ["integer ", "floating point ", "boolean ", "character "];
    if let Some(value) = plain.into_iter().find_map(inside) {
        return value.to_owned();
    }
    match said {
        "sequence" => "an array".to_owned(),
        "map" | "newtype struct" | "struct variant" => "an object".to_owned(),
        "null" | "unit value" | "Option value" => "null".to_owned(),
        other => match other.strip_prefix("invalid length ") {
            Some(length) => format!("{length} elements"),
            None => other.to_owned(),
        },
    }
}

/// A string as JSON has it, from Rust's form of it, which differs in how it escapes.
fn as_json(text: &str) -> String {
    // What is longer is cut before it is shown.
    if text.len() > 1024 || !text.contains('\\') {
        return text.to_owned();
    }
    let mut json = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        json.push_str(plain);
        let code = escape.strip_prefix("u{").and_then(|escape| escape.split_once('}'));
        let (character, after) = if let Some((digits, after)) = code {
            (u32::from_str_radix(digits, 16).ok(), after)
        } else if let Some(after) = escape.strip_prefix('0') {
            (Some(0), after)
        } else {
            let mut characters = escape.chars();
            json.push('\\');
            json.extend(characters.next());
            rest = characters.as_str();
            continue;
        };
        json.extend(character.and_then(char::from_u32).map(escaped));
        rest = after;
    }
    json + rest
}

/// What may be given, from serde's words for it. Types of this API say it in their own words,
/// which stay.
pub(super) fn allowed(expected: &str) -> String {
    let whole = |min: i128, max: i128| format!("a whole number from {min} to {max}");
    match expected {
        "u8" => whole(0, u8::MAX.into()),
        "u16" => whole(0, u16::MAX.into()),
        "u32" => whole(0, u32::MAX.into()),
        "u64" | "usize" => whole(0, u64::MAX.into()),
        "i64" | "isize" => whole(i64::MIN.into(), i64::MAX.into()),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a borrowed string" | "string or map" | "variant identifier" => "a string".to_owned(),
        "a sequence" => "an array".to_owned(),
        "a map" | "map" => "an object".to_owned(),
        "unit" => "null".to_owned(),
        "any valid JSON value" => "any JSON value".to_owned(),
        other if other.starts_with("struct ") => "an object".to_owned(),
        other => other.to_owned(),
    }
}

/// What the parser says of text that is no JSON.
pub(super) fn syntax(message: &str) -> String {
    let plain = match message {
        "EOF while parsing a list" => "the body ends within an array",
        "EOF while parsing an object" => "the body ends within an object",
        "EOF while parsing a string" => "the body ends within a string",
        "EOF while parsing a value" => "the body ends where a value is expected",
        "expected ident" => "expected true, false or null",
        "invalid unicode code point" => "a \\u escape stands for no character",
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "a \\u escape is half of a surrogate pair"
        }
        "trailing characters" => "something follows the end of the value",
        other => other,
    };
    shorten(plain)
}

/// What a field has to hold, for the refusal of a body that lacks it.
pub(super) fn needed(field: &str) -> &'static str {
    match field {
        "kind" => "the name of the job's type, a string",
        "token" => crate::api::TokenText::EXPECTED,
        "id" => crate::api::JobIdText::EXPECTED,
        "verdict" => "\"ack\", \"fail\", \"snooze\", \"release\", \"discard\" or \"interrupt\"",
        "delay" | "base" => crate::api::DURATION_EXPECTED,
        "policy" => "\"sidekiq\", \"constant\" or \"exponential\"",
        "cursor" => "any JSON value",
        "jobs" => "an array of jobs",
        "settle" => "an array of runs, each with id, token and verdict",
        "queue" => "the name of a queue, a string",
        "queues" => "an array of names of queues; \"*\" means all",
        "worker" | "session" => "a name, a string",
        _ => "a value",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_as_json_has_them() {
        let cases = [
            ("integer `-5`", "-5"),
            ("floating point `1.5`", "1.5"),
            ("boolean `true`", "true"),
            ("string \"a `b`\"", "\"a `b`\""),
            ("string \"\\u{1}\\0\\n\\\"\"", "\"\\u0001\\u0000\\n\\\"\""),
            ("sequence", "an array"),
            ("map", "an object"),
            ("unit value", "null"),
            ("null", "null"),
            ("invalid length 7", "7 elements"),
        ];
        for (said, expected) in cases {
            assert_eq!(given(said), expected);
        }
    }

    #[test]
    fn what_is_allowed_is_told_without_types_of_rust() {
        for word in
            ["u8", "u16", "u32", "u64", "usize", "i64", "f64", "a sequence", "a map", "unit"]
        {
            let told = allowed(word);
            assert!(told.starts_with('a') || told == "null", "{word}: {told}");
            assert!(!told.contains(word.trim_start_matches("a ")), "{word}: {told}");
        }
        assert_eq!(allowed("struct NewJob with 21 elements"), "an object");
        assert_eq!(allowed("a UUID"), "a UUID");
    }
}
