//! What publishers sent that wait for their turn, and go before it comes, is published all the
//! same, however they go.

use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use longshore_amqp::codec::Short;
use longshore_amqp::codec::methods::{ConfirmSelect, QueueDeclare};
use longshore_tests::amqp::{Connection, publish};
use longshore_tests::kafka::{self, authenticate, handshake};
use longshore_tests::server::Server;
use longshore_tests::tls::{connect, shows};
use longshore_tests::wait::{self, PATIENCE};

/// How much each of the slow accounts may publish in a second.
const RATE: u32 = 5;
const MESSAGES: u32 = 3 * RATE;
/// A batch of one event of Kafka.
const BATCH: [u8; 75] = *b"\0\0\0\0\0\0\0\0\0\0\0\x3f\xff\xff\xff\xff\x02\xf1\x6d\xda\x77\0\0\0\0\0\0\
    \0\0\0\0\0\0\x03\xe8\0\0\0\0\0\0\x03\xe8\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
    \0\0\0\x01\x1a\0\0\0\x01\x0emessage\0";

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

/// A publisher sent three seconds' worth and is gone before the first of it is over. Those that
/// were read and waited for their turn were lost, but where it had closed.
#[test]
fn what_waits_for_its_turn_over_amqp_is_published_however_the_client_goes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ways = ["ended", "reset", "cut"];
    let [certificate, key] = shows("server");
    let more = ["--amqp", "127.0.0.1:0", "--amqps", "127.0.0.1:0", &certificate, &key];
    let server = start(folder.path(), &ways.map(|name| (name, RATE)), &more)?;
    let (amqp, amqps) = (server.next_address("amqp")?, server.next_address("amqps")?);
    let open =
        |name: &str| Connection::silent(&amqp)?.logged_in(name, &format!("secret of {name}"));
    let mut app = open("app")?;
    app.open_channel(1)?;
    for way in ways {
        app.declare(queue(way))?;
        let mut messages = Vec::new();
        for _ in 0..MESSAGES {
            publish(&mut messages, 1, way, b"message");
        }
        if way == "cut" {
            // The line ends without the end of TLS.
            let connection = Connection::over(connect(&amqps, None, &[])?);
            let mut connection = connection.logged_in(way, &format!("secret of {way}"))?;
            connection.open_channel(1)?;
            connection.send(&messages)?;
            continue;
        }
        let mut connection = open(way)?;
        connection.open_channel(1)?;
        connection.say(1, ConfirmSelect::default())?;
        connection.wait_for(|_| true)?;
        connection.send(&messages)?;
        if way == "reset" {
            connection.reset()?;
        }
    }
    for way in ways {
        wait::until(&format!("all messages of who was {way}"), || {
            let (_, count) = app.declare(queue(way))?;
            ensure!(count <= MESSAGES, "{count} messages of who was {way}");
            Ok((count == MESSAGES).then_some(()))
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

/// Whoever asks for no answer never sends it again. Its requests went ahead of their turn after
/// five seconds, as those do that are waited for, and counted for nothing then.
#[test]
fn what_asks_for_no_answer_over_kafka_is_produced_in_its_turn_though_its_client_has_gone()
-> Result<()> {
    const REQUESTS: u64 = 7;
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
    for _ in 0..REQUESTS {
        kafka::send(&mut log_in(&kafka, "slow")?, (0, 7), &produce)?;
    }
    // The end of the partition.
    let ask = [&[0xff; 4][..], &one, &text("events"), &one, &[0; 4], &[0xff; 8]].concat();
    wait::until("all events", || {
        let answer = kafka::ask(&mut app, (2, 1), &ask)?;
        let end = answer.last_chunk().copied().map(u64::from_be_bytes);
        ensure!(end <= Some(REQUESTS), "{end:?}");
        Ok((end == Some(REQUESTS)).then_some(()))
    })?;
    let took = begun.elapsed();
    let least = Duration::from_secs(REQUESTS - 1).mul_f64(0.98);
    ensure!(took >= least, "one in a second, but {REQUESTS} in {took:?}");
    Ok(())
}
