//! Which peers this machine has, and what would install the others.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::{apalis, kafka, postgres, rabbitmq};

/// A peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Peer {
    Apalis,
    Sidekiq,
    Beanstalkd,
    Postgres,
    RabbitMq,
    Kafka,
}

impl Peer {
    pub(crate) const ALL: [Self; 6] = [
        Self::Apalis,
        Self::Sidekiq,
        Self::Beanstalkd,
        Self::Postgres,
        Self::RabbitMq,
        Self::Kafka,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Apalis => "apalis",
            Self::Sidekiq => "Sidekiq",
            Self::Beanstalkd => "beanstalkd",
            Self::Postgres => "PostgreSQL",
            Self::RabbitMq => "RabbitMQ",
            Self::Kafka => "Kafka",
        }
    }

    /// The Debian packages that it comes from.
    const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Apalis => &["redis-server"],
            Self::Sidekiq => &["redis-server", "ruby-sidekiq"],
            Self::Beanstalkd => &["beanstalkd"],
            Self::Postgres => &["postgresql"],
            Self::RabbitMq => &["rabbitmq-server"],
            Self::Kafka => &["default-jre-headless"],
        }
    }

    /// The command that installs it.
    pub(crate) fn remedy(self) -> String {
        let packages = self.packages().join(" ");
        let install = format!("apt-get install --no-install-recommends {packages}");
        match self {
            Self::Apalis => format!("{install}; cargo {}", apalis::BUILD.join(" ")),
            Self::Kafka => {
                format!("{install}; then name a release of Apache Kafka by KAFKA_HOME")
            }
            _ => install,
        }
    }

    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Apalis => find("redis-server").is_some() && apalis::program().is_file(),
            Self::Sidekiq => find("redis-server").is_some() && find("sidekiq").is_some(),
            Self::Beanstalkd => find("beanstalkd").is_some(),
            Self::Postgres => postgres::programs().is_some(),
            Self::RabbitMq => rabbitmq::program().is_file(),
            Self::Kafka => find("java").is_some() && kafka::jars().is_some(),
        }
    }

    /// What it says of its version.
    pub(crate) fn version(self) -> String {
        match self {
            Self::Apalis => apalis::version(),
            Self::Sidekiq => {
                format!("{}; {}", says("sidekiq", "--version"), says("redis-server", "--version"))
            }
            Self::Beanstalkd => says("beanstalkd", "-v"),
            Self::RabbitMq => rabbitmq::version(),
            Self::Kafka => kafka::version(),
            Self::Postgres => postgres::programs()
                .map(|folder| says(folder.join("postgres"), "--version"))
                .unwrap_or_default(),
        }
    }
}

/// Installs the packages of all peers.
pub(crate) fn install() -> Result<()> {
    let packages = Peer::ALL.iter().flat_map(|peer| peer.packages());
    let status = Command::new("apt-get")
        .args(["install", "--yes", "--no-install-recommends"])
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("cannot start apt-get")?;
    ensure!(status.success(), "apt-get failed: try `apt-get update` first, as root");
    apalis::build()
}

fn says(program: impl AsRef<Path>, flag: &str) -> String {
    let program = program.as_ref();
    let program = find(program).unwrap_or_else(|| program.to_path_buf());
    let output = Command::new(program).arg(flag).output();
    let output = output.map(|it| it.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&output);
    // Redis tells its build as well.
    text.split(" sha=").next().unwrap_or_default().trim().to_owned()
}

/// Where a program lies: on the path, or where Debian puts servers.
fn find(program: impl AsRef<Path>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(&program))
        .find(|file| file.is_file())
}
