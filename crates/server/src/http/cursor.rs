//! Cursors of lists: opaque to clients, bound to the list that they belong to, checked when they
//! come back.

use std::fmt::Write;

use bytes::Bytes;
use longshore_engine::query::ListFilter;
use sha2::{Digest, Sha256};

use super::refusal::Refusal;
use super::text::quoted;

const SCOPE_BYTES: usize = 4;
const KEY_BYTES_MAX: usize = 256;

/// What a cursor belongs to: another filter walks another index.
pub(crate) fn scope(filter: &ListFilter) -> [u8; SCOPE_BYTES] {
    digest(format!("{filter:?}").as_bytes())
}

fn digest(bytes: &[u8]) -> [u8; SCOPE_BYTES] {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    std::array::from_fn(|index| digest[index])
}

/// The text of a cursor: scope, key and a check sum in hexadecimal digits.
pub(crate) fn encode(key: &[u8], scope: [u8; SCOPE_BYTES]) -> String {
    let mut bytes = scope.to_vec();
    bytes.extend_from_slice(key);
    let check = digest(&bytes);
    bytes.extend_from_slice(&check);
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The key that a cursor stands for.
pub(crate) fn decode(text: &str, scope: [u8; SCOPE_BYTES]) -> Result<Bytes, Refusal> {
    key_of(text, scope).ok_or_else(|| {
        let allowed = "\"next\" of a page of this very list";
        Refusal::value("cursor", quoted(text), allowed)
    })
}

fn key_of(text: &str, scope: [u8; SCOPE_BYTES]) -> Option<Bytes> {
    if text.len() > 2 * (KEY_BYTES_MAX + 2 * SCOPE_BYTES) {
        return None;
    }
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits?;
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let bytes: Vec<u8> =
        pairs.map(|pair| pair.iter().fold(0, |high, low| high << 4 | *low as u8)).collect();
    let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(SCOPE_BYTES)?)?;
    let key = body.strip_prefix(&scope)?;
    (digest(body) == check).then(|| Bytes::copy_from_slice(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_only_to_its_own_list() {
        let all = scope(&ListFilter::default());
        let dead = scope(&ListFilter { kind: Some("k".into()), ..ListFilter::default() });
        let text = encode(b"key\x00\xff", all);
        assert_eq!(decode(&text, all).unwrap(), &b"key\x00\xff"[..]);
        assert!(decode(&text, dead).is_err());
        for bad in ["", "zz", "0", &text[2..], &text[..text.len() - 2], &format!("{text}00")] {
            assert!(decode(bad, all).is_err(), "{bad}");
        }
        assert!(decode(&"0".repeat(1 << 20), all).is_err());
    }
}
