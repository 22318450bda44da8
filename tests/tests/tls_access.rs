//! Who comes in where TLS, certificates and logins meet, byte by byte: what a certificate without
//! an account costs, what a login by SASL may cost, and whose pages may ask.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Result, ensure};
use longshore_tests::kafka::{ask as ask_kafka, authenticate, handshake};
use longshore_tests::server::{Server, serve};
use longshore_tests::tls::{answer, connect, made, shows};
use longshore_tests::wait::PATIENCE;

const ACCOUNT: &str = r#"
[[account]]
name = "app"
password = "secret of app"
grants = [{ role = "admin", namespace = "default", names = "*" }]
"#;

const CERTIFIED: &str = r#"
[[account]]
name = "certified"
certificates = ["CN=app,OU=clients,O=Longshore tests"]
grants = [{ role = "read", namespace = "default", names = "*" }]
"#;

/// A server that asks who comes in, with these accounts, and takes clients' certificates.
fn start(folder: &Path, accounts: &str, more: &[&str]) -> Result<Server> {
    let file = folder.join("accounts.toml");
    std::fs::write(&file, accounts)?;
    let data = folder.join("data");
    let mut command = serve(&data)?;
    let client_ca = format!("tls.client_ca={}", made("ca.pem").display());
    command.args(["--access", "required", "--accounts-file"]).arg(&file).args(shows("server"));
    command.args(["--set", &client_ca, "--set", "tls.client_certificates=optional"]).args(more);
    let mut server = Server::start_as(command, &data.with_extension("log"))?;
    server.wait_ready()?;
    Ok(server)
}

fn get(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
        .into_bytes()
}

#[test]
fn a_certificate_without_an_account_is_no_failed_login() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path(), ACCOUNT, &["--https", "127.0.0.1:0"])?;
    let https = server.next_address("https")?;
    for _ in 0..25 {
        let mut stream = connect(&https, Some("client"), &[])?;
        let said = answer(&mut stream, &get("/v1/queues", ""))?;
        ensure!(said.starts_with("HTTP/1.1 401 "), "{said}");
        // Whoever is to name it in an account reads here how.
        ensure!(said.contains("CN=app,OU=clients,O=Longshore tests"), "{said}");
    }
    // `app:secret of app`; so many failures would have had it wait.
    let basic = get("/v1/queues", "authorization: Basic YXBwOnNlY3JldCBvZiBhcHA=\r\n");
    let said = answer(&mut connect(&https, Some("client"), &[])?, &basic)?;
    ensure!(said.starts_with("HTTP/1.1 200 "), "{said}");
    Ok(())
}

#[test]
fn a_page_of_the_server_itself_may_ask_and_one_in_plain_text_may_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server =
        start(folder.path(), &format!("{ACCOUNT}{CERTIFIED}"), &["--https", "127.0.0.1:0"])?;
    let https = server.next_address("https")?;
    for (origin, told) in [("https", "HTTP/1.1 200 "), ("http", "origin_refused")] {
        let asked = get("/v1/queues", &format!("origin: {origin}://localhost\r\n"));
        let said = answer(&mut connect(&https, Some("client"), &[])?, &asked)?;
        ensure!(said.contains(told), "{origin}: {said}");
    }
    Ok(())
}

#[test]
fn a_certificate_comes_in_at_the_management_api_as_over_http() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path(), CERTIFIED, &["--management-tls", "127.0.0.1:0"])?;
    let management = server.next_address("management+tls")?;
    let asked = get("/api/whoami", "");
    let said = answer(&mut connect(&management, Some("client"), &[])?, &asked)?;
    ensure!(said.starts_with("HTTP/1.1 200 ") && said.contains("\"certified\""), "{said}");
    let said = answer(&mut connect(&management, None, &[])?, &asked)?;
    ensure!(said.starts_with("HTTP/1.1 401 "), "{said}");
    Ok(())
}

#[test]
fn a_password_cannot_be_guessed_by_scram_without_end() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path(), ACCOUNT, &["--kafka", "127.0.0.1:0"])?;
    let kafka = server.next_address("kafka")?;
    let first = || -> Result<(TcpStream, (i16, String))> {
        let mut stream = TcpStream::connect(&kafka)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        ensure!(handshake(&mut stream, "SCRAM-SHA-256")? == 0);
        let told = authenticate(&mut stream, "n,,n=app,r=mine")?;
        Ok((stream, told))
    };
    let prove = |(stream, (code, said)): &mut (TcpStream, (i16, String))| {
        ensure!(*code == 0, "{said}");
        let nonce = said.split_once("r=").and_then(|(_, rest)| rest.split_once(','));
        let nonce = nonce.map(|(nonce, _)| nonce).unwrap_or_default();
        authenticate(stream, &format!("c=biws,r={nonce},p=AAAA"))
    };
    // It has begun before the address has to wait, and is not let through for that.
    let mut begun = first()?;
    for _ in 0..20 {
        let (code, said) = prove(&mut first()?)?;
        ensure!(code == 58 && said.contains("Invalid username or password"), "{said}");
    }
    let (_, (code, said)) = first()?;
    ensure!(code == 58 && said.contains("too many attempts"), "{said}");
    let (code, said) = prove(&mut begun)?;
    ensure!(code == 58 && said.contains("too many attempts"), "{said}");
    Ok(())
}

#[test]
fn a_client_with_the_certificate_of_an_account_may_log_in_all_the_same() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let accounts = format!("{ACCOUNT}{CERTIFIED}");
    let server = start(folder.path(), &accounts, &["--kafka-tls", "127.0.0.1:0"])?;
    let kafka = server.next_address("kafka+tls")?;
    let mut stream = connect(&kafka, Some("client"), &[])?;
    ensure!(handshake(&mut stream, "PLAIN")? == 0);
    let (code, said) = authenticate(&mut stream, "\0app\0secret of app")?;
    ensure!(code == 0, "{said}");
    // Whoever does not is let in by it: metadata of no topics.
    let mut stream = connect(&kafka, Some("client"), &[])?;
    let told = ask_kafka(&mut stream, (3, 1), &[0, 0, 0, 0])?;
    ensure!(told.starts_with(&[0, 0, 0, 1]), "one broker: {told:?}");
    // And who has none has to.
    let mut stream = connect(&kafka, None, &[])?;
    ensure!(ask_kafka(&mut stream, (3, 1), &[0, 0, 0, 0]).is_err());
    Ok(())
}

#[test]
fn strangers_keep_neither_memory_nor_places_from_others() -> Result<()> {
    let folder = tempfile::tempdir()?;
    // Room for one request of 2 MiB, or for 32 that announce as much as a stranger may.
    let set = ["kafka.in_flight_bytes_max=2MiB", "kafka.request_bytes_max=2MiB"];
    let more = ["--kafka", "127.0.0.1:0", "--set", set[0], "--set", set[1]];
    let server = start(folder.path(), ACCOUNT, &more)?;
    let kafka = server.next_address("kafka")?;
    let mut strangers = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(&kafka)?;
        stream.write_all(&(64_u32 << 10).to_be_bytes())?;
        strangers.push(stream);
    }
    let mut stream = TcpStream::connect(&kafka)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ensure!(handshake(&mut stream, "PLAIN")? == 0);
    let (code, said) = authenticate(&mut stream, "\0app\0secret of app")?;
    ensure!(code == 0, "{said}");
    let told = ask_kafka(&mut stream, (3, 1), &[0, 0, 0, 0])?;
    ensure!(told.starts_with(&[0, 0, 0, 1]), "one broker: {told:?}");
    // They are there still: nobody had to go first.
    for stream in &mut strangers {
        stream.set_nonblocking(true)?;
        let read = stream.read(&mut [0]);
        ensure!(read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    }
    // Whoever says nothing but what it may ask before a login is not listened to for ever.
    let mut stream = TcpStream::connect(&kafka)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let asks = (0..100).take_while(|_| ask_kafka(&mut stream, (18, 0), &[]).is_ok()).count();
    ensure!(asks == 16, "{asks}");
    Ok(())
}
