//! The bytes of a connection, plain or over TLS, and what is known of who is there.

use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{BufMut, BytesMut};
use longshore_engine::TimeMs;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf, ReadHalf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::certificate::Certificate;
use crate::access::Shown;

/// What is read at once where it is not known whether there is anything: no connection keeps room
/// for what does not come.
const LOOK_BYTES: usize = 4 << 10;

/// Who is at the other end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Peer {
    /// Where from.
    pub(crate) address: SocketAddr,
    /// Whether nobody in between can read along.
    pub(crate) is_tls: bool,
    /// The certificate that it has shown, which one of the authorities for clients has signed.
    pub(crate) certificate: Option<Certificate>,
}

impl Peer {
    /// What decides who it is.
    pub(crate) fn of_access(&self) -> crate::access::Peer {
        let certificate = self.certificate.as_ref().map(|Certificate { subject, ends, .. }| {
            let ends = ends.map(|at| TimeMs(at.as_millisecond().try_into().unwrap_or_default()));
            Shown { subject: subject.as_str().into(), ends }
        });
        crate::access::Peer { address: Some(self.address.ip()), certificate, is_tls: self.is_tls }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Stream {
    bytes: Bytes,
    peer: Arc<Peer>,
    /// What was wrong after what a read has given, for the next one.
    broken: Option<io::Error>,
}

#[derive(Debug)]
enum Bytes {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub(super) fn plain(stream: TcpStream, address: SocketAddr) -> Self {
        let peer = Arc::new(Peer { address, is_tls: false, certificate: None });
        Self { bytes: Bytes::Plain(stream), peer, broken: None }
    }

    pub(super) fn tls(
        stream: TlsStream<TcpStream>,
        address: SocketAddr,
        certificate: Option<Certificate>,
    ) -> Self {
        let peer = Arc::new(Peer { address, is_tls: true, certificate });
        Self { bytes: Bytes::Tls(Box::new(stream)), peer, broken: None }
    }

    /// Who is at the other end.
    pub(crate) fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The address at this end.
    pub(crate) fn own_address(&self) -> io::Result<SocketAddr> {
        match &self.bytes {
            Bytes::Plain(stream) => stream.local_addr(),
            Bytes::Tls(stream) => stream.get_ref().0.local_addr(),
        }
    }

    /// Fails where the peer has closed its end, though there may be something to read before that.
    pub(crate) fn check_peer(&self, context: &mut Context<'_>) -> io::Result<()> {
        let socket = match &self.bytes {
            Bytes::Plain(stream) => stream,
            Bytes::Tls(stream) => stream.get_ref().0,
        };
        match pin!(socket.ready(Interest::READABLE)).poll(context) {
            Poll::Ready(Ok(ready)) if ready.is_read_closed() => {
                Err(io::ErrorKind::ConnectionAborted.into())
            }
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(_)) | Poll::Pending => Ok(()),
        }
    }

    /// Reads what has arrived into `bytes`, which gets `room` only once something is there; 0 where
    /// the peer sends no more.
    pub(crate) fn poll_read_into(
        &mut self,
        context: &mut Context<'_>,
        bytes: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        match &mut self.bytes {
            Bytes::Plain(stream) => loop {
                ready!(stream.poll_read_ready(context))?;
                bytes.reserve(room);
                match stream.try_read_buf(bytes) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    read => return Poll::Ready(read),
                }
            },
            Bytes::Tls(stream) => {
                let mut look = [MaybeUninit::uninit(); LOOK_BYTES];
                let mut look = ReadBuf::uninit(&mut look);
                let mut stream = Pin::new(&mut **stream);
                ready!(stream.as_mut().poll_read(context, &mut look))?;
                let mut count = look.filled().len();
                bytes.extend_from_slice(look.filled());
                while count < room && count.is_multiple_of(LOOK_BYTES) && count > 0 {
                    bytes.reserve(room - count);
                    let mut place = (&mut *bytes).limit((room - count).min(LOOK_BYTES));
                    match pin!(stream.read_buf(&mut place)).poll(context) {
                        Poll::Ready(Ok(more)) if more > 0 => count += more,
                        // TLS does not tell it again, and the peer may wait for an answer.
                        Poll::Ready(Err(error)) => {
                            self.broken = Some(error);
                            break;
                        }
                        _ => break,
                    }
                }
                Poll::Ready(Ok(count))
            }
        }
    }
}

/// Fails where the peer has closed its end, whatever it has sent before that is not read yet.
/// [`AsyncRead`] is all that is left of a stream in its halves, so this is a read into no room.
pub(crate) async fn check_peer(reader: &mut ReadHalf<Stream>) -> io::Result<()> {
    let _: usize = reader.read(&mut []).await?;
    Ok(())
}

/// Reading into no room is [`check_peer`].
impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(self.check_peer(context));
        }
        match &mut self.bytes {
            Bytes::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Bytes::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.bytes {
            Bytes::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Bytes::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.bytes {
            Bytes::Plain(stream) => Pin::new(stream).poll_flush(context),
            Bytes::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.bytes {
            Bytes::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Bytes::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.bytes {
            Bytes::Plain(stream) => stream.is_write_vectored(),
            Bytes::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.bytes {
            Bytes::Plain(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Bytes::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(context, parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpStream as Client;
    use std::time::Duration;

    use tokio::io::split;
    use tokio::net::TcpListener;

    use super::*;
    use crate::running::timeout;

    #[tokio::test]
    async fn it_is_told_that_the_peer_has_gone_while_what_it_sent_waits() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = Client::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, address) = listener.accept().await.unwrap();
        let (mut reader, _writer) = split(Stream::plain(stream, address));
        let mut first = [0; 1];
        client.write_all(b"a request").unwrap();
        reader.read_exact(&mut first).await.unwrap();
        check_peer(&mut reader).await.expect("it is there, and what it sent is no end");
        drop(client);
        let gone = async {
            while check_peer(&mut reader).await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(60), gone).await.expect("it has gone");
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.unwrap();
        assert_eq!((&first[..], &rest[..]), (&b"a"[..], &b" request"[..]));
    }
}
