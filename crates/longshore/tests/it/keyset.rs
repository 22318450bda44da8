//! Rows of `SQLite` and `PostgreSQL` while other rows come and go.

use futures_util::future::BoxFuture;
use longshore::sql::{Keyset, KeysetDatabase};
use longshore::testing::{Drive, Step};
use longshore::{Context, Enumerator, Iteration, IterationSettings, Job, JobError, JobOptions};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::sqlite::SqlitePoolOptions;
use sqlx::{PgPool, Pool, Postgres as Pg, Sqlite, SqlitePool};
use std::sync::Mutex;
use std::time::Duration;
use uuid::Uuid;

use longshore_tests::postgres::Postgres;

/// What the tests need of a database beyond what is tested.
trait Sql: KeysetDatabase {
    fn execute(pool: &Pool<Self>, sql: String) -> BoxFuture<'_, ()>;
}

macro_rules! sql {
    ($database:ty) => {
        impl Sql for $database {
            fn execute(pool: &Pool<Self>, sql: String) -> BoxFuture<'_, ()> {
                Box::pin(async move {
                    sqlx::query(&sql).execute(pool).await.unwrap();
                })
            }
        }
    };
}

sql!(Sqlite);
sql!(Pg);

struct App<DB: KeysetDatabase> {
    pool: Pool<DB>,
    seen: Mutex<Vec<String>>,
}

#[derive(Job, Serialize, Deserialize)]
struct Single;

#[derive(Job, Serialize, Deserialize)]
struct Compound;

#[derive(Job, Serialize, Deserialize)]
struct Batches;

macro_rules! iterations {
    ($database:ty) => {
        impl Iteration<App<$database>> for Single {
            type Item = (i64, String);
            type Cursor = i64;

            async fn enumerate(
                &self,
                cursor: Option<i64>,
                ctx: &Context<App<$database>>,
            ) -> Result<Enumerator<(i64, String), i64>, JobError> {
                Keyset::new("things", ["id"])
                    .columns("id, name")
                    .filter("name <> $1")
                    .bind("hidden".to_owned())
                    .page(3)
                    .rows(&ctx.state().pool, cursor)
            }

            async fn each(
                &self,
                (id, name): &(i64, String),
                ctx: &Context<App<$database>>,
            ) -> Result<(), JobError> {
                ctx.state().seen.lock().unwrap().push(format!("{id}{name}"));
                Ok(())
            }
        }

        impl Iteration<App<$database>> for Compound {
            type Item = (String, i64);
            type Cursor = (String, i64);

            async fn enumerate(
                &self,
                cursor: Option<(String, i64)>,
                ctx: &Context<App<$database>>,
            ) -> Result<Enumerator<(String, i64), (String, i64)>, JobError> {
                Keyset::new("things", ["name", "id"])
                    .columns("name, id")
                    .page(2)
                    .rows(&ctx.state().pool, cursor)
            }

            async fn each(
                &self,
                (name, id): &(String, i64),
                ctx: &Context<App<$database>>,
            ) -> Result<(), JobError> {
                ctx.state().seen.lock().unwrap().push(format!("{name}{id}"));
                Ok(())
            }
        }

        impl Iteration<App<$database>> for Batches {
            type Item = Vec<(i64,)>;
            type Cursor = i64;

            async fn enumerate(
                &self,
                cursor: Option<i64>,
                ctx: &Context<App<$database>>,
            ) -> Result<Enumerator<Vec<(i64,)>, i64>, JobError> {
                Keyset::new("things", ["id"])
                    .columns("id")
                    .page(4)
                    .batches(&ctx.state().pool, cursor)
            }

            async fn each(
                &self,
                batch: &Vec<(i64,)>,
                ctx: &Context<App<$database>>,
            ) -> Result<(), JobError> {
                let ids: Vec<_> = batch.iter().map(|row| row.0.to_string()).collect();
                ctx.state().seen.lock().unwrap().push(ids.join("+"));
                Ok(())
            }
        }
    };
}

iterations!(Sqlite);
iterations!(Pg);

async fn fill<DB: Sql>(pool: &Pool<DB>) {
    let create = "CREATE TABLE things (id BIGINT PRIMARY KEY, name TEXT NOT NULL)";
    DB::execute(pool, create.to_owned()).await;
    for id in 1..=10_usize {
        let name = if id == 4 { "hidden" } else { ["a", "b"][id % 2] };
        DB::execute(pool, format!("INSERT INTO things VALUES ({id}0, '{name}')")).await;
    }
}

fn app<DB: KeysetDatabase>(pool: &Pool<DB>) -> App<DB> {
    App { pool: pool.clone(), seen: Mutex::default() }
}

fn seen<DB: KeysetDatabase>(drive: &Drive<App<DB>>) -> String {
    drive.state().seen.lock().unwrap().join(",")
}

async fn scenario<DB>(pool: Pool<DB>)
where
    DB: Sql,
    Single: Iteration<App<DB>>,
    Compound: Iteration<App<DB>>,
    Batches: Iteration<App<DB>>,
{
    fill(&pool).await;
    let mut drive = Drive::new(Single, app(&pool));
    assert_eq!(drive.items(4).await, Step::Interrupted("test".into()));
    assert_eq!(drive.cursor(), Some(&json!(50)));
    // What the cursor stands on goes, something comes before it and something behind it.
    DB::execute(&pool, "DELETE FROM things WHERE id IN (50, 80)".into()).await;
    DB::execute(&pool, "INSERT INTO things VALUES (45, 'a'), (55, 'c')".into()).await;
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(seen(&drive), "10b,20a,30b,50b,55c,60a,70b,90b,100a");

    let mut drive = Drive::new(Compound, app(&pool));
    assert_eq!(drive.items(3).await, Step::Interrupted("test".into()));
    assert_eq!(drive.cursor(), Some(&json!(["a", 60])));
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(seen(&drive), "a20,a45,a60,a100,b10,b30,b70,b90,c55,hidden40");

    let options = JobOptions::new().cursor(json!(20));
    let mut drive = Drive::with(Batches, app(&pool), options);
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(seen(&drive), "30+40+45+55,60+70+90+100");
    assert_eq!(drive.cursor(), Some(&json!(100)));
}

#[tokio::test]
async fn rows_of_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("test.db").display());
    scenario::<Sqlite>(SqlitePool::connect(&url).await.unwrap()).await;
}

#[tokio::test]
async fn rows_of_postgresql() {
    let Some(server) = Postgres::start() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    let pool: PgPool = server.pool(4).await;
    scenario::<Pg>(pool.clone()).await;
    pool.close().await;
}

#[derive(Job, Serialize, Deserialize)]
struct Accounts;

impl Iteration<App<Sqlite>> for Accounts {
    type Item = (i64,);
    type Cursor = Uuid;

    fn settings(&self) -> IterationSettings {
        IterationSettings::new().skip_after(0, Duration::ZERO)
    }

    async fn enumerate(
        &self,
        cursor: Option<Uuid>,
        ctx: &Context<App<Sqlite>>,
    ) -> Result<Enumerator<(i64,), Uuid>, JobError> {
        Keyset::new("accounts", ["id"]).columns("balance").page(2).rows(&ctx.state().pool, cursor)
    }

    async fn each(&self, (balance,): &(i64,), ctx: &Context<App<Sqlite>>) -> Result<(), JobError> {
        ctx.state().seen.lock().unwrap().push(balance.to_string());
        Ok(())
    }
}

#[tokio::test]
async fn a_row_that_cannot_be_read_is_skipped_and_its_page_is_not() {
    let pool = SqlitePoolOptions::new().max_connections(1);
    let pool = pool.connect("sqlite::memory:").await.unwrap();
    let create = "CREATE TABLE accounts (id BLOB PRIMARY KEY NOT NULL, balance)";
    Sqlite::execute(&pool, create.into()).await;
    for (id, balance) in [(1, "10"), (2, "'much'"), (3, "30"), (4, "40")] {
        let id = Uuid::from_u128(id).simple();
        let insert = format!("INSERT INTO accounts VALUES (x'{id}', {balance})");
        Sqlite::execute(&pool, insert).await;
    }
    let mut drive = Drive::new(Accounts, app(&pool));
    assert_eq!(drive.items(3).await, Step::Interrupted("test".into()));
    assert_eq!(drive.cursor(), Some(&json!(Uuid::from_u128(3).to_string())));
    assert_eq!(drive.to_the_end().await, Step::Done);
    assert_eq!(seen(&drive), "10,30,40");
    let told = drive.skipped()[0].message();
    assert!(told.starts_with("a row of accounts cannot be read"), "{told}");
}

#[tokio::test]
async fn a_key_of_another_shape_is_refused() {
    let pool = SqlitePool::connect("sqlite::memory:").await.unwrap();
    let wrong = Keyset::<Sqlite>::new("things", ["a", "b"]).rows::<(i64,), i64>(&pool, None);
    let error = wrong.unwrap_err();
    assert!(error.message().contains("the key of things has 2 columns"), "{error}");
}
