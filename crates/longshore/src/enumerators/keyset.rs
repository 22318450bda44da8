//! Rows of a table page by page, each page behind the key of the row before: however many rows
//! come and go meanwhile, none is skipped or doubled, and no page costs more than the first.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use futures_core::Stream;
use futures_core::future::BoxFuture;
use futures_util::{TryStreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::error::BoxDynError;
use sqlx::{Arguments, ColumnIndex, Database, Decode, Encode, FromRow, Pool, Row, Type};

use crate::{Enumerator, JobError};

/// A database whose rows can be iterated over.
pub trait KeysetDatabase: Database {
    /// Reads a page.
    fn fetch(
        pool: Pool<Self>,
        sql: String,
        arguments: Self::Arguments<'static>,
    ) -> BoxFuture<'static, Result<Vec<Self::Row>, sqlx::Error>>;
}

macro_rules! keyset_database {
    ($feature:literal, $database:ty) => {
        #[cfg(feature = $feature)]
        impl KeysetDatabase for $database {
            fn fetch(
                pool: Pool<Self>,
                sql: String,
                arguments: Self::Arguments<'static>,
            ) -> BoxFuture<'static, Result<Vec<Self::Row>, sqlx::Error>> {
                Box::pin(async move { sqlx::query_with(&sql, arguments).fetch_all(&pool).await })
            }
        }
    };
}

keyset_database!("postgres", sqlx::Postgres);
keyset_database!("sqlite", sqlx::Sqlite);

/// One column of a key.
pub trait KeyPart<DB: Database>:
    Serialize + DeserializeOwned + Clone + Send + Sync + 'static
{
    /// Adds it to what a query is given.
    fn bind(&self, arguments: &mut DB::Arguments<'static>) -> Result<(), BoxDynError>;
    /// Reads it from a row.
    fn read(row: &DB::Row, column: &str) -> Result<Self, sqlx::Error>;
}

impl<DB, T> KeyPart<DB> for T
where
    DB: Database,
    T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static,
    T: Encode<'static, DB> + Type<DB> + for<'r> Decode<'r, DB>,
    for<'c> &'c str: ColumnIndex<DB::Row>,
{
    fn bind(&self, arguments: &mut DB::Arguments<'static>) -> Result<(), BoxDynError> {
        arguments.add(self.clone())
    }

    fn read(row: &DB::Row, column: &str) -> Result<Self, sqlx::Error> {
        row.try_get(column)
    }
}

/// A key, unique and not NULL: a value, or a tuple of two or three where only together they tell
/// rows apart. A `Uuid` is `uuid` in `PostgreSQL` and a BLOB of 16 bytes in `SQLite`; for those
/// that are kept as text there, take `String`.
pub trait Key<DB: Database>: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// How many columns it has.
    const COLUMNS: usize;
    /// Adds its columns to what a query is given.
    fn bind(&self, arguments: &mut DB::Arguments<'static>) -> Result<(), BoxDynError>;
    /// Reads it from a row.
    fn read(row: &DB::Row) -> Result<Self, sqlx::Error>;
}

/// The columns of the key in each row, under names that no table has.
const KEY_NAMES: [&str; 3] = ["longshore_key_0", "longshore_key_1", "longshore_key_2"];

macro_rules! single_key {
    ($($type:ty),*) => {$(
        impl<DB: Database> Key<DB> for $type
        where
            $type: KeyPart<DB>,
        {
            const COLUMNS: usize = 1;

            fn bind(&self, arguments: &mut DB::Arguments<'static>) -> Result<(), BoxDynError> {
                KeyPart::<DB>::bind(self, arguments)
            }

            fn read(row: &DB::Row) -> Result<Self, sqlx::Error> {
                <$type as KeyPart<DB>>::read(row, KEY_NAMES[0])
            }
        }
    )*};
}

single_key!(i16, i32, i64, String, uuid::Uuid);

macro_rules! compound_key {
    ($columns:literal: $($part:ident $index:tt),*) => {
        impl<DB: Database, $($part: KeyPart<DB>),*> Key<DB> for ($($part,)*) {
            const COLUMNS: usize = $columns;

            fn bind(&self, arguments: &mut DB::Arguments<'static>) -> Result<(), BoxDynError> {
                $(KeyPart::<DB>::bind(&self.$index, arguments)?;)*
                Ok(())
            }

            fn read(row: &DB::Row) -> Result<Self, sqlx::Error> {
                Ok(($(<$part as KeyPart<DB>>::read(row, KEY_NAMES[$index])?,)*))
            }
        }
    };
}

compound_key!(2: A 0, B 1);
compound_key!(3: A 0, B 1, C 2);

/// Rows, or why they cannot be read, with their keys.
type Page<T, K> = VecDeque<(Result<T, JobError>, K)>;

type Bind<DB> =
    Arc<dyn Fn(&mut <DB as Database>::Arguments<'static>) -> Result<(), BoxDynError> + Send + Sync>;

/// Rows of a table in the order of a key that is unique, never NULL and does not change, such as
/// the primary key. Rows with equal keys, or without one, would be passed over.
///
/// What is given as text is SQL of your own making; values of others go through
/// [`Keyset::bind`].
///
/// ```no_run
/// # use longshore::{Enumerator, JobError, sql::Keyset};
/// # async fn example(pool: sqlx::SqlitePool, cursor: Option<i64>) -> Result<(), JobError> {
/// let users: Enumerator<(i64, String), i64> = Keyset::new("users", ["id"])
///     .columns("id, email")
///     .filter("country = $1")
///     .bind("NZ".to_owned())
///     .rows(&pool, cursor)?;
/// # Ok(())
/// # }
/// ```
pub struct Keyset<DB: Database> {
    table: String,
    key: Vec<String>,
    columns: String,
    filter: Option<String>,
    binds: Vec<Bind<DB>>,
    page: u32,
    of: PhantomData<fn() -> DB>,
}

impl<DB: Database> Clone for Keyset<DB> {
    fn clone(&self) -> Self {
        Self {
            table: self.table.clone(),
            key: self.key.clone(),
            columns: self.columns.clone(),
            filter: self.filter.clone(),
            binds: self.binds.clone(),
            page: self.page,
            of: PhantomData,
        }
    }
}

impl<DB: Database> fmt::Debug for Keyset<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyset")
            .field("table", &self.table)
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl<DB: KeysetDatabase> Keyset<DB> {
    /// The rows of `table` (or a join) in the order of `key`: the names of one to three columns.
    pub fn new<K: Into<String>>(
        table: impl Into<String>,
        key: impl IntoIterator<Item = K>,
    ) -> Self {
        Self {
            table: table.into(),
            key: key.into_iter().map(Into::into).collect(),
            columns: "*".to_owned(),
            filter: None,
            binds: Vec::new(),
            page: 500,
            of: PhantomData,
        }
    }

    /// What is selected of each. Default: `*`.
    #[must_use]
    pub fn columns(mut self, columns: impl Into<String>) -> Self {
        self.columns = columns.into();
        self
    }

    /// A condition: SQL, with `$1` and so on for what is bound.
    #[must_use]
    pub fn filter(mut self, condition: impl Into<String>) -> Self {
        self.filter = Some(condition.into());
        self
    }

    /// A value for the condition.
    #[must_use]
    pub fn bind<T>(mut self, value: T) -> Self
    where
        T: Encode<'static, DB> + Type<DB> + Clone + Send + Sync + 'static,
    {
        self.binds.push(Arc::new(move |arguments| arguments.add(value.clone())));
        self
    }

    /// How many rows are read at a time. Default: 500.
    #[must_use]
    pub fn page(mut self, rows: u32) -> Self {
        self.page = rows.max(1);
        self
    }

    /// Row by row. The cursor is the key of the last row that is done. A row that is not what `T`
    /// reads is an item that fails; one whose key cannot be read ends the run.
    pub fn rows<T, K>(
        self,
        pool: &Pool<DB>,
        cursor: Option<K>,
    ) -> Result<Enumerator<T, K>, JobError>
    where
        T: for<'r> FromRow<'r, DB::Row> + Send + Unpin + 'static,
        K: Key<DB>,
    {
        let pages = self.pages(pool, cursor)?;
        let rows = pages.map_ok(|page: Page<T, K>| stream::iter(page.into_iter().map(Ok)));
        Ok(Enumerator::fallible(rows.try_flatten()))
    }

    /// A page of rows at a time, less where one of them is not what `T` reads. The cursor is the
    /// key of the last row of a batch that is done.
    pub fn batches<T, K>(
        self,
        pool: &Pool<DB>,
        cursor: Option<K>,
    ) -> Result<Enumerator<Vec<T>, K>, JobError>
    where
        T: for<'r> FromRow<'r, DB::Row> + Send + Unpin + 'static,
        K: Key<DB>,
    {
        let size = self.page as usize;
        Ok(self.rows(pool, cursor)?.batches(size))
    }

    /// Pages until one is not full.
    fn pages<T, K>(
        self,
        pool: &Pool<DB>,
        cursor: Option<K>,
    ) -> Result<impl Stream<Item = Result<Page<T, K>, JobError>> + Send + use<DB, T, K>, JobError>
    where
        T: for<'r> FromRow<'r, DB::Row> + Send + Unpin + 'static,
        K: Key<DB>,
    {
        if self.key.len() != K::COLUMNS {
            return Err(JobError::new(
                "keyset",
                format!(
                    "the key of {} has {} columns, the cursor's type {}",
                    self.table,
                    self.key.len(),
                    K::COLUMNS
                ),
            ));
        }
        let pool = pool.clone();
        Ok(stream::try_unfold(Some((self, cursor)), move |state| {
            let pool = pool.clone();
            async move {
                let Some((keyset, cursor)) = state else { return Ok(None) };
                let page = keyset.read_page::<T, K>(pool, cursor.as_ref()).await?;
                let is_full = page.len() >= keyset.page as usize;
                let last = page.back().map(|(_, key)| key.clone());
                let next = is_full.then_some((keyset, last));
                Ok(Some((page, next)))
            }
        }))
    }

    async fn read_page<T, K>(
        &self,
        pool: Pool<DB>,
        cursor: Option<&K>,
    ) -> Result<Page<T, K>, JobError>
    where
        T: for<'r> FromRow<'r, DB::Row> + Send + Unpin + 'static,
        K: Key<DB>,
    {
        let mut arguments = DB::Arguments::default();
        let unbound = |error: BoxDynError| JobError::new("keyset_bind", error);
        for bind in &self.binds {
            bind(&mut arguments).map_err(unbound)?;
        }
        if let Some(cursor) = cursor {
            cursor.bind(&mut arguments).map_err(unbound)?;
        }
        let sql = self.sql(cursor.is_some());
        let rows = DB::fetch(pool, sql, arguments).await?;
        let pairs = rows.iter().map(|row| {
            let key = K::read(row)?;
            let unread = |error: sqlx::Error| {
                JobError::new("row", format!("a row of {} cannot be read: {error}", self.table))
            };
            Ok((T::from_row(row).map_err(unread), key))
        });
        Ok(pairs.collect::<Result<_, sqlx::Error>>()?)
    }

    fn sql(&self, has_cursor: bool) -> String {
        let keys: Vec<_> = self.key.iter().map(|name| quoted(name)).collect();
        let named = keys.iter().zip(KEY_NAMES).map(|(key, name)| format!(", {key} AS {name}"));
        let mut conditions = Vec::new();
        if let Some(filter) = &self.filter {
            conditions.push(format!("({filter})"));
        }
        if has_cursor {
            let first = self.binds.len() + 1;
            let places: Vec<_> = (first..first + keys.len()).map(|at| format!("${at}")).collect();
            conditions.push(format!("({}) > ({})", keys.join(", "), places.join(", ")));
        }
        let condition = if conditions.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", conditions.join(" AND "))
        };
        format!(
            "SELECT {}{} FROM {}{condition} ORDER BY {} LIMIT {}",
            self.columns,
            named.collect::<String>(),
            self.table,
            keys.join(", "),
            self.page,
        )
    }
}

/// A name of a column, perhaps with its table's before it.
fn quoted(name: &str) -> String {
    let parts: Vec<_> =
        name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
    parts.join(".")
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;

    #[test]
    fn the_query_pages_by_the_whole_key() {
        let keyset: Keyset<sqlx::Sqlite> =
            Keyset::new("visits", ["day", "id"]).filter("kind = $1").bind(1_i64).page(10);
        assert_eq!(
            keyset.sql(true),
            "SELECT *, \"day\" AS longshore_key_0, \"id\" AS longshore_key_1 FROM visits \
             WHERE (kind = $1) AND (\"day\", \"id\") > ($2, $3) ORDER BY \"day\", \"id\" LIMIT 10"
        );
        assert!(!keyset.sql(false).contains('>'));
    }
}
