//! Clients of AMQP that do what none should, beside one that does as it should and has to notice
//! nothing.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use longshore_amqp::codec::methods::{BasicAck, ConfirmSelect, QueueDeclare};
use longshore_amqp::codec::{Method, Short};
use longshore_tests::amqp::{Connection, publish};
use longshore_tests::server::Server;
use longshore_tests::wait;

fn start(data: &Path, settings: &[&str]) -> Result<(Server, String)> {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let more: Vec<_> = ["--amqp", "127.0.0.1:0"].into_iter().chain(settings).collect();
    let server = Server::start_with(data, &more)?;
    let address = server.next_address("amqp")?;
    Ok((server, address))
}

fn queue(name: &str) -> QueueDeclare {
    QueueDeclare { queue: Short::cut(name), durable: true, ..QueueDeclare::default() }
}

/// Publishes with confirms and takes with acks, as an application does.
fn serves(address: &str) -> Result<()> {
    let mut good = Connection::with_channel(address)?;
    good.declare(queue("good"))?;
    good.say(1, ConfirmSelect { nowait: false })?;
    good.wait_for(|method| matches!(method, Method::ConfirmSelectOk(_)))?;
    let mut out = Vec::new();
    (0..10).for_each(|_| publish(&mut out, 1, "good", b"message"));
    good.send(&out)?;
    good.wait_for(|method| matches!(method, Method::BasicAck(ack) if ack.delivery_tag == 10))?;
    good.consume("good", false)?;
    for _ in 0..10 {
        good.wait_for(|method| matches!(method, Method::BasicDeliver(_)))?;
    }
    good.say(1, BasicAck { delivery_tag: 0, multiple: true })?;
    wait::until("the queue is empty", || Ok((good.declare(queue("good"))?.1 == 0).then_some(())))
}

fn resident_kib(server: &Server) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse()?)
}

#[test]
fn a_consumer_that_never_reads_holds_little_and_is_cut() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut server, address) = start(&folder.path().join("data"), &["http.write_timeout=2s"])?;
    let mut lazy = Connection::with_channel(&address)?;
    lazy.declare(queue("much"))?;
    let mut source = Connection::with_channel(&address)?;
    let mut out = Vec::new();
    (0..600).for_each(|_| publish(&mut out, 1, "much", &vec![7; 100_000]));
    source.send(&out)?;
    wait::until("all of it waits", || Ok((source.declare(queue("much"))?.1 == 600).then_some(())))?;
    let before = resident_kib(&server)?;
    lazy.consume("much", false)?;
    serves(&address)?;
    let more = resident_kib(&server)?.saturating_sub(before);
    ensure!(more < 48 << 10, "{more} KiB for one that reads nothing of 60 MB");
    // It is cut, and what it had waits again.
    wait::until("it is cut", || Ok((source.declare(queue("much"))?.1 == 600).then_some(())))?;
    ensure!(server.terminate()?.success(), "{}", server.log_text());
    Ok(())
}

#[test]
fn a_consumer_that_never_acks_keeps_its_messages_until_it_goes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut server, address) = start(&folder.path().join("data"), &[])?;
    let mut greedy = Connection::with_channel(&address)?;
    greedy.declare(queue("kept"))?;
    let mut out = Vec::new();
    (0..2000).for_each(|_| publish(&mut out, 1, "kept", b"message"));
    greedy.send(&out)?;
    greedy.consume("kept", false)?;
    for _ in 0..2000 {
        greedy.wait_for(|method| matches!(method, Method::BasicDeliver(_)))?;
    }
    serves(&address)?;
    let mut other = Connection::with_channel(&address)?;
    ensure!(other.declare(queue("kept"))?.1 == 0, "they are with the greedy one");
    drop(greedy);
    wait::until("they wait again", || Ok((other.declare(queue("kept"))?.1 == 2000).then_some(())))?;
    ensure!(server.terminate()?.success(), "{}", server.log_text());
    Ok(())
}

#[test]
fn those_who_declare_and_die_leave_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut server, address) = start(&folder.path().join("data"), &[])?;
    for _ in 0..50 {
        let mut dying = Connection::with_channel(&address)?;
        for _ in 0..5 {
            let exclusive = QueueDeclare { exclusive: true, ..QueueDeclare::default() };
            let (name, _) = dying.declare(exclusive)?;
            dying.consume(&name, true)?;
        }
    }
    serves(&address)?;
    wait::until("only the good one's queue is left", || {
        let queues = server.client().get("/v1/queues")?;
        let count = queues.body["queues"].as_array().map_or(0, Vec::len);
        Ok((count == 1).then_some(()))
    })?;
    ensure!(server.terminate()?.success(), "{}", server.log_text());
    Ok(())
}

#[test]
fn two_thousand_channels_are_as_good_as_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut server, address) = start(&folder.path().join("data"), &[])?;
    let mut many = Connection::open(&address)?;
    for number in 1..=2000 {
        many.open_channel(number)?;
    }
    many.declare(queue("all"))?;
    let mut out = Vec::new();
    (1..=2000).for_each(|number| publish(&mut out, number, "all", b"message"));
    many.send(&out)?;
    wait::until(
        "all of it is there",
        || Ok((many.declare(queue("all"))?.1 == 2000).then_some(())),
    )?;
    serves(&address)?;
    ensure!(server.terminate()?.success(), "{}", server.log_text());
    Ok(())
}

#[test]
fn who_says_nothing_or_nonsense_is_ended() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (mut server, address) = start(&folder.path().join("data"), &["http.header_timeout=1s"])?;
    let mut silent = Connection::silent(&address)?;
    let mut nonsense = Connection::silent(&address)?;
    nonsense.send(b"GET / HTTP/1.1\r\n\r\n")?;
    let mut half = Connection::silent(&address)?;
    half.send(longshore_amqp::codec::PROTOCOL_HEADER)?;
    half.frame()?.context("it is greeted")?;
    half.send(&[1, 0, 0, 0, 0, 0x7f])?;
    for connection in [&mut silent, &mut half] {
        // Ended in order or not: nothing more is said.
        ensure!(!matches!(connection.frame(), Ok(Some(_))));
    }
    ensure!(nonsense.frame().is_err(), "it is told the header of the protocol, which is no frame");
    serves(&address)?;
    ensure!(server.terminate()?.success(), "{}", server.log_text());
    Ok(())
}
