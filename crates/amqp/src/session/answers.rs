//! Answers of the engine to what was asked, and what the client hears of them.

use longshore_engine::{MessageAnswer, MessageCommand, Rejection};

use super::asking::{Pending, Then};
use super::publishing::REPLY_TO;
use super::{Ask, Phase, Session, Unanswered};
use crate::codec::methods::{
    BasicCancelOk, BasicConsumeOk, ExchangeBindOk, ExchangeDeclareOk, ExchangeDeleteOk,
    ExchangeUnbindOk, QueueBindOk, QueueDeclareOk, QueueDeleteOk, QueuePurgeOk, QueueUnbindOk,
};
use crate::codec::{Method, Short};
use crate::failure::{Code, Failure, of_rejection, queue_in};

impl Session {
    /// The answer to [`Ask::Call`].
    pub fn answer(&mut self, number: u64, answer: Result<MessageAnswer, Unanswered>) {
        match self.pending.remove(&number) {
            None => {}
            Some(Pending::Nothing) => self.note_end(&answer),
            Some(Pending::Forgotten { consumer }) => self.asks.push_back(Ask::Gone { consumer }),
            Some(Pending::Publish) => match answer {
                Ok(MessageAnswer::Published(results)) => self.published(number, Ok(results)),
                answer => {
                    let why = match &answer {
                        Err(Unanswered::Blocked(why)) => Some(why.clone()),
                        _ => None,
                    };
                    self.published(number, Err(why));
                    self.note_end(&answer);
                }
            },
            Some(Pending::Close) => self.left(),
            Some(Pending::Method { channel, instance, method, then }) => {
                self.method_answered((channel, instance), method, then, answer);
            }
        }
        self.flush();
    }

    /// A connection ends with a server that stops, and where nobody knows what became of something
    /// that its client hears no more of.
    fn note_end(&mut self, answer: &Result<MessageAnswer, Unanswered>) {
        match answer {
            Err(Unanswered::Refused(Rejection::Stopping)) => self.stop(),
            Err(Unanswered::Unknown(why)) => {
                self.fail_connection(&Failure::new(Code::InternalError, why));
            }
            Ok(_) | Err(Unanswered::Refused(_) | Unanswered::Blocked(_)) => {}
        }
    }

    fn method_answered(
        &mut self,
        (number, instance): (u16, u64),
        method: (u16, u16),
        then: Then,
        answer: Result<MessageAnswer, Unanswered>,
    ) {
        let channel = self.channels.get_mut(&number);
        let Some(channel) = channel.filter(|it| it.instance == instance && !it.is_closing) else {
            return self.answered_late(then, answer);
        };
        channel.is_busy = false;
        let done = match answer {
            Ok(answer) => self.then(number, then, answer),
            Err(unanswered) => {
                if let Then::Consuming { tag, .. } = &then {
                    self.end_consumer(number, tag);
                }
                self.refused(number, then, unanswered)
            }
        };
        match done {
            Ok(()) => self.tell_ended(number),
            Err(failure) => self.fail(number, &failure.of(method)),
        }
        self.advance(number);
    }

    /// The channel has ended meanwhile: what it would have got goes back.
    fn answered_late(&mut self, then: Then, answer: Result<MessageAnswer, Unanswered>) {
        match (then, answer) {
            (Then::Consuming { consumer, .. }, Ok(_)) => {
                self.call(MessageCommand::Cancel { consumer }, Pending::Forgotten { consumer });
            }
            (Then::Consuming { consumer, .. }, Err(_)) => {
                self.asks.push_back(Ask::Gone { consumer });
            }
            (Then::Got { auto_ack: false }, Ok(MessageAnswer::Got(Some(message), _))) => {
                self.requeue(message.tag);
            }
            (Then::Replies { queue, .. }, Ok(_)) => {
                let connection = Some(self.settings.connection);
                let (if_unused, if_empty) = (false, false);
                let command =
                    MessageCommand::DeleteQueue { queue, connection, if_unused, if_empty };
                self.call(command, Pending::Nothing);
            }
            (Then::Committed(committing), answer) => {
                self.committed_late(*committing, answer.is_ok());
                self.note_end(&answer);
            }
            (_, answer) => self.note_end(&answer),
        }
    }

    /// A method of a channel was refused, or nobody knows.
    fn refused(&mut self, number: u16, then: Then, unanswered: Unanswered) -> Result<(), Failure> {
        match (then, unanswered) {
            // Whoever answers a request may look whether its sender is still there.
            (
                Then::QueueDeclared { queue, .. },
                Unanswered::Refused(Rejection::QueueExclusive { .. }),
            ) if queue.starts_with(REPLY_TO) => {
                let declared = QueueDeclareOk { queue: Short::cut(&queue), ..Default::default() };
                self.tell(number, declared);
                Ok(())
            }
            (Then::Got { .. }, Unanswered::Refused(Rejection::ConsumerExclusive { queue })) => {
                let text = format!(
                    "cannot obtain access to locked {}. basic.get operations are not supported by \
                     queues with single active consumer",
                    queue_in(&self.vhost, &queue)
                );
                Err(Failure::new(Code::ResourceLocked, text))
            }
            // What is not there is as good as removed.
            (
                Then::QueueUnbound,
                Unanswered::Refused(
                    Rejection::ExchangeUnknown { .. } | Rejection::QueueUnknown { .. },
                ),
            ) => {
                self.tell(number, QueueUnbindOk {});
                Ok(())
            }
            (Then::ExchangeUnbound, Unanswered::Refused(Rejection::ExchangeUnknown { .. })) => {
                self.tell(number, ExchangeUnbindOk {});
                Ok(())
            }
            (Then::QueueDeleted, Unanswered::Refused(Rejection::QueueUnknown { .. })) => {
                self.tell(number, QueueDeleteOk { message_count: 0 });
                Ok(())
            }
            (Then::Committed(committing), why) => Err(self.not_committed(number, *committing, why)),
            (_, Unanswered::Refused(rejection)) => Err(of_rejection(&rejection, &self.vhost)),
            (_, Unanswered::Blocked(why) | Unanswered::Unknown(why)) => {
                Err(Failure::new(Code::InternalError, why))
            }
        }
    }

    /// Tells the client that something is done.
    fn tell(&mut self, number: u16, method: impl Into<Method>) {
        let is_told = self.channels.get(&number).is_some_and(|channel| !channel.is_closing);
        if is_told && self.phase == Phase::Running {
            self.out.method(number, &method.into());
        }
    }

    fn then(&mut self, number: u16, then: Then, answer: MessageAnswer) -> Result<(), Failure> {
        match (then, answer) {
            (Then::Silence, _) => {}
            (Then::ExchangeDeclared, _) => self.tell(number, ExchangeDeclareOk {}),
            (Then::ExchangeDeleted, _) => self.tell(number, ExchangeDeleteOk {}),
            (Then::ExchangeBound, _) => self.tell(number, ExchangeBindOk {}),
            (Then::ExchangeUnbound, _) => self.tell(number, ExchangeUnbindOk {}),
            (Then::QueueBound, _) => self.tell(number, QueueBindOk {}),
            (Then::QueueUnbound, _) => self.tell(number, QueueUnbindOk {}),
            (Then::QueueDeclared { queue, is_silent }, MessageAnswer::Queue(view, _)) => {
                if let Some(channel) = self.channels.get_mut(&number) {
                    channel.last_queue.clone_from(&queue);
                }
                if !is_silent {
                    let queue = Short::cut(&queue);
                    let (message_count, consumer_count) =
                        (count(view.ready), count(view.consumers));
                    self.tell(number, QueueDeclareOk { queue, message_count, consumer_count });
                }
            }
            (Then::QueueDeleted, MessageAnswer::QueueDeleted { messages }) => {
                self.tell(number, QueueDeleteOk { message_count: count(messages) });
            }
            (Then::QueuePurged, MessageAnswer::Purged { messages }) => {
                self.tell(number, QueuePurgeOk { message_count: count(messages) });
            }
            (Then::Consuming { tag, consumer, is_silent }, MessageAnswer::Consuming) => {
                if let Some(consumer) = self.consumer(number, consumer) {
                    consumer.is_there = true;
                }
                let settles = self.consumer(number, consumer).is_some_and(|it| !it.auto_ack);
                if !is_silent {
                    self.tell(number, BasicConsumeOk { consumer_tag: tag });
                }
                if settles {
                    self.join_share(number, consumer);
                }
            }
            (Then::Replies { queue, tag, is_silent }, MessageAnswer::Queue(..)) => {
                return self.replies_declared(number, queue, tag, is_silent);
            }
            (Then::Cancelled { tag, is_silent, .. }, MessageAnswer::Cancelled(_)) => {
                self.end_consumer(number, &tag);
                if !is_silent {
                    self.tell(number, BasicCancelOk { consumer_tag: tag });
                }
            }
            (Then::Got { auto_ack }, MessageAnswer::Got(message, ready)) => match message {
                Some(message) => self.got(number, &message, ready, auto_ack),
                None => self.got_nothing(number),
            },
            (Then::Shared { is_qos }, _) => self.shared(number, is_qos),
            (Then::Committed(committing), MessageAnswer::Transacted(published, _)) => {
                self.committed(number, *committing, &published);
            }
            (then, answer) => {
                let text = format!("the answer to {then:?} is {answer:?}");
                return Err(Failure::new(Code::InternalError, text));
            }
        }
        Ok(())
    }
}

fn count(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
