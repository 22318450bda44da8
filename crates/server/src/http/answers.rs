//! Bytes of answers that their readers have not taken yet, over all connections and faces: bounded,
//! so that nobody fills memory by asking for much and reading nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};

use longshore_engine::LeaseJobs;

use super::app::App;
use super::body::Held;
use super::code::Code;
use super::refusal::Refusal;
use super::reply::AnswerBody;

/// Smaller answers are not counted: there are many, and they hold little more than their request.
const COUNTED_BYTES_MIN: usize = 4 << 10;

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

/// What the reader of one call over gRPC has not taken of its counted answers.
#[derive(Debug, Default)]
pub(crate) struct Debt {
    bytes: AtomicU64,
    /// How often anything was taken.
    taken: AtomicU64,
}

impl Debt {
    /// The reader takes something.
    pub(crate) fn take(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has taken anything, where it owes something.
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
        Self { debt: Arc::clone(debt), bytes, held }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.debt.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Goes with an answer over gRPC to where its bytes are handed out.
#[derive(Clone, Debug)]
pub(crate) struct Owing {
    pub(crate) debt: Arc<Debt>,
    /// How long the reader may owe something and take nothing.
    pub(crate) patience: Duration,
    /// The answer, where it is one as a whole.
    #[expect(dead_code, reason = "it counts until it is dropped")]
    whole: Option<Arc<Part>>,
}

impl Owing {
    /// For an answer that goes on.
    pub(crate) fn of_stream(debt: &Arc<Debt>, patience: Duration) -> Self {
        Self { debt: Arc::clone(debt), patience, whole: None }
    }
}

impl App {
    /// Refuses what would be answered with much, while readers owe as much as they may.
    pub(crate) fn check_answers(&self) -> Result<(), Refusal> {
        if self.answers.has_room() { Ok(()) } else { Err(self.too_much_unread()) }
    }

    /// The same for a lease: it settles in any case, and gets jobs when there is room again.
    pub(crate) fn only_settle_without_room(&self, lease: &mut LeaseJobs) -> Result<(), Refusal> {
        if !self.answers.has_room() && lease.max > 0 {
            if lease.settle.is_empty() {
                return Err(self.too_much_unread());
            }
            lease.max = 0;
        }
        Ok(())
    }

    fn too_much_unread(&self) -> Refusal {
        let (held, max) = (self.answers.bytes(), self.config.answer_bytes_max);
        let detail = format!(
            "answers of {held} bytes wait for their readers to take them, at most {max} bytes may"
        );
        Refusal::new(Code::MemoryLow, detail).retry_after_s(1)
    }

    /// Counts an answer of `bytes` that changed nothing, or refuses it.
    fn hold_answer(&self, bytes: usize) -> Result<Option<Held>, Refusal> {
        if bytes < COUNTED_BYTES_MIN {
            return Ok(None);
        }
        let mut held = Held::new(&self.answers);
        held.add(bytes as u64).map_err(|_| self.too_much_unread())?;
        Ok(Some(held))
    }

    /// Counts an answer of `bytes` that has to go out.
    fn hold_in_any_case(&self, bytes: usize) -> Option<Held> {
        (bytes >= COUNTED_BYTES_MIN).then(|| {
            let mut held = Held::new(&self.answers);
            held.add_in_any_case(bytes as u64);
            held
        })
    }

    /// Counts a part of an answer that goes on, or refuses it.
    pub(crate) fn hold_part(
        &self,
        debt: &Arc<Debt>,
        bytes: usize,
    ) -> Result<Option<Part>, Refusal> {
        let held = self.hold_answer(bytes)?;
        Ok(held.map(|held| Part::new(debt, bytes as u64, held)))
    }

    /// Counts a part that tells of something that has happened.
    pub(crate) fn hold_part_in_any_case(&self, debt: &Arc<Debt>, bytes: usize) -> Option<Part> {
        let held = self.hold_in_any_case(bytes)?;
        Some(Part::new(debt, bytes as u64, held))
    }

    /// Counts the bytes of an answer until they are written. `insists`: it goes out in any case,
    /// since it tells of something that has happened.
    pub(crate) fn counted(&self, body: AnswerBody, insists: bool) -> Result<AnswerBody, Refusal> {
        let Either::Left(mut full) = body else { return Ok(body) };
        let frame = futures_util::FutureExt::now_or_never(full.frame());
        let Some(Some(Ok(frame))) = frame else { return Ok(Either::Left(full)) };
        let bytes = frame.into_data().unwrap_or_default();
        let held = match self.hold_answer(bytes.len()) {
            Ok(held) => held,
            Err(refusal) if !insists => return Err(refusal),
            Err(_) => self.hold_in_any_case(bytes.len()),
        };
        let bytes = match held {
            Some(held) => Bytes::from_owner(Owned { bytes, held }),
            None => bytes,
        };
        Ok(Either::Left(Full::new(bytes)))
    }

    /// Bytes of answers that wait for their readers.
    pub(crate) fn answer_bytes(&self) -> u64 {
        self.answers.bytes()
    }

    /// The same for an answer of another face, to be kept beside it.
    pub(crate) fn held_beside<T>(
        &self,
        bytes: usize,
        message: T,
    ) -> Result<tonic::Response<T>, Refusal> {
        let mut response = tonic::Response::new(message);
        let debt = Arc::default();
        if let Some(part) = self.hold_part(&debt, bytes)? {
            let (patience, whole) = (self.config.write_timeout, Some(Arc::new(part)));
            response.extensions_mut().insert(Owing { debt, patience, whole });
        }
        Ok(response)
    }
}
