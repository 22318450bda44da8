//! A socket that gives up on a peer that takes nothing of what it is sent. TLS keeps back what it
//! was given, so a peer is met when that is flushed, or when the end is told, as well.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::running::pass;
use crate::tls::stream::Stream;

/// What is ready once the peer has taken nothing for too long.
type Patience = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A socket whose peer has to take something of what is written to it within a time.
pub(super) struct Patient {
    io: Stream,
    most: Duration,
    /// Runs while the peer takes nothing.
    patience: Option<Patience>,
}

impl Patient {
    pub(super) fn new(io: Stream, most: Duration) -> Self {
        Self { io, most, patience: None }
    }

    /// What came of a write, or that it has taken too long.
    fn judge<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.patience = None;
            return written;
        }
        let most = self.most;
        let patience = self.patience.get_or_insert_with(|| Box::pin(pass(most)));
        match patience.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.judge(written, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.judge(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.io).poll_shutdown(context);
        self.judge(ended, context)
    }
}
