//! A server for clients of Kafka, and the Python that has these.

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Result;

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
