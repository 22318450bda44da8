//! Bytes to frames, methods and content headers of AMQP 0-9-1, and back. It knows no state of a
//! connection; tables and bodies stay bytes until somebody asks what is in them.

mod content;
mod frame;
mod method;
mod table;
mod wire;

pub use content::{ContentHeader, Properties};
pub use frame::{EMPTY_FRAME_BYTES, Frame, FrameError, FrameKind, PROTOCOL_HEADER};
pub use frame::{read_frame, write_body, write_header, write_heartbeat, write_method};
pub(crate) use frame::{write_body_head, write_end};
pub use method::Method;
pub use table::{Items, Table, Value};
pub use wire::{Malformed, Reader, Short};

/// The fields of each method, named as in the specification.
pub mod methods {
    pub use super::method::fields::*;
}
