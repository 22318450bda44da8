//! Goes between one thread of a face and the shards: hands over many calls with one wake-up and
//! brings many answers with one. It knows nothing of what either says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_engine::{Answer, Delivery, Settlement, Verdict};
use tokio::sync::{Notify, oneshot};

use crate::shared::ShardShared;

/// Takes the calls of one thread to the shards and brings their answers back.
#[derive(Debug, Default)]
pub(crate) struct Courier {
    answers: Mutex<Vec<Parcel>>,
    bell: Notify,
}

/// An answer on its way.
#[derive(Debug)]
struct Parcel {
    from: Arc<ShardShared>,
    caller: Caller,
    answer: Answer,
}

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) reply: oneshot::Sender<Answer>,
    /// Who brings it; where nobody does, the caller's thread is woken for this answer alone.
    pub(crate) courier: Option<Arc<Courier>>,
    /// The namespace, where a lease that cannot be handed over is to be given back.
    pub(crate) give_back_in: Option<String>,
}

impl Caller {
    /// Gives the answer to the caller. Whoever is gone gives back what it leased.
    fn tell(self, shard: &ShardShared, answer: Answer) {
        let Err(Answer::Leased { jobs, .. }) = self.reply.send(answer) else { return };
        let Some(namespace) = self.give_back_in.filter(|_| !jobs.is_empty()) else { return };
        let release =
            |job: &Delivery| Settlement { id: job.id, token: job.token, verdict: Verdict::Release };
        let settlements = jobs.iter().map(release).collect();
        shard.inbox.signal(|signals| signals.give_back.push((namespace, settlements)));
    }
}

/// Couriers that have answers and were not told yet.
#[derive(Debug, Default)]
pub(crate) struct Round(Vec<Arc<Courier>>);

impl Round {
    /// Has the answer brought to the caller, at the latest when the round ends.
    pub(crate) fn tell(&mut self, shard: &Arc<ShardShared>, mut caller: Caller, answer: Answer) {
        let Some(courier) = caller.courier.take() else { return caller.tell(shard, answer) };
        let mut answers = courier.answers();
        answers.push(Parcel { from: Arc::clone(shard), caller, answer });
        let first = answers.len() == 1;
        drop(answers);
        // Whoever brought the first one rings.
        if first {
            self.0.push(courier);
        }
    }

    /// Wakes the threads that have answers.
    pub(crate) fn end(&mut self) {
        self.0.drain(..).for_each(|courier| courier.ring());
    }
}

impl Courier {
    /// Calls were left with a shard, or answers here.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Goes to and fro. Runs on the thread whose calls and answers these are.
    pub(crate) async fn run(&self, shards: &[Arc<ShardShared>]) {
        let mut parcels = Vec::new();
        loop {
            self.bell.notified().await;
            for shard in shards {
                if let Some(shard) = shard.inbox.hand_over() {
                    shard.guest_turn();
                }
            }
            std::mem::swap(&mut parcels, &mut *self.answers());
            for Parcel { from, caller, answer } in parcels.drain(..) {
                caller.tell(&from, answer);
            }
        }
    }

    /// No code between lock and unlock panics half-way through a change.
    fn answers(&self) -> MutexGuard<'_, Vec<Parcel>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
