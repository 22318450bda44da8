//! Where connections of one face come in: their handshake, bounded in time and in number, and what
//! is said to who speaks plain text where TLS is spoken, or the other way round.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::certificate::Certificate;
use super::files::{Inside, Tls};
use super::stream::Stream;
use crate::http::code::Code;
use crate::http::refusal::Refusal;
use crate::http::reply::closing_answer;
use crate::running::timeout;
use crate::sparse::Sparse;

/// How long a handshake may take, with the wait for its first byte. Nothing but the number of
/// connections bounds how many shake hands: a turn that is held while the peer is waited for would
/// be for silent peers to keep.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// What a record of TLS that begins a handshake begins with (RFC 8446 5.1).
const HANDSHAKE: u8 = 0x16;
/// Peers that are told at the same time that they are at the wrong door; others are not.
const TELLING_MAX: usize = 32;
static TELLING: Semaphore = Semaphore::const_new(TELLING_MAX);
/// How long, and for how many bytes, such a peer may go on sending, or the answer were lost.
const TELLING_TIME_MAX: Duration = Duration::from_secs(1);
const TELLING_BYTES_MAX: usize = 1 << 20;

/// What is spoken behind a door.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Spoken {
    /// HTTP/1.1, and gRPC over HTTP/2.
    Http,
    /// HTTP/1.1 alone.
    Management,
    Amqp,
    Kafka,
}

impl Spoken {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTP",
            Self::Management => "management",
            Self::Amqp => "AMQP",
            Self::Kafka => "Kafka",
        }
    }

    fn inside(self) -> Inside {
        match self {
            Self::Http => Inside::Http,
            Self::Management => Inside::Http1,
            Self::Amqp | Self::Kafka => Inside::Silent,
        }
    }

    /// What is said to who speaks plain text where TLS is spoken, or the other way round: nothing
    /// where a client would take it for something else.
    fn refusal(self, speaks_tls: bool) -> Option<Vec<u8>> {
        let (code, detail) = match self {
            Self::Http | Self::Management if speaks_tls => {
                (Code::TlsUnexpected, "this port speaks plain text: use http://")
            }
            Self::Http | Self::Management => {
                (Code::TlsExpected, "this port speaks TLS: use https://")
            }
            // What RabbitMQ and the specification (4.2.2) say to whatever is not AMQP 0-9-1.
            Self::Amqp => return Some(b"AMQP\0\0\x09\x01".to_vec()),
            Self::Kafka => return None,
        };
        Some(closing_answer(&Refusal::new(code, detail)))
    }
}

/// A door.
#[derive(Debug)]
pub(crate) struct Door {
    spoken: Spoken,
    tls: Option<Arc<Tls>>,
    strangers: Sparse,
}

impl Door {
    pub(crate) fn new(spoken: Spoken, tls: Option<Arc<Tls>>) -> Self {
        Self { spoken, tls, strangers: Sparse::default() }
    }

    pub(crate) fn spoken(&self) -> Spoken {
        self.spoken
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Lets a connection in once it has said something. `None` where it says the wrong thing, or
    /// does not say anything within `patience`, or in time where it is to shake hands.
    pub(crate) async fn open(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        patience: Duration,
    ) -> Option<Stream> {
        // A lost socket option costs speed, not sense.
        let _ = stream.set_nodelay(true);
        let patience = if self.is_tls() { HANDSHAKE_TIME_MAX.min(patience) } else { patience };
        let begun = Instant::now();
        let mut first = [0];
        let begins = timeout(patience, stream.peek(&mut first)).await;
        if !matches!(begins, Ok(Ok(1))) {
            return None;
        }
        let speaks_tls = first == [HANDSHAKE];
        let Some(tls) = self.tls.as_ref().filter(|_| speaks_tls) else {
            if speaks_tls != self.is_tls() {
                self.refuse(stream, address, speaks_tls).await;
                return None;
            }
            return Some(Stream::plain(stream, address));
        };
        let accepting = TlsAcceptor::from(tls.config(self.spoken.inside())).accept(stream);
        let left = HANDSHAKE_TIME_MAX.saturating_sub(begun.elapsed());
        let why = match timeout(left, accepting.into_fallible()).await {
            Ok(Ok(stream)) => match Self::shown(stream, address) {
                Ok(stream) => return Some(stream),
                Err(error) => error.to_string(),
            },
            Ok(Err((error, stream))) => {
                self.failed(tls, address, &error.to_string());
                tell(stream, &[]).await;
                return None;
            }
            Err(_) => "it took longer than 10 s".to_owned(),
        };
        self.failed(tls, address, &why);
        None
    }

    /// The connection, and what the peer has shown.
    fn shown(stream: TlsStream<TcpStream>, address: SocketAddr) -> io::Result<Stream> {
        let certificate = match stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
            None => None,
            Some(shown) => Some(Certificate::read(shown).ok_or_else(|| {
                io::Error::other("the subject of the client's certificate cannot be read")
            })?),
        };
        Ok(Stream::tls(stream, address, certificate))
    }

    fn failed(&self, tls: &Tls, address: SocketAddr, why: &str) {
        let face = self.spoken.name();
        tracing::debug!(%address, face, why, "no handshake");
        if let Some(times) = tls.failures.happens() {
            tracing::warn!(%address, face, why, times, "a handshake of TLS failed; told once in 10 s");
        }
    }

    async fn refuse(&self, stream: TcpStream, address: SocketAddr, speaks_tls: bool) {
        let face = self.spoken.name();
        if let Some(times) = self.strangers.happens() {
            let (speaks, spoken) =
                if speaks_tls { ("TLS", "plain text") } else { ("plain text", "TLS") };
            tracing::warn!(%address, face, times, "a client speaks {speaks} at a port for {spoken}");
        }
        if let Some(answer) = self.spoken.refusal(speaks_tls) {
            tell(stream, &answer).await;
        }
    }
}

/// Has a peer that is not let in hear `answer`, and whatever was said before: what it still sends
/// is read for a while, since a connection that is closed over it takes back what was said.
async fn tell(mut stream: TcpStream, answer: &[u8]) {
    let Ok(_permit) = TELLING.try_acquire() else { return };
    let telling = async {
        stream.write_all(answer).await?;
        stream.shutdown().await?;
        let (mut dropped, mut bytes) = ([0_u8; 1024], 0);
        while bytes < TELLING_BYTES_MAX {
            match stream.read(&mut dropped).await? {
                0 => break,
                count => bytes += count,
            }
        }
        io::Result::Ok(())
    };
    // The peer may have gone, or send for ever.
    let _ = timeout(TELLING_TIME_MAX, telling).await;
}
