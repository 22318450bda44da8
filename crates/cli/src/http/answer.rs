//! An answer of HTTP/1.1 as it arrives: bytes in, status, fields and body out. It knows no socket,
//! so the tests of processes (`tests`) and the benchmarks (`benches`) read answers with this file.

use std::io;

/// The longest head of an answer.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// The longest body of an answer.
const BODY_BYTES_MAX: usize = 256 << 20;
/// The longest line before a chunk.
const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// How much is read at once where the length is not known, and at most where it is: memory grows
/// with what arrives, not with what is announced.
const ROOM_BYTES: usize = 64 << 10;
const ROOM_BYTES_MAX: usize = 1 << 20;

/// What has arrived of one answer after the other.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The head and what follows it, then room for more.
    bytes: Vec<u8>,
    filled: usize,
    head: Option<Head>,
    /// The chunks of the body that have arrived, and where those begin that have not.
    chunks: Vec<u8>,
    next_chunk: usize,
    /// The request has no answer with a body.
    is_bare: bool,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    /// Where the body begins, and how long it is; `None` where it comes in chunks.
    length: usize,
    body_length: Option<usize>,
    closes: bool,
}

impl Answer {
    /// Another answer is to come; `is_bare` where it has no body whatever it says.
    pub(crate) fn begin(&mut self, is_bare: bool) {
        if self.bytes.len() > ROOM_BYTES_MAX {
            self.bytes = Vec::new();
        }
        self.chunks.clear();
        (self.filled, self.head, self.is_bare) = (0, None, is_bare);
    }

    /// Where what arrives next belongs.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let end = self.head.map_or(0, |head| head.length + head.body_length.unwrap_or_default());
        let missing = end.saturating_sub(self.filled).clamp(ROOM_BYTES, ROOM_BYTES_MAX);
        if self.bytes.len() < self.filled + missing {
            self.bytes.resize(self.filled + missing, 0);
        }
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    /// Takes in so many bytes that were read to the room. Whether the answer is complete.
    pub(crate) fn advance(&mut self, count: usize) -> io::Result<bool> {
        if count == 0 {
            let why = "the server closed the connection before its answer was complete";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
        }
        // The end of the head is not before what is new, but for the part that was there of it.
        let mut new = self.filled.saturating_sub(3);
        self.filled += count;
        let head = loop {
            if let Some(head) = self.head {
                break head;
            }
            let arrived = self.bytes.get(..self.filled).unwrap_or_default();
            let Some(head) = parse_head(arrived, new)? else {
                return short(self.filled, HEAD_BYTES_MAX, "the head of the answer");
            };
            if head.status >= 200 {
                (self.head, self.next_chunk) = (Some(head), head.length);
            } else {
                // The answer proper follows.
                self.bytes.copy_within(head.length..self.filled, 0);
                self.filled -= head.length;
                new = 0;
            }
        };
        match head.body_length {
            _ if self.is_bare => Ok(true),
            Some(length) => Ok(self.filled - head.length >= length),
            None => self.take_chunks(),
        }
    }

    fn take_chunks(&mut self) -> io::Result<bool> {
        let malformed = || invalid("the answer has a malformed chunk");
        loop {
            let rest = self.bytes.get(self.next_chunk..self.filled).unwrap_or_default();
            let Some(line_end) = find(rest, b"\r\n") else {
                return short(rest.len(), CHUNK_LINE_BYTES_MAX, "the line before a chunk");
            };
            let line = rest.get(..line_end).and_then(|line| str::from_utf8(line).ok());
            let digits = line.map(|line| line.split(';').next().unwrap_or_default().trim());
            let size = digits.and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let size = size.ok_or_else(malformed)?;
            if size > BODY_BYTES_MAX - self.chunks.len() {
                return Err(invalid("the answer is longer than 256 MiB"));
            }
            if size == 0 {
                let trailers = rest.get(line_end..).unwrap_or_default();
                let is_complete = find(trailers, b"\r\n\r\n").is_some();
                let length = trailers.len();
                return if is_complete {
                    Ok(true)
                } else {
                    short(length, HEAD_BYTES_MAX, "the end")
                };
            }
            let (start, end) = (line_end + 2, line_end + 2 + size);
            let Some(after) = rest.get(end..end + 2) else { return Ok(false) };
            if after != b"\r\n" {
                return Err(malformed());
            }
            self.chunks.extend_from_slice(rest.get(start..end).unwrap_or_default());
            self.next_chunk += end + 2;
        }
    }

    pub(crate) fn status(&self) -> u16 {
        self.head.map_or(0, |head| head.status)
    }

    /// Whether the connection has no answer after this one.
    pub(crate) fn closes(&self) -> bool {
        self.head.is_none_or(|head| head.closes)
    }

    /// What the head says under a name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(str::from_utf8(self.bytes.get(..self.head?.length)?).ok()?, name)
    }

    pub(crate) fn body(&self) -> &[u8] {
        match self.head {
            _ if self.is_bare => &[],
            Some(Head { length, body_length: Some(body), .. }) => {
                self.bytes.get(length..length + body).unwrap_or_default()
            }
            _ => &self.chunks,
        }
    }
}

/// Not complete yet, unless it is too long for that.
fn short(length: usize, most: usize, what: &str) -> io::Result<bool> {
    if length <= most {
        Ok(false)
    } else {
        Err(invalid(&format!("{what} is longer than {most} bytes")))
    }
}

/// The head, if its end is there, which is not before `new`.
fn parse_head(bytes: &[u8], new: usize) -> io::Result<Option<Head>> {
    const BEGINS: &[u8] = b"HTTP/1.";
    let no_http = || invalid("the answer is not HTTP/1.1");
    if bytes.iter().zip(BEGINS).any(|(byte, expected)| byte != expected) {
        return Err(no_http());
    }
    let Some(end) = find(bytes.get(new..).unwrap_or_default(), b"\r\n\r\n") else {
        return Ok(None);
    };
    let end = new + end;
    let text = bytes.get(..end).and_then(|head| str::from_utf8(head).ok()).ok_or_else(no_http)?;
    let status: u16 = text.get(9..12).and_then(|it| it.parse().ok()).ok_or_else(no_http)?;
    let in_chunks = field(text, "transfer-encoding").is_some();
    let length = match field(text, "content-length") {
        _ if matches!(status, 204 | 304) => Some(0),
        _ if in_chunks => None,
        Some(length) => {
            let length = length.parse().ok().filter(|length| *length <= BODY_BYTES_MAX);
            Some(length.ok_or_else(|| invalid("the answer is longer than 256 MiB"))?)
        }
        None => Some(0),
    };
    let closes = field(text, "connection").is_some_and(|it| it.eq_ignore_ascii_case("close"))
        || text.starts_with("HTTP/1.0");
    Ok(Some(Head { status, length: end + 4, body_length: length, closes }))
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (known, value) = line.split_once(':')?;
        known.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an answer comes to that arrives in steps of so many bytes.
    fn received(bytes: &[u8], step: usize) -> io::Result<(u16, Vec<u8>, bool)> {
        let mut answer = Answer::default();
        answer.begin(false);
        for mut part in bytes.chunks(step) {
            while !part.is_empty() {
                let room = answer.room();
                let count = room.len().min(part.len());
                room[..count].copy_from_slice(&part[..count]);
                part = &part[count..];
                if answer.advance(count)? {
                    assert!(part.is_empty(), "something follows");
                    return Ok((answer.status(), answer.body().to_vec(), answer.closes()));
                }
            }
        }
        answer.advance(0).map(|_| unreachable!("it is not complete"))
    }

    fn check(bytes: &[u8], status: u16, body: &[u8], closes: bool) {
        for step in [1, 2, 3, 7, 1000, usize::MAX] {
            let received = received(bytes, step).unwrap();
            assert_eq!(received, (status, body.to_vec(), closes), "in steps of {step}");
        }
    }

    #[test]
    fn answers_in_parts_of_any_size() {
        check(b"HTTP/1.1 202 A b\r\nContent-Length: 5\r\nx: y\r\n\r\nhello", 202, b"hello", false);
        check(b"HTTP/1.1 204 No Content\r\nconnection: Close\r\n\r\n", 204, b"", true);
        check(b"HTTP/1.0 200 OK\r\n\r\n", 200, b"", true);
        let chunked = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 x\r\nRetry-After: 3\r\n\
            Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n2\r\nde\r\n0\r\na: b\r\n\r\n";
        check(chunked, 503, b"abcde", false);
        let long = b"x".repeat(3 << 20);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", long.len());
        let whole = [head.as_bytes(), &long].concat();
        assert_eq!(received(&whole, 50_000).unwrap().1, long);
    }

    #[test]
    fn one_answer_after_the_other() {
        let mut answer = Answer::default();
        for (text, is_bare, body) in [
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
                false,
                "ab",
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", true, ""),
            ("HTTP/1.1 200 OK\r\nretry-after: 7\r\ncontent-length: 1\r\n\r\nc", false, "c"),
        ] {
            answer.begin(is_bare);
            answer.room()[..text.len()].copy_from_slice(text.as_bytes());
            assert!(answer.advance(text.len()).unwrap());
            assert_eq!(answer.body(), body.as_bytes());
        }
        assert_eq!((answer.field("Retry-After"), answer.field("x")), (Some("7"), None));
    }

    #[test]
    fn what_is_no_answer() {
        let endless = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(HEAD_BYTES_MAX));
        let no_line =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned() + &"1".repeat(2000);
        for answer in [
            "",
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            &no_line,
            &endless,
        ] {
            for step in [1, usize::MAX] {
                assert!(received(answer.as_bytes(), step).is_err(), "{answer:.80}");
            }
        }
    }
}
