//! What a worker says to the log.

use std::io::Write;
use std::sync::{Arc, Mutex};

use longshore::layers::Logging;
use longshore::testing::{EmbeddedServer, Inline, Recorder};
use longshore::{Client, Context, Job, JobError, JobResult, Outcome, Perform, Worker};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use tracing::subscriber::DefaultGuard;

use crate::app::PATIENCE;
use crate::fake::Fake;

#[derive(Job, Serialize, Deserialize)]
#[job(queue = "mails")]
struct Mail;

#[derive(Job, Serialize, Deserialize)]
#[job(queue = "reports")]
struct Report;

impl Perform<()> for Mail {
    async fn perform(self, _: Context<()>) -> JobResult {
        Err(JobError::new("broken", "no"))
    }
}

impl Perform<()> for Report {
    async fn perform(self, _: Context<()>) -> JobResult {
        Ok(Outcome::DONE)
    }
}

/// What this thread logs while the guard lives.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin(level: tracing::Level) -> (Self, DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines_with(&self, text: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }

    async fn until(&self, text: &str, lines: usize) {
        let seen = async {
            while self.lines_with(text).len() < lines {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, seen).await.unwrap();
    }
}

/// Whoever did not know of the layer saw nothing of jobs that failed.
#[tokio::test]
async fn a_failing_job_is_logged_once() {
    let (log, _guard) = Log::begin(tracing::Level::WARN);
    for (with_layer, lines) in [(false, 1), (true, 2)] {
        let recorder = Recorder::new();
        let client = Client::builder("http://recorder").build_recording(&recorder);
        client.enqueue(Mail).await.unwrap();
        let inline = Inline::new(()).recorder(&recorder).register::<Mail>();
        let mut inline = if with_layer { inline.layer(Logging) } else { inline };
        inline.drain().await;
        let said = log.lines_with("a run has failed");
        assert_eq!(said.len(), lines, "{said:?}");
    }
    let said = log.lines_with("a run has failed").remove(0);
    for part in ["WARN", "kind=mail", "queue=mails", "error_kind=\"broken\"", "error=broken: no"] {
        assert!(said.contains(part), "no {part} in {said}");
    }
}

/// Its jobs waited for ever, and nothing said why.
#[tokio::test]
async fn a_kind_whose_queue_nobody_asks_for_is_said_at_start() {
    let server = EmbeddedServer::start().await.unwrap();
    let client = server.client();
    let (log, _guard) = Log::begin(tracing::Level::INFO);
    let worker = |queue: &'static str| {
        Worker::new(&client, ()).register::<Mail>().register::<Report>().queues([queue])
    };
    let (warning, connected) = ("asks for the queue of a registered kind", "connected; this");
    worker("mails").run_until(log.until(warning, 1)).await.unwrap();
    let said = log.lines_with(warning);
    assert!(
        said[0].contains("kind=\"report\"") && said[0].contains("queue=\"reports\""),
        "{said:?}"
    );
    // Two workers of one process that ask for both between them leave nothing out.
    let (mails, reports) = (worker("mails"), worker("reports"));
    let both = async || log.until(connected, 3).await;
    let (one, other) = tokio::join!(mails.run_until(both()), reports.run_until(both()));
    one.unwrap();
    other.unwrap();
    assert_eq!(log.lines_with(warning).len(), 1);
}

/// A worker that came back said nothing: its log ended with a warning that there is no stream.
#[tokio::test]
async fn a_reconnect_is_logged() {
    let (log, _guard) = Log::begin(tracing::Level::INFO);
    let mut fake = Fake::start().await;
    let url = fake.client().url().to_owned();
    let worker = Worker::new(&fake.client(), ()).register::<Mail>();
    let seen = log.clone();
    let script = async move {
        let stream = fake.welcome().await;
        seen.until("connected; this", 1).await;
        assert_eq!(seen.lines_with("connected again"), Vec::<String>::new());
        stream.break_off();
        let _stream = fake.welcome().await;
        seen.until("connected again", 1).await;
        assert_eq!(seen.lines_with("no stream to the server").len(), 1);
    };
    worker.run_until(script).await.unwrap();
    let said = log.lines_with("connected again");
    let words = format!("INFO longshore::worker::session: connected again to the server at {url}");
    assert!(said.len() == 1 && said[0].contains(&words), "{said:?}");
}

/// It was logged with all the digits of a floating-point number.
#[tokio::test]
async fn a_run_time_is_logged_to_the_microsecond() {
    let (log, _guard) = Log::begin(tracing::Level::INFO);
    let recorder = Recorder::new();
    let client = recorder.client();
    for _ in 0..10 {
        client.enqueue(Mail).await.unwrap();
        client.enqueue(Report).await.unwrap();
    }
    let inline = Inline::new(()).recorder(&recorder).register::<Mail>().register::<Report>();
    inline.layer(Logging).drain().await;
    for (end, runs) in [("a run has ended", 10), ("a run has failed", 10)] {
        let said = log.lines_with(end);
        assert_eq!(said.len(), runs, "{said:?}");
        for line in said {
            let (_, took) = line.split_once("took_ms=").expect(&line);
            let took = took.split(' ').next().unwrap();
            assert!(took.parse::<f64>().is_ok_and(|it| it >= 0.0), "{line}");
            let digits = took.split_once('.').map_or(0, |(_, digits)| digits.len());
            assert!(digits <= 3, "{line}");
        }
    }
}
