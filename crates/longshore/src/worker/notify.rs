//! What a supervisor such as systemd is told: datagrams to `$NOTIFY_SOCKET`.

use std::os::unix::net::UnixDatagram;
use std::process;
use std::time::Duration;

/// Where it is told, if anybody listens.
#[derive(Debug, Default)]
pub(super) struct Notifier {
    socket: Option<UnixDatagram>,
    /// How often to say that all is well.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says.
    pub(super) fn from_environment() -> Self {
        let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return Self::default() };
        let number = |name| std::env::var(name).ok().and_then(|it| it.parse::<u64>().ok());
        // What a parent process inherited is not meant for this one.
        let is_meant = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|usec| *usec > 1 && is_meant);
        // Half of the time that the supervisor waits.
        let watchdog = watchdog.map(|usec| Duration::from_micros(usec / 2));
        Self::new(path.as_encoded_bytes(), watchdog)
    }

    fn new(path: &[u8], watchdog: Option<Duration>) -> Self {
        #[cfg(target_os = "linux")]
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::net::SocketAddr;
        let connect = || {
            let socket = UnixDatagram::unbound()?;
            let address = match path.split_first() {
                #[cfg(target_os = "linux")]
                Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
                _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
            };
            socket.connect_addr(&address)?;
            socket.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(socket)
        };
        match connect() {
            Ok(socket) => Self { socket: Some(socket), watchdog },
            Err(error) => {
                tracing::warn!(%error, "the supervisor at $NOTIFY_SOCKET cannot be told anything");
                Self::default()
            }
        }
    }

    /// Lets it know until the future is done, as often as it wants, that all is well.
    pub(super) async fn alive_during<F: Future>(&self, future: F) -> F::Output {
        let Some(every) = self.watchdog else { return future.await };
        let mut due = tokio::time::interval(every);
        let mut future = std::pin::pin!(future);
        loop {
            tokio::select! {
                output = &mut future => return output,
                _ = due.tick() => self.say("WATCHDOG=1"),
            }
        }
    }

    /// Says it; a supervisor that does not listen is not waited for.
    pub(super) fn say(&self, words: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(words.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_hears_what_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let supervisor = UnixDatagram::bind(&path).unwrap();
        let notifier = Notifier::new(path.as_os_str().as_encoded_bytes(), None);
        notifier.say("READY=1");
        let mut heard = [0; 32];
        let length = supervisor.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1");
    }
}
