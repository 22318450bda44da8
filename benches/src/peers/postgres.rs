//! A `PostgreSQL` cluster of its own, and `pgbench` that inserts many rows per statement. Its
//! programs refuse to run as root, so they run as the user that Debian makes for them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::port;
use crate::jobs;
use crate::process::{self, Process};

/// Where Debian keeps the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
const ROWS_PER_STATEMENT: usize = 1000;
const SCHEMA: &str = "create table jobs (id bigserial primary key, queue text not null, \
    kind text not null, args jsonb not null, run_at timestamptz not null default now())";
const SETTINGS: &[&str] = &[
    "fsync=on",
    "synchronous_commit=on",
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "listen_addresses=127.0.0.1",
];

/// The folder of the newest version's programs.
pub(super) fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(VERSIONS).ok()?.filter_map(Result::ok);
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(|path| number(path))?;
    Some(newest.join("bin")).filter(|folder| folder.join("pgbench").is_file())
}

/// A cluster that runs.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(crate) process: Process,
    folder: PathBuf,
    address: SocketAddr,
    user: Option<(u32, u32)>,
}

impl Postgres {
    /// What it is told, for people.
    pub(crate) fn settings() -> String {
        let settings = SETTINGS.split_last().map_or(SETTINGS, |(_, shown)| shown).join(", ");
        format!("{ROWS_PER_STATEMENT} rows per insert, pgbench -M prepared, {settings}")
    }

    /// Makes a cluster in `folder` and starts it.
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        let user = postgres_user()?;
        if let Some((uid, gid)) = user {
            chown(folder, Some(uid), Some(gid))?;
        }
        let address = port::free()?;
        let cluster = folder.join("cluster");
        let mut initdb = command("initdb", folder, user)?;
        initdb.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "bench", "-D"]);
        run(initdb.arg(&cluster))?;
        let mut server = command("postgres", folder, user)?;
        server.arg("-D").arg(&cluster).arg("-k").arg(folder);
        server.args(["-p", &address.port().to_string()]);
        for setting in SETTINGS {
            server.args(["-c", setting]);
        }
        let log = folder.join("postgres.log");
        let process = Process::start("postgres", &mut server, &log, false)?;
        let mut postgres = Self { process, folder: folder.to_path_buf(), address, user };
        let mut ready = postgres.client("pg_isready")?;
        postgres.process.until(|| run(&mut ready).ok())?;
        fs::write(folder.join("insert.sql"), statement())?;
        Ok(postgres)
    }

    /// Inserts for some seconds over some connections into an empty table; rows per second.
    pub(crate) fn insert(&self, connections: u32, seconds: u64) -> Result<f64> {
        let drop_old = "drop table if exists jobs";
        for sql in [drop_old, SCHEMA, "checkpoint"] {
            run(self.client("psql")?.args(["-q", "-d", "postgres", "-c", sql]))?;
        }
        let mut pgbench = self.client("pgbench")?;
        pgbench.args(["-n", "-M", "prepared", "-f"]).arg(self.folder.join("insert.sql"));
        pgbench.args(["-c", &connections.to_string(), "-j", &connections.to_string()]);
        let text = run(pgbench.args(["-T", &seconds.to_string(), "postgres"]))?;
        let line = text.lines().find_map(|line| line.strip_prefix("tps = "));
        let rate = line.and_then(|line| line.split(' ').next()?.parse::<f64>().ok());
        Ok(rate.with_context(|| format!("pgbench said {text:?}"))? * ROWS_PER_STATEMENT as f64)
    }

    fn client(&self, program: &str) -> Result<Command> {
        let mut command = command(program, &self.folder, self.user)?;
        let port = self.address.port().to_string();
        command.args(["-h", "127.0.0.1", "-U", "bench", "-p", &port]);
        Ok(command)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its processes share memory that SIGKILL would leave behind. If this fails, dropping
        // the process kills it all the same.
        if let Ok(mut stop) = command("pg_ctl", &self.folder, self.user) {
            let cluster = self.folder.join("cluster");
            let _ = run(stop.args(["-m", "immediate", "stop", "-D"]).arg(cluster));
        }
    }
}

fn statement() -> String {
    let row = format!("('bench','noop','{}')", jobs::args());
    let rows = vec![row; ROWS_PER_STATEMENT].join(",");
    format!("insert into jobs (queue, kind, args) values {rows};\n")
}

fn command(program: &str, folder: &Path, user: Option<(u32, u32)>) -> Result<Command> {
    let programs = programs().context("PostgreSQL is not installed")?;
    let mut command = process::command(programs.join(program));
    command.current_dir(folder);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    Ok(command)
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    let error = || String::from_utf8_lossy(&output.stderr).trim().to_owned();
    ensure!(output.status.success(), "{}: {}", command.get_program().display(), error());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The user and group to run as, where this program runs as root.
fn postgres_user() -> Result<Option<(u32, u32)>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd")?;
    let mut line = passwd.lines().find_map(|line| line.strip_prefix("postgres:"));
    let mut fields = line.take().into_iter().flat_map(|line| line.split(':')).skip(1);
    let ids = || Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?));
    Ok(Some({ ids }().context("no user named postgres")?))
}
