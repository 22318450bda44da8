//! Kinds and their versions: what waits, what runs, and who runs it.

use longshore_proto::v1;
use serde_json::Value;

use super::{Client, ClientError};
use crate::Job;

/// One version of a kind as the server tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindVersion {
    /// The name of the kind.
    pub kind: String,
    /// The version; `None` for jobs without one.
    pub version: Option<u32>,
    /// Jobs that wait, whatever for.
    pub waiting: u64,
    /// Jobs that a worker has.
    pub running: u64,
    /// Sessions of workers that run it, or did a moment ago; `None` where nobody can say cheaply.
    pub consumers: Option<u64>,
    /// Names of such workers; of very many, only some. Not in lists.
    pub workers: Vec<String>,
}

impl KindVersion {
    fn from_wire(of: v1::KindVersion) -> Self {
        Self {
            kind: of.kind,
            version: (of.version > 0).then_some(of.version),
            waiting: of.waiting,
            running: of.running,
            consumers: of.consumers,
            workers: of.workers,
        }
    }
}

/// A kind as a whole, as the server tells it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// Its versions, in their order; none of a kind without jobs.
    pub versions: Vec<KindVersion>,
    /// Gates on which it depends.
    pub gates: Vec<String>,
    /// Limits that count its jobs by themselves.
    pub limits: Vec<String>,
    /// Service levels that are about it.
    pub slas: Vec<String>,
    /// All that is known of it, with its settings, as the HTTP API tells it.
    pub record: Value,
}

/// One unary call with the retries of the client.
macro_rules! ask {
    ($self:expr, $method:ident, $message:expr) => {{
        let client = $self.admin()?;
        let call = |request| {
            let mut client = client.clone();
            async move { client.$method(request).await }
        };
        let bounds = &$self.inner.bounds;
        bounds.call_within(bounds.attempt, bounds.deadline, $message, call).await.answer?
    }};
}

impl Client {
    /// The versions of a type of job that were ever enqueued. Once none of an old version waits or
    /// runs, the workers that are there for it may go.
    pub async fn kind_versions<J: Job>(&self) -> Result<Vec<KindVersion>, ClientError> {
        Ok(self.kind(J::KIND).await?.versions)
    }

    /// A kind by its name: its settings, what is over it, and its versions with who runs them.
    pub async fn kind(&self, name: &str) -> Result<Kind, ClientError> {
        let message = v1::KindRequest { namespace: self.namespace().into(), kind: name.into() };
        let kind = ask!(self, get_kind, message);
        Ok(Kind {
            name: kind.name,
            versions: kind.versions.into_iter().map(KindVersion::from_wire).collect(),
            gates: kind.gates,
            limits: kind.limits,
            slas: kind.slas,
            record: serde_json::from_slice(&kind.record).unwrap_or_default(),
        })
    }

    /// One page of the kinds that were ever enqueued, each in its versions, in the order of their
    /// names; an empty `cursor` begins. Returns where to go on, empty at the end.
    pub async fn list_kinds(
        &self,
        cursor: &str,
    ) -> Result<(Vec<KindVersion>, String), ClientError> {
        let (namespace, cursor) = (self.namespace().into(), cursor.into());
        let page = ask!(self, list_kinds, v1::ListKindsRequest { namespace, cursor, limit: 0 });
        Ok((page.kinds.into_iter().map(KindVersion::from_wire).collect(), page.next))
    }
}
