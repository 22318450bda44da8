//! All seeds, by target.

use anyhow::Result;
use longshore_engine::wire::Wire;
use longshore_engine::{Entry, LEVEL, TimeMs};

use super::{amqp, bodies, files, kafka, messages, records};
use crate::corpus::Named;

/// The seeds of every target.
pub fn all() -> Result<Vec<(&'static str, Vec<Named>)>> {
    Ok(vec![
        ("frames", files::frames()),
        ("journal", files::journals()?),
        ("entries", entries()),
        ("values", records::values()),
        ("manifest", files::manifests()),
        ("store", files::stores()?),
        ("bodies", bodies::bodies()),
        ("messages", messages::messages()),
        ("paths", bodies::paths()),
        ("amqp", amqp::sessions()),
        ("kafka", kafka::inputs()),
        ("batches", kafka::batches()),
    ])
}

fn entries() -> Vec<Named> {
    let entry = |records| Entry { at: TimeMs(1_780_000_000_000), records }.to_bytes().to_vec();
    let mut inputs: Vec<Named> = records::records()
        .into_iter()
        .map(|(name, record)| (name.to_owned(), entry(vec![record])))
        .collect();
    let all = records::records().into_iter().map(|(_, record)| record).collect();
    inputs.push(("all-records".to_owned(), entry(all)));
    inputs.push(("no-records".to_owned(), entry(Vec::new())));
    inputs.extend(nasty_entries());
    inputs
}

fn nasty_entries() -> Vec<Named> {
    // Level and instant; records follow up to the end.
    let with = |records: &[u8]| [&[LEVEL, 0], records].concat();
    // Lists of ids that promise more than there is.
    let ids = |count: &[u8]| with(&[&[23, 1], count].concat());
    vec![
        ("nasty-version".to_owned(), vec![9, 0, 0]),
        ("nasty-count-huge".to_owned(), ids(&[0xff; 9])),
        ("nasty-count-of-4-gib".to_owned(), ids(&[0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("nasty-integer-too-long".to_owned(), with(&[4, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80])),
        ("nasty-integer-overlong".to_owned(), with(&[4, 0x81, 0, 0])),
        ("nasty-text-not-utf8".to_owned(), with(&[3, 1, 2, 0xff, 0xfe])),
        ("nasty-record-unknown".to_owned(), with(&[99, 0])),
        ("nasty-field-unknown".to_owned(), with(&[4, 1, 9, 0])),
        (
            "nasty-field-twice".to_owned(),
            with(&[&[21, 1][..], &[0; 16], &[1, 5, 1, 6, 0]].concat()),
        ),
        ("nasty-many-small-records".to_owned(), with(&[4, 1, 0].repeat(4000))),
    ]
}
