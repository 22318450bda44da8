//! What holds jobs back: gates, and holds of tags.

use std::time::Duration;

use longshore_proto::v1;

use super::{Client, ClientError};
use crate::options::span_ms;

/// How long one request waits until nothing runs with a tag; the call asks again.
const WAIT: Duration = Duration::from_secs(10);

/// A gate as the server tells it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Gate {
    /// Its name.
    pub name: String,
    /// Nothing starts behind it.
    pub closed: bool,
    /// Why it is closed; empty where nobody said.
    pub reason: String,
    /// Jobs that run and depend on it.
    pub running: u64,
}

impl Gate {
    fn from_wire(of: v1::Gate) -> Self {
        let v1::Gate { name, closed, reason, running, .. } = of;
        Self { name, closed, reason, running }
    }
}

/// A hold of a tag as the server tells it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Hold {
    /// The tag.
    pub tag: String,
    /// Higher than that of every hold before it, to fence data with.
    pub epoch: u64,
    /// Nothing runs with the tag, but for what is unaccounted.
    pub quiet: bool,
    /// Leases with the tag that were not given back yet.
    pub running: u64,
    /// Runs that ended without their workers since the tag is held: they may go on.
    pub unaccounted: u64,
}

impl Hold {
    fn from_wire(of: v1::Hold) -> Self {
        let v1::Hold { tag, epoch, quiet, running, unaccounted, .. } = of;
        Self { tag, epoch, quiet, running, unaccounted }
    }
}

/// One unary call with the retries of the client.
macro_rules! ask {
    ($self:expr, $method:ident, $message:expr) => {{
        let client = $self.control()?;
        let call = |request| {
            let mut client = client.clone();
            async move { client.$method(request).await }
        };
        let bounds = &$self.inner.bounds;
        bounds.call_within(bounds.attempt, bounds.deadline, $message, call).await.answer?
    }};
}

impl Client {
    /// Closes a gate: nothing that depends on it starts until it is opened, or for `span`. It can
    /// be repeated.
    pub async fn close_gate(
        &self,
        name: &str,
        reason: &str,
        span: Option<Duration>,
    ) -> Result<Gate, ClientError> {
        let message = v1::CloseGateRequest {
            namespace: self.namespace().into(),
            name: name.into(),
            reason: reason.into(),
            expires_in_ms: span.map(span_ms),
            expires_at_unix_ms: None,
        };
        Ok(Gate::from_wire(ask!(self, close_gate, message)))
    }

    /// Lets all jobs of these queues and kinds depend on a gate, besides those that name it, which
    /// is created open where it is not there. It can be repeated.
    pub async fn put_gate(
        &self,
        name: &str,
        queues: &[&str],
        kinds: &[&str],
    ) -> Result<Gate, ClientError> {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let message = v1::PutGateRequest {
            namespace: self.namespace().into(),
            name: name.into(),
            queues: all(queues),
            kinds: all(kinds),
            ..v1::PutGateRequest::default()
        };
        Ok(Gate::from_wire(ask!(self, put_gate, message)))
    }

    /// One gate.
    pub async fn gate(&self, name: &str) -> Result<Gate, ClientError> {
        let message = self.named(name);
        Ok(Gate::from_wire(ask!(self, get_gate, message)))
    }

    /// The gates of the namespace, in the order of their names.
    pub async fn gates(&self) -> Result<Vec<Gate>, ClientError> {
        let message = v1::ListControlRequest { namespace: self.namespace().into() };
        let list = ask!(self, list_gates, message);
        Ok(list.gates.into_iter().map(Gate::from_wire).collect())
    }

    /// Removes a gate: it holds nothing back any more.
    pub async fn delete_gate(&self, name: &str) -> Result<(), ClientError> {
        let message = self.named(name);
        ask!(self, delete_gate, message);
        Ok(())
    }

    /// Opens a gate.
    pub async fn open_gate(&self, name: &str) -> Result<Gate, ClientError> {
        let message = self.named(name);
        Ok(Gate::from_wire(ask!(self, open_gate, message)))
    }

    /// Holds a tag: from now on no job with it starts. Repeated, it changes nothing.
    pub async fn hold(&self, tag: &str, reason: &str) -> Result<Hold, ClientError> {
        let (namespace, tag) = (self.namespace().into(), tag.into());
        let message = v1::PutHoldRequest { namespace, tag, reason: reason.into(), wait_ms: 0 };
        Ok(Hold::from_wire(ask!(self, put_hold, message)))
    }

    /// The tags that are held.
    pub async fn holds(&self) -> Result<Vec<Hold>, ClientError> {
        let message = v1::ListControlRequest { namespace: self.namespace().into() };
        let list = ask!(self, list_holds, message);
        Ok(list.holds.into_iter().map(Hold::from_wire).collect())
    }

    /// Waits until nothing runs with a tag that is held, however long that takes. What is
    /// `unaccounted` then may go on somewhere.
    pub async fn hold_is_quiet(&self, tag: &str) -> Result<Hold, ClientError> {
        loop {
            let (namespace, tag) = (self.namespace().into(), tag.into());
            let wait_ms = span_ms(WAIT.min(self.inner.bounds.attempt / 2));
            let message = v1::GetHoldRequest { namespace, tag, wait_ms };
            let hold = Hold::from_wire(ask!(self, get_hold, message));
            if hold.quiet {
                return Ok(hold);
            }
        }
    }

    /// Lets a tag go.
    pub async fn let_go(&self, tag: &str) -> Result<(), ClientError> {
        let message = self.named(tag);
        ask!(self, delete_hold, message);
        Ok(())
    }

    fn named(&self, name: &str) -> v1::ControlRequest {
        v1::ControlRequest { namespace: self.namespace().into(), name: name.into() }
    }
}
