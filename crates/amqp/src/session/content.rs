//! A message that is arriving: its method, its header, then its body.

use bytes::{Bytes, BytesMut};

use crate::codec::methods::BasicPublish;
use crate::codec::{ContentHeader, Properties};

/// A body up to this size is copied, so that it does not hold the whole buffer it arrived in.
const COPIED_BYTES_MAX: usize = 4096;
/// Room that is taken for a body before it has arrived.
const RESERVED_BYTES_MAX: usize = 64 << 10;

/// A message that is arriving.
#[derive(Debug)]
pub(super) struct Arriving {
    pub(super) publish: BasicPublish,
    header: Option<ContentHeader>,
    body: Body,
}

#[derive(Debug)]
enum Body {
    Whole(Bytes),
    Parts(BytesMut),
}

impl Arriving {
    pub(super) fn new(publish: BasicPublish) -> Self {
        Self { publish, header: None, body: Body::Whole(Bytes::new()) }
    }

    pub(super) fn has_header(&self) -> bool {
        self.header.is_some()
    }

    pub(super) fn set_header(&mut self, header: ContentHeader) {
        self.header = Some(header);
    }

    /// Bytes of the body that have not arrived.
    pub(super) fn missing(&self) -> u64 {
        let all = self.header.as_ref().map_or(0, |header| header.body_bytes);
        all.saturating_sub(self.arrived() as u64)
    }

    /// Bytes of the body that have arrived.
    pub(super) fn arrived(&self) -> usize {
        match &self.body {
            Body::Whole(bytes) => bytes.len(),
            Body::Parts(bytes) => bytes.len(),
        }
    }

    /// Adds a part of the body, which is not longer than what is missing.
    pub(super) fn add(&mut self, part: Bytes) {
        let missing = self.missing() as usize;
        match &mut self.body {
            Body::Parts(bytes) => bytes.extend_from_slice(&part),
            Body::Whole(_) if part.len() == missing => {
                let is_small = part.len() <= COPIED_BYTES_MAX;
                self.body =
                    Body::Whole(if is_small { Bytes::copy_from_slice(&part) } else { part });
            }
            Body::Whole(_) => {
                let mut bytes = BytesMut::with_capacity(missing.min(RESERVED_BYTES_MAX));
                bytes.extend_from_slice(&part);
                self.body = Body::Parts(bytes);
            }
        }
    }

    /// All of it, once nothing is missing.
    pub(super) fn into_parts(self) -> (BasicPublish, Properties, Bytes) {
        let body = match self.body {
            Body::Whole(bytes) => bytes,
            Body::Parts(bytes) => bytes.freeze(),
        };
        (self.publish, self.header.unwrap_or_default().properties, body)
    }
}
