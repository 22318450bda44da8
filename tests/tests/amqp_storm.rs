//! Publishers, consumers and a mover over AMQP while the server is killed again and again. The
//! verdict is by total-queue, from the clients' own histories: what was confirmed comes, what was
//! acked (and a later answer heard) comes never again, what may have been delivered before says so,
//! a queue with one consumer keeps its order, and what a transaction moves is in one queue, once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use longshore_amqp::codec::methods::{
    BasicAck, BasicPublish, BasicQos, ConfirmSelect, QueueDeclare, TxCommit, TxSelect,
};
use longshore_amqp::codec::{Method, Short, write_body, write_header, write_method};
use longshore_tests::amqp::{Connection, Delivered};
use longshore_tests::random::Random;
use longshore_tests::server::Server;
use longshore_tests::{tier, wait};

/// What publishers fill, and one consumer empties.
const PLAIN: &str = "plain";
/// What publishers fill, and the mover empties into the next.
const FROM: &str = "from";
const TO: &str = "to";
const PUBLISHERS: u64 = 3;
/// The flags and the value of a delivery mode of 2.
const PERSISTENT: [u8; 3] = [0x10, 0, 2];
const FRAME_MAX: usize = 4096;

/// A message by its publisher and its number there.
type Id = (u64, u64);

/// What clients know. Each part is written by whoever it is about.
#[derive(Debug, Default)]
struct History {
    published: BTreeMap<&'static str, BTreeSet<Id>>,
    confirmed: BTreeMap<&'static str, BTreeSet<Id>>,
    /// What came to the consumer of `PLAIN`.
    delivered: BTreeSet<Id>,
    /// And what it has acked, and heard of something that came after that.
    acked: BTreeSet<Id>,
    wrong: Vec<String>,
}

/// What all share.
struct Storm {
    address: Mutex<String>,
    history: Mutex<History>,
    /// No more is published.
    is_over: AtomicBool,
    /// Consumers may stop.
    is_drained: AtomicBool,
}

impl Storm {
    fn history<T>(&self, change: impl FnOnce(&mut History) -> T) -> T {
        change(&mut self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn connect(&self) -> Result<Connection> {
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Connection::with_channel(&address)
    }

    /// Does something with one connection after the other, until it says that it is done.
    fn keep_on(&self, mut work: impl FnMut(&mut Connection) -> Result<()>) {
        while !self.is_drained.load(Ordering::Relaxed) {
            // However it ends, the server was killed: there is another one in a moment.
            let worked = self.connect().and_then(|mut connection| work(&mut connection));
            if worked.is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Publishes with confirms, many at a time.
    fn publish(&self, publisher: u64, seed: u64) {
        let (mut random, mut next) = (Random::new(seed), 0);
        self.keep_on(|connection| {
            connection.say(1, ConfirmSelect { nowait: false })?;
            connection.wait_for(|method| matches!(method, Method::ConfirmSelectOk(_)))?;
            let mut tag = 0;
            while !self.is_over.load(Ordering::Relaxed) {
                let queue = if random.once_in(2) { PLAIN } else { FROM };
                let ids: Vec<Id> = (0..=random.below(30))
                    .map(|_| {
                        next += 1;
                        (publisher, next)
                    })
                    .collect();
                self.history(|history| {
                    history.published.entry(queue).or_default().extend(&ids);
                });
                let mut out = Vec::new();
                for id in &ids {
                    publish(&mut out, queue, *id);
                }
                connection.send(&out)?;
                tag += ids.len() as u64;
                let all = |method: &Method| {
                    matches!(method, Method::BasicAck(ack) if ack.delivery_tag == tag)
                };
                connection.wait_for(all)?;
                self.history(|history| {
                    history.confirmed.entry(queue).or_default().extend(&ids);
                });
            }
            Ok(())
        });
    }

    /// Consumes from a queue that is nobody else's, and acks some at a time.
    fn consume(&self, seed: u64) {
        let mut random = Random::new(seed);
        self.keep_on(|connection| {
            let prefetch_count = 1 + random.below(40) as u16;
            connection.say(1, BasicQos { prefetch_count, ..BasicQos::default() })?;
            connection.consume(PLAIN, false)?;
            let (mut last, mut unacked) = (BTreeMap::new(), Vec::new());
            // With all of its credit in its hands it would be given nothing more.
            let most = usize::from(prefetch_count.min(10));
            while !self.is_drained.load(Ordering::Relaxed) {
                let Some(delivered) = connection.delivered(Duration::from_millis(50))? else {
                    continue;
                };
                let id = id_of(&delivered)?;
                self.check(id, &delivered, &mut last);
                unacked.push(id);
                if random.once_in(u64::from(prefetch_count).min(10)) || unacked.len() >= most {
                    let delivery_tag = delivered.delivery_tag;
                    connection.say(1, BasicAck { delivery_tag, multiple: true })?;
                    if random.once_in(3) {
                        // What is heard after that was decided after it.
                        connection.declare_beside(queue(PLAIN))?;
                        self.history(|history| history.acked.extend(unacked.drain(..)));
                    }
                    unacked.clear();
                }
            }
            Ok(())
        });
    }

    fn check(&self, id: Id, delivered: &Delivered, last: &mut BTreeMap<u64, u64>) {
        self.history(|history| {
            let (publisher, number) = id;
            let mut wrong = |what: &str| history.wrong.push(format!("{id:?} {what}"));
            if !history.published.get(PLAIN).is_some_and(|all| all.contains(&id)) {
                wrong("was never published");
            }
            if history.acked.contains(&id) {
                wrong("comes again after its ack");
            }
            let before = last.insert(publisher, number).unwrap_or_default();
            if before >= number {
                wrong(&format!("comes after {before}"));
            }
            if !history.delivered.insert(id) && !delivered.redelivered {
                wrong("comes again and does not say so");
            }
        });
    }

    /// Moves messages from one queue to another, a few in each transaction.
    fn move_on(&self, seed: u64) {
        let mut random = Random::new(seed);
        self.keep_on(|connection| {
            connection.say(1, TxSelect {})?;
            connection.say(1, BasicQos { prefetch_count: 20, ..BasicQos::default() })?;
            connection.consume(FROM, false)?;
            while !self.is_drained.load(Ordering::Relaxed) {
                let mut out = Vec::new();
                for _ in 0..=random.below(5) {
                    let Some(delivered) = connection.delivered(Duration::from_millis(20))? else {
                        break;
                    };
                    publish(&mut out, TO, id_of(&delivered)?);
                    let (delivery_tag, multiple) = (delivered.delivery_tag, false);
                    write_method(&mut out, 1, &BasicAck { delivery_tag, multiple }.into());
                }
                if !out.is_empty() {
                    write_method(&mut out, 1, &TxCommit {}.into());
                    connection.send(&out)?;
                    connection.wait_beside(|method| matches!(method, Method::TxCommitOk(_)))?;
                }
            }
            Ok(())
        });
    }
}

fn publish(out: &mut Vec<u8>, queue: &str, (publisher, number): Id) {
    let to = BasicPublish { routing_key: Short::cut(queue), ..BasicPublish::default() };
    write_method(out, 1, &to.into());
    let body = format!("{publisher} {number}");
    write_header(out, 1, body.len() as u64, &PERSISTENT);
    write_body(out, 1, FRAME_MAX, body.as_bytes());
}

fn id_of(delivered: &Delivered) -> Result<Id> {
    let text = std::str::from_utf8(&delivered.body)?;
    let (publisher, number) = text.split_once(' ').context("two numbers")?;
    Ok((publisher.parse()?, number.parse()?))
}

fn queue(name: &str) -> QueueDeclare {
    QueueDeclare { queue: Short::cut(name), durable: true, ..QueueDeclare::default() }
}

fn start(data: &Path) -> Result<(Server, String)> {
    let server = Server::start_with(data, &["--amqp", "127.0.0.1:0"])?;
    let address = server.next_address("amqp")?;
    Ok((server, address))
}

/// What a queue holds in the end. What its consumer had in its hands goes back to it a moment
/// later, so it is waited until all that was confirmed is somewhere.
fn held(storm: &Storm, name: &'static str, others: &[Id]) -> Result<Vec<Id>> {
    let mut connection = storm.connect()?;
    connection.consume(name, false)?;
    let mut missing = storm.history(|history| history.confirmed.get(FROM).cloned());
    if let Some(missing) = &mut missing {
        missing.retain(|id| !others.contains(id));
    }
    let mut ids = Vec::new();
    // All of it is there, or on its way back.
    let mut patience = Duration::from_secs(1);
    while let Some(delivered) = connection.delivered(patience)? {
        let id = id_of(&delivered)?;
        ids.push(id);
        if let Some(missing) = &mut missing {
            missing.remove(&id);
            patience = Duration::from_secs(if missing.is_empty() { 1 } else { 10 });
        }
    }
    Ok(ids)
}

fn verdict(storm: &Storm, moved: &[Id], left: &[Id]) -> Vec<String> {
    storm.history(|history| {
        let none = BTreeSet::new();
        let mut wrong = std::mem::take(&mut history.wrong);
        let confirmed = |queue| history.confirmed.get(queue).unwrap_or(&none);
        let lost = confirmed(PLAIN).difference(&history.delivered);
        wrong.extend(lost.map(|id| format!("{id:?} was confirmed and is lost")));
        let once: BTreeSet<Id> = moved.iter().copied().collect();
        if once.len() != moved.len() {
            wrong.push(format!("{} were moved twice", moved.len() - once.len()));
        }
        let left: BTreeSet<Id> = left.iter().copied().collect();
        let twice = once.intersection(&left);
        wrong.extend(twice.map(|id| format!("{id:?} was moved and is where it was")));
        let all: BTreeSet<Id> = once.union(&left).copied().collect();
        let lost = confirmed(FROM).difference(&all);
        wrong.extend(lost.map(|id| format!("{id:?} was confirmed and lost when it was moved")));
        let published = history.published.get(FROM).unwrap_or(&none);
        let invented = once.difference(published);
        wrong.extend(invented.map(|id| format!("{id:?} was moved and never published")));
        wrong
    })
}

#[test]
fn what_was_confirmed_acked_and_moved_stays_so_however_often_the_server_is_killed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let (mut server, address) = start(&data)?;
    let storm = Storm {
        address: Mutex::new(address),
        history: Mutex::default(),
        is_over: AtomicBool::new(false),
        is_drained: AtomicBool::new(false),
    };
    let mut connection = storm.connect()?;
    for name in [PLAIN, FROM, TO] {
        connection.declare(queue(name))?;
    }
    drop(connection);
    let mut random = Random::new(u64::from(std::process::id()));
    let seeds: Vec<u64> = (0..PUBLISHERS + 2).map(|_| random.number()).collect();
    let outcome = thread::scope(|scope| {
        let storm = &storm;
        for (publisher, seed) in (0..PUBLISHERS).zip(&seeds) {
            scope.spawn(move || storm.publish(publisher, *seed));
        }
        let (consumer, mover) = (seeds[PUBLISHERS as usize], seeds[PUBLISHERS as usize + 1]);
        scope.spawn(move || storm.consume(consumer));
        scope.spawn(move || storm.move_on(mover));
        let outcome = torment(storm, &mut server, &data, &mut random);
        storm.is_over.store(true, Ordering::Relaxed);
        let outcome = outcome.and_then(|()| drain(storm));
        storm.is_drained.store(true, Ordering::Relaxed);
        outcome
    });
    outcome.with_context(|| server.log_text())?;
    let moved = held(&storm, TO, &[])?;
    let left = held(&storm, FROM, &moved)?;
    let wrong = verdict(&storm, &moved, &left);
    ensure!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    let confirmed: usize =
        storm.history(|history| history.confirmed.values().map(BTreeSet::len).sum());
    ensure!(confirmed > 1000, "only {confirmed} were confirmed: a storm does more");
    ensure!(server.terminate()?.success(), "{}", server.log_text());
    Ok(())
}

/// Kills the server at random moments, and starts it again.
fn torment(storm: &Storm, server: &mut Server, data: &Path, random: &mut Random) -> Result<()> {
    for kill in 1..=tier::pick(12, 250) {
        thread::sleep(Duration::from_millis(100 + random.below(400)));
        server.kill()?;
        let (again, address) = start(data).with_context(|| format!("start after kill {kill}"))?;
        *server = again;
        *storm.address.lock().unwrap_or_else(PoisonError::into_inner) = address;
    }
    Ok(())
}

/// Waits until what was published has been consumed and moved.
fn drain(storm: &Storm) -> Result<()> {
    let mut connection = storm.connect()?;
    for name in [PLAIN, FROM] {
        wait::until("the queues are empty", || {
            if let Some(wrong) = storm.history(|history| history.wrong.first().cloned()) {
                bail!("{wrong}");
            }
            Ok((connection.declare(queue(name))?.1 == 0).then_some(()))
        })?;
    }
    // What is with them is settled in a moment, or goes back.
    let is_all_there = || {
        storm.history(|history| {
            let confirmed = history.confirmed.get(PLAIN);
            confirmed.is_none_or(|all| all.is_subset(&history.delivered))
        })
    };
    wait::until("all that was confirmed comes", || Ok(is_all_there().then_some(())))
}
