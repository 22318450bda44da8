//! One queue on its way: consumed there, published here, acked there once it is confirmed here.
//! Both ends count alike, so the number of a confirm is that of the delivery that it stands for.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use longshore_amqp::codec::methods::{
    BasicAck, BasicConsume, BasicDeliver, BasicPublish, BasicQos, ConfirmSelect,
};
use longshore_amqp::codec::{
    ContentHeader, Frame, FrameKind, Method, Properties, Short, Table, Value, write_body,
    write_header,
};
use tokio::time::{MissedTickBehavior, interval};

use super::address::Address;
use super::peer::{CHANNEL, Incoming, Outgoing, Peer, passive};
use super::{broken, refused};
use crate::failure::Failure;
use crate::output::{count, note};

/// Bytes of a body that is taken: the most that `RabbitMQ` takes unless it is told otherwise.
const BODY_BYTES_MAX: u64 = 128 << 20;

/// Bytes that are on their way, at most, but for one message.
const AHEAD_BYTES: usize = 32 << 20;

/// Between two looks at whether the queue is empty, and two lines about how far it is.
const LOOK: Duration = Duration::from_secs(1);

/// Answers that say that nothing is left, before that is believed: what is on its way to a consumer
/// is not counted, and may be told behind the answer.
const EMPTIES: u8 = 2;

/// Headers by which a message would be routed once more.
const ROUTING_HEADERS: [&str; 3] = ["CC", "BCC", "x-delay"];

/// Where a message came from, since it enters here by the name of its queue.
const EXCHANGE_HEADER: &str = "x-shovel-exchange";
const KEY_HEADER: &str = "x-shovel-routing-key";

/// What became of a queue.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) queue: String,
    pub(super) moved: u64,
}

/// A message of which not all has come.
#[derive(Debug)]
struct Arriving {
    deliver: BasicDeliver,
    header: Option<ContentHeader>,
    body: BytesMut,
}

/// A queue that is moved.
#[derive(Debug)]
pub(super) struct Move {
    queue: String,
    from: Peer,
    to: Peer,
    state: State,
}

/// How far it is.
#[derive(Debug)]
struct State {
    from: Address,
    to: Address,
    queue: String,
    arriving: Option<Arriving>,
    /// Deliveries that were published and not confirmed, with their bytes.
    ahead: BTreeMap<u64, usize>,
    ahead_bytes: usize,
    moved: u64,
    /// Deliveries that came whole: the number of the last publish.
    came: u64,
    /// It may be asked how many wait there.
    may_ask: bool,
    /// It was asked after so many had come, and has not answered.
    asked: Option<u64>,
    /// So often none was left, with nothing in between.
    empties: u8,
}

impl Move {
    /// Connects to both ends, whose queues have to be there.
    pub(super) async fn open(
        from: &Address,
        to: &Address,
        queue: &str,
        ahead: u16,
    ) -> Result<Self, Failure> {
        let mut target = Peer::open(to).await?;
        if !target.has_queue(queue).await? {
            let hint = "import the definitions of the other server first, over --management";
            return Err(refused(to, &format!("there is no queue \"{queue}\"")).hint(hint));
        }
        target.outgoing.say(CHANNEL, ConfirmSelect { nowait: false });
        target.until(|method| matches!(method, Method::ConfirmSelectOk(_))).await?;
        let mut source = Peer::open(from).await?;
        source.outgoing.say(CHANNEL, passive(queue));
        source.until(|method| matches!(method, Method::QueueDeclareOk(_))).await?;
        let qos = BasicQos { prefetch_size: 0, prefetch_count: ahead, global: false };
        source.outgoing.say(CHANNEL, qos);
        source.until(|method| matches!(method, Method::BasicQosOk(_))).await?;
        // What it answers is read with what follows: deliveries may stand behind it.
        source
            .outgoing
            .say(CHANNEL, BasicConsume { queue: Short::cut(queue), ..BasicConsume::default() });
        let state = State {
            from: from.clone(),
            to: to.clone(),
            queue: queue.to_owned(),
            arriving: None,
            ahead: BTreeMap::new(),
            ahead_bytes: 0,
            moved: 0,
            came: 0,
            may_ask: false,
            asked: None,
            empties: 0,
        };
        Ok(Self { queue: queue.to_owned(), from: source, to: target, state })
    }

    /// Moves what there is; with `follow` what comes, too, until something breaks.
    pub(super) async fn run(self, follow: bool) -> Result<Ended, Failure> {
        let Self { queue, from, to, mut state } = self;
        let Peer { incoming: mut from_in, outgoing: mut from_out } = from;
        let Peer { incoming: mut to_in, outgoing: mut to_out } = to;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = 0;
        loop {
            tokio::select! {
                filled = from_in.fill(), if state.may_read() => filled?,
                filled = to_in.fill() => filled?,
                sent = from_out.send_some(), if !from_out.out.is_empty() => sent?,
                sent = to_out.send_some(), if !to_out.out.is_empty() => sent?,
                _ = look.tick() => {
                    to_in.check_alive()?;
                    // While it is not read, it is not heard either.
                    if state.may_read() {
                        from_in.check_alive()?;
                    }
                    from_out.beat();
                    to_out.beat();
                    state.may_ask = true;
                    if told < state.moved {
                        told = state.moved;
                        note(&format!("{queue}: {}", count(told, "message")));
                    }
                }
            }
            while state.may_read()
                && let Some(frame) = from_in.next()?
            {
                state.take(frame, &from_in, (&mut to_out, to_in.frame_max))?;
            }
            while let Some(frame) = to_in.next()? {
                state.confirm(frame, &to_in, &mut from_out)?;
            }
            if !follow && state.has_nothing() {
                if state.empties >= EMPTIES {
                    break;
                }
                state.ask(&mut from_out);
            }
        }
        // Whoever hangs up with something unread may take back what was said last: acks.
        for (incoming, outgoing) in [(from_in, from_out), (to_in, to_out)] {
            Peer { incoming, outgoing }.close().await?;
        }
        Ok(Ended { queue, moved: state.moved })
    }
}

impl State {
    /// Whether more is taken from there.
    fn may_read(&self) -> bool {
        self.ahead_bytes < AHEAD_BYTES
    }

    fn has_nothing(&self) -> bool {
        self.ahead.is_empty() && self.arriving.is_none()
    }

    /// Asks now and then how many messages wait there.
    fn ask(&mut self, from: &mut Outgoing) {
        if self.asked.is_none() && self.may_ask {
            self.may_ask = false;
            self.asked = Some(self.came);
            from.say(CHANNEL, passive(&self.queue));
        }
    }

    /// Takes what comes from there.
    fn take(
        &mut self,
        frame: Frame,
        from: &Incoming,
        to: (&mut Outgoing, usize),
    ) -> Result<(), Failure> {
        let malformed = |what: &str| broken(&self.from, what);
        match frame.kind {
            FrameKind::Method => match from.method(frame)? {
                Some(Method::BasicDeliver(deliver)) => {
                    let (header, body) = (None, BytesMut::new());
                    self.empties = 0;
                    self.arriving = Some(Arriving { deliver, header, body });
                }
                Some(Method::QueueDeclareOk(declared)) => {
                    let asked = self.asked.take();
                    let is_empty = declared.message_count == 0
                        && asked == Some(self.came)
                        && self.has_nothing();
                    self.empties = if is_empty { self.empties + 1 } else { 0 };
                }
                Some(Method::BasicCancel(_)) => {
                    let gone = format!("queue \"{}\" is gone", self.queue);
                    return Err(refused(&self.from, &gone));
                }
                _ => {}
            },
            FrameKind::Header => {
                let header = ContentHeader::read(frame.payload);
                let header = header.map_err(|error| broken(&self.from, error))?;
                if header.body_bytes > BODY_BYTES_MAX {
                    return Err(malformed("a message is larger than 128 MiB"));
                }
                let Some(arriving) = &mut self.arriving else {
                    return Err(malformed("a header without a delivery"));
                };
                arriving.header = Some(header);
                self.pass_on(to)?;
            }
            FrameKind::Body => {
                let Some(Arriving { header: Some(header), body, .. }) = &mut self.arriving else {
                    return Err(malformed("a body without a header"));
                };
                if (body.len() + frame.payload.len()) as u64 > header.body_bytes {
                    return Err(malformed("a body is longer than it said"));
                }
                body.extend_from_slice(&frame.payload);
                self.pass_on(to)?;
            }
            FrameKind::Heartbeat => {}
        }
        Ok(())
    }

    /// Publishes the message that arrives, once all of it is there.
    fn pass_on(&mut self, (to, frame_max): (&mut Outgoing, usize)) -> Result<(), Failure> {
        let is_whole = |it: &Arriving| {
            it.header.as_ref().is_some_and(|header| header.body_bytes == it.body.len() as u64)
        };
        if !self.arriving.as_ref().is_some_and(is_whole) {
            return Ok(());
        }
        let Some(Arriving { deliver, header: Some(header), body }) = self.arriving.take() else {
            return Ok(());
        };
        self.came += 1;
        if deliver.delivery_tag != self.came {
            return Err(broken(&self.from, "deliveries are not counted one by one"));
        }
        let properties = self.properties(header.properties, &deliver);
        let publish = BasicPublish {
            routing_key: Short::cut(&self.queue),
            mandatory: true,
            ..BasicPublish::default()
        };
        to.say(CHANNEL, publish);
        let bytes = properties.to_bytes();
        write_header(&mut to.out, CHANNEL, body.len() as u64, &bytes);
        write_body(&mut to.out, CHANNEL, frame_max, &body);
        let weight = body.len() + bytes.len();
        self.ahead.insert(self.came, weight);
        self.ahead_bytes += weight;
        Ok(())
    }

    /// The properties with which a message enters here: its own, without what would route it once
    /// more or is refused of another user, and with where it came from.
    fn properties(&self, mut given: Properties, deliver: &BasicDeliver) -> Properties {
        let mut headers = given.headers.take().unwrap_or_default();
        for name in ROUTING_HEADERS {
            headers = headers.without(name);
        }
        let texts = [(EXCHANGE_HEADER, &deliver.exchange), (KEY_HEADER, &deliver.routing_key)];
        let known: Vec<_> = headers.fields().map(|(name, _)| name.as_bytes().clone()).collect();
        let new = texts.into_iter().filter(|(name, _)| {
            // Of a message that was moved before, the first place counts.
            !known.iter().any(|known| known == name.as_bytes())
        });
        let new = new.map(|(name, text)| (Short::cut(name), Value::Text(text.as_bytes().clone())));
        given.headers = Some(Table::of_fields(headers.fields().chain(new)));
        given.user_id = given.user_id.filter(|user| user.as_text() == Some(&*self.to.user));
        given
    }

    /// Takes what comes from here: what is confirmed is acked there.
    fn confirm(&mut self, frame: Frame, to: &Incoming, from: &mut Outgoing) -> Result<(), Failure> {
        match to.method(frame)? {
            Some(Method::BasicAck(ack)) => {
                let upto = ack.delivery_tag;
                let first = if ack.multiple { 0 } else { upto };
                let confirmed: Vec<_> = self.ahead.range(first..=upto).map(|it| *it.0).collect();
                for tag in confirmed {
                    self.ahead_bytes -= self.ahead.remove(&tag).unwrap_or(0);
                    self.moved += 1;
                }
                from.say(CHANNEL, BasicAck { delivery_tag: upto, multiple: ack.multiple });
                Ok(())
            }
            Some(Method::BasicNack(_)) => {
                let full = format!("queue \"{}\" takes no more: it is full", self.queue);
                Err(refused(&self.to, &full))
            }
            Some(Method::BasicReturn(_)) => {
                let gone = format!("queue \"{}\" is gone", self.queue);
                Err(refused(&self.to, &gone))
            }
            _ => Ok(()),
        }
    }
}
