//! A refusal on its way to the client: one problem document (RFC 9457). The one place where the
//! engine's and the node's refusals become this face's codes.

use std::fmt::Display;

use longshore_engine::{JobId, Rejection};
use longshore_node::{Cause, Unavailable};

use super::code::Code;
use super::json::THE_BODY;
use super::parse::is_made_here;
use super::text::{counted, quoted, shorten};
use crate::api::{DurationText, InstantText, JobFault, JobIdText, Problem};

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

    /// The same of a name.
    #[must_use]
    fn named(self, field: &str, name: &str, allowed: &str) -> Self {
        self.about(field, quoted(name), allowed.to_owned())
    }

    /// There are as many as there may be, which may change.
    #[must_use]
    fn too_many(self, field: &str) -> Self {
        self.field(field).retry_after_s(60)
    }

    /// Says that no such job is there.
    #[must_use]
    pub(crate) fn of_job(self, id: JobId) -> Self {
        self.about("id", id.to_string(), "the id of a job that is there".to_owned())
    }

    /// Says the bound of a count, where that is what is refused: the configuration has it, so the
    /// type that reads the count cannot.
    #[must_use]
    pub(crate) fn bounding(self, field: &str, max: usize) -> Self {
        match &self.0.value {
            Some(value) if self.0.field.as_deref() == Some(field) => {
                Self::value(field, value, format!("a whole number from 0 to {max}"))
            }
            _ => self,
        }
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

    /// Says when to try again, where that helps.
    #[must_use]
    pub(crate) fn retrying(self, after_s: Option<u64>) -> Self {
        match after_s {
            Some(seconds) => self.retry_after_s(seconds),
            None => self,
        }
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

    /// Says that these jobs of `list`, a field of the request, are at fault.
    pub(crate) fn of_jobs(list: &str, faults: Vec<(usize, Self)>) -> Self {
        let count = faults.len();
        let mut refusal = Self::new(Code::JobsRefused, "no job is at fault");
        if let Some((index, first)) = faults.first() {
            let first = first.clone().within(&format!("{list}[{index}]"));
            let Parts { detail, field, value, allowed, .. } = *first.0;
            let are = if count == 1 { "1 job is" } else { &format!("{count} jobs are") };
            let told = if count == 1 { "" } else { "the first: " };
            refusal.0.detail = format!("{are} at fault, so none was enqueued; {told}{detail}");
            (refusal.0.field, refusal.0.value, refusal.0.allowed) = (field, value, allowed);
        }
        let told = faults.into_iter().take(FAULTS_MAX);
        refusal.0.faults = told.map(|(index, fault)| fault.into_fault(index)).collect();
        refusal
    }

    /// The same about something that stands at `place` of the request.
    #[must_use]
    pub(crate) fn within(mut self, place: &str) -> Self {
        let Some(field) = self.0.field.take() else { return self };
        let whole = if field == THE_BODY { place.to_owned() } else { format!("{place}.{field}") };
        if let Some(rest) = self.0.detail.strip_prefix(&field) {
            self.0.detail = format!("{whole}{rest}");
        }
        self.0.field = Some(whole);
        self
    }

    /// The refusal of a job that is not in this namespace, although its id tells that it was made.
    pub(crate) fn job_gone(id: JobId) -> Self {
        let text = JobIdText(id.0);
        let detail = format!(
            "job {text} is not in this namespace: it is past its retention, was removed, or \
             belongs to another one"
        );
        Self::new(Code::JobGone, detail).of_job(id)
    }

    /// What the engine refuses of a settlement: the jobs at fault are those that it enqueues.
    pub(crate) fn of_settlement(rejection: Rejection) -> Self {
        match rejection {
            Rejection::JobsRefused { faults } => Self::of_rejections("enqueue", faults),
            other => other.into(),
        }
    }

    /// What the engine refuses of a bulk. A bulk of one job is a bulk: its fault has an index.
    pub(crate) fn of_bulk(rejection: Rejection) -> Self {
        let is_of_a_job = match &rejection {
            Rejection::JobIdTaken { .. }
            | Rejection::UniqueTaken { .. }
            | Rejection::TooManyKinds { .. }
            | Rejection::TooManyVersions { .. } => true,
            Rejection::ValueRefused { field, .. } => !matches!(*field, "jobs" | "queue"),
            _ => false,
        };
        if is_of_a_job {
            Self::of_rejections("jobs", vec![(0, rejection)])
        } else {
            rejection.into()
        }
    }

    fn of_rejections(list: &str, faults: Vec<(usize, Rejection)>) -> Self {
        let faults = faults.into_iter().map(|(index, fault)| (index, fault.into()));
        Self::of_jobs(list, faults.collect())
    }

    fn into_fault(self, index: usize) -> JobFault {
        let Parts { code, detail, field, value, allowed, .. } = *self.0;
        // What stands in the list is no body.
        let field = field.map(|field| if field == THE_BODY { "the job".to_owned() } else { field });
        let detail = match detail.strip_prefix(THE_BODY) {
            Some(rest) => format!("the job{rest}"),
            None => detail,
        };
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
            detail: cut(detail),
            field: field.as_deref().map(cut),
            value: value.as_deref().map(cut),
            allowed: allowed.as_deref().map(cut),
            faults: faults.clone(),
        }
    }
}

/// Bytes of one text of a document. What is quoted is cut where it is quoted; this is for what was
/// forgotten.
const TEXT_BYTES_MAX: usize = 4096;

fn cut(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX { text.to_owned() } else { shorten(text) }
}

/// Durations and instants as this face says them, in what the engine says: it knows milliseconds.
fn in_words_of_the_api(field: &str, text: &str) -> String {
    let is_instant =
        matches!(field, "run_at" | "expires_at" | "starts_at" | "ends_at" | "next" | "next_at");
    let word = |word: &str| {
        let (number, comma) = word.strip_suffix(',').map_or((word, ""), |number| (number, ","));
        let duration = number.strip_suffix("ms").and_then(|ms| ms.parse().ok());
        match (duration, number.parse()) {
            (Some(ms), _) => format!("{}{comma}", DurationText(ms)),
            (None, Ok(ms)) if is_instant => format!("{}{comma}", InstantText(ms)),
            _ => word.to_owned(),
        }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// What the engine refuses of one value.
fn value_refused(field: &str, value: &str, allowed: &str) -> Refusal {
    let value = shorten(&in_words_of_the_api(field, value));
    Refusal::value(field, value, in_words_of_the_api(field, allowed))
}

impl From<Rejection> for Refusal {
    #[expect(clippy::too_many_lines, reason = "the one match of all rejections, an arm each")]
    fn from(rejection: Rejection) -> Self {
        let detail = match &rejection {
            Rejection::NamespaceNotEmpty { name, queues } => {
                format!("namespace {} still has {}", quoted(name), counted(*queues, "queue"))
            }
            Rejection::QueueFull { queue, length, max_length } => {
                let jobs = counted(*length, "job");
                format!("queue {} holds {jobs} of at most {max_length}", quoted(queue))
            }
            Rejection::QueueNotEmpty { queue, backlog, dead } => {
                let unfinished = counted(*backlog, "unfinished job");
                let dead = counted(*dead, "dead job");
                format!("queue {} still holds {unfinished} and {dead}", quoted(queue))
            }
            other => other.to_string(),
        };
        let say = |code| Self::new(code, detail);
        match rejection {
            Rejection::NamespaceUnknown { name } => {
                say(Code::NamespaceUnknown).named("namespace", &name, "a namespace that exists")
            }
            Rejection::NamespaceNotEmpty { name, .. } => {
                say(Code::NamespaceNotEmpty).named("namespace", &name, "a namespace without queues")
            }
            Rejection::NamespaceHasStreams { name, .. } => say(Code::NamespaceHasStreams).named(
                "namespace",
                &name,
                "a namespace without streams",
            ),
            Rejection::StreamUnknown { stream } => {
                say(Code::StreamUnknown).named("stream", &stream, "a stream that exists")
            }
            Rejection::StreamExists { stream } => {
                say(Code::StreamExists).named("stream", &stream, "a name that is free")
            }
            Rejection::TooManyPartitions { .. } => {
                say(Code::TooManyPartitions).too_many("partitions")
            }
            Rejection::TooManyNamespaces { .. } => {
                say(Code::TooManyNamespaces).too_many("namespace")
            }
            Rejection::QueueUnknown { queue } => {
                say(Code::QueueUnknown).named("queue", &queue, "a queue that exists")
            }
            Rejection::QueueFull { queue, max_length, .. } => say(Code::QueueFull)
                .about("queue", quoted(&queue), format!("at most {max_length} unfinished jobs"))
                .retry_after_s(1),
            Rejection::QueueNotEmpty { queue, .. } => say(Code::QueueNotEmpty).named(
                "queue",
                &queue,
                "a queue without jobs, or ?force=true",
            ),
            Rejection::TooManyQueues { .. } => say(Code::TooManyQueues).too_many("queue"),
            Rejection::TooManyKinds { .. } => say(Code::TooManyKinds).too_many("kind"),
            Rejection::TooManyVersions { .. } => say(Code::TooManyVersions).too_many("version"),
            Rejection::JobsRefused { faults } => Self::of_rejections("jobs", faults),
            Rejection::EntryTooLarge { bytes, limit } => say(Code::EntryTooLarge).about(
                THE_BODY,
                format!("{bytes} bytes"),
                format!("at most {limit} bytes in one commit"),
            ),
            Rejection::JobIdTaken { id } => {
                let value = id.to_string();
                let allowed = "a new id, or the content that this id had before".to_owned();
                say(Code::JobIdTaken).about("id", value, allowed)
            }
            Rejection::LimitUnknown { name } => {
                say(Code::LimitUnknown).named("limit", &name, "a limit that exists")
            }
            Rejection::LimitChanging { .. } => {
                say(Code::LimitChanging).field("limit").retry_after_s(1)
            }
            Rejection::TooManyLimits { .. } => say(Code::TooManyLimits).too_many("limit"),
            Rejection::AccountUnknown { name } => {
                say(Code::AccountUnknown).named("account", &name, "an account that exists")
            }
            Rejection::TokenUnknown { id, .. } => {
                let allowed = "a token that the account has".to_owned();
                say(Code::TokenUnknown).about("token", quoted(&id), allowed)
            }
            Rejection::TooManyAccounts { .. } => say(Code::TooManyAccounts).too_many("account"),
            Rejection::KeyUsedOtherwise => say(Code::IdempotencyKeyUsed).field("Idempotency-Key"),
            Rejection::TooManyKeys { .. } => {
                say(Code::TooManyIdempotencyKeys).too_many("Idempotency-Key")
            }
            Rejection::SlaUnknown { name } => {
                say(Code::SlaUnknown).named("sla", &name, "a service level that exists")
            }
            Rejection::TooManySlas { .. } => say(Code::TooManySlas).too_many("sla"),
            Rejection::GateUnknown { name } => {
                say(Code::GateUnknown).named("gate", &name, "a gate that exists")
            }
            Rejection::TooManyGates { .. } => say(Code::TooManyGates).too_many("gate"),
            Rejection::HoldUnknown { tag } => {
                say(Code::HoldUnknown).named("tag", &tag, "a tag that is held")
            }
            Rejection::TooManyHolds { .. } => say(Code::TooManyHolds).too_many("tag"),
            Rejection::TooManyGateSets { .. } => say(Code::TooManyGateSets).too_many("gates"),
            Rejection::UniqueTaken { holder } => {
                let allowed = "a job whose unique key no other has".to_owned();
                say(Code::UniqueTaken).about("unique", JobIdText(holder.0).to_string(), allowed)
            }
            Rejection::ValueRefused { field, value, allowed } => {
                value_refused(field, &value, &allowed)
            }
            Rejection::JobUnknown { gone, id } if gone || is_made_here(id) => Self::job_gone(id),
            Rejection::JobUnknown { id, .. } => say(Code::JobUnknown).of_job(id),
            Rejection::JobStateRefused { id, needed, .. } => {
                say(Code::JobStateRefused).about("id", id.to_string(), needed.to_owned())
            }
            Rejection::LeaseLost { token, .. } => {
                let allowed = "the token of the lease that the job has now".to_owned();
                say(Code::LeaseLost).about("token", quoted(&token.to_string()), allowed)
            }
            Rejection::AskPassed { last_ask, ask, .. } => {
                let allowed = format!("{last_ask} or more");
                say(Code::TurnPassed).about("turn", ask.to_string(), allowed)
            }
            Rejection::RequestSuperseded { .. } => say(Code::RequestSuperseded)
                .field("session")
                .allowed("a session of its own for each loop"),
            Rejection::TooManyWaiting { .. } => say(Code::TooManyWaiting).retry_after_s(1),
            Rejection::TooManySessions { .. } => say(Code::TooManySessions).too_many("session"),
            Rejection::OperationUnknown { id } => say(Code::OperationUnknown).about(
                "id",
                quoted(&id.to_string()),
                "the id of an operation that is remembered".to_owned(),
            ),
            Rejection::TooManyOperations { .. } => say(Code::TooManyOperations).retry_after_s(10),
            Rejection::NamespaceHasSchedules { name, .. } => say(Code::NamespaceNotEmpty).named(
                "namespace",
                &name,
                "a namespace without schedules",
            ),
            Rejection::ScheduleUnknown { name } => {
                say(Code::ScheduleUnknown).named("schedule", &name, "a schedule that exists")
            }
            Rejection::TooManySchedules { .. } => say(Code::TooManySchedules).too_many("schedule"),
            Rejection::ScheduleStateRefused { name, needed, .. } => {
                say(Code::ScheduleStateRefused).about("schedule", quoted(&name), needed.to_owned())
            }
            Rejection::Stopping => say(Code::Stopping).retry_after_s(5),
            Rejection::QueueTypeRefused { queue, holds } => say(Code::QueueTypeRefused).about(
                "queue",
                quoted(&queue),
                format!("a queue that does not hold {holds}"),
            ),
            Rejection::QueueExclusive { .. } => say(Code::QueueExclusive).field("queue"),
            Rejection::QueueInUse { .. } => say(Code::QueueInUse).field("queue"),
            Rejection::ConsumerExclusive { .. } => say(Code::ConsumerExclusive).field("queue"),
            Rejection::ConsumerTaken { .. } => say(Code::ConsumerTaken).field("consumer"),
            Rejection::TooManyConsumers { .. } => say(Code::TooManyConsumers),
            Rejection::DeclaredOtherwise { field, given, current, .. } => {
                say(Code::DeclaredOtherwise).about(field, given, current)
            }
            Rejection::NameReserved { name } => say(Code::NameReserved).about(
                "name",
                quoted(&name),
                "a name that does not begin with \"amq.\"".to_owned(),
            ),
            Rejection::ExchangeUnknown { exchange } => say(Code::ExchangeUnknown).named(
                "exchange",
                &exchange,
                "the name of an exchange that is there",
            ),
            Rejection::GroupInUse { group } => say(Code::GroupInUse).named(
                "group",
                &group,
                "a group of no trigger, or one whose trigger was deleted",
            ),
            Rejection::ExchangeInUse { .. } => say(Code::ExchangeInUse).field("exchange"),
            Rejection::ExchangeInternal { .. } => say(Code::ExchangeInternal).field("exchange"),
            Rejection::TooManyExchanges { .. } => say(Code::TooManyExchanges),
            Rejection::TooManyBindings { .. } => say(Code::TooManyBindings),
            Rejection::MessageUnknown { .. } => say(Code::MessageUnknown).field("messages"),
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
        refusal.retrying(unavailable.retry_after_s)
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
    fn one_is_one() {
        let told = |rejection: Rejection| Refusal::from(rejection).problem().detail;
        let one = Rejection::NamespaceNotEmpty { name: "n".into(), queues: 1 };
        assert_eq!(told(one), "namespace \"n\" still has 1 queue");
        let one = Rejection::QueueNotEmpty { queue: "q".into(), backlog: 1, dead: 2 };
        assert_eq!(told(one), "queue \"q\" still holds 1 unfinished job and 2 dead jobs");
    }

    #[test]
    fn durations_and_instants_of_the_engine_are_told_in_the_form_of_the_api() {
        let refused = |field, value: &str, allowed: &str| {
            let (value, allowed) = (value.to_owned(), allowed.to_owned());
            let problem =
                Refusal::from(Rejection::ValueRefused { field, value, allowed }).problem();
            (problem.value.unwrap(), problem.allowed.unwrap())
        };
        let expected = ("13h".to_owned(), "1s to 12h".to_owned());
        assert_eq!(refused("lease", "46800000ms", "1000ms to 43200000ms"), expected);
        let (value, allowed) = refused("run_at", "253402300799000", "at most 86400000ms ahead");
        assert_eq!((&*value, &*allowed), ("9999-12-31T23:59:59.000Z", "at most 1d ahead"));
        let end = "before 1795961171802, when it can start no more";
        let (value, allowed) = refused("run_at", "1795961171803", end);
        assert_eq!(value, "2026-11-29T14:06:11.803Z");
        assert_eq!(allowed, "before 2026-11-29T14:06:11.802Z, when it can start no more");
        assert_eq!(refused("bulk", "7, 8ms,", "1 to 3").0, "7, 8ms,");
    }

    #[test]
    fn a_bulk_names_its_jobs_but_not_without_bound() {
        let faults = (0..1000).map(|index| (index, Refusal::value("kind", "", "a name")));
        let problem = Refusal::of_jobs("jobs", faults.collect()).problem();
        assert_eq!(problem.faults.len(), FAULTS_MAX);
        assert_eq!(problem.faults[7].index, 7);
        assert!(problem.detail.starts_with("1000 jobs are at fault"), "{}", problem.detail);
        assert_eq!(problem.field.as_deref(), Some("jobs[0].kind"));
    }

    #[test]
    fn what_passes_says_when_to_try_again() {
        let full = Rejection::QueueFull { queue: "q".into(), length: 9, max_length: 9 };
        assert_eq!(Refusal::from(full).retry_after(), Some(1));
        let low = Unavailable::new(0, Cause::DiskLow, "full");
        assert_eq!(Refusal::from(low).retry_after(), Some(15));
        let stopped = Unavailable::new(0, Cause::Stopped, "a checksum does not match");
        assert_eq!(Refusal::from(stopped).retry_after(), None, "it does not heal by itself");
    }
}
