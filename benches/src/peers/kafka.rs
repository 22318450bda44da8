//! Apache Kafka on one node, and its own tools, which load both sides.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::port;
use crate::process::{Process, command};

/// What every Java process of it gets, as its scripts do for a broker.
const HEAP: &str = "-Xmx1g";

/// A broker, which is its own controller.
#[derive(Debug)]
pub(crate) struct Kafka {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

/// Where its jars lie: `libs` of a release's archive, or `lib`, below `KAFKA_HOME`.
pub(super) fn jars() -> Option<PathBuf> {
    let home = PathBuf::from(std::env::var_os("KAFKA_HOME")?);
    let folders = ["libs", "lib"].map(|folder| home.join(folder));
    folders.into_iter().find(|folder| broker_in(folder).is_some())
}

/// The name of the jar that tells the version.
fn broker_in(folder: &Path) -> Option<String> {
    let names = fs::read_dir(folder).ok()?.filter_map(|it| it.ok()?.file_name().into_string().ok());
    let mut names = names.filter(|name| name.starts_with("kafka_2"));
    names.find(|name| Path::new(name).extension().is_some_and(|it| it == "jar"))
}

/// What the name of its jar says.
pub(super) fn version() -> String {
    let name = jars().and_then(|folder| broker_in(&folder)).unwrap_or_default();
    name.trim_end_matches(".jar").to_owned()
}

fn java() -> Result<Command> {
    let folder = jars().context("KAFKA_HOME has no jars of Apache Kafka")?;
    let mut java = command("java");
    java.args([HEAP, "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp"]);
    java.arg(folder.join("*"));
    Ok(java)
}

/// Runs one of Kafka's tools and gives its last line.
///
/// # Errors
///
/// It cannot be started, or it fails.
pub(crate) fn tool(class: &str, words: &[&str]) -> Result<String> {
    let mut java = java()?;
    java.arg(format!("org.apache.kafka.tools.{class}")).args(words).stdin(Stdio::null());
    let output = java.output().context("cannot start java")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let blamed = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{class} failed: {said}{blamed}");
    Ok(said.lines().last().unwrap_or_default().to_owned())
}

impl Kafka {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let [address, controller] = [port::free()?, port::free()?];
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@{controller}\n\
             listeners=PLAINTEXT://{address},CONTROLLER://{controller}\n\
             advertised.listeners=PLAINTEXT://{address}\ncontroller.listener.names=CONTROLLER\n\
             log.dirs={}\noffsets.topic.replication.factor=1\n",
            folder.join("log").display()
        );
        let file = folder.join("server.properties");
        fs::write(&file, settings)?;
        let format = ["kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c"];
        let made = java()?.args(format).arg(&file).output().context("cannot start java")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let log = folder.join("kafka.log");
        let mut broker = java()?;
        broker.arg("kafka.Kafka").arg(&file);
        let mut process = Process::start("kafka", &mut broker, &log, false)?;
        let seen = || fs::read_to_string(&log).unwrap_or_default();
        process.until(|| port::is_open(address)).with_context(seen)?;
        Ok(Self { process, address })
    }
}
