//! Reading a request's body: bounded in size, time and the memory of all bodies together.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use longshore_node::GaugeFull;
pub(crate) use longshore_node::{Gauge, Held};

use super::code::Code;
use super::json::THE_BODY;
use super::refusal::Refusal;
use crate::api::DurationText;
use crate::running::timeout;

/// What is reserved at most before it arrives.
const RESERVED_BYTES_MAX: u64 = 1 << 20;
/// What is read and dropped of a body that is too large, so that its sender hears why.
const DROPPED_BYTES_MAX: u64 = 64 << 20;

impl From<GaugeFull> for Refusal {
    fn from(full: GaugeFull) -> Self {
        let GaugeFull { bytes, bytes_max } = full;
        let detail =
            format!("bodies of {bytes} bytes are in flight, at most {bytes_max} bytes may be");
        Self::new(Code::MemoryLow, detail).retry_after_s(1).closing()
    }
}

/// Reads a whole body.
pub(crate) async fn read(
    mut incoming: Incoming,
    bytes_max: u64,
    time_max: Duration,
    gauge: &Arc<Gauge>,
) -> Result<(Bytes, Option<Held>), Refusal> {
    if incoming.is_end_stream() {
        return Ok((Bytes::new(), None));
    }
    let reading = timeout(time_max, collect(&mut incoming, bytes_max, gauge)).await;
    let refusal = match reading {
        Ok(Ok((body, held))) => return Ok((body, Some(held))),
        Ok(Err(refusal)) => refusal,
        Err(_) => {
            let limit = DurationText(time_max.as_millis() as u64);
            let detail = format!("the body did not arrive within {limit}");
            let refusal = Refusal::new(Code::BodyTimeout, detail).field(THE_BODY);
            return Err(refusal.allowed(format!("all of it within {limit}")).closing());
        }
    };
    if refusal.code() == Code::BodyTooLarge {
        // A peer that is still sending would take the end of the connection for a failure.
        let _ = timeout(time_max.min(Duration::from_secs(5)), skip(&mut incoming)).await;
    }
    Err(refusal)
}

async fn collect(
    incoming: &mut Incoming,
    bytes_max: u64,
    gauge: &Arc<Gauge>,
) -> Result<(Bytes, Held), Refusal> {
    let announced = incoming.size_hint().lower();
    if announced > bytes_max {
        return Err(too_large(format!("{announced} bytes"), bytes_max));
    }
    let mut held = Held::new(gauge);
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "a body ended too early");
            let detail = "the body ended before all of it had arrived, or its chunks are malformed";
            Refusal::new(Code::BodyTruncated, detail).field(THE_BODY).closing()
        })?;
        // Trailers mean nothing here.
        let Ok(data) = frame.into_data() else { continue };
        if held.bytes() + data.len() as u64 > bytes_max {
            return Err(too_large(format!("more than {bytes_max} bytes"), bytes_max));
        }
        held.add(data.len() as u64)?;
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            earlier => {
                if let Some(earlier) = earlier {
                    rest.reserve(announced.min(RESERVED_BYTES_MAX) as usize);
                    rest.extend_from_slice(&earlier);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok((first.unwrap_or_else(|| rest.freeze()), held))
}

fn too_large(value: String, bytes_max: u64) -> Refusal {
    let allowed = format!("at most {bytes_max} bytes");
    let detail = format!("the body has {value}; allowed: {allowed}");
    Refusal::new(Code::BodyTooLarge, detail).about(THE_BODY, value, allowed).closing()
}

async fn skip(incoming: &mut Incoming) {
    let mut skipped = 0;
    while let Some(Ok(frame)) = incoming.frame().await {
        skipped += frame.data_ref().map_or(0, Bytes::len) as u64;
        if skipped > DROPPED_BYTES_MAX {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_together_are_bounded_but_one_always_passes() {
        let gauge = Arc::new(Gauge::new(100));
        let mut first = Held::new(&gauge);
        assert!(first.add(90).is_ok() && first.add(90).is_ok());
        let mut second = Held::new(&gauge);
        assert_eq!(Refusal::from(second.add(1).unwrap_err()).code(), Code::MemoryLow);
        first.shrink_to(2);
        assert!(second.add(96).is_ok());
        drop(first);
        assert_eq!(gauge.bytes(), 97);
        drop(second);
        assert_eq!(gauge.bytes(), 0);
    }
}
