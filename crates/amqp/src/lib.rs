//! AMQP 0-9-1, as `RabbitMQ` speaks it: a codec, and a session that turns bytes into commands of
//! the engine and answers into bytes. It does no I/O, reads no clock, and holds nothing that must
//! survive; what messages mean is the engine's.

pub mod codec;
mod deliver;
mod failure;
mod output;
mod session;

pub use failure::{Code, Failure};
pub use output::Output;
pub use session::Unanswered;
pub use session::{Ask, Credentials, End, Identity, Logins, Right, Rights, Session, Settings};
pub use session::{ChannelView, ConsumerView, SessionView};
pub use session::{binding_with_arguments, exchange_kind, header_of, queue_settings};
