//! Bytes of answers that their readers have not taken yet, over all connections and faces: bounded,
//! so that nobody fills memory by asking for much and reading nothing. What only asks may fill
//! three quarters of it, so that it keeps no worker from its jobs, and those seven eighths, so that
//! they keep nobody from publishing; one connection with many calls gets a quarter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};

use longshore_engine::LeaseJobs;

use super::app::App;
use super::body::{Gauge, Held};
use super::code::Code;
use super::connection::TAKEN_PER_SECOND_MIN;
use super::keyed;
use super::refusal::Refusal;
use super::reply::AnswerBody;

/// Smaller answers are not counted: there are many, and they hold little more than their request.
const COUNTED_BYTES_MIN: usize = 4 << 10;
/// Answers that go out in any case may be so much more than the budget, or as much more as that is.
const OVER_BYTES_MIN: u64 = 64 << 20;
/// Bytes in a second that whoever owes some has to take of an answer that goes on. It is less than
/// of a whole one, since such a reader may do something with each message.
const GOING_ON_PER_SECOND_MIN: u64 = 1 << 10;

/// Bytes that count until the last of them is written.
struct Owned {
    bytes: Bytes,
    #[expect(dead_code, reason = "it counts until it is dropped")]
    held: Held,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes of counted answers that one connection with many calls has not taken.
pub(crate) type Account = Arc<AtomicU64>;

/// What the reader of one call over gRPC has not taken of its counted answers.
#[derive(Debug)]
pub(crate) struct Debt {
    account: Account,
    bytes: AtomicU64,
    /// Bytes that it has taken.
    taken: AtomicU64,
}

impl Debt {
    pub(crate) fn new(account: &Account) -> Arc<Self> {
        let account = Arc::clone(account);
        Arc::new(Self { account, bytes: AtomicU64::new(0), taken: AtomicU64::new(0) })
    }

    /// The reader takes something.
    pub(crate) fn take(&self, bytes: usize) {
        self.taken.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes that it has taken, where it owes something.
    pub(crate) fn taken(&self) -> Option<u64> {
        let owes = self.bytes.load(Ordering::Relaxed) > 0;
        owes.then(|| self.taken.load(Ordering::Relaxed))
    }
}

/// A counted answer, or a counted part of one that goes on.
#[derive(Debug)]
pub(crate) struct Part {
    debt: Arc<Debt>,
    bytes: u64,
    #[expect(dead_code, reason = "it counts until it is dropped")]
    held: Held,
}

impl Part {
    fn new(debt: &Arc<Debt>, bytes: u64, held: Held) -> Self {
        debt.bytes.fetch_add(bytes, Ordering::Relaxed);
        debt.account.fetch_add(bytes, Ordering::Relaxed);
        Self { debt: Arc::clone(debt), bytes, held }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.debt.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.debt.account.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Parts of an answer that goes on which are on their way from its messages to its bytes.
pub(crate) type Tray = Arc<Mutex<Vec<Part>>>;

/// Goes with an answer over gRPC to where its bytes are handed out.
#[derive(Clone, Debug)]
pub(crate) struct Owing {
    pub(crate) debt: Arc<Debt>,
    /// How long the reader may be behind.
    pub(crate) patience: Duration,
    /// How many bytes of what it owes it has to take in a second, or it falls behind.
    pub(crate) taken_per_second_min: u64,
    /// Of an answer that goes on.
    tray: Tray,
    /// The answer, where it is one as a whole.
    #[expect(dead_code, reason = "it counts until it is dropped")]
    whole: Option<Arc<Part>>,
}

impl Owing {
    /// For an answer that goes on.
    pub(crate) fn of_stream(debt: &Arc<Debt>, tray: &Tray, patience: Duration) -> Self {
        Self {
            debt: Arc::clone(debt),
            patience,
            taken_per_second_min: GOING_ON_PER_SECOND_MIN,
            tray: Arc::clone(tray),
            whole: None,
        }
    }

    /// All that was made bytes is taken.
    pub(crate) fn all_taken(&self) {
        self.tray.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl App {
    /// Refuses what would be answered with jobs to run, while readers owe as much as they may.
    pub(crate) fn check_answers(&self) -> Result<(), Refusal> {
        let has_room = self.answers.bytes() < self.leases_max();
        if has_room { Ok(()) } else { Err(self.too_much_unread()) }
    }

    /// The same, with `own` bytes that the worker itself is about to be sent: what is more than the
    /// budget goes out where nothing else is there.
    pub(crate) fn check_answers_beside(&self, own: &Gauge) -> Result<(), Refusal> {
        let others = self.answers.bytes().saturating_sub(own.bytes());
        if others < self.leases_max() { Ok(()) } else { Err(self.too_much_unread()) }
    }

    /// Where answers count.
    pub(crate) fn answers_gauge(&self) -> &Arc<Gauge> {
        &self.answers
    }

    /// Refuses what only asks and would be answered with much.
    pub(crate) fn check_reads(&self) -> Result<(), Refusal> {
        let has_room = self.answers.bytes() < self.reads_max();
        if has_room { Ok(()) } else { Err(self.too_much_unread()) }
    }

    /// The same on a connection with many calls.
    pub(crate) fn check_reads_of(&self, account: &Account) -> Result<(), Refusal> {
        self.check_account(account)?;
        self.check_reads()
    }

    /// Refuses what is otherwise answered in any case, before it holds far more than there may be.
    pub(crate) fn check_memory(&self) -> Result<(), Refusal> {
        let max = self.answers.bytes_max();
        let has_room = self.answers.bytes() < max + max.max(OVER_BYTES_MIN);
        if has_room { Ok(()) } else { Err(self.too_much_unread()) }
    }

    fn check_account(&self, account: &Account) -> Result<(), Refusal> {
        let (held, max) = (account.load(Ordering::Relaxed), self.answers.bytes_max() / 4);
        if held < max.max(1) {
            return Ok(());
        }
        let detail = format!(
            "answers of {held} bytes wait to be taken on this connection, at most {max} bytes may"
        );
        Err(Refusal::new(Code::MemoryLow, detail).retry_after_s(1))
    }

    /// What unread answers may hold for a question to be answered.
    fn reads_max(&self) -> u64 {
        // A very small budget is for one answer.
        (self.answers.bytes_max() / 4 * 3).max(1)
    }

    /// The same for jobs to run. The rest is for whoever publishes.
    fn leases_max(&self) -> u64 {
        (self.answers.bytes_max() / 8 * 7).max(1)
    }

    /// Refuses a lease for want of room; but it settles in any case, and gets jobs when there is
    /// room again.
    pub(crate) fn only_settle_without_room(&self, lease: &mut LeaseJobs) -> Result<(), Refusal> {
        if lease.max > 0
            && let Err(refusal) = self.check_answers()
        {
            if lease.settle.is_empty() {
                return Err(refusal);
            }
            lease.max = 0;
        }
        Ok(())
    }

    /// Whether there is room for the answer to a question of so many bytes now.
    pub(crate) fn check_read_of(&self, bytes: usize) -> Result<(), Refusal> {
        self.hold_within(bytes, self.reads_max()).map(drop)
    }

    /// Refuses a batch before it is enqueued, where there is no room for its answer.
    pub(crate) fn check_batch(&self, answer_bytes: usize) -> Result<(), Refusal> {
        // What is only written down was done: it is too late to refuse it.
        if answer_bytes < COUNTED_BYTES_MIN || keyed::is_written_down(self) {
            return Ok(());
        }
        self.hold_within(answer_bytes, self.answers.bytes_max()).map(drop)
    }

    /// Whether there is room for jobs of about so many bytes now. Many leases that wait may be
    /// granted some at the same instant.
    pub(crate) fn check_room_for(&self, bytes: usize) -> Result<(), Refusal> {
        if bytes < COUNTED_BYTES_MIN {
            return Ok(());
        }
        self.hold_within(bytes, self.leases_max()).map(drop)
    }

    fn too_much_unread(&self) -> Refusal {
        let (held, max) = (self.answers.bytes(), self.config.answer_bytes_max);
        let detail = format!(
            "answers of {held} bytes wait for their readers to take them, at most {max} bytes may"
        );
        Refusal::new(Code::MemoryLow, detail).retry_after_s(1)
    }

    /// Counts an answer of `bytes`, or refuses it where `bytes_max` are held.
    fn hold_within(&self, bytes: usize, bytes_max: u64) -> Result<Held, Refusal> {
        let mut held = Held::new(&self.answers);
        if held.add_within(bytes as u64, bytes_max) {
            return Ok(held);
        }
        drop(held);
        Err(self.too_much_unread())
    }

    /// Counts an answer of `bytes` that has to go out.
    fn hold_in_any_case(&self, bytes: usize) -> Held {
        let mut held = Held::new(&self.answers);
        held.add_in_any_case(bytes as u64);
        held
    }

    /// Counts a part of an answer to what only asks, or refuses it. A small one is not refused for
    /// what other calls of its connection have not taken: of a job that is watched, mostly.
    pub(crate) fn hold_part(&self, debt: &Arc<Debt>, bytes: usize) -> Result<Part, Refusal> {
        if bytes >= COUNTED_BYTES_MIN {
            self.check_account(&debt.account)?;
        }
        let held = self.hold_within(bytes, self.reads_max())?;
        Ok(Part::new(debt, bytes as u64, held))
    }

    /// Counts, before anything happens, what will tell of it; or refuses that it happens.
    pub(crate) fn hold_ahead(&self, debt: &Arc<Debt>, bytes: usize) -> Result<Part, Refusal> {
        self.check_account(&debt.account)?;
        let held = self.hold_within(bytes, self.answers.bytes_max())?;
        Ok(Part::new(debt, bytes as u64, held))
    }

    /// Counts a part that tells of something that has happened.
    pub(crate) fn hold_part_in_any_case(&self, debt: &Arc<Debt>, bytes: usize) -> Part {
        Part::new(debt, bytes as u64, self.hold_in_any_case(bytes))
    }

    /// Counts the bytes of an answer until they are written. `insists`: it goes out in any case,
    /// since it tells of something that has happened.
    pub(crate) fn counted(&self, body: AnswerBody, insists: bool) -> Result<AnswerBody, Refusal> {
        let Either::Left(mut full) = body else { return Ok(body) };
        let frame = futures_util::FutureExt::now_or_never(full.frame());
        let Some(Some(Ok(frame))) = frame else { return Ok(Either::Left(full)) };
        let bytes = frame.into_data().unwrap_or_default();
        if bytes.len() < COUNTED_BYTES_MIN {
            return Ok(Either::Left(Full::new(bytes)));
        }
        let held = if insists {
            self.hold_in_any_case(bytes.len())
        } else {
            self.hold_within(bytes.len(), self.reads_max())?
        };
        Ok(Either::Left(Full::new(Bytes::from_owner(Owned { bytes, held }))))
    }

    /// Counts an event of a stream, where it is large, until it is taken; or refuses it.
    pub(crate) fn counted_event(&self, bytes: Bytes) -> Result<Bytes, Refusal> {
        if bytes.len() < COUNTED_BYTES_MIN {
            return Ok(bytes);
        }
        let held = self.hold_within(bytes.len(), self.reads_max())?;
        Ok(Bytes::from_owner(Owned { bytes, held }))
    }

    /// Bytes of answers that wait for their readers.
    pub(crate) fn answer_bytes(&self) -> u64 {
        self.answers.bytes()
    }

    /// The whole answer of another face to a question, with what counts until it is taken.
    pub(crate) fn held_beside<T>(
        &self,
        account: &Account,
        bytes: usize,
        message: T,
    ) -> Result<tonic::Response<T>, Refusal> {
        if bytes < COUNTED_BYTES_MIN {
            return Ok(tonic::Response::new(message));
        }
        let part = self.hold_part(&Debt::new(account), bytes)?;
        Ok(self.with_part(part, message))
    }

    /// Counts, before anything happens, an answer that may be large: see [`Self::hold_ahead`].
    pub(crate) fn hold_whole_ahead(
        &self,
        account: &Account,
        bytes: usize,
    ) -> Result<Option<Part>, Refusal> {
        if bytes < COUNTED_BYTES_MIN {
            return Ok(None);
        }
        self.hold_ahead(&Debt::new(account), bytes).map(Some)
    }

    /// A whole answer with what counts until it is taken.
    pub(crate) fn with_part<T>(&self, part: Part, message: T) -> tonic::Response<T> {
        let mut response = tonic::Response::new(message);
        response.extensions_mut().insert(Owing {
            debt: Arc::clone(&part.debt),
            patience: self.config.write_timeout,
            taken_per_second_min: TAKEN_PER_SECOND_MIN,
            tray: Tray::default(),
            whole: Some(Arc::new(part)),
        });
        response
    }
}
