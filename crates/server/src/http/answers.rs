//! Bytes of answers that their readers have not taken yet, over all connections and faces: bounded,
//! so that nobody fills memory by asking for much and reading nothing.

use std::sync::Arc;

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
    pub(crate) fn hold_answer(&self, bytes: usize) -> Result<Option<Held>, Refusal> {
        if bytes < COUNTED_BYTES_MIN {
            return Ok(None);
        }
        let mut held = Held::new(&self.answers);
        held.add(bytes as u64).map_err(|_| self.too_much_unread())?;
        Ok(Some(held))
    }

    /// Counts the bytes of an answer until they are written. `changed`: it tells of something that
    /// has happened, and goes out in any case.
    pub(crate) fn counted(&self, body: AnswerBody, changed: bool) -> Result<AnswerBody, Refusal> {
        let Either::Left(mut full) = body else { return Ok(body) };
        let frame = futures_util::FutureExt::now_or_never(full.frame());
        let Some(Some(Ok(frame))) = frame else { return Ok(Either::Left(full)) };
        let bytes = frame.into_data().unwrap_or_default();
        let held = match self.hold_answer(bytes.len()) {
            Ok(held) => held,
            Err(refusal) if !changed => return Err(refusal),
            Err(_) => {
                let mut held = Held::new(&self.answers);
                held.add_in_any_case(bytes.len() as u64);
                Some(held)
            }
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
        if let Some(held) = self.hold_answer(bytes)? {
            response.extensions_mut().insert(Arc::new(held));
        }
        Ok(response)
    }
}
