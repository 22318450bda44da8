//! One connection: frames are read ahead of their answers, so many at most, and answers go out in
//! the order of the requests.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use longshore_kafka::{Body, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::face::{Answered, Pending};
use super::faces::{Faces, Stage};
use crate::running::timeout;
use crate::tls::stream::{Peer, Stream};

/// Requests of one connection that are under way.
const PIPELINE_MAX: usize = 16;
/// How long the rest of a frame may take, and how long an answer may not be taken.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a client that is not let in may be silent, and bytes of its requests.
const LOGIN_TIME_MAX: Duration = Duration::from_secs(10);
const LOGIN_BYTES_MAX: u64 = 64 << 10;
/// Memory grows by so much at most before there are bytes to put into it.
const GROW_BYTES: usize = 64 << 10;
/// Pieces of an answer up to this many bytes together are copied, to be sent at once.
const JOIN_BYTES_MAX: usize = 64 << 10;

/// A request under way, and the room that it takes until it is answered.
struct Underway {
    pending: Pending,
    _room: OwnedSemaphorePermit,
}

/// Speaks until one side ends it.
pub(super) async fn speak(faces: Arc<Faces>, room: Arc<Semaphore>, stream: Stream) {
    let peer = Arc::clone(stream.peer());
    let host = format!("/{}", stream.peer().address.ip());
    let (reader, writer) = split(stream);
    let (sender, receiver) = mpsc::channel(PIPELINE_MAX);
    // Either may end first: a client that is gone gets no answer, one that gets none is done.
    tokio::select! {
        read = read_requests(&faces, &room, reader, (&peer, &host), sender) => told(&host, read),
        wrote = write_answers(writer, receiver) => told(&host, wrote),
    }
}

fn told(peer: &str, ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(peer, %error, "a Kafka connection has ended");
    }
}

async fn read_requests(
    faces: &Arc<Faces>,
    room: &Arc<Semaphore>,
    mut reader: ReadHalf<Stream>,
    (peer, host): (&Peer, &str),
    sender: mpsc::Sender<Underway>,
) -> io::Result<()> {
    let (config, mut stage) = (faces.config(), faces.stage(peer).await);
    loop {
        let (patience, length_max) = match &stage {
            Stage::In(..) => (config.idle_timeout, config.request_bytes_max),
            Stage::Before(_) => (LOGIN_TIME_MAX, LOGIN_BYTES_MAX),
        };
        let length = tokio::select! {
            biased;
            () = stage.ended() => break,
            length = next_length(&mut reader, patience) => length?,
        };
        let Some(length) = length else { break };
        if length > length_max {
            let peer = host;
            tracing::warn!(peer, length, "a request is too large: no Kafka client, perhaps");
            break;
        }
        let held = (length >> 10).max(1) as u32;
        let permit = Arc::clone(room).acquire_many_owned(held).await;
        let permit = permit.map_err(io::Error::other)?;
        let frame = timeout(PATIENCE, read_frame(&mut reader, length as usize)).await??;
        let request = match Request::parse(frame) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(peer = host, %error, "a Kafka request is refused");
                break;
            }
        };
        let face = match &mut stage {
            Stage::In(face, _) => face,
            Stage::Before(login) => {
                let Some(told) = login.answer(request).await else {
                    tracing::debug!(peer = host, "a Kafka client asks before it has logged in");
                    break;
                };
                let pending: Pending = Box::pin(std::future::ready(Some((told.reply, None))));
                let sent = sender.send(Underway { pending, _room: permit }).await;
                if told.ends {
                    break;
                }
                if let Some(who) = told.who {
                    stage = faces.let_in(peer, who);
                }
                if sent.is_err() {
                    return Ok(());
                }
                continue;
            }
        };
        // Nothing else goes ahead of the answers before it: a fetch that is done would hold its
        // room until they are written, and so keep it from those that it waits for.
        let ahead = matches!(request.body, Body::Produce(_));
        let pending = face.handle(request, host);
        let pending = if ahead { begin(pending) } else { pending };
        if sender.send(Underway { pending, _room: permit }).await.is_err() {
            return Ok(());
        }
    }
    // What is under way is answered; the writer ends when all of it is.
    drop(sender);
    std::future::pending().await
}

/// How long the next frame is; `None` where there is none.
async fn next_length(reader: &mut ReadHalf<Stream>, patience: Duration) -> io::Result<Option<u64>> {
    let mut length = [0; 4];
    match timeout(patience, reader.read_exact(&mut length)).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(_) => Ok(None),
        Ok(read) => {
            read?;
            Ok(Some(u64::try_from(i32::from_be_bytes(length)).unwrap_or(u64::MAX)))
        }
    }
}

async fn read_frame(reader: &mut ReadHalf<Stream>, length: usize) -> io::Result<Bytes> {
    let mut frame = BytesMut::new();
    while frame.len() < length {
        let left = length - frame.len();
        frame.reserve(left.min(GROW_BYTES.max(frame.len())));
        let read = (&mut *reader).take(left as u64).read_buf(&mut frame).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame.freeze())
}

/// Begins at once what goes to a shard: appends follow one another without waiting for answers.
fn begin(mut pending: Pending) -> Pending {
    let mut context = Context::from_waker(Waker::noop());
    match pending.as_mut().poll(&mut context) {
        Poll::Ready(answered) => Box::pin(std::future::ready(answered)),
        // Whoever awaits it polls it again, with a waker of its own.
        Poll::Pending => pending,
    }
}

async fn write_answers(
    mut writer: WriteHalf<Stream>,
    mut receiver: mpsc::Receiver<Underway>,
) -> io::Result<()> {
    while let Some(Underway { pending, _room }) = receiver.recv().await {
        let answered = pending.await;
        write(&mut writer, answered).await?;
    }
    Ok(())
}

async fn write(writer: &mut WriteHalf<Stream>, answered: Answered) -> io::Result<()> {
    let Some((pieces, _room)) = answered else { return Ok(()) };
    let total: usize = pieces.iter().map(Bytes::len).sum();
    if pieces.len() > 1 && total <= JOIN_BYTES_MAX {
        let joined = pieces.concat();
        timeout(PATIENCE, writer.write_all(&joined)).await??;
    } else {
        for piece in pieces {
            timeout(PATIENCE, writer.write_all(&piece)).await??;
        }
    }
    // TLS may keep something back until it is asked for.
    timeout(PATIENCE, writer.flush()).await?
}
