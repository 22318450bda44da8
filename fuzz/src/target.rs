//! The table of targets: which there are, what an input may cost, and what their inputs are made
//! of. To add one, add a line to `TARGETS` and a folder to `corpus/`.

use crate::targets;

/// A target and what holds for it.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Must return for any input.
    pub run: fn(&[u8]),
    /// What an input may cost.
    pub cap: Cap,
    /// The longest input that the mutator makes.
    pub bytes_max: usize,
    /// Words that the mutator puts into inputs.
    pub dictionary: &'static [&'static [u8]],
}

/// Bytes that may live at the same time while an input of n bytes is worked on.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    /// Whatever the input.
    pub base_bytes: usize,
    /// For each of its bytes.
    pub factor: usize,
}

impl Cap {
    /// The bytes for an input of that length.
    pub const fn of(self, input_bytes: usize) -> usize {
        self.base_bytes + self.factor * input_bytes
    }
}

const KIB: usize = 1 << 10;

/// What a parser may take that keeps to what is there.
const PLAIN: Cap = Cap { base_bytes: 64 * KIB, factor: 32 };

/// The smallest record takes two bytes in an entry and as many as the largest in memory, a list
/// that grows has up to twice the room that it needs, and the round trip decodes twice.
const RECORDS: Cap =
    Cap { base_bytes: 64 * KIB, factor: 2 * size_of::<longshore_engine::Record>() };

/// The smallest item of a list takes one byte, and as many as a text in memory. A round trip has it
/// twice, and a list that grows once more.
const VALUES: Cap = Cap { base_bytes: 64 * KIB, factor: 4 * size_of::<String>() };
/// The smallest value in a bulk takes two bytes of JSON and is answered with a refusal of its own,
/// some hundred bytes; both have an end at as many as a bulk may have.
const BULKS: Cap = Cap { base_bytes: 64 * KIB, factor: 192 };

/// The smallest part of a message takes two bytes on the wire and as many as the largest here; each
/// is told what is wrong with it.
const MESSAGES: Cap = Cap { base_bytes: 256 * KIB, factor: 2048 };

/// The smallest message takes some forty bytes on the wire, and about four hundred here; the
/// smallest method is answered with one of a hundred.
const SESSIONS: Cap = Cap { base_bytes: 256 * KIB, factor: 64 };

/// The smallest element of an array takes a byte in a request, and some hundred in memory; a list
/// that grows has up to twice the room that it needs.
const REQUESTS: Cap = Cap { base_bytes: 64 * KIB, factor: 320 };

/// A journal is read through windows of 1 MiB, one per segment.
const WINDOWS: Cap = Cap { base_bytes: 24 << 20, factor: 32 };

/// The checks of a table open it with a cache and buffers.
const TABLES: Cap = Cap { base_bytes: 4 << 20, factor: 32 };

/// What a batch opens to has an end here, a list that grows has twice the room, and one frame of
/// zstd looks back on 16 MiB at most.
const OPENED: Cap = Cap { base_bytes: 40 << 20, factor: 64 };

const JSON: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"null",
    b"true",
    b"-0",
    b"1e400",
    b"0.1",
    b"\\u0000",
    b"\\ud800",
    b"\xc3",
    b"\"kind\":\"k\"",
    b"\"args\":",
    b"\"jobs\":[",
    b"\"id\":",
    b"\"delay\":",
    b"\"run_at\":",
    b"\"retry\":{\"policy\":",
    b"\"tags\":[",
    b"\"metadata\":{}",
    b"\"token\":\"1.1\"",
    b"\"settle\":[",
    b"\"verdict\":",
    b"\"queues\":[",
    b"\"turn\":1",
    b"\"progress\":",
    b"\"defaults\":{",
    b"\"older_than\":",
    b"\"1s\"",
    b"\"2030-01-02T03:04:05Z\"",
    b"\"019e6f3a-1122-7033-8001-020304050607\"",
];

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "frames",
        run: targets::frames,
        cap: PLAIN,
        bytes_max: 8 * KIB,
        dictionary: &[b"LSF1"],
    },
    Target {
        name: "journal",
        run: targets::journal,
        cap: WINDOWS,
        bytes_max: 32 * KIB,
        dictionary: &[b"LSF1", b"LONGSHRJ", b"00000000000000000002.segment", b"lock"],
    },
    Target {
        name: "entries",
        run: targets::entries,
        cap: RECORDS,
        bytes_max: 8 * KIB,
        dictionary: &[],
    },
    Target {
        name: "values",
        run: targets::values,
        cap: VALUES,
        bytes_max: 4 * KIB,
        dictionary: &[],
    },
    Target {
        name: "manifest",
        run: targets::manifest,
        cap: PLAIN,
        bytes_max: KIB,
        dictionary: &[b"longshore store\n", b"format ", b"id ", b"shards ", b"crc32c ", b"\n"],
    },
    Target {
        name: "store",
        run: targets::store,
        cap: TABLES,
        bytes_max: 32 * KIB,
        dictionary: &[b"SFA!", b"TOC!", b"current", b"tables/1", b"meta", b"tli", b"blob_files"],
    },
    Target {
        name: "bodies",
        run: targets::bodies,
        cap: BULKS,
        bytes_max: 16 * KIB,
        dictionary: JSON,
    },
    Target {
        name: "messages",
        run: targets::messages,
        cap: MESSAGES,
        bytes_max: 16 * KIB,
        dictionary: &[b"\x0a\x00", b"\x22\x00", b"\x2a\x00", b"\x1a\x00", b"0-0", b"[1]", b"null"],
    },
    Target {
        name: "paths",
        run: targets::paths,
        cap: PLAIN,
        bytes_max: 4 * KIB,
        dictionary: &[b"/v1", b"/namespaces/", b"/queues/", b"/jobs", b"%", b"%2F", b"%c3%bc"],
    },
    Target {
        name: "amqp",
        run: targets::amqp,
        cap: SESSIONS,
        bytes_max: 16 * KIB,
        dictionary: &[
            b"AMQP\x00\x00\x09\x01",
            b"\xce",
            b"\x01\x00\x01\x00\x00\x00",
            b"\x02\x00\x01\x00\x00\x00",
            b"\x03\x00\x01\x00\x00\x00",
            b"\x00\x3c\x00\x28",
            b"\x00\x32\x00\x0a",
            b"x-match",
        ],
    },
    Target {
        name: "kafka",
        run: targets::kafka,
        cap: REQUESTS,
        bytes_max: 16 * KIB,
        dictionary: &[
            b"\x00\x00\x00\x03",
            b"\x00\x01\x00\x04",
            b"\x00\x03\x00\x09",
            b"\xff\xff\xff\xff",
            b"\x7f\xff\xff\xff",
            b"\x00\x06orders",
            b"\x02",
        ],
    },
    Target {
        name: "batches",
        run: targets::batches,
        cap: OPENED,
        bytes_max: 16 * KIB,
        dictionary: &[
            b"\x1f\x8b\x08\x00",
            b"\x82SNAPPY\x00",
            b"\x04\x22\x4d\x18",
            b"\x28\xb5\x2f\xfd",
            b"\xff\xff\xff\xff\x0f",
        ],
    },
];

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
