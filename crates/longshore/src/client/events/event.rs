//! Events, as they are appended and as they are read.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use longshore_proto::v1;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// An event to append.
#[derive(Clone, Debug, Default)]
#[must_use = "it is nothing before it is appended"]
pub struct NewEvent {
    pub(super) key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(String, Bytes)>,
    pub(super) partition: Option<u32>,
    at: Option<SystemTime>,
    expected: Option<u64>,
}

impl NewEvent {
    /// One that says these bytes.
    pub fn new(value: impl Into<Bytes>) -> Self {
        Self { value: Some(value.into()), ..Self::default() }
    }

    /// One that says a value as JSON.
    ///
    /// # Errors
    ///
    /// The value cannot be written as JSON.
    pub fn json<T: Serialize>(value: &T) -> Result<Self, serde_json::Error> {
        Ok(Self::new(serde_json::to_vec(value)?))
    }

    /// One that says that its key is gone.
    pub fn tombstone(key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..Self::default() }
    }

    /// What events share that are to stay in order.
    pub fn key(self, key: impl Into<Bytes>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// A header more.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The partition, where the key is not to choose it.
    pub fn partition(self, partition: u32) -> Self {
        Self { partition: Some(partition), ..self }
    }

    /// Its time; otherwise when it is appended.
    pub fn at(self, at: SystemTime) -> Self {
        Self { at: Some(at), ..self }
    }

    /// How many events its key is to have before it, in a stream that counts them: where it has
    /// another number, nothing is appended, and
    /// [`ClientError::actual_events`](crate::ClientError::actual_events) tells which. Events
    /// that are appended together with it are of the same partition.
    pub fn expecting(self, events: u64) -> Self {
        Self { expected: Some(events), ..self }
    }

    pub(super) fn into_wire(self, partition: u32) -> v1::NewEvent {
        let header = |(name, value)| v1::EventHeader { name, value: Some(value) };
        let since = self.at.map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        v1::NewEvent {
            partition: Some(partition),
            key: self.key,
            value: self.value,
            headers: self.headers.into_iter().map(header).collect(),
            expected_events: self.expected,
            at_unix_ms: since.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

/// An event as it stands in a stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// Its partition.
    pub partition: u32,
    /// Its offset there.
    pub offset: u64,
    /// What events share that are to stay in order.
    pub key: Option<Bytes>,
    /// What it says; `None` where it says that its key is gone.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Its time, where it has one.
    pub at: Option<SystemTime>,
}

impl Event {
    /// What it says, from JSON. One that says that its key is gone reads as `null`.
    ///
    /// # Errors
    ///
    /// It is no JSON, or not of this type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(self.value.as_deref().unwrap_or(b"null"))
    }

    /// Its key, where that is a text.
    pub fn key_text(&self) -> Option<&str> {
        std::str::from_utf8(self.key.as_deref()?).ok()
    }

    /// What a header says, where that is a text.
    pub fn header(&self, wanted: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(name, _)| name == wanted)?;
        std::str::from_utf8(value.as_deref()?).ok()
    }

    pub(super) fn from_wire(partition: u32, of: v1::Event) -> Self {
        let ms = u64::try_from(of.at_unix_ms).ok();
        Self {
            partition,
            offset: of.offset,
            key: of.key,
            value: of.value,
            headers: of.headers.into_iter().map(|it| (it.name, it.value)).collect(),
            at: ms.and_then(|ms| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms))),
        }
    }
}
