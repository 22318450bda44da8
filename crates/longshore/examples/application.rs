//! A whole application: people sign up over HTTP and get a welcome mail, six jobs make trouble of
//! every sort, and a backfill goes through 50,000 rows whatever is killed meanwhile. Its two
//! processes share a database (a file of `SQLite`) and the job server. Run each in a terminal:
//!
//! ```sh
//! longshore dev
//! alias application='cargo run -p longshore --features axum,sqlite --example application --'
//! application setup app.db
//! application work app.db
//! application web app.db 127.0.0.1:8080
//! curl -i localhost:8080/signup -H 'content-type: application/json' -H 'prefer: wait=10' \
//!   -d '{"email": "ada@mail.example"}'
//! curl -i -X POST localhost:8080/troubles
//! curl -i -X POST localhost:8080/backfill      # and then: kill -9 what you like, start it again
//! ```

use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use longshore::sql::Keyset;
use longshore::web::{JobResponses, Wants};
use longshore::{
    Client, Context, Enumerator, Iteration, Job, JobError, JobResult, Outcome, Perform, Worker,
    layers,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use tokio::net::TcpListener;
use uuid::Uuid;

type Error = Box<dyn std::error::Error>;

// The database.

const USERS: i64 = 50_000;

const SCHEMA: &str = "
    CREATE TABLE users (
        id INTEGER PRIMARY KEY,
        email TEXT NOT NULL UNIQUE,
        -- The id of the job that sends the welcome mail: chosen with the user, see `sign_up`.
        mail_job TEXT,
        -- What the backfill fills in, and how often it came by.
        handle TEXT,
        visits INTEGER NOT NULL DEFAULT 0
    );
    -- Mails that went out. The job's id is the key: a job that runs twice sends one mail.
    CREATE TABLE mails (job TEXT PRIMARY KEY, email TEXT NOT NULL);
    CREATE TABLE charges (job TEXT NOT NULL, cents INTEGER NOT NULL);
    ";

async fn open(file: &str, create: bool) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(create)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal);
    SqlitePool::connect_with(options).await
}

/// What a real application does with migrations.
async fn set_up(db: &SqlitePool) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(SCHEMA).execute(db).await?;
    let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1) \
                INSERT INTO users (id, email) SELECT i, 'user' || i || '@mail.example' FROM n";
    sqlx::query(fill).bind(USERS).execute(db).await?;
    Ok(())
}

// Sign-up: a job of the queue `mails`, which is served before all others.

/// Sends a user's welcome mail. What it needs to know travels; all else is looked up when it runs.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "mails", priority = 9, max_attempts = 10, timeout = "30s", output = String)]
struct WelcomeMail {
    user: i64,
}

impl Perform<SqlitePool> for WelcomeMail {
    async fn perform(self, ctx: Context<SqlitePool>) -> JobResult<String> {
        let db = ctx.state();
        let email = sqlx::query_as::<_, (String,)>("SELECT email FROM users WHERE id = $1");
        let Some((email,)) = email.bind(self.user).fetch_optional(db).await? else {
            return Ok(Outcome::discard("the user is gone"));
        };
        // Stands for a mail service that takes an idempotency key.
        let send = sqlx::query("INSERT INTO mails VALUES ($1, $2) ON CONFLICT DO NOTHING");
        send.bind(ctx.id()).bind(&email).execute(db).await?;
        Ok(Outcome::done(format!("a mail is on its way to {email}")))
    }
}

// Six jobs that make trouble, all of the queue `chores` unless they say otherwise.

/// Fails twice, then works: 200 ms lie between two attempts.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "chores", retry(constant = "200ms"), output = u32)]
struct FailsTwice;

impl Perform<SqlitePool> for FailsTwice {
    async fn perform(self, ctx: Context<SqlitePool>) -> JobResult<u32> {
        match ctx.attempt() {
            1 | 2 => Err(JobError::new("flaky", "the other side was not there")),
            attempt => Ok(Outcome::done(attempt)),
        }
    }
}

/// Takes too long: after a second its attempt has failed, and it has no other.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "chores", timeout = "1s", max_attempts = 1)]
struct TimesOut;

impl Perform<SqlitePool> for TimesOut {
    async fn perform(self, _: Context<SqlitePool>) -> JobResult {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Ok(Outcome::DONE)
    }
}

/// A panic fails the attempt; the worker goes on.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "chores", max_attempts = 1)]
struct Panics;

impl Perform<SqlitePool> for Panics {
    async fn perform(self, _: Context<SqlitePool>) -> JobResult {
        panic!("nobody thought of this")
    }
}

/// Asks to be called later until the time has come. That uses no attempt.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "chores", max_attempts = 1)]
struct Snoozes;

impl Perform<SqlitePool> for Snoozes {
    async fn perform(self, ctx: Context<SqlitePool>) -> JobResult {
        if ctx.delivery().enqueued_at.elapsed()? < Duration::from_secs(1) {
            return Ok(Outcome::snooze(Duration::from_millis(300)));
        }
        Ok(Outcome::DONE)
    }
}

/// Is of no use later than a second after it was enqueued. No worker asks for its queue, so it is
/// not started in time and expires.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "nobody", ttl = "1s")]
struct Expires;

/// Must not be done twice, and the bank knows no idempotency keys. Where it fails, or its worker is
/// killed in the middle, it is dead with the reason `at_most_once`, and a human looks at it.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "chores", priority = 5, at_most_once)]
struct Charge {
    cents: i64,
}

impl Perform<SqlitePool> for Charge {
    async fn perform(self, ctx: Context<SqlitePool>) -> JobResult {
        let charge = sqlx::query("INSERT INTO charges VALUES ($1, $2)");
        charge.bind(ctx.id()).bind(self.cents).execute(ctx.state()).await?;
        Err(JobError::new("bank", "it did not answer, so nobody knows whether it was done"))
    }
}

// A long job: it is cut into batches, and its cursor is kept by the server. Whatever ends its
// worker, the next one goes on where it was.

/// Fills in the handle of every user.
#[derive(Job, Serialize, Deserialize)]
#[job(queue = "chores", output = i64)]
struct FillInHandles;

impl Iteration<SqlitePool> for FillInHandles {
    type Item = Vec<(i64, String)>;
    type Cursor = i64;

    async fn enumerate(
        &self,
        cursor: Option<i64>,
        ctx: &Context<SqlitePool>,
    ) -> Result<Enumerator<Self::Item, i64>, JobError> {
        Keyset::new("users", ["id"]).columns("id, email").page(100).batches(ctx.state(), cursor)
    }

    async fn each(&self, users: &Self::Item, ctx: &Context<SqlitePool>) -> Result<(), JobError> {
        let mut transaction = ctx.state().begin().await?;
        for (id, email) in users {
            let handle = email.split('@').next().unwrap_or_default();
            // A batch that runs again, because its worker was killed before the server knew that it
            // was done, sets the same handles.
            let fill = "UPDATE users SET handle = $1, visits = visits + 1 WHERE id = $2";
            sqlx::query(fill).bind(handle).bind(id).execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        // Counted with the batch's cursor, so that a batch that runs again is counted once.
        ctx.count("rows", i64::try_from(users.len())?);
        if let Some((last, _)) = users.last() {
            ctx.progress(*last as f64 / USERS as f64, format!("user {last}"));
        }
        Ok(())
    }

    /// How many users are without a handle now.
    async fn on_complete(&self, ctx: &Context<SqlitePool>) -> JobResult<i64> {
        let left = sqlx::query_as::<_, (i64,)>("SELECT count(*) FROM users WHERE handle IS NULL");
        Ok(Outcome::done(left.fetch_one(ctx.state()).await?.0))
    }
}

// The process that works. SIGTERM ends it in order: the backfill is interrupted, the rest has 25 s.

async fn work(db: SqlitePool) -> Result<(), Error> {
    let stopped = Worker::new(&Client::from_env()?, db)
        .register::<WelcomeMail>()
        .register::<FailsTwice>()
        .register::<TimesOut>()
        .register::<Panics>()
        .register::<Snoozes>()
        .register::<Charge>()
        .register_iteration::<FillInHandles>()
        // Chores are taken only while no mail waits; in each queue the highest priority is first.
        .queues(["mails", "chores"])
        .layer(layers::Logging)
        .run()
        .await?;
    tracing::info!("it has ended: {stopped:?}");
    Ok(())
}

// The process that answers requests.

#[derive(Clone)]
struct Web {
    db: SqlitePool,
    jobs: JobResponses,
}

#[derive(Deserialize)]
struct SignUp {
    email: String,
}

/// What is not foreseen: `500`, and the log says why.
struct Failure(Error);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        tracing::error!("a request failed: {}", self.0);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// The id of the mail's job is kept with the user. Where the job server is away, the answer is a
/// `503`; when the request comes again, it finds the user and hands over the same job. Nobody gets
/// two mails, and nobody gets none.
async fn sign_up(
    State(web): State<Web>,
    wants: Wants,
    Json(form): Json<SignUp>,
) -> Result<Response, Failure> {
    let insert = "INSERT INTO users (email, mail_job) VALUES ($1, $2) \
                  ON CONFLICT (email) DO UPDATE SET mail_job = coalesce(mail_job, $2) \
                  RETURNING id, mail_job";
    let insert = sqlx::query_as::<_, (i64, String)>(insert);
    let insert = insert.bind(form.email).bind(Uuid::now_v7().to_string());
    let (user, job) = insert.fetch_one(&web.db).await?;
    let mail = web.jobs.client().enqueue(WelcomeMail { user }).id(job.parse()?);
    // `202` and the address of the status, or the outcome where the request says `Prefer: wait`.
    Ok(web.jobs.answer(&wants, mail).await)
}

/// Makes all the trouble and answers with the six statuses.
async fn make_trouble(State(web): State<Web>) -> Result<Json<Value>, Failure> {
    let client = web.jobs.client();
    let status = |id: &str| web.jobs.status_url(id);
    Ok(Json(json!({
        "fails_twice": status(client.enqueue(FailsTwice).await?.id()),
        "times_out": status(client.enqueue(TimesOut).await?.id()),
        "panics": status(client.enqueue(Panics).await?.id()),
        "snoozes": status(client.enqueue(Snoozes).await?.id()),
        "expires": status(client.enqueue(Expires).await?.id()),
        "charge": status(client.enqueue(Charge { cents: 995 }).await?.id()),
    })))
}

async fn backfill(State(web): State<Web>, wants: Wants) -> Response {
    web.jobs.answer(&wants, web.jobs.client().enqueue(FillInHandles)).await
}

#[expect(clippy::print_stdout, reason = "it says where it is")]
async fn serve(db: SqlitePool, address: &str) -> Result<(), Error> {
    // Statuses tell errors here, since those who look are those who wrote the jobs.
    let jobs = JobResponses::new(&Client::from_env()?, "/jobs").show_errors();
    let routes = Router::new()
        .route("/signup", post(sign_up))
        .route("/troubles", post(make_trouble))
        .route("/backfill", post(backfill))
        .with_state(Web { db, jobs: jobs.clone() })
        .merge(jobs.router());
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    Ok(axum::serve(listener, routes).await?)
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["setup", file] => Ok(set_up(&open(file, true).await?).await?),
        ["work", file] => work(open(file, false).await?).await,
        ["web", file, address] => serve(open(file, false).await?, address).await,
        _ => Err("say: setup FILE, work FILE, or web FILE ADDRESS".into()),
    }
}
