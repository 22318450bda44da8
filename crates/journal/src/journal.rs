//! The journal trait. Its calls block and are made by one thread, the shard's commit thread. It
//! must suit a log that lies elsewhere: nothing here assumes a file or a quick append.

use bytes::Bytes;
use longshore_engine::Position;

use crate::{AppendError, Group, ReadError, TruncateError};

/// What [`Journal::read_from`] returns: entries in order of their positions. After an error it
/// ends.
pub type EntryIterator = Box<dyn Iterator<Item = Result<(Position, Bytes), ReadError>> + Send>;

/// The durable, totally ordered sequence of the entries of one shard.
pub trait Journal: Send {
    /// Appends a group at the position after [`Journal::tail`] and returns the new tail once the
    /// whole group is durable. An empty group is durable at once.
    ///
    /// After [`AppendError::NoSpace`] nothing was written, and the same group may be tried again;
    /// after [`AppendError::Failed`] nobody knows what is on the disk, and the process must end.
    fn append(&mut self, group: &Group) -> Result<Position, AppendError>;

    /// Position of the last durable entry.
    fn tail(&self) -> Position;

    /// Records that everything up to the tail is durable, so that damage there is told from a torn
    /// write. To be called after a moment of quiet and at a clean stop; does nothing where it is
    /// recorded already.
    fn mark(&mut self) -> Result<(), AppendError>;

    /// The entries from `from` (`Position::START` means the first) up to what is the tail now. It
    /// may be the position after the tail, which gives no entries. What is returned does not borrow
    /// the journal and stays readable through [`Journal::truncate_before`].
    fn read_from(&self, from: Position) -> Result<EntryIterator, ReadError>;

    /// Gives back the space of entries before `position`, as far as it comes in whole pieces; some
    /// of them may stay readable. The tail stays, even where every entry goes.
    fn truncate_before(&mut self, position: Position) -> Result<(), TruncateError>;
}
