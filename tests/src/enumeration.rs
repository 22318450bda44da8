//! Crash enumeration: a server and its clients are recorded from outside, and every folder that a
//! crash could have left at any moment is opened. Unlike the rest of this library it knows how a
//! node is opened and read, since thousands of folders are too many for processes.

pub mod choices;
pub mod client;
pub mod enumerate;
pub mod files;
pub mod image;
pub mod judge;
pub mod node;
pub mod operation;
pub mod record;
pub mod strace;
pub mod walk;
