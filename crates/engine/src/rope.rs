//! Bytes under construction. What is small stands one behind the other; what is large is referred
//! to, so that a body is not copied on its way from the socket to the journal.

use bytes::Bytes;

/// From this many bytes on a part is referred to. Less is copied sooner than it is referred to.
pub const REFERRED_BYTES_MIN: usize = 4 << 10;

/// Bytes that are appended to, in pieces.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    flat: Vec<u8>,
    /// What is referred to, each before the byte of `flat` at its place.
    parts: Vec<(usize, Bytes)>,
    parts_bytes: usize,
    refers: bool,
}

/// The end of a rope at some time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RopeEnd {
    /// Bytes up to there.
    pub(crate) bytes: usize,
    flat: usize,
    parts: usize,
}

impl Rope {
    /// One that copies everything, for values that have to stand in one piece.
    pub fn flat() -> Self {
        Self::default()
    }

    /// One that refers to what is large.
    pub fn referring() -> Self {
        Self { refers: true, ..Self::default() }
    }

    /// Appends a byte.
    pub fn push(&mut self, byte: u8) {
        self.flat.push(byte);
    }

    /// Appends a copy.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        self.flat.extend_from_slice(bytes);
    }

    /// Appends bytes that others may hold as well.
    pub fn extend_from_bytes(&mut self, bytes: &Bytes) {
        if self.refers && bytes.len() >= REFERRED_BYTES_MIN {
            self.parts.push((self.flat.len(), bytes.clone()));
            self.parts_bytes += bytes.len();
        } else {
            self.flat.extend_from_slice(bytes);
        }
    }

    /// Bytes in all.
    pub fn len(&self) -> usize {
        self.flat.len() + self.parts_bytes
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that were copied into it.
    pub fn copied_bytes(&self) -> usize {
        self.flat.len()
    }

    /// The pieces in order; none is empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.parts.iter().map(|(at, _)| *at));
        let ends = self.parts.iter().map(|(at, part)| (*at, &part[..]));
        let ends = ends.chain([(self.flat.len(), &[][..])]);
        let pieces = starts
            .zip(ends)
            .flat_map(|(start, (end, part))| [self.flat.get(start..end).unwrap_or_default(), part]);
        pieces.filter(|piece| !piece.is_empty())
    }

    /// All in one piece, which is a copy.
    pub fn to_bytes(&self) -> Bytes {
        self.pieces().collect::<Vec<_>>().concat().into()
    }

    /// What was copied, which is all of one that refers to nothing.
    pub(crate) fn as_flat(&self) -> &[u8] {
        assert!(self.parts.is_empty(), "it refers to something");
        &self.flat
    }

    pub(crate) fn end(&self) -> RopeEnd {
        RopeEnd { bytes: self.len(), flat: self.flat.len(), parts: self.parts.len() }
    }

    /// Takes off what was appended since.
    pub(crate) fn cut(&mut self, end: RopeEnd) {
        self.flat.truncate(end.flat);
        self.parts.truncate(end.parts);
        self.parts_bytes = end.bytes - end.flat;
    }

    /// Writes over bytes that were copied there.
    pub fn write_over<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        let old = self.flat.get_mut(at..at + N).expect("they were copied there");
        old.copy_from_slice(&bytes);
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.cut(RopeEnd::default());
    }
}

impl RopeEnd {
    /// Where a byte that is copied next will be, among those that were.
    pub(crate) fn copied(self) -> usize {
        self.flat
    }
}

impl From<Vec<u8>> for Rope {
    fn from(flat: Vec<u8>) -> Self {
        Self { flat, ..Self::default() }
    }
}

impl From<Rope> for Bytes {
    fn from(rope: Rope) -> Self {
        if rope.parts.is_empty() { rope.flat.into() } else { rope.to_bytes() }
    }
}

impl PartialEq for Rope {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.pieces().flatten().eq(other.pieces().flatten())
    }
}

impl Eq for Rope {}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(fill: u8) -> Bytes {
        vec![fill; REFERRED_BYTES_MIN].into()
    }

    #[test]
    fn pieces_stand_in_order_and_what_is_large_is_not_copied() {
        let (body, small) = (large(b'x'), Bytes::from_static(b"small"));
        let mut rope = Rope::referring();
        rope.extend_from_bytes(&body);
        rope.extend_from_bytes(&small);
        rope.push(b'!');
        rope.extend_from_bytes(&body);
        let pieces: Vec<_> = rope.pieces().collect();
        assert_eq!(pieces, [&body[..], b"small!", &body[..]]);
        assert!(pieces[0].as_ptr() == body.as_ptr() && pieces[2].as_ptr() == body.as_ptr());
        assert_eq!((rope.len(), rope.copied_bytes()), (2 * body.len() + 6, 6));
        assert_eq!(rope.to_bytes(), [&body[..], b"small!", &body[..]].concat());

        let mut flat = Rope::flat();
        flat.extend_from_bytes(&body);
        assert_eq!((flat.copied_bytes(), flat.as_flat()), (body.len(), &body[..]));
        assert_eq!(Rope::flat().pieces().count(), 0);
    }

    #[test]
    fn what_was_appended_since_is_taken_off_again() {
        let mut rope = Rope::referring();
        rope.extend_from_slice(b"0000");
        rope.extend_from_bytes(&large(b'a'));
        let end = rope.end();
        rope.push(1);
        rope.extend_from_bytes(&large(b'b'));
        rope.cut(end);
        rope.push(2);
        rope.write_over(0, *b"abcd");
        let expected = [&b"abcd"[..], &large(b'a'), &[2]].concat();
        assert_eq!((rope.to_bytes(), rope.len()), (expected.clone().into(), expected.len()));
        assert_eq!(rope, Rope::from(expected));
    }
}
