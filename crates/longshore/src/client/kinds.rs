//! Kinds and their versions: what waits, what runs, and who runs it.

use longshore_proto::v1;

use super::{Client, ClientError};
use crate::Job;

/// One version of a kind as the server tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindVersion {
    /// The version; `None` for jobs without one.
    pub version: Option<u32>,
    /// Jobs that wait, whatever for.
    pub waiting: u64,
    /// Jobs that a worker has.
    pub running: u64,
    /// Names of workers that run it, or did a moment ago; of very many, only some.
    pub workers: Vec<String>,
}

impl Client {
    /// The versions of a type of job that were ever enqueued. Once none of an old version waits or
    /// runs, the workers that are there for it may go.
    pub async fn kind_versions<J: Job>(&self) -> Result<Vec<KindVersion>, ClientError> {
        let client = self.admin()?;
        let call = |request| {
            let mut client = client.clone();
            async move { client.get_kind(request).await }
        };
        let message =
            v1::KindRequest { namespace: self.namespace().into(), kind: J::KIND.to_owned() };
        let bounds = &self.inner.bounds;
        let answer = bounds.call_within(bounds.attempt, bounds.deadline, message, call).await;
        let versions = answer.answer?.versions.into_iter().map(|it| KindVersion {
            version: (it.version > 0).then_some(it.version),
            waiting: it.waiting,
            running: it.running,
            workers: it.workers,
        });
        Ok(versions.collect())
    }
}
