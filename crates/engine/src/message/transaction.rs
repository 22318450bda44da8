//! Publishes and settlements that hold together: decided whole, each part knowing what those before
//! it use up, and recorded in one entry.

use super::{
    BodyRef, Ends, MessageEnd, MessageTag, MessageVerdict, Publication, PublishMessage, Published,
};
use crate::answer::Enqueued;
use crate::command::FollowUp;
use crate::ids::{NamespaceId, Place};
use crate::moment::Moment;
use crate::overlay::Overlay;
use crate::record::Record;
use crate::rejection::Rejection;
use crate::state::State;

/// Messages, and entries of queues, that one transaction has at most: all of it is one turn.
const STEPS_MAX: usize = 40_000;

/// Bindings that are compared at the cost of a step.
const BINDINGS_PER_STEP: usize = 64;

fn check_steps(steps: usize) -> Result<(), Rejection> {
    if steps <= STEPS_MAX {
        return Ok(());
    }
    let (value, allowed) = (steps.to_string(), format!("at most {STEPS_MAX} entries of queues"));
    Err(Rejection::ValueRefused { field: "transaction", value, allowed })
}

impl Record {
    /// The queues that a message enters with it, or a job.
    pub(crate) fn entries(&self) -> usize {
        match self {
            Self::MessagePublished { entries, .. } => entries.len(),
            Self::JobEnqueued { .. } => 1,
            _ => 0,
        }
    }
}

/// A message that somebody has and that ends or goes back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settling {
    pub(crate) tag: MessageTag,
    pub(crate) body: BodyRef,
    pub(crate) verdict: MessageVerdict,
    /// It was taken for a time, which is a record: its return is one, too.
    pub(crate) leased: bool,
}

/// That a transaction cannot be.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The message that is published and cannot be, by its index.
    pub(crate) at: Option<usize>,
    pub(crate) rejection: Rejection,
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self { at: None, rejection }
    }
}

/// What a transaction comes to.
#[derive(Debug)]
pub(crate) struct Transacted {
    pub(crate) records: Vec<Record>,
    /// What becomes of each message that is published.
    pub(crate) published: Vec<Published>,
    /// What becomes of each job.
    pub(crate) enqueued: Vec<Enqueued>,
    /// What goes back without a record, since nothing counts how often.
    pub(crate) uncounted: Vec<MessageTag>,
    /// Jobs that letters were to become and cannot.
    pub(crate) jobs_dropped: u64,
    /// Events that letters were to become and that their streams do not take.
    pub(crate) events_dropped: u64,
}

impl State {
    /// Decides a transaction, or refuses it for its first part that cannot be.
    pub(crate) fn decide_transaction(
        &self,
        ns: NamespaceId,
        (publishes, enqueues): (&[PublishMessage], &[FollowUp]),
        settlements: &[Settling],
        moment: Moment,
    ) -> Result<Transacted, Refused> {
        let mut jobs = Vec::new();
        let mut overlay = Overlay::new(self, ns, moment);
        let mut published = Vec::with_capacity(publishes.len());
        let (mut steps, mut jobs_dropped, mut events_dropped) = (0, 0, 0);
        for (index, message) in publishes.iter().enumerate() {
            let came = self.decide_published(message, &mut overlay, (&mut steps, &mut jobs));
            let refused = |rejection| Refused { at: Some(index), rejection };
            published.push(came.map_err(refused)?);
        }
        let (mut ends, mut uncounted) = (Ends::default(), Vec::new());
        for settling in settlements {
            match self.end_of(ns, settling) {
                Some(end) => {
                    // An ack leaves no letter.
                    let is_death = end != MessageEnd::Acked;
                    let tag = settling.tag;
                    let death = is_death.then(|| self.decide_death(ns, tag, end, moment));
                    match death.flatten() {
                        Some(death) => {
                            jobs_dropped += death.jobs_dropped;
                            events_dropped += death.events_dropped;
                            for it in death.records {
                                steps += it.entries();
                                check_steps(steps)?;
                                overlay.record_message(it);
                            }
                        }
                        None => ends.end(tag, settling.body, end),
                    }
                }
                None if settling.leased || self.counts_returns(settling.tag) => {
                    ends.give_back(settling.tag);
                }
                None => uncounted.push(settling.tag),
            }
        }
        ends.into_records(ns).into_iter().for_each(|record| overlay.record(record));
        let done = |records, enqueued| Transacted {
            records,
            published,
            enqueued,
            uncounted,
            jobs_dropped,
            events_dropped,
        };
        let from = jobs.len();
        jobs.extend_from_slice(enqueues);
        if jobs.is_empty() {
            return Ok(done(overlay.into_records()?, Vec::new()));
        }
        let (records, mut enqueued) = self.decide_follow_ups(overlay, &jobs)?;
        enqueued.drain(..from);
        Ok(done(records, enqueued))
    }

    /// One message of a transaction.
    fn decide_published(
        &self,
        message: &PublishMessage,
        overlay: &mut Overlay<'_>,
        (steps, jobs): (&mut usize, &mut Vec<FollowUp>),
    ) -> Result<Published, Rejection> {
        let (ns, moment) = (overlay.ns, overlay.moment);
        *steps += 1 + self.bindings_compared(ns, &message.exchange) / BINDINGS_PER_STEP;
        check_steps(*steps)?;
        let Publication { record, jobs: mut more, came } =
            self.decide_publish(ns, message, moment)?;
        *steps += more.len();
        check_steps(*steps)?;
        for (index, one) in more.iter_mut().enumerate() {
            let place = Place(self.meta.next_place.0 + (jobs.len() + index) as u64);
            one.job.id = self.message_job_id(ns, place, moment, 0);
        }
        jobs.append(&mut more);
        if let Some(record) = record {
            *steps += record.entries();
            check_steps(*steps)?;
            if let Record::MessagePublished { entries, .. } = &record {
                for entry in entries {
                    let earlier = overlay.messages_entered(entry.queue);
                    self.check_room_for_messages(entry.queue, earlier)?;
                }
            }
            overlay.record_message(record);
        }
        Ok(came)
    }

    /// How a message ends, unless it goes back.
    fn end_of(&self, ns: NamespaceId, settling: &Settling) -> Option<MessageEnd> {
        match settling.verdict {
            MessageVerdict::Ack => Some(MessageEnd::Acked),
            MessageVerdict::Reject => Some(MessageEnd::Rejected),
            MessageVerdict::Requeue if self.may_return(ns, settling.tag) => None,
            MessageVerdict::Requeue => Some(MessageEnd::DeliveryLimit),
        }
    }

    /// Whether a queue counts how often a message comes back.
    fn counts_returns(&self, tag: MessageTag) -> bool {
        let settings = self.message_settings(tag.queue);
        settings.is_some_and(|settings| settings.delivery_limit.is_some())
    }
}
