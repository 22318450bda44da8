//! The usual collections: constructors of [`Enumerator`](crate::Enumerator).

mod files;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) mod keyset;
mod lines;
mod ranges;

pub use lines::Line;
