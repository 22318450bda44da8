//! The headers in what faces keep of a message, for what the engine compares by itself: filters,
//! and routing a message once more. By convention of the faces these bytes are an AMQP 0-9-1 basic
//! content header: two bytes of flags, then the values. Nothing else of them is read here, and what
//! is malformed has no headers.

use bytes::Bytes;

use super::HeaderValue;

/// Flags of what stands before the headers, and of the headers.
const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;

/// Headers of one message at most: as many as the codec of that face takes.
const HEADERS_MAX: usize = 4096;

/// The headers of a message, as routing compares them.
pub(crate) fn headers_of(properties: &Bytes) -> Vec<(String, HeaderValue)> {
    read(properties).unwrap_or_default()
}

/// The value of a header as a text; none of one that is no text, number or truth value.
pub(crate) fn text_of(value: &HeaderValue) -> Option<String> {
    Some(match value {
        HeaderValue::Bool { value } => value.to_string(),
        HeaderValue::Int { value } => value.to_string(),
        HeaderValue::Float { bits } => f64::from_bits(*bits).to_string(),
        HeaderValue::Text { bytes } => String::from_utf8_lossy(bytes).into_owned(),
        HeaderValue::Void | HeaderValue::Other { .. } => return None,
    })
}

fn read(properties: &Bytes) -> Option<Vec<(String, HeaderValue)>> {
    let mut reader = Reader { rest: properties.clone() };
    let flags = u16::from_be_bytes(reader.array()?);
    if flags & HEADERS == 0 {
        return Some(Vec::new());
    }
    for flag in [CONTENT_TYPE, CONTENT_ENCODING] {
        if flags & flag != 0 {
            reader.short()?;
        }
    }
    let mut table = Reader { rest: reader.long()? };
    let mut headers = Vec::new();
    while !table.rest.is_empty() && headers.len() < HEADERS_MAX {
        let name = table.short()?;
        let value = table.value()?;
        if let Ok(name) = std::str::from_utf8(&name) {
            headers.push((name.to_owned(), value));
        }
    }
    Some(headers)
}

/// Bytes that were not read yet.
pub(super) struct Reader {
    pub(super) rest: Bytes,
}

impl Reader {
    fn bytes(&mut self, count: usize) -> Option<Bytes> {
        (count <= self.rest.len()).then(|| self.rest.split_to(count))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.as_ref().try_into().ok()
    }

    pub(super) fn short(&mut self) -> Option<Bytes> {
        let [count] = self.array()?;
        self.bytes(usize::from(count))
    }

    pub(super) fn long(&mut self) -> Option<Bytes> {
        let count = u32::from_be_bytes(self.array()?);
        self.bytes(count as usize)
    }

    fn value(&mut self) -> Option<HeaderValue> {
        let before = self.rest.clone();
        let [kind] = self.array()?;
        let int = |value: i64| Some(HeaderValue::Int { value });
        match kind {
            b'V' => Some(HeaderValue::Void),
            b't' => {
                let [value] = self.array()?;
                Some(HeaderValue::Bool { value: value != 0 })
            }
            b'b' => int(i8::from_be_bytes(self.array()?).into()),
            b'B' => int(u8::from_be_bytes(self.array()?).into()),
            b's' | b'U' => int(i16::from_be_bytes(self.array()?).into()),
            b'u' => int(u16::from_be_bytes(self.array()?).into()),
            b'I' => int(i32::from_be_bytes(self.array()?).into()),
            b'i' => int(u32::from_be_bytes(self.array()?).into()),
            b'l' | b'L' => int(i64::from_be_bytes(self.array()?)),
            b'f' => {
                let value = f64::from(f32::from_be_bytes(self.array()?));
                Some(HeaderValue::Float { bits: value.to_bits() })
            }
            b'd' => Some(HeaderValue::Float { bits: u64::from_be_bytes(self.array()?) }),
            b'S' | b'x' => Some(HeaderValue::Text { bytes: self.long()? }),
            b'D' => self.other(&before, 5),
            b'T' => self.other(&before, 8),
            b'A' | b'F' => {
                self.long()?;
                self.other(&before, 0)
            }
            _ => None,
        }
    }

    /// A value that is only passed, of so many bytes more.
    fn other(&mut self, before: &Bytes, more: usize) -> Option<HeaderValue> {
        self.bytes(more)?;
        let bytes = before.slice(..before.len() - self.rest.len());
        Some(HeaderValue::Other { bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_table(table: &[u8]) -> Bytes {
        let mut bytes = (CONTENT_TYPE | HEADERS | 1 << 12).to_be_bytes().to_vec();
        bytes.extend_from_slice(b"\x03t/x");
        bytes.extend_from_slice(&(table.len() as u32).to_be_bytes());
        bytes.extend_from_slice(table);
        bytes.push(2);
        bytes.into()
    }

    #[test]
    fn headers_are_found_behind_what_stands_before_them() {
        let table =
            b"\x01aS\0\0\0\x02hi\x01bI\0\0\0\x07\x01ct\x01\x01dV\x01eF\0\0\0\0\x01fs\xff\xfe";
        let headers = headers_of(&with_table(table));
        let told: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), text_of(value))).collect();
        let some = |text: &str| Some(text.to_owned());
        let wanted = [
            ("a", some("hi")),
            ("b", some("7")),
            ("c", some("true")),
            ("d", None),
            ("e", None),
            ("f", some("-2")),
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn what_is_cut_or_unknown_has_no_headers() {
        let whole = with_table(b"\x01aS\0\0\0\x02hi");
        for length in 0..whole.len() - 1 {
            assert!(headers_of(&whole.slice(..length)).is_empty(), "{length} bytes");
        }
        assert!(headers_of(&with_table(b"\x01a?")).is_empty());
        assert!(headers_of(&with_table(b"\x01aS\xff\xff\xff\xff")).is_empty());
    }
}
