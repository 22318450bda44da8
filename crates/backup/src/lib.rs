//! Second copies of a store: where they lie, what lies there, how they are sent while the server
//! works, and how a folder is made of them again. It knows nothing of commands, configuration or
//! faces, and nothing of what an entry of the journal means.
//!
//! Where to begin: [`Place`] is where copies go, [`Catalogue`] says what a whole one consists of,
//! [`Service`] makes them, [`restore`] takes them back.

mod base;
mod catalogue;
mod error;
mod https;
mod journal;
mod names;
mod piece;
mod place;
mod restore;
mod retention;
mod service;
mod status;

pub use catalogue::{Catalogue, FileEntry, ShardBase};
pub use error::{BackupError, PlaceError, RestoreError};
pub use longshore_engine::TimeMs;
pub use place::Place;
pub use restore::{Found, Plan, Restored, RestoredShard, find, restore};
pub use service::{Made, Service, Shipping, Wanted};
pub use status::{BaseProgress, BaseTold, ShardLag, Status, Told};
