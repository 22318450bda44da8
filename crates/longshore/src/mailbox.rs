//! The checkpoints of one run: what is to be sent next (the latest wins), what is under way (one
//! at a time), and up to where it is durable.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use longshore_proto::v1;
use tokio::sync::Notify;

use crate::JobError;
use crate::run::lock;

/// Skipped items of one checkpoint: fewer than a server takes.
const SKIPPED_MAX: usize = 200;
/// Bytes of them: a message of which is in no server's way.
const SKIPPED_BYTES_MAX: usize = 512 << 10;

/// What a run has to tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Update {
    pub(crate) cursor: Option<Bytes>,
    pub(crate) progress: Option<f64>,
    pub(crate) progress_text: Option<String>,
    pub(crate) counters: HashMap<String, i64>,
    pub(crate) skipped: Vec<v1::SkippedItem>,
}

impl Update {
    /// Takes what is newer; what adds up is added.
    fn absorb(&mut self, newer: Self) {
        self.cursor = newer.cursor.or_else(|| self.cursor.take());
        self.progress = newer.progress.or(self.progress);
        self.progress_text = newer.progress_text.or_else(|| self.progress_text.take());
        for (name, by) in newer.counters {
            *self.counters.entry(name).or_default() += by;
        }
        self.skipped.extend(newer.skipped);
    }
}

/// Whether a run may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    Yes,
    /// The lease is lost, and with it what was to be told.
    Lost,
    /// The server does not take what the run tells.
    Refused(JobError),
}

impl Durable {
    pub(crate) fn into_result(self) -> Result<(), JobError> {
        match self {
            Self::Yes => Ok(()),
            // A run whose lease is lost has nothing more to say.
            Self::Lost => Err(JobError::new(
                "lease_lost",
                "the lease of this run has ended: another worker may have the job; stop working \
                 on it",
            )),
            Self::Refused(error) => Err(error),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    inner: Mutex<Inner>,
    answered: Notify,
    /// Whether something is under way or waits to be; asked before each item.
    busy: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    pending: Option<Update>,
    in_flight: Option<(v1::Checkpoint, u64)>,
    seq: u64,
    /// Counts updates: the newest, and the newest that is durable.
    version: u64,
    durable: u64,
    /// Why nothing is taken any more, if so.
    closed: Option<Durable>,
}

impl Mailbox {
    /// Leaves an update. Returns its version, and whether the session is to be told.
    pub(crate) fn put(&self, update: Update) -> (u64, bool) {
        let mut inner = lock(&self.inner);
        inner.version += 1;
        let version = inner.version;
        if inner.closed.is_some() {
            return (version, false);
        }
        let first = inner.pending.is_none() && inner.in_flight.is_none();
        inner.pending.get_or_insert_default().absorb(update);
        self.busy.store(true, Ordering::Release);
        (version, first)
    }

    /// The checkpoint that is to be sent now, if there is one.
    pub(crate) fn take(&self, lease: v1::LeaseRef) -> Option<v1::Checkpoint> {
        let mut inner = lock(&self.inner);
        if inner.in_flight.is_some() {
            return None;
        }
        let (mut update, mut version) = (inner.pending.take()?, inner.version);
        let skipped = sendable(&update.skipped);
        if update.skipped.len() > skipped {
            // The cursor behind them goes last, so that none of them is passed over.
            let rest = update.skipped.split_off(skipped);
            let first = Update { skipped: update.skipped, ..Update::default() };
            inner.pending = Some(Update { skipped: rest, ..update });
            (update, version) = (first, inner.durable);
        }
        inner.seq += 1;
        let checkpoint = v1::Checkpoint {
            id: lease.id,
            token: lease.token,
            seq: inner.seq,
            cursor: update.cursor.unwrap_or_default(),
            progress: update.progress,
            progress_text: update.progress_text,
            counters: update.counters,
            skipped: update.skipped,
        };
        inner.in_flight = Some((checkpoint.clone(), version));
        Some(checkpoint)
    }

    /// What was sent over a stream that has broken and was not answered.
    pub(crate) fn unanswered(&self) -> Option<v1::Checkpoint> {
        lock(&self.inner).in_flight.as_ref().map(|(checkpoint, _)| checkpoint.clone())
    }

    /// What was sent is durable. Returns whether more waits to be sent.
    pub(crate) fn answer(&self, seq: u64) -> bool {
        let mut inner = lock(&self.inner);
        let Some((_, version)) = inner.in_flight.take_if(|(sent, _)| sent.seq == seq) else {
            return false;
        };
        inner.durable = version;
        let more = inner.pending.is_some();
        self.busy.store(more, Ordering::Release);
        drop(inner);
        self.answered.notify_waiters();
        more
    }

    /// Nothing is answered any more, for this reason: whoever waits hears so.
    pub(crate) fn close(&self, why: Durable) {
        let mut inner = lock(&self.inner);
        inner.closed.get_or_insert(why);
        inner.pending = None;
        inner.in_flight = None;
        drop(inner);
        self.busy.store(false, Ordering::Release);
        self.answered.notify_waiters();
    }

    /// What the server did not take, if so.
    pub(crate) fn refusal(&self) -> Option<JobError> {
        match &lock(&self.inner).closed {
            Some(Durable::Refused(error)) => Some(error.clone()),
            _ => None,
        }
    }

    /// Whether an update left now would have to wait for its turn.
    pub(crate) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire)
    }

    /// Waits until nothing is under way.
    pub(crate) async fn until_idle(&self) {
        loop {
            let answered = self.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            if !self.is_busy() {
                return;
            }
            answered.await;
        }
    }

    /// Waits until an update is durable.
    pub(crate) async fn until_durable(&self, version: u64) -> Durable {
        loop {
            let answered = self.answered.notified();
            tokio::pin!(answered);
            answered.as_mut().enable();
            {
                let inner = lock(&self.inner);
                if inner.durable >= version {
                    return Durable::Yes;
                }
                if let Some(why) = &inner.closed {
                    return why.clone();
                }
            }
            answered.await;
        }
    }
}

/// How many skipped items one checkpoint takes: one at least.
fn sendable(skipped: &[v1::SkippedItem]) -> usize {
    let mut bytes = 0;
    let fits = skipped.iter().take(SKIPPED_MAX).take_while(|item| {
        bytes += skipped_bytes(item);
        bytes <= SKIPPED_BYTES_MAX
    });
    fits.count().max(1)
}

/// About how many bytes a skipped item has.
pub(crate) fn skipped_bytes(item: &v1::SkippedItem) -> usize {
    let error = item
        .error
        .as_ref()
        .map_or(0, |error| error.r#type.len() + error.message.len() + error.backtrace.len());
    32 + item.cursor.len() + error
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease() -> v1::LeaseRef {
        v1::LeaseRef { id: "a".into(), token: "1".into() }
    }

    fn cursor(at: &str, rows: i64) -> Update {
        let counters = HashMap::from([("rows".to_owned(), rows)]);
        Update { cursor: Some(at.to_owned().into()), counters, ..Update::default() }
    }

    #[tokio::test]
    async fn the_latest_wins_and_one_is_under_way() {
        let mailbox = Mailbox::default();
        assert_eq!(mailbox.put(cursor("1", 1)), (1, true));
        let first = mailbox.take(lease()).unwrap();
        assert_eq!((first.seq, first.cursor.as_ref()), (1, b"1".as_slice()));
        assert_eq!(mailbox.put(cursor("2", 1)), (2, false));
        assert_eq!(mailbox.put(cursor("3", 1)), (3, false));
        assert_eq!(mailbox.take(lease()), None);
        assert_eq!(mailbox.unanswered().unwrap().seq, 1);
        assert!(mailbox.answer(1));
        let second = mailbox.take(lease()).unwrap();
        assert_eq!((second.seq, second.cursor.as_ref()), (2, b"3".as_slice()));
        assert_eq!(second.counters["rows"], 2);
        // A late answer to the first says nothing of the second.
        assert!(!mailbox.answer(1));
        assert!(mailbox.is_busy());
        assert!(!mailbox.answer(2));
        assert_eq!(mailbox.until_durable(3).await, Durable::Yes);
        mailbox.until_idle().await;
    }

    #[tokio::test]
    async fn a_refusal_is_heard_by_who_waits() {
        let mailbox = Mailbox::default();
        let (version, _) = mailbox.put(cursor("1", 1));
        mailbox.take(lease()).unwrap();
        let why = Durable::Refused(JobError::new("body_too_large", "a cursor"));
        mailbox.close(why.clone());
        assert_eq!(mailbox.until_durable(version).await, why);
        // Nothing more is sent, and whoever waits for it hears the same.
        let (version, first) = mailbox.put(cursor("2", 1));
        assert!(!first && mailbox.take(lease()).is_none());
        assert_eq!(mailbox.until_durable(version).await, why);
    }

    #[tokio::test]
    async fn many_skipped_items_go_in_parts_and_the_cursor_with_the_last() {
        let mailbox = Mailbox::default();
        let skipped = vec![v1::SkippedItem::default(); 2 * SKIPPED_MAX + 1];
        let (version, _) = mailbox.put(Update { skipped, ..cursor("9", 1) });
        let mut parts = Vec::new();
        while let Some(part) = mailbox.take(lease()) {
            mailbox.answer(part.seq);
            parts.push((part.skipped.len(), part.cursor.len(), part.counters.len()));
        }
        assert_eq!(parts, [(SKIPPED_MAX, 0, 0), (SKIPPED_MAX, 0, 0), (1, 1, 1)]);
        assert_eq!(mailbox.until_durable(version).await, Durable::Yes);
    }

    #[test]
    fn large_skipped_items_go_in_parts_as_well() {
        let item = |bytes: usize| {
            let cursor = "x".repeat(bytes).into();
            v1::SkippedItem { cursor, ..v1::SkippedItem::default() }
        };
        assert_eq!(sendable(&[]), 1);
        assert_eq!(sendable(&[item(SKIPPED_BYTES_MAX), item(1)]), 1);
        assert_eq!(sendable(&vec![item(100 << 10); 9]), 5);
        assert_eq!(sendable(&vec![item(1); 1_000]), SKIPPED_MAX);
    }
}
