//! Lines of a file by byte offset: a run that goes on seeks, and reads nothing twice.

use std::io::SeekFrom;
use std::path::Path;

use futures_util::stream;
use serde::de::DeserializeOwned;
use tokio::fs::File;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncSeekExt, BufReader};

use crate::{Enumerator, JobError};

/// The longest line that is read: a file without line ends shall not fill the memory.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it begins.
    pub offset: u64,
    /// It, without its end.
    pub text: String,
}

impl Enumerator<Line, u64> {
    /// The lines of a UTF-8 file. The cursor is the offset behind a line. A line that is not UTF-8,
    /// or longer than 16 MiB, is an item that fails.
    ///
    /// The file must not grow meanwhile: what follows the last line end counts as a whole line.
    pub async fn lines(path: impl AsRef<Path>, cursor: Option<u64>) -> Result<Self, JobError> {
        let path = path.as_ref().to_owned();
        let named =
            |error: std::io::Error| JobError::new("file", format!("{}: {error}", path.display()));
        let mut file = File::open(&path).await.map_err(named)?;
        let length = file.metadata().await.map_err(named)?.len();
        let offset = cursor.unwrap_or(0);
        if offset > length {
            return Err(JobError::new(
                "file_shrank",
                format!("{}: the cursor is at {offset}, its end at {length}", path.display()),
            ));
        }
        file.seek(SeekFrom::Start(offset)).await.map_err(named)?;
        let reader = BufReader::with_capacity(64 << 10, file);
        let lines = stream::try_unfold((reader, offset), move |(mut reader, offset)| {
            let path = path.clone();
            async move {
                let at = |error: String| {
                    JobError::new("line", format!("{} at {offset}: {error}", path.display()))
                };
                let line = next_line(&mut reader).await.map_err(|error| at(error.to_string()))?;
                Ok(line.map(|(text, length)| {
                    let line = text.map(|text| Line { offset, text }).map_err(at);
                    let next = offset + length;
                    ((line, next), (reader, next))
                }))
            }
        });
        let whole = length.max(1) as f64;
        Ok(Self::fallible(lines).position(move |offset| *offset as f64 / whole))
    }
}

impl<T: DeserializeOwned + Send + 'static> Enumerator<T, u64> {
    /// The values of a JSON Lines file that does not grow meanwhile; empty lines are passed over.
    /// The cursor is the offset behind a line. What is no value, or no line, comes as its error.
    pub async fn json_lines(
        path: impl AsRef<Path>,
        cursor: Option<u64>,
    ) -> Result<Enumerator<Result<T, JobError>, u64>, JobError> {
        use futures_util::StreamExt;
        let Enumerator { items, position, .. } = Enumerator::lines(path, cursor).await?;
        let values = items.filter_map(|pair| async move {
            let (line, next) = match pair {
                Ok((Ok(line), next)) => (line, next),
                Ok((Err(error), next)) => return Some(Ok((Err(error), next))),
                Err(error) => return Some(Err(error)),
            };
            if line.text.trim().is_empty() {
                return None;
            }
            let value = serde_json::from_str(&line.text).map_err(|error| {
                JobError::new("line_not_json", format!("the line at {}: {error}", line.offset))
            });
            Some(Ok((value, next)))
        });
        let mut all = Enumerator::new(values);
        all.position = position;
        Ok(all)
    }
}

/// The next line, or why it is none, and how many bytes it takes in the file.
async fn next_line(
    reader: &mut BufReader<File>,
) -> Result<Option<(Result<String, String>, u64)>, std::io::Error> {
    let mut bytes = Vec::new();
    let length = (&mut *reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes).await? as u64;
    if length == 0 {
        return Ok(None);
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    } else if length == LINE_BYTES_MAX {
        drop(bytes);
        let length = length + pass_over_line(reader).await?;
        let text = format!("the line has {length} bytes with its end, above {LINE_BYTES_MAX}");
        return Ok(Some((Err(text), length)));
    }
    Ok(Some((String::from_utf8(bytes).map_err(|error| error.to_string()), length)))
}

/// Reads to the end of a line and keeps nothing of it. Returns how many bytes that were.
async fn pass_over_line(reader: &mut BufReader<File>) -> Result<u64, std::io::Error> {
    let mut length = 0;
    loop {
        let bytes = reader.fill_buf().await?;
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let passed = end.map_or(bytes.len(), |end| end + 1);
        reader.consume(passed);
        length += passed as u64;
        if end.is_some() || passed == 0 {
            return Ok(length);
        }
    }
}
