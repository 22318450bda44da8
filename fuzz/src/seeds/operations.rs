//! Operations as they are kept, with all fields filled.

use bytes::Bytes;
use longshore_engine::{
    MessageEnd, MessageFilter, MessageMove, MoveTo, NamespaceId, Operation, OperationId,
    OperationKind, OperationState, Place, QueueId, TimeMs,
};

const AT: TimeMs = TimeMs(1_780_000_000_000);

pub(super) fn operation(kind: OperationKind, state: OperationState) -> Operation {
    Operation {
        id: OperationId(4),
        namespace: NamespaceId(1),
        kind,
        upper: Place(99),
        state,
        candidates: 50,
        examined: 10,
        changed: 9,
        cursor: Some(Bytes::from_static(&[6, 0, 0, 0, 1])),
        started_at: AT,
        ended_at: Some(AT.plus(5)),
        kept: 3,
        kept_why: Some("no queue takes it".to_owned()),
        full: vec![QueueId(3)],
        first: None,
    }
}

pub(super) fn redrive() -> OperationKind {
    let filter = MessageFilter {
        routing_key: Some("mail.#".to_owned()),
        headers: vec![("tenant".to_owned(), "acme".to_owned())],
        text: Some("welcome".to_owned()),
        since: Some(AT),
        until: Some(AT.plus(9)),
        reason: Some(MessageEnd::Rejected),
        died_in: Some("mail".to_owned()),
    };
    let to = MoveTo::Exchange { exchange: "x".to_owned(), routing_key: Some("k".to_owned()) };
    let moving = MessageMove { queue: "graves".to_owned(), to, filter, limit: Some(7) };
    OperationKind::MoveMessages { moving: Box::new(moving) }
}

pub(super) fn purge() -> OperationKind {
    OperationKind::PurgeQueue {
        queue: "mail".to_owned(),
        kind: Some("welcome_email".to_owned()),
        before: Some(AT),
    }
}
