//! The events of one key.

use std::time::Duration;

use bytes::Bytes;
use longshore_proto::v1;

use super::super::{Client, ClientError};
use super::ask;
use super::event::Event;

impl Client {
    /// The events of a key, as far as they are kept, and how many it has had, where the stream
    /// counts them: what is behind a decision about the key, and what to expect of the next
    /// append. They are in memory together, so it is for keys with few.
    pub async fn events_of(
        &self,
        stream: &str,
        key: impl Into<Bytes>,
    ) -> Result<(Vec<Event>, Option<u64>), ClientError> {
        let (key, mut events, mut offset) = (key.into(), Vec::new(), 0);
        loop {
            let message = v1::ReadKeyRequest {
                namespace: self.namespace().into(),
                stream: stream.into(),
                key: key.clone(),
                offset,
            };
            let page = ask!(self, read_key, message)?;
            let of = |event| Event::from_wire(page.partition, event);
            events.extend(page.events.into_iter().map(of));
            match page.next {
                Some(next) if next > offset => offset = next,
                // What was counted is in the stream a moment later.
                Some(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                None => return Ok((events, page.key_events)),
            }
        }
    }
}
