//! Layers around both sides.

use longshore::layers::{Logging, Metrics, OpenTelemetry, Tracing};
use longshore::testing::{Inline, Recorder};
use longshore::{Client, Context, Job, JobError, JobResult, Outcome, Perform};
use opentelemetry::trace::SpanKind;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use serde::{Deserialize, Serialize};

#[derive(Job, Serialize, Deserialize)]
#[job(queue = "steps")]
struct First {
    fails: bool,
}

#[derive(Job, Serialize, Deserialize)]
#[job(queue = "steps")]
struct Second;

impl Perform<()> for First {
    async fn perform(self, ctx: Context<()>) -> JobResult {
        if self.fails {
            return Err(JobError::new("broken", "no"));
        }
        ctx.follow_up(Second)?;
        Ok(Outcome::DONE)
    }
}

impl Perform<()> for Second {
    async fn perform(self, _: Context<()>) -> JobResult {
        Ok(Outcome::discard("not needed"))
    }
}

#[tokio::test]
async fn runs_and_enqueues_are_counted() {
    let (recorder, metrics) = (Recorder::new(), Metrics::new());
    let client = Client::builder("http://recorder")
        .layer(Logging)
        .layer(metrics.clone())
        .build_recording(&recorder);
    client.enqueue(First { fails: true }).await.unwrap();
    client.enqueue_all([First { fails: false }, First { fails: false }]).await.unwrap();
    let mut inline = Inline::new(())
        .recorder(&recorder)
        .register::<First>()
        .register::<Second>()
        .layer(metrics.clone())
        .layer(Tracing)
        .layer(Logging);
    inline.drain().await;
    let numbers = metrics.numbers();
    let first = numbers["first"];
    assert_eq!((first.enqueued, first.started, first.succeeded, first.failed), (3, 3, 2, 1));
    assert_eq!((numbers["second"].started, numbers["second"].other), (2, 2));
    let text = metrics.prometheus();
    let line = "longshore_worker_runs_total{kind=\"first\",outcome=\"failed\"} 1\n";
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn a_trace_goes_from_the_enqueue_through_the_run_to_what_follows() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    opentelemetry::global::set_tracer_provider(provider);
    let recorder = Recorder::new();
    let client = Client::builder("http://recorder").layer(OpenTelemetry).build_recording(&recorder);
    let job = client.enqueue(First { fails: false }).await.unwrap();
    let mut inline = Inline::new(())
        .recorder(&recorder)
        .register::<First>()
        .register::<Second>()
        .layer(OpenTelemetry);
    inline.drain().await;
    let spans = exporter.get_finished_spans().unwrap();
    let attribute = |span: &SpanData, key: &str| {
        let found = span.attributes.iter().find(|it| it.key.as_str() == key);
        found.map(|it| it.value.to_string()).unwrap_or_default()
    };
    let [send, first, second] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!((send.name.as_ref(), &send.span_kind), ("send steps", &SpanKind::Producer));
    assert_eq!((first.name.as_ref(), &first.span_kind), ("process steps", &SpanKind::Consumer));
    assert_eq!(first.parent_span_id, send.span_context.span_id());
    assert_eq!(second.parent_span_id, first.span_context.span_id());
    assert_eq!(second.span_context.trace_id(), send.span_context.trace_id());
    for (key, value) in [
        ("messaging.system", "longshore"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "steps"),
        ("messaging.message.id", job.id()),
    ] {
        assert_eq!(attribute(first, key), value);
    }
}
