//! What goes wrong, in `RabbitMQ`'s codes and words: users' code compares both.

use longshore_engine::Rejection;

/// A reply code.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Code {
    /// The peer may not do this.
    AccessRefused = 403,
    /// Something that does not exist.
    NotFound = 404,
    /// Something that is another's.
    ResourceLocked = 405,
    /// Something that is otherwise than the peer thinks.
    PreconditionFailed = 406,
    /// A message that no queue takes.
    NoRoute = 312,
    /// An operator or a stop ends the connection.
    ConnectionForced = 320,
    /// Bytes that are no frame.
    FrameError = 501,
    /// A frame that is no method or header.
    SyntaxError = 502,
    /// A method that does not exist, or not here.
    CommandInvalid = 503,
    /// A channel that is not open, or is already.
    ChannelError = 504,
    /// A frame that does not belong where it stands.
    UnexpectedFrame = 505,
    /// There is no room.
    ResourceError = 506,
    /// The peer may not do this, and the connection ends.
    NotAllowed = 530,
    /// Something that is not there in this server.
    NotImplemented = 540,
    /// The server's own fault.
    InternalError = 541,
}

impl Code {
    /// Its name, as texts begin with it.
    pub fn name(self) -> &'static str {
        match self {
            Self::AccessRefused => "ACCESS_REFUSED",
            Self::NotFound => "NOT_FOUND",
            Self::ResourceLocked => "RESOURCE_LOCKED",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::NoRoute => "NO_ROUTE",
            Self::ConnectionForced => "CONNECTION_FORCED",
            Self::FrameError => "FRAME_ERROR",
            Self::SyntaxError => "SYNTAX_ERROR",
            Self::CommandInvalid => "COMMAND_INVALID",
            Self::ChannelError => "CHANNEL_ERROR",
            Self::UnexpectedFrame => "UNEXPECTED_FRAME",
            Self::ResourceError => "RESOURCE_ERROR",
            Self::NotAllowed => "NOT_ALLOWED",
            Self::NotImplemented => "NOT_IMPLEMENTED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// Whether it ends the connection, and not its channel alone.
    pub fn is_hard(self) -> bool {
        !matches!(
            self,
            Self::AccessRefused
                | Self::NotFound
                | Self::ResourceLocked
                | Self::PreconditionFailed
                | Self::NoRoute
        )
    }
}

/// Why a channel or a connection ends.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// Its code.
    pub code: Code,
    /// What is said of it after the code's name.
    pub explanation: String,
    /// Class and number of the method that failed; 0 where it was none.
    pub method: (u16, u16),
}

impl Failure {
    /// A failure that no method in particular is to blame for.
    pub fn new(code: Code, explanation: impl Into<String>) -> Self {
        Self { code, explanation: explanation.into(), method: (0, 0) }
    }

    /// The same, of that method.
    #[must_use]
    pub fn of(self, method: (u16, u16)) -> Self {
        Self { method, ..self }
    }

    /// What the peer reads.
    pub fn text(&self) -> String {
        format!("{} - {}", self.code.name(), self.explanation)
    }
}

/// How `RabbitMQ` names a queue.
pub(crate) fn queue_in(vhost: &str, queue: &str) -> String {
    format!("queue '{queue}' in vhost '{vhost}'")
}

/// How `RabbitMQ` names an exchange.
pub(crate) fn exchange_in(vhost: &str, exchange: &str) -> String {
    format!("exchange '{exchange}' in vhost '{vhost}'")
}

/// A refusal of the engine in `RabbitMQ`'s words. `vhost` is what the client called it.
#[expect(clippy::too_many_lines, reason = "the one match of all rejections")]
pub(crate) fn of_rejection(rejection: &Rejection, vhost: &str) -> Failure {
    use Code::{
        AccessRefused, InternalError, NotAllowed, NotFound, PreconditionFailed, ResourceLocked,
    };
    let (code, text) = match rejection {
        Rejection::NamespaceUnknown { .. } => (NotAllowed, format!("vhost {vhost} not found")),
        Rejection::QueueUnknown { queue } => (NotFound, format!("no {}", queue_in(vhost, queue))),
        Rejection::ExchangeUnknown { exchange } => {
            (NotFound, format!("no {}", exchange_in(vhost, exchange)))
        }
        Rejection::QueueExclusive { queue } => (ResourceLocked, locked(&queue_in(vhost, queue))),
        Rejection::ConsumerExclusive { queue } => {
            (AccessRefused, format!("{} in exclusive use", queue_in(vhost, queue)))
        }
        Rejection::QueueInUse { queue, .. } => {
            (PreconditionFailed, format!("{} in use", queue_in(vhost, queue)))
        }
        Rejection::QueueNotEmpty { queue, .. } => {
            (PreconditionFailed, format!("{} not empty", queue_in(vhost, queue)))
        }
        Rejection::ExchangeInUse { exchange, .. } => {
            (PreconditionFailed, format!("{} in use", exchange_in(vhost, exchange)))
        }
        Rejection::ExchangeInternal { exchange } => {
            (AccessRefused, format!("cannot publish to internal {}", exchange_in(vhost, exchange)))
        }
        Rejection::NameReserved { name } => {
            let text = format!("exchange name '{name}' contains reserved prefix 'amq.*'");
            (AccessRefused, text)
        }
        // Whose a queue is comes before what it is.
        Rejection::DeclaredOtherwise { what: "queue", name, field: "exclusive", .. } => {
            (ResourceLocked, locked(&queue_in(vhost, name)))
        }
        Rejection::DeclaredOtherwise { what, name, field, given, current } => {
            let of = if *what == "queue" { queue_in } else { exchange_in };
            (PreconditionFailed, inequivalent(&of(vhost, name), field, given, current))
        }
        Rejection::TooManyConsumers { .. } => (NotAllowed, rejection.to_string()),
        Rejection::QueueTypeRefused { .. }
        | Rejection::MessageUnknown { .. }
        | Rejection::TooManyBindings { .. }
        | Rejection::TooManyExchanges { .. }
        | Rejection::TooManyQueues { .. }
        | Rejection::QueueFull { .. }
        | Rejection::EntryTooLarge { .. }
        | Rejection::ValueRefused { .. } => (PreconditionFailed, rejection.to_string()),
        Rejection::Stopping => (Code::ConnectionForced, STOPPING.to_owned()),
        Rejection::ConsumerTaken { .. }
        | Rejection::NamespaceNotEmpty { .. }
        | Rejection::TooManyNamespaces { .. }
        | Rejection::TooManyKinds { .. }
        | Rejection::TooManyVersions { .. }
        | Rejection::JobsRefused { .. }
        | Rejection::JobIdTaken { .. }
        | Rejection::JobUnknown { .. }
        | Rejection::JobStateRefused { .. }
        | Rejection::LeaseLost { .. }
        | Rejection::AskPassed { .. }
        | Rejection::RequestSuperseded { .. }
        | Rejection::TooManyWaiting { .. }
        | Rejection::TooManySessions { .. }
        | Rejection::OperationUnknown { .. }
        | Rejection::TooManyOperations { .. }
        | Rejection::UniqueTaken { .. }
        | Rejection::NamespaceHasSchedules { .. }
        | Rejection::NamespaceHasStreams { .. }
        | Rejection::GroupInUse { .. }
        | Rejection::StreamUnknown { .. }
        | Rejection::StreamExists { .. }
        | Rejection::TooManyPartitions { .. }
        | Rejection::ScheduleUnknown { .. }
        | Rejection::TooManySchedules { .. }
        | Rejection::ScheduleStateRefused { .. }
        | Rejection::LimitUnknown { .. }
        | Rejection::AccountUnknown { .. }
        | Rejection::TokenUnknown { .. }
        | Rejection::TooManyAccounts { .. }
        | Rejection::KeyUsedOtherwise
        | Rejection::TooManyKeys { .. }
        | Rejection::SlaUnknown { .. }
        | Rejection::TooManySlas { .. }
        | Rejection::GateUnknown { .. }
        | Rejection::HoldUnknown { .. }
        | Rejection::TooManyHolds { .. }
        | Rejection::TooManyGates { .. }
        | Rejection::TooManyGateSets { .. }
        | Rejection::LimitChanging { .. }
        | Rejection::TooManyLimits { .. } => (InternalError, rejection.to_string()),
    };
    Failure::new(code, text)
}

fn locked(queue: &str) -> String {
    format!(
        "cannot obtain exclusive access to locked {queue}. It could be originally declared on \
         another connection or the exclusive property value does not match that of the original \
         declaration."
    )
}

fn inequivalent(named: &str, field: &'static str, given: &str, current: &str) -> String {
    let argument = argument_of(field);
    let (given, current) = (shown(argument, given), shown(argument, current));
    format!("inequivalent arg '{argument}' for {named}: received {given} but current is {current}")
}

/// What is said when the server stops.
pub(crate) const STOPPING: &str = "broker forced connection closure with reason 'shutdown'";

/// What clients call a setting of a queue or an exchange.
fn argument_of(field: &'static str) -> &'static str {
    match field {
        "ttl_ms" => "x-message-ttl",
        "expires_ms" => "x-expires",
        "max_length" => "x-max-length",
        "max_bytes" => "x-max-length-bytes",
        "overflow" => "x-overflow",
        "dead_letter_exchange" => "x-dead-letter-exchange",
        "dead_letter_routing_key" => "x-dead-letter-routing-key",
        "max_priority" => "x-max-priority",
        "delivery_limit" => "x-delivery-limit",
        "single_active_consumer" => "x-single-active-consumer",
        "ordering_header" => "x-ordering-header",
        "stream" => "x-stream",
        "alternate" => "alternate-exchange",
        "kind" => "type",
        other => other,
    }
}

/// A setting's value as `RabbitMQ` writes it: arguments with their type, the others without.
fn shown(argument: &str, value: &str) -> String {
    let value = value.strip_prefix("Some(").and_then(|it| it.strip_suffix(')')).unwrap_or(value);
    let value = value.trim_matches('"');
    if value == "None" || value == "none" {
        return "none".into();
    }
    if !argument.starts_with("x-") && argument != "alternate-exchange" {
        return format!("'{value}'");
    }
    let kind = match value.parse::<i64>() {
        Ok(_) => "signedint",
        Err(_) if value == "true" || value == "false" => "bool",
        Err(_) => "longstr",
    };
    format!("the value '{value}' of type '{kind}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_read_as_rabbitmqs_do() {
        let differs = |field, given: &str, current: &str| Rejection::DeclaredOtherwise {
            what: "queue",
            name: "q".into(),
            field,
            given: given.into(),
            current: current.into(),
        };
        for (rejection, text) in [
            (
                Rejection::QueueUnknown { queue: "q".into() },
                "NOT_FOUND - no queue 'q' in vhost '/'",
            ),
            (
                differs("durable", "false", "true"),
                "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': \
                 received 'false' but current is 'true'",
            ),
            (
                differs("ttl_ms", "None", "Some(1000)"),
                "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost \
                 '/': received none but current is the value '1000' of type 'signedint'",
            ),
            (
                differs("exclusive", "false", "true"),
                "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. \
                 It could be originally declared on another connection or the exclusive property \
                 value does not match that of the original declaration.",
            ),
            (
                Rejection::ExchangeInternal { exchange: "x".into() },
                "ACCESS_REFUSED - cannot publish to internal exchange 'x' in vhost '/'",
            ),
        ] {
            assert_eq!(of_rejection(&rejection, "/").text(), text);
        }
    }
}
