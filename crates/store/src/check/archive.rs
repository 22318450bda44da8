//! The envelope of tables and version files: sections, a table of contents, a trailer. Parsed
//! here before the tree does, which trusts lengths that it has not verified yet.
//!
//! ```text
//! sections        their bytes, one after the other
//! contents "TOC!", count u32, then per section: position u64, length u64, name length u16, name
//! trailer (38 B) "SFA!", version u8 = 1, checksum type u8 = 0, XXH3-128 of the contents u128,
//!                 position of the contents u64, length of the contents u64    (all little endian)
//! ```

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{Bytes, xxh3};

const TRAILER_BYTES: u64 = 38;
const CONTENTS_BYTES_MAX: u64 = 64 << 10;

/// Where a section lies. Within the file, before the contents.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Section {
    pub(super) name: Vec<u8>,
    pub(super) position: u64,
    pub(super) bytes: u64,
}

/// The sections of a file, or what is wrong with its envelope.
pub(super) fn sections(file: &File) -> io::Result<Result<Vec<Section>, String>> {
    let length = file.metadata()?.len();
    let Some(trailer_position) = length.checked_sub(TRAILER_BYTES) else {
        return Ok(Err(format!("it has {length} bytes, too few for a trailer")));
    };
    let trailer = read(file, trailer_position, TRAILER_BYTES)?;
    let (position, bytes, checksum) = match parse_trailer(&trailer, trailer_position) {
        Ok(parsed) => parsed,
        Err(what) => return Ok(Err(what)),
    };
    let contents = read(file, position, bytes)?;
    if xxh3(&contents) != checksum {
        return Ok(Err("the checksum of its table of contents does not match".into()));
    }
    Ok(parse_contents(&contents, position))
}

pub(crate) fn read(file: &File, position: u64, bytes: u64) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; usize::try_from(bytes).map_err(io::Error::other)?];
    file.read_exact_at(&mut buffer, position)?;
    Ok(buffer)
}

fn parse_trailer(trailer: &[u8], trailer_position: u64) -> Result<(u64, u64, u128), String> {
    let mut trailer = Bytes::new(trailer);
    if trailer.array()? != *b"SFA!" {
        return Err("its trailer has no magic number".into());
    }
    let (version, checksum_type) = (trailer.u8()?, trailer.u8()?);
    if (version, checksum_type) != (1, 0) {
        return Err(format!("its trailer has version {version}, checksum type {checksum_type}"));
    }
    let checksum = trailer.u128()?;
    let (position, bytes) = (trailer.u64()?, trailer.u64()?);
    if position.checked_add(bytes) != Some(trailer_position) || bytes > CONTENTS_BYTES_MAX {
        return Err(format!("its table of contents, {bytes} bytes at {position}, cannot be there"));
    }
    Ok((position, bytes, checksum))
}

fn parse_contents(contents: &[u8], end: u64) -> Result<Vec<Section>, String> {
    let mut contents = Bytes::new(contents);
    if contents.array()? != *b"TOC!" {
        return Err("its table of contents has no magic number".into());
    }
    let count = contents.u32()?;
    let mut sections = Vec::new();
    for _ in 0..count {
        let (position, bytes) = (contents.u64()?, contents.u64()?);
        let name_bytes = contents.u16()?;
        let name = contents.take(usize::from(name_bytes))?.to_vec();
        if position.checked_add(bytes).is_none_or(|section_end| section_end > end) {
            let name = String::from_utf8_lossy(&name).into_owned();
            return Err(format!(
                "its section \"{}\", {bytes} bytes at {position}, reaches beyond its end",
                name.escape_debug()
            ));
        }
        sections.push(Section { name, position, bytes });
    }
    contents.finish()?;
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailers_that_lie_are_refused() {
        let mut trailer = b"SFA!\x01\x00".to_vec();
        trailer.extend(7u128.to_le_bytes());
        trailer.extend(100u64.to_le_bytes());
        trailer.extend(50u64.to_le_bytes());
        assert_eq!(parse_trailer(&trailer, 150), Ok((100, 50, 7)));
        assert!(parse_trailer(&trailer, 151).is_err());
        assert!(parse_trailer(&trailer[..37], 150).is_err());
        trailer[37] = 0xff;
        assert!(parse_trailer(&trailer, 150).is_err());
    }

    #[test]
    fn contents_that_lie_are_refused() {
        let contents = |count: u32, bytes: u64| {
            let mut contents = b"TOC!".to_vec();
            contents.extend(count.to_le_bytes());
            contents.extend(4u64.to_le_bytes());
            contents.extend(bytes.to_le_bytes());
            contents.extend([4, 0]);
            contents.extend(b"meta");
            contents
        };
        let section = Section { name: b"meta".to_vec(), position: 4, bytes: 6 };
        assert_eq!(parse_contents(&contents(1, 6), 10), Ok(vec![section]));
        assert!(parse_contents(&contents(1, 7), 10).is_err());
        assert!(parse_contents(&contents(1, u64::MAX), 10).is_err());
        assert!(parse_contents(&contents(u32::MAX, 6), 10).is_err());
        assert!(parse_contents(&contents(0, 6), 10).is_err());
    }
}
