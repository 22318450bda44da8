//! Answers that go on: their messages count with all answers until the reader has taken them.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tonic::{Response, Status};

use super::Face;
use crate::http::answers::{Debt, Owing, Part, Tray};
use crate::http::app::App;
use crate::http::refusal::Refusal;

/// Messages of one answer that wait for the peer.
const MESSAGES_MAX: usize = 4;

/// A message, with what counts while it waits.
type Counted<M> = (Result<M, Status>, Option<Part>);

/// Nobody listens any more.
#[derive(Debug)]
pub(super) struct Gone;

/// What has happened and goes out in any case, and has no place yet. It counts already.
pub(super) struct Owed<M> {
    pub(super) message: M,
    /// What it takes on its way.
    pub(super) bytes: usize,
    part: Part,
}

/// Where the messages of one answer are left.
pub(super) struct Outgoing<M> {
    app: Arc<App>,
    debt: Arc<Debt>,
    messages: mpsc::Sender<Counted<M>>,
}

impl<M> Clone for Outgoing<M> {
    fn clone(&self) -> Self {
        let (app, debt) = (Arc::clone(&self.app), Arc::clone(&self.debt));
        Self { app, debt, messages: self.messages.clone() }
    }
}

impl<M: Message> Outgoing<M> {
    /// Tells what has happened, which goes out in any case, as soon as there is a place.
    pub(super) async fn tell(&self, message: M) -> Result<(), Gone> {
        let part = self.app.hold_part_in_any_case(&self.debt, message.encoded_len());
        self.messages.send((Ok(message), Some(part))).await.map_err(|_| Gone)
    }

    /// Counts what will be told of something before it happens, or refuses that it happens.
    pub(super) fn hold_ahead(&self, bytes: usize) -> Result<Part, Refusal> {
        self.app.hold_ahead(&self.debt, bytes)
    }

    /// Tells what has happened and is counted already.
    pub(super) async fn tell_held(&self, message: M, part: Part) -> Result<(), Gone> {
        self.messages.send((Ok(message), Some(part))).await.map_err(|_| Gone)
    }

    /// Is ready once there is a place.
    pub(super) async fn has_place(&self) -> Result<(), Gone> {
        self.messages.reserve().await.map(drop).map_err(|_| Gone)
    }

    /// A place, if there is one now: for what must not be taken from where it is before.
    pub(super) fn place(&self) -> Result<Option<Place<'_, M>>, Gone> {
        match self.messages.try_reserve() {
            Ok(permit) => Ok(Some(Place { outgoing: self, permit })),
            Err(mpsc::error::TrySendError::Full(())) => Ok(None),
            Err(mpsc::error::TrySendError::Closed(())) => Err(Gone),
        }
    }

    /// Counts what has happened and will be told.
    pub(super) fn owe(&self, message: M) -> Owed<M> {
        let bytes = message.encoded_len();
        let part = self.app.hold_part_in_any_case(&self.debt, bytes);
        Owed { message, bytes, part }
    }

    /// Answers a question, unless readers owe too much.
    pub(super) async fn answer(&self, message: M) -> Result<Result<(), Gone>, Refusal> {
        let part = self.app.hold_part(&self.debt, message.encoded_len())?;
        Ok(self.messages.send((Ok(message), Some(part))).await.map_err(|_| Gone))
    }

    /// Says what it ends with.
    pub(super) async fn end(&self, status: Status) {
        // Nobody may be there to hear it.
        let _ = self.messages.send((Err(status), None)).await;
    }

    /// Is ready once nobody listens any more.
    pub(super) async fn closed(&self) {
        self.messages.closed().await;
    }
}

/// A place for one message.
pub(super) struct Place<'a, M> {
    outgoing: &'a Outgoing<M>,
    permit: mpsc::Permit<'a, Counted<M>>,
}

impl<M: Message> Place<'_, M> {
    /// Tells what has happened, which goes out in any case.
    pub(super) fn tell(self, message: M) {
        let owed = self.outgoing.owe(message);
        self.tell_owed(owed);
    }

    /// Tells what counts already.
    pub(super) fn tell_owed(self, Owed { message, part, .. }: Owed<M>) {
        self.permit.send((Ok(message), Some(part)));
    }
}

/// The messages on their way to the peer.
pub(super) struct Incoming<M> {
    messages: mpsc::Receiver<Counted<M>>,
    /// Where what counts is left for whoever hands out the bytes, until they are taken.
    tray: Tray,
}

impl<M> Stream for Incoming<M> {
    type Item = Result<M, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.messages.poll_recv(context));
        Poll::Ready(next.map(|(message, part)| {
            self.tray.lock().unwrap_or_else(PoisonError::into_inner).extend(part);
            message
        }))
    }
}

/// An answer that goes on. `patience`: how long its reader may be behind with what it owes.
pub(super) fn begin<M>(face: &Face, patience: Duration) -> (Outgoing<M>, Response<Incoming<M>>) {
    let (messages, told) = mpsc::channel(MESSAGES_MAX);
    let (debt, tray) = (Debt::new(&face.account), Tray::default());
    let owing = Owing::of_stream(&debt, &tray, patience);
    let mut response = Response::new(Incoming { messages: told, tray });
    response.extensions_mut().insert(owing);
    (Outgoing { app: Arc::clone(&face.app), debt, messages }, response)
}
