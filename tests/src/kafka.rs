//! A server for clients of Kafka, the Python that has these, and requests byte by byte.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::python::{Missing, python};
use crate::server::Server;

/// Where the programs are that the clients run.
pub fn suite() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compat/kafka-python-clients")
}

/// A Python with the clients, in an environment below `target`, which is kept from run to run.
///
/// # Errors
///
/// What the machine lacks for it.
pub fn clients(target: &str) -> Result<PathBuf, Missing> {
    let folder = Path::new(target).join("kafka-python-clients");
    let list = suite().join("requirements.txt");
    python(&folder, "aiokafka, confluent_kafka, kafka", &[OsStr::new("-r"), list.as_os_str()])
}

/// A server, and where Kafka clients find it. It stays there when it is started again.
#[derive(Debug)]
pub struct Broker {
    data: PathBuf,
    /// `host:port`.
    pub kafka: String,
    /// Of the process.
    pub server: Server,
}

impl Broker {
    /// Starts it on a folder below `folder`.
    pub fn start(folder: &Path) -> Result<Self> {
        // Clients have to find it there again: the port cannot be the system's choice later.
        let kafka = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let data = folder.join("data");
        let server = start(&data, &kafka)?;
        Ok(Self { data, kafka, server })
    }

    /// SIGKILL, and a start on the same folder.
    pub fn restart(&mut self) -> Result<()> {
        self.server.kill()?;
        self.server = start(&self.data, &self.kafka)?;
        Ok(())
    }

    /// SIGTERM, after which all files are synced, and a start on the same folder.
    pub fn stop_and_start(&mut self) -> Result<()> {
        self.server.terminate()?;
        self.server = start(&self.data, &self.kafka)?;
        Ok(())
    }
}

fn start(data: &Path, kafka: &str) -> Result<Server> {
    Server::start_with(data, &["--kafka", kafka, "--set", "kafka.compaction_look=1s"])
}

/// Sends a request; `body` follows the header of version 1.
pub fn send(stream: &mut impl Write, kind: (i16, i16), body: &[u8]) -> Result<()> {
    let mut request = Vec::new();
    for part in [kind.0, kind.1, 0, 7, -1] {
        request.extend(part.to_be_bytes());
    }
    request.extend(body);
    let length = u32::try_from(request.len())?;
    stream.write_all(&[&length.to_be_bytes()[..], &request].concat())?;
    Ok(stream.flush()?)
}

/// What is answered to a request, behind its number.
pub fn ask(stream: &mut (impl Read + Write), kind: (i16, i16), body: &[u8]) -> Result<Vec<u8>> {
    send(stream, kind, body)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    // The number of the request.
    ensure!(answer.starts_with(&[0, 0, 0, 7]), "{answer:?}");
    Ok(answer.split_off(4))
}

/// Says how it is to be logged in. The code.
pub fn handshake(stream: &mut (impl Read + Write), mechanism: &str) -> Result<i16> {
    let length = i16::try_from(mechanism.len())?;
    let body = [&length.to_be_bytes()[..], mechanism.as_bytes()].concat();
    let answer = ask(stream, (17, 1), &body)?;
    Ok(i16::from_be_bytes([answer[0], answer[1]]))
}

/// Logs in. The code, and what is said with it or without.
pub fn authenticate(stream: &mut (impl Read + Write), message: &str) -> Result<(i16, String)> {
    let length = i32::try_from(message.len())?;
    let body = [&length.to_be_bytes()[..], message.as_bytes()].concat();
    let answer = ask(stream, (36, 0), &body)?;
    let said = String::from_utf8_lossy(&answer[2..]).into_owned();
    Ok((i16::from_be_bytes([answer[0], answer[1]]), said))
}
