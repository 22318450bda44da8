//! Iterating over rows of `PostgreSQL` and `SQLite` (features `postgres`, `sqlite`).

pub use crate::enumerators::keyset::{Key, KeyPart, Keyset, KeysetDatabase};
