//! For the tests of your own application: see what it enqueues, run jobs, move the clock over
//! delays and retries, drive iterations, all without a server and without waiting; and a server in
//! the process of the test (feature `embedded`).

mod drive;
#[cfg(feature = "embedded")]
mod embedded;
mod inline;
mod recorder;
mod waiting;

pub use drive::{Drive, Step};
#[cfg(feature = "embedded")]
pub use embedded::EmbeddedServer;
pub use inline::{Attempt, Inline, Ran};
pub use recorder::Recorder;
