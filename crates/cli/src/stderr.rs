//! Standard error of a command that goes on for long. What is told goes through a bounded queue to
//! a thread of its own, so nobody who tells something waits or ends because it cannot be written.
//! What finds no room, or cannot be written, is lost and counted; the count is told once writing
//! works again. Commands that end by themselves write directly.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use longshore_server::api::InstantText;
use rustix::io::Errno;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Bytes that may wait.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// How long room, or the writing of an error, is waited for while standard error gets on.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long what waits may take to be written when the command ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// A terminal that another program made non-blocking is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_millis(10);

static WRITER: OnceLock<Arc<Writer>> = OnceLock::new();

/// How the count of lost lines is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    Plain,
    Json,
}

struct Writer {
    form: Form,
    state: Mutex<State>,
    /// Something waits to be written.
    filled: Condvar,
    /// Something was written, or lost in the attempt.
    done: Condvar,
    room: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    waiting_bytes: usize,
    /// How many messages were taken, and how many of them are done with.
    taken: u64,
    done: u64,
    /// Lines that were lost and not yet told.
    lost: u64,
    /// Somebody waited in vain, and nothing was done with since: nobody waits any more.
    stuck: bool,
}

/// From now on nothing that is told blocks. A panic is told the same way.
pub(crate) fn start(form: Form) -> io::Result<()> {
    let writer = Arc::new(Writer {
        form,
        state: Mutex::default(),
        filled: Condvar::new(),
        done: Condvar::new(),
        room: Notify::new(),
    });
    if WRITER.set(Arc::clone(&writer)).is_ok() {
        std::thread::Builder::new().name("stderr".into()).spawn(move || writer.run())?;
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("without a name");
            tell_and_wait(format!("thread {name} {panic}\n").into_bytes());
        }));
    }
    Ok(())
}

/// Tells whole lines.
pub(crate) fn tell(lines: Vec<u8>) {
    match WRITER.get() {
        Some(writer) => writer.push_or_lose(lines),
        None => write_directly(&lines),
    }
}

/// Tells whole lines after which the process may end: waits a moment until they are written.
pub(crate) fn tell_and_wait(lines: Vec<u8>) {
    let Some(writer) = WRITER.get() else { return write_directly(&lines) };
    match writer.push(lines) {
        Ok(number) => writer.wait_for(number, PATIENCE, true),
        Err(lines) => writer.lose(&lines),
    }
}

/// Passes on what somebody else writes, at the speed at which standard error takes it; where it
/// takes nothing, the bytes are lost.
pub(crate) async fn pass_on(bytes: Vec<u8>) {
    let Some(writer) = WRITER.get() else { return write_directly(&bytes) };
    let until = Instant::now() + PATIENCE;
    let mut bytes = bytes;
    loop {
        let room = writer.room.notified();
        let Err(back) = writer.push(bytes) else { return };
        bytes = back;
        if writer.state().stuck || timeout_at(until, room).await.is_err() {
            writer.state().stuck = true;
            writer.lose(&bytes);
            return;
        }
    }
}

/// Waits until what was told is written, but not for long.
pub(crate) fn finish() {
    if let Some(writer) = WRITER.get() {
        let last = writer.state().taken;
        writer.wait_for(last, LAST_WORDS, false);
    }
}

/// It fails silently: there is nobody to tell.
fn write_directly(bytes: &[u8]) {
    let _ = io::stderr().lock().write_all(bytes);
}

impl Writer {
    /// Takes the bytes, and answers the number of messages so far; or gives them back.
    fn push(&self, bytes: Vec<u8>) -> Result<u64, Vec<u8>> {
        let mut state = self.state();
        if !state.waiting.is_empty() && state.waiting_bytes + bytes.len() > WAITING_BYTES_MAX {
            return Err(bytes);
        }
        state.waiting_bytes += bytes.len();
        state.waiting.push_back(bytes);
        state.taken += 1;
        self.filled.notify_one();
        Ok(state.taken)
    }

    fn push_or_lose(&self, bytes: Vec<u8>) {
        if let Err(bytes) = self.push(bytes) {
            self.lose(&bytes);
        }
    }

    fn lose(&self, bytes: &[u8]) {
        self.state().lost += lines_in(bytes);
    }

    fn wait_for(&self, number: u64, patience: Duration, unless_stuck: bool) {
        let state = self.state();
        let goes_on = |state: &mut State| state.done < number && !(unless_stuck && state.stuck);
        let waited = self.done.wait_timeout_while(state, patience, goes_on);
        let (mut state, time) = waited.unwrap_or_else(PoisonError::into_inner);
        state.stuck |= time.timed_out();
    }

    fn run(&self) {
        let mut output = Output { cut: false };
        loop {
            let (bytes, lost) = self.next();
            // What was lost stood before this.
            let told = lost > 0 && output.write(&self.notice(lost)).is_ok();
            let written = output.write(&bytes).is_ok();
            let mut state = self.state();
            state.lost -= if told { lost } else { 0 };
            state.lost += if written { 0 } else { lines_in(&bytes) };
            state.done += 1;
            state.stuck = false;
            self.done.notify_all();
            self.room.notify_waiters();
        }
    }

    /// The next message, and how many lines were lost before it.
    fn next(&self) -> (Vec<u8>, u64) {
        let mut state = self.state();
        loop {
            if let Some(bytes) = state.waiting.pop_front() {
                state.waiting_bytes -= bytes.len();
                return (bytes, state.lost);
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn notice(&self, lost: u64) -> Vec<u8> {
        let message = "lines were lost: standard error did not take them";
        match self.form {
            Form::Plain => format!("{lost} {message}\n").into_bytes(),
            Form::Json => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let line = serde_json::json!({
                    "timestamp": InstantText(now.as_millis() as u64).to_string(),
                    "level": "ERROR",
                    "message": message,
                    "lost": lost,
                    "target": "longshore::stderr",
                });
                format!("{line}\n").into_bytes()
            }
        }
    }

    /// No code between lock and unlock panics half-way through a change.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Standard error, without the lock of the standard library: a panic elsewhere must not wait for
/// it.
struct Output {
    /// The last line was written in part.
    cut: bool,
}

impl Output {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if self.cut {
            write_all(b"\n").map_err(|(error, _)| error)?;
            self.cut = false;
        }
        write_all(bytes).map_err(|(error, written)| {
            self.cut = written > 0;
            error
        })
    }
}

/// Writes everything, or tells how much of it was.
fn write_all(bytes: &[u8]) -> Result<(), (Errno, usize)> {
    let stderr = io::stderr();
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match rustix::io::write(&stderr, rest) {
            Ok(0) => return Err((Errno::IO, written)),
            Ok(length) => written += length,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => std::thread::sleep(ASK_AGAIN),
            Err(error) => return Err((error, written)),
        }
    }
    Ok(())
}

fn lines_in(bytes: &[u8]) -> u64 {
    let lines = bytes.split(|byte| *byte == b'\n').count() - 1;
    lines.max(1) as u64
}
