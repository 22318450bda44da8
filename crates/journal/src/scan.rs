//! Scanning one segment: how far its frames are sound, what damage follows, and which position it
//! proves durable. It judges nothing; whether damage is a torn tail or corruption depends on the
//! other segments.

use std::io;

use longshore_engine::Position;

use crate::fault::Fault;
use crate::frame::{FRAME_ALIGN_BYTES, FRAME_HEADER_BYTES, FrameError, FrameHeader};
use crate::segment::SEGMENT_HEADER_BYTES;
use crate::walk::{Order, Step, Window};

/// Blank bytes are skipped in pieces of this size. A multiple of the frames' alignment.
const PIECE_BYTES: usize = 4096;

/// What was found in a segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Scan {
    /// Position of its first entry, also of one still to come; `None` where nothing says it.
    pub(crate) first: Option<Position>,
    /// The position after its last whole group.
    pub(crate) next: Option<Position>,
    /// Offset after the last whole group, mark or seal.
    pub(crate) end: u64,
    /// The highest position that any sound frame in it calls durable.
    pub(crate) durable: Position,
    /// Number of sound frames before the damage.
    pub(crate) frames: u64,
    /// Whether it ends with a seal.
    pub(crate) sealed: bool,
    /// Whether it reaches the base of its successor. What follows is void.
    pub(crate) stopped: bool,
    /// The first thing after the sound frames that is not blank.
    pub(crate) damage: Option<Damage>,
}

/// Where the sound frames of a segment end although bytes follow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Damage {
    /// Offset of the first bad frame.
    pub(crate) offset: u64,
    /// Offset after the last byte that is not zero.
    pub(crate) end: u64,
    pub(crate) fault: Fault,
}

impl Scan {
    /// Scans the segment in `window`. `first` is the position of its first entry where that is
    /// known, `stop` the base of its successor where that was made at a start.
    pub(crate) fn run(
        window: &mut Window,
        salt: u64,
        first: Option<Position>,
        stop: Option<Position>,
    ) -> io::Result<Self> {
        let mut order = Order::new(first);
        let mut scan = Self {
            first,
            next: first,
            end: SEGMENT_HEADER_BYTES,
            durable: Position::START,
            frames: 0,
            sealed: false,
            stopped: false,
            damage: None,
        };
        let mut offset = scan.end;
        let fault = loop {
            if stop.is_some_and(|stop| scan.next == Some(stop.next())) {
                scan.stopped = true;
                return Ok(scan);
            }
            let (frame, payload) = match window.frame_at(offset, salt)? {
                Ok(frame) => frame,
                Err(error) => break Fault::Frame(error),
            };
            if order.next().is_none() && stop.is_some_and(|stop| frame.first == stop.next()) {
                // Only its first frame says where it begins, and that is where it is void.
                scan.first = Some(frame.first);
                scan.next = scan.first;
                scan.stopped = true;
                return Ok(scan);
            }
            let added = match order.accept(&frame, payload) {
                Ok(added) => added,
                Err(fault) => break fault,
            };
            offset += frame.frame_bytes() as u64;
            scan.frames += 1;
            scan.durable = scan.durable.max(frame.durable);
            scan.first = scan.first.or(Some(frame.first));
            scan.next = order.next();
            if added != Step::Part {
                scan.end = offset;
            }
            if added == Step::Seal {
                scan.sealed = true;
                return Ok(scan);
            }
        };
        let rest = Rest::search(window, salt, offset)?;
        scan.durable = scan.durable.max(rest.durable);
        let blank = matches!(fault, Fault::Frame(FrameError::Blank | FrameError::Short));
        if order.is_open() || rest.end > offset {
            let fault = if order.is_open() && blank { Fault::Uncommitted } else { fault };
            scan.damage = Some(Damage { offset, end: rest.end.max(offset), fault });
        }
        Ok(scan)
    }
}

/// What lies behind the first bad frame.
struct Rest {
    /// Offset after the last byte that is not zero; 0 where there is none.
    end: u64,
    /// The highest position that a sound header there calls durable.
    durable: Position,
}

impl Rest {
    /// Looks for bytes that are not zero and for headers of the segment, which show what was once
    /// durable. A stored entry cannot forge one: it would have to know the salt.
    fn search(window: &mut Window, salt: u64, from: u64) -> io::Result<Self> {
        let mut rest = Self { end: 0, durable: Position::START };
        let mut offset = from;
        loop {
            let bytes = window.bytes_at(offset, FRAME_HEADER_BYTES)?;
            if bytes.is_empty() {
                return Ok(rest);
            }
            // The last header that may lie whole in these bytes is the last that is looked at.
            let whole = bytes.len().saturating_sub(FRAME_HEADER_BYTES - 1);
            let step = whole.max(1).next_multiple_of(FRAME_ALIGN_BYTES);
            let looked_at = bytes.get(..step.min(bytes.len())).unwrap_or_default();
            for (index, piece) in looked_at.chunks(PIECE_BYTES).enumerate() {
                if piece.iter().fold(0, |all, byte| all | byte) != 0 {
                    rest.search_piece(bytes, index * PIECE_BYTES, piece.len(), offset, salt);
                }
            }
            offset += step as u64;
        }
    }

    /// Searches `len` of `bytes` from `start` on. `offset` is where `bytes` begin in the file.
    fn search_piece(&mut self, bytes: &[u8], start: usize, len: usize, offset: u64, salt: u64) {
        for at in (start..start + len).step_by(FRAME_ALIGN_BYTES) {
            let bytes = bytes.get(at..).unwrap_or_default();
            let word = bytes.get(..FRAME_ALIGN_BYTES).unwrap_or(bytes);
            if let Some(last) = word.iter().rposition(|byte| *byte != 0) {
                self.end = offset + (at + last + 1) as u64;
                if let Ok(frame) = FrameHeader::decode(bytes, salt) {
                    self.durable = self.durable.max(frame.durable);
                }
            }
        }
    }
}
