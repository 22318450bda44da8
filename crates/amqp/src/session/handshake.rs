//! From the first byte to the open connection.

use bytes::Bytes;

use super::sasl::{self, Login};
use super::{
    Ask, Capabilities, End, Identity, Logins, NAMESPACE_DEFAULT, Phase, Session, Unanswered,
    VHOST_DEFAULT,
};
use crate::codec::methods::{
    ConnectionClose, ConnectionOpen, ConnectionOpenOk, ConnectionStart, ConnectionStartOk,
    ConnectionTune, ConnectionTuneOk, ConnectionUpdateSecretOk,
};
use crate::codec::{Method, Short, Table, Value};
use crate::failure::{Code, Failure, of_rejection};

/// Bytes of a frame of a client that is not logged in: tokens can be long.
pub(super) const FRAME_BYTES_BEFORE_LOGIN: usize = 32 << 10;
/// The least that a client may agree on, which some always ask for.
const FRAME_BYTES_MIN: u32 = 4096;
/// The version of `RabbitMQ` whose ways these are: clients look at it.
const RABBITMQ_VERSION: &str = "4.2.0";

impl Session {
    /// Greets a client that has sent the protocol header.
    pub(super) fn start(&mut self) {
        let capability = |name| (name, Value::Bool(true));
        let capabilities = Table::of(
            [
                "publisher_confirms",
                "exchange_exchange_bindings",
                "basic.nack",
                "consumer_cancel_notify",
                "connection.blocked",
                "consumer_priorities",
                "authentication_failure_close",
                "per_consumer_qos",
                "direct_reply_to",
            ]
            .map(capability),
        );
        let message_bytes_max = self.settings.message_bytes_max;
        let message_bytes_max = i64::try_from(message_bytes_max).unwrap_or(i64::MAX);
        let server_properties = Table::of([
            ("capabilities", Value::Table(capabilities)),
            ("cluster_name", Value::text("longshore")),
            ("copyright", Value::text("The Longshore authors")),
            ("information", Value::text("Licensed under the Apache License 2.0.")),
            ("longshore_version", Value::text(self.settings.version)),
            // What is larger is refused: `longshore shovel` leaves it where it is.
            ("message_bytes_max", Value::I64(message_bytes_max)),
            ("platform", Value::text("Rust")),
            ("product", Value::text("Longshore")),
            ("version", Value::text(RABBITMQ_VERSION)),
        ]);
        let start = ConnectionStart {
            version_major: 0,
            version_minor: 9,
            server_properties,
            mechanisms: sasl::mechanisms(self.settings.logins).into(),
            locales: "en_US".into(),
        };
        self.out.method(0, &start.into());
        self.phase = Phase::Starting;
    }

    /// A method of channel 0 before the connection is open.
    pub(super) fn shake_hands(&mut self, method: Method) -> Result<(), Failure> {
        match (self.phase, method) {
            (Phase::Starting, Method::ConnectionStartOk(told)) => self.log_in(&told),
            (Phase::Tuning, Method::ConnectionTuneOk(told)) => self.tune(&told),
            (Phase::Opening, Method::ConnectionOpen(told)) => self.open(&told),
            (_, Method::ConnectionClose(_)) => {
                self.out.method(0, &crate::codec::methods::ConnectionCloseOk {}.into());
                self.phase = Phase::Closed(End::Answered);
                Ok(())
            }
            (phase, method) => {
                let phase = match phase {
                    Phase::Starting | Phase::LoggingIn => "starting",
                    Phase::Tuning => "tuning",
                    _ => "opening",
                };
                let text = format!("unexpected method in connection state {phase}");
                Err(Failure::new(Code::ChannelError, text).of(method.id()))
            }
        }
    }

    fn log_in(&mut self, told: &ConnectionStartOk) -> Result<(), Failure> {
        let can = match told.client_properties.get("capabilities") {
            Some(Value::Table(table)) => table,
            _ => Table::default(),
        };
        let can = |name| can.get(name) == Some(Value::Bool(true));
        self.capabilities = Capabilities {
            consumer_cancel_notify: can("consumer_cancel_notify"),
            connection_blocked: can("connection.blocked"),
            authentication_failure_close: can("authentication_failure_close"),
        };
        // A part of what was read would keep all of that in memory.
        let properties = Bytes::copy_from_slice(told.client_properties.as_bytes());
        self.client_properties = Table::checked(properties).unwrap_or_default();
        self.client_name = told
            .client_properties
            .get("connection_name")
            .and_then(|name| name.as_text().map(str::to_owned));
        let mechanism = told.mechanism.as_text().unwrap_or_default();
        let refused = |code, text: String| Err(Failure::new(code, text).of((10, 11)));
        mechanism.clone_into(&mut self.mechanism);
        let login = match self.settings.logins {
            Logins::Guest => sasl::login(mechanism, &told.response, self.settings.is_loopback),
            Logins::Accounts { certificate } => {
                sasl::login_to_account(mechanism, &told.response, certificate)
            }
        };
        match login {
            Login::User(user) => self.user = user,
            Login::Asked(credentials) => {
                self.asks.push_back(Ask::LogIn { credentials });
                self.phase = Phase::LoggingIn;
                return Ok(());
            }
            Login::Refused => {
                self.refuse_login();
                return Ok(());
            }
            Login::Malformed(text) => return refused(Code::SyntaxError, text),
            Login::Unknown => {
                let text = format!("unknown authentication mechanism '{mechanism}'");
                return refused(Code::CommandInvalid, text);
            }
        }
        self.tell_bounds();
        Ok(())
    }

    /// Whose the credentials of [`Ask::LogIn`] are; `None` where they are nobody's.
    pub fn logged_in(&mut self, identity: Option<Identity>) {
        self.secret_is_asked = false;
        match (self.phase, identity) {
            (Phase::LoggingIn, Some(Identity { user, rights })) => {
                (self.user, self.rights) = (user, rights);
                self.tell_bounds();
            }
            (Phase::LoggingIn, None) => self.refuse_login(),
            (Phase::Running, Some(Identity { user, rights })) if user == self.user => {
                self.rights = rights;
                self.publishes_to = Default::default();
                self.out.method(0, &ConnectionUpdateSecretOk {}.into());
            }
            (Phase::Running, _) => {
                let text = "New secret was refused by one of the backends";
                self.fail_connection(&Failure::new(Code::NotAllowed, text).of((10, 70)));
            }
            _ => {}
        }
    }

    /// The account is there no longer, or may do other things from now on.
    pub fn account_changed(&mut self) {
        let text = "the account was changed or removed";
        self.fail_connection(&Failure::new(Code::ConnectionForced, text));
    }

    fn tell_bounds(&mut self) {
        let tune = ConnectionTune {
            channel_max: self.settings.channel_max,
            frame_max: self.settings.frame_max,
            heartbeat: self.settings.heartbeat_s,
        };
        self.out.method(0, &tune.into());
        self.phase = Phase::Tuning;
    }

    /// Who can be told is told; others see the connection end.
    fn refuse_login(&mut self) {
        self.phase = Phase::Closed(End::Closed);
        if !self.capabilities.authentication_failure_close {
            return;
        }
        let mechanism = &self.mechanism;
        let text = format!(
            "Login was refused using authentication mechanism {mechanism}. For details see the \
             broker logfile."
        );
        let failure = Failure::new(Code::AccessRefused, text);
        let close = ConnectionClose {
            reply_code: failure.code as u16,
            reply_text: Short::cut(&failure.text()),
            class_id: 0,
            method_id: 0,
        };
        self.out.method(0, &close.into());
        self.phase = Phase::Closing;
    }

    fn tune(&mut self, told: &ConnectionTuneOk) -> Result<(), Failure> {
        let frame_max = u64::from(self.settings.frame_max);
        negotiated("frame_max", u64::from(FRAME_BYTES_MIN), frame_max, told.frame_max.into())?;
        let channel_max = u64::from(self.settings.channel_max);
        negotiated("channel_max", 1, channel_max, told.channel_max.into())?;
        self.frame_max = told.frame_max as usize;
        self.channel_max = told.channel_max;
        self.heartbeat_ms = u64::from(told.heartbeat) * 1000;
        self.phase = Phase::Opening;
        Ok(())
    }

    fn open(&mut self, told: &ConnectionOpen) -> Result<(), Failure> {
        let Some(vhost) = told.virtual_host.as_text() else {
            let text = format!("vhost {:?} not found", told.virtual_host);
            return Err(Failure::new(Code::NotAllowed, text).of((10, 40)));
        };
        vhost.clone_into(&mut self.vhost);
        let namespace = if vhost == VHOST_DEFAULT { NAMESPACE_DEFAULT } else { vhost };
        namespace.clone_into(&mut self.namespace);
        if self.rights.as_ref().is_some_and(|rights| !rights.may_open(namespace)) {
            let text = format!("access to vhost '{vhost}' refused for user '{}'", self.user);
            return Err(Failure::new(Code::NotAllowed, text).of((10, 40)));
        }
        self.asks.push_back(Ask::Open { namespace: namespace.to_owned() });
        self.phase = Phase::Looking;
        Ok(())
    }

    /// Whether there is the namespace of [`Ask::Open`].
    pub fn namespace_found(&mut self, found: Result<(), Unanswered>) {
        if self.phase != Phase::Looking {
            return;
        }
        let failure = match found {
            Ok(()) => {
                self.phase = Phase::Running;
                return self.out.method(0, &ConnectionOpenOk::default().into());
            }
            Err(Unanswered::Refused(rejection)) => of_rejection(&rejection, &self.vhost),
            Err(Unanswered::Blocked(why) | Unanswered::Unknown(why)) => {
                Failure::new(Code::InternalError, why)
            }
        };
        self.fail_connection(&failure.of((10, 40)));
    }
}

/// Checks what the client agrees to; 0 would be no limit.
fn negotiated(field: &str, min: u64, max: u64, value: u64) -> Result<(), Failure> {
    let (than, bound, allowed) = if value != 0 && value < min {
        ("lower", "minimum", min)
    } else if value == 0 || value > max {
        ("higher", "maximum", max)
    } else {
        return Ok(());
    };
    let none = if value == 0 { " (no limit)" } else { "" };
    let text = format!(
        "negotiated {field} = {value}{none} is {than} than the {bound} allowed value ({allowed})"
    );
    Err(Failure::new(Code::NotAllowed, text).of((10, 30)))
}
