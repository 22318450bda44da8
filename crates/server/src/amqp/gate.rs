//! What a connection has asked and could not ask yet: while the disk or memory is low, and until
//! its turn comes where its account may publish so much in a second, what is published waits here,
//! and everything else goes past it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use longshore_amqp::{Ask, Credentials, Session, Unanswered};
use longshore_engine::{Answer, AuditedCommand, Command, MessageCommand, Rejection};
use longshore_node::{Cause, News, Node, Unavailable, Wire};
use tokio::sync::mpsc;

use crate::access::{LOOK_AGAIN, Pace, Principal};
use crate::http::DEFAULT_NAMESPACE;

/// The number of the question whether there is the namespace; a session's begin with 1.
const OPENING: u64 = 0;
/// That of a command whose answer is for nobody; sessions do not get there.
const NOBODYS: u64 = u64::MAX;
/// How often it is tried again to publish what waits.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// Between a session and its shard.
#[derive(Debug)]
pub(super) struct Gate {
    node: Node,
    /// A namespace comes into being with its first use.
    makes_namespaces: bool,
    news: mpsc::UnboundedSender<News>,
    /// Once it is known which namespace it is.
    wire: Option<Wire>,
    /// What is published and waits, the oldest first. Where the client has closed the connection,
    /// its end stands behind that: after it nothing could be published.
    held: VecDeque<(u64, MessageCommand)>,
    /// What else waits, since the shard's inbox was full.
    others: VecDeque<(u64, MessageCommand)>,
    /// Why it waits.
    reason: String,
    /// What a client has shown of itself, to be looked at.
    credentials: Option<Credentials>,
    /// The account that asks, for the trail of changes; `None` where nobody is asked who it is.
    asker: Option<String>,
    /// When it is the turn of what is published.
    pace: Pace,
    /// When something is tried again for which there was no room.
    room_at: Option<Instant>,
}

impl Gate {
    pub(super) fn new(
        node: Node,
        makes_namespaces: bool,
        news: mpsc::UnboundedSender<News>,
    ) -> Self {
        let (held, others, reason) = (VecDeque::new(), VecDeque::new(), String::new());
        let (pace, room_at) = (Pace::of(Principal::Nobody), None);
        Self {
            node,
            makes_namespaces,
            news,
            wire: None,
            held,
            others,
            reason,
            credentials: None,
            asker: None,
            pace,
            room_at,
        }
    }

    /// What a client has shown of itself since this was asked.
    pub(super) fn take_credentials(&mut self) -> Option<Credentials> {
        self.credentials.take()
    }

    /// Whom the trail of changes is to name, and by whose rate it is published.
    pub(super) fn set_asker(&mut self, who: &Principal, session: &mut Session) {
        self.asker = (!who.is_local()).then(|| who.name().to_owned());
        self.pace = Pace::of(who.clone());
        session.limit_publishes(self.pace.per_second());
    }

    /// When what waits is to be tried again; `None` where nothing does.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        let holds = !self.held.is_empty() || !self.others.is_empty();
        let turn_at = || Instant::now() + self.pace.left().min(LOOK_AGAIN);
        holds.then(|| self.room_at.unwrap_or_else(turn_at))
    }

    /// Whether the end of the connection waits for what was published before it.
    pub(super) fn holds_end(&self) -> bool {
        self.held.back().is_some_and(|(_, command)| is_end(command))
    }

    /// Whether what is published waits for its turn, and not for room.
    pub(super) fn waits_for_turn(&self) -> bool {
        !self.held.is_empty() && self.room_at.is_none()
    }

    /// Whether what the client sent waits for its turn or for room.
    pub(super) fn holds(&self) -> bool {
        !self.held.is_empty()
    }

    /// The client has gone: nothing waits for its turn any more, see [`Pace::hurry`].
    pub(super) fn hurry(&mut self) {
        self.pace.hurry();
    }

    /// Nothing of what is published and waits may be published any more.
    pub(super) fn refuse_held(&mut self, session: &mut Session, why: &str) {
        self.pace.give_back();
        for (number, command) in std::mem::take(&mut self.held) {
            if is_end(&command) {
                self.call(session, number, command);
            } else {
                session.answer(number, Err(Unanswered::Blocked(why.to_owned())));
            }
        }
    }

    /// Does what the session asks for.
    pub(super) fn serve(&mut self, session: &mut Session) {
        self.ask(session);
        // A connection that consumes is read in any case: it is told, and what waits is refused
        // where it goes on all the same, once what was published before it is answered.
        if !self.held.is_empty() && session.consumes() {
            session.block(Some(&self.reason));
        }
        while session.is_stuffed()
            && session.consumes()
            && self.may_refuse(session)
            && let Some((number, _)) = self.held.pop_front()
        {
            self.pace.give_back();
            let why = format!("publishing is blocked: {}", self.reason);
            session.answer(number, Err(Unanswered::Blocked(why)));
            self.ask(session);
        }
        // Where all of it was refused nothing is left that would tell so.
        if self.held.is_empty() {
            session.block(None);
        }
    }

    /// Whether the oldest that waits may be refused: it is its turn to be answered, and it is not
    /// alone. A message that takes all the room waits for its turn like any other; for room, which
    /// may not come for long, nothing waits that keeps the connection from being read.
    fn may_refuse(&self, session: &Session) -> bool {
        self.held.front().is_some_and(|(number, command)| {
            let own = published_by(command) as usize;
            let is_alone = self.room_at.is_none()
                && self.held.len() == 1
                && session.publishes_under_way() <= own;
            session.is_oldest_publish(*number) && !is_alone
        })
    }

    fn ask(&mut self, session: &mut Session) {
        while let Some(ask) = session.next_ask() {
            match ask {
                Ask::Open { namespace } => {
                    let wire = self.node.wire(&namespace, self.news.clone());
                    self.makes_namespaces |= namespace == DEFAULT_NAMESPACE;
                    if let Err((why, _)) = wire.post(OPENING, Command::GetNamespace) {
                        session.namespace_found(Err(Unanswered::Unknown(why.to_string())));
                    }
                    self.wire = Some(wire);
                }
                Ask::LogIn { credentials } => self.credentials = Some(credentials),
                Ask::Call { number, command } => self.call(session, number, command),
                Ask::Gone { consumer } => {
                    // Its end may be a while yet, and it is to be given nothing until then.
                    if session.is_leaving() && !self.held.is_empty() {
                        self.call(session, NOBODYS, MessageCommand::Cancel { consumer });
                    }
                    if let Some(wire) = &self.wire {
                        wire.forget(consumer);
                    }
                }
            }
        }
    }

    fn call(&mut self, session: &mut Session, number: u64, command: MessageCommand) {
        let Some(wire) = &self.wire else { return };
        let published = published_by(&command);
        let publishes = published > 0;
        // The end that a client asks for comes behind what it has published; any other one is for
        // those whose messages are not taken any more.
        let ends = !self.held.is_empty() && is_end(&command) && session.is_leaving();
        let line = if publishes || ends { &mut self.held } else { &mut self.others };
        if !line.is_empty() {
            return line.push_back((number, command));
        }
        if publishes {
            let most = self.pace.per_second();
            session.limit_publishes(most);
            if let Some(most) = most
                && !self.pace.wait(published).is_zero()
            {
                let who = self.asker.as_deref().unwrap_or_default();
                self.reason = format!("account '{who}' may publish {most} messages in a second");
                return line.push_back((number, command));
            }
        }
        let command = audited(self.asker.as_deref(), command);
        let Err((why, command)) = wire.post(number, command) else {
            if publishes {
                self.pace.spend();
            }
            return;
        };
        match messages_of(*command) {
            Some(command) if is_passing(&why) => {
                line.push_back((number, command));
                self.room_at = Some(Instant::now() + RETRY_EVERY);
                if publishes {
                    self.reason.clone_from(&why.reason);
                    session.block(Some(&why.reason));
                }
            }
            _ => session.answer(number, Err(unanswered(&why))),
        }
    }

    /// Tries again what waits.
    pub(super) fn retry(&mut self, session: &mut Session) {
        let Some(wire) = &self.wire else { return };
        self.room_at = None;
        if !self.held.is_empty() {
            session.limit_publishes(self.pace.per_second());
        }
        for line in [&mut self.others, &mut self.held] {
            while let Some((number, command)) = line.pop_front() {
                let published = published_by(&command);
                if published > 0 && !self.pace.wait(published).is_zero() {
                    line.push_front((number, command));
                    break;
                }
                let command = audited(self.asker.as_deref(), command);
                let posted = wire.post(number, command);
                let Err((why, command)) = posted else {
                    if published > 0 {
                        self.pace.spend();
                    }
                    continue;
                };
                match messages_of(*command) {
                    Some(command) if is_passing(&why) => {
                        line.push_front((number, command));
                        self.room_at = Some(Instant::now() + RETRY_EVERY);
                        if published > 0 {
                            self.reason.clone_from(&why.reason);
                            session.block(Some(&why.reason));
                        }
                        break;
                    }
                    _ => session.answer(number, Err(unanswered(&why))),
                }
            }
        }
        if self.held.is_empty() {
            session.block(None);
        }
    }

    /// Tells the session what its shard has said.
    pub(super) fn hear(&mut self, session: &mut Session, news: News) {
        match news {
            News::Messages(messages) => {
                let (consumer, messages) = messages.take();
                session.deliver(consumer, messages);
            }
            News::Closed(consumer, reason) => session.consumer_closed(consumer, reason),
            News::Answer { number: OPENING, answer } => {
                let found = match *answer {
                    // As HTTP has it with the first job.
                    Answer::Rejected(Rejection::NamespaceUnknown { .. })
                        if self.makes_namespaces && self.create_namespace() =>
                    {
                        return;
                    }
                    Answer::Rejected(rejection) => Err(Unanswered::Refused(rejection)),
                    _ => Ok(()),
                };
                session.namespace_found(found);
            }
            News::Unanswered { number: OPENING } => {
                session.namespace_found(Err(self.unknown()));
            }
            News::Answer { number, answer } => {
                let answer = match *answer {
                    Answer::Messages(answer) => Ok(answer),
                    Answer::Rejected(rejection) => Err(Unanswered::Refused(rejection)),
                    other => Err(Unanswered::Unknown(format!("an answer to nothing: {other:?}"))),
                };
                session.answer(number, answer);
            }
            News::Unanswered { number } => session.answer(number, Err(self.unknown())),
            // Nothing more comes for a consumer that was forgotten; jobs go to workers.
            News::Left | News::Jobs(_) => {}
        }
    }

    /// Asks for the namespace, once. Its answer comes as that to the question whether it is there.
    fn create_namespace(&mut self) -> bool {
        self.makes_namespaces = false;
        let Some(wire) = &self.wire else { return false };
        wire.post(OPENING, Command::CreateNamespace).is_ok()
    }

    fn unknown(&self) -> Unanswered {
        let why = self.wire.as_ref().map(|wire| wire.unavailable().to_string());
        Unanswered::Unknown(why.unwrap_or_default())
    }

    /// What the session still asks for has to happen, whatever becomes of the connection. What was
    /// published waits no longer: what may not go at once, or has no room, is given up.
    pub(super) fn finish(mut self, session: &mut Session) -> Option<(Wire, Vec<Command>)> {
        let wire = self.wire.take()?;
        self.pace.hurry();
        let mut commands: Vec<_> = self.held.drain(..).map(|(_, command)| command).collect();
        while let Some(ask) = session.next_ask() {
            match ask {
                Ask::Call { command, .. } => commands.push(command),
                Ask::Gone { consumer } => wire.forget(consumer),
                Ask::Open { .. } | Ask::LogIn { .. } => {}
            }
        }
        let others = self.others.drain(..);
        let mut left: Vec<_> = others.map(|(_, command)| Command::Messages(command)).collect();
        for command in commands {
            let published = published_by(&command);
            let command = Command::Messages(command);
            if published > 0 {
                if self.pace.wait(published).is_zero() && wire.post(OPENING, command).is_ok() {
                    self.pace.spend();
                }
            } else if !left.is_empty() {
                left.push(command);
            } else if let Err((why, command)) = wire.post(OPENING, command)
                && is_passing(&why)
            {
                left.push(*command);
            }
        }
        (!left.is_empty()).then_some((wire, left))
    }
}

/// Whether it is the end of the connection.
fn is_end(command: &MessageCommand) -> bool {
    matches!(command, MessageCommand::CloseConnection { .. })
}

/// What changes something that administrators care for goes to the trail of changes with it.
fn audited(asker: Option<&str>, command: MessageCommand) -> Command {
    let command = Command::Messages(command);
    match asker {
        Some(by) if command.is_audited() => {
            Command::Audited(Box::new(AuditedCommand { by: by.to_owned(), command }))
        }
        _ => command,
    }
}

/// What was wrapped so.
fn messages_of(command: Command) -> Option<MessageCommand> {
    match command {
        Command::Messages(command) => Some(command),
        Command::Audited(audited) => messages_of(audited.command),
        _ => None,
    }
}

/// How many messages it brings in, for which there may be no room.
fn published_by(command: &MessageCommand) -> u32 {
    let count = match command {
        MessageCommand::Publish(messages) => messages.len(),
        MessageCommand::Transact(transaction) => transaction.publishes.len(),
        _ => 0,
    };
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Whether it may be tried again in a moment.
pub(super) fn is_passing(why: &Unavailable) -> bool {
    match why.cause {
        Cause::Overloaded | Cause::DiskLow | Cause::MemoryLow => true,
        Cause::Starting | Cause::Stopped | Cause::Stopping | Cause::Bug => false,
    }
}

fn unanswered(why: &Unavailable) -> Unanswered {
    match why.cause {
        Cause::Stopping => Unanswered::Refused(Rejection::Stopping),
        _ => Unanswered::Unknown(why.to_string()),
    }
}
