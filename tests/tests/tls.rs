//! TLS on the ports that there are, byte by byte: who is let in, what is told to whom, and what
//! becomes of connections when the certificate changes. Other people's clients: `tls_clients.rs`.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use longshore_tests::server::{Server, binary};
use longshore_tests::tls::{answer, certificate, connect, made, shows};
use longshore_tests::wait;

const ASK: &[u8] = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
const AMQP: &[u8] = b"AMQP\0\0\x09\x01";

fn start(data: &Path, more: &[&str]) -> Result<Server> {
    let [certificate, key] = shows("server");
    Server::start_with(data, &[&["--https", "127.0.0.1:0", &certificate, &key], more].concat())
}

/// A setting with a file of the tests.
fn file(key: &str, name: &str) -> String {
    format!("{key}={}", made(name).display())
}

#[test]
fn what_is_asked_over_tls_is_answered_over_tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(&folder.path().join("data"), &["--amqps", "127.0.0.1:0"])?;
    let (https, amqps) = (server.next_address("https")?, server.next_address("amqps")?);
    let said = answer(&mut connect(&https, None, &[])?, ASK)?;
    ensure!(said.starts_with("HTTP/1.1 200 "), "{said}");
    for (offered, agreed) in [(&["h2", "http/1.1"][..], "http/1.1"), (&["h2"], "h2")] {
        let stream = connect(&https, None, offered)?;
        ensure!(stream.conn.alpn_protocol() == Some(agreed.as_bytes()), "{agreed}");
    }
    ensure!(connect(&https, None, &["spdy/1"]).is_err(), "nothing that both speak");
    let mut amqp = connect(&amqps, None, &[])?;
    amqp.write_all(AMQP)?;
    let mut frame = [0; 11];
    amqp.read_exact(&mut frame)?;
    // A method on channel 0: connection.start.
    ensure!(frame[..3] == [1, 0, 0] && frame[7..] == [0, 10, 0, 10], "{frame:?}");
    Ok(())
}

#[test]
fn a_large_answer_and_a_large_body_go_through_tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(&folder.path().join("data"), &[])?;
    let https = server.next_address("https")?;
    let args = "x".repeat(2_000_000);
    let body = format!(r#"{{"kind":"large","args":"{args}"}}"#);
    let request = |method: &str, path: &str, body: &str| {
        format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let put = request("POST", "/v1/queues/q/jobs", &body);
    let said = answer(&mut connect(&https, None, &[])?, put.as_bytes())?;
    ensure!(said.starts_with("HTTP/1.1 202 "), "{}", said.get(..200).unwrap_or(&said));
    let lease = request("POST", "/v1/lease", r#"{"queues":["q"]}"#);
    let said = answer(&mut connect(&https, None, &[])?, lease.as_bytes())?;
    ensure!(said.contains(&args), "{}", said.get(..300).unwrap_or(&said));
    Ok(())
}

#[test]
fn plain_text_at_a_port_for_tls_is_told_so_and_the_other_way_round() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let more = ["--amqps", "127.0.0.1:0", "--kafka-tls", "127.0.0.1:0"];
    let server = start(&folder.path().join("data"), &more)?;
    let https = server.next_address("https")?;
    let (amqps, kafka) = (server.next_address("amqps")?, server.next_address("kafka+tls")?);
    let plain = |address: &str, said: &[u8]| answer(&mut TcpStream::connect(address)?, said);
    let said = plain(&https, ASK)?;
    ensure!(said.starts_with("HTTP/1.1 400 "), "{said}");
    ensure!(said.contains("tls_expected") && said.contains("use https://"), "{said}");
    ensure!(plain(&amqps, AMQP)?.as_bytes() == AMQP);
    // Its clients took an alert for the length of an answer (KIP-498).
    let said = plain(&kafka, &[0, 0, 0, 20, 0, 18, 0, 0]);
    // It may be cut off over what nobody read.
    ensure!(said.as_ref().is_ok_and(String::is_empty) || said.is_err(), "{said:?}");
    // A ClientHello, as far as anybody looks.
    let said = plain(&server.address, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")?;
    ensure!(said.starts_with("HTTP/1.1 400 ") && said.contains("tls_unexpected"), "{said}");
    server.wait_logged("a client speaks plain text at a port for TLS")?;
    server.wait_logged("a client speaks TLS at a port for plain text")?;
    let said = answer(&mut connect(&https, None, &[])?, ASK)?;
    ensure!(said.starts_with("HTTP/1.1 200 "), "{said}");
    Ok(())
}

#[test]
fn only_clients_with_a_certificate_of_the_right_authority_are_let_in() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let set = file("tls.client_ca", "ca.pem");
    let server = start(&folder.path().join("required"), &["--set", &set])?;
    let https = server.next_address("https")?;
    let ask = |shown| connect(&https, shown, &[]).and_then(|mut stream| answer(&mut stream, ASK));
    ensure!(ask(Some("client"))?.starts_with("HTTP/1.1 200 "));
    for shown in [None, Some("foreign"), Some("server")] {
        ensure!(!ask(shown).is_ok_and(|said| said.contains("HTTP/1.1")), "{shown:?} was let in");
    }
    drop(server);
    let optional = "tls.client_certificates=optional";
    let more = ["--set", &set, "--set", optional];
    let server = start(&folder.path().join("optional"), &more)?;
    let https = server.next_address("https")?;
    let ask = |shown| connect(&https, shown, &[]).and_then(|mut stream| answer(&mut stream, ASK));
    for shown in [None, Some("client")] {
        ensure!(ask(shown)?.starts_with("HTTP/1.1 200 "), "{shown:?}");
    }
    ensure!(!ask(Some("foreign")).is_ok_and(|said| said.contains("HTTP/1.1")));
    Ok(())
}

#[test]
fn a_renewed_certificate_is_shown_and_nobody_is_cut_off() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let here = |name: &str| folder.path().join(name);
    let copy = |from: &str, to: &str| std::fs::copy(made(from), here(to)).map(drop);
    copy("server.pem", "tls.pem")?;
    copy("server.key", "tls.key")?;
    let certificate_file = format!("--tls-certificate={}", here("tls.pem").display());
    let key_file = format!("--tls-key={}", here("tls.key").display());
    let more = ["--https", "127.0.0.1:0", &certificate_file, &key_file];
    let server = Server::start_with(&here("data"), &more)?;
    let https = server.next_address("https")?;
    let shown = || -> Result<_> {
        let stream = connect(&https, None, &[])?;
        let chain = stream.conn.peer_certificates().context("no certificate")?;
        Ok(chain.first().context("an empty chain")?.clone().into_owned())
    };
    let mut before = connect(&https, None, &[])?;
    ensure!(shown()? == certificate("server")?);
    // Half of a change cannot be used, and is told; what was there stays.
    copy("renewed.pem", "tls.pem")?;
    wait::until("the broken change is told", || {
        Ok(server.log_text().contains("cannot be used: what was there before stays").then_some(()))
    })?;
    ensure!(shown()? == certificate("server")?);
    copy("renewed.key", "tls.key")?;
    let renewed = certificate("renewed")?;
    wait::until("the renewed certificate is shown", || Ok((shown()? == renewed).then_some(())))?;
    let said = answer(&mut before, ASK)?;
    ensure!(said.starts_with("HTTP/1.1 200 "), "{said}");
    Ok(())
}

#[test]
fn a_handshake_that_takes_too_long_is_ended_and_holds_up_nobody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let more = ["--kafka-tls", "127.0.0.1:0"];
    let server = start(&folder.path().join("data"), &more)?;
    let (https, kafka) = (server.next_address("https")?, server.next_address("kafka+tls")?);
    let mut slow = Vec::new();
    let begun = Instant::now();
    for address in [&https, &kafka] {
        for said in [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01"] {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(40)))?;
            stream.write_all(said)?;
            slow.push(stream);
        }
    }
    let said = answer(&mut connect(&https, None, &[])?, ASK)?;
    ensure!(said.starts_with("HTTP/1.1 200 "), "{said}");
    for stream in &mut slow {
        let mut rest = [0; 64];
        // An end, or an alert and an end.
        while matches!(stream.read(&mut rest), Ok(1..)) {}
    }
    let took = begun.elapsed();
    // A bound that was counted in less would be one of the test's; a busy machine takes longer.
    ensure!((Duration::from_secs(5)..Duration::from_secs(30)).contains(&took), "{took:?}");
    Ok(())
}

#[test]
fn hundreds_that_never_finish_their_handshake_hold_up_nobody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(&folder.path().join("data"), &[])?;
    let https = server.next_address("https")?;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(&https)?;
        stream.write_all(b"\x16")?;
        slow.push(stream);
    }
    let said = answer(&mut connect(&https, None, &[])?, ASK)?;
    ensure!(said.starts_with("HTTP/1.1 200 "), "{said}");
    // They are there still: nobody had to go first.
    let first = slow.first_mut().context("they are there")?;
    first.set_nonblocking(true)?;
    let read = first.read(&mut [0]);
    ensure!(read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
    Ok(())
}

#[test]
fn a_browser_that_is_sent_to_another_face_is_not_let_in() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let more = ["--amqps", "127.0.0.1:0", "--kafka-tls", "127.0.0.1:0"];
    let server = start(&folder.path().join("data"), &more)?;
    // They are told one after the other.
    server.next_address("https")?;
    for face in ["amqps", "kafka+tls"] {
        let address = server.next_address(face)?;
        ensure!(connect(&address, None, &["h2", "http/1.1"]).is_err(), "{face}");
        connect(&address, None, &[])?;
    }
    Ok(())
}

#[test]
fn the_end_of_a_connection_of_amqp_is_told_within_tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(&folder.path().join("data"), &["--amqps", "127.0.0.1:0"])?;
    server.next_address("https")?;
    let mut amqp = connect(&server.next_address("amqps")?, None, &[])?;
    // What is not AMQP is told the version, and then the end: an end without notice is an error.
    amqp.write_all(b"AMQP\x00\x01\x00\x00")?;
    let mut said = Vec::new();
    amqp.read_to_end(&mut said)?;
    ensure!(said == AMQP, "{said:?}");
    Ok(())
}

fn refused(data: &Path, more: &[&str]) -> Result<String> {
    let mut command = Command::new(binary()?);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(data).args(more);
    let output = command.env_clear().output()?;
    ensure!(output.status.code() == Some(2), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_server_that_cannot_show_a_certificate_does_not_start() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let said = refused(&data, &["--https", "127.0.0.1:0"])?;
    ensure!(said.contains("tls.certificate is not set"), "{said}");
    let [certificate, _] = shows("server");
    let said = refused(&data, &["--https", "127.0.0.1:0", &certificate])?;
    ensure!(said.contains("tls.key is not set"), "{said}");
    let [_, key] = shows("renewed");
    let said = refused(&data, &["--https", "127.0.0.1:0", &certificate, &key])?;
    ensure!(said.contains("cannot be used with"), "{said}");
    let set = ["--set", "tls.required=true", "--amqp", "192.0.2.1:5672"];
    let said = refused(&data, &set)?;
    ensure!(said.contains("serve.amqp is 192.0.2.1:5672"), "{said}");
    if data.exists() {
        bail!("a store was made");
    }
    Ok(())
}
