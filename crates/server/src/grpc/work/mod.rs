//! The stream of one worker: from hello to its end. A session outlives its stream for a while.

mod hello;
mod intake;
mod session;
mod stream;
mod tell;

pub(super) use hello::read as read_hello;
pub(super) use stream::begin;
use stream::{End, Outgoing, protocol, unread};
