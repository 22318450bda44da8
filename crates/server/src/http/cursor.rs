//! Cursors of lists: opaque to clients, bound to the list that they belong to, checked when they
//! come back.

use std::fmt::Write;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::refusal::Refusal;
use super::text::quoted;

const SCOPE_BYTES: usize = 4;
const KEY_BYTES_MAX: usize = 9 << 10;

/// A digest of what a cursor belongs to.
pub(crate) type Scope = [u8; SCOPE_BYTES];

/// What a cursor belongs to: the list, the namespace, and each part of the filter.
pub(crate) fn scope(list: &str, namespace: &str, filter: &[Option<&str>]) -> Scope {
    let mut bytes = Vec::new();
    for part in [Some(list), Some(namespace)].iter().chain(filter) {
        // With its length, so that no two sequences of parts are one text.
        let part = part.map_or_else(|| "-".to_owned(), |part| format!("{}:{part}", part.len()));
        bytes.extend_from_slice(part.as_bytes());
    }
    digest(&bytes)
}

fn digest(bytes: &[u8]) -> Scope {
    let digest: [u8; 32] = Sha256::digest(bytes).into();
    std::array::from_fn(|index| digest[index])
}

/// The text of a cursor: scope, key and a check sum in hexadecimal digits.
pub(crate) fn encode(key: &[u8], scope: Scope) -> String {
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
pub(crate) fn decode(text: &str, scope: Scope) -> Result<Bytes, Refusal> {
    let allowed = "\"next\" of a page of this list, in this namespace and with this filter";
    let body = body_of(text).ok_or_else(|| Refusal::value("cursor", quoted(text), allowed))?;
    if let Some(key) = body.strip_prefix(&scope) {
        return Ok(Bytes::copy_from_slice(key));
    }
    let value = format!("{}, of another list, namespace or filter", quoted(text));
    Err(Refusal::value("cursor", value, allowed))
}

/// What a cursor that this server made says: scope and key.
fn body_of(text: &str) -> Option<Vec<u8>> {
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
    let sound = body.len() >= SCOPE_BYTES && digest(body) == check;
    sound.then(|| body.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_only_to_its_own_list() {
        let all = scope("jobs", "default", &[None, None]);
        let text = encode(b"key\x00\xff", all);
        assert_eq!(decode(&text, all).unwrap(), &b"key\x00\xff"[..]);
        for other in [
            scope("jobs", "default", &[None, Some("k")]),
            scope("jobs", "default", &[Some("k"), None]),
            scope("jobs", "shop", &[None, None]),
            scope("queues", "default", &[None, None]),
        ] {
            let problem = decode(&text, other).unwrap_err().problem();
            assert!(problem.detail.contains("of another list, namespace or filter"), "{problem:?}");
        }
        for bad in ["", "zz", "0", &text[2..], &text[..text.len() - 2], &format!("{text}00")] {
            assert!(decode(bad, all).is_err(), "{bad}");
        }
        assert!(decode(&"0".repeat(1 << 20), all).is_err());
    }
}
