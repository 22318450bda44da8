//! What arrives of a request's messages: counted with the bodies over HTTP for as long as a message
//! is not whole, and bounded in time. It knows where messages begin and end, not what they say.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::refusal::status_of;
use crate::api::DurationText;
use crate::http::body::Held;
use crate::http::code::Code;
use crate::http::refusal::Refusal;
use crate::running::pass;

/// Before each message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// What has to arrive in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum InTime {
    /// The message of a call that has one, from the beginning of the call on.
    TheOnlyMessage,
    /// The rest of a message that has begun; what comes of it puts the end off.
    EachMessage,
}

type Passing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The body of a request, counted while a message of it is not whole and cut off where one takes
/// too long to arrive.
pub(super) struct Arriving<B> {
    inner: B,
    framing: Framing,
    held: Held,
    in_time: InTime,
    time_max: Duration,
    /// Runs out while something has to arrive.
    timeout: Option<Passing>,
}

impl<B> Arriving<B> {
    pub(super) fn new(inner: B, held: Held, in_time: InTime, time_max: Duration) -> Self {
        let timeout =
            (in_time == InTime::TheOnlyMessage).then(|| Box::pin(pass(time_max)) as Passing);
        Self { inner, framing: Framing::default(), held, in_time, time_max, timeout }
    }

    fn took(&mut self, data: &[u8]) -> Result<(), Refusal> {
        self.held.add(data.len() as u64)?;
        self.framing.take(data);
        if self.in_time == InTime::EachMessage {
            let goes_on = self.framing.begun > 0;
            self.timeout = goes_on.then(|| Box::pin(pass(self.time_max)) as Passing);
        }
        Ok(())
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let timeout = self.timeout.as_mut();
        timeout.is_some_and(|timeout| timeout.as_mut().poll(context).is_ready())
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

fn refused(refusal: &Refusal) -> Error {
    Box::new(status_of(refusal))
}

impl<B> Body for Arriving<B>
where
    B: Body<Data = Bytes, Error: Into<Error>> + Unpin,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        // Whoever reads asks for more once every whole message was taken out.
        this.held.shrink_to(this.framing.begun);
        match Pin::new(&mut this.inner).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                match this.took(data) {
                    Ok(()) => Poll::Ready(Some(Ok(frame))),
                    Err(refusal) => Poll::Ready(Some(Err(refused(&refusal)))),
                }
            }
            // Whoever reads takes an end behind a message's prefix for the end of all.
            Poll::Ready(None) if this.framing.begun > 0 => {
                this.framing = Framing::default();
                let detail = "the request ended before all of a message had arrived";
                Poll::Ready(Some(Err(refused(&Refusal::new(Code::BodyTruncated, detail)))))
            }
            Poll::Ready(end) => Poll::Ready(end.map(|frame| frame.map_err(Into::into))),
            Poll::Pending if this.is_late(context) => {
                let limit = DurationText(this.time_max.as_millis() as u64);
                let detail = format!("the message did not go on to arrive within {limit}");
                Poll::Ready(Some(Err(refused(&Refusal::new(Code::BodyTimeout, detail)))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Where in the sequence of messages a body is.
#[derive(Debug, Default)]
struct Framing {
    prefix: [u8; PREFIX_BYTES],
    /// Bytes of the message that has begun and is not whole, with its prefix.
    begun: u64,
}

impl Framing {
    fn take(&mut self, mut data: &[u8]) {
        while let Some(first) = data.first() {
            let at = usize::try_from(self.begun).unwrap_or(usize::MAX);
            if let Some(place) = self.prefix.get_mut(at) {
                *place = *first;
                data = data.get(1..).unwrap_or_default();
                self.begun += 1;
            } else {
                let more = (self.whole() - self.begun).min(data.len() as u64);
                data = data.get(more as usize..).unwrap_or_default();
                self.begun += more;
            }
            if self.begun >= PREFIX_BYTES as u64 && self.begun == self.whole() {
                self.begun = 0;
            }
        }
    }

    /// Bytes of the whole message and its prefix, once that is known.
    fn whole(&self) -> u64 {
        let [_, length @ ..] = self.prefix;
        PREFIX_BYTES as u64 + u64::from(u32::from_be_bytes(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(length: u32) -> Vec<u8> {
        let mut bytes = vec![0];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.resize(PREFIX_BYTES + length as usize, b'x');
        bytes
    }

    #[test]
    fn a_message_counts_until_it_is_whole_however_it_is_cut() {
        let all = [message(3), message(0), message(300)].concat();
        for size in [1, 2, 3, 4, 5, 6, 7, 13, 100, 318] {
            let mut framing = Framing::default();
            let mut most = 0;
            for part in all.chunks(size) {
                framing.take(part);
                most = most.max(framing.begun);
            }
            assert_eq!(framing.begun, 0, "in parts of {size}");
            assert!(most < 305 && (size > 100 || most > 200), "{most} in parts of {size}");
        }
        let mut framing = Framing::default();
        framing.take(&all[..20]);
        assert_eq!(framing.begun, 7, "the first two are whole");
    }
}
