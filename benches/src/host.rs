//! What the kernel tells: memory and processor time of processes, time that the hypervisor took,
//! and what machine this is.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

/// Ticks of `/proc` per second: the same on every Linux of today.
const TICKS_PER_S: f64 = 100.0;

const TMPFS_MAGIC: i64 = 0x0102_1994;

/// Resident memory of a process.
pub(crate) fn memory_mib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    Ok(kib.context("/proc tells no VmRSS")? / 1024.0)
}

/// Processor time that processes used from here on.
#[derive(Debug)]
pub(crate) struct Meter {
    servers: Vec<u32>,
    start: Instant,
    server_ticks: f64,
    own_ticks: f64,
    machine: Machine,
}

/// Ticks of all cores together.
#[derive(Clone, Copy, Debug, Default)]
struct Machine {
    busy: f64,
    stolen: f64,
}

impl Meter {
    /// Begins to measure these servers, and this process as their client.
    pub(crate) fn start(servers: &[u32]) -> Self {
        Self {
            servers: servers.to_vec(),
            start: Instant::now(),
            server_ticks: ticks_of_all(servers),
            own_ticks: ticks_of(std::process::id()),
            machine: Machine::now(),
        }
    }

    /// Per cent of one core: servers, client, everything else on this machine, the kernel's own
    /// work included, and what the hypervisor took.
    ///
    /// The last figure is what the servers needed per job: it holds where the machine is shared.
    pub(crate) fn stop(&self, jobs: u64) -> [(&'static str, f64); 5] {
        let scale = 100.0 / (TICKS_PER_S * self.start.elapsed().as_secs_f64());
        let machine = Machine::now();
        let server = ticks_of_all(&self.servers) - self.server_ticks;
        let own = ticks_of(std::process::id()) - self.own_ticks;
        let busy = machine.busy - self.machine.busy;
        let stolen = machine.stolen - self.machine.stolen;
        let per_job_us = server * 1e6 / TICKS_PER_S / jobs.max(1) as f64;
        let [server, own, other, stolen] = [
            ("server_cpu_percent", server),
            ("client_cpu_percent", own),
            ("other_cpu_percent", busy - server - own),
            ("stolen_cpu_percent", stolen),
        ]
        .map(|(name, ticks)| (name, (ticks * scale).round().max(0.0)));
        [server, own, other, stolen, ("server_us_per_job", per_job_us)]
    }
}

fn ticks_of_all(pids: &[u32]) -> f64 {
    pids.iter().map(|pid| ticks_of(*pid)).sum()
}

/// User and system time; zero where the process is gone.
fn ticks_of(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything, so fields are counted from behind it.
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
}

impl Machine {
    fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let total = stat.lines().next().unwrap_or_default();
        let ticks = total.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0.0));
        let ticks: Vec<f64> = ticks.take(8).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let &[user, nice, system, _, _, irq, softirq, stolen] = ticks.as_slice() else {
            return Self::default();
        };
        Self { busy: user + nice + system + irq + softirq, stolen }
    }
}

/// One line about this machine and the disk below `folder`.
pub(crate) fn describe(folder: &Path) -> String {
    let uname = rustix::system::uname();
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown processor", |it| it.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory_kib = memory.split_whitespace().nth(1).and_then(|it| it.parse::<u64>().ok());
    format!(
        "{cores} x {model}, {} GiB, Linux {}, {} below {}",
        memory_kib.unwrap_or_default().div_ceil(1024 * 1024),
        uname.release().to_string_lossy(),
        file_system(folder),
        folder.display(),
    )
}

/// Whether what is written to `folder` never reaches a disk.
pub(crate) fn is_memory(folder: &Path) -> bool {
    rustix::fs::statfs(folder).is_ok_and(|it| it.f_type == TMPFS_MAGIC)
}

fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let mut best = ("", "unknown file system");
    for line in mounts.lines() {
        let mut words = line.split_whitespace().skip(1);
        let (Some(point), Some(kind)) = (words.next(), words.next()) else { continue };
        if folder.starts_with(point) && point.len() >= best.0.len() {
            best = (point, kind);
        }
    }
    best.1.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_uses_time() {
        let own = std::process::id();
        assert!(memory_mib(own).unwrap() > 0.1);
        let meter = Meter::start(&[own]);
        while ticks_of(own) < meter.own_ticks + 2.0 {
            std::hint::black_box(ticks_of(own));
        }
        let [server, client, ..] = meter.stop(1);
        assert!(server.1 > 0.0 && client.1 > 0.0, "{server:?} {client:?}");
    }

    #[test]
    fn the_machine_has_a_description() {
        let text = describe(Path::new("/"));
        assert!(text.contains("Linux") && !text.contains("unknown file system"), "{text}");
    }
}
