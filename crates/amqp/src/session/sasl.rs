//! Who the client says that it is: `guest` of this machine, or an account that the server knows.

use std::fmt;

use bytes::Bytes;

use super::Logins;
use crate::codec::Table;

/// What is offered, the best first.
pub(super) fn mechanisms(logins: Logins) -> &'static str {
    match logins {
        Logins::Guest => "PLAIN AMQPLAIN ANONYMOUS",
        Logins::Accounts { certificate: false } => "PLAIN AMQPLAIN",
        Logins::Accounts { certificate: true } => "EXTERNAL PLAIN AMQPLAIN",
    }
}

/// What a client shows of itself.
#[derive(Clone, Eq, PartialEq)]
pub enum Credentials {
    /// A name and its password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: String,
    },
    /// The certificate of its connection.
    Certificate,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => f.debug_tuple("Password").field(user).finish(),
            Self::Certificate => f.write_str("Certificate"),
        }
    }
}

const USER: &str = "guest";
const PASSWORD: &str = "guest";

/// What comes of a login.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Login {
    /// Let in, under this name.
    User(String),
    /// An account, which the server has to know.
    Asked(Credentials),
    /// Not let in.
    Refused,
    /// It is no answer of this mechanism.
    Malformed(String),
    /// There is no such mechanism.
    Unknown,
}

/// Looks at a login to an account.
pub(super) fn login_to_account(mechanism: &str, response: &Bytes, certificate: bool) -> Login {
    let named = match mechanism {
        "PLAIN" => plain(response),
        "AMQPLAIN" => amqplain(response),
        "EXTERNAL" if certificate => return Login::Asked(Credentials::Certificate),
        "EXTERNAL" | "ANONYMOUS" => return Login::Refused,
        _ => return Login::Unknown,
    };
    match named {
        Some((user, password)) => Login::Asked(Credentials::Password { user, password }),
        // It may hold a password.
        None => Login::Malformed(format!("the response is no answer of {mechanism}")),
    }
}

/// Looks at a login where there are no accounts.
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
    fn an_account_is_asked_for_by_password_or_certificate() {
        let plain = Bytes::from_static(b"\0app\0secret");
        let (user, password) = ("app".to_owned(), "secret".to_owned());
        let asked = Login::Asked(Credentials::Password { user, password });
        assert_eq!(login_to_account("PLAIN", &plain, false), asked);
        assert!(!format!("{asked:?}").contains("secret"));
        let nothing = Bytes::new();
        let by_certificate = Login::Asked(Credentials::Certificate);
        assert_eq!(login_to_account("EXTERNAL", &nothing, true), by_certificate);
        assert_eq!(login_to_account("EXTERNAL", &nothing, false), Login::Refused);
        assert_eq!(login_to_account("ANONYMOUS", &nothing, true), Login::Refused);
        assert_eq!(login_to_account("CRAM", &nothing, true), Login::Unknown);
        let cut = Bytes::from_static(b"\0secret");
        let Login::Malformed(said) = login_to_account("PLAIN", &cut, true) else { panic!() };
        assert!(!said.contains("secret"));
    }

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
