//! Long jobs: a collection to go through, which can start from a cursor, and the work for one
//! item. The rest (where it is, interruptions, items that fail) is kept here.

mod again;
mod enumerator;
mod iterate;
mod pass;
mod settings;

pub use again::ItemToRun;
pub use enumerator::Enumerator;
pub use iterate::Iteration;
pub use settings::{Checkpoints, IterationSettings, OnItemError};

pub(crate) use again::metadata_of;
pub(crate) use pass::run;
