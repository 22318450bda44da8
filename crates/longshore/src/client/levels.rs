//! Service levels.

use longshore_proto::v1;
use serde_json::Value;

use super::{Client, ClientError};

/// A service level as the server tells it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sla {
    /// Its name.
    pub name: String,
    /// Whether it is breached.
    pub breached: bool,
    /// The share that was kept in the last hour; none where nothing was measured.
    pub attained: Option<f64>,
    /// Jobs that wait and have missed the goal; counted up to 100.
    pub late: u64,
    /// Jobs that wait and have less than half of the time left; counted up to 100.
    pub at_risk: u64,
    /// Workers of one job at a time that it needs now; none where that is not known yet.
    pub workers_needed: Option<u64>,
    /// All that is known of it, as the HTTP API tells it.
    pub record: Value,
}

impl Sla {
    fn from_wire(of: v1::Sla) -> Self {
        Self {
            name: of.name,
            breached: of.breached_since_unix_ms.is_some(),
            attained: of.attained,
            late: of.late,
            at_risk: of.at_risk,
            workers_needed: of.workers_needed,
            record: serde_json::from_slice(&of.record).unwrap_or_default(),
        }
    }
}

/// One unary call with the retries of the client.
macro_rules! ask {
    ($self:expr, $method:ident, $message:expr) => {{
        let client = $self.levels()?;
        let call = |request| {
            let mut client = client.clone();
            async move { client.$method(request).await }
        };
        let bounds = &$self.inner.bounds;
        bounds.call_within(bounds.attempt, bounds.deadline, $message, call).await.answer?
    }};
}

impl Client {
    /// The service levels of the namespace, in the order of their names: `longshore sla set`
    /// makes one.
    pub async fn slas(&self) -> Result<Vec<Sla>, ClientError> {
        let message = v1::ListSlasRequest { namespace: self.namespace().into() };
        let list = ask!(self, list_slas, message);
        Ok(list.slas.into_iter().map(Sla::from_wire).collect())
    }

    /// One service level.
    pub async fn sla(&self, name: &str) -> Result<Sla, ClientError> {
        let message = v1::SlaRequest { namespace: self.namespace().into(), name: name.into() };
        Ok(Sla::from_wire(ask!(self, get_sla, message)))
    }
}
