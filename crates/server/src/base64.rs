//! Base64 (RFC 4648 4): bytes in JSON and what `Authorization: Basic` carries, with padding, and
//! what hashes of passwords are written in, without.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Writes bytes without padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for sextet in 0..=chunk.len() {
            let index = group >> (18 - 6 * sextet) & 0x3f;
            text.push(char::from(ALPHABET.get(index as usize).copied().unwrap_or(b'A')));
        }
    }
    text
}

/// Writes bytes with padding.
pub(crate) fn encode_padded(bytes: &[u8]) -> String {
    let mut text = encode(bytes);
    while !text.len().is_multiple_of(4) {
        text.push('=');
    }
    text
}

/// Reads text with or without padding; `None` where it is no base64, or has bits that stand for
/// nothing.
pub(crate) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let padded = text.len().is_multiple_of(4);
    let unpadded = match text {
        [rest @ .., b'=', b'='] | [rest @ .., b'='] if padded => rest,
        all => all,
    };
    let mut bytes = Vec::with_capacity(unpadded.len() / 4 * 3 + 2);
    for chunk in unpadded.chunks(4) {
        let mut group = 0_u32;
        for byte in chunk {
            group = group << 6 | sextet(*byte)?;
        }
        let bits = chunk.len() * 6;
        let whole = match chunk.len() {
            4 => 3,
            3 => 2,
            2 => 1,
            _ => return None,
        };
        let left = bits - whole * 8;
        if group & ((1 << left) - 1) != 0 {
            return None;
        }
        let group = (group >> left).to_be_bytes();
        bytes.extend_from_slice(group.get(4 - whole..)?);
    }
    Some(bytes)
}

/// Reads text with its padding; `None` where [`decode`] says so, or it is cut.
pub(crate) fn decode_padded(text: &str) -> Option<Vec<u8>> {
    decode(text.as_bytes()).filter(|_| text.len().is_multiple_of(4))
}

fn sextet(byte: u8) -> Option<u32> {
    Some(u32::from(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_vectors_of_the_standard_hold() {
        for (plain, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
            ("fooba", "Zm9vYmE"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(encode(plain.as_bytes()), text);
            let padding = "=".repeat((4 - text.len() % 4) % 4);
            for text in [text.to_owned(), format!("{text}{padding}")] {
                assert_eq!(decode(text.as_bytes()).as_deref(), Some(plain.as_bytes()), "{text}");
            }
            let padded = format!("{text}{padding}");
            assert_eq!(encode_padded(plain.as_bytes()), padded);
            assert_eq!(decode_padded(&padded).as_deref(), Some(plain.as_bytes()), "{padded}");
            assert_eq!(decode_padded(text).is_some(), padding.is_empty(), "{text}");
        }
        for odd in ["Z", "Zh", "Zm9=", "Zg=", "=", "====", "Z===", "Zm 8", "Zm9v\n", "Zg==Zg=="] {
            assert_eq!(decode(odd.as_bytes()), None, "{odd:?}");
        }
    }

    proptest! {
        #[test]
        fn bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode(encode(&bytes).as_bytes()), Some(bytes));
        }

        #[test]
        fn whatever_is_read_is_written_so(text: Vec<u8>) {
            if let Some(bytes) = decode(&text) {
                let text = String::from_utf8(text).unwrap();
                prop_assert_eq!(encode(&bytes), text.trim_end_matches('='));
            }
        }
    }
}
