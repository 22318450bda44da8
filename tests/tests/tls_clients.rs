//! Clients that other people wrote, over TLS: curl, pika, py-amqp, Kafka's; and the command line
//! and the SDK. Those of Python need packages from `PyPI`; skipped where these are missing.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Result, ensure};
use longshore::Client;
use longshore_tests::python::{python, succeeds};
use longshore_tests::server::{Server, binary};
use longshore_tests::skip::skip;
use longshore_tests::tls::{made, shows};
use longshore_tests::wait;

/// Ends a worker that a failing test leaves behind.
struct Worker(Child);

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(data: &Path, more: &[&str]) -> Result<Server> {
    let [certificate, key] = shows("server");
    Server::start_with(data, &[&["--https", "127.0.0.1:0", &certificate, &key], more].concat())
}

/// The URL of a server by the name that its certificate is for.
fn url(https: &str) -> String {
    format!("https://{}", https.replace("127.0.0.1", "localhost"))
}

fn command(url: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command.env_clear().env("PATH", "/usr/bin:/bin").args(["--server", url]).args(arguments);
    Ok(command)
}

#[test]
fn commands_trust_the_authority_that_they_are_told_and_no_other() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(&folder.path().join("data"), &[])?;
    let url = url(&server.next_address("https")?);
    let ca = made("ca.pem");
    let enqueue = ["--namespace", "default", "enqueue", "greet", "{}"];
    let output = command(&url, &enqueue)?.arg("--ca").arg(&ca).output()?;
    ensure!(output.status.success(), "{output:?}");
    // What is told goes on to what a worker runs.
    let program = binary()?;
    let again = format!("{} enqueue again", program.display());
    let work = ["work", "--exec", &again, "--kind", "greet"];
    let mut worker = Worker(command(&url, &work)?.arg("--ca").arg(&ca).spawn()?);
    wait::until("the worker's command has enqueued", || {
        let listed = command(&url, &["jobs", "list"])?.env("LONGSHORE_CA", &ca).output()?;
        let said = String::from_utf8_lossy(&listed.stdout);
        Ok(said.lines().any(|line| line.contains("again")).then_some(()))
    })?;
    worker.0.kill()?;
    let output = command(&url, &["jobs", "list"])?.env("LONGSHORE_CA", &ca).output()?;
    ensure!(output.status.success() && !output.stdout.is_empty(), "{output:?}");
    for wrong in [made("foreign.pem"), made("renewed.pem")] {
        let output = command(&url, &["jobs", "list"])?.arg("--ca").arg(wrong).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(5) && said.contains("--ca"), "{said}");
    }
    Ok(())
}

#[test]
fn the_sdk_speaks_to_a_server_with_tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = start(&folder.path().join("data"), &[])?;
    let url = url(&server.next_address("https")?);
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let ca = std::fs::read(made("ca.pem"))?;
        let client = Client::builder(&url).ca(ca).build()?;
        ensure!(client.slas().await?.is_empty());
        let foreign = std::fs::read(made("foreign.pem"))?;
        let deadline = Duration::from_secs(2);
        let client = Client::builder(&url).ca(foreign).deadline(deadline).build()?;
        ensure!(client.slas().await.is_err(), "another authority is trusted");
        Ok(())
    })
}

#[test]
fn curl_speaks_http_1_and_2_over_tls() -> Result<()> {
    if succeeds(Command::new("curl").arg("--version")).is_err() {
        skip("curl", "no curl");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let server = start(&folder.path().join("data"), &[])?;
    let url = format!("{}/livez", url(&server.next_address("https")?));
    for version in ["--http1.1", "--http2"] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", version, "--cacert"]).arg(made("ca.pem")).arg(&url);
        succeeds(&mut curl).map_err(|why| anyhow::anyhow!("{version}: {why}"))?;
    }
    let mut curl = Command::new("curl");
    let refused = curl.args(["-sS", "--fail", &url]).output()?;
    // The certificate is of no authority that it trusts.
    ensure!(refused.status.code() == Some(60), "{refused:?}");
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "--tls-max", "1.1", "--cacert"]).arg(made("ca.pem")).arg(&url);
    ensure!(succeeds(&mut curl).is_err(), "TLS 1.1 was spoken");
    Ok(())
}

fn python_says(suite: &str, arguments: &[&OsStr]) -> Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tls-clients");
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/tls");
    let requirements = here.join("requirements.txt");
    let packages = [OsStr::new("-r"), requirements.as_os_str()];
    let modules = "pika, amqp, confluent_kafka, kafka, requests, grpc";
    let python = match python(&folder, modules, &packages) {
        Ok(python) => python,
        Err((need, why)) => {
            skip(need, &why);
            return Ok(());
        }
    };
    let mut command = Command::new(python);
    command.arg(here.join(suite)).args(arguments);
    let output = command.output()?;
    let failed = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}{failed}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

#[test]
fn clients_in_python_speak_to_every_face_over_tls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let more = ["--amqps", "127.0.0.1:0", "--kafka-tls", "127.0.0.1:0"];
    let server = start(&folder.path().join("data"), &more)?;
    let addresses = ["https", "amqps", "kafka+tls"].map(|scheme| server.next_address(scheme));
    let [https, amqps, kafka] = addresses;
    let ca = made("ca.pem");
    let arguments = [https?, amqps?, kafka?];
    let mut arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    arguments.push(ca.as_os_str());
    python_says("clients.py", &arguments)
}

/// What `compat/tls/access.py` finds.
const ACCOUNTS: &str = r#"
[[account]]
name = "app"
password = "secret of app"
grants = [{ role = "admin", namespace = "default", names = "app*" }]

[[account]]
name = "reader"
password = "secret of reader"
grants = [{ role = "consume", namespace = "default", names = "app*" }]

[[account]]
name = "certified"
certificates = ["CN=app,OU=clients,O=Longshore tests"]
grants = [{ role = "admin", namespace = "default", names = "app*" }]
"#;

/// A server that asks who comes in, and where AMQP and Kafka are.
fn start_with_accounts(folder: &Path, of: &str) -> Result<(Server, String, String)> {
    let accounts = folder.join("accounts.toml");
    std::fs::write(&accounts, of)?;
    let [certificate, key] = shows("server");
    let accounts = format!("--accounts-file={}", accounts.display());
    let client_ca = format!("tls.client_ca={}", made("ca.pem").display());
    let more = ["--access", "required", &accounts, "--amqps", "127.0.0.1:0", "--kafka-tls"];
    let tls = ["127.0.0.1:0", &certificate, &key, "--set", &client_ca];
    let optional = ["--set", "tls.client_certificates=optional"];
    let more = [&more[..], &tls, &optional].concat();
    let server = Server::start_with(&folder.join("data"), &more)?;
    let (amqps, kafka) = (server.next_address("amqps")?, server.next_address("kafka+tls")?);
    Ok((server, amqps, kafka))
}

#[test]
fn clients_of_amqp_and_kafka_log_in_to_accounts_and_are_held_to_their_roles() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (server, amqps, kafka) = start_with_accounts(folder.path(), ACCOUNTS)?;
    let (ca, own, own_key) = (made("ca.pem"), made("client.pem"), made("client.key"));
    let arguments =
        [OsStr::new(&amqps), OsStr::new(&kafka), ca.as_ref(), own.as_ref(), own_key.as_ref()];
    python_says("access.py", &arguments).map_err(|error| error.context(server.log_text()))
}

/// What `compat/tls/rates.py` finds.
#[test]
fn publishers_beyond_the_rate_of_their_account_are_slowed_and_consumers_are_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let slow = (1..=6).map(|n| {
        format!(
            "[[account]]
name = \"slow{n}\"
password = \"secret of slow{n}\"
requests_per_second = 40
grants = [{{ role = \"admin\", namespace = \"default\", names = \"app*\" }}]
"
        )
    });
    let accounts = format!("{ACCOUNTS}\n{}", slow.collect::<Vec<_>>().concat());
    let (server, amqps, kafka) = start_with_accounts(folder.path(), &accounts)?;
    let ca = made("ca.pem");
    let arguments = [OsStr::new(&amqps), OsStr::new(&kafka), ca.as_ref()];
    python_says("rates.py", &arguments).map_err(|error| error.context(server.log_text()))
}
