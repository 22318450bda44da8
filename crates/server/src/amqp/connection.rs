//! One connection of AMQP: what has arrived goes to its session as long as that takes it, what it
//! has to say is written as the peer takes it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf, Bytes, BytesMut};
use longshore_amqp::{End, Logins, Session, Settings};
use longshore_engine::ConnectionId;
use longshore_node::{News, Wire};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, sleep_until};

use super::access::{AccountNews, Awaited};
use super::connections::{Ask, ConnectionView, Place};
use super::gate::{Gate, is_passing};
use crate::http::app::App;
use crate::http::connection::{Progress, told};
use crate::running::{Ticks, timeout};
use crate::tls::stream::Stream;

/// Connections have numbers from here on, so that they are nobody else's.
const CONNECTIONS_FROM: u64 = 1 << 38;
/// Bytes that are read at a time: few from who says little.
const READ_BYTES_MIN: usize = 4 << 10;
const READ_BYTES_MAX: usize = 256 << 10;
/// What is heard of the shard before something is written.
const NEWS_MAX: usize = 256;
/// How long a peer has to answer that the connection is closed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a peer that asked for the end has to close its socket. `RabbitMQ` waits as long as the
/// heartbeat, at most 30 s.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long it may take to tell the peer that nothing more comes, or to take what it sent before
/// the line broke.
const ENDING_TIME_MAX: Duration = Duration::from_secs(1);
/// How often the end of a connection is told again to a shard that has no room for it.
const TELL_AGAIN: Duration = Duration::from_millis(100);

/// Who closes the socket first.
enum Ended {
    Here,
    ByPeer,
}

/// A connection and what it is served with.
struct Connection {
    session: Option<Session>,
    gate: Option<Gate>,
    begun: Instant,
    /// When that was, by the clock of people.
    since: SystemTime,
    number: u64,
    /// Bytes that have come and gone.
    received: u64,
    sent: u64,
    /// What has arrived and was not taken.
    bytes: BytesMut,
    read_bytes: usize,
    /// What is being written.
    writing: Bytes,
    progress: Arc<Progress>,
    ticks: Arc<Ticks>,
    app: Arc<App>,
}

impl Drop for Connection {
    /// However the connection ends, the shard hears of it: what it held goes back.
    fn drop(&mut self) {
        let (Some(mut session), Some(gate)) = (self.session.take(), self.gate.take()) else {
            return;
        };
        session.lost();
        let Some((wire, commands)) = gate.finish(&mut session) else { return };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(tell_until_heard(wire, commands));
    }
}

/// Tells a shard something that it has to hear.
async fn tell_until_heard(wire: Wire, commands: Vec<longshore_engine::Command>) {
    for mut command in commands {
        while let Err((why, again)) = wire.post(0, command) {
            if !is_passing(&why) {
                return;
            }
            command = *again;
            sleep(TELL_AGAIN).await;
        }
    }
}

/// Speaks AMQP on one connection until it ends, or the server stops. `number` is its own.
pub(crate) async fn speak(
    app: Arc<App>,
    mut stream: Stream,
    number: u64,
    progress: Arc<Progress>,
    ticks: Arc<Ticks>,
    mut stopping: watch::Receiver<bool>,
) {
    let (sender, mut news) = mpsc::unbounded_channel();
    let makes_namespaces = app.limits.namespaces_on_first_use;
    let app = app.seen_from(|| stream.peer().of_access());
    let settings = settings(&app, &stream, number);
    let mut connection = Connection {
        session: Some(Session::new(settings, 0)),
        gate: Some(Gate::new(app.node.clone(), makes_namespaces, sender)),
        begun: Instant::now(),
        since: SystemTime::now(),
        number,
        received: 0,
        sent: 0,
        bytes: BytesMut::new(),
        read_bytes: READ_BYTES_MIN,
        writing: Bytes::new(),
        progress,
        ticks,
        app,
    };
    let mut place = connection.app.amqp_connections.enter(number);
    let ended = connection.serve(&mut stream, (&mut news, &mut place), &mut stopping).await;
    if let Err(error) = &ended {
        tracing::debug!(%error, "a connection of AMQP ended early");
        let _ = timeout(ENDING_TIME_MAX, connection.take_rest(&mut stream, &mut news)).await;
    }
    let progress = Arc::clone(&connection.progress);
    drop((connection, place));
    match ended {
        Ok(Ended::Here) | Err(_) => {}
        Ok(Ended::ByPeer) => {
            tokio::select! {
                () = told(&mut stopping, &progress) => {}
                _ = timeout(LEAVE_TIMEOUT, until_closed(&mut stream)) => {}
            }
        }
    }
    // TLS tells that this is the end, and not somebody who cuts the line.
    let _ = timeout(ENDING_TIME_MAX, stream.shutdown()).await;
}

/// Passes over what the peer still sends, until it closes its socket. Closing while there is
/// something unread would reset the connection, and the peer might lose the answer to that.
async fn until_closed(stream: &mut Stream) {
    let mut bytes = BytesMut::new();
    loop {
        bytes.clear();
        let read = poll_fn(|context| stream.poll_read_into(context, &mut bytes, READ_BYTES_MIN));
        if !matches!(read.await, Ok(1..)) {
            return;
        }
    }
}

fn settings(app: &App, stream: &Stream, number: u64) -> Settings {
    let config = &app.amqp;
    // Its lower half is chance.
    let chance = || uuid::Uuid::now_v7().as_u64_pair().1;
    Settings {
        connection: ConnectionId(CONNECTIONS_FROM + number),
        seed: [chance(), chance()],
        logins: if app.access.is_required() {
            Logins::Accounts { certificate: app.peer.certificate.is_some() }
        } else {
            Logins::Guest
        },
        is_loopback: stream.peer().address.ip().is_loopback(),
        version: env!("CARGO_PKG_VERSION"),
        channel_max: config.channels_max,
        frame_max: config.frame_bytes_max,
        heartbeat_s: u16::try_from(config.heartbeat.as_secs()).unwrap_or(u16::MAX),
        message_bytes_max: config.message_bytes_max,
    }
}

impl Connection {
    fn parts(&mut self) -> (&mut Session, &mut Gate) {
        let missing = "they are there until it is dropped";
        (self.session.as_mut().expect(missing), self.gate.as_mut().expect(missing))
    }

    fn now_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    async fn serve(
        &mut self,
        stream: &mut Stream,
        (news, place): (&mut mpsc::UnboundedReceiver<News>, &mut Place),
        stopping: &mut watch::Receiver<bool>,
    ) -> io::Result<Ended> {
        let (mut is_stopping, mut was_open) = (false, false);
        let (mut closing_at, progress) = (None, Arc::clone(&self.progress));
        let mut account = Awaited::of(&self.app.who);
        loop {
            let (session, gate) = self.parts();
            if session.end() == Some(End::Silent) {
                return Ok(Ended::Here);
            }
            gate.serve(session);
            if let Some(credentials) = gate.take_credentials() {
                account.log_in(&self.app, credentials);
            }
            let is_open = self.parts().0.is_open();
            if std::mem::replace(&mut was_open, is_open) != is_open {
                self.progress.serve_for_long(self.ticks.now());
            }
            let is_written = poll_fn(|context| Poll::Ready(self.write(stream, context))).await?;
            let (session, gate) = self.parts();
            match session.end() {
                Some(End::Closed) if is_written => return Ok(Ended::Here),
                Some(End::Answered) if is_written => return Ok(Ended::ByPeer),
                _ => {}
            }
            // What was published before a client closed is published, however long that takes.
            if session.is_closing() && (is_stopping || !gate.holds_end()) {
                closing_at.get_or_insert_with(|| Instant::now() + CLOSE_TIMEOUT);
            }
            let retry_at = gate.retry_at();
            let reads = !session.is_stuffed() && session.end().is_none();
            // No read tells that it has gone while what it sent waits.
            if !reads && gate.holds() {
                poll_fn(|context| Poll::Ready(stream.check_peer(context))).await?;
            }
            // Whoever has closed need say nothing while that waits.
            let listens = reads && !gate.holds_end();
            let tick_at = session.next_tick_ms().map(|ms| self.begun + Duration::from_millis(ms));
            tokio::select! {
                biased;
                () = told(stopping, &progress), if !is_stopping => {
                    is_stopping = true;
                    self.parts().0.stop();
                }
                () = at(closing_at) => return Ok(Ended::Here),
                ask = place.asked() => self.tell(stream, ask),
                told = account.news() => self.hear_of_account(told, &mut account),
                // Ahead of the news, which may never end.
                () = at(retry_at) => {
                    let (session, gate) = self.parts();
                    gate.retry(session);
                }
                one = news.recv() => {
                    self.hear(one, news);
                    // Who hears much is heard all the same.
                    if reads
                        && let Poll::Ready(read) =
                            poll_fn(|context| Poll::Ready(self.read(stream, context))).await
                    {
                        read?;
                    }
                }
                goes_on = poll_fn(|context| {
                    let read = if reads { self.read(stream, context) } else { Poll::Pending };
                    if is_written || read.is_ready() {
                        return read;
                    }
                    self.write_more(stream, context)
                }), if reads || !is_written => goes_on?,
                () = at(tick_at) => {
                    let now_ms = self.now_ms();
                    self.parts().0.tick(now_ms, listens);
                }
            }
        }
    }

    /// Does what somebody who looks after the connections asks for.
    fn tell(&mut self, stream: &Stream, ask: Ask) {
        match ask {
            Ask::Look(tell) => {
                let peer = stream.peer();
                let (view, own) = (self.parts().0.view(), stream.own_address());
                let (Some(session), Ok(own)) = (view, own) else { return };
                let since = self.since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                // Whoever asked may have gone.
                let _ = tell.send(ConnectionView {
                    number: self.number,
                    session,
                    peer: peer.address,
                    own,
                    is_tls: peer.is_tls,
                    since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
                    received: self.received,
                    sent: self.sent,
                });
            }
            Ask::Close(reason) => self.parts().0.close(&reason),
        }
    }

    /// Tells the session what has come of its account.
    fn hear_of_account(&mut self, told: AccountNews, account: &mut Awaited) {
        let (session, gate) = self.parts();
        match told {
            AccountNews::Changed => {
                session.account_changed();
                gate.refuse_held(session, "the account was changed or removed");
            }
            AccountNews::LoggedIn(None) => session.logged_in(None),
            AccountNews::LoggedIn(Some((who, identity))) => {
                if !account.follow(&who) {
                    return session.account_changed();
                }
                gate.set_asker(&who, session);
                session.logged_in(Some(identity));
            }
        }
    }

    /// Hears what the shard says, and what it has said meanwhile.
    fn hear(&mut self, first: Option<News>, news: &mut mpsc::UnboundedReceiver<News>) {
        let mut next = first;
        for _ in 0..NEWS_MAX {
            let Some(one) = next else { break };
            let (session, gate) = self.parts();
            gate.hear(session, one);
            next = news.try_recv().ok();
        }
        if let Some(one) = next {
            let (session, gate) = self.parts();
            gate.hear(session, one);
        }
        // There may be room for what has arrived.
        self.take();
    }

    /// The line has ended, or broken: what came whole over it is taken, and published without
    /// waiting for its turn. Where a write has failed, the end is still to be read, behind that.
    async fn take_rest(&mut self, stream: &mut Stream, news: &mut mpsc::UnboundedReceiver<News>) {
        let mut comes_more = true;
        self.parts().1.hurry();
        loop {
            self.take();
            let (session, gate) = self.parts();
            session.take_rest();
            gate.retry(session);
            gate.serve(session);
            while session.output().take().is_some() {}
            let (is_stuffed, retry_at) = (session.is_stuffed(), gate.retry_at());
            let ends = session.end().is_some() || gate.waits_for_turn();
            let waits = is_stuffed || retry_at.is_some() || session.waits_in_channels();
            if ends || !(comes_more || waits) {
                return;
            }
            let reads = comes_more && !is_stuffed;
            tokio::select! {
                one = news.recv() => match one {
                    // Nobody gets them any more.
                    Some(News::Messages(_)) | None => {}
                    Some(one) => {
                        let (session, gate) = self.parts();
                        gate.hear(session, one);
                    }
                },
                () = at(retry_at) => {}
                read = poll_fn(|context| self.read(stream, context)), if reads => {
                    comes_more = read.is_ok();
                }
            }
        }
    }

    /// Reads what is there. It fails where nothing more comes.
    fn read(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let count = ready!(stream.poll_read_into(context, &mut self.bytes, self.read_bytes))?;
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.received += count as u64;
        if count >= self.read_bytes {
            self.read_bytes = (2 * self.read_bytes).min(READ_BYTES_MAX);
        }
        self.take();
        Poll::Ready(Ok(()))
    }

    /// Gives the session what has arrived.
    fn take(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let now_ms = self.now_ms();
        let mut bytes = std::mem::take(&mut self.bytes);
        self.parts().0.receive(&mut bytes, now_ms);
        if bytes.is_empty() {
            // Thousands of connections say nothing most of the time.
            self.read_bytes = (self.read_bytes / 2).max(READ_BYTES_MIN);
        } else {
            self.bytes = bytes;
        }
    }

    /// Writes a part of what is being written, or has TLS write what it keeps back.
    fn write_more(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let mut stream = Pin::new(stream);
        let polled = if self.writing.is_empty() {
            stream.as_mut().poll_flush(context).map_ok(|()| 0)
        } else {
            stream.as_mut().poll_write(context, &self.writing)
        };
        match polled {
            Poll::Ready(Ok(0)) if !self.writing.is_empty() => {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            Poll::Ready(Ok(count)) => {
                self.progress.take(count, self.ticks.now());
                self.sent += count as u64;
                self.writing.advance(count);
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending => {
                self.progress.fall_behind(self.ticks.now());
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes as much as the peer takes. Whether that is all there is.
    fn write(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> io::Result<bool> {
        let mut wrote = false;
        loop {
            if self.writing.is_empty() {
                let Some(next) = self.parts().0.output().take() else { break };
                self.writing = next;
            }
            match self.write_more(stream, context) {
                Poll::Ready(more) => more?,
                Poll::Pending => return Ok(false),
            }
            wrote = true;
        }
        self.writing = Bytes::new();
        if self.write_more(stream, context)?.is_pending() {
            return Ok(false);
        }
        self.progress.catch_up();
        if wrote {
            let now_ms = self.now_ms();
            let (session, gate) = self.parts();
            session.written(now_ms);
            gate.serve(session);
        }
        Ok(true)
    }
}

/// Is ready at that instant; without one, never.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}
