//! What runs leave for the session that delivered them, until it can send it.

use std::sync::{Arc, Mutex};

use longshore_proto::v1::settlement::Verdict;
use tokio::sync::Notify;

use crate::run::{Run, lock};

/// What has been left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Runs that have begun.
    pub(crate) started: Vec<Arc<Run>>,
    /// Runs that have ended. None where nothing is to be settled.
    pub(crate) ended: Vec<(Arc<Run>, Option<Verdict>)>,
    /// Runs with a checkpoint to send.
    pub(crate) checkpoints: Vec<Arc<Run>>,
}

impl Left {
    pub(crate) fn is_empty(&self) -> bool {
        self.started.is_empty() && self.ended.is_empty() && self.checkpoints.is_empty()
    }
}

/// Where runs leave it.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    left: Mutex<Left>,
    ring: Notify,
    /// Without a session, checkpoints are durable at once: what they were is kept here.
    inline: Option<Mutex<Vec<longshore_proto::v1::Checkpoint>>>,
}

impl Outbox {
    /// One that no session reads.
    pub(crate) fn inline() -> Self {
        Self { inline: Some(Mutex::default()), ..Self::default() }
    }

    pub(crate) fn started(&self, run: &Arc<Run>) {
        if self.inline.is_none() {
            lock(&self.left).started.push(Arc::clone(run));
            self.ring.notify_one();
        }
    }

    pub(crate) fn ended(&self, run: Arc<Run>, verdict: Option<Verdict>) {
        if self.inline.is_none() {
            lock(&self.left).ended.push((run, verdict));
            self.ring.notify_one();
        }
    }

    /// A checkpoint of the run waits in its mailbox.
    pub(crate) fn checkpoint(&self, run: &Arc<Run>) {
        if let Some(kept) = &self.inline {
            while let Some(checkpoint) = run.mailbox.take(run.lease()) {
                let seq = checkpoint.seq;
                lock(kept).push(checkpoint);
                run.mailbox.answer(seq);
            }
            return;
        }
        lock(&self.left).checkpoints.push(Arc::clone(run));
        self.ring.notify_one();
    }

    /// Takes all that was left.
    pub(crate) fn take(&self) -> Left {
        std::mem::take(&mut lock(&self.left))
    }

    /// The checkpoints of a run without a session.
    pub(crate) fn take_inline(&self) -> Vec<longshore_proto::v1::Checkpoint> {
        self.inline.as_ref().map(|kept| std::mem::take(&mut *lock(kept))).unwrap_or_default()
    }

    /// Waits until something was left.
    pub(crate) async fn left(&self) {
        self.ring.notified().await;
    }
}
