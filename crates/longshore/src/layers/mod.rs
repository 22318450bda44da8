//! Tower layers for both sides: around each enqueue of a client, around each run of a worker.
//!
//! Your own are ordinary tower layers over [`EnqueueService`](crate::EnqueueService) and
//! [`JobService`](crate::JobService).

mod logging;
mod metrics;
#[cfg(feature = "opentelemetry")]
mod otel;
mod tracing;

pub use logging::{Logged, Logging};
pub use metrics::{Counted, Metrics, Numbers};
#[cfg(feature = "opentelemetry")]
pub use otel::{OpenTelemetry, Traced};
pub use tracing::{Spanned, Tracing};
