//! Goes between one thread of a face and the shards: hands over many calls with one wake-up and
//! brings many answers with one. It knows nothing of what either says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use longshore_engine::{Answer, Delivery, Settlement, Verdict};
use tokio::sync::{Notify, oneshot};

use crate::shared::ShardShared;

/// See the file's head.
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
    pub(crate) reply: oneshot::Sender<Handover>,
    /// Who brings it; where nobody does, the caller's thread is woken for this answer alone.
    pub(crate) courier: Option<Arc<Courier>>,
    /// The namespace, where a lease that cannot be handed over is to be given back.
    pub(crate) give_back_in: Option<String>,
}

impl Caller {
    /// Gives the answer to the caller, who may go before having it.
    fn tell(self, shard: &Arc<ShardShared>, answer: Answer) {
        let has_jobs = matches!(&answer, Answer::Leased { jobs, .. } if !jobs.is_empty());
        let owner = self.give_back_in.filter(|_| has_jobs);
        let owner = owner.map(|namespace| (Arc::clone(shard), namespace));
        // Where it was not sent it is dropped here, and else wherever its caller is.
        drop(self.reply.send(Handover { answer: Some(answer), owner }));
    }
}

/// An answer between the shard and whoever asked. Until it is taken, nobody else knows of the
/// leases in it: wherever it is dropped, they are given back.
#[derive(Debug)]
pub(crate) struct Handover {
    /// There until it is taken.
    answer: Option<Answer>,
    /// The shard and the namespace that leases go back to.
    owner: Option<(Arc<ShardShared>, String)>,
}

impl Handover {
    /// The answer is its caller's from here on.
    pub(crate) fn take(mut self) -> Answer {
        self.answer.take().expect("it is taken once: this consumes it")
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        let Some(Answer::Leased { jobs, .. }) = self.answer.take() else { return };
        let Some((shard, namespace)) = self.owner.take() else { return };
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
