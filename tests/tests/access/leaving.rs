//! What publishers sent that wait for their turn, and go before it comes, is published at once,
//! however they go.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use longshore_amqp::codec::methods::{ConfirmSelect, QueueDeclare};
use longshore_amqp::codec::{Method, Short};
use longshore_tests::amqp::{Connection, publish};
use longshore_tests::kafka::{self, authenticate, handshake};
use longshore_tests::server::Server;
use longshore_tests::tls::{connect, shows};
use longshore_tests::wait::{self, PATIENCE};

/// How many messages each of the slow accounts sends, of which it may publish one in a second.
const MESSAGES: u32 = 25;
/// Less than it would take them to be published in their turns.
const SOON: Duration = Duration::from_secs(20);
/// A batch of one event of Kafka.
const BATCH: [u8; 75] = *b"\0\0\0\0\0\0\0\0\0\0\0\x3f\xff\xff\xff\xff\x02\xf1\x6d\xda\x77\0\0\0\0\
    \0\0\0\0\0\0\0\0\x03\xe8\0\0\0\0\0\0\x03\xe8\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
    \xff\xff\xff\0\0\0\x01\x1a\0\0\0\x01\x0emessage\0";

/// A server with the account `app` and slow ones, each of which may do everything.
fn start(folder: &Path, slow: &[(&str, u32)], more: &[&str]) -> Result<Server> {
    let account = |name: &str, rate: Option<u32>| {
        let rate = rate.map(|rate| format!("requests_per_second = {rate}\n")).unwrap_or_default();
        format!(
            "[[account]]\nname = \"{name}\"\npassword = \"secret of {name}\"\n{rate}\
             grants = [{{ role = \"admin\", namespace = \"default\", names = \"*\" }}]\n"
        )
    };
    let slow = slow.iter().map(|(name, rate)| account(name, Some(*rate)));
    let accounts = [account("app", None)].into_iter().chain(slow).collect::<String>();
    let file = folder.join("accounts.toml");
    std::fs::write(&file, accounts)?;
    let file = format!("--accounts-file={}", file.display());
    super::start(&folder.join("data"), &[], &[&[file.as_str()][..], more].concat())
}

fn queue(name: &str) -> QueueDeclare {
    QueueDeclare { queue: Short::cut(name), durable: true, ..QueueDeclare::default() }
}

/// How many messages and consumers a queue has.
fn counts(app: &mut Connection, name: &str) -> Result<(u32, u32)> {
    app.say(1, queue(name))?;
    let told = app.wait_for(|method| matches!(method, Method::QueueDeclareOk(_)))?;
    let Method::QueueDeclareOk(declared) = told else { bail!("{told:?}") };
    Ok((declared.message_count, declared.consumer_count))
}

/// Sends messages, and has the first one confirmed.
fn send<S: Read + Write>(connection: &mut Connection<S>, way: &str, mail: &str) -> Result<()> {
    connection.open_channel(1)?;
    if way.starts_with("consuming") {
        connection.consume(mail, true)?;
    }
    connection.say(1, ConfirmSelect::default())?;
    connection.wait_for(|method| matches!(method, Method::ConfirmSelectOk(_)))?;
    let mut messages = Vec::new();
    for _ in 0..MESSAGES {
        publish(&mut messages, 1, way, b"message");
    }
    connection.send(&messages)
}

/// What was read of a publisher that has gone and waited for its turn was lost, or its consumers
/// stayed until all of it was published: they were given messages that nobody got.
#[test]
fn what_waits_over_amqp_is_published_at_once_where_the_client_goes_and_its_consumers_go()
-> Result<()> {
    let folder = tempfile::tempdir()?;
    let ways = ["ended", "reset", "cut", "consuming-ended", "consuming-reset", "consuming-cut"];
    let [certificate, key] = shows("server");
    let more = ["--amqp", "127.0.0.1:0", "--amqps", "127.0.0.1:0", &certificate, &key];
    let server = start(folder.path(), &ways.map(|name| (name, 1)), &more)?;
    let (amqp, amqps) = (server.next_address("amqp")?, server.next_address("amqps")?);
    let open =
        |name: &str| Connection::silent(&amqp)?.logged_in(name, &format!("secret of {name}"));
    let mut app = open("app")?;
    app.open_channel(1)?;
    for way in ways {
        let mail = format!("mail of {way}");
        app.declare(queue(way))?;
        app.declare(queue(&mail))?;
        let begun = Instant::now();
        if way.ends_with("cut") {
            // The line ends without the end of TLS.
            let connection = Connection::over(connect(&amqps, None, &[])?);
            let mut connection = connection.logged_in(way, &format!("secret of {way}"))?;
            send(&mut connection, way, &mail)?;
        } else {
            let mut connection = open(way)?;
            send(&mut connection, way, &mail)?;
            if way.ends_with("reset") {
                connection.reset()?;
            }
        }
        wait::until(&format!("all messages of who was {way}"), || {
            let (messages, _) = counts(&mut app, way)?;
            ensure!(messages <= MESSAGES, "{messages} messages of who was {way}");
            Ok((messages == MESSAGES).then_some(()))
        })?;
        wait::until(&format!("the end of who was {way}"), || {
            let (_, consumers) = counts(&mut app, &mail)?;
            Ok((consumers == 0).then_some(()))
        })?;
        let took = begun.elapsed();
        ensure!(took < SOON, "who was {way} took {took:?}");
        let mut message = Vec::new();
        publish(&mut message, 1, &mail, b"message");
        app.send(&message)?;
        wait::until(&format!("the mail of {way}"), || {
            Ok((counts(&mut app, &mail)? == (1, 0)).then_some(()))
        })?;
    }
    Ok(())
}

/// A connection of Kafka on which `name` has come in.
fn log_in(kafka: &str, name: &str) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(kafka)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ensure!(handshake(&mut stream, "PLAIN")? == 0);
    let (code, said) = authenticate(&mut stream, &format!("\0{name}\0secret of {name}"))?;
    ensure!(code == 0, "{said}");
    Ok(stream)
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("it is short");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

/// Whoever asks for no answer never sends it again. What it sent goes ahead where it has gone, and
/// counts: 30 seconds' worth at most.
#[test]
fn what_asks_for_no_answer_over_kafka_is_produced_at_once_where_its_client_goes() -> Result<()> {
    const REQUESTS: u64 = 60;
    // The first one has its turn.
    const LEAST: u64 = 31;
    let folder = tempfile::tempdir()?;
    let server = start(folder.path(), &[("slow", 1)], &["--kafka", "127.0.0.1:0"])?;
    let kafka = server.next_address("kafka")?;
    let mut app = log_in(&kafka, "app")?;
    let one = 1_u32.to_be_bytes();
    let create =
        [&one[..], &text("events"), &one, &[0, 1], &[0; 8], &1000_u32.to_be_bytes(), &[0]].concat();
    kafka::ask(&mut app, (19, 2), &create)?;
    // Of no transaction, `acks=0`.
    let (head, length) = ([0xff, 0xff, 0, 0, 0, 0, 3, 0xe8], u32::try_from(BATCH.len())?);
    let produce =
        [&head[..], &one, &text("events"), &one, &[0; 4], &length.to_be_bytes(), &BATCH].concat();
    let begun = Instant::now();
    let mut slow = log_in(&kafka, "slow")?;
    for _ in 0..REQUESTS {
        kafka::send(&mut slow, (0, 7), &produce)?;
    }
    drop(slow);
    // The end of the partition.
    let ask = [&[0xff; 4][..], &one, &text("events"), &one, &[0; 4], &[0xff; 8]].concat();
    let end = wait::until("30 seconds' worth", || {
        let answer = kafka::ask(&mut app, (2, 1), &ask)?;
        let end = answer.last_chunk().copied().map(u64::from_be_bytes);
        ensure!(begun.elapsed() < SOON, "{end:?} of {LEAST} are there");
        Ok(end.filter(|end| *end >= LEAST))
    })?;
    ensure!(end < REQUESTS, "all is produced");
    Ok(())
}
