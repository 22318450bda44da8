//! As much of JSON as it takes to make the args of a job from what a message says: whether bytes
//! are JSON text, and how other bytes stand in it.

use std::fmt::Write;

/// Lists and objects within each other, at most: what readers of JSON take.
const DEPTH_MAX: usize = 120;

/// Whether bytes are one JSON value. Numbers are looked at as loosely as readers need.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut reader = Reader { rest: text.as_bytes() };
    reader.value(0) && {
        reader.skip();
        reader.rest.is_empty()
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn skip(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    fn take(&mut self, wanted: u8) -> bool {
        self.skip();
        match self.rest {
            [first, rest @ ..] if *first == wanted => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn value(&mut self, depth: usize) -> bool {
        self.skip();
        match self.rest {
            [b'{' | b'[', ..] if depth >= DEPTH_MAX => false,
            [b'{', ..] => {
                self.list((b'{', b'}'), &mut |it| it.text() && it.take(b':') && it.value(depth + 1))
            }
            [b'[', ..] => self.list((b'[', b']'), &mut |it| it.value(depth + 1)),
            [b'"', ..] => self.text(),
            [b'-' | b'0'..=b'9', ..] => self.number(),
            _ => ["true", "false", "null"].iter().any(|word| self.word(word)),
        }
    }

    fn list(&mut self, (open, close): (u8, u8), item: &mut dyn FnMut(&mut Self) -> bool) -> bool {
        if !self.take(open) {
            return false;
        }
        if self.take(close) {
            return true;
        }
        loop {
            if !item(self) {
                return false;
            }
            if self.take(close) {
                return true;
            }
            if !self.take(b',') {
                return false;
            }
        }
    }

    fn word(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word.as_bytes());
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn text(&mut self) -> bool {
        if !self.take(b'"') {
            return false;
        }
        loop {
            match self.rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return true;
                }
                [b'\\', b'u', a, b, c, d, rest @ ..]
                    if [a, b, c, d].iter().all(|digit| digit.is_ascii_hexdigit()) =>
                {
                    self.rest = rest;
                }
                [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => {
                    self.rest = rest;
                }
                [0x20..=0x5b | 0x5d.., rest @ ..] => self.rest = rest,
                _ => return false,
            }
        }
    }

    fn digits(&mut self) -> usize {
        let before = self.rest.len();
        while let [b'0'..=b'9', rest @ ..] = self.rest {
            self.rest = rest;
        }
        before - self.rest.len()
    }

    fn number(&mut self) -> bool {
        self.word("-");
        let leads = self.rest.first() == Some(&b'0');
        let whole = self.digits();
        if whole == 0 || (leads && whole > 1) {
            return false;
        }
        if self.word(".") && self.digits() == 0 {
            return false;
        }
        if self.word("e") || self.word("E") {
            let _sign = self.word("+") || self.word("-");
            return self.digits() > 0;
        }
        true
    }
}

/// A text as JSON.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for one in text.chars() {
        match one {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            control if (control as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Bytes in base64, with padding (RFC 4648 4).
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, shift) in [18_u32, 12, 6, 0].into_iter().enumerate() {
            let digit = DIGITS.get((bits >> shift & 63) as usize).copied().unwrap_or(b'=');
            out.push(char::from(if at <= three.len() { digit } else { b'=' }));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_json_is_told_from_what_is_not() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        for good in [
            "{}",
            " [1, -2.5e3, 0, \"a\\u00e9\\n\", true, false, null] ",
            "\"x\"",
            "7",
            "{\"a\":{\"b\":[]}}",
            &deep(DEPTH_MAX),
        ] {
            assert!(is_json(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "{",
            "{\"a\"}",
            "[1,]",
            "01",
            "1.",
            "-",
            "'x'",
            "\"x",
            "\"\n\"",
            "tru",
            "1 2",
            "{1:2}",
            "\"\\x\"",
            "1e",
            &deep(DEPTH_MAX + 1),
            &"[".repeat(1_000_000),
        ] {
            assert!(!is_json(bad.as_bytes()), "{}", &bad[..bad.len().min(20)]);
        }
        assert!(!is_json(b"\"\xff\""));
    }

    #[test]
    fn other_bytes_stand_in_json() {
        assert_eq!(quoted("a\"\\\n\u{1}\u{e9}"), "\"a\\\"\\\\\\n\\u0001\u{e9}\"");
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, coded) in cases {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd]), "//79");
    }
}
