//! Who the client says that it is. Until there are accounts, that is `guest` of this machine.

use bytes::Bytes;

use crate::codec::Table;

/// What is offered, the best first.
pub(super) const MECHANISMS: &str = "PLAIN AMQPLAIN ANONYMOUS";

const USER: &str = "guest";
const PASSWORD: &str = "guest";

/// What comes of a login.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Login {
    /// Let in, under this name.
    User(String),
    /// Not let in.
    Refused,
    /// It is no answer of this mechanism.
    Malformed(String),
    /// There is no such mechanism.
    Unknown,
}

/// Looks at a login.
pub(super) fn login(mechanism: &str, response: &Bytes, is_loopback: bool) -> Login {
    let named = match mechanism {
        "PLAIN" => plain(response),
        "AMQPLAIN" => amqplain(response),
        "ANONYMOUS" => Some((USER.to_owned(), PASSWORD.to_owned())),
        // A certificate would say who it is, and there is none without TLS.
        "EXTERNAL" => return Login::Refused,
        _ => return Login::Unknown,
    };
    match named {
        None => Login::Malformed(format!("response {response:?} is no answer of {mechanism}")),
        Some((user, password)) if user == USER && password == PASSWORD && is_loopback => {
            Login::User(user)
        }
        Some(_) => Login::Refused,
    }
}

/// RFC 4616: an identity to act as, the user and the password, with zeros between them.
fn plain(response: &[u8]) -> Option<(String, String)> {
    let text = std::str::from_utf8(response).ok()?;
    let mut parts = text.splitn(3, '\0');
    let (_, user, password) = (parts.next()?, parts.next()?, parts.next()?);
    Some((user.to_owned(), password.to_owned()))
}

/// A table without its length.
fn amqplain(response: &Bytes) -> Option<(String, String)> {
    let table = Table::checked(response.clone()).ok()?;
    let text = |name| table.get(name).and_then(|value| value.as_text().map(str::to_owned));
    Some((text("LOGIN")?, text("PASSWORD")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Value;

    #[test]
    fn only_the_guest_of_this_machine_is_let_in() {
        let guest = || Login::User("guest".into());
        let plain = Bytes::from_static(b"\0guest\0guest");
        let table =
            Table::of([("LOGIN", Value::text("guest")), ("PASSWORD", Value::text("guest"))]);
        assert_eq!(login("PLAIN", &plain, true), guest());
        assert_eq!(login("AMQPLAIN", table.as_bytes(), true), guest());
        assert_eq!(login("ANONYMOUS", &Bytes::new(), true), guest());
        assert_eq!(login("PLAIN", &plain, false), Login::Refused);
        assert_eq!(login("ANONYMOUS", &Bytes::new(), false), Login::Refused);
        let other = Bytes::from_static(b"\0guest\0other");
        assert_eq!(login("PLAIN", &other, true), Login::Refused);
        assert_eq!(login("EXTERNAL", &Bytes::new(), true), Login::Refused);
        assert_eq!(login("CRAM", &Bytes::new(), true), Login::Unknown);
        let cut = Bytes::from_static(b"\0guest");
        assert!(matches!(login("PLAIN", &cut, true), Login::Malformed(_)));
    }
}
