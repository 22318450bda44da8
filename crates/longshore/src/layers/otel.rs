//! Spans of OpenTelemetry around each enqueue and each run, by its conventions for messaging. The
//! trace goes from the enqueue to the run with the job, as W3C Trace Context.

use std::task::{Context as TaskContext, Poll};

use futures_util::future::BoxFuture;
use opentelemetry::trace::{
    FutureExt, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
    TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue, global};
use tower::{Layer, Service};

use crate::{ClientError, EnqueueCall, Enqueued, JobCall, JobEnd, JobError};

/// Puts a span around each enqueue (`send QUEUE`, a producer) and each run (`process QUEUE`, a
/// consumer, the child of its enqueue), by the global tracer provider.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenTelemetry;

/// What [`OpenTelemetry`] makes of a service.
#[derive(Clone, Debug)]
pub struct Traced<I>(I);

impl<I> Layer<I> for OpenTelemetry {
    type Service = Traced<I>;

    fn layer(&self, inner: I) -> Traced<I> {
        Traced(inner)
    }
}

fn span(operation: &'static str, kind: SpanKind, queue: &str, job: &str) -> SpanBuilder {
    SpanBuilder::from_name(format!("{operation} {queue}")).with_kind(kind).with_attributes([
        KeyValue::new("messaging.system", "longshore"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", operation),
        KeyValue::new("messaging.destination.name", queue.to_owned()),
        KeyValue::new("longshore.job.kind", job.to_owned()),
    ])
}

fn start(builder: SpanBuilder, parent: &Context) -> Context {
    let span = global::tracer("longshore").build_with_context(builder, parent);
    parent.with_span(span)
}

impl<I> Service<EnqueueCall> for Traced<I>
where
    I: Service<EnqueueCall, Response = Enqueued, Error = ClientError>,
    I::Future: Send + 'static,
{
    type Response = Enqueued;
    type Error = ClientError;
    type Future = BoxFuture<'static, Result<Enqueued, ClientError>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), ClientError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut call: EnqueueCall) -> Self::Future {
        let builder = span("send", SpanKind::Producer, call.queue(), call.kind());
        let context = start(builder, &Context::current());
        let span = context.span();
        match call.ids().next() {
            Some(id) if call.len() == 1 => {
                span.set_attribute(KeyValue::new("messaging.message.id", id.to_owned()));
            }
            _ => {
                let count = i64::try_from(call.len()).unwrap_or(i64::MAX);
                span.set_attribute(KeyValue::new("messaging.batch.message_count", count));
            }
        }
        if let Some(traceparent) = traceparent(span.span_context()) {
            call.set_traceparent(&traceparent);
        }
        let enqueue = self.0.call(call).with_context(context.clone());
        Box::pin(async move {
            let answer = enqueue.await;
            let span = context.span();
            if let Err(error) = &answer {
                let kind = error.code().unwrap_or("unreachable").to_owned();
                span.set_attribute(KeyValue::new("error.type", kind));
                span.set_status(Status::error(error.to_string()));
            }
            span.end();
            answer
        })
    }
}

impl<I> Service<JobCall> for Traced<I>
where
    I: Service<JobCall, Response = JobEnd, Error = JobError>,
    I::Future: Send + 'static,
{
    type Response = JobEnd;
    type Error = JobError;
    type Future = BoxFuture<'static, Result<JobEnd, JobError>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), JobError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, call: JobCall) -> Self::Future {
        let delivery = call.delivery();
        let parent = match remote(&delivery.traceparent) {
            Some(remote) => Context::new().with_remote_span_context(remote),
            None => Context::current(),
        };
        let builder = span("process", SpanKind::Consumer, &delivery.queue, &delivery.kind);
        let context = start(builder, &parent);
        let span = context.span();
        span.set_attribute(KeyValue::new("messaging.message.id", delivery.id.clone()));
        span.set_attribute(KeyValue::new("longshore.job.attempt", i64::from(delivery.attempt)));
        if let Some(traceparent) = traceparent(span.span_context()) {
            // What follows upon this job belongs below it.
            call.run.set_traceparent(traceparent);
        }
        let run = self.0.call(call).with_context(context.clone());
        Box::pin(async move {
            let end = run.await;
            let span = context.span();
            match &end {
                Ok(end) => span.set_attribute(KeyValue::new("longshore.job.end", end.name())),
                Err(error) => {
                    span.set_attribute(KeyValue::new("error.type", error.kind().to_owned()));
                    span.set_status(Status::error(error.message().to_owned()));
                }
            }
            span.end();
            end
        })
    }
}

/// A span's place as W3C Trace Context writes it.
fn traceparent(span: &SpanContext) -> Option<String> {
    span.is_valid().then(|| {
        format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8())
    })
}

/// The place of a span elsewhere; none where the text is malformed.
fn remote(traceparent: &str) -> Option<SpanContext> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version.len() != 2 || trace.len() != 32 || span.len() != 16 || flags.len() != 2 {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let trace = TraceId::from_hex(trace).ok()?;
    let span = SpanId::from_hex(span).ok()?;
    let context = SpanContext::new(trace, span, flags, true, TraceState::default());
    context.is_valid().then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(&remote(text).unwrap()).as_deref(), Some(text));
        for text in ["", "00-0-0-0", "00-00000000000000000000000000000000-0000000000000000-01"] {
            assert!(remote(text).is_none(), "{text}");
        }
    }
}
