//! Keeps web pages out: the origin has to be the server's own, and what changes something has to be
//! JSON, which no page can send without asking. Where nobody is asked who it is the host has to be
//! this machine, too.

use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, TRANSFER_ENCODING};
use hyper::{Method, Uri};

use super::code::Code;
use super::refusal::Refusal;
use super::text::quoted;

/// How a server is reached.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    /// It asks for credentials, so it may be anywhere, and its host be called as people like.
    pub(crate) anywhere: bool,
    /// The request came over TLS.
    pub(crate) is_tls: bool,
}

impl Reached {
    /// The beginnings of the origins of its own pages. What comes in plain text may come from a
    /// proxy that ends TLS in front of it; what comes over TLS does not come from a page in plain
    /// text, which anybody on the way can write, and to whose requests browsers add certificates.
    fn own_schemes(self) -> &'static [&'static str] {
        match (self.is_tls, self.anywhere) {
            (true, _) => &["https://"],
            (false, true) => &["http://", "https://"],
            (false, false) => &["http://"],
        }
    }
}

/// Checks a request's head.
pub(crate) fn check(
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    has_body: bool,
    reached: Reached,
) -> Result<(), Refusal> {
    let host = host_of(uri, headers, reached.anywhere)?;
    check_origin(headers, host, reached)?;
    check_coding(headers)?;
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    if (changes && *method == Method::POST) || has_body {
        check_media_type(headers)?;
    }
    Ok(())
}

/// Checks the head of a request over HTTP/2, which names its host as the authority.
pub(crate) fn check_authority(
    uri: &Uri,
    headers: &HeaderMap,
    reached: Reached,
) -> Result<(), Refusal> {
    let Some(authority) = uri.authority().map(hyper::http::uri::Authority::as_str) else {
        let host = host_of(uri, headers, reached.anywhere)?;
        return check_origin(headers, host, reached);
    };
    check_one_host(headers)?;
    let others = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
    let strange = |host: &&str| !reached.anywhere && !is_loopback(host);
    let named = std::iter::once(authority).chain(others).find(strange);
    match named {
        None => check_origin(headers, authority, reached),
        Some(host) => Err(strange_host(host)),
    }
}

/// RFC 9112 3.2: more than one is malformed, and each side of a proxy may read another one.
fn check_one_host(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut named = headers.get_all(HOST).iter().map(HeaderValue::as_bytes);
    let Some(more) = named.nth(1) else { return Ok(()) };
    let shown = quoted(&String::from_utf8_lossy(more));
    let detail = format!("there is a second Host, {shown}; allowed: one");
    let refusal = Refusal::new(Code::HeadMalformed, detail).closing();
    Err(refusal.about("Host", shown, "one".to_owned()))
}

/// The one host that the request names. Where it has to be this machine, a name that somebody
/// else's DNS points here is refused.
fn host_of<'h>(uri: &'h Uri, headers: &'h HeaderMap, anywhere: bool) -> Result<&'h str, Refusal> {
    check_one_host(headers)?;
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let target = uri.authority().map(hyper::http::uri::Authority::as_str);
    if anywhere {
        return Ok(target.unwrap_or(host));
    }
    if is_loopback(host) && target.is_none_or(is_loopback) {
        return Ok(host);
    }
    Err(strange_host(target.filter(|target| !is_loopback(target)).unwrap_or(host)))
}

fn strange_host(shown: &str) -> Refusal {
    let allowed = "localhost, 127.0.0.0/8 or [::1], with any port";
    let detail = format!(
        "the host is {}; a server that asks nobody who it is answers to {allowed} only",
        quoted(shown)
    );
    Refusal::new(Code::HostRefused, detail).about("Host", quoted(shown), allowed.into())
}

fn is_loopback(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix("[::1]") {
        Some(port) => ("[::1]", port.strip_prefix(':').or_else(|| port.is_empty().then_some(""))),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    let port_is_sound = port.is_some_and(|port| port.len() <= 5 && all_digits(port));
    port_is_sound && (host == "[::1]" || host.eq_ignore_ascii_case("localhost") || is_127(host))
}

fn is_127(host: &str) -> bool {
    host.starts_with("127.") && host.parse::<std::net::Ipv4Addr>().is_ok()
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn check_origin(headers: &HeaderMap, host: &str, reached: Reached) -> Result<(), Refusal> {
    let own = |origin: &HeaderValue| {
        let text = origin.to_str().unwrap_or_default();
        let mut origins = reached.own_schemes().iter().filter_map(|it| text.strip_prefix(it));
        origins.any(|origin| origin.eq_ignore_ascii_case(host))
    };
    if let Some(origin) = headers.get_all(ORIGIN).iter().find(|origin| !own(origin)) {
        let shown = quoted(&String::from_utf8_lossy(origin.as_bytes()));
        let own = reached.own_schemes().iter().map(|scheme| format!("{scheme}{host}"));
        let own: Vec<_> = own.collect();
        let allowed = format!("no Origin, or {}", own.join(" or "));
        let detail = format!("the origin is {shown}; no other page than this server's may ask");
        return Err(Refusal::new(Code::OriginRefused, detail).about("Origin", shown, allowed));
    }
    // What is not known is foreign: a list of what is refused would miss what browsers say next.
    let foreign = |site: &&[u8]| {
        !site.eq_ignore_ascii_case(b"same-origin") && !site.eq_ignore_ascii_case(b"none")
    };
    let mut sites = headers.get_all("sec-fetch-site").iter().map(HeaderValue::as_bytes);
    if let Some(site) = sites.find(foreign) {
        let shown = quoted(&String::from_utf8_lossy(site));
        let detail = "a browser says that another site's page asks";
        let allowed = "same-origin or none".to_owned();
        let refusal = Refusal::new(Code::OriginRefused, detail);
        return Err(refusal.about("Sec-Fetch-Site", shown, allowed));
    }
    Ok(())
}

/// Bodies come as they are or in chunks: what another coding made of one would be taken for JSON.
fn check_coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter().map(HeaderValue::as_bytes);
    let Some(first) = codings.next() else { return Ok(()) };
    let more = codings.next();
    if more.is_none() && first.trim_ascii().eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let shown = quoted(&String::from_utf8_lossy(more.unwrap_or(first)));
    let allowed = "chunked, once and nothing else";
    let detail = format!("Transfer-Encoding is {shown}; allowed: {allowed}");
    let refusal = Refusal::new(Code::HeadMalformed, detail).closing();
    Err(refusal.about("Transfer-Encoding", shown, allowed.into()))
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut given = headers.get_all(CONTENT_TYPE).iter();
    let first = given.next().map(HeaderValue::as_bytes).unwrap_or_default();
    if given.next().is_none() && is_json(first) {
        return Ok(());
    }
    let shown = match first {
        b"" => "missing".to_owned(),
        _ => quoted(&String::from_utf8_lossy(first)),
    };
    let allowed = "application/json";
    let detail = format!("Content-Type is {shown}; it has to be {allowed}");
    Err(Refusal::new(Code::MediaTypeRefused, detail).about("Content-Type", shown, allowed.into()))
}

/// `application/json`, perhaps with `charset=utf-8`.
fn is_json(value: &[u8]) -> bool {
    if value == b"application/json" {
        return true;
    }
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let mut parts = text.split(';').map(str::trim);
    let json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    json && parts.all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        name.trim().eq_ignore_ascii_case("charset")
            && value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Reached = Reached { anywhere: false, is_tls: false };

    fn check_head(method: &Method, pairs: &[(&str, &str)], has_body: bool) -> Option<Code> {
        check_reached(method, pairs, has_body, HERE)
    }

    fn check_reached(
        method: &Method,
        pairs: &[(&str, &str)],
        has_body: bool,
        reached: Reached,
    ) -> Option<Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: hyper::header::HeaderName = name.parse().unwrap();
            headers.append(name, value.parse().unwrap());
        }
        check(method, &Uri::from_static("/v1/jobs"), &headers, has_body, reached)
            .err()
            .map(|refusal| refusal.code())
    }

    #[test]
    fn the_host_has_to_be_this_machine() {
        for host in
            ["localhost", "LOCALHOST:80", "127.0.0.1", "127.255.0.9:65535", "[::1]", "[::1]:8"]
        {
            assert_eq!(check_head(&Method::GET, &[("host", host)], false), None, "{host}");
        }
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "128.0.0.1",
            "127.1",
            "[::2]",
            "[::1]x",
            "localhost:80x",
            "localhost:",
            "localhost:123456",
            "user@localhost",
            "0.0.0.0",
        ] {
            let refused = check_head(&Method::GET, &[("host", host)], false);
            let expected = if host == "localhost:" { None } else { Some(Code::HostRefused) };
            assert_eq!(refused, expected, "{host}");
        }
        assert_eq!(check_head(&Method::GET, &[], false), Some(Code::HostRefused));
        let two = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(check_head(&Method::GET, &two, false), Some(Code::HeadMalformed));
        let asked = Reached { anywhere: true, is_tls: false };
        let two = [("host", "jobs.example"), ("host", "jobs.example")];
        let found = check_reached(&Method::GET, &two, false, asked);
        assert_eq!(found, Some(Code::HeadMalformed));
        assert_eq!(check_reached(&Method::GET, &two[..1], false, asked), None);
        let absolute = Uri::from_static("http://evil.example/v1/jobs");
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("localhost"))]);
        assert!(check(&Method::GET, &absolute, &headers, false, HERE).is_err());
    }

    #[test]
    fn other_pages_are_refused() {
        let host = ("host", "localhost:4200");
        for (name, value, refused) in [
            ("origin", "http://localhost:4200", false),
            ("origin", "http://localhost:3000", true),
            ("origin", "https://localhost:4200", true),
            ("origin", "http://evil.example", true),
            ("origin", "null", true),
            ("origin", "", true),
            ("sec-fetch-site", "same-origin", false),
            ("sec-fetch-site", "none", false),
            ("sec-fetch-site", "cross-site", true),
            ("sec-fetch-site", "same-site", true),
            ("sec-fetch-site", "Cross-Site", true),
            ("sec-fetch-site", "None", false),
            ("sec-fetch-site", "bogus", true),
            ("sec-fetch-site", "", true),
            ("sec-fetch-site", "\"cross-site\"", true),
            ("sec-fetch-site", "none, cross-site", true),
            ("transfer-encoding", "chunked", false),
            ("transfer-encoding", "Chunked", false),
            ("transfer-encoding", "gzip, chunked", true),
            ("transfer-encoding", "chunked, chunked", true),
        ] {
            let found = check_head(&Method::GET, &[host, (name, value)], false);
            assert_eq!(found.is_some(), refused, "{name}: {value}");
        }
    }

    #[test]
    fn an_own_page_speaks_as_the_request_does() {
        for (anywhere, is_tls, origin, refused) in [
            (false, true, "https://localhost:7443", false),
            (false, true, "http://localhost:7443", true),
            (true, true, "https://localhost:7443", false),
            (true, true, "http://localhost:7443", true),
            (true, true, "https://other.example:7443", true),
            (true, false, "http://localhost:7443", false),
            // That of a proxy in front.
            (true, false, "https://localhost:7443", false),
            (false, false, "https://localhost:7443", true),
        ] {
            let pairs = [("host", "localhost:7443"), ("origin", origin)];
            let reached = Reached { anywhere, is_tls };
            let found = check_reached(&Method::GET, &pairs, false, reached);
            assert_eq!(found.is_some(), refused, "{reached:?} {origin}");
            let mut headers = HeaderMap::new();
            headers.append(ORIGIN, origin.parse().unwrap());
            let uri = Uri::from_static("https://localhost:7443/longshore.v1.Jobs/Get");
            assert_eq!(check_authority(&uri, &headers, reached).is_err(), refused, "{origin}");
        }
    }

    #[test]
    fn what_changes_something_has_to_be_json() {
        let host = ("host", "localhost");
        let json = |value| check_head(&Method::POST, &[host, ("content-type", value)], true);
        for value in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert_eq!(json(value), None, "{value}");
        }
        for value in ["text/plain", "application/jsonx", "application/json; charset=latin1", ""] {
            assert_eq!(json(value), Some(Code::MediaTypeRefused), "{value}");
        }
        assert_eq!(check_head(&Method::POST, &[host], false), Some(Code::MediaTypeRefused));
        assert_eq!(check_head(&Method::PUT, &[host], true), Some(Code::MediaTypeRefused));
        assert_eq!(check_head(&Method::DELETE, &[host], false), None);
    }
}
