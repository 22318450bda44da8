//! What a peer hears whose request is no HTTP. hyper answers it with a bare status and ends the
//! connection; it gets a problem document instead.

use super::code::Code;
use super::refusal::Refusal;

/// What hyper allows in a head beside its bytes.
const HEADER_FIELDS_MAX: usize = 100;
const TARGET_BYTES_MAX: usize = 65_534;

/// What to write instead of `bytes`, where they are an answer of hyper's own: it writes them at
/// once, and no other answer with such a status is without a body.
pub(super) fn answer_instead(bytes: &[u8], header_bytes_max: usize) -> Option<Refusal> {
    let status = bytes.strip_prefix(b"HTTP/1.")?.get(1..5)?;
    let refusal = match status {
        b" 400" => {
            let detail = "the request's line or one of its header fields is no HTTP/1.1";
            let refusal = Refusal::new(Code::HeadMalformed, detail);
            refusal.field("the head").allowed("a request line and header fields of HTTP/1.1")
        }
        b" 414" => {
            let allowed = format!("at most {TARGET_BYTES_MAX} bytes");
            let detail = format!("the request's target is too long; allowed: {allowed}");
            Refusal::new(Code::TargetTooLong, detail).field("the target").allowed(allowed)
        }
        b" 431" => {
            let allowed =
                format!("at most {header_bytes_max} bytes and {HEADER_FIELDS_MAX} fields");
            let detail =
                format!("the request's line and headers are too large; allowed: {allowed}");
            Refusal::new(Code::HeadTooLarge, detail).field("the head").allowed(allowed)
        }
        _ => return None,
    };
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n\r\n")?;
    let is_bare = head.split("\r\n").any(|line| line.eq_ignore_ascii_case("content-length: 0"));
    is_bare.then_some(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::reply::closing_answer;

    fn check(bytes: &str, code: Option<&str>) {
        let answer = answer_instead(bytes.as_bytes(), 8192);
        let answer = answer.map(|refusal| String::from_utf8(closing_answer(&refusal)).unwrap());
        match code {
            None => assert_eq!(answer, None, "{bytes}"),
            Some(code) => assert!(answer.unwrap().contains(code), "{bytes}"),
        }
    }

    #[test]
    fn only_bare_refusals_are_replaced() {
        let tail = "content-length: 0\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
        check(&format!("HTTP/1.1 400 Bad Request\r\n{tail}"), Some("head_malformed"));
        check(&format!("HTTP/1.0 431 Large\r\n{tail}"), Some("at most 8192 bytes"));
        check(&format!("HTTP/1.1 414 URI Too Long\r\n{tail}"), Some("target_too_long"));
        check(&format!("HTTP/1.1 404 Not Found\r\n{tail}"), None);
        check("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n", None);
        check("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n", None);
        check("HTTP/1.1 4", None);
        check("", None);
    }
}
