//! A certificate as it is told further: its subject as text (RFC 4514), and its end.

use std::fmt::Write;

use super::der::{
    BMP, Elements, IA5, INTEGER, LATIN, OBJECT, PRINTABLE, SEQUENCE, SET, TIME, UTC_TIME, UTF8,
    VERSION,
};

/// Bytes of the text of a subject.
const SUBJECT_BYTES_MAX: usize = 1024;

/// What is told of a certificate.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Certificate {
    /// Whose it is, the most special part first: `CN=app,O=Example`.
    pub(crate) subject: String,
    /// The last second that it holds.
    pub(crate) ends: Option<jiff::Timestamp>,
}

impl Certificate {
    /// Reads one; `None` where it is odd, or its subject too long.
    pub(crate) fn read(der: &[u8]) -> Option<Self> {
        let mut parts = Elements::new(der).inside(SEQUENCE)?.inside(SEQUENCE)?;
        if parts.tag() == Some(VERSION) {
            parts.next()?;
        }
        parts.expect(INTEGER)?;
        let (_algorithm, _issuer) = (parts.expect(SEQUENCE)?, parts.expect(SEQUENCE)?);
        let mut validity = parts.inside(SEQUENCE)?;
        validity.next()?;
        let ends = validity.next().and_then(|end| instant(end.tag, end.content));
        let subject = subject(parts.inside(SEQUENCE)?)?;
        Some(Self { subject, ends })
    }
}

/// RFC 5280 4.1.2.5: in UTC, to the second; years of two digits begin at 1950.
fn instant(tag: u8, content: &[u8]) -> Option<jiff::Timestamp> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let text = match tag {
        UTC_TIME if text.get(..2)? < "50" => format!("20{text}"),
        UTC_TIME => format!("19{text}"),
        TIME => text.to_owned(),
        _ => return None,
    };
    let instant = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    instant.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

/// The subject as RFC 4514 writes it: the last part first.
fn subject(mut names: Elements<'_>) -> Option<String> {
    let mut parts = Vec::new();
    let mut length = 0;
    while !names.is_empty() {
        let mut set = names.inside(SET)?;
        let mut part = String::new();
        while !set.is_empty() {
            let mut pair = set.inside(SEQUENCE)?;
            let kind = pair.expect(OBJECT)?;
            let value = pair.next()?;
            if !part.is_empty() {
                part.push('+');
            }
            put_kind(&mut part, kind)?;
            part.push('=');
            put_value(&mut part, value.tag, value.content)?;
            if part.len() > SUBJECT_BYTES_MAX {
                return None;
            }
        }
        length += part.len() + 1;
        if length > SUBJECT_BYTES_MAX {
            return None;
        }
        parts.push(part);
    }
    parts.reverse();
    Some(parts.join(","))
}

/// The names of RFC 4514 and what else is common; others are numbers.
fn put_kind(text: &mut String, kind: &[u8]) -> Option<()> {
    let known = match kind {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 5] => "serialNumber",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "street",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        other => return put_object(text, other),
    };
    text.push_str(known);
    Some(())
}

fn put_object(text: &mut String, object: &[u8]) -> Option<()> {
    let (mut number, mut is_first, mut is_whole) = (0_u64, true, false);
    for byte in object {
        number = number.checked_mul(128)? + u64::from(byte & 0x7f);
        is_whole = byte & 0x80 == 0;
        if !is_whole {
            continue;
        }
        if is_first {
            let top = (number / 40).min(2);
            write!(text, "{top}.{}", number - 40 * top).ok()?;
        } else {
            write!(text, ".{number}").ok()?;
        }
        (number, is_first) = (0, false);
    }
    is_whole.then_some(())
}

/// Nothing that a value holds can be taken for the end of it.
fn put_value(text: &mut String, tag: u8, content: &[u8]) -> Option<()> {
    if content.len() > SUBJECT_BYTES_MAX {
        return None;
    }
    let value = match tag {
        UTF8 | PRINTABLE | IA5 => std::str::from_utf8(content).ok()?.to_owned(),
        LATIN => content.iter().map(|byte| char::from(*byte)).collect(),
        BMP => {
            let units =
                content.chunks(2).map(|unit| Some(u16::from_be_bytes(unit.try_into().ok()?)));
            String::from_utf16(&units.collect::<Option<Vec<_>>>()?).ok()?
        }
        _ => return None,
    };
    let last = value.chars().count().saturating_sub(1);
    for (index, c) in value.chars().enumerate() {
        let edge = c == ' ' && (index == 0 || index == last);
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=' => text.extend(['\\', c]),
            '#' if index == 0 => text.push_str("\\#"),
            ' ' if edge => text.push_str("\\ "),
            c if c.is_control() => {
                for byte in c.to_string().bytes() {
                    write!(text, "\\{byte:02X}").ok()?;
                }
            }
            c => text.push(c),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    fn client() -> Vec<u8> {
        let pem = include_bytes!("../../../../tests/certificates/client.pem");
        CertificateDer::from_pem_slice(pem).unwrap().to_vec()
    }

    #[test]
    fn a_certificate_tells_its_subject_and_its_end() {
        let read = Certificate::read(&client()).unwrap();
        assert_eq!(read.subject, "CN=app,OU=clients,O=Longshore tests");
        assert_eq!(read.ends.unwrap().strftime("%Y").to_string(), "2126");
    }

    #[test]
    fn a_certificate_that_is_cut_is_none_and_a_broken_one_does_no_harm() {
        let whole = client();
        for length in 0..whole.len() {
            assert_eq!(Certificate::read(&whole[..length]), None, "{length}");
        }
        for index in 0..whole.len() {
            for bit in 0..8 {
                let mut broken = whole.clone();
                broken[index] ^= 1 << bit;
                // It must not panic. That it is another one is for the signature to tell.
                if let Some(read) = Certificate::read(&broken) {
                    assert!(read.subject.len() <= SUBJECT_BYTES_MAX, "{}", read.subject);
                }
            }
        }
    }

    #[test]
    fn a_number_of_a_kind_is_whole_or_none() {
        let text = |kind: &[u8]| {
            let mut text = String::new();
            put_kind(&mut text, kind).map(|()| text)
        };
        assert_eq!(text(&[0x2a, 0x86, 0x48]).unwrap(), "1.2.840");
        for odd in [&[][..], &[0x2a, 0x80], &[0x86], &[0xff; 12]] {
            assert_eq!(text(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn no_value_of_a_subject_can_be_taken_for_two() {
        let text = |tag, value: &[u8]| {
            let mut text = String::new();
            put_value(&mut text, tag, value).map(|()| text)
        };
        assert_eq!(text(UTF8, b"app,CN=admin").unwrap(), "app\\,CN\\=admin");
        assert_eq!(text(UTF8, b" #a\0 ").unwrap(), "\\ #a\\00\\ ");
        assert_eq!(text(PRINTABLE, b"#a").unwrap(), "\\#a");
        assert_eq!(text(BMP, &[0, b'a', 0, b'b']).unwrap(), "ab");
        assert_eq!(text(LATIN, &[0xe9]).unwrap(), "\u{e9}");
        for (tag, odd) in [(UTF8, &[0xff][..]), (BMP, &[0]), (BMP, &[0xd8, 0]), (0x01, &[1])] {
            assert_eq!(text(tag, odd), None);
        }
        assert_eq!(text(UTF8, &[b'a'; SUBJECT_BYTES_MAX + 1]), None);
    }
}
