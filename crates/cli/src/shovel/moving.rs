//! One queue on its way: consumed there, published here, acked there once it is confirmed here.
//! However it ends, what was confirmed here is acked there before the connection is closed.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use longshore_amqp::codec::methods::{
    BasicAck, BasicCancel, BasicConsume, BasicDeliver, BasicPublish, BasicQos, ConfirmSelect,
};
use longshore_amqp::codec::{
    ContentHeader, Frame, FrameKind, Method, Short, write_body, write_header,
};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::address::Address;
use super::fitting::Fit;
use super::peer::{CHANNEL, Found, Incoming, Outgoing, PATIENCE, Peer, passive};
use super::{Route, broken, refused};
use crate::failure::Failure;
use crate::output::{count, note};

/// Bytes that are on their way, at most, but for one message.
const AHEAD_BYTES: usize = 32 << 20;

/// Between two looks at whether the queue is empty, and two lines about how far it is.
const LOOK: Duration = Duration::from_secs(1);

/// Answers that say that nothing is left, before that is believed: what is on its way to a consumer
/// is not counted, and may be told behind the answer.
const EMPTIES: u8 = 2;

/// For confirms of what is on its way, and for a goodbye, where something else ends it.
const GRACE: Duration = Duration::from_secs(5);

/// Messages that stay which are told one by one.
const TOLD_MAX: u64 = 20;

/// What became of a queue.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) queue: String,
    pub(super) moved: u64,
    /// Messages that stay there, since they do not fit here.
    pub(super) stayed: u64,
    /// Why it ended before the queue was empty, but for a stop.
    pub(super) failure: Option<Failure>,
}

/// A message of which not all has come.
#[derive(Debug)]
struct Arriving {
    deliver: BasicDeliver,
    header: Option<ContentHeader>,
    body: BytesMut,
    /// Bytes of its body that came, also where they are not kept.
    came: u64,
    /// Why it does not fit here.
    unfit: Option<String>,
}

/// A message that was published and not confirmed.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    /// Its delivery there.
    delivery: u64,
    bytes: usize,
}

/// A queue that is moved.
#[derive(Debug)]
pub(super) struct Move {
    from: Peer,
    to: Peer,
    state: State,
}

/// How far it is.
#[derive(Debug)]
struct State {
    route: Route,
    queue: String,
    fit: Fit,
    arriving: Option<Arriving>,
    /// By the numbers of their confirms.
    ahead: BTreeMap<u64, Ahead>,
    ahead_bytes: usize,
    moved: u64,
    /// Deliveries that came whole.
    came: u64,
    /// The number of the last publish.
    published: u64,
    /// Messages that do not fit here.
    stayed: u64,
    /// Those of the present consumer, which count as its unacked ones.
    held: u16,
    /// The number of the present consumer.
    consumer: u32,
    /// A delivery is not to be acked, so none may be acked together with those before it.
    has_gaps: bool,
    /// Why nothing more is taken, where what is on its way may still be confirmed.
    refused: Option<Failure>,
    /// Nothing that is told here counts as a confirm any more.
    is_over: bool,
    /// It may be asked how many wait there.
    may_ask: bool,
    /// It was asked after so many had come, and has not answered.
    asked: Option<u64>,
    /// So often none was left, with nothing in between.
    empties: u8,
}

impl Move {
    /// Connects to both ends, whose queues have to be there.
    pub(super) async fn open(route: &Route, queue: &str) -> Result<Self, Failure> {
        let (from, to) = (&route.from, &route.to);
        let mut target = Peer::open(to).await?;
        match target.find(queue).await? {
            Found::There => {}
            Found::NotThere => {
                let hint = "import the definitions of the other server first, over --management";
                return Err(refused(to, &format!("there is no queue \"{queue}\"")).hint(hint));
            }
            Found::Refused(text) => return Err(refused(to, &text)),
        }
        target.outgoing.say(CHANNEL, ConfirmSelect { nowait: false });
        target.until(|method| matches!(method, Method::ConfirmSelectOk(_))).await?;
        let mut source = Peer::open(from).await?;
        source.outgoing.say(CHANNEL, passive(queue));
        source.until(|method| matches!(method, Method::QueueDeclareOk(_))).await?;
        let qos = BasicQos { prefetch_size: 0, prefetch_count: route.ahead, global: false };
        source.outgoing.say(CHANNEL, qos);
        source.until(|method| matches!(method, Method::BasicQosOk(_))).await?;
        let fit = Fit {
            frame_max: target.incoming.frame_max,
            body_bytes_max: target.body_bytes_max,
            user: to.user.clone(),
            run: route.run.clone(),
        };
        let state = State::new(route.clone(), queue, fit);
        // What it answers is read with what follows: deliveries may stand behind it.
        state.consume(&mut source.outgoing);
        Ok(Self { from: source, to: target, state })
    }

    /// Moves what there is; with `follow` what comes, too, until something breaks or `stop` is set.
    pub(super) async fn run(mut self, follow: bool, stop: watch::Receiver<bool>) -> Ended {
        let is_stopped = stop.clone();
        let ran = self.go(follow, stop).await;
        let is_done = ran.is_ok() && !*is_stopped.borrow();
        if !is_done {
            self.settle().await;
        }
        let Self { from, to, state } = self;
        // Whoever hangs up with something unread may take back what was said last: acks.
        let patience = if is_done { PATIENCE } else { GRACE };
        let acked = from.close(patience).await;
        let told = to.close(patience).await;
        let failure = ran.and(acked).and(told).err();
        Ended { queue: state.queue, moved: state.moved, stayed: state.stayed, failure }
    }

    async fn go(&mut self, follow: bool, mut stop: watch::Receiver<bool>) -> Result<(), Failure> {
        let Self { from, to, state } = self;
        let Peer { incoming: from_in, outgoing: from_out, .. } = from;
        let Peer { incoming: to_in, outgoing: to_out, .. } = to;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = 0;
        loop {
            tokio::select! {
                () = stopped(&mut stop) => return Ok(()),
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
                        note(&format!("{}: {}", state.queue, count(told, "message")));
                    }
                }
            }
            while state.may_read()
                && let Some(frame) = from_in.next()?
            {
                state.take(frame, from_in, from_out, to_out)?;
            }
            while let Some(frame) = to_in.next()? {
                state.confirm(frame, to_in, from_out)?;
            }
            if let Some(failure) = state.refused.take() {
                return Err(failure);
            }
            if !follow && state.has_nothing() {
                if state.empties >= EMPTIES {
                    return Ok(());
                }
                state.ask(from_out);
            }
        }
    }

    /// Takes the confirms of what is on its way, as far as they come soon. Nothing more is taken
    /// from there.
    async fn settle(&mut self) {
        let Self { from, to, state } = self;
        let Peer { incoming: to_in, outgoing: to_out, .. } = to;
        let settled = async {
            loop {
                while let Some(frame) = to_in.next()? {
                    state.confirm(frame, to_in, &mut from.outgoing)?;
                }
                if state.ahead.is_empty() || state.is_over {
                    return Ok::<_, Failure>(());
                }
                tokio::select! {
                    filled = to_in.fill() => filled?,
                    sent = to_out.send_some(), if !to_out.out.is_empty() => sent?,
                }
            }
        };
        // Whatever ends it: why the move ended is known already.
        let _ = timeout(GRACE, settled).await;
    }
}

/// Waits until it is set.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|is_set| *is_set).await;
}

impl State {
    fn new(route: Route, queue: &str, fit: Fit) -> Self {
        Self {
            route,
            queue: queue.to_owned(),
            fit,
            arriving: None,
            ahead: BTreeMap::new(),
            ahead_bytes: 0,
            moved: 0,
            came: 0,
            published: 0,
            stayed: 0,
            held: 0,
            consumer: 0,
            has_gaps: false,
            refused: None,
            is_over: false,
            may_ask: false,
            asked: None,
            empties: 0,
        }
    }

    fn from(&self) -> &Address {
        &self.route.from
    }

    fn to(&self) -> &Address {
        &self.route.to
    }

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

    fn consumer_tag(&self) -> Short {
        Short::cut(&format!("shovel-{}", self.consumer))
    }

    fn consume(&self, from: &mut Outgoing) {
        let (queue, consumer_tag) = (Short::cut(&self.queue), self.consumer_tag());
        from.say(CHANNEL, BasicConsume { queue, consumer_tag, ..BasicConsume::default() });
    }

    /// Takes what comes from there.
    fn take(
        &mut self,
        frame: Frame,
        incoming: &Incoming,
        from: &mut Outgoing,
        to: &mut Outgoing,
    ) -> Result<(), Failure> {
        match frame.kind {
            FrameKind::Method => {
                if let Some(method) = incoming.method(frame)? {
                    self.take_method(method)?;
                }
                return Ok(());
            }
            FrameKind::Header => {
                let header = ContentHeader::read(frame.payload);
                let header = header.map_err(|error| broken(self.from(), error))?;
                let Some(arriving) = &mut self.arriving else {
                    return Err(broken(self.from(), "a header without a delivery"));
                };
                arriving.unfit = self.fit.refuses_body(header.body_bytes);
                arriving.header = Some(header);
            }
            FrameKind::Body => {
                let Some(arriving) = &mut self.arriving else {
                    return Err(broken(self.from(), "a body without a delivery"));
                };
                arriving.came += frame.payload.len() as u64;
                if arriving.came > arriving.header.as_ref().map_or(0, |header| header.body_bytes) {
                    return Err(broken(self.from(), "a body is longer than it said"));
                }
                if arriving.unfit.is_none() {
                    arriving.body.extend_from_slice(&frame.payload);
                }
            }
            FrameKind::Heartbeat => return Ok(()),
        }
        self.pass_on(from, to)
    }

    fn take_method(&mut self, method: Method) -> Result<(), Failure> {
        match method {
            Method::BasicDeliver(deliver) => {
                let (header, body, came, unfit) = (None, BytesMut::new(), 0, None);
                self.empties = 0;
                self.arriving = Some(Arriving { deliver, header, body, came, unfit });
            }
            Method::QueueDeclareOk(declared) => {
                let asked = self.asked.take();
                let is_empty =
                    declared.message_count == 0 && asked == Some(self.came) && self.has_nothing();
                self.empties = if is_empty { self.empties + 1 } else { 0 };
            }
            Method::BasicCancel(cancel) if cancel.consumer_tag == self.consumer_tag() => {
                let gone = format!("queue \"{}\" is gone", self.queue);
                return Err(refused(self.from(), &gone));
            }
            _ => {}
        }
        Ok(())
    }

    /// Publishes the message that arrives, once all of it is there.
    fn pass_on(&mut self, from: &mut Outgoing, to: &mut Outgoing) -> Result<(), Failure> {
        let is_whole =
            |it: &Arriving| it.header.as_ref().is_some_and(|header| header.body_bytes == it.came);
        if !self.arriving.as_ref().is_some_and(is_whole) {
            return Ok(());
        }
        let Some(Arriving { deliver, header: Some(header), body, unfit, .. }) =
            self.arriving.take()
        else {
            return Ok(());
        };
        self.came += 1;
        if self.fit.is_back(&header.properties) {
            let back = "a message came back that was moved just now: it is the server that \
                        messages enter, by another name";
            return Err(refused(self.from(), back));
        }
        let properties = match unfit {
            Some(why) => Err(why),
            None => self.fit.properties(header.properties, &deliver),
        };
        let properties = match properties {
            Ok(properties) => properties,
            Err(why) => {
                self.stay(&deliver, header.body_bytes, &why, from);
                return Ok(());
            }
        };
        let publish = BasicPublish {
            routing_key: Short::cut(&self.queue),
            mandatory: true,
            ..BasicPublish::default()
        };
        to.say(CHANNEL, publish);
        write_header(&mut to.out, CHANNEL, body.len() as u64, &properties);
        write_body(&mut to.out, CHANNEL, self.fit.frame_max, &body);
        let bytes = body.len() + properties.len();
        self.published += 1;
        self.ahead.insert(self.published, Ahead { delivery: deliver.delivery_tag, bytes });
        self.ahead_bytes += bytes;
        Ok(())
    }

    /// Leaves a message unacked: it is back in its queue once the connection is closed.
    fn stay(&mut self, deliver: &BasicDeliver, bytes: u64, why: &str, from: &mut Outgoing) {
        self.stayed += 1;
        self.has_gaps = true;
        let (queue, key) = (&self.queue, String::from_utf8_lossy(deliver.routing_key.as_bytes()));
        if self.stayed <= TOLD_MAX {
            let what = format!("a message of {} with routing key \"{key}\"", count(bytes, "byte"));
            note(&format!("{queue}: {what} stays where it is: {why}"));
        } else if self.stayed == TOLD_MAX + 1 {
            note(&format!("{queue}: more messages stay where they are, which are only counted"));
        }
        self.held += 1;
        // What a consumer holds would leave it no room for others at last. It keeps what it has
        // when it is canceled, and the next begins with none.
        if self.held >= self.route.ahead.div_ceil(2) {
            let consumer_tag = self.consumer_tag();
            from.say(CHANNEL, BasicCancel { consumer_tag, nowait: true });
            self.consumer += 1;
            self.held = 0;
            self.consume(from);
        }
    }

    /// Takes what comes from here: what is confirmed is acked there.
    fn confirm(&mut self, frame: Frame, to: &Incoming, from: &mut Outgoing) -> Result<(), Failure> {
        if self.is_over {
            return Ok(());
        }
        let confirmed = to.method(frame).and_then(|method| self.confirm_method(method, from));
        self.is_over = confirmed.is_err();
        confirmed
    }

    fn confirm_method(
        &mut self,
        method: Option<Method>,
        from: &mut Outgoing,
    ) -> Result<(), Failure> {
        match method {
            Some(Method::BasicAck(ack)) => {
                let deliveries = self.answered(ack.delivery_tag, ack.multiple);
                self.moved += deliveries.len() as u64;
                let multiple = ack.multiple && !self.has_gaps;
                // All before the last one are acked with it, or were.
                let skipped = if multiple { deliveries.len().saturating_sub(1) } else { 0 };
                for delivery_tag in deliveries.into_iter().skip(skipped) {
                    from.say(CHANNEL, BasicAck { delivery_tag, multiple });
                }
            }
            Some(Method::BasicNack(nack)) => {
                self.answered(nack.delivery_tag, nack.multiple);
                self.has_gaps = true;
                let full = format!("queue \"{}\" takes no more: it is full", self.queue);
                self.refused.get_or_insert_with(|| refused(&self.route.to, &full));
            }
            // It is confirmed like the others, and which it was is not told.
            Some(Method::BasicReturn(_)) => {
                let gone = format!("queue \"{}\" is gone", self.queue);
                return Err(refused(self.to(), &gone));
            }
            _ => {}
        }
        Ok(())
    }

    /// The deliveries that an answer is about, in order. One about what is not ahead, which 0 never
    /// is, is about none.
    fn answered(&mut self, number: u64, multiple: bool) -> Vec<u64> {
        if !self.ahead.contains_key(&number) {
            return Vec::new();
        }
        let later = if multiple { self.ahead.split_off(&(number + 1)) } else { BTreeMap::new() };
        let answered = if multiple {
            std::mem::replace(&mut self.ahead, later)
        } else {
            self.ahead.remove_entry(&number).into_iter().collect()
        };
        self.ahead_bytes -= answered.values().map(|it| it.bytes).sum::<usize>();
        answered.into_values().map(|it| it.delivery).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(ahead: u64) -> State {
        let address = |text: &str| text.parse::<Address>().unwrap();
        let (from, to) = (address("amqp://old"), address("amqp://new"));
        let route = Route { from, to, ahead: 10, run: "a run".to_owned() };
        let (user, run) = ("guest".to_owned(), "a run".to_owned());
        let fit = Fit { frame_max: 4096, body_bytes_max: 1000, user, run };
        let mut state = State::new(route, "q", fit);
        for number in 1..=ahead {
            // As where the first ten deliveries stayed.
            state.ahead.insert(number, Ahead { delivery: number + 10, bytes: 1 });
            state.ahead_bytes += 1;
        }
        state
    }

    #[test]
    fn an_answer_is_about_what_is_ahead_and_nothing_else() {
        let mut state = state(5);
        for (number, multiple) in [(0, true), (0, false), (6, true), (6, false), (u64::MAX, true)] {
            assert!(state.answered(number, multiple).is_empty(), "{number} {multiple}");
        }
        assert_eq!(state.answered(2, false), [12]);
        assert!(state.answered(2, true).is_empty());
        assert_eq!(state.answered(4, true), [11, 13, 14]);
        assert_eq!((state.ahead.len(), state.ahead_bytes), (1, 1));
    }
}
