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
    /// Where the body begins.
    length: usize,
    framing: Framing,
    closes: bool,
}

/// Where the body ends.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length(usize),
    Chunks,
    /// With the connection.
    Close,
}

impl Answer {
    /// Another answer is to come; `is_bare` where it has no body whatever it says.
    pub(crate) fn begin(&mut self, is_bare: bool) {
        for buffer in [&mut self.bytes, &mut self.chunks] {
            if buffer.capacity() > 2 * ROOM_BYTES_MAX {
                *buffer = Vec::new();
            }
        }
        self.chunks.clear();
        (self.filled, self.head, self.is_bare) = (0, None, is_bare);
    }

    /// Where what arrives next belongs.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        let end = match self.head {
            Some(Head { length, framing: Framing::Length(body), .. }) => length + body,
            _ => 0,
        };
        let missing = end.saturating_sub(self.filled).clamp(ROOM_BYTES, ROOM_BYTES_MAX);
        if self.bytes.len() < self.filled + missing {
            self.bytes.resize(self.filled + missing, 0);
        }
        self.bytes.get_mut(self.filled..).unwrap_or_default()
    }

    /// Takes in so many bytes that were read to the room. Whether the answer is complete.
    pub(crate) fn advance(&mut self, count: usize) -> io::Result<bool> {
        if count == 0 {
            if self.head.is_some_and(|head| matches!(head.framing, Framing::Close)) {
                return Ok(true);
            }
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
                short(self.filled, HEAD_BYTES_MAX, "the head of the answer")?;
                return Ok(false);
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
        let end = match head.framing {
            _ if self.is_bare => Some(head.length),
            Framing::Length(length) => Some(head.length + length),
            Framing::Chunks => self.take_chunks()?,
            Framing::Close if self.filled - head.length > BODY_BYTES_MAX => {
                return Err(invalid("the answer is longer than 256 MiB"));
            }
            Framing::Close => None,
        };
        let is_complete = end.is_some_and(|end| self.filled >= end);
        // Nobody has asked for what follows.
        let is_over = end.is_some_and(|end| self.filled > end);
        self.head = Some(Head { closes: head.closes || is_over, ..head });
        if !is_complete && self.next_chunk > head.length {
            // What is taken makes room.
            self.bytes.copy_within(self.next_chunk..self.filled, head.length);
            self.filled -= self.next_chunk - head.length;
            self.next_chunk = head.length;
        }
        Ok(is_complete)
    }

    /// Where the last chunk ends, if it has arrived.
    fn take_chunks(&mut self) -> io::Result<Option<usize>> {
        let malformed = || invalid("the answer has a malformed chunk");
        loop {
            let rest = self.bytes.get(self.next_chunk..self.filled).unwrap_or_default();
            let Some(line_end) = find(rest, b"\r\n") else {
                short(rest.len(), CHUNK_LINE_BYTES_MAX, "the line before a chunk")?;
                return Ok(None);
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
                if let Some(end) = find(trailers, b"\r\n\r\n") {
                    return Ok(Some(self.next_chunk + line_end + end + 4));
                }
                short(trailers.len(), HEAD_BYTES_MAX, "the end")?;
                return Ok(None);
            }
            let (start, end) = (line_end + 2, line_end + 2 + size);
            let Some(after) = rest.get(end..end + 2) else { return Ok(None) };
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

    /// The lines of the head.
    pub(crate) fn head(&self) -> &[u8] {
        let length = self.head.map_or(0, |head| head.length);
        self.bytes.get(..length).unwrap_or_default()
    }

    /// What the head says under a name.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        str::from_utf8(field(self.head(), name)?).ok()
    }

    pub(crate) fn body(&self) -> &[u8] {
        match self.head {
            _ if self.is_bare => &[],
            Some(Head { length, framing: Framing::Length(body), .. }) => {
                self.bytes.get(length..length + body).unwrap_or_default()
            }
            Some(Head { length, framing: Framing::Close, .. }) => {
                self.bytes.get(length..self.filled).unwrap_or_default()
            }
            _ => &self.chunks,
        }
    }
}

/// Not complete yet, unless it is too long for that.
fn short(length: usize, most: usize, what: &str) -> io::Result<()> {
    if length <= most {
        Ok(())
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
    let head = bytes.get(..end).ok_or_else(no_http)?;
    let status = head.get(9..12).and_then(number).and_then(|status| status.try_into().ok());
    let status: u16 = status.ok_or_else(no_http)?;
    let in_chunks = field(head, "transfer-encoding").is_some();
    let framing = match field(head, "content-length") {
        _ if matches!(status, 204 | 304) => Framing::Length(0),
        _ if in_chunks => Framing::Chunks,
        Some(length) => {
            let length = number(length).filter(|length| *length <= BODY_BYTES_MAX);
            Framing::Length(length.ok_or_else(|| invalid("the answer is longer than 256 MiB"))?)
        }
        None => Framing::Close,
    };
    let closes = field(head, "connection").is_some_and(|it| it.eq_ignore_ascii_case(b"close"))
        || head.starts_with(b"HTTP/1.0")
        || matches!(framing, Framing::Close);
    Ok(Some(Head { status, length: end + 4, framing, closes }))
}

fn number(digits: &[u8]) -> Option<usize> {
    str::from_utf8(digits).ok()?.parse().ok()
}

/// What a head says under a name. Values need not be UTF-8.
fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|byte| *byte == b'\n').find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (known, value) = line.split_at(colon);
        known
            .eq_ignore_ascii_case(name.as_bytes())
            .then(|| value.get(1..).unwrap_or_default().trim_ascii())
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
        answer.advance(0)?;
        Ok((answer.status(), answer.body().to_vec(), answer.closes()))
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
        check(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nto the end", 200, b"to the end", true);
        check(b"HTTP/1.1 200 OK\r\nx: \xfc\r\nContent-Length: 1\r\n\r\na", 200, b"a", false);
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
    fn what_nobody_asked_for_ends_the_connection() {
        for (text, is_bare) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab", false),
            ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na", true),
            ("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\n", false),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n\r\n", false),
        ] {
            let mut answer = Answer::default();
            answer.begin(is_bare);
            answer.room()[..text.len()].copy_from_slice(text.as_bytes());
            assert!(answer.advance(text.len()).unwrap());
            assert!(answer.closes(), "{text}");
        }
    }

    #[test]
    fn memory_grows_with_the_body_and_not_with_the_lines_of_its_chunks() {
        let mut answer = Answer::default();
        answer.begin(false);
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
        let chunk = format!("1;{}\r\nx\r\n", "y".repeat(1000));
        let parts = std::iter::once(&head).chain(std::iter::repeat_n(&chunk, 2000));
        for part in parts {
            answer.room()[..part.len()].copy_from_slice(part.as_bytes());
            assert!(!answer.advance(part.len()).unwrap());
        }
        assert!(answer.bytes.len() <= 2 * ROOM_BYTES, "{} bytes", answer.bytes.len());
        answer.room()[..5].copy_from_slice(b"0\r\n\r\n");
        assert!(answer.advance(5).unwrap());
        assert_eq!(answer.body(), "x".repeat(2000).as_bytes());
        assert!(!answer.closes());
        answer.chunks = Vec::with_capacity(3 * ROOM_BYTES_MAX);
        answer.begin(false);
        assert_eq!(answer.chunks.capacity(), 0);
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
