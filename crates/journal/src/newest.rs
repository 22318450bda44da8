//! The number of the segment that the last start began, in a file of its own. Without it the loss
//! of a journal's newest segment would look like a shorter journal. It is a witness only: where it
//! is missing or damaged, nothing is concluded.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | `LSNEWEST` |
//! | 8 | 8 | number of the segment |
//! | 16 | 4 | CRC32C of bytes 0 to 16 |

use std::io;

use crate::disk::Disk;

/// The file's name.
pub(crate) const NEWEST_NAME: &str = "newest";

const MAGIC: [u8; 8] = *b"LSNEWEST";
const LEN_BYTES: usize = 20;

fn encode(sequence: u64) -> [u8; LEN_BYTES] {
    let mut bytes = [0; LEN_BYTES];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<u64> {
    let sequence = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    (bytes.get(..LEN_BYTES)? == encode(sequence)).then_some(sequence)
}

/// The number in the file, if one can be read.
pub(crate) fn read_newest(disk: &dyn Disk) -> Option<u64> {
    let file = disk.open(NEWEST_NAME, false).ok()?;
    let mut bytes = [0; LEN_BYTES];
    file.read_at(&mut bytes, 0).ok()?;
    decode(&bytes)
}

/// Writes the number of a segment whose name is durable.
pub(crate) fn write_newest(disk: &dyn Disk, sequence: u64) -> io::Result<()> {
    let file = match disk.open(NEWEST_NAME, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => disk.create(NEWEST_NAME)?,
        file => file?,
    };
    // In place: what a crash tears has a wrong checksum and says nothing.
    file.write_at(&encode(sequence), 0)?;
    file.sync_data()?;
    disk.sync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_and_a_damaged_one_says_nothing() {
        let sound = encode(77);
        assert_eq!(decode(&sound), Some(77));
        for bit in 0..LEN_BYTES * 8 {
            let mut bytes = sound;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&bytes), None, "bit {bit}");
        }
        for len in 0..LEN_BYTES {
            assert_eq!(decode(&sound[..len]), None);
        }
    }
}
