//! A `PostgreSQL` cluster for one test, reached over a socket in its folder.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tempfile::TempDir;

/// Where Debian keeps the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A cluster in a temporary folder; it ends with this value.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    server: Child,
    owner: Option<(u32, u32)>,
    programs: PathBuf,
}

impl Postgres {
    /// Starts one; none where it is not installed.
    pub fn start() -> Option<Self> {
        let programs = std::fs::read_dir(VERSIONS).ok()?.filter_map(Result::ok);
        let programs = programs.map(|it| it.path().join("bin")).max()?;
        if !programs.join("initdb").is_file() {
            return None;
        }
        let folder = tempfile::tempdir().expect("a cluster for a test");
        let owner = owner(folder.path());
        let cluster = folder.path().join("cluster");
        let made = command(&programs.join("initdb"), owner, folder.path())
            .args([
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "-U",
                "test",
                "-D",
            ])
            .arg(&cluster)
            .status()
            .expect("a cluster for a test");
        assert!(made.success(), "initdb failed");
        let server = command(&programs.join("postgres"), owner, folder.path())
            .arg("-D")
            .arg(&cluster)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off"])
            .spawn()
            .expect("a cluster for a test");
        Some(Self { folder, server, owner, programs })
    }

    /// Connections to it.
    pub async fn pool(&self, connections: u32) -> PgPool {
        pool(self.folder.path(), connections).await
    }

    /// Where its socket is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Connections to the cluster in `folder`, once it listens.
pub async fn pool(folder: &Path, connections: u32) -> PgPool {
    let options = PgConnectOptions::new().socket(folder).username("test").database("postgres");
    loop {
        let pool = PgPoolOptions::new().max_connections(connections);
        if let Ok(pool) = pool.connect_with(options.clone()).await {
            return pool;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let cluster = self.folder.path().join("cluster");
        let stopped = command(&self.programs.join("pg_ctl"), self.owner, self.folder.path())
            .args(["-m", "immediate", "stop", "-D"])
            .arg(cluster)
            .status();
        if stopped.is_err() {
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

/// Whom the cluster runs as: it refuses to run as root.
fn owner(folder: &Path) -> Option<(u32, u32)> {
    let id = |option: &str, user: &[&str]| -> Option<u32> {
        let output = Command::new("id").arg(option).args(user).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse().ok()
    };
    if id("-u", &[]) != Some(0) {
        return None;
    }
    let owner = (id("-u", &["postgres"])?, id("-g", &["postgres"])?);
    chown(folder, Some(owner.0), Some(owner.1)).expect("a cluster for a test");
    Some(owner)
}

fn command(program: &Path, owner: Option<(u32, u32)>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command
}
