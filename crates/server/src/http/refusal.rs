//! A refusal on its way to the client: one problem document (RFC 9457). The one place where the
//! engine's and the node's refusals become this face's codes.

use std::fmt::Display;

use longshore_engine::Rejection;

use super::code::Code;
use super::text::shorten;
use crate::api::{JobFault, Problem};
use crate::unavailable::{Cause, Unavailable};

/// Where this server explains the codes; the code follows as the fragment.
const ERRORS_URL: &str = "/docs/errors.md#";
/// Faults of a bulk that are told one by one.
const FAULTS_MAX: usize = 100;

/// Why a request is refused.
#[derive(Clone, Debug)]
pub(crate) struct Refusal(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    code: Code,
    detail: String,
    field: Option<String>,
    value: Option<String>,
    allowed: Option<String>,
    faults: Vec<JobFault>,
    retry_after_s: Option<u64>,
    allow: Option<String>,
    closes: bool,
}

impl Refusal {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code,
            detail: detail.into(),
            field: None,
            value: None,
            allowed: None,
            faults: Vec::new(),
            retry_after_s: None,
            allow: None,
            closes: false,
        }))
    }

    /// A value that may not be: the field, what was given, what may be given.
    pub(crate) fn value(field: &str, value: impl Display, allowed: impl Into<String>) -> Self {
        let (value, allowed) = (shorten(&format!("{value}")), allowed.into());
        let detail = format!("{field} is {value}; allowed: {allowed}");
        Self::new(Code::ValueRefused, detail).about(field, value, allowed)
    }

    /// Names what is at fault.
    #[must_use]
    pub(crate) fn about(mut self, field: &str, value: String, allowed: String) -> Self {
        self.0.field = Some(field.to_owned());
        self.0.value = Some(value);
        self.0.allowed = Some(allowed);
        self
    }

    /// Names the field at fault.
    #[must_use]
    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Says what may be given.
    #[must_use]
    pub(crate) fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.0.allowed = Some(allowed.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub(crate) fn retry_after_s(mut self, seconds: u64) -> Self {
        self.0.retry_after_s = Some(seconds);
        self
    }

    /// Names the methods that the path knows.
    #[must_use]
    pub(crate) fn allow(mut self, methods: String) -> Self {
        self.0.allow = Some(methods);
        self
    }

    /// The connection cannot go on after this answer.
    #[must_use]
    pub(crate) fn closing(mut self) -> Self {
        self.0.closes = true;
        self
    }

    /// Says that these jobs of a bulk are at fault.
    pub(crate) fn of_jobs(faults: Vec<(usize, Self)>) -> Self {
        let count = faults.len();
        let first = faults.first().map_or(0, |(index, _)| *index);
        let detail = format!(
            "{count} of the jobs are at fault, the first is number {first} (from 0); \
             none was enqueued"
        );
        let mut refusal = Self::new(Code::JobsRefused, detail);
        let told = faults.into_iter().take(FAULTS_MAX);
        refusal.0.faults = told.map(|(index, fault)| fault.into_fault(index)).collect();
        refusal
    }

    fn into_fault(self, index: usize) -> JobFault {
        let Parts { code, detail, field, value, allowed, .. } = *self.0;
        JobFault { index, code: code.as_str().into(), detail, field, value, allowed }
    }

    pub(crate) fn code(&self) -> Code {
        self.0.code
    }

    /// The value of `Retry-After`.
    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.0.retry_after_s
    }

    /// The value of `Allow`.
    pub(crate) fn allow_header(&self) -> Option<&str> {
        self.0.allow.as_deref()
    }

    /// Whether the connection ends with the answer.
    pub(crate) fn closes(&self) -> bool {
        self.0.closes
    }

    /// The document.
    pub(crate) fn problem(&self) -> Problem {
        let Parts { code, detail, field, value, allowed, faults, .. } = &*self.0;
        Problem {
            kind: format!("{ERRORS_URL}{}", code.as_str()),
            title: code.title().into(),
            status: code.status().as_u16(),
            code: code.as_str().into(),
            detail: detail.clone(),
            field: field.clone(),
            value: value.clone(),
            allowed: allowed.clone(),
            faults: faults.clone(),
        }
    }
}

impl From<Rejection> for Refusal {
    fn from(rejection: Rejection) -> Self {
        let detail = rejection.to_string();
        let say = |code| Self::new(code, detail);
        match rejection {
            Rejection::NamespaceUnknown { .. } => say(Code::NamespaceUnknown),
            Rejection::NamespaceNotEmpty { .. } => say(Code::NamespaceNotEmpty),
            Rejection::TooManyNamespaces { .. } => say(Code::TooManyNamespaces).retry_after_s(60),
            Rejection::QueueUnknown { .. } => say(Code::QueueUnknown),
            Rejection::QueueFull { .. } => say(Code::QueueFull).retry_after_s(1),
            Rejection::QueueNotEmpty { .. } => say(Code::QueueNotEmpty),
            Rejection::TooManyQueues { .. } => say(Code::TooManyQueues).retry_after_s(60),
            Rejection::TooManyKinds { .. } => say(Code::TooManyKinds).retry_after_s(60),
            Rejection::JobsRefused { faults } => Self::of_jobs(
                faults.into_iter().map(|(index, fault)| (index, fault.into())).collect(),
            ),
            Rejection::JobIdTaken { id } => {
                let value = id.to_string();
                let allowed = "a new id, or the content that this id had before".to_owned();
                say(Code::JobIdTaken).about("id", value, allowed)
            }
            Rejection::ValueRefused { field, value, allowed } => {
                say(Code::ValueRefused).about(field, shorten(&value), allowed)
            }
            Rejection::JobUnknown { gone: false, .. } => say(Code::JobUnknown),
            Rejection::JobUnknown { gone: true, .. } => say(Code::JobGone),
            Rejection::JobStateRefused { .. } => say(Code::JobStateRefused),
            Rejection::LeaseLost { .. } => say(Code::LeaseLost),
            Rejection::TurnPassed { last_turn, turn, .. } => {
                let allowed = format!("{last_turn} or more");
                say(Code::TurnPassed).about("turn", turn.to_string(), allowed)
            }
            Rejection::RequestSuperseded { .. } => say(Code::RequestSuperseded),
            Rejection::TooManyWaiting { .. } => say(Code::TooManyWaiting).retry_after_s(1),
            Rejection::TooManySessions { .. } => say(Code::TooManySessions).retry_after_s(60),
            Rejection::OperationUnknown { .. } => say(Code::OperationUnknown),
            Rejection::TooManyOperations { .. } => say(Code::TooManyOperations).retry_after_s(10),
            Rejection::Stopping => say(Code::Stopping).retry_after_s(5),
        }
    }
}

/// The code for what keeps the node from answering.
pub(crate) fn code_of(cause: Cause) -> Code {
    match cause {
        Cause::Starting => Code::ShardStarting,
        Cause::Stopped => Code::ShardStopped,
        Cause::Stopping => Code::Stopping,
        Cause::Overloaded => Code::Overloaded,
        Cause::DiskLow => Code::DiskLow,
        Cause::MemoryLow => Code::MemoryLow,
        Cause::Bug => Code::Internal,
    }
}

impl From<Unavailable> for Refusal {
    fn from(unavailable: Unavailable) -> Self {
        let refusal = Self::new(code_of(unavailable.cause), unavailable.to_string());
        refusal.retry_after_s(unavailable.retry_after_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rejection_keeps_its_code_and_names_the_field() {
        let rejection = Rejection::ValueRefused {
            field: "lease",
            value: "13h".into(),
            allowed: "1s to 12h".into(),
        };
        let code = rejection.code();
        let problem = Refusal::from(rejection).problem();
        assert_eq!((problem.code.as_str(), problem.status), (code, 400));
        assert!(problem.kind.ends_with("#value_refused"));
        assert_eq!(problem.field.as_deref(), Some("lease"));
        assert_eq!(problem.allowed.as_deref(), Some("1s to 12h"));
    }

    #[test]
    fn a_bulk_names_its_jobs_but_not_without_bound() {
        let faults = (0..1000).map(|index| (index, Refusal::value("kind", "", "a name")));
        let problem = Refusal::of_jobs(faults.collect()).problem();
        assert_eq!(problem.faults.len(), FAULTS_MAX);
        assert_eq!(problem.faults[7].index, 7);
        assert!(problem.detail.starts_with("1000 of the jobs"));
    }

    #[test]
    fn what_passes_says_when_to_try_again() {
        let full = Rejection::QueueFull { queue: "q".into(), length: 9, max_length: 9 };
        assert_eq!(Refusal::from(full).retry_after(), Some(1));
        let low = Unavailable::new(0, Cause::DiskLow, "full");
        assert_eq!(Refusal::from(low).retry_after(), Some(15));
    }
}
