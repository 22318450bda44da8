//! One connection: frames are read ahead of their answers, so many at most, and answers go out in
//! the order of the requests.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use longshore_kafka::{Body, Request, api, is_unanswered};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::sleep;

use super::KafkaConfig;
use super::face::{Answered, Pending};
use super::faces::{Faces, Stage};
use crate::access::{LOOK_AGAIN, Pace, Principal};
use crate::running::timeout;
use crate::sparse::Sparse;
use crate::tls::stream::{Peer, Stream, check_peer};

/// Requests of one connection that are under way.
const PIPELINE_MAX: usize = 16;
/// How long the rest of a frame may take, and how long an answer may not be taken.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a login may take as a whole, how many requests, and how many bytes each.
pub(super) const LOGIN_TIME_MAX: Duration = Duration::from_secs(10);
const LOGIN_REQUESTS_MAX: usize = 16;
const LOGIN_BYTES_MAX: u64 = 64 << 10;
/// How long a request waits for its turn at most, and how long a client is told to wait: with the
/// few that it has under way, less than it waits for an answer.
pub(super) const THROTTLE_MAX: Duration = Duration::from_secs(5);
/// How long it may take to tell the peer that nothing more comes.
const ENDING_TIME_MAX: Duration = Duration::from_secs(1);
/// What is read of a request to produce before its turn: enough to see whether it is answered.
const BEGINNING_BYTES: usize = 1 << 10;
/// Memory grows by so much at most before there are bytes to put into it.
const GROW_BYTES: usize = 64 << 10;
/// Pieces of an answer up to this many bytes together are copied, to be sent at once.
const JOIN_BYTES_MAX: usize = 64 << 10;

/// A request under way, and the room that it takes until it is answered.
struct Underway {
    pending: Pending,
    _room: Option<OwnedSemaphorePermit>,
}

/// Speaks until one side ends it.
pub(super) async fn speak(faces: Arc<Faces>, room: Arc<Semaphore>, stream: Stream) {
    let peer = Arc::clone(stream.peer());
    let host = format!("/{}", stream.peer().address.ip());
    let (reader, mut writer) = split(stream);
    let (sender, mut receiver) = mpsc::channel(PIPELINE_MAX);
    let (gone, is_gone) = watch::channel(false);
    let reader = Reader { half: reader, is_gone };
    {
        let read = pin!(read_requests(&faces, &room, reader, (&peer, &host), sender));
        serve(read, &mut writer, (&mut receiver, gone), &host).await;
    }
    // TLS tells that this is the end, and not somebody who cuts the line.
    let _ = timeout(ENDING_TIME_MAX, writer.shutdown()).await;
}

/// Reads and writes until either has ended: a client that is gone gets no answer, one that gets
/// none is done.
async fn serve(
    mut read: Pin<&mut impl Future<Output = io::Result<()>>>,
    writer: &mut WriteHalf<Stream>,
    (receiver, gone): (&mut mpsc::Receiver<Underway>, watch::Sender<bool>),
    host: &str,
) {
    let wrote = tokio::select! {
        read = &mut read => return told(host, read),
        wrote = write_answers(writer, receiver) => wrote,
    };
    if wrote.is_err() {
        // What nobody answers and came whole is carried out all the same.
        gone.send_replace(true);
        let rest = async {
            tokio::select! {
                read = read => told(host, read),
                () = drop_answers(receiver) => {}
            }
        };
        let _ = timeout(ENDING_TIME_MAX, rest).await;
    }
    told(host, wrote);
}

async fn drop_answers(receiver: &mut mpsc::Receiver<Underway>) {
    while let Some(Underway { pending, _room }) = receiver.recv().await {
        pending.await;
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
    mut reader: Reader,
    (peer, host): (&Peer, &str),
    sender: mpsc::Sender<Underway>,
) -> io::Result<()> {
    let mut stage = faces.stage(peer).await;
    let (login_until, mut before) = (Instant::now() + LOGIN_TIME_MAX, 0);
    loop {
        let bounds = match stage.is_known() {
            true => Bounds::of(faces.config(), room, stage.who()),
            false if before >= LOGIN_REQUESTS_MAX => break,
            false => Bounds::of_login(login_until.saturating_duration_since(Instant::now())),
        };
        let next = tokio::select! {
            biased;
            // What is under way is not for an account that may have lost the right to it.
            () = stage.ended() => return Ok(()),
            next = next_request(&mut reader, &bounds, (&faces.strangers, host)) => next,
        };
        let (request, permit) = match next {
            Ok(Some(next)) => next,
            Ok(None) => break,
            // What came before is under way, and may be what nobody sends again.
            Err(error) => {
                told(host, Err(error));
                break;
            }
        };
        if let Stage::Before(login) = &mut stage
            && let Some(who) = login.by_certificate(&request.body)
        {
            stage = faces.let_in(peer, who);
        }
        let face = match &mut stage {
            Stage::In(face, _) => face,
            Stage::Before(login) => {
                before += 1;
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

/// What a client may have the server wait for and keep.
struct Bounds<'a> {
    /// How long it may be silent.
    patience: Duration,
    /// How long the rest of a request may take once it has begun.
    frame: Duration,
    length_max: u64,
    /// The memory that requests share. Those before a login have none of it: they are small, and
    /// strangers must not keep it from others.
    room: Option<&'a Arc<Semaphore>>,
    /// Who asks, where it may publish so much in a second.
    publisher: Option<Principal>,
}

impl<'a> Bounds<'a> {
    fn of(config: &KafkaConfig, room: &'a Arc<Semaphore>, who: Option<&Principal>) -> Self {
        let (patience, length_max) = (config.idle_timeout, config.request_bytes_max);
        let publisher = who.filter(|who| who.publishes_per_second().is_some()).cloned();
        Self { patience, frame: PATIENCE, length_max, room: Some(room), publisher }
    }

    fn of_login(left: Duration) -> Self {
        Self {
            patience: left,
            frame: left,
            length_max: LOGIN_BYTES_MAX,
            room: None,
            publisher: None,
        }
    }
}

/// The next request and its room; `None` where the connection is to end.
async fn next_request(
    reader: &mut Reader,
    bounds: &Bounds<'_>,
    (strangers, host): (&Sparse, &str),
) -> io::Result<Option<(Request, Option<OwnedSemaphorePermit>)>> {
    let refused = |why: &str| {
        tracing::debug!(peer = host, why, "a Kafka request is refused");
        if let Some(times) = strangers.happens() {
            tracing::warn!(
                peer = host,
                why,
                times,
                "a Kafka request is refused; told once in 10 s"
            );
        }
    };
    let Some(length) = next_length(&mut reader.half, bounds.patience).await? else {
        return Ok(None);
    };
    if length > bounds.length_max {
        refused(&format!("it has {length} bytes: the client speaks something else, perhaps"));
        return Ok(None);
    }
    let begun = match bounds.publisher.clone() {
        Some(who) if length >= 2 => {
            begin_publishing(reader, Pace::of(who), length as usize, bounds.frame).await?
        }
        _ => BytesMut::new(),
    };
    let permit = match bounds.room {
        None => None,
        Some(room) => {
            let held = (length >> 10).max(1) as u32;
            let permit = Arc::clone(room).acquire_many_owned(held).await;
            Some(permit.map_err(io::Error::other)?)
        }
    };
    let frame =
        timeout(bounds.frame, read_frame(&mut reader.half, begun, length as usize)).await??;
    match Request::parse(frame) {
        Ok(request) => Ok(Some((request, permit))),
        Err(error) => {
            refused(&error.to_string());
            Ok(None)
        }
    }
}

/// The half of a connection that is read.
struct Reader {
    half: ReadHalf<Stream>,
    /// Whether nobody takes the answers any more.
    is_gone: watch::Receiver<bool>,
}

impl Reader {
    /// Lets so much time pass. It fails at once where the peer has gone, or by the end of that.
    async fn watch_peer(&mut self, time: Duration) -> io::Result<()> {
        check_peer(&mut self.half).await?;
        tokio::select! {
            _ = self.is_gone.wait_for(|is_gone| *is_gone) => {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            () = sleep(time) => {}
        }
        check_peer(&mut self.half).await
    }
}

/// Reads the beginning of a request, and waits for its turn where it publishes. Until then it keeps
/// no room, and nothing behind it is read: a broker with quotas mutes a connection like this.
///
/// Whoever awaits an answer waits for [`THROTTLE_MAX`] at most, and may send again elsewhere what
/// was not answered: so its request is not carried out if it has gone meanwhile. Nobody sends
/// again what nobody answers: that waits for as long as it takes. Where its client has gone it goes
/// ahead, see [`Pace::hurry`].
async fn begin_publishing(
    reader: &mut Reader,
    mut pace: Pace,
    length: usize,
    patience: Duration,
) -> io::Result<BytesMut> {
    let mut key = [0; 2];
    timeout(patience, reader.half.read_exact(&mut key)).await??;
    let begun = BytesMut::from(&key[..]);
    if i16::from_be_bytes(key) != api::PRODUCE {
        return Ok(begun);
    }
    let begun = read_frame(&mut reader.half, begun, length.min(BEGINNING_BYTES));
    let begun = timeout(patience, begun).await??;
    let is_awaited = !is_unanswered(begun.clone());
    let since = Instant::now();
    loop {
        let mut wait = pace.wait(1);
        if is_awaited {
            wait = wait.min(THROTTLE_MAX.saturating_sub(since.elapsed()));
        }
        if wait.is_zero() {
            break;
        }
        if let Err(error) = reader.watch_peer(wait.min(LOOK_AGAIN)).await {
            pace.hurry();
            if is_awaited || !pace.left().is_zero() {
                return Err(error);
            }
        }
    }
    // What goes ahead of its turn holds up nobody else.
    if pace.left().is_zero() {
        pace.spend();
    }
    Ok(BytesMut::from(begun))
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

/// Reads the rest of a frame of which this is the beginning.
async fn read_frame(
    reader: &mut ReadHalf<Stream>,
    mut frame: BytesMut,
    length: usize,
) -> io::Result<Bytes> {
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
    writer: &mut WriteHalf<Stream>,
    receiver: &mut mpsc::Receiver<Underway>,
) -> io::Result<()> {
    while let Some(Underway { pending, _room }) = receiver.recv().await {
        let answered = pending.await;
        write(writer, answered).await?;
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
