//! The resource that a job made: what may be told as such, and which of it a client is sent to.

use crate::http::refusal::Refusal;
use crate::http::text::quoted;

/// Bytes of a location.
const BYTES_MAX: usize = 2048;

/// Checks a location as a worker tells it: what no header could hold is refused at once.
pub(crate) fn check_location(location: &str) -> Result<(), Refusal> {
    let sound = !location.is_empty()
        && location.len() <= BYTES_MAX
        && location.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if sound {
        return Ok(());
    }
    let allowed = "1 to 2048 printable ASCII characters of a URL, without \"\\\"";
    Err(Refusal::value("location", quoted(location), allowed))
}

/// Whether a client is sent there: a path of this server, a relative one, or a URL of an origin
/// that the configuration allows. Anything else would make the server an open redirect.
pub(crate) fn is_followed(location: &str, origins: &[String]) -> bool {
    if check_location(location).is_err() {
        return false;
    }
    if let Some((scheme, rest)) = location.split_once("://")
        && is_scheme(scheme)
    {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let origin = format!("{scheme}://{authority}");
        return !authority.contains('@')
            && origins.iter().any(|allowed| allowed.eq_ignore_ascii_case(&origin));
    }
    let first = location.split(['/', '?', '#']).next().unwrap_or_default();
    !location.starts_with("//") && !first.contains(':')
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || matches!(it, b'+' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_to_known_places_only() {
        let origins = ["https://app.example".to_owned(), "http://localhost:3000".to_owned()];
        let cases = [
            ("/reports/7", true),
            ("reports/7", true),
            ("?page=2", true),
            ("/a:b", true),
            ("https://app.example/x", true),
            ("https://APP.example", true),
            ("http://localhost:3000/x?u=http://evil.example", true),
            ("/x?u=https://evil.example", true),
            ("//evil.example/x", false),
            ("https://evil.example/x", false),
            ("https://app.example.evil.example/", false),
            ("https://app.example@evil.example/", false),
            ("https://app.example:444/", false),
            ("http://app.example/", false),
            ("javascript:alert(1)", false),
            ("javascript:alert(1)//https://app.example", false),
            ("data:text/html,x", false),
            ("/\\evil.example", false),
            ("", false),
            ("/a b", false),
            ("/a\r\nset-cookie:x", false),
        ];
        for (location, expected) in cases {
            assert_eq!(is_followed(location, &origins), expected, "{location}");
        }
    }
}
