//! What producers compress batches with: opened within a bound, and written again. It knows nothing
//! of what is in them.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{FrameDecoder as Lz4Decoder, FrameEncoder as Lz4Encoder};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use thiserror::Error;

/// What a batch may have opened, in bytes.
pub const OPENED_BYTES_MAX: usize = 64 << 20;

/// How far back a zstd frame may point, in bytes: what its highest usual level takes.
const WINDOW_BYTES_MAX: u64 = 16 << 20;

/// How Java's snappy streams begin, with the two versions that follow.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEAD_BYTES: usize = 16;
/// What Java puts into one block of such a stream.
const XERIAL_BLOCK_BYTES: usize = 32 << 10;

/// Why the events of a batch cannot be looked at.
#[derive(Debug, Error)]
pub enum CodecError {
    /// There is no such codec.
    #[error("codec {0} is not known")]
    Unknown(i16),
    /// It is more than is taken into memory.
    #[error("the batch has more bytes opened than are taken")]
    TooLarge,
    /// It is not what its codec writes.
    #[error("the batch cannot be opened: {0}")]
    Malformed(String),
}

fn malformed(error: impl std::fmt::Display) -> CodecError {
    CodecError::Malformed(error.to_string())
}

/// What `bytes` say, compressed with the codec of these attributes of a batch; no more than
/// [`OPENED_BYTES_MAX`].
pub fn open(attributes: i16, bytes: &[u8]) -> Result<Cow<'_, [u8]>, CodecError> {
    open_within(attributes, bytes, OPENED_BYTES_MAX)
}

/// As [`open`], no more than `bytes_max`.
pub fn open_within(
    attributes: i16,
    bytes: &[u8],
    bytes_max: usize,
) -> Result<Cow<'_, [u8]>, CodecError> {
    let opened = match attributes & 0b111 {
        0 => return Ok(Cow::Borrowed(bytes)),
        1 => read_all(MultiGzDecoder::new(bytes), bytes_max)?,
        2 => open_snappy(bytes, bytes_max)?,
        3 => read_all(Lz4Decoder::new(bytes), bytes_max)?,
        4 => {
            let mut decoder = FrameDecoder::new();
            decoder.set_max_window_size(WINDOW_BYTES_MAX);
            let decoder = StreamingDecoder::new_with_decoder(bytes, decoder);
            read_all(decoder.map_err(malformed)?, bytes_max)?
        }
        codec => return Err(CodecError::Unknown(codec)),
    };
    Ok(Cow::Owned(opened))
}

fn read_all(reader: impl Read, bytes_max: usize) -> Result<Vec<u8>, CodecError> {
    let mut opened = Vec::new();
    let read = reader.take(bytes_max as u64 + 1).read_to_end(&mut opened);
    if read.map_err(malformed)? > bytes_max {
        return Err(CodecError::TooLarge);
    }
    Ok(opened)
}

/// A raw block, or a stream of Java's: counted blocks behind a head.
fn open_snappy(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>, CodecError> {
    let mut opened = Vec::new();
    if !bytes.starts_with(&XERIAL_MAGIC) {
        open_block(bytes, &mut opened, bytes_max)?;
        return Ok(opened);
    }
    let short = || CodecError::Malformed("it ends too early".to_owned());
    let mut rest = bytes.get(XERIAL_HEAD_BYTES..).ok_or_else(short)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or_else(short)?;
        open_block(block, &mut opened, bytes_max)?;
        rest = after;
    }
    Ok(opened)
}

fn open_block(block: &[u8], opened: &mut Vec<u8>, bytes_max: usize) -> Result<(), CodecError> {
    let len = snap::raw::decompress_len(block).map_err(malformed)?;
    // No block says more than some twenty bytes with one of its own.
    if len > bytes_max.saturating_sub(opened.len()) || len / 64 > block.len() {
        return Err(CodecError::TooLarge);
    }
    opened.extend(snap::raw::Decoder::new().decompress_vec(block).map_err(malformed)?);
    Ok(())
}

/// As [`open`], the other way.
pub fn close(attributes: i16, bytes: Vec<u8>) -> Result<Vec<u8>, CodecError> {
    match attributes & 0b111 {
        0 => Ok(bytes),
        1 => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            let written = encoder.write_all(&bytes).and_then(|()| encoder.finish());
            written.map_err(malformed)
        }
        2 => close_snappy(&bytes),
        3 => {
            // Blocks on their own, which is all that Java reads.
            let mut encoder = Lz4Encoder::new(Vec::new());
            let written: io::Result<()> = encoder.write_all(&bytes);
            written.map_err(malformed)?;
            encoder.finish().map_err(malformed)
        }
        4 => Ok(compress_to_vec(&bytes[..], CompressionLevel::Fastest)),
        codec => Err(CodecError::Unknown(codec)),
    }
}

fn close_snappy(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    let mut closed = XERIAL_MAGIC.to_vec();
    closed.extend(1_u32.to_be_bytes());
    closed.extend(1_u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(XERIAL_BLOCK_BYTES) {
        let block = encoder.compress_vec(block).map_err(malformed)?;
        closed.extend((block.len() as u32).to_be_bytes());
        closed.extend(block);
    }
    Ok(closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_closed_opens_again_with_each_codec() {
        for len in [0, 1, 100, 200_000] {
            let bytes: Vec<u8> =
                (0..len).map(|at: u32| (at % 251) as u8 ^ (at >> 9) as u8).collect();
            for codec in 0..=4 {
                let closed = close(codec, bytes.clone()).unwrap();
                assert_eq!(open(codec, &closed).unwrap(), &bytes[..], "codec {codec}, {len} bytes");
            }
        }
        assert!(matches!(open(5, b""), Err(CodecError::Unknown(5))));
    }

    #[test]
    fn what_opens_to_more_than_is_taken_or_is_broken_is_refused() {
        let bomb = vec![0_u8; OPENED_BYTES_MAX + 1];
        for codec in 1..=4 {
            let closed = close(codec, bomb.clone()).unwrap();
            assert!(matches!(open(codec, &closed), Err(CodecError::TooLarge)), "codec {codec}");
            let short = close(codec, b"some bytes that are cut off".to_vec()).unwrap();
            assert!(open(codec, &short[..short.len() / 2]).is_err(), "codec {codec}");
        }
        // A head that promises four gigabytes.
        assert!(open(2, &[0xff, 0xff, 0xff, 0xff, 0x0f, 0]).is_err());
    }

    #[test]
    fn whatever_is_there_is_opened_or_refused() {
        let text: Vec<u8> = (0..4000_u32).map(|at| (at * at / 7 % 23) as u8).collect();
        let mut random = 0x9e37_79b9_u64;
        let mut next = |bound: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) as usize % bound
        };
        for codec in 1..=4 {
            let closed = close(codec, text.clone()).unwrap();
            for _ in 0..3000 {
                let mut odd = closed.clone();
                for _ in 0..=next(3) {
                    let within = if next(2) == 0 { 40 } else { odd.len() };
                    let at = next(within.min(odd.len()));
                    odd[at] = next(256) as u8;
                }
                if next(4) == 0 {
                    let len = next(odd.len());
                    odd.truncate(len);
                }
                // Without a panic, that is.
                let _ = open(codec, &odd);
            }
        }
    }
}
