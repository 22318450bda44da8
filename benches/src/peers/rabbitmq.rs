//! `RabbitMQ` on one node, as Debian installs it: nothing is set but where it stores and listens.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::port;
use crate::amqp::Connection;
use crate::process::{Process, command};

/// Where Debian puts its programs.
const FOLDER: &str = "/usr/lib/rabbitmq/bin";

/// A server.
#[derive(Debug)]
pub(crate) struct RabbitMq {
    _script: Process,
    /// Of the Erlang machine, which the script starts.
    pub(crate) pid: u32,
    pub(crate) address: SocketAddr,
    mapper: SocketAddr,
}

/// The program that starts it.
pub(super) fn program() -> PathBuf {
    Path::new(FOLDER).join("rabbitmq-server")
}

/// What Debian says of its version.
pub(super) fn version() -> String {
    let output =
        Command::new("dpkg-query").args(["-W", "-f", "${Version}", "rabbitmq-server"]).output();
    let output = output.map(|it| it.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).into_owned()
}

impl RabbitMq {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let [address, mapper, cluster] = [port::free()?, port::free()?, port::free()?];
        let port = |address: SocketAddr| address.port().to_string();
        let node = format!("bench-{}@localhost", port(address));
        let pid_file = folder.join("pid");
        let mut server = command(program());
        let words = [
            ("RABBITMQ_NODENAME", node),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", port(address)),
            ("RABBITMQ_DIST_PORT", port(cluster)),
            ("ERL_EPMD_PORT", port(mapper)),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
        ];
        server.envs(words);
        for (name, below) in [
            ("HOME", ""),
            ("RABBITMQ_MNESIA_BASE", "data"),
            ("RABBITMQ_LOG_BASE", "log"),
            ("RABBITMQ_PID_FILE", "pid"),
            ("RABBITMQ_CONFIG_FILE", "none"),
            ("RABBITMQ_CONF_ENV_FILE", "none.env"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
        ] {
            server.env(name, folder.join(below));
        }
        fs::write(folder.join("plugins"), "[].")?;
        let log = folder.join("rabbitmq.log");
        let mut script = Process::start("rabbitmq-server", &mut server, &log, false)?;
        let seen = || fs::read_to_string(&log).unwrap_or_default();
        // It listens before it lets anybody in.
        script.until(|| Connection::open(address).ok().map(drop)).with_context(seen)?;
        let pid = fs::read_to_string(pid_file)?.trim().parse().context("no number of a process")?;
        Ok(Self { _script: script, pid, address, mapper })
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.pid.cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let port = self.mapper.port().to_string();
        let _ = Command::new("epmd").args(["-port", &port, "-kill"]).output();
    }
}
