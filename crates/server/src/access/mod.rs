//! Who comes in, and what they may do: accounts as a snapshot of what the shard of `_system` has,
//! credentials, and what each command asks of who sends it. All faces share it; it knows no
//! protocol.

mod bootstrap;
mod change;
mod file;
mod gate;
mod needs;
mod pace;
mod password;
mod peers;
mod principal;
mod rates;
mod scram;
mod snapshot;
mod token;

pub use bootstrap::AccessConfig;
pub(crate) use file::is_reserved;
pub use gate::Access;
pub(crate) use gate::{Credentials, Peer, Shown, new_password, unauthenticated};
pub(crate) use needs::{
    ADMIN, CONSUME, ENQUEUE, FOLLOW, LOOK, Need, PROGRESS, PUBLISH, READ, WORK, Wanted, needs_of,
    of_pattern,
};
pub(crate) use pace::{LOOK_AGAIN, Pace};
pub(crate) use password::PASSWORD_BYTES;
pub(crate) use principal::{Ended, Principal};
pub(crate) use scram::ScramHash;
pub(crate) use token::{hash_of as token_hash_of, new_token};
