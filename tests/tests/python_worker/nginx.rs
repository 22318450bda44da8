//! Debian's nginx as a proxy before a server: once as it comes, and once so that it lets `Expect`
//! through.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use longshore_tests::python::{Missing, succeeds};
use longshore_tests::wait;
use tempfile::TempDir;

/// Whoever takes a free port is there before nginx, now and then.
const STARTS_MAX: usize = 5;

/// Tests of one process that want the program wait for each other.
static MAKING: Mutex<()> = Mutex::new(());

fn is_there(program: &Path) -> bool {
    succeeds(Command::new(program).arg("-v")).is_ok()
}

/// The program: the machine's, or else that of Debian's package, unpacked where it is kept from run
/// to run. Nothing is installed.
pub(super) fn program() -> Result<PathBuf, Missing> {
    let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("nginx");
    let own = folder.join("root/usr/sbin/nginx");
    let known = ["nginx".into(), "/usr/sbin/nginx".into(), own.clone()];
    if let Some(found) = known.into_iter().find(|it| is_there(it)) {
        return Ok(found);
    }
    let lack = |why: String| ("nginx", format!("its Debian package cannot be had: {why}"));
    let lists = folder.join("lists");
    fs::create_dir_all(lists.join("partial")).map_err(|why| lack(why.to_string()))?;
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new("apt-get");
        succeeds(apt.current_dir(&folder).arg("-qq").args(arguments))
    };
    if apt(&["download", "nginx"]).is_err() {
        // The machine's lists may be old, or none.
        let lists = format!("Dir::State::lists={}", lists.display());
        apt(&["-o", &lists, "update"]).map_err(lack)?;
        apt(&["-o", &lists, "download", "nginx"]).map_err(lack)?;
    }
    let unpack = "for deb in nginx_*.deb; do dpkg -x \"$deb\" root; done";
    succeeds(Command::new("sh").current_dir(&folder).args(["-c", unpack])).map_err(lack)?;
    if is_there(&own) { Ok(own) } else { Err(lack("it does not run".to_owned())) }
}

/// A proxy. Killed when it is dropped.
pub(super) struct Nginx {
    child: Child,
    /// Where it is as it comes: it drops `Expect`, and speaks HTTP/1.0 to the server.
    pub(super) plain: String,
    /// Where it was told to let `Expect` through, over connections that it keeps.
    pub(super) open: String,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it before the server at `address`.
    pub(super) fn start(program: &Path, address: &str) -> Result<Self> {
        for _ in 0..STARTS_MAX {
            if let Some(started) = Self::try_start(program, address)? {
                return Ok(started);
            }
        }
        bail!("nginx found no port in {STARTS_MAX} starts")
    }

    fn try_start(program: &Path, address: &str) -> Result<Option<Self>> {
        let folder = tempfile::tempdir()?;
        let [plain, open] = free_ports()?;
        let configuration = folder.path().join("nginx.conf");
        fs::write(&configuration, configuration_of(folder.path(), address, [&plain, &open]))?;
        let errors = folder.path().join("error.log");
        let child = Command::new(program)
            .arg("-c")
            .arg(&configuration)
            .arg("-p")
            .arg(folder.path())
            .arg("-e")
            .arg(&errors)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut nginx = Self { child, plain, open, _folder: folder };
        let listens = wait::until("nginx listens", || {
            if nginx.child.try_wait()?.is_some() {
                return Ok(Some(false));
            }
            let there = [&nginx.plain, &nginx.open].map(|it| TcpStream::connect(it).is_ok());
            Ok((there == [true, true]).then_some(true))
        });
        if listens.with_context(|| fs::read_to_string(&errors).unwrap_or_default())? {
            return Ok(Some(nginx));
        }
        let why = fs::read_to_string(&errors).unwrap_or_default();
        if why.contains("Address already in use") {
            return Ok(None);
        }
        bail!("nginx ended: {why}")
    }
}

/// Two addresses at which nobody listens, once this has ended.
fn free_ports() -> Result<[String; 2]> {
    let free = || TcpListener::bind("127.0.0.1:0");
    let (one, other) = (free()?, free()?);
    Ok([one.local_addr()?.to_string(), other.local_addr()?.to_string()])
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One process, which leaves nothing behind when it is killed.
fn configuration_of(folder: &Path, address: &str, [plain, open]: [&str; 2]) -> String {
    let folder = folder.display();
    let kept = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|of| format!("    {of}_temp_path {folder}/{of};\n"))
        .concat();
    format!(
        "daemon off;
master_process off;
pid {folder}/pid;
events {{ worker_connections 512; }}
http {{
    access_log off;
{kept}    upstream longshore {{ server {address}; keepalive 8; }}
    server {{
        listen {plain};
        location / {{ proxy_pass http://{address}; }}
    }}
    server {{
        listen {open};
        location / {{
            proxy_pass http://longshore;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_set_header Host {address};
            proxy_set_header Expect $http_expect;
        }}
    }}
}}
"
    )
}
