//! Spans of the crate `tracing` around each enqueue and each run, with the fields that
//! OpenTelemetry's conventions for messaging name.

use std::task::{Context as TaskContext, Poll};

use tower::{Layer, Service};
use tracing::instrument::{Instrument, Instrumented};

use crate::{EnqueueCall, JobCall};

/// Puts a span around each enqueue (`send QUEUE`) and each run (`process QUEUE`).
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

/// What [`Tracing`] makes of a service.
#[derive(Clone, Debug)]
pub struct Spanned<I>(I);

impl<I> Layer<I> for Tracing {
    type Service = Spanned<I>;

    fn layer(&self, inner: I) -> Spanned<I> {
        Spanned(inner)
    }
}

impl<I: Service<JobCall>> Service<JobCall> for Spanned<I> {
    type Response = I::Response;
    type Error = I::Error;
    type Future = Instrumented<I::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), I::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, call: JobCall) -> Self::Future {
        let delivery = call.delivery();
        let span = tracing::info_span!(
            "process",
            messaging.system = "longshore",
            messaging.operation.name = "process",
            messaging.operation.type = "process",
            messaging.destination.name = %delivery.queue,
            messaging.message.id = %delivery.id,
            longshore.kind = %delivery.kind,
            longshore.attempt = delivery.attempt,
            traceparent = %delivery.traceparent,
        );
        self.0.call(call).instrument(span)
    }
}

impl<I: Service<EnqueueCall>> Service<EnqueueCall> for Spanned<I> {
    type Response = I::Response;
    type Error = I::Error;
    type Future = Instrumented<I::Future>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), I::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, call: EnqueueCall) -> Self::Future {
        let span = tracing::info_span!(
            "send",
            messaging.system = "longshore",
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            messaging.destination.name = %call.queue(),
            messaging.batch.message_count = call.len(),
            longshore.kind = %call.kind(),
        );
        self.0.call(call).instrument(span)
    }
}
