//! `longshore shovel` between real processes: from another Longshore, and from Debian's `RabbitMQ`,
//! which is skipped where that is missing. Nothing is lost, be it killed on the way.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result};
use longshore_amqp::codec::methods::{BasicPublish, ConfirmSelect, QueueDeclare, QueueDelete};
use longshore_amqp::codec::{
    Method, Properties, Short, Table, Value, write_body, write_header, write_method,
};
use longshore_tests::amqp::Connection;
use longshore_tests::server::{Server, binary};
use longshore_tests::skip::skip;
use longshore_tests::wait;
use rustix::process::Signal;

/// Where Debian puts its programs.
const RABBITMQ: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

fn durable(queue: &str) -> QueueDeclare {
    QueueDeclare { queue: Short::cut(queue), durable: true, ..QueueDeclare::default() }
}

/// Publishes so many messages to a queue that it declares, with all that a message may carry.
fn fill(address: &str, queue: &str, count: usize) -> Result<()> {
    let mut client = Connection::with_channel(address)?;
    client.declare(durable(queue))?;
    client.say(1, ConfirmSelect { nowait: false })?;
    client.wait_for(|method| matches!(method, Method::ConfirmSelectOk(_)))?;
    let headers = [
        ("tenant", Value::text("acme")),
        ("number", Value::I64(7)),
        ("CC", Value::list(&[Value::text("elsewhere")])),
    ];
    let properties = Properties {
        content_type: Short::new(&b"text/x"[..]),
        headers: Some(Table::of(headers)),
        delivery_mode: Some(2),
        priority: Some(3),
        expiration: Short::new(&b"3600000"[..]),
        message_id: Short::new(&b"an id"[..]),
        user_id: Short::new(&b"guest"[..]),
        ..Properties::default()
    };
    let mut out = Vec::new();
    for number in 0..count {
        let publish = BasicPublish { routing_key: Short::cut(queue), ..BasicPublish::default() };
        write_method(&mut out, 1, &publish.into());
        let body = format!("{number:-<200}");
        write_header(&mut out, 1, body.len() as u64, &properties.to_bytes());
        write_body(&mut out, 1, 131_072, body.as_bytes());
    }
    client.send(&out)?;
    let is_last = |method: &Method| match method {
        Method::BasicAck(ack) => ack.delivery_tag == count as u64,
        _ => false,
    };
    client.wait_for(is_last).map(drop)
}

fn shovel(from: &str, to: &Server, amqp: &str, more: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.args(["shovel", "--server", &to.address]);
    command.args(["--from", &format!("amqp://guest:guest@{from}")]);
    command.args(["--to", &format!("amqp://{amqp}")]).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    texts.concat()
}

fn start(folder: &Path, name: &str) -> Result<(Server, String)> {
    start_with(folder, name, &[])
}

fn start_with(folder: &Path, name: &str, more: &[&str]) -> Result<(Server, String)> {
    let server =
        Server::start_with(&folder.join(name), &[&["--amqp", "127.0.0.1:0"], more].concat())?;
    let amqp = server.next_address("amqp")?;
    Ok((server, amqp))
}

/// The numbers of all messages of a queue, and how many there are.
fn numbers(server: &Server, queue: &str) -> Result<(BTreeSet<usize>, usize)> {
    let (mut client, mut cursor) = (server.client(), String::new());
    let (mut found, mut all) = (BTreeSet::new(), 0);
    loop {
        let page = client.get(&format!("/v1/queues/{queue}/messages?limit=1000{cursor}"));
        let page = page.map_err(|trouble| anyhow::anyhow!("{trouble:?}"))?;
        for message in page.body["messages"].as_array().context("no messages")? {
            let body = message["body"].as_str().context("no body")?;
            found.insert(body.trim_end_matches('-').parse()?);
            all += 1;
        }
        match page.body["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok((found, all)),
        }
    }
}

/// Moves a queue from `from`, killed once on the way, and compares what came.
fn moves_all(folder: &Path, from: &str) -> Result<()> {
    const MESSAGES: usize = 3000;
    fill(from, "mails", MESSAGES)?;
    let (server, amqp) = start(folder, "to")?;
    let output = shovel(from, &server, &amqp, &["--queue", "mails"])?.output()?;
    assert!(!output.status.success(), "{}", said(&output));
    assert!(said(&output).contains("there is no queue"), "{}", said(&output));
    let mut here = Connection::with_channel(&amqp)?;
    here.declare(durable("mails"))?;
    here.declare(durable("elsewhere"))?;
    let mut first = shovel(from, &server, &amqp, &["--follow", "--ahead", "20"])?.spawn()?;
    wait::until("some messages come", || {
        Ok((!numbers(&server, "mails")?.0.is_empty()).then_some(()))
    })?;
    first.kill()?;
    first.wait()?;
    let output = shovel(from, &server, &amqp, &["--queue", "mails"])?.output()?;
    assert!(output.status.success(), "{}", said(&output));
    let (found, all) = numbers(&server, "mails")?;
    assert_eq!(found.len(), MESSAGES, "nothing is lost");
    assert!(all <= MESSAGES + 20, "{all} messages: what was on its way may come twice");
    assert_eq!(Connection::with_channel(from)?.declare(durable("mails"))?.1, 0, "nothing is left");
    let mut client = server.client();
    let told = client.get("/v1/queues/mails/messages?limit=1&header=tenant%3Dacme");
    let told = told.map_err(|trouble| anyhow::anyhow!("{trouble:?}"))?.body;
    let message = &told["messages"][0];
    assert_eq!(message["priority"], 3, "{message}");
    assert_eq!(message["message_id"], "an id", "{message}");
    assert_eq!(message["content_type"], "text/x", "{message}");
    assert_eq!(message["persistent"], true, "{message}");
    assert_eq!(message["headers"]["number"], 7, "{message}");
    assert_eq!(message["headers"]["x-shovel-routing-key"], "mails", "{message}");
    assert_eq!(numbers(&server, "elsewhere")?.1, 0, "it is not routed once more");
    Ok(())
}

#[test]
fn another_longshore_is_moved_over() {
    let folder = tempfile::tempdir().unwrap();
    let (_from, amqp) = start(folder.path(), "from").unwrap();
    moves_all(folder.path(), &amqp).unwrap();
}

/// A message with that body and with a header of so many bytes.
fn publish(client: &mut Connection, queue: &str, body: &str, header_bytes: usize) -> Result<()> {
    let headers = Table::of([("own", Value::text(&"h".repeat(header_bytes)))]);
    let properties = Properties { headers: Some(headers), ..Properties::default() };
    let mut out = Vec::new();
    let publish = BasicPublish { routing_key: Short::cut(queue), ..BasicPublish::default() };
    write_method(&mut out, 1, &publish.into());
    write_header(&mut out, 1, body.len() as u64, &properties.to_bytes());
    write_body(&mut out, 1, 131_072, body.as_bytes());
    client.send(&out)
}

/// What a command says that ends well.
fn longshore(server: &Server, words: &[&str]) -> Result<String> {
    let mut command = Command::new(binary()?);
    let output = command.args(words).args(["--server", &server.address]).output()?;
    assert!(output.status.success(), "{}", said(&output));
    Ok(said(&output))
}

/// How many messages are left in a queue once nobody has any of them.
fn left(server: &Server, queue: &str) -> Result<usize> {
    wait::until("what was not acked is back", || {
        let told = server.client().get(&format!("/v1/queues/{queue}"));
        let told = told.map_err(|trouble| anyhow::anyhow!("{trouble:?}"))?.body;
        let messages = &told["messages"];
        let unsettled = messages["unsettled"].as_u64().context("no unsettled")?;
        let ready = messages["ready"].as_u64().context("no ready")?;
        Ok((unsettled == 0).then_some(ready as usize))
    })
}

/// What was confirmed is acked there, also where a queue is full in the end.
#[test]
fn a_full_queue_ends_it_and_nothing_comes_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (from, from_amqp) = start(folder.path(), "from").unwrap();
    let (to, amqp) = start(folder.path(), "to").unwrap();
    fill(&from_amqp, "mails", 300).unwrap();
    let arguments = Table::of([
        ("x-max-length", Value::I32(50)),
        ("x-overflow", Value::text("reject-publish")),
    ]);
    let narrow = QueueDeclare { arguments, ..durable("mails") };
    Connection::with_channel(&amqp).unwrap().declare(narrow).unwrap();
    let output = shovel(&from_amqp, &to, &amqp, &["--queue", "mails"]).unwrap().output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("it is full"), "{}", said(&output));
    assert_eq!(numbers(&to, "mails").unwrap().1, 50, "{}", said(&output));
    assert_eq!(left(&from, "mails").unwrap(), 250, "{}", said(&output));
}

/// One queue that fails ends the others in order, and so does a signal.
#[test]
fn a_stop_acks_what_was_confirmed() {
    const MESSAGES: usize = 5000;
    let folder = tempfile::tempdir().unwrap();
    let (from, from_amqp) = start(folder.path(), "from").unwrap();
    let (to, amqp) = start(folder.path(), "to").unwrap();
    for queue in ["mails", "others"] {
        fill(&from_amqp, queue, MESSAGES).unwrap();
        Connection::with_channel(&amqp).unwrap().declare(durable(queue)).unwrap();
    }
    let some_came = |queue: &str, more: usize| {
        wait::until("some messages come", || Ok((numbers(&to, queue)?.1 > more).then_some(())))
    };
    let begin = |queues: &[&str]| {
        let more = [&["--follow", "--ahead", "50"], queues].concat();
        shovel(&from_amqp, &to, &amqp, &more).unwrap().spawn().unwrap()
    };
    let mut moving = begin(&["--queue", "mails"]);
    some_came("mails", 0).unwrap();
    longshore_tests::server::signal(moving.id(), Signal::TERM).unwrap();
    assert!(moving.wait().unwrap().success());
    let (found, all) = numbers(&to, "mails").unwrap();
    assert_eq!((found.len(), all + left(&from, "mails").unwrap()), (all, MESSAGES));

    let moving = begin(&["--queue", "others", "--queue", "mails"]);
    some_came("others", 0).unwrap();
    let mut gone = Connection::with_channel(&amqp).unwrap();
    let delete = QueueDelete { queue: Short::cut("mails"), ..QueueDelete::default() };
    gone.say(1, delete).unwrap();
    gone.wait_for(|method| matches!(method, Method::QueueDeleteOk(_))).unwrap();
    // Where all of it had been moved already, the queue is missed with the next message.
    fill(&from_amqp, "mails", 1).unwrap();
    let output = moving.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    let (found, all) = numbers(&to, "others").unwrap();
    assert_eq!((found.len(), all + left(&from, "others").unwrap()), (all, MESSAGES));
}

/// Messages that do not fit stay, more of them than may be on their way; the others are moved.
#[test]
fn what_does_not_fit_stays_and_does_not_block_its_queue() {
    let folder = tempfile::tempdir().unwrap();
    let (from, from_amqp) = start(folder.path(), "from").unwrap();
    let bounds = ["--set", "amqp.message_bytes_max=64KiB", "--set", "amqp.frame_bytes_max=4KiB"];
    let (to, amqp) = start_with(folder.path(), "to", &bounds).unwrap();
    let mut there = Connection::with_channel(&from_amqp).unwrap();
    there.declare(durable("mails")).unwrap();
    for _ in 0..5 {
        publish(&mut there, "mails", &"b".repeat(70_000), 0).unwrap();
        publish(&mut there, "mails", "0", 5000).unwrap();
    }
    // It fits without the headers that are added.
    publish(&mut there, "mails", "1", 4000).unwrap();
    for number in 2..10 {
        publish(&mut there, "mails", &number.to_string(), 0).unwrap();
    }
    // It is answered behind what was published.
    there.declare(durable("mails")).unwrap();
    longshore(&to, &["queues", "set", "mails", "{\"messages\":{}}"]).unwrap();
    let more = ["--queue", "mails", "--ahead", "2"];
    let output = shovel(&from_amqp, &to, &amqp, &more).unwrap().output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    for part in ["10 messages stayed", "70,000 bytes with routing key \"mails\"", "65536 bytes"] {
        assert!(said(&output).contains(part), "{part}: {}", said(&output));
    }
    assert_eq!(numbers(&to, "mails").unwrap(), ((1..10).collect(), 9));
    assert_eq!(left(&from, "mails").unwrap(), 10);
}

/// A proxy is another name of a server that no comparison of addresses sees through.
fn proxy(to: &str) -> Result<String> {
    let (listener, to) = (TcpListener::bind("127.0.0.1:0")?, to.to_owned());
    let address = listener.local_addr()?.to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (near, far) = (stream?, std::net::TcpStream::connect(&to)?);
            for (mut from, mut to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
        Ok::<_, std::io::Error>(())
    });
    Ok(address)
}

#[test]
fn a_server_is_not_moved_into_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (server, amqp) = start(folder.path(), "both").unwrap();
    fill(&amqp, "mails", 30).unwrap();
    let by_name = amqp.replace("127.0.0.1", "localhost");
    let more = ["--queue", "mails", "--follow"];
    let output = shovel(&by_name, &server, &amqp, &more).unwrap().output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let by_proxy = proxy(&amqp).unwrap();
    let output = shovel(&by_proxy, &server, &amqp, &more).unwrap().output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("came back"), "{}", said(&output));
    assert_eq!(left(&server, "mails").unwrap(), 30);
}

/// The queues of the namespace of `--to` are looked for; what is refused is told as it is.
#[test]
fn queues_are_looked_for_where_messages_go() {
    let folder = tempfile::tempdir().unwrap();
    let (_from, from_amqp) = start(folder.path(), "from").unwrap();
    let (to, amqp) = start(folder.path(), "to").unwrap();
    fill(&from_amqp, "mails", 3).unwrap();
    let mut owner = Connection::with_channel(&from_amqp).unwrap();
    owner.declare(QueueDeclare { exclusive: true, ..durable("own") }).unwrap();
    longshore(&to, &["namespaces", "create", "shop"]).unwrap();
    for queue in ["mails", "own"] {
        longshore(&to, &["-n", "shop", "queues", "set", queue, "{\"messages\":{}}"]).unwrap();
    }
    let output = shovel(&from_amqp, &to, &format!("{amqp}/shop"), &[]).unwrap().output().unwrap();
    assert!(said(&output).contains("mails: 3 messages"), "{}", said(&output));
    assert!(said(&output).contains("own is left out"), "{}", said(&output));
    assert!(said(&output).contains("RESOURCE_LOCKED"), "{}", said(&output));
    assert!(said(&output).contains("AMQP does not list queues"), "{}", said(&output));
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(longshore(&to, &["-n", "shop", "queues", "show", "mails"]).unwrap().contains('3'));

    let mut owner = Connection::with_channel(&amqp).unwrap();
    owner.declare(QueueDeclare { exclusive: true, ..durable("mails") }).unwrap();
    let more = ["--queue", "mails"];
    let output = shovel(&from_amqp, &to, &amqp, &more).unwrap().output().unwrap();
    assert!(said(&output).contains("RESOURCE_LOCKED"), "{}", said(&output));
}

/// Debian's `RabbitMQ`. Ended when it is dropped.
struct RabbitMq {
    script: Child,
    address: String,
    mapper: u16,
    pid_file: std::path::PathBuf,
}

impl RabbitMq {
    fn start(folder: &Path) -> Result<Self> {
        let free =
            || Ok::<_, anyhow::Error>(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let [port, mapper, cluster] = [free()?, free()?, free()?];
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("plugins"), "[].")?;
        let mut command = Command::new(RABBITMQ);
        for (name, below) in [
            ("HOME", ""),
            ("RABBITMQ_MNESIA_BASE", "data"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_PID_FILE", "pid"),
            ("RABBITMQ_CONFIG_FILE", "none"),
            ("RABBITMQ_CONF_ENV_FILE", "none.env"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
        ] {
            command.env(name, folder.join(below));
        }
        command
            .env("RABBITMQ_NODENAME", format!("shovel-{port}@localhost"))
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_DIST_PORT", cluster.to_string())
            .env("ERL_EPMD_PORT", mapper.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        let log = std::fs::File::create(folder.join("said"))?;
        let script = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let (address, pid_file) = (format!("127.0.0.1:{port}"), folder.join("pid"));
        let server = Self { script, address, mapper, pid_file };
        // It listens before it lets anybody in.
        wait::until("RabbitMQ lets somebody in", || {
            Ok(Connection::open(&server.address).ok().map(drop))
        })?;
        Ok(server)
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        let pid = std::fs::read_to_string(&self.pid_file).unwrap_or_default();
        if !pid.trim().is_empty() {
            let _ = Command::new("kill").args(["-9", pid.trim()]).status();
        }
        let _ = self.script.kill();
        let _ = self.script.wait();
        let _ = Command::new("epmd").args(["-port", &self.mapper.to_string(), "-kill"]).output();
    }
}

#[test]
fn a_running_rabbitmq_is_moved_over() {
    if !Path::new(RABBITMQ).exists() {
        return skip("rabbitmq", "it is of the package rabbitmq-server");
    }
    let folder = tempfile::tempdir().unwrap();
    let from = RabbitMq::start(&folder.path().join("rabbitmq")).unwrap();
    moves_all(folder.path(), &from.address).unwrap();
}
