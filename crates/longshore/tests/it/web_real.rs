//! A web application in front of the real server and a worker, asked over real HTTP.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use longshore::testing::EmbeddedServer;
use longshore::web::{JobResponses, Wants};
use longshore::{Client, Context, Job, JobError, JobResult, Jobs, Outcome, Perform, Worker};
use longshore_tests::http::Answer;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

type Gate = Arc<Semaphore>;

/// Makes something that has an address.
#[derive(Job, Serialize, Deserialize, Default)]
#[job(output = u64)]
struct Make;

/// Computes something that has none.
#[derive(Job, Serialize, Deserialize, Default)]
#[job(output = u64)]
struct Compute;

/// Waits for the test.
#[derive(Job, Serialize, Deserialize, Default)]
#[job(output = u64)]
struct Wait;

#[derive(Job, Serialize, Deserialize, Default)]
#[job(max_attempts = 1)]
struct Break;

impl Perform<Gate> for Make {
    async fn perform(self, _: Context<Gate>) -> JobResult<u64> {
        Ok(Outcome::made(7, "/orders/7"))
    }
}

impl Perform<Gate> for Compute {
    async fn perform(self, _: Context<Gate>) -> JobResult<u64> {
        Ok(Outcome::done(7))
    }
}

impl Perform<Gate> for Wait {
    async fn perform(self, ctx: Context<Gate>) -> JobResult<u64> {
        ctx.progress(0.5, "half");
        ctx.state().acquire().await?.forget();
        Ok(Outcome::made(8, "/orders/8"))
    }
}

impl Perform<Gate> for Break {
    async fn perform(self, _: Context<Gate>) -> JobResult {
        Err(JobError::new("secret", "the password is wrong"))
    }
}

async fn place<J: Job + Default>(State(jobs): State<JobResponses>, wants: Wants) -> Response {
    jobs.answer(&wants, jobs.client().enqueue(J::default())).await
}

struct App {
    server: EmbeddedServer,
    client: Client,
    address: String,
    gate: Gate,
}

impl App {
    async fn start() -> Self {
        let server = EmbeddedServer::start().await.unwrap();
        let client = Client::builder(server.url()).deadline(Duration::from_secs(5));
        let client = client.build().unwrap();
        let jobs = JobResponses::new(&client, "/jobs");
        let app = Router::new()
            .route("/make", post(place::<Make>))
            .route("/compute", post(place::<Compute>))
            .route("/wait", post(place::<Wait>))
            .route("/break", post(place::<Break>))
            .with_state(jobs.clone())
            .merge(jobs.router());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        Self { server, client, address, gate: Arc::new(Semaphore::new(0)) }
    }

    fn work(&self) {
        let worker = Worker::new(&self.client, Arc::clone(&self.gate))
            .register::<Make>()
            .register::<Compute>()
            .register::<Wait>()
            .register::<Break>();
        tokio::spawn(worker.run_until(std::future::pending()));
    }

    async fn ask(&self, line: &str, headers: &str) -> Answer {
        let mut client = longshore_tests::http::Client::new(&self.address);
        let (line, headers) = (line.to_owned(), headers.to_owned());
        let ask = move || {
            let (method, path) = line.split_once(' ').unwrap();
            let more: Vec<_> = headers.split(" | ").filter_map(|it| it.split_once(": ")).collect();
            client.ask_with(method, path, &more, None).unwrap()
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    async fn jobs(&self) -> usize {
        self.client.list(&Jobs::all(), "").await.unwrap().0.len()
    }
}

#[tokio::test]
async fn each_wish_gets_its_answer() {
    let app = App::start().await;
    app.work();
    // What is asked, what is wished, the status, where to, what of Prefer was done. `S` is the
    // status resource.
    for (path, wish, status, location, applied) in [
        ("/make", "", 202, "S", ""),
        ("/make", "Prefer: respond-async", 202, "S", "respond-async"),
        ("/make", "Prefer: wait=20", 200, "S", "wait=20"),
        ("/make", "Prefer: wait=900", 200, "S", "wait=30"),
        ("/make", "Prefer: respond-async, wait=20", 200, "S", "wait=20"),
        ("/make", "Prefer: respond-async | Prefer: wait=\"20\"", 200, "S", "wait=20"),
        ("/make", "Prefer: wait=soon", 202, "S", ""),
        ("/make", "Expect: 100-continue", 202, "S", ""),
        ("/make", "Expect: 202-accepted", 202, "S", ""),
        ("/make", "Expect: 202-accepted | Prefer: wait=20", 202, "S", ""),
        ("/make", "Expect: 200-ok", 200, "", ""),
        ("/make", "Expect: 201-created", 201, "/orders/7", ""),
        ("/make", "Expect: 201-created | Prefer: respond-async", 201, "/orders/7", ""),
        ("/make", "Expect: 204-no-content", 204, "", ""),
        ("/compute", "Prefer: wait=20", 200, "S", "wait=20"),
        ("/compute", "Expect: 200-ok", 200, "", ""),
        // Done, and nothing was made that has an address.
        ("/compute", "Expect: 201-created", 303, "S", ""),
        ("/break", "Prefer: wait=20", 200, "S", "wait=20"),
        ("/break", "Expect: 204-no-content", 500, "", ""),
        // Not done in time.
        ("/wait", "Prefer: wait=0", 202, "S", ""),
        ("/wait", "Prefer: wait=1", 202, "S", "wait=1"),
        ("/wait", "Prefer: wait=1 | Expect: 200-ok", 202, "S", "wait=1"),
        ("/wait", "Prefer: wait=1 | Expect: 201-created", 202, "S", "wait=1"),
        ("/wait", "Prefer: wait=1 | Expect: 204-no-content", 202, "S", "wait=1"),
    ] {
        let answer = app.ask(&format!("POST {path}"), wish).await;
        let told = (answer.status, answer.field("preference-applied"));
        assert_eq!(told, (status, applied), "{path} {wish}: {}", answer.head);
        match location {
            "S" => assert!(answer.field("location").starts_with("/jobs/"), "{}", answer.head),
            _ => assert_eq!(answer.field("location"), location, "{path} {wish}"),
        }
        match status {
            202 => assert_eq!(answer.body["status"], answer.field("location")),
            200 if wish.starts_with("Expect") => assert_eq!(answer.body, 7),
            200 if path == "/break" => assert_eq!(answer.body["state"], "dead"),
            200 => assert_eq!(answer.body["result"], 7),
            500 => assert!(answer.body["job"].as_str().unwrap().starts_with("/jobs/")),
            _ => {}
        }
        assert!(!format!("{answer:?}").contains("password"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_wish_that_cannot_be_met_leaves_nothing_behind() {
    let app = App::start().await;
    for wish in [
        "Expect: 206-partial-content",
        "Expect: 200-ok, 202-accepted",
        "Expect: 200-ok | Expect: 202-accepted",
        "Expect: 200-ok | Prefer: wait=0",
    ] {
        let answer = app.ask("POST /make", wish).await;
        assert_eq!((answer.status, app.jobs().await), (417, 0), "{wish}: {}", answer.head);
    }
}

#[tokio::test]
async fn a_status_leads_to_what_was_made() {
    let app = App::start().await;
    let status = app.ask("POST /wait", "").await.field("location").to_owned();
    let get = format!("GET {status}");
    let ready = app.ask(&get, "").await;
    assert_eq!((ready.status, &ready.body["state"]), (200, &json!("ready")));
    app.work();
    let running = async {
        loop {
            let answer = app.ask(&get, "").await;
            if answer.body["progress"] == 0.5 {
                return answer;
            }
        }
    };
    let running = tokio::time::timeout(Duration::from_secs(60), running).await.unwrap();
    assert_eq!((running.status, running.field("retry-after")), (200, "1"));
    assert_eq!(running.field("cache-control"), "no-store");
    assert_eq!(running.body["progress_text"], "half");
    let (waited, ()) = tokio::join!(app.ask(&get, "Prefer: wait=30"), async {
        app.gate.add_permits(1);
    });
    assert_eq!((waited.status, waited.field("location")), (303, "/orders/8"));
    let later = app.ask(&get, "").await;
    assert_eq!((later.status, later.field("location")), (303, "/orders/8"));
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let app = App::start().await;
    for id in ["01983f2e-7a10-7cc0-8000-000000000001", "seven", "%2e%2e"] {
        let answer = app.ask(&format!("GET /jobs/{id}"), "").await;
        assert_eq!((answer.status, &answer.body["code"]), (404, &json!("job_unknown")), "{id}");
    }
}

#[tokio::test]
async fn without_a_job_server_nothing_is_promised() {
    let App { server, client, address, gate } = App::start().await;
    server.stop().await.unwrap();
    let server = EmbeddedServer::start().await.unwrap();
    let app = App { server, client, address, gate };
    let answer = app.ask("POST /make", "").await;
    assert_eq!((answer.status, answer.field("retry-after")), (503, "1"), "{}", answer.head);
}
