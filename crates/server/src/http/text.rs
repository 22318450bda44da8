//! Text that came from outside: percent-encoding, names, and how much of it is shown again.

use std::borrow::Cow;

use super::refusal::Refusal;

/// What may name a queue, a kind, a namespace.
const NAME_ALLOWED: &str = "1 to 255 bytes of UTF-8 without control characters";
const QUEUE_ALLOWED: &str =
    "1 to 255 bytes of UTF-8, without \"*\" and control characters; not \".\" or \"..\"";

/// Cuts what is long, so that no answer repeats a megabyte.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN_BYTES_MAX: usize = 120;
    if text.len() <= SHOWN_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = SHOWN_BYTES_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}... ({} bytes)", text.get(..end).unwrap_or_default(), text.len())
}

/// Decodes `%xx`; `None` where that is malformed or not UTF-8.
pub(crate) fn percent_decode(text: &str, plus_is_space: bool) -> Option<Cow<'_, str>> {
    let is_encoded = text.contains('%') || (plus_is_space && text.contains('+'));
    if !is_encoded {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => ((digit(rest.next())? << 4) | digit(rest.next())?) as u8,
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

/// Appends `text` as one segment of a path.
pub(crate) fn percent_encode(out: &mut String, text: &str) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |value: u8| char::from(DIGITS.get(usize::from(value)).copied().unwrap_or(b'0'));
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(digit(byte >> 4));
            out.push(digit(byte & 15));
        }
    }
}

/// Checks what names something.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), Refusal> {
    let sound = (1..=255).contains(&name.len()) && !name.chars().any(char::is_control);
    if sound { Ok(()) } else { Err(Refusal::value(field, quoted(name), NAME_ALLOWED)) }
}

/// Checks what names a queue or a namespace: it stands in paths and patterns too.
pub(crate) fn check_path_name(field: &str, name: &str) -> Result<(), Refusal> {
    if name.contains('*') || matches!(name, "." | "..") || check_name(field, name).is_err() {
        return Err(Refusal::value(field, quoted(name), QUEUE_ALLOWED));
    }
    Ok(())
}

/// The text in quotes as JSON has it: what cannot be printed is escaped, what is long is cut.
pub(crate) fn quoted(text: &str) -> String {
    const ESCAPED_BYTES_MAX: usize = 1024;
    if text.len() > ESCAPED_BYTES_MAX {
        // Cut before it is escaped: that would make it longer still.
        let start: String = text.chars().take(120).map(escaped).collect();
        let start: String = start.chars().take(120).collect();
        return format!("\"{start}... ({} bytes)", text.len());
    }
    let escaped: String = text.chars().map(escaped).collect();
    shorten(&format!("\"{escaped}\""))
}

/// A character of a JSON string.
pub(super) fn escaped(character: char) -> String {
    match character {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '\n' => "\\n".to_owned(),
        '\r' => "\\r".to_owned(),
        '\t' => "\\t".to_owned(),
        '\'' => "'".to_owned(),
        // Rust escapes what is not printed, in a form that JSON does not have.
        other if other.escape_debug().count() > 1 => {
            let mut units = [0_u16; 2];
            let units = other.encode_utf16(&mut units).iter();
            units.map(|unit| format!("\\u{unit:04x}")).collect::<Vec<_>>().concat()
        }
        other => other.to_string(),
    }
}

/// A count with its noun.
pub(crate) fn counted(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The known word that `word` is probably meant to be.
pub(crate) fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const DISTANCE_MIN: f64 = 0.7;
    if word.len() > 64 {
        return None;
    }
    known
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(distance, _)| *distance >= DISTANCE_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_encoding_is_undone() {
        let cases = [
            ("plain", Some("plain")),
            ("a%20b", Some("a b")),
            ("a+b", Some("a+b")),
            ("M%C3%BCnchen", Some("M\u{fc}nchen")),
            ("%2F%2e", Some("/.")),
            ("%", None),
            ("%2", None),
            ("%zz", None),
            ("%ff", None),
            ("%+1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(percent_decode(text, false).as_deref(), expected, "{text}");
        }
        assert_eq!(percent_decode("a+b", true).as_deref(), Some("a b"));
    }

    #[test]
    fn encoding_and_decoding_cancel_out() {
        let name = "a/b c\u{fc}%*?#";
        let mut encoded = String::new();
        percent_encode(&mut encoded, name);
        assert!(encoded.is_ascii() && !encoded.contains(['/', '?', '#', ' ']));
        assert_eq!(percent_decode(&encoded, false).as_deref(), Some(name));
    }

    #[test]
    fn names_are_checked() {
        for name in ["default", "a/b", "M\u{fc}nchen", "with space", "-", "%"] {
            assert!(check_path_name("queue", name).is_ok(), "{name}");
        }
        let long = "x".repeat(256);
        for name in ["", ".", "..", "a*", "*", "a\nb", "\u{0}", "\u{7f}", "\u{85}", &long] {
            assert!(check_path_name("queue", name).is_err(), "{name}");
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let text = "\u{fc}".repeat(1000);
        let shown = shorten(&text);
        assert!(shown.len() < 150 && shown.ends_with("(2000 bytes)"), "{shown}");
        let shown = quoted(&format!("a{}", "\u{1}".repeat(5000)));
        assert!(shown.len() < 150 && shown.starts_with("\"a\\u0001"), "{shown}");
        assert!(shown.ends_with("... (5001 bytes)"), "{shown}");
    }

    #[test]
    fn text_is_shown_as_json_would() {
        let text = "it's \"a\\b\"\n\u{1}\u{202e}\u{fc}\u{1d173}";
        let shown = quoted(text);
        assert_eq!(shown, "\"it's \\\"a\\\\b\\\"\\n\\u0001\\u202e\u{fc}\\ud834\\udd73\"");
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
    }

    #[test]
    fn the_closest_word_is_suggested() {
        let known = ["ordering_key", "max_attempts", "max_age"];
        assert_eq!(closest("orderingkey", known.into_iter()), Some("ordering_key"));
        assert_eq!(closest("max_attempt", known.into_iter()), Some("max_attempts"));
        assert_eq!(closest("zzz", known.into_iter()), None);
    }
}
