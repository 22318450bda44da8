//! A folder of small files as one input: for targets that read more than one file. Any bytes are
//! some folder, so that the mutator can work on them.
//!
//! Per file: length of the name `u8`, the name, length of the file `u32`, length of the bytes that
//! follow `u32` (both little-endian), the bytes. The rest of the file is zeros, as in segments.

/// The longest file; longer ones are cut, so that an input cannot ask for gigabytes of zeros.
pub const FILE_BYTES_MAX: usize = 64 << 10;

/// The most files that are read.
pub const FILES_MAX: usize = 16;

/// A name and contents.
pub type File = (String, Vec<u8>);

/// The files in `input`.
pub fn decode(mut input: &[u8]) -> Vec<File> {
    let mut files = Vec::new();
    while files.len() < FILES_MAX {
        let Some(file) = take_file(&mut input) else { break };
        files.push(file);
    }
    files
}

fn take_file(input: &mut &[u8]) -> Option<File> {
    let name_bytes = usize::from(*take(input, 1).first()?);
    let name = String::from_utf8_lossy(take(input, name_bytes)).into_owned();
    let length = take_u32(input)?.min(FILE_BYTES_MAX);
    let given = take_u32(input)?;
    let mut contents = take(input, given).to_vec();
    contents.resize(length, 0);
    Some((name, contents))
}

/// As many of `count` bytes as there are.
fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(count.min(input.len()));
    *input = rest;
    taken
}

fn take_u32(input: &mut &[u8]) -> Option<usize> {
    let bytes = take(input, 4).first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

/// The input for these files.
pub fn encode(files: &[File]) -> Vec<u8> {
    let mut input = Vec::new();
    for (name, contents) in files {
        let given = contents.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        input.push(name.len() as u8);
        input.extend_from_slice(name.as_bytes());
        input.extend_from_slice(&(contents.len() as u32).to_le_bytes());
        input.extend_from_slice(&(given as u32).to_le_bytes());
        input.extend_from_slice(contents.get(..given).unwrap_or_default());
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_back_and_any_bytes_are_one() {
        let files = vec![
            ("a".to_owned(), b"one\0\0".to_vec()),
            ("b/c".to_owned(), vec![0; 100]),
            (String::new(), Vec::new()),
        ];
        let input = encode(&files);
        assert_eq!(decode(&input), files);
        for end in 0..input.len() {
            assert!(decode(&input[..end]).len() <= files.len());
        }
        assert_eq!(decode(&[0xff; 400])[0].1.len(), FILE_BYTES_MAX);
    }
}
