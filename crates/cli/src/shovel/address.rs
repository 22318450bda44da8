//! `amqp://user:password@host:port/vhost`, as other clients take it.

use std::fmt;
use std::str::FromStr;

/// Who is asked, as whom, and for which virtual host.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Address {
    host: String,
    pub(super) user: String,
    pub(super) password: String,
    pub(super) vhost: String,
}

/// Not with its password.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "amqp://{}@{}/{}", self.user, self.host, self.vhost)
    }
}

impl Address {
    /// The host and the port.
    pub(super) fn host(&self) -> &str {
        &self.host
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("amqps://") {
            return Err("TLS is not spoken here: use a tunnel, such as stunnel".to_owned());
        }
        let rest = text.strip_prefix("amqp://").ok_or("an address begins with amqp://")?;
        let (place, vhost) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, host) = match place.rsplit_once('@') {
            Some((login, host)) => (login, host),
            None => ("guest:guest", place),
        };
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        if host.is_empty() {
            return Err("an address names a host".to_owned());
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| {
            !port.is_empty() && port.bytes().all(|it| it.is_ascii_digit())
        });
        if !has_port && host.contains(':') && !host.ends_with(']') {
            return Err(format!("the port of \"{host}\" is not a number"));
        }
        let host = if has_port { host.to_owned() } else { format!("{host}:5672") };
        let vhost = if vhost.is_empty() { "/".to_owned() } else { decoded(vhost)? };
        Ok(Self { host, user: decoded(user)?, password: decoded(password)?, vhost })
    }
}

/// A text without its percent-encoding.
fn decoded(text: &str) -> Result<String, String> {
    let malformed = || format!("\"{text}\" is not percent-encoded UTF-8");
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.get(..2).and_then(|it| std::str::from_utf8(it).ok());
        let byte = digits.and_then(|it| u8::from_str_radix(it, 16).ok());
        bytes.push(byte.ok_or_else(malformed)?);
        rest = rest.get(2..).unwrap_or_default();
    }
    String::from_utf8(bytes).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_other_clients_do() {
        let parts = |text: &str| {
            let it: Address = text.parse().unwrap();
            (it.host, it.user, it.password, it.vhost)
        };
        let texts = |host: &str, user: &str, password: &str, vhost: &str| {
            (host.to_owned(), user.to_owned(), password.to_owned(), vhost.to_owned())
        };
        assert_eq!(parts("amqp://old"), texts("old:5672", "guest", "guest", "/"));
        assert_eq!(parts("amqp://a%40b:p%2fw@old:5673/%2f"), texts("old:5673", "a@b", "p/w", "/"));
        assert_eq!(parts("amqp://u@[::1]:99/shop"), texts("[::1]:99", "u", "", "shop"));
        for malformed in ["old", "amqps://old", "amqp://", "amqp://u:%zz@old", "amqp://u:%2"] {
            assert!(malformed.parse::<Address>().is_err(), "{malformed}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let address: Address = "amqp://app:secret@old".parse().unwrap();
        assert!(!format!("{address:?}").contains("secret"));
    }
}
