//! Values of the state. The first byte of an input says of which type the rest is.

use bytes::Bytes;
use longshore_engine::wire::Wire;
use longshore_engine::{
    AttemptNote, Body, Checkpoint, Grant, Job, JobError, JobOptions, Lease, Next, Operation, Phase,
    Queue, QueueSettings, RetryPolicy, SkippedItem, Token,
};

use crate::novelty::{saw, sound};

/// What decodes encodes to bytes that decode to the same.
pub fn target(input: &[u8]) {
    let Some((which, value)) = input.split_first() else { return };
    let value = Bytes::copy_from_slice(value);
    match which % 16 {
        0 => check::<Job>(&value),
        1 => check::<Queue>(&value),
        2 => check::<Lease>(&value),
        3 => check::<AttemptNote>(&value),
        4 => check::<Operation>(&value),
        5 => check::<QueueSettings>(&value),
        6 => check::<JobOptions>(&value),
        7 => check::<Phase>(&value),
        8 => check::<Body>(&value),
        9 => check::<Next>(&value),
        10 => check::<RetryPolicy>(&value),
        11 => check::<JobError>(&value),
        12 => check::<Grant>(&value),
        13 => check::<Token>(&value),
        14 => check::<Checkpoint>(&value),
        _ => check::<SkippedItem>(&value),
    }
}

fn check<T: Wire + PartialEq + std::fmt::Debug>(value: &Bytes) {
    let name = std::any::type_name::<T>();
    match T::from_bytes(value) {
        Ok(decoded) => {
            assert_eq!(T::from_bytes(&decoded.to_bytes()).as_ref(), Ok(&decoded), "{name}");
            saw((name, value.len() / 8));
            sound();
        }
        Err(error) => saw((name, error.what, error.at / 4)),
    }
}
