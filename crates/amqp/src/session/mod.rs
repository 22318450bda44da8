//! One connection, without its socket: bytes come in, commands for the engine go out; answers and
//! messages come in, bytes go out. Time is told. It holds what its peer was told and has not
//! answered, and no message that is nobody's.
//!
//! Within a channel things happen in the order in which they came: what is published goes to the
//! engine many at a time, settlements beside that, and every other method waits until what was
//! published before it is answered.

mod answers;
mod asking;
mod channel;
mod closing;
mod consuming;
mod content;
mod declaring;
mod handshake;
mod methods;
mod names;
mod overdue;
mod publishing;
mod receiving;
mod rights;
mod sasl;
mod settings;
mod settling;
mod sharing;
mod state;
mod transacting;
mod view;

pub use declaring::{binding_with_arguments, exchange_kind};
pub use publishing::header_of;
pub use rights::{Identity, Right, Rights};
pub use sasl::Credentials;
pub use settings::queue_settings;
pub use state::{Ask, End, Logins, Session, Settings, Unanswered};
use state::{Capabilities, NAMESPACE_DEFAULT, Phase, VHOST_DEFAULT};
pub use view::{ChannelView, ConsumerView, SessionView};
